//! The error type: why an input was rejected, and where in it.

use thiserror::Error;

use crate::{Digits, Secret};

/// Why an input was rejected.
///
/// Each function names the variants that it returns. Positions (`at`) are byte offsets into the
/// text that was parsed. No variant contains any part of a secret or a code.
///
/// ```
/// use keyproof_otp::{Code, Digits, OtpError};
///
/// let refused = Code::parse("12345O", Digits::SIX).unwrap_err();
/// assert_eq!(refused, OtpError::CodeSymbol { at: 5 });
/// assert_eq!(refused.to_string(), "not a digit at byte 5 of the code");
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtpError {
    /// An amount whose currency is not 1 to 11 letters A to Z followed by a colon.
    #[error("the amount's currency is not 1 to 11 letters A-Z and a colon (byte {at})")]
    AmountCurrency {
        /// The first byte that cannot be part of it.
        at: usize,
    },
    /// An amount with more than 8 decimals, or with a point and no decimals.
    #[error("the amount's point is not followed by 1 to 8 digits (byte {at})")]
    AmountFraction {
        /// The first byte that cannot be part of it.
        at: usize,
    },
    /// An amount whose whole part is missing, not decimal, or above 2^52.
    #[error("the amount's whole part is not a number up to 2^52 (byte {at})")]
    AmountValue {
        /// The first byte that cannot be part of it.
        at: usize,
    },
    /// Base32 text that ends within a byte.
    #[error("the Base32 text ends within a byte, at byte {at}: some of it is missing")]
    Base32Length {
        /// The end of the text, or of its last symbol.
        at: usize,
    },
    /// Base32 text with padding that the profile does not allow.
    #[error("wrong Base32 padding at byte {at}")]
    Base32Padding {
        /// The padding's first byte, the first other byte after it, or where it is missing.
        at: usize,
    },
    /// A byte that is not in the Base32 alphabet of the profile.
    #[error("not a Base32 symbol at byte {at}: the symbols are A to Z and 2 to 7")]
    Base32Symbol {
        /// The invalid byte.
        at: usize,
    },
    /// Base32 text whose last symbol has non-zero bits that belong to no byte (RFC 4648 section
    /// 3.5).
    #[error(
        "the last Base32 symbol, at byte {at}, has left-over bits: it is wrong, or text after it is missing"
    )]
    Base32TrailingBits {
        /// The last symbol.
        at: usize,
    },
    /// A code that does not have the required length.
    #[error("the code has {found} bytes, not {expected} digits")]
    CodeLength {
        /// The required number of digits.
        expected: u8,
        /// The number of bytes found.
        found: usize,
    },
    /// A code with a character other than an ASCII digit.
    #[error("not a digit at byte {at} of the code")]
    CodeSymbol {
        /// The invalid byte.
        at: usize,
    },
    /// A number of digits that codes cannot have.
    #[error("{found} digits are not within {} to {}", Digits::MIN, Digits::MAX)]
    Digits {
        /// The requested number.
        found: u8,
    },
    /// A look-ahead beyond [`LookAhead::MAX`](crate::LookAhead::MAX).
    #[error("a look-ahead of {found} is beyond {}", crate::LookAhead::MAX)]
    LookAhead {
        /// The requested number.
        found: u16,
    },
    /// Base64 that does not follow RFC 4648 section 4, with or without padding.
    #[error("the export from byte {at} of the URI on is not Base64")]
    MigrationBase64 {
        /// The position of the Base64 text.
        at: usize,
    },
    /// Codes of different exports, two different codes for one index of a batch, or an impossible
    /// index or size.
    #[error("the code does not belong to this batch: scan the codes of one export")]
    MigrationBatch,
    /// A field that occurs twice.
    #[error("the export repeats a field, at byte {at}")]
    MigrationDuplicate {
        /// The position of the repeated field in the message.
        at: usize,
    },
    /// A message that is not in the wire format of Protocol Buffers, or a field of the wrong type.
    #[error("the export is damaged at byte {at}: scan its code again")]
    MigrationEncoding {
        /// The position in the message.
        at: usize,
    },
    /// A code of the batch is missing.
    #[error("code {} of the export is missing: scan it as well", missing + 1)]
    MigrationIncomplete {
        /// The index of the first missing code, from 0.
        missing: u8,
    },
    /// A URI that does not begin with `otpauth-migration://offline?data=`.
    #[error("the URI does not begin with otpauth-migration://offline?data=")]
    MigrationScheme,
    /// An account without a secret.
    #[error("the account at byte {at} of the export has no secret")]
    MigrationSecret {
        /// The position of the account in the message.
        at: usize,
    },
    /// An export longer than any QR code, an account too long for a QR code, or more accounts than
    /// fit a batch.
    #[error("the export is too long for QR codes")]
    MigrationTooLong,
    /// An account that the export format cannot represent.
    #[error("the export format does not support this account's {what}")]
    MigrationUnsupported {
        /// `counter` above 2^63 - 1, `digits` other than 6 and 8, `label` whose issuer contains a
        /// colon, or `period` other than 30 seconds.
        what: &'static str,
    },
    /// A number that is unknown or out of range, or a text that is not UTF-8.
    #[error("the export has an unknown value at byte {at}")]
    MigrationValue {
        /// The position of the field in the message.
        at: usize,
    },
    /// A data input that the OCRA suite requires, and that was not given.
    #[error("the OCRA suite requires a {name}, and none was given")]
    OcraInputMissing {
        /// `counter`, `PIN hash`, `session` or `time`.
        name: &'static str,
    },
    /// A data input that the OCRA suite does not have: it would not be part of the response.
    #[error("the OCRA suite has no {name}, but one was given")]
    OcraInputUnexpected {
        /// `counter`, `PIN hash`, `session` or `time`.
        name: &'static str,
    },
    /// A PIN without characters: it would add nothing to the key.
    #[error("the PIN is empty, so anybody knows it")]
    OcraPinEmpty,
    /// A PIN hash whose length is not that of the suite's hash function.
    #[error("the PIN hash has {found} bytes, not {expected}")]
    OcraPinHash {
        /// The length of the suite's hash, in bytes.
        expected: usize,
        /// The number of bytes found.
        found: usize,
    },
    /// A challenge question with a character that is not in the suite's format.
    #[error(
        "not a character of the suite's question format at byte {at} of the challenge question"
    )]
    OcraQuestion {
        /// The invalid byte.
        at: usize,
    },
    /// A challenge question that is empty or longer than the suite allows.
    #[error("the challenge question has {found} characters, not 1 to {max}")]
    OcraQuestionLength {
        /// The suite's length.
        max: u8,
        /// The number of bytes found.
        found: usize,
    },
    /// A response that does not have the suite's length.
    #[error("the response has {found} bytes, not {expected}")]
    OcraResponseLength {
        /// The suite's number of digits, or two for each byte of the HMAC if it does not truncate.
        expected: usize,
        /// The number of bytes found.
        found: usize,
    },
    /// A response with a character other than an ASCII digit, or a hexadecimal one if the suite
    /// does not truncate.
    #[error("not a digit at byte {at} of the response")]
    OcraResponseSymbol {
        /// The invalid byte.
        at: usize,
    },
    /// Session information that does not have exactly the suite's length.
    #[error("the session information has {found} bytes, not {expected}")]
    OcraSession {
        /// The suite's length.
        expected: u16,
        /// The number of bytes found.
        found: usize,
    },
    /// A text that is not an OCRA suite.
    #[error("not a valid OCRA suite (RFC 6287 section 6) from byte {at} on")]
    OcraSuite {
        /// The beginning of the part that is wrong, missing or out of order.
        at: usize,
    },
    /// A look-ahead and a window of time steps with too many pairs of a counter and a time step.
    #[error(
        "the look-ahead and the window make {found} pairs of counter and time step, more than {}",
        crate::ocra::Ocra::MAX_TRIES
    )]
    OcraTries {
        /// The number of pairs, each of which is one accepted response.
        found: u32,
    },
    /// A secret without bytes: anybody could compute its codes.
    #[error("the secret is empty")]
    SecretEmpty,
    /// A secret longer than [`Secret::MAX_LEN`], or than the buffer it is decoded into.
    #[error(
        "the secret is too long: it has more than {} bytes, or more than its buffer",
        Secret::MAX_LEN
    )]
    SecretTooLong,
    /// A name that is not SHA1, SHA256 or SHA512.
    #[error("unknown algorithm: neither SHA1, SHA256 nor SHA512")]
    UnknownAlgorithm,
    /// A name or number that is not a confirmation algorithm of a point of sale.
    #[error(
        "unknown confirmation algorithm: not 0 (NONE), 1 (TOTP_WITHOUT_PRICE) or 2 (TOTP_WITH_PRICE)"
    )]
    UnknownPosAlgorithm,
    /// A parameter that occurs twice in the URI.
    #[error("the URI repeats a parameter, at byte {at}")]
    UriDuplicateParameter {
        /// The position of the repeated parameter.
        at: usize,
    },
    /// A percent sign without two hexadecimal digits, or escaped bytes that are not UTF-8.
    #[error("wrong percent escape at byte {at}")]
    UriEscape {
        /// The percent sign, or the beginning of the part that is not UTF-8.
        at: usize,
    },
    /// A `#`. `otpauth` URIs have no fragment, and the text after it would be silently lost.
    #[error("the URI has a fragment, at byte {at}; a # in a name is written as %23")]
    UriFragment {
        /// The `#`.
        at: usize,
    },
    /// The label and the parameter name different issuers.
    #[error("the URI names two different issuers")]
    UriIssuerMismatch,
    /// An issuer or account for the label that is empty, begins with a space or contains a colon.
    #[error("issuer and account must not be empty, begin with a blank or contain a colon")]
    UriLabel,
    /// A required parameter that is missing or empty.
    #[error("the URI has no {name}, or an empty one")]
    UriMissingParameter {
        /// The parameter's name.
        name: &'static str,
    },
    /// A counter, period or number of digits that is not decimal or is out of range.
    #[error("not a usable number at byte {at} of the URI: counter, period and digits are decimal")]
    UriNumber {
        /// The position of the value.
        at: usize,
    },
    /// A URI that does not begin with `otpauth://`.
    #[error("the URI does not begin with otpauth://")]
    UriScheme,
    /// A secret that is not Base32.
    #[error("the secret at byte {at} of the URI is not Base32")]
    UriSecret {
        /// The position of the value.
        at: usize,
    },
    /// A type that is neither `hotp` nor `totp`.
    #[error("the URI's type at byte {at} is neither hotp nor totp")]
    UriType {
        /// The position of the type.
        at: usize,
    },
}
