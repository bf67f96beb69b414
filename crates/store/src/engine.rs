use std::{future::Future, ops::RangeInclusive, pin::Pin, sync::Arc};

use crate::{
    Body, CommitError, CommitObserver, EngineError, EngineSnapshot, Entropy, Key, NotApplied,
    PoolStatus, Prefix, Reading, Standbys, Timestamp, Version, reading::by_whole_reads,
};

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The interface that a database implements to store records.
///
/// An engine moves bytes. It handles neither JSON nor types nor sealing. Nothing in this contract assumes that an engine
/// is the only process, or the only machine, that uses its database. The suite in `keyproof_store::conformance` (feature
/// `conformance`) checks an engine against every rule below that a caller can observe.
///
/// **Time.** An engine reads no clock: `now` is the caller's. A record whose `expires_at` is at or before `now` is
/// *expired*. It is absent for every read, and for every change but [`Change::Remove`], whether or not it is still
/// stored.
///
/// **Reads** see every commit that was acknowledged, to anyone, before the read began.
///
/// **Commits** are all or nothing, and serialisable: two commits that require the same state of a record never both
/// succeed if one of them changes it, and a [`Change::Require`] counts as such a requirement. Entries are checked and
/// applied in the order of [`Changes`], which is key order, so that engines with row locks take them in one order. The
/// first entry that does not apply is the reported conflict. A commit is answered only once it is durable, together
/// with everything it depends on. A read may see data that would not survive the loss of this machine, but a batch that
/// requires that data is `Ok` only once the data would survive. The result of a commit is exact:
///
/// - `Ok`: applied, and survives the loss of power.
/// - [`CommitError::Conflict`]: not applied, because of state that is itself committed.
/// - [`CommitError::NotApplied`]: not applied, and it can no longer be.
/// - [`CommitError::Unknown`]: anything else, such as a connection lost during the commit, whose outcome could not be
///   read back.
///
/// **Reading back.** After a lost connection, the versions in the batch do not reveal the outcome: another writer may
/// have changed the record since, an attempt may still be in flight on the server, and a batch that only removes leaves
/// no version behind. So each batch has an id, [`Changes::id`]. An engine that can lose an answer inserts it, in the
/// same transaction, into a separate table under a unique index. To learn the outcome, it inserts the same id again in
/// a transaction of its own. A duplicate means that the batch was applied, once it is durable. Success means that it
/// was not applied and never will be, since the id is now taken. The row inserted to ask is marked, so that it is not
/// mistaken for a commit if its own answer is lost and the question is repeated. Only if the question fails too is the
/// outcome `Unknown`. A retry of the same batch increments an attempt counter stored with the id. Ids are deleted once
/// none of their attempts can be in flight any more.
///
/// **Cancellation.** Dropping the future of a commit neither cancels nor hastens it.
pub trait Engine: Send + Sync + 'static {
    /// Returns the records of `keys`, in their order, all from one consistent state; `None` for absent records.
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>>;

    /// Reads what `reading` needs, round by round, all from one consistent state, and returns it.
    ///
    /// An engine that can keep a state open reads each round from it. The default implementation works for any other
    /// engine: each round is one [`Engine::get_many`] of all keys known so far, so only the result of the last round is
    /// used. If a key has come to lead elsewhere since the round before, that costs one more round.
    fn read(
        &self,
        reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        Box::pin(by_whole_reads(self, reading, now))
    }

    /// Returns the first `limit` records of `prefix` whose key is greater than `after`, in key order, all from one
    /// consistent state. `after` may be any key, stored or not, inside the prefix or outside.
    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>>;

    /// Returns the last `limit` records of `prefix` whose key is less than `before`, the last first, all from one consistent
    /// state. `before` may be any key, stored or not, inside the prefix or outside; without it they are the prefix's last.
    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>>;

    /// Returns at most `limit` stored records that expired in `within`, ordered by expiry and then by key.
    /// Records without an expiry are never returned. Removing a returned record at its version cannot remove a later
    /// state of it.
    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>>;

    /// Applies all of `changes`, or nothing.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Returns a snapshot of everything stored at one moment between the call and the answer. An engine without
    /// snapshots returns an error.
    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async {
            Err(EngineError::Other {
                detail: "this engine keeps no state open".to_owned(),
            })
        })
    }

    /// Checks whether reads and commits can be expected to succeed now. After a failure it may attempt a durable write
    /// of its own.
    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Returns the database's standbys, as far as the engine knows them; none for an engine without replication.
    fn standbys(&self) -> BoxFuture<'_, Result<Standbys, EngineError>> {
        Box::pin(async { Ok(Standbys::default()) })
    }

    /// Returns the clock of the database's machine, read between the call and the answer, for comparison with the local
    /// one. `None` if the database has no machine of its own.
    fn server_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, EngineError>> {
        Box::pin(async { Ok(None) })
    }

    /// Returns the state of the connection pool; `None` for an engine without one.
    fn pool(&self) -> Option<PoolStatus> {
        None
    }

    /// Finishes the operations in progress and releases the database. Every later call fails with
    /// [`EngineError::Closed`]; closing again does nothing.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Reports how commits end to `observer` from now on, instead of any earlier one. An engine that does not observe
    /// its transactions ignores this.
    fn observe(&self, _observer: Arc<dyn CommitObserver>) {}

    /// Fences the store for good: from then on every read and commit of every process fails with
    /// [`EngineError::Relocated`], whenever that process opened the store. [`Engine::snapshot`] still returns the
    /// records.
    ///
    /// Such a snapshot contains everything that was acknowledged, and nothing is acknowledged after the fence. If the
    /// store is fenced already, this returns once that fence is as durable as a new one would be.
    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            Err(EngineError::Other {
                detail: "this engine cannot be fenced".to_owned(),
            })
        })
    }

    /// Frees the space of removed and replaced records and overwrites their old contents, as far as the engine controls
    /// that.
    fn compact(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    /// Returns the approximate number of stored records, expired ones included, for progress reports. `None` if the
    /// engine would have to read all records for it.
    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether nothing is stored, not even expired records.
    fn is_empty(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async {
            let all = Prefix::all();
            Ok(self.scan(&all, None, 1, Timestamp::EPOCH).await?.is_empty()
                && self
                    .expired(Timestamp::EPOCH..=Timestamp::MAX, 1)
                    .await?
                    .is_empty())
        })
    }
}

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The record's version.
    pub version: Version,
    /// Its body, opaque to the engine.
    pub body: Body,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
}

impl Row {
    /// Whether the record is absent for readers at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A change to one record, and the state that it requires. It is exhaustive, since an engine must apply every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Requires the record to be absent, or expired at the batch's time; stores this row.
    Insert(Row),
    /// Requires this version, expired or not; deletes the record.
    Remove {
        /// The required version.
        at: Version,
    },
    /// Requires this version; stores another row.
    Replace {
        /// The required version.
        at: Version,
        /// The new row, with another version.
        row: Row,
    },
    /// Requires this version; replaces the body with an equivalent one, and keeps version and expiry.
    Reseal {
        /// The required version, which stays.
        at: Version,
        /// The new body.
        body: Body,
    },
    /// Requires this version, without a change, until the batch is committed.
    Require {
        /// The required version.
        at: Version,
    },
}

impl Change {
    /// The length of the body that it writes, in bytes; 0 if it writes none.
    pub(crate) fn body_len(&self) -> usize {
        match self {
            Self::Insert(row) | Self::Replace { row, .. } => row.body.len(),
            Self::Reseal { body, .. } => body.len(),
            Self::Remove { .. } | Self::Require { .. } => 0,
        }
    }
}

/// One entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record.
    pub key: Key,
    /// Its index in the order in which entries were added, for [`CommitError::Conflict`].
    pub index: usize,
    /// The change.
    pub change: Change,
}

/// A batch in the form that engines receive: in key order, each record once, within the limits.
///
/// ```
/// use keyproof_store::memory::MemoryEngine;
/// use keyproof_store::{Change, Changes, Engine, Key, Row, SystemEntropy, Timestamp, Version};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (engine, entropy, now) = (MemoryEngine::new(), SystemEntropy::new(), Timestamp::from_secs(1_700_000_000));
/// let key = Key::new("device", ["shop", "till-1"]);
/// let row = Row { version: Version::random(&entropy), body: "{}".into(), expires_at: None };
/// let changes = Changes::new([(key.clone(), Change::Insert(row.clone()))], now, &entropy)?;
/// engine.commit(changes).await?;
/// assert_eq!(engine.get_many(&[key], now).await?, [Some(row)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    id: [u8; Self::ID_LEN],
    now: Timestamp,
    entries: Vec<Entry>,
}

impl Changes {
    /// The length of a batch's id, in bytes.
    pub const ID_LEN: usize = 24;
    /// The maximum number of entries in a batch.
    pub const MAX_ENTRIES: usize = 1_024;
    /// The maximum length of a record's body, in bytes.
    pub const MAX_BODY_LEN: usize = 1 << 20;

    /// Checks and sorts a batch, and draws its id.
    ///
    /// # Errors
    ///
    /// If a limit is exceeded, or if two changes refer to the same record.
    pub fn new(
        changes: impl IntoIterator<Item = (Key, Change)>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, NotApplied> {
        let mut entries: Vec<_> = changes
            .into_iter()
            .enumerate()
            .map(|(index, (key, change))| Entry { key, index, change })
            .collect();
        if entries.len() > Self::MAX_ENTRIES {
            return Err(NotApplied::TooManyEntries {
                count: entries.len(),
                limit: Self::MAX_ENTRIES,
            });
        }
        for entry in &entries {
            let len = entry.change.body_len();
            if len > Self::MAX_BODY_LEN {
                return Err(NotApplied::BodyTooLong {
                    entry: entry.index,
                    len,
                    limit: Self::MAX_BODY_LEN,
                });
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        for pair in entries.windows(2) {
            if let [a, b] = pair
                && a.key == b.key
            {
                return Err(NotApplied::DuplicateKey {
                    first: a.index,
                    second: b.index,
                });
            }
        }
        let mut id = [0; Self::ID_LEN];
        let (time, random) = id.split_at_mut(size_of::<u64>());
        // Ids inserted at the same time are adjacent in their index.
        time.copy_from_slice(&now.as_millis().to_be_bytes());
        entropy.fill(random);
        Ok(Self { id, now, entries })
    }

    /// The batch's id: its time in milliseconds since the Unix epoch, 8 bytes big-endian, and 128 random bits. See
    /// *Reading back* at [`Engine`].
    pub fn id(&self) -> &[u8; Self::ID_LEN] {
        &self.id
    }

    /// The time by which expiry is decided.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The entries, in key order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entries by value, in key order.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn ids_sort_by_time_and_differ_at_one_moment() {
        let entropy = SystemEntropy::new();
        let id = |millis| {
            let changes = Changes::new([], Timestamp::from_millis(millis), &entropy);
            *changes.unwrap().id()
        };
        let ids = [0, 1, 255, 256, 1_700_000_000_000, 1_700_000_000_001].map(id);
        assert!(ids.is_sorted_by(|a, b| a < b));
        let again = id(1_700_000_000_001);
        assert_eq!(again[..8], ids[5][..8]);
        assert_ne!(again[8..], ids[5][8..]);
    }
}
