//! The one error type: why an input was not taken, and where in it.

use thiserror::Error;

use crate::{Digits, Secret};

/// Why an input was not taken.
///
/// Positions (`at`) are byte offsets into the text that was parsed. No variant holds any part of
/// a secret or of a code.
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
    /// An amount with more than 8 decimals, or with a point and none.
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
        /// Where the text, or its last symbol, ends.
        at: usize,
    },
    /// Base32 text with padding that its profile does not allow.
    #[error("wrong Base32 padding at byte {at}")]
    Base32Padding {
        /// The padding's first byte, or what follows it, or where it is missing.
        at: usize,
    },
    /// A byte that is not in the Base32 alphabet of the profile.
    #[error("not a Base32 symbol at byte {at}: there are A to Z and 2 to 7")]
    Base32Symbol {
        /// The offending byte.
        at: usize,
    },
    /// Base32 text whose last symbol has bits that belong to no byte and are not zero (RFC 4648
    /// section 3.5).
    #[error(
        "left-over bits in the last Base32 symbol, at byte {at}: it is another one, or the text goes on"
    )]
    Base32TrailingBits {
        /// The last symbol.
        at: usize,
    },
    /// A code of another length than asked for.
    #[error("the code has {found} bytes, not {expected} digits")]
    CodeLength {
        /// How many digits it must have.
        expected: u8,
        /// How many bytes it has.
        found: usize,
    },
    /// A code with something else than ASCII digits.
    #[error("not a digit at byte {at} of the code")]
    CodeSymbol {
        /// The offending byte.
        at: usize,
    },
    /// A number of digits that no code may have.
    #[error("{found} digits are not within {} to {}", Digits::MIN, Digits::MAX)]
    Digits {
        /// What was asked for.
        found: u8,
    },
    /// A look-ahead beyond [`LookAhead::MAX`](crate::LookAhead::MAX).
    #[error("a look-ahead of {found} is beyond {}", crate::LookAhead::MAX)]
    LookAhead {
        /// What was asked for.
        found: u16,
    },
    /// Base64 that is not RFC 4648 section 4, with or without its padding.
    #[error("the export from byte {at} of the URI on is not Base64")]
    MigrationBase64 {
        /// Where it begins.
        at: usize,
    },
    /// Codes of different exports, two different ones for the same part of one, or a part that
    /// cannot be.
    #[error("the code is no part of this batch: scan the codes of one export")]
    MigrationBatch,
    /// A field that is there twice.
    #[error("the export repeats a field, at byte {at}")]
    MigrationDuplicate {
        /// Where its repetition begins, in the message.
        at: usize,
    },
    /// A message that is not in the wire format of Protocol Buffers, or a field of another type.
    #[error("the export is damaged at byte {at}: scan its code again")]
    MigrationEncoding {
        /// Where in the message.
        at: usize,
    },
    /// A code of the batch is missing.
    #[error("code {} of the export is missing: scan it as well", missing + 1)]
    MigrationIncomplete {
        /// The first one missing, from 0 on.
        missing: u8,
    },
    /// A URI that does not begin with `otpauth-migration://offline?data=`.
    #[error("the URI does not begin with otpauth-migration://offline?data=")]
    MigrationScheme,
    /// An account without a secret.
    #[error("the account at byte {at} of the export has no secret")]
    MigrationSecret {
        /// Where it begins, in the message.
        at: usize,
    },
    /// An export longer than any QR code, an account longer than one has room for, or more accounts
    /// than a batch.
    #[error("the export is too long for QR codes")]
    MigrationTooLong,
    /// An account that the export format cannot say.
    #[error("an export has no place for this account's {what}")]
    MigrationUnsupported {
        /// `counter` above 2^63 - 1, `digits` other than 6 and 8, `label` with more than one colon
        /// before the account, or `period` other than 30 seconds.
        what: &'static str,
    },
    /// A number that is out of range or unknown, or a text that is not UTF-8.
    #[error("the export has a value that is not known, at byte {at}")]
    MigrationValue {
        /// Where its field begins, in the message.
        at: usize,
    },
    /// A data input that the OCRA suite names and that was not given.
    #[error("the OCRA suite asks for a {name}, and there is none")]
    OcraInputMissing {
        /// `counter`, `PIN hash`, `session` or `time`.
        name: &'static str,
    },
    /// A data input that the OCRA suite does not name: it would not be part of the response.
    #[error("the OCRA suite has no {name}, so the one given would be part of no response")]
    OcraInputUnexpected {
        /// `counter`, `PIN hash`, `session` or `time`.
        name: &'static str,
    },
    /// A PIN hash that is not as long as the hash function of the suite makes it.
    #[error("the PIN hash has {found} bytes, not {expected}")]
    OcraPinHash {
        /// How many bytes the suite's hash function makes.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A challenge question with a character that the suite's format does not have.
    #[error(
        "not a character of the suite's question format at byte {at} of the challenge question"
    )]
    OcraQuestion {
        /// The offending byte.
        at: usize,
    },
    /// A challenge question that is empty or longer than the suite allows.
    #[error("the challenge question has {found} characters, not 1 to {max}")]
    OcraQuestionLength {
        /// The suite's length.
        max: u8,
        /// How many bytes it has.
        found: usize,
    },
    /// A response of another length than the suite's.
    #[error("the response has {found} bytes, not {expected}")]
    OcraResponseLength {
        /// How many the suite asks for.
        expected: usize,
        /// How many bytes it has.
        found: usize,
    },
    /// A response with something else than ASCII digits, or hexadecimal ones if the suite does not
    /// truncate.
    #[error("not a digit at byte {at} of the response")]
    OcraResponseSymbol {
        /// The offending byte.
        at: usize,
    },
    /// Session information that is not exactly as long as the suite says.
    #[error("the session information has {found} bytes, not {expected}")]
    OcraSession {
        /// The suite's length.
        expected: u16,
        /// How many bytes it has.
        found: usize,
    },
    /// A text that is no OCRA suite.
    #[error("not an OCRA suite as RFC 6287 section 6 writes it, from byte {at} on")]
    OcraSuite {
        /// Where the part begins that is wrong, missing or out of order.
        at: usize,
    },
    /// A look-ahead over counters and a window of time steps that together are too much.
    #[error(
        "{found} pairs of counters and time steps are more than {}",
        crate::ocra::Ocra::MAX_TRIES
    )]
    OcraTries {
        /// How many responses would have been accepted.
        found: u32,
    },
    /// A secret too long for the room it is to be held in.
    #[error("the secret is too long: it has more than {} bytes", Secret::MAX_LEN)]
    SecretTooLong,
    /// A name that is not SHA1, SHA256 or SHA512.
    #[error("unknown algorithm: neither SHA1, SHA256 nor SHA512")]
    UnknownAlgorithm,
    /// A name or number that is no confirmation algorithm of a point of sale.
    #[error(
        "unknown confirmation algorithm: there are 0 (NONE), 1 (TOTP_WITHOUT_PRICE) and 2 (TOTP_WITH_PRICE)"
    )]
    UnknownPosAlgorithm,
    /// A parameter that the URI has twice.
    #[error("the URI repeats a parameter, at byte {at}")]
    UriDuplicateParameter {
        /// Where its repetition begins.
        at: usize,
    },
    /// A percent sign without two hexadecimal digits, or escapes that are not UTF-8.
    #[error("wrong percent escape at byte {at}")]
    UriEscape {
        /// The percent sign, or the beginning of the part that is not UTF-8.
        at: usize,
    },
    /// A `#`: `otpauth` URIs have no fragment, and what follows would be lost in silence.
    #[error("the URI has a fragment, at byte {at}; a # in a name is written as %23")]
    UriFragment {
        /// The `#`.
        at: usize,
    },
    /// The label names one issuer, the parameter another.
    #[error("the URI names two different issuers")]
    UriIssuerMismatch,
    /// A name for the label that is empty, begins with a blank or contains a colon.
    #[error("issuer and account must not be empty, begin with a blank or contain a colon")]
    UriLabel,
    /// A parameter that the URI needs.
    #[error("the URI has no {name}, or an empty one")]
    UriMissingParameter {
        /// The parameter's name.
        name: &'static str,
    },
    /// A counter, period or number of digits that is not decimal or out of range.
    #[error("not a usable number at byte {at} of the URI: counter, period and digits are decimal")]
    UriNumber {
        /// Where the value begins.
        at: usize,
    },
    /// A URI that does not begin with `otpauth://`.
    #[error("the URI does not begin with otpauth://")]
    UriScheme,
    /// A secret that is not Base32.
    #[error("the secret at byte {at} of the URI is not Base32")]
    UriSecret {
        /// Where the value begins.
        at: usize,
    },
    /// A type that is neither `hotp` nor `totp`.
    #[error("the URI's type at byte {at} is neither hotp nor totp")]
    UriType {
        /// Where it begins.
        at: usize,
    },
}
