//! The error types of this crate.

use alloc::string::String;

use crate::UnixMillis;

/// Why a stored password, a token, a scope or another input was rejected, or a password was not hashed.
///
/// No variant contains a password, a token or a hash.
///
/// ```
/// use keyproof_auth::{AuthError, Token};
///
/// assert_eq!(Token::parse("secret").unwrap_err(), AuthError::MalformedToken);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A cost parameter is outside the supported range.
    #[error("Argon2 {parameter} must be between {minimum} and {maximum}, not {found}")]
    CostOutOfRange {
        /// `memory`, `iterations` or `lanes`.
        parameter: &'static str,
        /// The requested value.
        found: u32,
        /// The lowest allowed value.
        minimum: u32,
        /// The highest allowed value.
        maximum: u32,
    },
    /// The text is not that of a token's digest.
    #[error("not the digest of a token: it has 64 lower-case hexadecimal digits")]
    MalformedDigest,
    /// The text is not that of a generation.
    #[error("not a generation: it has 32 lower-case hexadecimal digits")]
    MalformedGeneration,
    /// A stored password is not an Argon2id PHC string of the form that this crate writes.
    #[error("not an Argon2id password hash: {reason}")]
    MalformedPasswordHash {
        /// The part that is wrong.
        reason: &'static str,
    },
    /// The text is not that of a token.
    #[error("not a token: it has 43 or 52 characters of base64url")]
    MalformedToken,
    /// The memory for one hash could not be allocated.
    #[error("no memory for a password hash of {kib} KiB: hash fewer at once, or at a lower cost")]
    OutOfMemory {
        /// The requested memory in KiB.
        kib: u32,
    },
    /// A time is before the Unix epoch or too late.
    #[error("the time is before 1970 or beyond what can be represented")]
    Time,
    /// A scope's name is unknown or invalid, its limit is malformed, or the number of scopes is out of range.
    #[error("unknown scope {found:?}: {known}")]
    UnknownScope {
        /// The given text, truncated to its first 64 characters.
        found: String,
        /// The known scopes, or the rules for them, in words.
        known: &'static str,
    },
}

/// Why a credential is no longer valid. It is exhaustive, since each caller must decide how to answer a new reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ValidityError {
    /// The current time is at or after the end of the validity.
    #[error("expired: log in again, or have a new one issued")]
    Expired {
        /// The first moment at which it is no longer valid.
        at: UnixMillis,
    },
    /// The owner's generation has changed, because of a new password, a removal or a suspension.
    #[error(
        "superseded: a new password, a removal or a suspension has ended it; have a new one issued"
    )]
    Superseded,
}

/// Why a new password is not allowed.
///
/// ```
/// use keyproof_auth::{NewPasswordError, check_new_password};
///
/// let refused = check_new_password("short").unwrap_err();
/// assert_eq!(refused, NewPasswordError::TooShort { found: 5, minimum: 8 });
/// assert_eq!(refused.to_string(), "a password has at least 8 characters, not 5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NewPasswordError {
    /// It is too long.
    #[error("a password has at most {maximum} bytes, not {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The longest accepted length.
        maximum: usize,
    },
    /// It is too short.
    #[error("a password has at least {minimum} characters, not {found}")]
    TooShort {
        /// Its length in characters.
        found: usize,
        /// The shortest accepted length.
        minimum: usize,
    },
}

impl AuthError {
    /// Creates an [`AuthError::UnknownScope`] with a bounded copy of the text.
    pub(crate) fn unknown_scope(text: &str, known: &'static str) -> Self {
        Self::UnknownScope {
            known,
            found: text.chars().take(64).collect(),
        }
    }
}
