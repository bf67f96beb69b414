//! HOTP (RFC 4226): codes from a counter.

use core::fmt;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{Algorithm, Code, Digits, OtpError, Secret, mac::KeyedMac};

/// HOTP with its key prepared: a code costs two compressions of the hash, and no allocation.
///
/// Cloning copies the prepared key. It is wiped on drop, but copying values about, and the hash
/// computations themselves, leave traces on the stack that no type can reach.
///
/// ```
/// use keyproof_otp::{Algorithm, Digits, Hotp, LookAhead, Secret};
///
/// let secret = Secret::from_bytes(b"12345678901234567890")?;
/// let hotp = Hotp::new(&secret, Algorithm::Sha1, Digits::SIX);
/// assert_eq!((hotp.algorithm(), hotp.digits()), (Algorithm::Sha1, Digits::SIX));
/// let code = hotp.code(3);
/// assert_eq!(code.to_string(), "969429");
///
/// // The token is two presses ahead of the server: the next counter to store is 4.
/// assert_eq!(hotp.verify(&code, 1, LookAhead::new(5)?), Some(4));
/// assert_eq!(hotp.verify(&code, 4, LookAhead::new(5)?), None);
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone)]
pub struct Hotp {
    mac: KeyedMac,
    digits: Digits,
}

impl Hotp {
    /// Prepares a secret.
    pub fn new(secret: &Secret, algorithm: Algorithm, digits: Digits) -> Self {
        Self::from_key(secret.as_bytes(), algorithm, digits)
    }

    /// Prepares a key of any length: the way for keys too long for a [`Secret`].
    ///
    /// ```
    /// use keyproof_otp::{Algorithm, Digits, Hotp, Secret};
    ///
    /// let long = [7; 1_000];
    /// assert!(Secret::from_bytes(&long).is_err());
    /// assert_eq!(Hotp::from_key(&long, Algorithm::Sha256, Digits::EIGHT).code(0).to_string().len(), 8);
    /// ```
    pub fn from_key(key: &[u8], algorithm: Algorithm, digits: Digits) -> Self {
        Self {
            mac: KeyedMac::new(algorithm, key),
            digits,
        }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.mac.algorithm()
    }

    /// How many digits the codes have.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// The code for a counter (RFC 4226 section 5.3).
    pub fn code(&self, counter: u64) -> Code {
        Code::from_truncated(self.mac.truncated(counter), self.digits)
    }

    /// Looks for `code` from `counter` on, over the whole look-ahead (RFC 4226 section 7.4), and
    /// returns the counter to expect next; it must be stored before anything is granted.
    ///
    /// `counter` is the next one expected, so that codes below it are spent. If several counters
    /// fit, the lowest counts. All of the window is computed and compared whatever is found, so
    /// that the time taken says nothing about the token's counter. `u64::MAX` is never accepted,
    /// as no counter follows it.
    #[must_use = "the next counter must be stored, or the code can be used again"]
    pub fn verify(&self, code: &Code, counter: u64, look_ahead: LookAhead) -> Option<u64> {
        let mut next = Found::nothing();
        for offset in 0..=u64::from(look_ahead.0) {
            let Some(after) = counter.checked_add(offset + 1) else {
                break;
            };
            next.first(after, self.code(after - 1).ct_eq(code));
        }
        next.into_option()
    }

    /// Finds a token that has run ahead of the look-ahead: two codes that it showed one after the
    /// other, anywhere from `counter` to `counter + look_ahead` (RFC 4226 section 7.4). Returns the
    /// counter to expect next, which must be stored.
    ///
    /// Two codes are as hard to guess as one of twice the digits, so the look-ahead may be wide.
    /// As with [`Hotp::verify`] all of the window is computed, the lowest fit counts, and the
    /// search ends before `u64::MAX`.
    ///
    /// ```
    /// use keyproof_otp::{Algorithm, Digits, Hotp, LookAhead, Secret};
    ///
    /// let hotp = Hotp::new(&Secret::from_bytes(b"12345678901234567890")?, Algorithm::Sha1, Digits::SIX);
    /// // Pressed 200 times in a pocket; two codes, one after the other, find it again.
    /// let (first, second) = (hotp.code(200), hotp.code(201));
    /// let next = hotp.resynchronise(&first, &second, 0, LookAhead::new(500)?);
    /// assert_eq!(next, Some(202));
    /// assert_eq!(hotp.resynchronise(&second, &first, 0, LookAhead::new(500)?), None);
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    #[must_use = "the next counter must be stored, or the codes can be used again"]
    pub fn resynchronise(
        &self,
        first: &Code,
        second: &Code,
        counter: u64,
        look_ahead: LookAhead,
    ) -> Option<u64> {
        let mut next = Found::nothing();
        let mut code = self.code(counter);
        for offset in 0..=u64::from(look_ahead.0) {
            let Some(after) = counter.checked_add(offset + 2) else {
                break;
            };
            let following = self.code(after - 1);
            next.first(after, code.ct_eq(first) & following.ct_eq(second));
            code = following;
        }
        next.into_option()
    }
}

impl fmt::Debug for Hotp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hotp")
            .field("algorithm", &self.algorithm())
            .field("digits", &self.digits)
            .finish_non_exhaustive()
    }
}

/// How many counters beyond the expected one are tried: 0 to [`LookAhead::MAX`].
///
/// RFC 4226 section 7.4: each one more is one more guess for an attacker. A few for
/// [`Hotp::verify`], up to hundreds for [`Hotp::resynchronise`].
///
/// ```
/// use keyproof_otp::{LookAhead, OtpError};
///
/// assert_eq!(LookAhead::new(10)?.get(), 10);
/// assert_eq!(LookAhead::default().get(), 0); // the expected counter alone
/// assert_eq!(LookAhead::new(1001), Err(OtpError::LookAhead { found: 1001 }));
/// # Ok::<(), OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "u16", try_from = "u16"))]
pub struct LookAhead(u16);

impl LookAhead {
    /// The widest look-ahead, 1,000: about a tenth of a millisecond of work.
    pub const MAX: u16 = 1000;

    /// So many counters beyond the next one.
    ///
    /// # Errors
    ///
    /// [`LookAhead`](OtpError::LookAhead) above [`LookAhead::MAX`].
    pub const fn new(counters: u16) -> Result<Self, OtpError> {
        match counters {
            0..=Self::MAX => Ok(Self(counters)),
            _ => Err(OtpError::LookAhead { found: counters }),
        }
    }

    /// The number of counters beyond the expected one.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for LookAhead {
    type Error = OtpError;

    fn try_from(counters: u16) -> Result<Self, OtpError> {
        Self::new(counters)
    }
}

impl From<LookAhead> for u16 {
    fn from(look_ahead: LookAhead) -> Self {
        look_ahead.0
    }
}

/// What a search over a window has found so far, kept without branching on it.
pub(crate) struct Found {
    value: u64,
    any: Choice,
}

impl Found {
    pub(crate) fn nothing() -> Self {
        Self {
            value: 0,
            any: Choice::from(0),
        }
    }

    /// Takes `value` if it `fits` and nothing did before.
    pub(crate) fn first(&mut self, value: u64, fits: Choice) {
        self.last(value, fits & !self.any);
    }

    /// Takes `value` if it `fits`, whatever did before.
    pub(crate) fn last(&mut self, value: u64, fits: Choice) {
        self.value.conditional_assign(&value, fits);
        self.any |= fits;
    }

    /// Whether anything was found.
    pub(crate) fn any(&self) -> Choice {
        self.any
    }

    /// The value, which means something only if anything was found.
    pub(crate) fn into_parts(self) -> (u64, Choice) {
        (self.value, self.any)
    }

    pub(crate) fn into_option(self) -> Option<u64> {
        bool::from(self.any).then_some(self.value)
    }
}
