//! The one place where time comes in.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use keyproof_mfa::UnixMillis;
use keyproof_store::Timestamp;

/// Where the time of day comes from.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still until it is moved: for tests and demonstrations.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Sets it, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// How far this machine's clock may be from the database's: what it takes for ended may else be others' to use still.
const APART: Duration = Duration::from_secs(60);

/// How far apart the clocks of two machines may be that both do the upkeep: one ahead of the database's, and one behind.
pub(crate) const APART_AT_MOST: Duration = Duration::from_secs(2 * APART.as_secs());

/// How far this machine's clock is from the one of the store's database, which all machines share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockDifference {
    /// By how much at least.
    pub by: Duration,
    /// Whether it is this machine's that is ahead.
    pub is_ahead: bool,
}

impl ClockDifference {
    /// That of a clock which showed `asked` before the other one showed `theirs`, and `answered` after that.
    pub(crate) fn between(asked: Timestamp, theirs: Timestamp, answered: Timestamp) -> Self {
        let ahead = asked.saturating_since(theirs);
        let behind = theirs.saturating_since(answered);
        Self {
            by: ahead.max(behind),
            is_ahead: ahead > behind,
        }
    }

    /// Whether this machine is to leave it to others to say what has ended: it is more than a minute.
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

/// A moment as `keyproof-mfa` counts.
pub(crate) const fn millis(at: Timestamp) -> UnixMillis {
    UnixMillis::from_millis(at.as_millis())
}

/// A moment of `keyproof-mfa` as the store counts.
pub(crate) const fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp::from_millis(at.as_millis())
}

/// A moment as `keyproof-auth` counts.
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
        // What otp, x509 and tpm take.
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
