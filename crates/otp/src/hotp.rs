//! HOTP (RFC 4226): counter-based codes.

use core::fmt;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{Algorithm, Code, Digits, OtpError, Secret, mac::KeyedMac};

/// HOTP (RFC 4226) with a prepared key. A code costs two compressions of the hash, and no
/// allocation.
///
/// Cloning copies the prepared key, which is wiped on drop. Moving a value and computing hashes can
/// leave traces on the stack, which no type can wipe.
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
/// let next = hotp.verify(&code, 1, LookAhead::new(5)?).unwrap();
/// assert_eq!(next.get(), 4);
/// assert_eq!(hotp.verify(&code, next.get(), LookAhead::new(5)?), None);
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

    /// Prepares a key of any length, for keys longer than [`Secret::MAX_LEN`]. Nothing is checked:
    /// anybody can compute the codes of an empty key.
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

    /// Returns the code for a counter (RFC 4226 section 5.3).
    pub fn code(&self, counter: u64) -> Code {
        Code::from_truncated(self.mac.truncated(counter), self.digits)
    }

    /// Searches for `code` from `counter` on over the look-ahead (RFC 4226 section 7.4), and
    /// returns the next expected counter. It must be stored before anything is granted.
    ///
    /// `counter` is the next expected one; codes of lower counters are spent. If several counters
    /// match, the lowest is used. All counters are computed and compared, whatever is found, so
    /// that timing reveals nothing about the token's counter. `u64::MAX` is never accepted, because
    /// no counter follows it.
    #[must_use = "the next counter must be stored, or the code can be used again"]
    pub fn verify(&self, code: &Code, counter: u64, look_ahead: LookAhead) -> Option<NextCounter> {
        let mut next = Found::nothing();
        for offset in 0..=u64::from(look_ahead.0) {
            let Some(after) = counter.checked_add(offset + 1) else {
                break;
            };
            next.first(after, self.code(after - 1).ct_eq(code));
        }
        next.into_option().map(NextCounter)
    }

    /// Finds a token whose counter is beyond the usual look-ahead, by two consecutive codes. The
    /// first one may belong to any counter from `counter` to `counter + look_ahead` (RFC 4226
    /// section 7.4). Returns the next expected counter, which must be stored.
    ///
    /// Two codes are as hard to guess as one with twice the digits, so the look-ahead may be wide.
    /// As in [`Hotp::verify`], all counters are computed, the lowest match is used, and the search
    /// ends before `u64::MAX`.
    ///
    /// ```
    /// use keyproof_otp::{Algorithm, Digits, Hotp, LookAhead, Secret};
    ///
    /// let hotp = Hotp::new(&Secret::from_bytes(b"12345678901234567890")?, Algorithm::Sha1, Digits::SIX);
    /// // The token was pressed 200 times in a pocket. Two consecutive codes resynchronise it.
    /// let (first, second) = (hotp.code(200), hotp.code(201));
    /// let next = hotp.resynchronise(&first, &second, 0, LookAhead::new(500)?);
    /// assert_eq!(next.unwrap().get(), 202);
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
    ) -> Option<NextCounter> {
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
        next.into_option().map(NextCounter)
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

/// The next expected counter of a token whose code was accepted. All lower counters are spent.
///
/// ```
/// use keyproof_otp::{Algorithm, Digits, Hotp, LookAhead, Secret};
///
/// let hotp = Hotp::new(&Secret::from_bytes(b"12345678901234567890")?, Algorithm::Sha1, Digits::SIX);
/// let mut stored = 7;
/// let next = hotp.verify(&hotp.code(7), stored, LookAhead::default()).ok_or("a wrong code")?;
/// stored = next.get(); // before anything is granted
/// assert_eq!(stored, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it must be stored, or the code can be used again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextCounter(u64);

impl NextCounter {
    /// The counter: 1 to `u64::MAX`.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The number of counters beyond the expected one that are tried: 0 to [`LookAhead::MAX`].
///
/// Each further counter gives an attacker one more guess (RFC 4226 section 7.4). Use a few for
/// [`Hotp::verify`], and up to hundreds for [`Hotp::resynchronise`].
///
/// ```
/// use keyproof_otp::{LookAhead, OtpError};
///
/// assert_eq!(LookAhead::new(10)?.get(), 10);
/// assert_eq!(LookAhead::default().get(), 0); // only the expected counter
/// assert_eq!(LookAhead::new(1001), Err(OtpError::LookAhead { found: 1001 }));
/// # Ok::<(), OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "u16", try_from = "u16"))]
pub struct LookAhead(u16);

impl LookAhead {
    /// The largest look-ahead, 1,000: about 0.1 ms of work.
    pub const MAX: u16 = 1000;

    /// Creates a look-ahead of `counters` beyond the expected one.
    ///
    /// # Errors
    ///
    /// [`LookAhead`](OtpError::LookAhead) if `counters` is above [`LookAhead::MAX`].
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

    /// The same as [`LookAhead::new`].
    fn try_from(counters: u16) -> Result<Self, OtpError> {
        Self::new(counters)
    }
}

impl From<LookAhead> for u16 {
    fn from(look_ahead: LookAhead) -> Self {
        look_ahead.0
    }
}

/// The result so far of a search over a window, updated without branching on it.
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

    /// Stores `value` if it `fits` and no earlier one did.
    pub(crate) fn first(&mut self, value: u64, fits: Choice) {
        self.last(value, fits & !self.any);
    }

    /// Stores `value` if it `fits`, replacing an earlier one.
    pub(crate) fn last(&mut self, value: u64, fits: Choice) {
        self.value.conditional_assign(&value, fits);
        self.any |= fits;
    }

    /// Whether anything was found.
    pub(crate) fn any(&self) -> Choice {
        self.any
    }

    /// The value, and whether anything was found. The value is meaningless if not.
    pub(crate) fn into_parts(self) -> (u64, Choice) {
        (self.value, self.any)
    }

    pub(crate) fn into_option(self) -> Option<u64> {
        bool::from(self.any).then_some(self.value)
    }
}
