//! Consecutive failures, and the lock they end in.

use thiserror::Error;

use crate::{DeviceId, Policy, UnixMillis};

/// Counts consecutive failures, passwords and codes together, and locks at the third
/// ([`Policy::lockout_failures`]).
///
/// - While it is locked, an attempt is neither judged nor counted: a stranger who keeps trying
///   cannot prolong the lock.
/// - When the lock is over the count begins anew at nothing: otherwise one more wrong guess would
///   lock again, and a stranger could lock somebody out for ever.
/// - Only a success that took every factor ends the count. A right password alone does not while a
///   key is active: whoever knows the password could guess codes without end.
/// - A count that neither a success nor a lock has ended is forgotten a day after its last failure
///   (later if a challenge is open), so that guesses at names of nobody do not fill a store.
/// - A clock set back makes a lock last longer, never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Lockout", try_from = "crate::stored::Lockout")
)]
pub struct Lockout {
    /// Since the last success or lock; below the policy's number when it was counted.
    pub(crate) failures: u32,
    /// How many locks there have been: a challenge from before the last of them is spent.
    pub(crate) locks: u64,
    /// The end of the last lock.
    pub(crate) locked_until: Option<UnixMillis>,
    /// When nothing of this matters any more.
    pub(crate) expires_at: UnixMillis,
}

impl Lockout {
    const NOTHING: Self = Self {
        failures: 0,
        locks: 0,
        locked_until: None,
        expires_at: UnixMillis::from_millis(0),
    };

    /// When this may be removed: from then on it counts as absent.
    pub const fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    /// Consecutive failures up to now; none while locked.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The end of the lock, if there is one now.
    pub fn locked_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.locked_until.filter(|until| now < *until)
    }

    /// One more failure, at a time when nothing is locked.
    pub(crate) fn failed(
        lockout: Option<Self>,
        counter: Counter,
        now: UnixMillis,
        policy: &Policy,
    ) -> (Self, Failure) {
        let before = Self::current(lockout, now).unwrap_or(Self::NOTHING);
        let consecutive = before.failures.saturating_add(1);
        let next = before.outliving(now.saturating_add(policy.lockout_kept()));
        let next = if consecutive < policy.lockout_failures.get() {
            Self {
                failures: consecutive,
                locked_until: None,
                ..next
            }
        } else {
            Self {
                failures: 0,
                locked_until: Some(now.saturating_add(policy.lockout)),
                locks: before.locks.saturating_add(1),
                ..next
            }
        };
        let failure = Failure {
            consecutive,
            counter,
            locked_until: next.locked_until,
        };
        (next, failure)
    }

    /// What somebody has seen whose password or code was right; an empty one where there was none,
    /// so that their commit conflicts with that of a failure they know nothing of. Otherwise a right
    /// guess among many at once would be told after the lock that the wrong ones have led to.
    pub(crate) fn witnessed(lockout: Option<Self>, now: UnixMillis, policy: &Policy) -> Self {
        let nothing = || Self::NOTHING.outliving(now.saturating_add(policy.lockout_kept()));
        Self::current(lockout, now).unwrap_or_else(nothing)
    }

    /// Kept until `moment` at least, so that a challenge which lives as long can be told from one
    /// of before the last lock.
    pub(crate) fn outliving(self, moment: UnixMillis) -> Self {
        Self {
            expires_at: self.expires_at.max(moment),
            ..self
        }
    }

    /// Nothing is counted or locked any more.
    pub(crate) const fn cleared(self) -> Self {
        Self {
            failures: 0,
            locked_until: None,
            ..self
        }
    }

    /// Absent once it has expired, whether or not the store has removed it.
    pub(crate) fn current(lockout: Option<Self>, now: UnixMillis) -> Option<Self> {
        lockout.filter(|lockout| now < lockout.expires_at)
    }
}

/// Whose failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Those of logins from this trusted device. It has a count of its own, so that a stranger who
    /// locks the user does not lock them out there.
    Device(DeviceId),
    /// Those of everywhere else.
    User,
}

/// A failure that has just been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// How many there have been in a row, this one included.
    pub consecutive: u32,
    /// Whose.
    pub counter: Counter,
    /// If it was the last that the policy allows: until when attempts are refused from now on.
    pub locked_until: Option<UnixMillis>,
}

/// An attempt that was neither judged nor counted, because of earlier ones.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("locked after too many failures")]
pub struct Locked {
    /// Whose.
    pub counter: Counter,
    /// From when on attempts are judged again.
    pub until: UnixMillis,
}
