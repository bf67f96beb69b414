//! What an operator's dashboard reads of running use cases: how much is done and waits, what was turned away, and
//! whether the upkeep keeps up. Each number is this process's own, counted from its start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use keyproof_store::{Batch, CommitOutcome, PoolFigures, Standbys, Timestamp};

use crate::ClockDifference;

/// All of them, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Passwords that are hashed, and those that wait.
    pub hashing: HashingFigures,
    /// The queues of what takes a processor's time, each with the domain that it serves.
    pub queues: [(&'static str, QueueFigures); 3],
    /// Locks after failures, each with the domain that they are in.
    pub locks: [(&'static str, LockFigures); 2],
    /// How often each use case ran again because a record changed meanwhile, for those that did.
    pub retries: BTreeMap<&'static str, u64>,
    /// Refusals that were left out of the audit trail, because they came too fast.
    pub audit_left_out: u64,
    /// The clean-up.
    pub upkeep: UpkeepFigures,
    /// The copies of the store's database that follow it, as they were last asked for.
    pub standbys: Standbys,
    /// How far this machine's clock is from that of the store's database, as they were last compared; none if it is embedded.
    pub clock_difference: Option<ClockDifference>,
    /// The connections to the store's database; none if it is embedded.
    pub pool: Option<PoolFigures>,
    /// When the next CA certificate of a provisioning service ends, as it was last looked at; none without any.
    pub certificates_end: Option<Timestamp>,
    /// When the first CA of a TPM category ends, as it was last looked at; none without categories.
    pub authorities_end: Option<Timestamp>,
}

/// The hashing of passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashingFigures {
    /// How many are hashed now.
    pub running: usize,
    /// How many wait for a thread.
    pub waiting: usize,
    /// How many were hashed.
    pub hashed: u64,
    /// How many were turned away, because too many waited.
    pub busy: u64,
    /// How many were not hashed, because their client had gone.
    pub gone: u64,
    /// How many requests were refused by their address's limit.
    pub limited: u64,
}

/// A queue of [`Judging`](crate::Judging).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// How many pieces of work run or wait.
    pub taken: usize,
    /// How many may.
    pub capacity: usize,
    /// How many requests were turned away, because it was full.
    pub refused: u64,
}

/// Locks after failures at passwords and codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockFigures {
    /// How many began.
    pub begun: u64,
    /// How many attempts were not judged, because of one.
    pub refused: u64,
}

/// The clean-up of what has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepFigures {
    /// How many rounds were done.
    pub rounds: u64,
    /// How many rounds failed.
    pub failed: u64,
    /// How many expired records were removed.
    pub removed: u64,
    /// Whether the last round left something to the next.
    pub is_behind: bool,
}

/// A number that only rises. It orders nothing else.
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

/// Counts the locks of a domain.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    begun: Count,
    refused: Count,
}

impl Locks {
    pub(crate) fn figures(&self) -> LockFigures {
        LockFigures {
            begun: self.begun.get(),
            refused: self.refused.get(),
        }
    }

    /// An attempt was not judged.
    pub(crate) fn refused(&self) {
        self.refused.add(1);
    }

    /// One begins with this batch, if it is applied.
    pub(crate) fn begins(self: &Arc<Self>, batch: &mut Batch) {
        let locks = Arc::clone(self);
        batch.on_outcome(move |outcome| {
            if outcome == CommitOutcome::Applied {
                locks.begun.add(1);
            }
        });
    }
}
