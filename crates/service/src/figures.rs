//! Figures about the running use cases for an operator's dashboard: work done and waiting, refusals, and whether the upkeep keeps
//! up. Each counter belongs to this process and starts at its start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use keyproof_store::{Batch, CommitOutcome, PoolStatus, Standbys, Timestamp};

use crate::{ClockDifference, mutex::lock};

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The hashing of passwords.
    pub hashing: HashingFigures,
    /// The queues of CPU-bound work, each with the domain that it serves.
    pub queues: [(&'static str, QueueFigures); 4],
    /// How many lists and searches were refused because too many were running, by their kind.
    pub lists: [(&'static str, u64); 3],
    /// Lockouts, each with its domain.
    pub locks: [(&'static str, LockFigures); 2],
    /// How often each use case was retried because a record changed meanwhile. Use cases without a retry are absent.
    pub retries: BTreeMap<&'static str, u64>,
    /// Refusals left out of the audit trail because they came too fast.
    pub audit_left_out: u64,
    /// The removal of expired records.
    pub upkeep: UpkeepFigures,
    /// The standbys of the store's database, as of the last query.
    pub standbys: Standbys,
    /// The difference between this machine's clock and the database's at the last comparison; `None` for an embedded store.
    pub clock_difference: Option<ClockDifference>,
    /// The connections to the store's database; `None` for an embedded store.
    pub pool: Option<PoolStatus>,
    /// When the next CA certificate of a provisioning service expires, as of the last look; `None` if there is none.
    pub certificates_end: Option<Timestamp>,
    /// When the first CA of a TPM category expires, as of the last look; `None` if there is none.
    pub authorities_end: Option<Timestamp>,
    /// When the next CA or latest client certificate of a TPM category expires, as of the last look; `None` if there is none.
    pub tpm_certificates_end: Option<Timestamp>,
}

/// The hashing of passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashingFigures {
    /// Passwords being hashed now.
    pub running: usize,
    /// Requests waiting for a thread.
    pub waiting: usize,
    /// Passwords hashed.
    pub hashed: u64,
    /// Requests refused because too many were waiting.
    pub busy: u64,
    /// Requests not hashed because their client had gone.
    pub gone: u64,
    /// Requests refused by the limit for their address.
    pub limited: u64,
}

/// A queue of [`CpuQueue`](crate::CpuQueue).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Pieces of work that run or wait.
    pub taken: usize,
    /// The maximum of `taken`.
    pub capacity: usize,
    /// Requests refused because the queue was full.
    pub refused: u64,
}

/// Lockouts after wrong passwords and codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockFigures {
    /// Lockouts that began.
    pub begun: u64,
    /// Attempts that were refused because of a lockout. Only a password that comes with a fingerprint was checked.
    pub refused: u64,
}

/// The removal of expired records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepFigures {
    /// Rounds that succeeded.
    pub rounds: u64,
    /// Rounds that failed.
    pub failed: u64,
    /// Expired records that were removed.
    pub removed: u64,
    /// Whether the last round left work for the next.
    pub is_behind: bool,
}

/// A counter that only rises. It does not order other memory accesses.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        // Exact: a usize has at most 64 bits.
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the lockouts of a domain.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<LockFigures>);

impl Locks {
    /// Returns how many lockouts began and how many attempts they refused.
    pub(crate) fn figures(&self) -> LockFigures {
        *lock(&self.0)
    }

    /// Counts an attempt that is refused because of a lockout.
    pub(crate) fn refused(&self) {
        lock(&self.0).refused += 1;
    }

    /// Counts a lockout that begins with this batch, if the batch is applied.
    pub(crate) fn begins(self: &Arc<Self>, batch: &mut Batch) {
        let locks = Arc::clone(self);
        batch.on_outcome(move |outcome| {
            if outcome == CommitOutcome::Applied {
                lock(&locks.0).begun += 1;
            }
        });
    }
}
