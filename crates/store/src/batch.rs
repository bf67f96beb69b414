use std::sync::Arc;

use crate::{
    Body, Change, Changes, CommitError, Entropy, Key, NotApplied, Record, Row, Timestamp, Version,
    record::write_body,
};

/// Changes that are made together or not at all; see [`Store::batch`](crate::Store::batch).
///
/// Each record may appear once. Entries are numbered from 0 in the order in which they are added, and
/// [`CommitError::Conflict`](crate::CommitError::Conflict) identifies an entry by that number. The order has no other
/// meaning. A record that has expired by the batch's time counts as absent: it can be inserted over and removed, but
/// neither replaced nor required.
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
    /// Versions that are drawn but unused. Drawing several takes as long as drawing one.
    versions: Vec<Version>,
    /// A buffer for serialising bodies of unknown length.
    scratch: Vec<u8>,
    /// The first record that could not be serialised.
    failed: Option<NotApplied>,
    listeners: Vec<OutcomeListener>,
}

/// The outcome of a batch, as passed to [`Batch::on_outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The batch was applied.
    Applied,
    /// It is unknown whether the batch was applied.
    Unknown,
}

/// The initial capacity for entries: those of a login.
const SOME_ENTRIES: usize = 12;
/// How many versions are drawn at once.
const SOME_VERSIONS: usize = 8;
/// The length that most bodies do not exceed, in bytes.
const SOME_BODY: usize = 1024;

type OutcomeListener = Box<dyn FnOnce(CommitOutcome) + Send + Sync>;

/// The listeners of a batch that is being committed. If dropped early, they are called with an unknown outcome.
pub(crate) struct OutcomeListeners(Vec<OutcomeListener>);

impl OutcomeListeners {
    fn call(&mut self, outcome: CommitOutcome) {
        self.0.drain(..).for_each(|listener| listener(outcome));
    }

    /// Calls the listeners with the outcome; calls none if the batch was not applied.
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

    /// Adds a record that must be absent. Returns its new version.
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

    /// Replaces a record that must be at version `at`. Returns its new version.
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

    /// Requires that a record is still at version `at`, without changing it.
    ///
    /// Commit this before you acknowledge a result that was only read. What was read may not be durable yet; what a
    /// successful commit requires is durable.
    pub fn require(&mut self, key: &Key, at: Version) {
        self.push(key, Change::Require { at });
    }

    /// Requires that a record is absent. To do so it writes a record that is already expired by any clock, which no
    /// reader sees and the clean-up removes.
    ///
    /// Commit this before you confirm the removal of a record that was already absent, since its removal may not be
    /// durable yet.
    pub fn require_absent(&mut self, key: &Key) {
        let row = Row {
            version: self.draw_version(),
            body: "null".into(),
            expires_at: Some(Timestamp::EPOCH),
        };
        self.push(key, Change::Insert(row));
    }

    /// Calls `listener` once the batch is applied, or once its outcome is unknown, even if the commit's future was
    /// dropped. It is not called for a batch that is known not to be applied.
    ///
    /// It is called before [`Store::commit`](crate::Store::commit) returns. It must be quick and not panic.
    pub fn on_outcome(&mut self, listener: impl FnOnce(CommitOutcome) + Send + Sync + 'static) {
        self.listeners.push(Box::new(listener));
    }

    /// Takes the listeners. They are then called whatever the outcome.
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
        version.unwrap_or_else(|| Version::random(&*self.entropy))
    }

    /// The keys and bodies that the batch writes.
    pub(crate) fn bodies(&mut self) -> impl Iterator<Item = (&Key, &mut Body)> {
        self.changes
            .iter_mut()
            .filter_map(|(key, change)| match change {
                Change::Insert(row) | Change::Replace { row, .. } => Some((&*key, &mut row.body)),
                Change::Reseal { body, .. } => Some((&*key, body)),
                Change::Remove { .. } | Change::Require { .. } => None,
            })
    }

    /// Returns the entry's index.
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
