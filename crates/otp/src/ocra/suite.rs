//! The OCRASuite: the algorithm and the inputs of a response (RFC 6287 section 6).

use core::{fmt, num::NonZeroU64, str::FromStr};

use crate::{Algorithm, OtpError};

/// An OCRASuite (RFC 6287 section 6), such as `OCRA-1:HOTP-SHA1-6:QN08`.
///
/// It is in upper case, with the inputs in the order counter, question, PIN, session, time. What
/// has a default in the RFC may be left out: `Q` is `QN08`, `P` is `PSHA1`, `S` is `S064`, and `T`
/// is `T1M`. The length of questions may have one digit, as in the RFC's example `QH8`. A time step
/// of zero hours (`T0H`) is rejected, although the RFC's grammar allows it.
///
/// The text itself goes into each response. So two spellings of a suite are not equal, and their
/// responses differ. `Display` writes exactly the text that was parsed.
///
/// ```
/// use keyproof_otp::Algorithm;
/// use keyproof_otp::ocra::{QuestionFormat, ResponseLength, Suite};
///
/// let suite: Suite = "OCRA-1:HOTP-SHA256-8:C-QN08-PSHA1".parse()?;
/// assert_eq!((suite.algorithm(), suite.response_length()), (Algorithm::Sha256, ResponseLength::Digits(8)));
/// assert_eq!((suite.question_format(), suite.question_len()), (QuestionFormat::Numeric, 8));
/// assert!(suite.has_counter() && suite.pin_hash() == Some(Algorithm::Sha1) && suite.time_step().is_none());
/// assert_eq!("OCRA-1:HOTP-SHA256-8:PSHA1".parse::<Suite>().unwrap_err().to_string(), "not a valid OCRA suite (RFC 6287 section 6) from byte 21 on");
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suite {
    algorithm: Algorithm,
    response: ResponseLength,
    counter: bool,
    question: QuestionFormat,
    question_len: u8,
    pin: Option<Algorithm>,
    session_len: Option<u16>,
    step: Option<NonZeroU64>,
    text: SuiteText,
}

/// The length of responses: the `t` of `HOTP-H-t` (RFC 6287 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseLength {
    /// 4 to 10 decimal digits.
    Digits(u8),
    /// `0`: the whole HMAC, of this many bytes.
    Full(u8),
}

/// The characters of a challenge question (RFC 6287 section 6.3, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuestionFormat {
    /// `A`: ASCII letters and digits.
    Alphanumeric,
    /// `H`: hexadecimal digits, in either case.
    Hexadecimal,
    /// `N`: decimal digits.
    Numeric,
}

impl QuestionFormat {
    pub(super) const fn has(self, byte: u8) -> bool {
        match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Hexadecimal => byte.is_ascii_hexdigit(),
            Self::Numeric => byte.is_ascii_digit(),
        }
    }
}

const PREFIX: &str = "OCRA-1:HOTP-";

impl Suite {
    /// The hash function of the HMAC.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The length of responses.
    pub const fn response_length(&self) -> ResponseLength {
        self.response
    }

    /// Whether responses depend on a counter.
    pub const fn has_counter(&self) -> bool {
        self.counter
    }

    /// The characters of a question.
    pub const fn question_format(&self) -> QuestionFormat {
        self.question
    }

    /// The largest number of characters in a party's question: 4 to 64.
    pub const fn question_len(&self) -> u8 {
        self.question_len
    }

    /// The hash function of the PIN, if responses depend on one.
    pub const fn pin_hash(&self) -> Option<Algorithm> {
        self.pin
    }

    /// The length of the session information in bytes, 1 to 512, if responses depend on it.
    pub const fn session_len(&self) -> Option<u16> {
        self.session_len
    }

    /// The length of a time step in seconds, if responses depend on the time: 1 second to 48 hours.
    pub const fn time_step(&self) -> Option<NonZeroU64> {
        self.step
    }

    /// The spelling that was parsed.
    pub(super) fn text(&self) -> &str {
        self.text.as_str()
    }
}

impl FromStr for Suite {
    type Err = OtpError;

    /// Fails by [`OcraSuite`](OtpError::OcraSuite).
    fn from_str(text: &str) -> Result<Self, OtpError> {
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or(OtpError::OcraSuite { at: 0 })?;
        let (function, inputs) = rest
            .split_once(':')
            .ok_or(OtpError::OcraSuite { at: text.len() })?;
        let wrong_function = OtpError::OcraSuite { at: PREFIX.len() };
        let (hash, truncation) = function.split_once('-').ok_or(wrong_function)?;
        let algorithm = algorithm(hash).ok_or(wrong_function)?;
        let response = match truncation {
            "0" => ResponseLength::Full(algorithm.output_len() as u8),
            digits => ResponseLength::Digits(number(digits, 4..=10).ok_or(wrong_function)? as u8),
        };

        let mut inputs = Inputs::new(inputs, PREFIX.len() + function.len() + 1);
        let counter = inputs
            .next_if(|input| (input == "C").then_some(()))
            .is_some();
        let question = inputs.next_if(question).ok_or(inputs.wrong())?;
        let pin = inputs.next_if(algorithm_of_pin);
        let session_len = inputs.next_if(session);
        let step = inputs.next_if(time_step);
        inputs.end()?;
        let text = SuiteText::new(text).ok_or(OtpError::OcraSuite { at: 0 })?;
        Ok(Self {
            algorithm,
            response,
            counter,
            question: question.0,
            question_len: question.1,
            pin,
            session_len,
            step,
            text,
        })
    }
}

/// The data inputs that are left to parse, and where the next one begins.
struct Inputs<'a> {
    rest: Option<&'a str>,
    at: usize,
}

impl<'a> Inputs<'a> {
    const fn new(text: &'a str, at: usize) -> Self {
        Self {
            rest: Some(text),
            at,
        }
    }

    /// Takes the next input if `read` accepts it.
    fn next_if<T>(&mut self, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let rest = self.rest?;
        let (input, following) = match rest.split_once('-') {
            Some((input, following)) => (input, Some(following)),
            None => (rest, None),
        };
        let value = read(input)?;
        self.rest = following;
        self.at += input.len() + usize::from(following.is_some());
        Some(value)
    }

    const fn wrong(&self) -> OtpError {
        OtpError::OcraSuite { at: self.at }
    }

    fn end(self) -> Result<(), OtpError> {
        match self.rest {
            None => Ok(()),
            Some(_) => Err(self.wrong()),
        }
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == name)
}

fn algorithm_of_pin(input: &str) -> Option<Algorithm> {
    match input.strip_prefix('P')? {
        "" => Some(Algorithm::Sha1),
        hash => algorithm(hash),
    }
}

fn question(input: &str) -> Option<(QuestionFormat, u8)> {
    let rest = input.strip_prefix('Q')?;
    if rest.is_empty() {
        return Some((QuestionFormat::Numeric, 8));
    }
    let (format, len) = rest.split_at_checked(1)?;
    let format = match format {
        "A" => QuestionFormat::Alphanumeric,
        "H" => QuestionFormat::Hexadecimal,
        "N" => QuestionFormat::Numeric,
        _ => return None,
    };
    let len = padded_number::<2>(len).or_else(|| padded_number::<1>(len));
    let len = len.filter(|len| (4..=64).contains(len))?;
    Some((format, len as u8))
}

fn session(input: &str) -> Option<u16> {
    match input.strip_prefix('S')? {
        "" => Some(64),
        len => padded_number::<3>(len).filter(|len| (1..=512).contains(len)),
    }
}

fn time_step(input: &str) -> Option<NonZeroU64> {
    let rest = input.strip_prefix('T')?;
    if rest.is_empty() {
        return NonZeroU64::new(60);
    }
    let (count, unit) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
    let seconds = match unit {
        "S" => number(count, 1..=59)?,
        "M" => number(count, 1..=59)? * 60,
        "H" => number(count, 1..=48)? * 3600,
        _ => return None,
    };
    NonZeroU64::new(seconds)
}

/// A decimal number without leading zeros.
fn number(text: &str, range: core::ops::RangeInclusive<u64>) -> Option<u64> {
    let plain = !text.starts_with(['0', '+']);
    text.parse()
        .ok()
        .filter(|number| plain && range.contains(number))
}

/// A decimal number of `LEN` digits.
fn padded_number<const LEN: usize>(text: &str) -> Option<u16> {
    let plain = text.len() == LEN && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Suite {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Suite {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = Suite;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an OCRA suite like OCRA-1:HOTP-SHA1-6:QN08")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Suite, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The text of a suite, without the heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SuiteText {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl SuiteText {
    /// Enough for the longest suite, `OCRA-1:HOTP-SHA512-10:C-QN64-PSHA512-S512-T59S`.
    const MAX_LEN: usize = 48;

    /// Returns `None` if the text is too long, which no suite is.
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        let len = text.len();
        Some(Self { bytes, len })
    }

    fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}
