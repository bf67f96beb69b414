//! The single source of the current time.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use keyproof_mfa::UnixMillis;
use keyproof_store::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The system clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // By a clock before 1970 no lock has ended.
        Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH)
    }
}

/// A clock that only moves when told to, for tests and demonstrations.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Creates a clock that shows `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// How far this machine's clock may be from the database's. Beyond that it could treat records as expired that others still use.
const APART: Duration = Duration::from_secs(60);

/// How far apart the clocks of two machines that do the upkeep may be: one ahead of the database's clock, one behind it.
pub(crate) const APART_AT_MOST: Duration = Duration::from_secs(2 * APART.as_secs());

/// The difference between this machine's clock and that of the store's database, which all machines share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockDifference {
    /// The smallest possible difference.
    pub by: Duration,
    /// Whether this machine's clock is ahead.
    pub is_ahead: bool,
}

impl ClockDifference {
    /// Returns the difference of a clock that showed `asked` before the other clock showed `theirs`, and `answered` after it.
    pub(crate) fn between(asked: Timestamp, theirs: Timestamp, answered: Timestamp) -> Self {
        let ahead = asked.saturating_since(theirs);
        let behind = theirs.saturating_since(answered);
        Self {
            by: ahead.max(behind),
            is_ahead: ahead > behind,
        }
    }

    /// Whether the difference is more than a minute, so that this machine must leave it to others to remove expired records.
    pub fn is_too_much(&self) -> bool {
        self.by > APART
    }
}

impl fmt::Display for ClockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.by.as_secs();
        let side = if self.is_ahead { "ahead of" } else { "behind" };
        write!(
            f,
            "this machine's clock is {seconds} s {side} the database's"
        )
    }
}

/// Converts a store timestamp to that of `keyproof-mfa`.
pub(crate) const fn millis(at: Timestamp) -> UnixMillis {
    UnixMillis::from_millis(at.as_millis())
}

/// Converts a `keyproof-mfa` timestamp to that of the store.
pub(crate) const fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp::from_millis(at.as_millis())
}

/// Converts a store timestamp to that of `keyproof-auth`.
pub(crate) const fn auth_millis(at: Timestamp) -> keyproof_auth::UnixMillis {
    keyproof_auth::UnixMillis::from_millis(at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_of_our_crates_become_one_another() {
        let stored = Timestamp::from_millis(1_799_999_999_999);
        let (of_mfa, of_auth) = (millis(stored), auth_millis(stored));
        assert_eq!(of_mfa, UnixMillis::from(Duration::from(stored)));
        assert_eq!(of_auth.as_millis(), stored.as_millis());
        assert_eq!(timestamp(of_mfa), stored);
        assert_eq!(Timestamp::from(Duration::from(of_auth)), stored);
        assert_eq!(Timestamp::from(Duration::from(of_mfa)), stored);
        // The unit that otp, x509 and tpm use.
        assert_eq!(
            (of_mfa.as_secs(), stored.as_secs()),
            (1_799_999_999, 1_799_999_999)
        );
        assert_eq!(Duration::from(of_mfa).as_secs(), 1_799_999_999);
    }

    #[test]
    fn the_system_clock_is_past_the_release_of_this_code() {
        assert!(SystemClock.now() > Timestamp::from_secs(1_763_000_000));
    }

    #[test]
    fn a_difference_is_what_the_time_of_asking_does_not_explain() {
        let [asked, answered] = [1_000, 1_004].map(Timestamp::from_secs);
        for (theirs, by, is_ahead, is_too_much) in [
            (939, 61, true, true),
            (940, 60, true, false),
            (1_000, 0, false, false),
            (1_004, 0, false, false),
            (1_064, 60, false, false),
            (1_065, 61, false, true),
        ] {
            let found = ClockDifference::between(asked, Timestamp::from_secs(theirs), answered);
            let by = Duration::from_secs(by);
            assert_eq!(found, ClockDifference { by, is_ahead }, "{theirs}");
            assert_eq!(found.is_too_much(), is_too_much, "{theirs}");
        }
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::new(Timestamp::from_secs(10));
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Timestamp::from_millis(11_500));
        clock.set(Timestamp::EPOCH);
        assert_eq!(clock.now(), Timestamp::EPOCH);
    }
}
