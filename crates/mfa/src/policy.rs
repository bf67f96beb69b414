use core::{
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

/// The numbers behind the rules. [`Policy::default`] is what keyproof's server uses.
///
/// ```
/// use core::time::Duration;
/// use keyproof_mfa::Policy;
///
/// let mut policy = Policy::default();
/// policy.challenge_lifetime = Duration::from_secs(2 * 60); // all others stay
/// assert_eq!((policy.lockout_failures.get(), policy.lockout), (3, Duration::from_secs(5 * 60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Policy {
    /// How many consecutive failures, passwords and codes together, cause a lock: 3.
    pub lockout_failures: NonZeroU32,
    /// How long a lock lasts that is not doubled: 5 minutes. Zero would lock nothing, so that codes
    /// could be guessed without limit.
    pub lockout: Duration,
    /// The maximum length of a doubled lock: a day. It is never less than `lockout`.
    pub lockout_longest: Duration,
    /// How long a challenge can be answered: 10 minutes.
    pub challenge_lifetime: Duration,
    /// How long a device is trusted: 90 days.
    pub device_lifetime: Duration,
    /// How many devices a user may trust at a time: 20. One more ends the oldest trust.
    pub devices: NonZeroU16,
    /// How long an address is known after a login there with every factor: 30 days.
    pub address_lifetime: Duration,
    /// How many addresses are known: the 10 latest.
    pub addresses: NonZeroU16,
}

impl Policy {
    /// The minimum time that failures are remembered which neither a success nor a lock has reset.
    /// One wrong guess a day is far below what the lock allows.
    const FAILURES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long a lockout is kept after its last failure, including the time that it is needed to
    /// tell which challenges are older than its last lock.
    pub(crate) fn lockout_kept(&self) -> Duration {
        Self::FAILURES_KEPT
            .max(self.lockout)
            .max(self.challenge_lifetime)
    }

    /// How long a lock lasts that has been doubled `times` times.
    pub(crate) fn lockout_doubled(&self, times: u32) -> Duration {
        let doubled = self.lockout.saturating_mul(2_u32.saturating_pow(times));
        doubled.min(self.lockout_longest.max(self.lockout))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lockout_failures: const { NonZeroU32::new(3).unwrap() },
            lockout: Duration::from_secs(5 * 60),
            lockout_longest: Duration::from_secs(24 * 60 * 60),
            challenge_lifetime: Duration::from_secs(10 * 60),
            device_lifetime: Duration::from_secs(90 * 24 * 60 * 60),
            devices: const { NonZeroU16::new(20).unwrap() },
            address_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            addresses: const { NonZeroU16::new(10).unwrap() },
        }
    }
}
