//! Moments, and conversions from other representations of time.

use core::{fmt, time::Duration};

#[cfg(feature = "std")]
use crate::MfaError;

/// A moment: milliseconds since the Unix epoch, by the caller's clock.
///
/// The clock may step back. What was counted, spent or locked before stays so.
///
/// ```
/// use core::time::Duration;
/// use keyproof_mfa::UnixMillis;
///
/// let login = UnixMillis::from_secs(1_800_000_000);
/// assert_eq!(login.saturating_add(Duration::from_secs(90)).as_secs(), 1_800_000_090);
/// // Other representations of time convert through a duration since the epoch, as keyproof_store's
/// // `Timestamp` does.
/// assert_eq!(UnixMillis::from(Duration::from_millis(1_800_000_000_000)), login);
/// assert_eq!(login.to_string(), "1800000000000");
/// assert_eq!(Duration::from(login).as_secs(), 1_800_000_000); // as keyproof_otp and keyproof_x509 take it
/// # #[cfg(feature = "std")] {
/// let now = UnixMillis::try_from(std::time::SystemTime::now())?;
/// assert!(now > UnixMillis::from_secs(1_700_000_000));
/// # }
/// # Ok::<(), keyproof_mfa::MfaError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// Creates a moment from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Creates a moment from seconds since the Unix epoch; the last representable one if they are
    /// too many.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as RFC 6238 uses.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Returns a later moment; the last representable one if there is none.
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

/// Since the Unix epoch.
impl From<UnixMillis> for Duration {
    fn from(moment: UnixMillis) -> Self {
        Self::from_millis(moment.0)
    }
}

/// Truncates a duration since the Unix epoch to milliseconds; the last representable moment if it
/// is too long.
impl From<Duration> for UnixMillis {
    fn from(since_epoch: Duration) -> Self {
        Self(0).saturating_add(since_epoch)
    }
}

#[cfg(feature = "std")]
impl TryFrom<std::time::SystemTime> for UnixMillis {
    type Error = MfaError;

    /// [`Time`](MfaError::Time) if the time is before the Unix epoch, as on a clock that was never
    /// set.
    fn try_from(time: std::time::SystemTime) -> Result<Self, MfaError> {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH);
        since_epoch.map(Self::from).map_err(|_| MfaError::Time)
    }
}

#[cfg(feature = "std")]
impl TryFrom<UnixMillis> for std::time::SystemTime {
    type Error = MfaError;

    /// [`Time`](MfaError::Time) if the system cannot represent the moment.
    fn try_from(moment: UnixMillis) -> Result<Self, MfaError> {
        let time = std::time::UNIX_EPOCH.checked_add(moment.into());
        time.ok_or(MfaError::Time)
    }
}
