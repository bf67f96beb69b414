//! TOTP (RFC 6238): time-based codes.

use core::{fmt, num::NonZeroU64};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use crate::{Algorithm, Code, Digits, Hotp, Secret, hotp::Found};

/// The default time step X of RFC 6238 section 4: 30 seconds.
pub const DEFAULT_PERIOD: NonZeroU64 = NonZeroU64::new(30).unwrap();

/// TOTP (RFC 6238) with a prepared key. A code costs two compressions of the hash, and no
/// allocation.
///
/// Times are in seconds since the Unix epoch. A time `now` belongs to step `(now - t0) / period`,
/// or to step 0 if it is before `t0`. By default the period is 30 seconds, `t0` is 0 and the window
/// is one step on either side.
///
/// ```
/// use keyproof_otp::{Algorithm, Code, Digits, Refused, Secret, Totp};
///
/// let secret = Secret::from_bytes(b"12345678901234567890")?;
/// let totp = Totp::new(&secret, Algorithm::Sha1, Digits::EIGHT);
/// let code = Code::parse("94287082", Digits::EIGHT)?;
///
/// // Shown in step 1 and typed in step 2, so one step late. It is accepted only once.
/// let accepted = totp.verify(&code, 60, None).unwrap();
/// assert_eq!((accepted.step, accepted.drift), (1, -1));
/// assert_eq!(totp.verify(&code, 60, Some(accepted.step)), Err(Refused::Replay));
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone)]
pub struct Totp {
    hotp: Hotp,
    period: NonZeroU64,
    t0: u64,
    window: Window,
}

impl Totp {
    /// Prepares a secret. For keys longer than [`Secret::MAX_LEN`] use
    /// `Totp::from(Hotp::from_key(…))`.
    pub fn new(secret: &Secret, algorithm: Algorithm, digits: Digits) -> Self {
        Hotp::new(secret, algorithm, digits).into()
    }

    /// Sets the length of a step, in seconds.
    #[must_use = "only what it returns has the setting"]
    pub fn with_period(self, period: NonZeroU64) -> Self {
        Self { period, ..self }
    }

    /// Sets the time at which step 0 begins, in seconds since the Unix epoch.
    #[must_use = "only what it returns has the setting"]
    pub fn with_t0(self, t0: u64) -> Self {
        Self { t0, ..self }
    }

    /// Sets how many steps before and after the current one are accepted.
    #[must_use = "only what it returns has the setting"]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Returns the step of a time in seconds since the Unix epoch; 0 before `t0` (RFC 6238 section
    /// 4.2).
    ///
    /// ```
    /// use keyproof_otp::{Algorithm, Digits, Secret, Totp};
    ///
    /// let totp = Totp::new(&Secret::from_bytes(&[7; 20])?, Algorithm::Sha1, Digits::SIX).with_t0(1_000);
    /// assert_eq!((totp.step_at(999), totp.step_at(1_029), totp.step_at(1_030)), (0, 0, 1));
    /// assert_eq!(totp.code(1_030), totp.code_at_step(1));
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    pub fn step_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.t0) / self.period
    }

    /// Returns the code at a time in seconds since the Unix epoch.
    pub fn code(&self, now: u64) -> Code {
        self.code_at_step(self.step_at(now))
    }

    /// Returns the code of a step.
    pub fn code_at_step(&self, step: u64) -> Code {
        self.hotp.code(step)
    }

    /// Searches for `code` in the window around `now`, after `last_step`, the step accepted last
    /// (RFC 6238 section 5.2). The returned step must be stored before anything is granted.
    ///
    /// If several steps match, the latest one is returned, so that the same digits are not accepted
    /// again within this window. The window ends at steps 0 and `u64::MAX`. All of its steps are
    /// computed and compared, whatever is found, so that timing reveals nothing about the code.
    ///
    /// # Errors
    ///
    /// [`Refused`] if no step of the window after `last_step` has this code. The whole window can
    /// be at or before `last_step` after a clock was set back.
    #[must_use = "the accepted step must be stored, or the code can be used again"]
    pub fn verify(
        &self,
        code: &Code,
        now: u64,
        last_step: Option<u64>,
    ) -> Result<Accepted, Refused> {
        let current = self.step_at(now);
        let earliest = current.saturating_sub(self.window.before.into());
        let latest = current.saturating_add(self.window.after.into());
        let mut fresh = Found::nothing();
        let mut any = Choice::from(0);
        for step in earliest..=latest {
            let fits = self.code_at_step(step).ct_eq(code);
            // `unspent` is not secret, unlike `fits`, but a branch on it is not needed either.
            let unspent = last_step.is_none_or(|last| step > last);
            fresh.last(step, fits & Choice::from(u8::from(unspent)));
            any |= fits;
        }
        match fresh.into_option() {
            // The window is at most 255 steps on either side, so the difference is small.
            Some(step) => Ok(Accepted {
                step,
                drift: step.wrapping_sub(current).cast_signed(),
            }),
            None if bool::from(any) => Err(Refused::Replay),
            None => Err(Refused::Wrong),
        }
    }
}

impl From<Hotp> for Totp {
    /// Keeps the key, algorithm and digits, and sets the default period, `t0` and window.
    fn from(hotp: Hotp) -> Self {
        Self {
            hotp,
            period: DEFAULT_PERIOD,
            t0: 0,
            window: Window::default(),
        }
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totp")
            .field("algorithm", &self.hotp.algorithm())
            .field("digits", &self.hotp.digits())
            .field("period", &self.period)
            .field("t0", &self.t0)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The number of steps before and after the current one that are accepted as well.
///
/// The default is one on either side. RFC 6238 section 5.2 recommends at most one step for the
/// network's delay, and a clock that is ahead needs the same on the other side.
///
/// ```
/// use core::num::NonZeroU64;
/// use keyproof_otp::{Algorithm, Digits, Secret, Totp, Window};
///
/// let totp = Totp::new(&Secret::from_bytes(b"12345678901234567890")?, Algorithm::Sha1, Digits::SIX)
///     .with_period(NonZeroU64::new(60).unwrap())
///     .with_window(Window { before: 2, after: 0 });
/// let code = totp.code(0);
/// assert!(totp.verify(&code, 179, None).is_ok()); // two steps late
/// assert!(totp.verify(&code, 180, None).is_err());
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Window {
    /// Steps before the current one, for late codes.
    pub before: u8,
    /// Steps after the current one, for codes of a clock that is ahead.
    pub after: u8,
}

impl Window {
    /// Only the current step.
    pub const NONE: Self = Self::symmetric(0);

    /// Returns a window with the same number of steps before and after.
    pub const fn symmetric(steps: u8) -> Self {
        Self {
            before: steps,
            after: steps,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::symmetric(1)
    }
}

/// An accepted code.
#[must_use = "the accepted step must be stored, or the code can be used again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Accepted {
    /// The step that the code belongs to. This step and every earlier one are now spent.
    pub step: u64,
    /// That step minus the current one: negative for a late code, positive if the client's clock is
    /// ahead.
    pub drift: i64,
}

/// Why a code was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The code matches a step of the window, but that step or a later one has been accepted
    /// before.
    #[error("the code belongs to a step already spent")]
    Replay,
    /// No step of the window has this code.
    #[error("no step of the window has this code")]
    Wrong,
}
