//! Counts of consecutive failures, and the locks they cause.

use core::time::Duration;

use thiserror::Error;

use crate::{AddressId, DeviceId, Policy, SessionId, UnixMillis};

/// Counts consecutive failures, passwords and codes together, and locks at the third
/// ([`Policy::lockout_failures`]).
///
/// - While it is locked, attempts are not counted, so a stranger who keeps trying cannot prolong the
///   lock. Nor are they checked, except for a password that comes with a fingerprint: of a trusted
///   device, which has a count of its own, or a guess at one ([`Fingerprint`](crate::Fingerprint)).
/// - After a lock the count restarts at zero. Otherwise a single wrong guess would lock again, and
///   a stranger could lock a user out for ever.
/// - Wrong codes are guesses by somebody who knows the password. Each lock that they contribute to
///   lasts twice as long as the one before, up to a day ([`Policy::lockout_longest`]). Wrong
///   passwords double nothing, since anybody can guess them.
/// - Only a success with every factor resets the count and the doubling. A right password alone
///   does not while a key is active; otherwise somebody who knows the password could guess codes
///   without limit. The doubling also ends with a new password, and after a day in which codes
///   could be checked and none was wrong.
/// - A count that neither a success nor a lock has reset is forgotten a day after its last failure
///   (later if a challenge is open), so that guesses at names that do not exist do not fill a
///   store.
/// - Setting the clock back makes a lock longer, never shorter.
///
/// ```
/// use keyproof_mfa::{Client, Password, Policy, UnixMillis, User, UserId, UserRecords};
///
/// let (policy, now) = (Policy::default(), UnixMillis::from_secs(1_800_000_000));
/// let mut ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let mut counted = Vec::new();
/// for _ in 0..3 {
///     ada = ada.begin_login(Password::Wrong, Client::UNKNOWN, now, &policy).next;
///     counted.extend(ada.lockout.map(|lockout| (lockout.failures(), lockout.locked_until(now))));
/// }
/// let end = now.saturating_add(policy.lockout);
/// assert_eq!(counted, [(1, None), (2, None), (0, Some(end))]); // after a lock the count restarts
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Lockout", try_from = "crate::stored::Lockout")
)]
pub struct Lockout {
    /// Since the last success or lock; below the policy's limit when it was counted.
    pub(crate) failures: u32,
    /// How many locks there have been. A challenge older than the last lock has ended.
    pub(crate) locks: u64,
    /// The end of the last lock.
    pub(crate) locked_until: Option<UnixMillis>,
    /// How wrong codes have lengthened the locks.
    pub(crate) doubling: Option<Doubling>,
    /// When this no longer has any effect.
    pub(crate) expires_at: UnixMillis,
}

/// Whether, and how often, wrong codes have doubled the length of a lock, also as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Doubling {
    /// How many locks wrong codes contributed to.
    pub(crate) locks: u32,
    /// Whether the current failures include a wrong code.
    pub(crate) counting: bool,
    /// When a day has passed without a wrong code.
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

    /// The number of consecutive failures so far; 0 while locked.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The end of the current lock, if there is one.
    pub fn locked_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.locked_until.filter(|until| now < *until)
    }

    /// Counts one more failure, at a time when nothing is locked.
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

    /// The lockout to commit after a right password or code: an empty one if there was none. So
    /// this commit conflicts with that of a failure decided on the same records. Otherwise a right
    /// guess among many concurrent ones would still be confirmed after the lock that the wrong
    /// ones caused.
    pub(crate) fn witnessed(lockout: Option<Self>, now: UnixMillis, policy: &Policy) -> Self {
        let remembered = Self::remembered(lockout, now);
        if lockout.is_some_and(|lockout| lockout.is_current(now)) {
            remembered
        } else {
            remembered.outliving(now.saturating_add(policy.lockout_kept()))
        }
    }

    /// Keeps the record until `moment` at least, so that a challenge that lives as long can be
    /// compared with the last lock.
    pub(crate) fn outliving(self, moment: UnixMillis) -> Self {
        Self {
            expires_at: self.expires_at.max(moment),
            ..self
        }
    }

    /// Resets the count, the lock and the doubling.
    pub(crate) const fn cleared(self) -> Self {
        Self {
            failures: 0,
            locked_until: None,
            doubling: None,
            ..self
        }
    }

    /// Resets the doubling; the count and the lock stay.
    pub(crate) const fn undoubled(self) -> Self {
        Self {
            doubling: None,
            ..self
        }
    }

    pub(crate) fn is_current(&self, now: UnixMillis) -> bool {
        now < self.expires_at
    }

    /// Returns the lockout, or only its number of locks once it has expired: setting the clock back
    /// then does not revive a challenge from before a lock.
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
    /// How long the doubling lasts after the last wrong code.
    const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

    /// The doubling after one more failure.
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

    /// How often the lock that begins now is doubled. A lock by wrong passwords alone is as long as
    /// the last one.
    const fn times(self) -> u32 {
        if self.counting {
            self.locks
        } else {
            self.locks.saturating_sub(1)
        }
    }

    /// No code is checked during a lock, so the day without a wrong code begins after it.
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

/// A counter of failures.
///
/// A guess is counted in one counter, and locking one does not lock another. So a stranger who
/// guesses at a name does not lock out the user's devices, known addresses or sessions. Only a wrong
/// password from a trusted device is counted twice: for the device, and for the address or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Logins from this address, where the user has recently logged in with every factor.
    Address(AddressId),
    /// Logins from this trusted device.
    Device(DeviceId),
    /// Logins from everywhere else.
    Name,
    /// Attempts in this session, by somebody who is logged in.
    Session(SessionId),
}

/// A failure that has just been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Failure {
    /// How many there have been in a row, including this one.
    pub consecutive: u32,
    /// The counter that it was counted in; for a wrong password never a device.
    pub counter: Counter,
    /// When the lock ends, if this failure was the last that the policy allows.
    pub locked_until: Option<UnixMillis>,
}

/// The attempt was refused whether it was right or wrong, because of earlier failures.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("locked after too many failures, until {until} ms after 1970")]
pub struct Locked {
    /// The counter that is locked.
    pub counter: Counter,
    /// When attempts are checked again.
    pub until: UnixMillis,
}
