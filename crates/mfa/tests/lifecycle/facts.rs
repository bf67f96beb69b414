//! The expected state, computed without a look at the records.

use keyproof_mfa::{
    Challenge, DeviceId, Failure, Locked, UnixMillis,
    otp::{Secret, Totp},
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;

/// How many sessions there are.
pub(crate) const SESSIONS: usize = 2;

/// The expected count of consecutive failures. An attempt that is checked after a lock ends the
/// lock for good, even if the clock is set back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) failures: u32,
    pub(crate) locked_until: i64,
    pub(crate) kept_until: i64,
    pub(crate) locks: u32,
    /// How many locks wrong codes contributed to, whether one is counted now, and until when that
    /// matters.
    doubled: (u32, bool, i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    Code,
    Password,
}

impl Count {
    pub(crate) fn is_locked(self, now: i64) -> bool {
        now < self.locked_until
    }

    pub(crate) fn failed(&mut self, failure: Failure, guess: Guess, now: i64) {
        let before = self.counted(guess, now);
        assert_eq!(failure.consecutive, before + 1);
        let until = (before == 2).then(|| UnixMillis::from_millis(self.locked_until as u64));
        assert_eq!(failure.locked_until, until);
    }

    /// Counts one more failure, and returns how many there were before.
    pub(crate) fn counted(&mut self, guess: Guess, now: i64) -> u32 {
        assert!(!self.is_locked(now), "an attempt was judged while locked");
        self.forget(now);
        let before = self.failures;
        self.failures += 1;
        self.locked_until = 0;
        let (mut times, mut counting, mut until) = self.doubled;
        if now >= until {
            (times, counting) = (0, false);
        }
        if guess == Guess::Code {
            (counting, until) = (true, until.max(now + DAY));
        }
        self.kept_until = self.kept_until.max(now + DAY);
        if self.failures == 3 {
            let length = if counting { times } else { times.max(1) - 1 };
            let length = ((5 * MINUTE) << length.min(20)).min(DAY);
            self.failures = 0;
            self.locks += 1;
            self.locked_until = now + length;
            if counting {
                (times, counting) = (times + 1, false);
                until = until.max(self.locked_until + DAY);
            }
        }
        self.doubled = (times, counting, until);
        self.kept_until = self.kept_until.max(self.locked_until);
        if times > 0 || counting {
            self.kept_until = self.kept_until.max(until);
        }
        before
    }

    pub(crate) fn refused(&self, locked: Locked, now: i64) {
        assert!(self.is_locked(now), "refused as locked, and is not");
        assert_eq!(locked.until.as_millis() as i64, self.locked_until);
    }

    /// A right password or code was accepted.
    pub(crate) fn witnessed(&mut self, now: i64) {
        assert!(!self.is_locked(now), "right, and judged while locked");
        if now >= self.kept_until {
            self.forget(now);
            self.kept_until = now + DAY;
        }
    }

    pub(crate) fn succeeded(&mut self, now: i64) {
        assert!(!self.is_locked(now), "right, and judged while locked");
        self.forget(now);
        self.clear();
    }

    pub(crate) fn clear(&mut self) {
        (self.failures, self.locked_until) = (0, 0);
        self.end_doubling();
    }

    pub(crate) fn end_doubling(&mut self) {
        self.doubled = (0, false, 0);
    }

    /// Drops what has expired.
    pub(crate) fn forget(&mut self, now: i64) {
        if now >= self.kept_until {
            let locks = self.locks;
            *self = Self {
                locks,
                ..Self::default()
            };
        }
    }
}

/// An address where the user has logged in.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) number: usize,
    pub(crate) place: u8,
    pub(crate) until: i64,
    pub(crate) count: Count,
}

/// The counter of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The one of the address with this number.
    Address(usize),
    Device(DeviceId),
    Name,
}

/// A challenge, and the state when it was issued.
pub(crate) struct Issued {
    pub(crate) stored: Option<Challenge>,
    pub(crate) read: Challenge,
    pub(crate) at: i64,
    pub(crate) enrolment: usize,
    pub(crate) user_generation: u64,
    pub(crate) whose: Whose,
    pub(crate) locks: u32,
    pub(crate) answered: bool,
}

pub(crate) struct TrustedDevice {
    pub(crate) id: DeviceId,
    pub(crate) fingerprint: u8,
    pub(crate) at: i64,
    pub(crate) enrolment: usize,
    pub(crate) user_generation: u64,
    pub(crate) count: Count,
}

pub(crate) struct Recovery {
    pub(crate) text: String,
    pub(crate) good: bool,
    pub(crate) used: bool,
}

pub(crate) struct Enrolment {
    pub(crate) secret: Secret,
    pub(crate) totp: Totp,
    pub(crate) active: bool,
    pub(crate) last_step: Option<u64>,
}
