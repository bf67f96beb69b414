//! Reads several records at one state: those whose keys are known, and those whose keys follow from them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{Engine, EngineError, Key, Raw, Record, Row, StoreError, Stored, Timestamp};

/// Returns the keys that follow from what was found.
type Then = dyn Fn(&Snapshot) -> Result<Vec<Key>, StoreError> + Send + Sync;

/// A plan for [`Store::read`](crate::Store::read): keys to read, and a rule that returns further keys from the records
/// found there.
///
/// A use case that looks up a name, then its user, then the user's records, makes one call instead of three:
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Key, MasterKey, MasterKeys, ReadPlan, Record, Store, SystemEntropy, Timestamp};
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct UserName { number: u64 }
/// # impl Record for UserName { const TYPE: &'static str = "user_name"; const VERSION: u32 = 1; }
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct User { full_name: String }
/// # impl Record for User { const TYPE: &'static str = "user"; const VERSION: u32 = 1; }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let now = Timestamp::from_secs(1_700_000_000);
/// # let entropy = Arc::new(SystemEntropy::new());
/// # let keys = MasterKeys::new(&MasterKey::generate(&*entropy));
/// # let store = Store::open(Arc::new(MemoryEngine::new()), keys, entropy, now).await?;
/// # let mut batch = store.batch(now);
/// # batch.insert(&Key::new("user_name", ["ada"]), &UserName { number: 7 }, None);
/// # batch.insert(&Key::new("user", ["7"]), &User { full_name: "Ada Lovelace".into() }, None);
/// # store.commit(batch).await?;
/// fn user_key(number: u64) -> Key {
///     Key::new("user", [number.to_string()])
/// }
///
/// let name = Key::new("user_name", ["ada"]);
/// let plan = ReadPlan::new([name.clone()]).then({
///     let name = name.clone();
///     move |found| {
///         let named = found.get::<UserName>(&name)?;
///         Ok(named.map(|named| user_key(named.record.number)).into_iter().collect())
///     }
/// });
/// let found = store.read(plan, now).await?;
/// let named = found.get::<UserName>(&name)?.ok_or("nobody has this name")?;
/// let user = found.get::<User>(&user_key(named.record.number))?.ok_or("a name of nobody")?;
/// assert_eq!(user.record.full_name, "Ada Lovelace");
/// assert_eq!(found.now(), now);
/// # Ok(())
/// # }
/// ```
pub struct ReadPlan {
    keys: Vec<Key>,
    then: Option<Box<Then>>,
}

impl ReadPlan {
    /// The maximum number of keys of one plan, including those that follow.
    pub const MAX_KEYS: usize = 1_024;
    /// The maximum number of rounds: the initial keys are the first round, those that follow from them the second, and
    /// so on.
    pub const MAX_ROUNDS: usize = 8;

    /// Creates a plan to read these keys. Duplicates are read once.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            then: None,
        }
    }

    /// Sets the rule by which keys follow, replacing any earlier one.
    ///
    /// It is called after each round with everything found so far, until it returns no key that was not read. It runs
    /// on the thread that reads, and may be called with several states before one of them counts. So it must depend
    /// only on what was found, be quick, and not call the store. Its error ends the reading and is returned by
    /// [`Store::read`](crate::Store::read); a panic in it is raised in the reading task.
    #[must_use = "without it the keys that follow are not read"]
    pub fn then(
        self,
        then: impl Fn(&Snapshot) -> Result<Vec<Key>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            then: Some(Box::new(then)),
            ..self
        }
    }
}

impl fmt::Debug for ReadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPlan")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Records that were read together, all from one consistent state.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In key order, each key once.
    records: Vec<(Key, Option<Raw>)>,
    now: Timestamp,
}

impl Snapshot {
    /// The time by which expiry was decided. Commit decisions based on these records with the same time.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the record at `key`, or `None` if it is absent or expired.
    ///
    /// # Errors
    ///
    /// If the record is not an `R`; [`StoreError::NotRead`] if `key` was not read, which is not treated as absence.
    pub fn get<R: Record>(&self, key: &Key) -> Result<Option<Stored<R>>, StoreError> {
        self.raw(key)?.map(Raw::decode).transpose()
    }

    /// Like [`Snapshot::get`], for read-only use; see [`Raw::decode_shared`].
    ///
    /// # Errors
    ///
    /// As for [`Snapshot::get`].
    pub fn get_shared<R: Record>(&self, key: &Key) -> Result<Option<Stored<Arc<R>>>, StoreError> {
        self.raw(key)?.map(Raw::decode_shared).transpose()
    }

    /// Like [`Snapshot::get`], but without decoding.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotRead`] if `key` was not read.
    pub fn raw(&self, key: &Key) -> Result<Option<&Raw>, StoreError> {
        match self.find(key) {
            Some(record) => Ok(record.as_ref()),
            None => Err(StoreError::NotRead { key: key.clone() }),
        }
    }

    fn find(&self, key: &Key) -> Option<&Option<Raw>> {
        let at = self.records.binary_search_by(|(read, _)| read.cmp(key));
        self.records.get(at.ok()?).map(|(_, record)| record)
    }
}

impl fmt::Debug for Snapshot {
    /// Omits the records, which may contain password hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.records.iter().map(|(key, _)| key);
        f.debug_struct("Snapshot")
            .field("read", &read.collect::<Vec<_>>())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The state of a [`ReadPlan`] that an engine runs in [`Engine::read`]: which keys to read next, and what was found.
pub struct Reading {
    plan: ReadPlan,
    /// Not read yet, each once and in key order.
    wanted: Vec<Key>,
    snapshot: Snapshot,
    rounds: usize,
    failure: Option<StoreError>,
}

impl Reading {
    /// Begins with the plan's initial keys. `now` is the time by which expiry is decided, and must be the one given to
    /// [`Engine::read`].
    pub fn new(plan: ReadPlan, now: Timestamp) -> Self {
        let mut reading = Self {
            plan,
            wanted: Vec::new(),
            snapshot: Snapshot {
                records: Vec::new(),
                now,
            },
            rounds: 0,
            failure: None,
        };
        reading.restart();
        reading
    }

    /// The keys to read next, in key order, without duplicates or keys that were already read. Empty at the end.
    pub fn wanted(&self) -> &[Key] {
        &self.wanted
    }

    /// Whether no further round follows, whatever is found.
    pub fn is_last_round(&self) -> bool {
        self.plan.then.is_none()
    }

    /// Takes the rows of the wanted keys, in their order, and calls the plan's rule to find out which keys follow.
    ///
    /// All rows of one reading must come from one consistent state.
    pub fn found(&mut self, rows: Vec<Option<Row>>) {
        let found = std::mem::take(&mut self.wanted).into_iter().zip(rows);
        let found = found.map(|(key, row)| {
            let record = row.map(|row| Raw::from_row(key.clone(), row));
            (key, record)
        });
        let records = &mut self.snapshot.records;
        records.extend(found);
        records.sort_unstable_by(|(key, _), (other, _)| key.cmp(other));
        self.rounds += 1;
        let Some(then) = &self.plan.then else {
            return;
        };
        match then(&self.snapshot) {
            Ok(keys) => self.want(keys),
            Err(error) => self.failure = Some(error),
        }
    }

    /// Returns everything that was read, once no key is wanted.
    ///
    /// # Errors
    ///
    /// The error of the plan's rule, the limit that it exceeded, or [`StoreError::NotRead`] if keys are still wanted.
    pub fn into_snapshot(self) -> Result<Snapshot, StoreError> {
        match (self.failure, self.wanted.into_iter().next()) {
            (Some(failure), _) => Err(failure),
            (None, Some(key)) => Err(StoreError::NotRead { key }),
            (None, None) => Ok(self.snapshot),
        }
    }

    /// Starts again, as if nothing had been read.
    pub(crate) fn restart(&mut self) {
        self.snapshot.records.clear();
        self.rounds = 0;
        self.failure = None;
        self.want(self.plan.keys.clone());
    }

    /// Sets the keys to read next, without those already read, and checks the limits.
    fn want(&mut self, keys: Vec<Key>) {
        self.wanted = keys;
        self.wanted.retain(|key| self.snapshot.find(key).is_none());
        self.wanted.sort_unstable();
        self.wanted.dedup();
        if self.snapshot.records.len() + self.wanted.len() > ReadPlan::MAX_KEYS {
            let limit = ReadPlan::MAX_KEYS;
            self.fail(StoreError::TooManyKeys { limit });
        } else if self.rounds == ReadPlan::MAX_ROUNDS && !self.wanted.is_empty() {
            let limit = ReadPlan::MAX_ROUNDS;
            self.fail(StoreError::TooManyRounds { limit });
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.wanted.clear();
        self.failure = Some(error);
    }

    /// Runs all rounds again with rows of one state. Returns all keys to read from a new state, or none if these rows
    /// were sufficient.
    fn replay(&mut self, mut known: BTreeMap<Key, Option<Row>>) -> Vec<Key> {
        self.restart();
        while !self.wanted.is_empty() {
            let rows = self.wanted.iter().map(|key| known.remove(key)).collect();
            match rows {
                Some(rows) => self.found(rows),
                None => {
                    let read = self.snapshot.records.iter().map(|(key, _)| key);
                    return read.chain(&self.wanted).cloned().collect();
                }
            }
        }
        Vec::new()
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.snapshot.records.iter().map(|(key, _)| key);
        f.debug_struct("Reading")
            .field("read", &read.collect::<Vec<_>>())
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// The maximum number of `get_many` calls of one reading. If the keys still change then, it fails with `Busy`.
const TRIES: usize = 2 * ReadPlan::MAX_ROUNDS;

/// Reads with an engine whose every `get_many` has its own state. Each call reads all keys known so far. The last one,
/// after which no further key follows, has therefore read everything.
pub(crate) async fn by_whole_reads<E: Engine + ?Sized>(
    engine: &E,
    mut reading: Reading,
    now: Timestamp,
) -> Result<Reading, EngineError> {
    let mut keys = reading.wanted().to_vec();
    for _ in 0..TRIES {
        if keys.is_empty() {
            return Ok(reading);
        }
        let rows = engine.get_many(&keys, now).await?;
        keys = reading.replay(keys.into_iter().zip(rows).collect());
    }
    Err(EngineError::Busy {
        detail: "what was read kept leading elsewhere".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemEntropy, Version};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn key(number: usize) -> Key {
        Key::new("case", [number.to_string()])
    }

    fn row() -> Row {
        Row {
            version: Version::random(&SystemEntropy::new()),
            body: crate::Body::default(),
            expires_at: None,
        }
    }

    /// Answers as if every key had a record. Returns the outcome and the number of keys in each round.
    fn drive(mut reading: Reading) -> (Result<Snapshot, StoreError>, Vec<usize>) {
        let mut rounds = Vec::new();
        while !reading.wanted().is_empty() {
            let count = reading.wanted().len();
            rounds.push(count);
            reading.found(vec![Some(row()); count]);
        }
        (reading.into_snapshot(), rounds)
    }

    #[test]
    fn no_key_is_read_twice() {
        let plan = ReadPlan::new([key(0), key(1), key(0)])
            .then(|_| Ok(vec![key(1), key(2), key(2), key(0)]));
        let (found, rounds) = drive(Reading::new(plan, NOW));
        assert_eq!(rounds, [2, 1]);
        let found = found.unwrap();
        for number in 0..3 {
            assert_eq!(
                found.raw(&key(number)).unwrap().unwrap().key(),
                &key(number)
            );
        }
        assert_eq!(found.raw(&key(3)), Err(StoreError::NotRead { key: key(3) }));
    }

    #[test]
    fn a_plan_reads_so_many_keys_and_no_more() {
        let limit = ReadPlan::MAX_KEYS;
        let (found, rounds) = drive(Reading::new(ReadPlan::new((0..limit).map(key)), NOW));
        assert!(found.is_ok());
        assert_eq!(rounds, [limit]);
        let too_many = Err(StoreError::TooManyKeys { limit });
        let (found, rounds) = drive(Reading::new(ReadPlan::new((0..=limit).map(key)), NOW));
        assert_eq!((found, rounds), (too_many.clone(), vec![]));
        let plan = ReadPlan::new([key(0)]).then(move |_| Ok((1..=limit).map(key).collect()));
        assert_eq!(drive(Reading::new(plan, NOW)), (too_many, vec![1]));
    }

    #[test]
    fn a_plan_has_so_many_rounds_and_no_more() {
        let limit = ReadPlan::MAX_ROUNDS;
        let chain = |length: usize| {
            ReadPlan::new([key(0)]).then(move |found| {
                let read = (0..length).take_while(|&number| found.raw(&key(number)).is_ok());
                Ok((0..length).skip(read.count()).take(1).map(key).collect())
            })
        };
        let (found, rounds) = drive(Reading::new(chain(limit), NOW));
        assert!(found.is_ok());
        assert_eq!(rounds, vec![1; limit]);
        let (found, rounds) = drive(Reading::new(chain(limit + 1), NOW));
        assert_eq!(found, Err(StoreError::TooManyRounds { limit }));
        assert_eq!(rounds, vec![1; limit]);
    }

    #[test]
    fn a_snapshot_is_printed_without_its_records() {
        let printed = |body: &str| {
            let mut reading = Reading::new(ReadPlan::new([key(0)]), NOW);
            let body = body.into();
            reading.found(vec![Some(Row { body, ..row() })]);
            format!("{:?}", reading.into_snapshot().unwrap())
        };
        assert_eq!(printed("\"a hash\""), printed("null"));
        assert!(printed("null").contains("case/0"));
    }

    #[test]
    fn what_is_wanted_still_is_not_taken_for_absent() {
        let reading = Reading::new(ReadPlan::new([key(0)]), NOW);
        let unread = Err(StoreError::NotRead { key: key(0) });
        assert_eq!(reading.into_snapshot(), unread);
        let mut short = Reading::new(ReadPlan::new([key(0), key(1)]), NOW);
        short.found(vec![None]);
        let found = short.into_snapshot().unwrap();
        assert_eq!(found.raw(&key(0)), Ok(None));
        assert_eq!(found.raw(&key(1)), Err(StoreError::NotRead { key: key(1) }));
    }
}
