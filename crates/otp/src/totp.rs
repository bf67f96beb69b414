//! TOTP (RFC 6238): codes from the time.

use core::{fmt, num::NonZeroU64};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use crate::{Algorithm, Code, Digits, Hotp, Secret, hotp::Found};

/// The time step X of RFC 6238 section 4 unless another is set: 30 seconds.
pub const DEFAULT_PERIOD: NonZeroU64 = NonZeroU64::new(30).unwrap();

/// TOTP with its key prepared: a code costs two compressions of the hash, and no allocation.
///
/// Times are Unix seconds. A time `now` belongs to step `(now - t0) / period`; a clock that shows
/// a time before `t0` counts as standing at step 0. Unless set otherwise the period is 30 seconds,
/// `t0` is 0 and the window is one step either side.
///
/// ```
/// use keyproof_otp::{Accepted, Algorithm, Code, Digits, Refused, Secret, Totp};
///
/// let secret = Secret::from_bytes(b"12345678901234567890")?;
/// let totp = Totp::new(&secret, Algorithm::Sha1, Digits::EIGHT);
/// let code = Code::parse("94287082", Digits::EIGHT)?;
///
/// // Shown in step 1, typed in step 2: one step late, and good once.
/// let accepted = totp.verify(&code, 60, None).unwrap();
/// assert_eq!(accepted, Accepted { step: 1, drift: -1 });
/// assert_eq!(totp.verify(&code, 60, Some(accepted.step)), Err(Refused { replay: true }));
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
    /// Prepares a secret. A longer key: `Totp::from(Hotp::from_key(…))`.
    pub fn new(secret: &Secret, algorithm: Algorithm, digits: Digits) -> Self {
        Hotp::new(secret, algorithm, digits).into()
    }

    /// Sets the length of a step, in seconds.
    pub fn with_period(self, period: NonZeroU64) -> Self {
        Self { period, ..self }
    }

    /// Sets when step 0 begins, in Unix seconds.
    pub fn with_t0(self, t0: u64) -> Self {
        Self { t0, ..self }
    }

    /// Sets how many steps beside the current one are accepted.
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// The step that a time in seconds since the Unix epoch belongs to; 0 before `t0` (RFC 6238 section 4.2).
    ///
    /// ```
    /// use keyproof_otp::{Algorithm, Digits, Secret, Totp};
    ///
    /// let totp = Totp::new(&Secret::from_bytes(&[7; 20])?, Algorithm::Sha1, Digits::SIX).with_t0(1_000);
    /// assert_eq!((totp.step_at(999), totp.step_at(1_029), totp.step_at(1_030)), (0, 0, 1));
    /// assert_eq!(totp.code(1_030), totp.code_of_step(1));
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    pub fn step_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.t0) / self.period
    }

    /// The code at a time in seconds since the Unix epoch.
    pub fn code(&self, now: u64) -> Code {
        self.code_of_step(self.step_at(now))
    }

    /// The code of a step.
    pub fn code_of_step(&self, step: u64) -> Code {
        self.hotp.code(step)
    }

    /// Looks for `code` in the window around `now`, after the step accepted last (RFC 6238
    /// section 5.2); the step returned must be stored before anything is granted.
    ///
    /// If several steps fit, the latest counts, so that the same digits are not good again within
    /// this window. The window is cut off at steps 0 and `u64::MAX`; the rest of it is computed
    /// and compared whatever is found, so that the time taken says nothing about the code.
    ///
    /// # Errors
    ///
    /// [`Refused`], also when all of the window is at or before `last_step`, as after a clock was
    /// set back.
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
            let fits = self.code_of_step(step).ct_eq(code);
            // Known to the caller, unlike what fits, but no reason to branch either.
            let unspent = last_step.is_none_or(|last| step > last);
            fresh.last(step, fits & Choice::from(u8::from(unspent)));
            any |= fits;
        }
        match fresh.into_option() {
            // The window is at most 255 steps either side, so the difference is a small number.
            Some(step) => Ok(Accepted {
                step,
                drift: step.wrapping_sub(current).cast_signed(),
            }),
            None => Err(Refused { replay: any.into() }),
        }
    }
}

impl From<Hotp> for Totp {
    /// The same key, algorithm and digits with the default period, `t0` and window.
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

/// How many steps before and after the current one are accepted too.
///
/// The default is one either side: RFC 6238 section 5.2 recommends at most one step for the
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
    /// Steps before the current one: late codes.
    pub before: u8,
    /// Steps after the current one: codes of a clock that is ahead.
    pub after: u8,
}

impl Window {
    /// The current step alone.
    pub const NONE: Self = Self::symmetric(0);

    /// The same number of steps before and after.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Accepted {
    /// The step the code belongs to: now spent, and every earlier one with it.
    pub step: u64,
    /// That step minus the current one: negative for a late code, positive for a clock ahead.
    pub drift: i64,
}

/// A refused code.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("{}", if self.replay { "the code belongs to a step already spent" } else { "no step of the window has this code" })]
pub struct Refused {
    /// The code is right for a step of the window, but that step or a later one has been accepted
    /// before.
    pub replay: bool,
}
