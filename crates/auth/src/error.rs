//! Everything that this crate refuses, with what it takes to explain it.

use alloc::string::String;

use crate::UnixMillis;

/// Why a password, a token or a scope was refused.
///
/// No variant contains a password, a token or a hash.
///
/// ```
/// use keyproof_auth::{AuthError, check_new_password};
///
/// let refused = check_new_password("short").unwrap_err();
/// assert_eq!(refused, AuthError::PasswordTooShort { found: 5, minimum: 8 });
/// assert_eq!(refused.to_string(), "a password has at least 8 characters, not 5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A cost parameter lies outside what this crate hashes with.
    #[error("Argon2 {parameter} must be between {minimum} and {maximum}, not {found}")]
    CostOutOfRange {
        /// `memory`, `iterations` or `lanes`.
        parameter: &'static str,
        /// The value that was asked for.
        found: u32,
        /// The lowest that is allowed.
        minimum: u32,
        /// The highest that is allowed.
        maximum: u32,
    },
    /// The time is at or after the end of a validity.
    #[error("expired: have a new one issued, as a login does")]
    Expired {
        /// The first moment at which it is no longer valid.
        at: UnixMillis,
    },
    /// A stored password is not an Argon2id PHC string of the form that this crate writes.
    #[error("not an Argon2id password hash: {reason}")]
    MalformedPasswordHash {
        /// Which part was wrong.
        reason: &'static str,
    },
    /// The text is none that a token, a digest or a generation has.
    #[error(
        "not the text of a token, which is 43 or 52 characters of base64url, nor of a digest or generation in hexadecimal"
    )]
    MalformedToken,
    /// The memory for one hash could not be had.
    #[error("no memory for a password hash of {kib} KiB: hash fewer at once, or at a lower cost")]
    OutOfMemory {
        /// How much was asked for.
        kib: u32,
    },
    /// A new password is too long.
    #[error("a password has at most {maximum} bytes, not {found}")]
    PasswordTooLong {
        /// Its length in bytes.
        found: usize,
        /// The longest that is taken.
        maximum: usize,
    },
    /// A new password is too short.
    #[error("a password has at least {minimum} characters, not {found}")]
    PasswordTooShort {
        /// Its length in characters.
        found: usize,
        /// The shortest that is taken.
        minimum: usize,
    },
    /// What a token or key was bound to has moved on: a new password, a removal, a suspension.
    #[error(
        "superseded: a new password, a removal or a suspension has ended it; have a new one issued"
    )]
    Superseded,
    /// A time that is before the Unix epoch or too late.
    #[error("the time is before 1970 or beyond what can be represented")]
    Time,
    /// A scope's name is none of the known ones or cannot be one, or its limit is malformed.
    #[error("unknown scope {found:?}: {known}")]
    UnknownScope {
        /// The text as given, cut to its first 64 characters.
        found: String,
        /// Which scopes there are, in words.
        known: &'static str,
    },
}

impl AuthError {
    /// An [`AuthError::UnknownScope`] with a bounded copy of the text.
    pub(crate) fn unknown_scope(text: &str, known: &'static str) -> Self {
        Self::UnknownScope {
            known,
            found: text.chars().take(64).collect(),
        }
    }
}
