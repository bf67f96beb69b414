use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, as whole milliseconds since the Unix epoch (1970-01-01T00:00:00Z).
///
/// It never exceeds [`Timestamp::MAX`], so that engines can store it in a signed 64-bit column; every constructor
/// saturates there.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use keyproof_store::Timestamp;
///
/// let now = Timestamp::try_from(SystemTime::now())?;
/// // Other representations of time convert through a duration since the epoch, as keyproof_mfa's `UnixMillis` does.
/// assert_eq!(Timestamp::from(Duration::from(now)), now);
/// assert_eq!(Duration::from(now).as_secs(), now.as_secs()); // as keyproof_otp and keyproof_x509 take it
/// assert!(SystemTime::try_from(now)? <= SystemTime::now());
/// let in_an_hour = now.saturating_add(Duration::from_secs(3_600)); // for a record's expiry
/// assert_eq!(in_an_hour.saturating_since(now).as_secs(), 3_600);
/// # Ok::<(), keyproof_store::TimeOutOfRange>(())
/// ```
///
/// No bare number converts to it, since it might be in seconds:
///
/// ```compile_fail
/// let now: keyproof_store::Timestamp = 1_700_000_000_u64.into();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch. Only a record that expires at the epoch itself has expired by then.
    pub const EPOCH: Self = Self(0);
    /// The last representable moment: 2^63 - 1 milliseconds after the epoch.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Creates the moment `millis` milliseconds after the epoch, at most [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Creates the moment `secs` seconds after the epoch, at most [`Timestamp::MAX`].
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns this moment plus `duration` (its whole milliseconds), at most [`Timestamp::MAX`].
    #[must_use = "the moment itself does not change"]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(duration)))
    }

    /// Returns this moment minus `duration` (its whole milliseconds), at least [`Timestamp::EPOCH`].
    #[must_use = "the moment itself does not change"]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Returns how long after `earlier` this moment is; zero if it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns how far apart two moments are, whichever is the earlier.
    pub const fn abs_diff(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Serialises as milliseconds since the epoch, a number.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Deserialises from milliseconds since the epoch; a larger number becomes [`Timestamp::MAX`].
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from_millis)
    }
}

/// The duration since the Unix epoch, truncated to milliseconds; at most [`Timestamp::MAX`].
impl From<Duration> for Timestamp {
    fn from(since_epoch: Duration) -> Self {
        Self::from_millis(millis(since_epoch))
    }
}

/// The duration since the Unix epoch.
impl From<Timestamp> for Duration {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_millis(timestamp.0)
    }
}

/// Truncated to milliseconds; at most [`Timestamp::MAX`]. Fails before the epoch, as on a clock that was never set: by
/// such a clock no record would have expired.
impl TryFrom<SystemTime> for Timestamp {
    type Error = TimeOutOfRange;

    fn try_from(time: SystemTime) -> Result<Self, TimeOutOfRange> {
        let since_epoch = time.duration_since(UNIX_EPOCH);
        since_epoch.map(Self::from).map_err(|_| TimeOutOfRange)
    }
}

/// Never fails on Unix; the clock of Windows ends some 29,000 years after the epoch.
impl TryFrom<Timestamp> for SystemTime {
    type Error = TimeOutOfRange;

    fn try_from(timestamp: Timestamp) -> Result<Self, TimeOutOfRange> {
        UNIX_EPOCH
            .checked_add(timestamp.into())
            .ok_or(TimeOutOfRange)
    }
}

/// A time before 1970, or one that the system's clock cannot represent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is before 1970 or beyond what can be represented")]
pub struct TimeOutOfRange;

impl fmt::Display for Timestamp {
    /// Prints milliseconds since the epoch, in decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_and_both_ends_saturate() {
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::MAX.saturating_sub(Duration::MAX),
            Timestamp::EPOCH
        );
        let read: Timestamp = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(read, Timestamp::MAX);
        let written = serde_json::to_string(&Timestamp::from_secs(1)).unwrap();
        assert_eq!(written, "1000");
    }

    #[test]
    fn the_systems_time_and_durations_become_one() {
        let since_epoch = Duration::new(1, 999_999_999);
        let expected = Timestamp::from_millis(1_999);
        assert_eq!(Timestamp::from(since_epoch), expected);
        assert_eq!(Timestamp::try_from(UNIX_EPOCH + since_epoch), Ok(expected));
        assert_eq!(Duration::from(expected), Duration::from_millis(1_999));
        assert_eq!(
            Timestamp::try_from(UNIX_EPOCH - Duration::from_millis(1)),
            Err(TimeOutOfRange)
        );
        assert_eq!(Timestamp::from(Duration::MAX), Timestamp::MAX);
        let too_late = Duration::from_secs(u64::MAX / 1_000 + 1);
        assert_eq!(Timestamp::from(too_late), Timestamp::MAX);
        assert_eq!(
            SystemTime::try_from(expected),
            Ok(UNIX_EPOCH + Duration::from_millis(1_999))
        );
        assert_eq!(SystemTime::try_from(Timestamp::EPOCH), Ok(UNIX_EPOCH));
        #[cfg(unix)]
        assert_eq!(
            SystemTime::try_from(Timestamp::MAX).and_then(Timestamp::try_from),
            Ok(Timestamp::MAX)
        );
    }

    #[test]
    fn moments_are_as_far_apart_from_either_side() {
        let (one, other) = (Timestamp::from_millis(7), Timestamp::from_millis(10));
        assert_eq!(one.abs_diff(other), Duration::from_millis(3));
        assert_eq!(other.abs_diff(one), Duration::from_millis(3));
        assert_eq!(one.saturating_since(other), Duration::ZERO);
    }

    #[test]
    fn seconds_round_down() {
        assert_eq!(Timestamp::from_millis(1_999).as_secs(), 1);
        assert_eq!(Timestamp::from_secs(2).as_millis(), 2_000);
    }
}
