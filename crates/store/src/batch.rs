use std::sync::Arc;

use crate::{
    Body, Change, Changes, CommitError, Entropy, Key, NotApplied, Raw, Record, Row, Timestamp,
    Version, record::write_body,
};

/// Changes to be made together, or not at all: see [`Store::batch`](crate::Store::batch).
///
/// Each record may appear once. Entries count from 0 in the order in which they are added, which
/// is how [`CommitError::Conflict`](crate::CommitError::Conflict) names one; the order has no other
/// meaning. A record that has expired by the batch's time is absent: it can be inserted over and
/// removed, but neither replaced nor required.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{CommitError, Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp};
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Voucher { cents: u64 }
/// # impl Record for Voucher { const TYPE: &'static str = "voucher"; const VERSION: u32 = 1; }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// let key = Key::new("voucher", ["shop", "4711"]);
/// let mut batch = store.batch(now);
/// let version = batch.insert(&key, &Voucher { cents: 500 }, None);
/// store.commit(batch).await?;
///
/// // Two cashiers have read that version. One of them is faster.
/// let (mut first, mut second) = (store.batch(now), store.batch(now));
/// first.remove(&key, version);
/// second.remove(&key, version);
/// store.commit(first).await?;
/// assert_eq!(store.commit(second).await, Err(CommitError::Conflict { entry: 0 }));
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    entropy: Arc<dyn Entropy>,
    now: Timestamp,
    changes: Vec<(Key, Change)>,
    /// Versions that are drawn and not given yet: many take as long as one.
    versions: Vec<Version>,
    /// Where bodies are written before they have their length.
    scratch: Vec<u8>,
    /// The first record that could not be written as JSON.
    failed: Option<NotApplied>,
    listeners: Vec<OutcomeListener>,
}

/// What became of a batch, as far as [`Batch::on_outcome`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is applied.
    Applied,
    /// Whether it is applied could not be learnt.
    Unknown,
}

/// How many entries a batch has room for at first: a login's.
const SOME_ENTRIES: usize = 12;
/// How many versions are drawn at once.
const SOME_VERSIONS: usize = 8;
/// How long most bodies are at most, in bytes.
const SOME_BODY: usize = 1024;

type OutcomeListener = Box<dyn FnOnce(CommitOutcome) + Send + Sync>;

/// Those of a batch that is being committed. Dropped before its end, they are called with an unknown outcome.
pub(crate) struct OutcomeListeners(Vec<OutcomeListener>);

impl OutcomeListeners {
    fn call(&mut self, outcome: CommitOutcome) {
        self.0.drain(..).for_each(|listener| listener(outcome));
    }

    /// Calls them with what became of the batch; none, if it was not applied.
    pub(crate) fn end(mut self, outcome: &Result<(), CommitError>) {
        match outcome {
            Ok(()) => self.call(CommitOutcome::Applied),
            Err(CommitError::Unknown(_)) => self.call(CommitOutcome::Unknown),
            Err(CommitError::Conflict { .. } | CommitError::NotApplied(_)) => self.0.clear(),
        }
    }
}

impl Drop for OutcomeListeners {
    fn drop(&mut self) {
        self.call(CommitOutcome::Unknown);
    }
}

impl Batch {
    pub(crate) fn new(entropy: Arc<dyn Entropy>, now: Timestamp) -> Self {
        Self {
            entropy,
            now,
            changes: Vec::with_capacity(SOME_ENTRIES),
            versions: Vec::new(),
            scratch: Vec::new(),
            failed: None,
            listeners: Vec::new(),
        }
    }

    /// Adds a record that must be absent. Gives the version it will have.
    pub fn insert<R: Record>(
        &mut self,
        key: &Key,
        record: &R,
        expires_at: Option<Timestamp>,
    ) -> Version {
        let row = self.row(record, expires_at);
        let version = row.version;
        self.push(key, Change::Insert(row));
        version
    }

    /// Gives a record that must be at version `at` a new state. Gives the version it will have.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use keyproof_store::memory::MemoryEngine;
    /// # use keyproof_store::{Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp};
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// # struct Voucher { cents: u64 }
    /// # impl Record for Voucher { const TYPE: &'static str = "voucher"; const VERSION: u32 = 1; }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
    /// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
    /// # let store = Store::open(engine, keys, entropy, now).await?;
    /// let key = Key::new("voucher", ["shop", "4711"]);
    /// # let mut batch = store.batch(now);
    /// # batch.insert(&key, &Voucher { cents: 500 }, None);
    /// # store.commit(batch).await?;
    /// let mut found = store.get::<Voucher>(&key, now).await?.ok_or("no such voucher")?;
    /// found.record.cents -= 200;
    /// let mut batch = store.batch(now);
    /// batch.replace(&key, found.version, &found.record, found.expires_at);
    /// store.commit(batch).await?;
    /// assert_eq!(store.get::<Voucher>(&key, now).await?.map(|left| left.record.cents), Some(300));
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace<R: Record>(
        &mut self,
        key: &Key,
        at: Version,
        record: &R,
        expires_at: Option<Timestamp>,
    ) -> Version {
        let row = self.row(record, expires_at);
        let version = row.version;
        self.push(key, Change::Replace { at, row });
        version
    }

    /// Removes a record that must be at version `at`, expired or not.
    pub fn remove(&mut self, key: &Key, at: Version) {
        self.push(key, Change::Remove { at });
    }

    /// Requires that a record is still at version `at`, and does not change it.
    ///
    /// Commit this before you acknowledge something that was only read: what was read may not be durable yet, but what a
    /// successful commit requires is.
    pub fn require(&mut self, key: &Key, at: Version) {
        self.push(key, Change::Require { at });
    }

    /// Requires that a record is absent. It writes a record that has already expired by any clock, so that nobody finds one
    /// there afterwards and the clean-up removes it.
    ///
    /// Commit this before you tell a caller that they have removed a record that was absent already: its removal may not be
    /// durable yet.
    pub fn require_absent(&mut self, key: &Key) {
        let row = Row {
            version: self.draw_version(),
            body: "null".into(),
            expires_at: Some(Timestamp::EPOCH),
        };
        self.push(key, Change::Insert(row));
    }

    /// Adds a record just as it was read from another store, version included; it must be absent.
    pub fn insert_raw(&mut self, raw: &Raw) {
        let (key, row) = raw.clone().into_parts();
        self.changes.push((key, Change::Insert(row)));
    }

    /// Gives a record that must be at the version of `resealed` its body, and leaves the rest.
    pub(crate) fn reseal(&mut self, resealed: &Raw) {
        let (key, row) = resealed.clone().into_parts();
        self.changes.push((
            key,
            Change::Reseal {
                at: row.version,
                body: row.body,
            },
        ));
    }

    /// Calls `listener` once the batch is applied, or once its outcome is unknown, even if nobody waits for the commit any more.
    /// It is not called for a batch that is known not to be applied.
    ///
    /// It is called before [`Store::commit`](crate::Store::commit) returns: it must be quick and not panic.
    pub fn on_outcome(&mut self, listener: impl FnOnce(CommitOutcome) + Send + Sync + 'static) {
        self.listeners.push(Box::new(listener));
    }

    /// They are called from now on, whatever becomes of it.
    pub(crate) fn take_listeners(&mut self) -> OutcomeListeners {
        OutcomeListeners(std::mem::take(&mut self.listeners))
    }

    /// Whether there is an entry for this record.
    pub fn contains(&self, key: &Key) -> bool {
        self.changes.iter().any(|(there, _)| there == key)
    }

    /// How many entries were added.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether no entry was added.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn into_changes(self) -> Result<Changes, NotApplied> {
        match self.failed {
            Some(failed) => Err(failed),
            None => Changes::new(self.changes, self.now, &*self.entropy),
        }
    }

    fn row<R: Record>(&mut self, record: &R, expires_at: Option<Timestamp>) -> Row {
        self.scratch.clear();
        self.scratch.reserve(SOME_BODY);
        if write_body(&mut self.scratch, record).is_err() {
            let entry = self.changes.len();
            self.failed.get_or_insert(NotApplied::NotSerializable {
                entry,
                kind: R::TYPE,
            });
        }
        Row {
            version: self.draw_version(),
            body: self.scratch.as_slice().into(),
            expires_at,
        }
    }

    fn draw_version(&mut self) -> Version {
        if self.versions.is_empty() {
            let mut drawn = [[0; 16]; SOME_VERSIONS];
            self.entropy.fill(drawn.as_flattened_mut());
            self.versions.extend(drawn.map(Version::from_bytes));
        }
        let version = self.versions.pop();
        version.unwrap_or_else(|| Version::draw(&*self.entropy))
    }

    /// The keys and bodies of what it writes.
    pub(crate) fn bodies(&mut self) -> impl Iterator<Item = (&Key, &mut Body)> {
        self.changes
            .iter_mut()
            .filter_map(|(key, change)| match change {
                Change::Insert(row) | Change::Replace { row, .. } => Some((&*key, &mut row.body)),
                Change::Reseal { body, .. } => Some((&*key, body)),
                Change::Remove { .. } | Change::Require { .. } => None,
            })
    }

    /// Gives the entry's index.
    pub(crate) fn push(&mut self, key: &Key, change: Change) -> usize {
        let index = self.changes.len();
        self.changes.push((key.clone(), change));
        index
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.changes.iter().map(|(key, _)| key).collect();
        f.debug_struct("Batch")
            .field("now", &self.now)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}
