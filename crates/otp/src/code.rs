//! One-time codes and their number of digits.

use core::{fmt, str::FromStr};

use subtle::ConstantTimeEq;

use crate::OtpError;

/// The number of digits of a code: 6 to 10.
///
/// RFC 4226 section 5.3 requires at least 6. The truncated number has 31 bits, so the first of 10
/// digits is at most 2 and adds little.
///
/// ```
/// use keyproof_otp::Digits;
///
/// assert_eq!(Digits::default(), Digits::SIX);
/// assert_eq!(Digits::new(8)?, Digits::EIGHT);
/// assert_eq!("7".parse::<Digits>()?.get(), 7);
/// assert!(Digits::new(5).is_err());
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "u8", try_from = "u8"))]
pub struct Digits(u8);

impl Digits {
    /// The smallest number of digits, 6.
    pub const MIN: u8 = 6;
    /// The largest number of digits, 10.
    pub const MAX: u8 = 10;
    /// Six digits, the default.
    pub const SIX: Self = Self(6);
    /// Eight digits.
    pub const EIGHT: Self = Self(8);

    /// Creates a number of digits.
    ///
    /// # Errors
    ///
    /// [`Digits`](OtpError::Digits) if `digits` is outside 6 to 10.
    pub const fn new(digits: u8) -> Result<Self, OtpError> {
        match digits {
            Self::MIN..=Self::MAX => Ok(Self(digits)),
            _ => Err(OtpError::Digits { found: digits }),
        }
    }

    /// The number of digits.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Digits {
    fn default() -> Self {
        Self::SIX
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Digits {
    type Err = OtpError;

    /// Parses a decimal number without a sign. Any other text is rejected like 0 digits, by
    /// [`Digits`](OtpError::Digits).
    fn from_str(text: &str) -> Result<Self, OtpError> {
        let number = text.parse::<u8>().ok().filter(|_| !text.starts_with('+'));
        Self::new(number.unwrap_or_default())
    }
}

impl TryFrom<u8> for Digits {
    type Error = OtpError;

    /// The same as [`Digits::new`].
    fn try_from(digits: u8) -> Result<Self, OtpError> {
        Self::new(digits)
    }
}

impl From<Digits> for u8 {
    fn from(digits: Digits) -> Self {
        digits.0
    }
}

/// A one-time code (RFC 4226 section 5.3) of exactly the number of ASCII digits that its [`Digits`]
/// give.
///
/// `Display` writes all digits, including leading zeros. A code is secret while it is valid, so
/// `Debug` hides it, and two codes are compared in constant time.
///
/// ```
/// use keyproof_otp::{Code, Digits, OtpError};
///
/// let typed = Code::parse("012345", Digits::SIX)?;
/// assert_eq!((typed.to_string(), format!("{typed:?}")), ("012345".into(), "Code([redacted; 6])".into()));
/// assert_eq!(Code::parse("12345", Digits::SIX), Err(OtpError::CodeLength { expected: 6, found: 5 }));
/// assert_eq!(Code::parse("12345x", Digits::SIX), Err(OtpError::CodeSymbol { at: 5 }));
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Code {
    number: u64,
    digits: Digits,
}

impl Code {
    /// The last digits of the truncated number (RFC 4226 section 5.3, step 3).
    pub(crate) const fn from_truncated(number: u32, digits: Digits) -> Self {
        let number = match digits.0 {
            // Constant divisors compile to multiplications. 31 bits have at most ten digits.
            6 => number % 1_000_000,
            7 => number % 10_000_000,
            8 => number % 100_000_000,
            9 => number % 1_000_000_000,
            _ => number,
        };
        Self {
            number: number as u64,
            digits,
        }
    }

    /// Parses a code: exactly `digits` ASCII digits, no spaces, no sign.
    ///
    /// # Errors
    ///
    /// [`CodeLength`](OtpError::CodeLength) or [`CodeSymbol`](OtpError::CodeSymbol).
    pub fn parse(text: &str, digits: Digits) -> Result<Self, OtpError> {
        if text.len() != usize::from(digits.0) {
            return Err(OtpError::CodeLength {
                expected: digits.0,
                found: text.len(),
            });
        }
        let mut number = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !byte.is_ascii_digit() {
                return Err(OtpError::CodeSymbol { at });
            }
            number = number * 10 + u64::from(byte - b'0');
        }
        Ok(Self { number, digits })
    }

    /// The number of digits.
    pub const fn digits(&self) -> Digits {
        self.digits
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:0width$}",
            self.number,
            width = usize::from(self.digits.0)
        )
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code([redacted; {}])", self.digits)
    }
}

impl ConstantTimeEq for Code {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        // The number of digits is in the top byte, so that one comparison covers both.
        let packed = |code: &Self| u64::from(code.digits.0) << 56 | code.number;
        packed(self).ct_eq(&packed(other))
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Code {}
