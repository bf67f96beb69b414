//! Responses: decimal digits, or the whole HMAC.

use core::fmt::{self, Write as _};

use subtle::{Choice, ConstantTimeEq};

use super::{ResponseLength, Suite};
use crate::{OtpError, mac::Tag};

/// A response to a challenge, or a signature (RFC 6287 section 5.2): decimal digits, or the whole
/// HMAC if the suite does not truncate.
///
/// `Display` writes it as a token shows it; an HMAC is in lower-case hexadecimal. `Debug` hides it,
/// and two responses are compared in constant time.
///
/// ```
/// use keyproof_otp::OtpError;
/// use keyproof_otp::ocra::{Response, Suite};
///
/// let suite: Suite = "OCRA-1:HOTP-SHA1-6:QN08".parse()?;
/// assert_eq!(Response::parse("237653", &suite)?.to_string(), "237653");
/// assert_eq!(Response::parse("23765", &suite), Err(OtpError::OcraResponseLength { expected: 6, found: 5 }));
/// # Ok::<(), OtpError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Response {
    length: ResponseLength,
    /// ASCII digits, or the HMAC, padded with zeros.
    bytes: [u8; Tag::MAX_LEN],
}

impl Response {
    /// Parses a response to a challenge of `suite`: exactly the suite's number of ASCII digits, or
    /// of hexadecimal ones in either case for a whole HMAC.
    ///
    /// # Errors
    ///
    /// [`OcraResponseLength`](OtpError::OcraResponseLength) or
    /// [`OcraResponseSymbol`](OtpError::OcraResponseSymbol).
    pub fn parse(text: &str, suite: &Suite) -> Result<Self, OtpError> {
        let length = suite.response_length();
        let (expected, radix) = match length {
            ResponseLength::Digits(digits) => (usize::from(digits), 10),
            ResponseLength::Full(bytes) => (usize::from(bytes) * 2, 16),
        };
        if text.len() != expected {
            let found = text.len();
            return Err(OtpError::OcraResponseLength { expected, found });
        }
        let mut bytes = [0; Tag::MAX_LEN];
        for (at, byte) in text.bytes().enumerate() {
            let digit = char::from(byte).to_digit(radix);
            let digit = digit.ok_or(OtpError::OcraResponseSymbol { at })? as u8;
            let (index, value) = match length {
                ResponseLength::Digits(_) => (at, byte),
                ResponseLength::Full(_) if at.is_multiple_of(2) => (at / 2, digit << 4),
                ResponseLength::Full(_) => (at / 2, digit),
            };
            if let Some(to) = bytes.get_mut(index) {
                *to |= value;
            }
        }
        Ok(Self { length, bytes })
    }

    /// Truncates as RFC 4226 does, or not at all (RFC 6287 section 5.2).
    pub(super) fn from_tag(tag: &Tag, length: ResponseLength) -> Self {
        let mut bytes = [0; Tag::MAX_LEN];
        match length {
            ResponseLength::Digits(digits) => {
                let mut number = tag.truncated();
                let digits = bytes.get_mut(..usize::from(digits)).unwrap_or_default();
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
            }
            ResponseLength::Full(_) => {
                let pairs = bytes.iter_mut().zip(tag.as_bytes());
                pairs.for_each(|(to, from)| *to = *from);
            }
        }
        Self { length, bytes }
    }

    fn filled(&self) -> &[u8] {
        let (ResponseLength::Digits(len) | ResponseLength::Full(len)) = self.length;
        self.bytes.get(..usize::from(len)).unwrap_or_default()
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.filled().iter();
        match self.length {
            ResponseLength::Digits(_) => bytes.try_for_each(|byte| f.write_char((*byte).into())),
            ResponseLength::Full(_) => bytes.try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response([redacted; {:?}])", self.length)
    }
}

impl ConstantTimeEq for Response {
    fn ct_eq(&self, other: &Self) -> Choice {
        // The length of a response is not secret.
        let alike = Choice::from(u8::from(self.length == other.length));
        alike & self.bytes.ct_eq(&other.bytes)
    }
}

impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Response {}
