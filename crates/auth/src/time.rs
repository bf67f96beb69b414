//! Times in milliseconds, and conversions to and from other types.

use core::{fmt, time::Duration};

#[cfg(feature = "std")]
use crate::AuthError;

/// A time in milliseconds since the Unix epoch, as the caller's clock shows it.
///
/// It is a separate type, so that a number of seconds is not mistaken for it: read as milliseconds, that would be
/// before every expiry.
///
/// ```
/// use core::time::Duration;
/// use keyproof_auth::UnixMillis;
///
/// let login = UnixMillis::from_secs(1_800_000_000);
/// assert_eq!(login.saturating_add(Duration::from_secs(90)), UnixMillis::from_secs(1_800_000_090));
/// // Other types convert by a duration since the epoch, such as keyproof_store's `Timestamp`.
/// assert_eq!(UnixMillis::from(Duration::from_millis(1_800_000_000_000)), login);
/// assert_eq!(login.to_string(), "1800000000000");
/// # #[cfg(feature = "std")] {
/// let now = UnixMillis::try_from(std::time::SystemTime::now())?;
/// assert!(now > UnixMillis::from_secs(1_700_000_000));
/// # }
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// Creates a time from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Creates a time from seconds since the Unix epoch; the last representable one if there are too many.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Returns the time `duration` later, or the last representable one if that is earlier.
    #[must_use = "the moment itself does not change"]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for UnixMillis {
    /// Writes the milliseconds since the Unix epoch in decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The duration since the Unix epoch.
impl From<UnixMillis> for Duration {
    fn from(moment: UnixMillis) -> Self {
        Self::from_millis(moment.0)
    }
}

/// The time at a duration since the Unix epoch, truncated to milliseconds; the last representable one if it is later.
impl From<Duration> for UnixMillis {
    fn from(since_epoch: Duration) -> Self {
        Self(0).saturating_add(since_epoch)
    }
}

#[cfg(feature = "std")]
impl TryFrom<std::time::SystemTime> for UnixMillis {
    type Error = AuthError;

    /// Returns [`Time`](AuthError::Time) before the Unix epoch, for example if the clock was never set.
    fn try_from(time: std::time::SystemTime) -> Result<Self, AuthError> {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH);
        since_epoch.map(Self::from).map_err(|_| AuthError::Time)
    }
}

#[cfg(feature = "std")]
impl TryFrom<UnixMillis> for std::time::SystemTime {
    type Error = AuthError;

    /// Returns [`Time`](AuthError::Time) if the system cannot represent the time.
    fn try_from(moment: UnixMillis) -> Result<Self, AuthError> {
        let time = std::time::UNIX_EPOCH.checked_add(moment.into());
        time.ok_or(AuthError::Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_thousand_of_them_and_what_is_too_late_is_the_last() {
        assert_eq!(
            UnixMillis::from_secs(1_800_000_000).as_millis(),
            1_800_000_000_000
        );
        assert_eq!(UnixMillis::from_millis(1_999).as_secs(), 1);
        let last = UnixMillis::from_millis(u64::MAX);
        assert_eq!(UnixMillis::from_secs(u64::MAX), last);
        assert_eq!(UnixMillis::from(Duration::MAX), last);
        assert_eq!(last.saturating_add(Duration::from_millis(1)), last);
        assert_eq!(UnixMillis::from(Duration::from(last)), last);
        let cut = Duration::from_micros(1_999);
        assert_eq!(UnixMillis::from(cut), UnixMillis::from_millis(1));
    }

    #[cfg(feature = "std")]
    #[test]
    fn moments_come_from_the_systems_clock_and_go_back() {
        use std::time::{SystemTime, UNIX_EPOCH};

        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_010_123);
        let moment = UnixMillis::try_from(time).unwrap();
        assert_eq!(moment.as_millis(), 1_700_000_010_123);
        assert_eq!(SystemTime::try_from(moment), Ok(time));
        let before = UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(UnixMillis::try_from(before), Err(AuthError::Time));
    }
}
