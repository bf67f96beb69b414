//! Consecutive failures, and the lock they end in.

use core::time::Duration;

use thiserror::Error;

use crate::{AddressId, DeviceId, Policy, SessionId, UnixMillis};

/// Counts consecutive failures, passwords and codes together, and locks at the third
/// ([`Policy::lockout_failures`]).
///
/// - While it is locked, an attempt is neither judged nor counted: a stranger who keeps trying
///   cannot prolong the lock.
/// - When the lock is over the count begins anew at nothing: otherwise one more wrong guess would
///   lock again, and a stranger could lock somebody out for ever.
/// - Wrong codes are guesses of somebody who knows the password: each lock that they have a part in
///   lasts twice as long as the one before, up to a day ([`Policy::lockout_longest`]). Wrong
///   passwords double nothing: anybody can guess them.
/// - Only a success that took every factor ends the count, and the doubling with it. A right
///   password alone does not while a key is active: whoever knows the password could guess codes
///   without end. The doubling ends with a new password too, and after a day in which codes could
///   be judged and none was wrong.
/// - A count that neither a success nor a lock has ended is forgotten a day after its last failure
///   (later if a challenge is open), so that guesses at names of nobody do not fill a store.
/// - A clock set back makes a lock last longer, never shorter.
///
/// ```
/// use keyproof_mfa::{Client, Password, Policy, UnixMillis, User, UserId, UserRecords};
///
/// let (policy, now) = (Policy::default(), UnixMillis::from_secs(1_800_000_000));
/// let mut ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let mut counted = Vec::new();
/// for _ in 0..3 {
///     ada = ada.begin_login(Password::Wrong, Client::STRANGER, now, &policy).next;
///     counted.extend(ada.lockout.map(|lockout| (lockout.failures(), lockout.locked_until(now))));
/// }
/// let end = now.saturating_add(policy.lockout);
/// assert_eq!(counted, [(1, None), (2, None), (0, Some(end))]); // after a lock the count begins anew
/// ```
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
    /// What wrong codes have made of the length of locks.
    pub(crate) doubling: Option<Doubling>,
    /// When nothing of this matters any more.
    pub(crate) expires_at: UnixMillis,
}

/// Whether, and how often, wrong codes have doubled the length of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Doubling {
    /// How many locks wrong codes had a part in.
    pub(crate) locks: u32,
    /// Whether one is among the failures that are counted now.
    pub(crate) counting: bool,
    /// When a day has passed without one.
    pub(crate) ends_at: UnixMillis,
}

/// What was guessed wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    Code,
    Password,
}

impl Lockout {
    const NOTHING: Self = Self {
        failures: 0,
        locks: 0,
        locked_until: None,
        doubling: None,
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
        guess: Guess,
        now: UnixMillis,
        policy: &Policy,
    ) -> (Self, Failure) {
        let before = Self::remembered(lockout, now);
        let consecutive = before.failures.saturating_add(1);
        let doubling = Doubling::after(before.doubling, guess, now);
        let next = before.outliving(now.saturating_add(policy.lockout_kept()));
        let next = if consecutive < policy.lockout_failures.get() {
            Self {
                failures: consecutive,
                locked_until: None,
                doubling,
                ..next
            }
        } else {
            let times = doubling.map_or(0, Doubling::times);
            let until = now.saturating_add(policy.lockout_doubled(times));
            Self {
                failures: 0,
                locked_until: Some(until),
                locks: before.locks.saturating_add(1),
                doubling: doubling.map(|doubling| doubling.locked(until)),
                ..next.outliving(until)
            }
        };
        let failure = Failure {
            consecutive,
            counter,
            locked_until: next.locked_until,
        };
        let doubled_until = next.doubling.map(|doubling| doubling.ends_at);
        (next.outliving(doubled_until.unwrap_or_default()), failure)
    }

    /// What somebody has seen whose password or code was right; an empty one where there was none,
    /// so that their commit conflicts with that of a failure they know nothing of. Otherwise a right
    /// guess among many at once would be told after the lock that the wrong ones have led to.
    pub(crate) fn witnessed(lockout: Option<Self>, now: UnixMillis, policy: &Policy) -> Self {
        let remembered = Self::remembered(lockout, now);
        if lockout.is_some_and(|lockout| lockout.is_current(now)) {
            remembered
        } else {
            remembered.outliving(now.saturating_add(policy.lockout_kept()))
        }
    }

    /// Kept until `moment` at least, so that a challenge which lives as long can be told from one
    /// of before the last lock.
    pub(crate) fn outliving(self, moment: UnixMillis) -> Self {
        Self {
            expires_at: self.expires_at.max(moment),
            ..self
        }
    }

    /// Nothing is counted, locked or doubled any more.
    pub(crate) const fn cleared(self) -> Self {
        Self {
            failures: 0,
            locked_until: None,
            doubling: None,
            ..self
        }
    }

    /// The next lock is as long as a first one; what is counted and locked stays so.
    pub(crate) const fn undoubled(self) -> Self {
        Self {
            doubling: None,
            ..self
        }
    }

    pub(crate) fn is_current(&self, now: UnixMillis) -> bool {
        now < self.expires_at
    }

    /// Once it has expired, nothing but the number of locks: a clock set back brings no challenge
    /// of before one to life.
    pub(crate) fn remembered(lockout: Option<Self>, now: UnixMillis) -> Self {
        match lockout {
            Some(lockout) if lockout.is_current(now) => lockout,
            _ => Self {
                locks: lockout.map_or(0, |lockout| lockout.locks),
                ..Self::NOTHING
            },
        }
    }
}

impl Doubling {
    /// How long nobody must have guessed a code wrong.
    const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

    /// What one more failure makes of it.
    fn after(doubling: Option<Self>, guess: Guess, now: UnixMillis) -> Option<Self> {
        let doubling = doubling.filter(|doubling| now < doubling.ends_at);
        match guess {
            Guess::Password => doubling,
            Guess::Code => Some(Self {
                locks: doubling.map_or(0, |doubling| doubling.locks),
                counting: true,
                ends_at: doubling
                    .map_or(now, |doubling| doubling.ends_at)
                    .max(now.saturating_add(Self::KEPT)),
            }),
        }
    }

    /// How often the lock that begins now is doubled: wrong passwords alone leave it as long as the
    /// last one.
    const fn times(self) -> u32 {
        if self.counting {
            self.locks
        } else {
            self.locks.saturating_sub(1)
        }
    }

    /// While it is locked no code is judged, so no day passes without a wrong one.
    fn locked(self, until: UnixMillis) -> Self {
        if !self.counting {
            return self;
        }
        Self {
            locks: self.locks.saturating_add(1),
            counting: false,
            ends_at: self.ends_at.max(until.saturating_add(Self::KEPT)),
        }
    }
}

/// Whose failures are counted.
///
/// A guess is counted once. Whoever locks one counter locks no other, so that a stranger who
/// guesses at a name shuts out neither the places that its user is known at nor the sessions that
/// they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Those of logins from this address, where the user has logged in with every factor of late.
    Address(AddressId),
    /// Those of logins from this trusted device.
    Device(DeviceId),
    /// Those of logins from everywhere else.
    Name,
    /// Those of whoever has logged in already, in this session.
    Session(SessionId),
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
#[error("locked after too many failures, until {} ms after 1970", .until.as_millis())]
pub struct Locked {
    /// Whose.
    pub counter: Counter,
    /// From when on attempts are judged again.
    pub until: UnixMillis,
}
