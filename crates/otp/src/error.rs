use thiserror::Error;

use crate::{Digits, Secret};

/// Why an input was not taken.
///
/// Positions (`at`) are byte offsets into the text that was parsed. No variant holds any part of
/// a secret or of a code.
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
    #[error("the Base32 text ends within a byte, at byte {at}")]
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
    #[error("not a Base32 symbol at byte {at}")]
    Base32Symbol {
        /// The offending byte.
        at: usize,
    },
    /// Base32 text whose last symbol has bits that belong to no byte and are not zero (RFC 4648
    /// section 3.5).
    #[error("left-over bits in the last Base32 symbol, at byte {at}")]
    Base32TrailingBits {
        /// The last symbol.
        at: usize,
    },
    /// A code of another length than asked for.
    #[error("the code has {found} characters, not {expected}")]
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
    /// A secret too long to be held inline.
    #[error(
        "a secret of more than {} bytes is only taken as prepared state: give its bytes to Hotp::from_key",
        Secret::MAX_LEN
    )]
    SecretTooLong,
    /// A name that is not SHA1, SHA256 or SHA512.
    #[error("unknown algorithm: neither SHA1, SHA256 nor SHA512")]
    UnknownAlgorithm,
    /// A name or number that is no confirmation algorithm of a point of sale.
    #[error("unknown confirmation algorithm")]
    UnknownPosAlgorithm,
}
