use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    Body, CommitError, CommitObserver, EngineError, EngineSnapshot, Entropy, Key, NotApplied,
    PoolFigures, Prefix, Reading, Standbys, Timestamp, Version, reading::by_whole_reads,
};

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The port: what a database must do to keep records.
///
/// An engine moves bytes. It knows neither JSON nor types nor sealing, and nothing here assumes
/// that it is the only process, or the only machine, on its database. The suite in
/// `keyproof_store::conformance` (feature `conformance`) checks an engine against every rule below that
/// a caller can see.
///
/// **Time.** An engine reads no clock: `now` is the caller's. A record whose `expires_at` is at or
/// before `now` is *expired*, and absent for every read and for every change but
/// [`Change::Remove`], whether or not it is still stored.
///
/// **Reads** see every commit that was acknowledged, to anyone, before the read began.
///
/// **Commits** are all or nothing, and isolated as if one ran after the other: two that both ask
/// for one state of one record never both succeed, a [`Change::Require`] of one included.
/// Entries are checked and applied in the order in which [`Changes`] holds them, which is key order,
/// so that engines with row locks take them in one order; the first that does not apply is the
/// conflict that is reported. A commit is answered only once it is durable, and so is all that it rests on: a read may
/// see what would not outlive the loss of this machine, but a batch that requires it, and no more, is `Ok` only once it
/// would. A commit is answered exactly:
///
/// - `Ok`: applied, and survives the loss of power.
/// - [`CommitError::Conflict`]: not applied, judged by state that is itself committed.
/// - [`CommitError::NotApplied`]: not applied, and it can no longer happen.
/// - [`CommitError::Unknown`]: anything else, such as a connection lost while the commit was under
///   way whose outcome could not be read back.
///
/// **Reading back.** A version in the batch tells little after a lost connection: another writer
/// may have changed the record since, an attempt may still be in flight on the server, and a batch
/// that only removes leaves no version behind. So [`Changes::id`] names the batch: an engine that
/// can lose an answer inserts it, in the same transaction, into a table of its own under a unique
/// index. To learn the outcome it inserts the same id again, alone: a duplicate means applied, once it is durable;
/// success means not applied and, the id now being taken, never to be. What is inserted to ask is
/// marked as such, so that it is not taken for a commit if its own answer is lost and the question is
/// asked again. Only if that cannot be asked is the outcome `Unknown`. Another try of the same batch counts up an attempt beside the id,
/// and ids are forgotten once no attempt of theirs can be in flight any more.
///
/// **Cancellation.** Dropping the future of a commit neither cancels nor hastens it.
pub trait Engine: Send + Sync + 'static {
    /// The records of `keys`, in their order, all from one consistent state; `None` for absent.
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>>;

    /// Reads what `reading` wants until it wants no more, all from one consistent state, and gives it back.
    ///
    /// An engine that can keep a state open reads each round of it there. What is provided serves any other: each round is
    /// one [`Engine::get_many`] of all keys known by then, so that the last of them alone is what was read; a key that has
    /// come to lead elsewhere since the round before costs a round more.
    fn read(
        &self,
        reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        Box::pin(by_whole_reads(self, reading, now))
    }

    /// The first `limit` records of `prefix` whose key is greater than `after`, in key order, all
    /// from one consistent state. `after` may be any key, stored or not, inside or outside.
    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>>;

    /// At most `limit` stored records that expired at or before `before`, the earliest expiry
    /// first and those of one moment in key order; never a record without expiry. Removing one
    /// at the version given cannot hit a later state of it.
    fn expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>>;

    /// Applies all of `changes`, or nothing.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>>;

    /// All that is stored, as it is at one moment between the call and the answer. An engine that cannot keep a state says so.
    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async {
            Err(EngineError::Other {
                detail: "this engine keeps no state open".to_owned(),
            })
        })
    }

    /// Whether reads and commits can be expected to succeed now. After a failure it may try a
    /// durable write of its own to find out.
    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Which copies of the database follow it at the moment, as far as it knows; an engine without any has none.
    fn standbys(&self) -> BoxFuture<'_, Result<Standbys, EngineError>> {
        Box::pin(async { Ok(Standbys::default()) })
    }

    /// What the clock of the database's machine says, to hold one's own against: between the call and the answer; `None` where
    /// the database has no machine of its own.
    fn server_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, EngineError>> {
        Box::pin(async { Ok(None) })
    }

    /// The connections to the database, as they are now; an engine without a pool has none.
    fn pool(&self) -> Option<PoolFigures> {
        None
    }

    /// Finishes what was begun and lets go of the database. Every later call fails with
    /// [`EngineError::Closed`]; closing again does nothing.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// From now on tells `observer`, in place of any before, how commits end. An engine that keeps no
    /// count of its transactions tells nothing.
    fn observe(&self, _observer: Arc<dyn CommitObserver>) {}

    /// Takes the records away from everybody, for good: from then on every read and every commit of every process fails with
    /// [`EngineError::Relocated`], whenever it has opened the store. [`Engine::snapshot`] is of the records still.
    ///
    /// Nothing that was acknowledged is missing in such a snapshot, and nothing is acknowledged after it. Where a fence is found,
    /// this answers once that one is as durable as its own would be.
    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            Err(EngineError::Other {
                detail: "this engine cannot be fenced".to_owned(),
            })
        })
    }

    /// Gives back the room of what was removed or replaced, and overwrites what was there, as far as that is the engine's to do.
    fn compact(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    /// How many records are stored, expired ones included, for telling how far something is that goes over all of them: about,
    /// and `None` where the engine would have to read them for it.
    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether nothing is stored, expired records included.
    fn is_empty(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async {
            let all = Prefix::all();
            Ok(self.scan(&all, None, 1, Timestamp::EPOCH).await?.is_empty()
                && self.expired(Timestamp::MAX, 1).await?.is_empty())
        })
    }
}

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The record's state.
    pub version: Version,
    /// Its body, opaque to the engine.
    pub body: Body,
    /// From when on it is absent, if ever.
    pub expires_at: Option<Timestamp>,
}

impl Row {
    /// Whether readers at `now` take the record as absent.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// What to do to one record, and in which state it must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Absent, or expired at the batch's time: becomes this row.
    Insert(Row),
    /// At this version, expired or not: is no longer stored.
    Remove {
        /// The state it must be in.
        at: Version,
    },
    /// At this version: becomes this row.
    Replace {
        /// The state it must be in.
        at: Version,
        /// The state it gets, under another version.
        row: Row,
    },
    /// At this version: keeps it and its expiry, and gets another body that means the same.
    Reseal {
        /// The state it must be in, and stays in.
        at: Version,
        /// The new body.
        body: Body,
    },
    /// At this version: stays as it is until the batch is committed.
    Require {
        /// The state it must be in.
        at: Version,
    },
}

/// One entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record.
    pub key: Key,
    /// Its index in the order in which the batch was filled, for [`CommitError::Conflict`].
    pub index: usize,
    /// What to do to it.
    pub change: Change,
}

/// A batch as engines get it: in key order, each record once, within the limits.
///
/// ```
/// use keyproof_store::memory::MemoryEngine;
/// use keyproof_store::{Change, Changes, Engine, Key, Row, SystemEntropy, Timestamp, Version};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (engine, entropy, now) = (MemoryEngine::new(), SystemEntropy::new(), Timestamp::from_secs(1_700_000_000));
/// let key = Key::new("device", ["shop", "till-1"]);
/// let row = Row { version: Version::draw(&entropy), body: "{}".into(), expires_at: None };
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
    /// How long a batch's id is, in bytes.
    pub const ID_LEN: usize = 24;
    /// The most entries of one batch.
    pub const MAX_ENTRIES: usize = 1_024;
    /// The longest body of one record, in bytes.
    pub const MAX_BODY_LEN: usize = 1 << 20;

    /// Checks and orders a batch, and draws its id.
    ///
    /// # Errors
    ///
    /// If a limit is exceeded or two changes name one record.
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
            let body = match &entry.change {
                Change::Insert(row) | Change::Replace { row, .. } => &row.body,
                Change::Reseal { body, .. } => body,
                Change::Remove { .. } | Change::Require { .. } => continue,
            };
            if body.len() > Self::MAX_BODY_LEN {
                return Err(NotApplied::BodyTooLong {
                    entry: entry.index,
                    len: body.len(),
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
        // Ids that are inserted at once lie side by side in their index.
        time.copy_from_slice(&now.as_millis().to_be_bytes());
        entropy.fill(random);
        Ok(Self { id, now, entries })
    }

    /// What names this batch: its time in milliseconds since the Unix epoch, 8 bytes with the highest first, and 128 random
    /// bits; see *Reading back* at [`Engine`].
    pub fn id(&self) -> &[u8; Self::ID_LEN] {
        &self.id
    }

    /// The time at which expiry is judged.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The entries, in key order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries, in key order, to take their bodies from.
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
