//! Moments, and how other notions of time become them.

use core::{fmt, time::Duration};

#[cfg(feature = "std")]
use crate::AuthError;

/// A moment: milliseconds since the Unix epoch, as the caller's clock shows it.
///
/// It is a type of its own so that seconds, which lie long before every expiry, are never taken for it.
///
/// ```
/// use core::time::Duration;
/// use keyproof_auth::UnixMillis;
///
/// let login = UnixMillis::from_secs(1_800_000_000);
/// assert_eq!(login.saturating_add(Duration::from_secs(90)), UnixMillis::from_secs(1_800_000_090));
/// // Any other notion of time is a duration since the epoch, as keyproof_store's `Timestamp` becomes one.
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
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch; the last representable moment if they are too many.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// A later moment; the last representable one if there is none.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for UnixMillis {
    /// Milliseconds since the Unix epoch, in decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Since the Unix epoch.
impl From<UnixMillis> for Duration {
    fn from(moment: UnixMillis) -> Self {
        Self::from_millis(moment.0)
    }
}

/// Since the Unix epoch, cut to milliseconds; the last representable moment if there is none.
impl From<Duration> for UnixMillis {
    fn from(since_epoch: Duration) -> Self {
        Self(0).saturating_add(since_epoch)
    }
}

#[cfg(feature = "std")]
impl TryFrom<std::time::SystemTime> for UnixMillis {
    type Error = AuthError;

    /// [`Time`](AuthError::Time) before the Unix epoch, as of a clock that nobody has set.
    fn try_from(time: std::time::SystemTime) -> Result<Self, AuthError> {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH);
        since_epoch.map(Self::from).map_err(|_| AuthError::Time)
    }
}

#[cfg(feature = "std")]
impl TryFrom<UnixMillis> for std::time::SystemTime {
    type Error = AuthError;

    /// [`Time`](AuthError::Time) if the system has no such moment.
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
