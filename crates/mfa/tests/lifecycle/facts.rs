//! What an onlooker knows, without a look at the records.

use keyproof_mfa::otp::{Secret, Totp};
use keyproof_mfa::{Challenge, DeviceId, Failure, Locked, UnixMillis};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;

/// Consecutive failures, as an onlooker counts them. What is judged after a lock ends it: a clock
/// set back does not begin it again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) failures: u32,
    pub(crate) locked_until: i64,
    pub(crate) kept_until: i64,
}

impl Count {
    pub(crate) fn is_locked(self, now: i64) -> bool {
        now < self.locked_until
    }

    pub(crate) fn failed(&mut self, failure: Failure, now: i64) {
        assert!(!self.is_locked(now), "an attempt was judged while locked");
        if now >= self.kept_until {
            self.failures = 0;
        }
        self.failures += 1;
        self.kept_until = self.kept_until.max(now + DAY);
        self.locked_until = 0;
        assert_eq!(failure.consecutive, self.failures);
        if self.failures == 3 {
            self.failures = 0;
            self.locked_until = now + 5 * MINUTE;
            let until = UnixMillis::from_millis(self.locked_until as u64);
            assert_eq!(failure.locked_until, Some(until));
        } else {
            assert_eq!(failure.locked_until, None);
        }
    }

    pub(crate) fn refused(&self, locked: Locked, now: i64) {
        assert!(self.is_locked(now), "refused as locked, and is not");
        assert_eq!(locked.until.as_millis() as i64, self.locked_until);
    }

    /// A right password or code was seen.
    pub(crate) fn witnessed(&mut self, now: i64) {
        assert!(!self.is_locked(now), "right, and judged while locked");
        if now >= self.kept_until {
            *self = Self {
                kept_until: now + DAY,
                ..Self::default()
            };
        }
    }

    pub(crate) fn succeeded(&mut self, now: i64) {
        self.witnessed(now);
        (self.failures, self.locked_until) = (0, 0);
    }
}

/// A challenge, and what was the case when it was issued.
pub(crate) struct Issued {
    pub(crate) stored: Option<Challenge>,
    pub(crate) read: Challenge,
    pub(crate) at: i64,
    pub(crate) enrolment: usize,
    pub(crate) user_generation: u64,
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
