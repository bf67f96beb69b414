//! The DataInput: the values that a response is computed from (RFC 6287 section 5.1).

use core::fmt;

use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroize;

use super::{QuestionFormat, Suite};
use crate::{Algorithm, OtpError};

/// The values of one response. They must be exactly those that the suite names, so that a value
/// that the caller expects to be verified is never silently ignored.
///
/// ```
/// use keyproof_otp::{Algorithm, Secret};
/// use keyproof_otp::ocra::{Input, Ocra, PinHash, Suite};
///
/// // RFC 6287, appendix C.1: a counter, the question and a PIN.
/// let suite: Suite = "OCRA-1:HOTP-SHA256-8:C-QN08-PSHA1".parse()?;
/// let ocra = Ocra::new(&Secret::from_bytes(b"12345678901234567890123456789012")?, suite);
/// let pin = PinHash::new(Algorithm::Sha1, "1234")?;
/// let input = Input::new("12345678").with_counter(0).with_pin_hash(&pin);
/// assert_eq!(ocra.response(&input)?.to_string(), "65347737");
/// assert!(ocra.response(&Input::new("12345678")).is_err()); // counter and PIN are missing
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    question: &'a str,
    second: Option<&'a str>,
    counter: Option<u64>,
    pin_hash: Option<&'a PinHash>,
    session: Option<&'a [u8]>,
    time: Option<u64>,
}

/// The questions of both parties in the mutual modes (RFC 6287 section 7.2), each of 1 to
/// [`Suite::question_len`] characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Questions<'a> {
    /// The client's question to the server.
    pub client: &'a str,
    /// The server's question to the client.
    pub server: &'a str,
}

impl<'a> Input<'a> {
    /// An input with one question, of 1 to [`Suite::question_len`] characters.
    pub const fn new(question: &'a str) -> Self {
        Self {
            question,
            second: None,
            counter: None,
            pin_hash: None,
            session: None,
            time: None,
        }
    }

    /// The input of the server's response, which answers the client's question in the mutual modes
    /// (RFC 6287 section 7.2). The questions are concatenated as text, the answered one first, and
    /// numeric ones are then parsed as one number.
    ///
    /// ```
    /// use keyproof_otp::Secret;
    /// use keyproof_otp::ocra::{Input, Ocra, Questions, Suite};
    ///
    /// let suite: Suite = "OCRA-1:HOTP-SHA256-8:QA08".parse()?;
    /// let secret = Secret::from_bytes(b"12345678901234567890123456789012")?;
    /// let (client, server) = (Ocra::new(&secret, suite), Ocra::new(&secret, suite));
    /// let questions = Questions { client: "CLI22220", server: "SRV11110" };
    /// // The client verifies the server's response before it shows its own.
    /// let first = server.response(&Input::for_server_response(questions))?;
    /// assert_eq!(first.to_string(), "28247970"); // RFC 6287, appendix C.2
    /// assert!(client.verify(&first, &Input::for_server_response(questions), None).is_ok());
    /// let second = client.response(&Input::for_client_response(questions))?;
    /// assert_eq!(second.to_string(), "15510767");
    /// assert!(server.verify(&second, &Input::for_client_response(questions), None).is_ok());
    /// // Whoever sends the server its own response back is not the client.
    /// assert!(server.verify(&first, &Input::for_client_response(questions), None).is_err());
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    pub const fn for_server_response(questions: Questions<'a>) -> Self {
        let mut input = Self::new(questions.client);
        input.second = Some(questions.server);
        input
    }

    /// The input of the client's response, which answers the server's question in the mutual modes,
    /// as in [`Input::for_server_response`].
    pub const fn for_client_response(questions: Questions<'a>) -> Self {
        let mut input = Self::new(questions.server);
        input.second = Some(questions.client);
        input
    }

    /// Sets the counter. For a verifier it is the next expected one.
    #[must_use = "only what it returns has the setting"]
    pub const fn with_counter(mut self, counter: u64) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Sets the hash of the PIN or password.
    #[must_use = "only what it returns has the setting"]
    pub const fn with_pin_hash(mut self, pin_hash: &'a PinHash) -> Self {
        self.pin_hash = Some(pin_hash);
        self
    }

    /// Sets the session information. It must have exactly the suite's length, because the RFC does
    /// not define on which side shorter information is padded.
    ///
    /// ```
    /// use keyproof_otp::Secret;
    /// use keyproof_otp::ocra::{Input, Ocra, Suite};
    ///
    /// let suite: Suite = "OCRA-1:HOTP-SHA256-8:QA08-S064".parse()?;
    /// let ocra = Ocra::new(&Secret::from_bytes(&[7; 32])?, suite);
    /// let session = [0xA5; 64]; // such as a digest of connection data that both sides have
    /// assert!(ocra.response(&Input::new("QUESTION").with_session(&session)).is_ok());
    /// assert!(ocra.response(&Input::new("QUESTION").with_session(&session[1..])).is_err());
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    #[must_use = "only what it returns has the setting"]
    pub const fn with_session(mut self, session: &'a [u8]) -> Self {
        self.session = Some(session);
        self
    }

    /// Sets the time, in seconds since the Unix epoch.
    ///
    /// ```
    /// use keyproof_otp::Secret;
    /// use keyproof_otp::ocra::{Input, Ocra, Suite};
    ///
    /// let suite: Suite = "OCRA-1:HOTP-SHA512-8:QN08-T1M".parse()?;
    /// let ocra = Ocra::new(&Secret::from_bytes(&[7; 32])?, suite);
    /// let response = ocra.response(&Input::new("12345678").with_time(1_800_000_000))?;
    /// // Half a minute later. The next response must belong to a later step.
    /// let accepted = ocra.verify(&response, &Input::new("12345678").with_time(1_800_000_030), None);
    /// assert_eq!(accepted.unwrap().step, Some(1_800_000_000 / 60));
    /// # Ok::<(), keyproof_otp::OtpError>(())
    /// ```
    #[must_use = "only what it returns has the setting"]
    pub const fn with_time(mut self, time: u64) -> Self {
        self.time = Some(time);
        self
    }

    pub(super) fn check(&self, suite: &Suite) -> Result<Checked<'a>, OtpError> {
        let counter = named("counter", suite.has_counter().then_some(()), self.counter)?;
        let pin_hash = named("PIN hash", suite.pin_hash(), self.pin_hash)?;
        let session = named("session", suite.session_len(), self.session)?;
        let time = named("time", suite.time_step(), self.time)?;
        if let Some((algorithm, pin_hash)) = pin_hash {
            let (expected, found) = (algorithm.output_len(), pin_hash.as_bytes().len());
            if expected != found {
                return Err(OtpError::OcraPinHash { expected, found });
            }
        }
        if let Some((expected, session)) = session
            && usize::from(expected) != session.len()
        {
            let found = session.len();
            return Err(OtpError::OcraSession { expected, found });
        }
        Ok(Checked {
            question: self.question(suite)?,
            counter: counter.map_or(0, |((), counter)| counter),
            pin_hash: pin_hash.map_or(&[], |(_, pin_hash)| pin_hash.as_bytes()),
            session: session.map_or(&[], |(_, session)| session),
            step: time.map_or(0, |(step, time)| time / step),
        })
    }

    /// Encodes the questions as 128 bytes, padded with zeros on the right.
    fn question(&self, suite: &Suite) -> Result<[u8; QUESTION_FIELD], OtpError> {
        let format = suite.question_format();
        let max = suite.question_len();
        for question in [Some(self.question), self.second].into_iter().flatten() {
            let found = question.len();
            if found == 0 || found > usize::from(max) {
                return Err(OtpError::OcraQuestionLength { max, found });
            }
            if let Some(at) = question.bytes().position(|byte| !format.has(byte)) {
                return Err(OtpError::OcraQuestion { at });
            }
        }
        let characters = self
            .question
            .bytes()
            .chain(self.second.unwrap_or_default().bytes());
        let mut field = [0; QUESTION_FIELD];
        match format {
            QuestionFormat::Alphanumeric => fill(&mut field, characters),
            QuestionFormat::Hexadecimal => fill_digits(&mut field, characters.map(hex_value)),
            QuestionFormat::Numeric => {
                // The number in hexadecimal without leading zeros, as in RFC 6287's reference
                // program: an odd number of digits ends in the middle of a byte.
                let number = number(characters);
                let digits = number.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
                fill_digits(&mut field, digits.skip_while(|digit| *digit == 0));
            }
        }
        Ok(field)
    }
}

const QUESTION_FIELD: usize = 128;

/// The bytes of the largest number: 128 decimal digits, the longest pair of questions, are below
/// 2^426.
const NUMBER: usize = 54;

/// An input that matches the suite, in the form in which it is hashed.
pub(super) struct Checked<'a> {
    question: [u8; QUESTION_FIELD],
    counter: u64,
    pin_hash: &'a [u8],
    session: &'a [u8],
    step: u64,
}

impl Checked<'_> {
    pub(super) const fn question(&self) -> &[u8] {
        &self.question
    }

    /// 0 if the suite has no counter.
    pub(super) const fn counter(&self) -> u64 {
        self.counter
    }

    pub(super) const fn pin_hash(&self) -> &[u8] {
        self.pin_hash
    }

    pub(super) const fn session(&self) -> &[u8] {
        self.session
    }

    /// 0 if the suite has no time.
    pub(super) const fn step(&self) -> u64 {
        self.step
    }
}

/// Returns the suite's parameter and the given value, or `None` if there is neither.
fn named<S, T>(
    name: &'static str,
    suite: Option<S>,
    given: Option<T>,
) -> Result<Option<(S, T)>, OtpError> {
    match (suite, given) {
        (Some(suite), Some(given)) => Ok(Some((suite, given))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(OtpError::OcraInputMissing { name }),
        (None, Some(_)) => Err(OtpError::OcraInputUnexpected { name }),
    }
}

fn fill(field: &mut [u8], bytes: impl Iterator<Item = u8>) {
    field
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
}

/// Packs hexadecimal digits into bytes, the first digit in the upper half of the first byte.
fn fill_digits(field: &mut [u8], digits: impl Iterator<Item = u8>) {
    for (index, digit) in digits.enumerate() {
        if let Some(byte) = field.get_mut(index / 2) {
            *byte |= if index.is_multiple_of(2) {
                digit << 4
            } else {
                digit
            };
        }
    }
}

/// The value of an ASCII hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).saturating_sub(b'a') + 10,
    }
}

/// The big-endian bytes of a number given as ASCII decimal digits.
fn number(digits: impl Iterator<Item = u8>) -> [u8; NUMBER] {
    let mut number = [0; NUMBER];
    for digit in digits {
        let mut carry = u16::from(digit - b'0');
        for byte in number.iter_mut().rev() {
            let value = u16::from(*byte) * 10 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
    }
    number
}

/// The hash of a PIN or password. It is as easy to guess as the PIN itself, so it is wiped on drop
/// and hidden in `Debug`.
///
/// ```
/// use keyproof_otp::Algorithm;
/// use keyproof_otp::ocra::PinHash;
///
/// let pin = PinHash::new(Algorithm::Sha1, "1234")?;
/// assert_eq!(format!("{pin:?}"), "PinHash([redacted; 20])");
/// assert!(PinHash::new(Algorithm::Sha1, "").is_err()); // everybody knows it
/// assert!(PinHash::from_bytes(&[0; 65]).is_err()); // longer than any suite's hash
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone)]
pub struct PinHash {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl PinHash {
    const MAX_LEN: usize = 64;

    /// Hashes a PIN, encoded as UTF-8. The suite names the hash function ([`Suite::pin_hash`]).
    ///
    /// # Errors
    ///
    /// [`OcraPinEmpty`](OtpError::OcraPinEmpty) if the PIN is empty.
    pub fn new(algorithm: Algorithm, pin: &str) -> Result<Self, OtpError> {
        if pin.is_empty() {
            return Err(OtpError::OcraPinEmpty);
        }
        Ok(match algorithm {
            Algorithm::Sha1 => Self::of(&Sha1::digest(pin)),
            Algorithm::Sha256 => Self::of(&Sha256::digest(pin)),
            Algorithm::Sha512 => Self::of(&Sha512::digest(pin)),
        })
    }

    /// Creates a PIN hash from its bytes.
    ///
    /// # Errors
    ///
    /// [`OcraPinHash`](OtpError::OcraPinHash) if it is longer than 64 bytes, the longest hash. The
    /// suite's exact length is checked when the hash is used.
    pub fn from_bytes(hash: &[u8]) -> Result<Self, OtpError> {
        let found = hash.len();
        if found > Self::MAX_LEN {
            let expected = Self::MAX_LEN;
            return Err(OtpError::OcraPinHash { expected, found });
        }
        Ok(Self::of(hash))
    }

    fn of(hash: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        fill(&mut bytes, hash.iter().copied());
        let len = hash.len().min(Self::MAX_LEN);
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinHash([redacted; {}])", self.len)
    }
}

impl Drop for PinHash {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl zeroize::ZeroizeOnDrop for PinHash {}
