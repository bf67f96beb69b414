//! Why a container was not written.

use alloc::string::String;

use thiserror::Error;

use crate::{Cipher, Container, KeyDerivation};

/// Why a container was not written. No variant holds any part of a key.
///
/// ```
/// use keyproof_pskc::{Key, KeyData, KeyInfo, Lock, WriteError, Writer};
///
/// let twice = [Key::new(KeyInfo::new("1"), KeyData::default()), Key::new(KeyInfo::new("1"), KeyData::default())];
/// let refused = Writer::new(Lock::Nothing).write(&twice, |_| Ok::<_, WriteError>(())).unwrap_err();
/// assert_eq!(refused, WriteError::Duplicate { id: "1".to_owned() });
/// assert_eq!(refused.to_string(), r#"two keys have the identifier "1"; give each one of its own"#);
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// Two keys of one identifier.
    #[error("two keys have the identifier {id:?}; give each one of its own")]
    Duplicate {
        /// The identifier.
        id: String,
    },
    /// No key at all.
    #[error("a container has at least one key")]
    Empty,
    /// A key derivation whose parameters are out of range.
    #[error(
        "the key derivation has {what} out of range: a salt of {} to {} bytes, 1 to {} iterations",
        KeyDerivation::MIN_SALT_LEN,
        KeyDerivation::MAX_SALT_LEN,
        KeyDerivation::MAX_ITERATIONS
    )]
    KeyDerivation {
        /// `iterations` or `salt`.
        what: &'static str,
    },
    /// A key of another length than the cipher takes.
    #[error("{cipher} takes a key of {expected} bytes, not {found}")]
    KeyLength {
        /// The cipher.
        cipher: Cipher,
        /// How many bytes its keys have.
        expected: usize,
        /// How many this one has.
        found: usize,
    },
    /// A number that no reader takes.
    #[error("{field} is above 2^63 - 1")]
    Number {
        /// The element.
        field: &'static str,
    },
    /// The random source failed. Nothing was written.
    #[error("the random source failed: {detail}")]
    Random {
        /// What it said.
        detail: String,
    },
    /// A secret of a length that the cipher does not take, or an empty one.
    #[error(
        "the secret of key {id:?} has {found} bytes: none may be empty, and key wrap without padding takes 16, 24, 32 and so on"
    )]
    SecretLength {
        /// The key's identifier.
        id: String,
        /// How many bytes it has.
        found: usize,
    },
    /// A text that would not be read as it is.
    #[error("{field} {problem}")]
    Text {
        /// The element or attribute.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A document longer than [`Container::MAX_LEN`].
    #[error(
        "the document would be longer than {} bytes; write several",
        Container::MAX_LEN
    )]
    TooLong,
    /// A policy that says more than is known here ([`Policy::has_unknown`](crate::Policy::has_unknown)):
    /// written without that, it would permit more.
    #[error("the policy of key {id:?} says more than can be written")]
    UnknownPolicy {
        /// The key's identifier.
        id: String,
    },
}
