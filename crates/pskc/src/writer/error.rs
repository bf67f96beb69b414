//! The error type of [`Writer`](crate::Writer).

use alloc::string::String;

use thiserror::Error;

use crate::{Cipher, Container, KeyDerivation};

/// Why a container was not written. No variant contains any part of a key.
///
/// ```
/// use keyproof_pskc::{Key, KeyData, KeyInfo, KeyProtection, WriteError, Writer};
///
/// let twice = [Key::new(KeyInfo::new("1"), KeyData::default()), Key::new(KeyInfo::new("1"), KeyData::default())];
/// let refused = Writer::new(KeyProtection::None).write(&twice, |_| Ok::<_, WriteError>(())).unwrap_err();
/// assert_eq!(refused, WriteError::Duplicate { id: "1".to_owned() });
/// assert_eq!(refused.to_string(), r#"two keys have the identifier "1"; give each one of its own"#);
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// Two keys with the same identifier.
    #[error("two keys have the identifier {id:?}; give each one of its own")]
    Duplicate {
        /// The identifier.
        id: String,
    },
    /// There are no keys.
    #[error("a container has at least one key")]
    Empty,
    /// A password without characters, which everybody knows.
    #[error("the password is empty")]
    EmptyPassword,
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
    /// A key whose length the cipher does not accept.
    #[error("{cipher} takes a key of {expected} bytes, not {found}")]
    KeyLength {
        /// The cipher.
        cipher: Cipher,
        /// The cipher's key length in bytes.
        expected: usize,
        /// The length of this key in bytes.
        found: usize,
    },
    /// A number that readers do not accept.
    #[error("{field} is above 2^63 - 1")]
    Number {
        /// The element.
        field: &'static str,
    },
    /// The random source failed. Nothing was written.
    #[error("the random source failed: {detail}")]
    Random {
        /// The source's error.
        detail: String,
    },
    /// An empty secret, or one whose length the cipher does not accept.
    #[error(
        "the secret of key {id:?} has {found} bytes: it must not be empty, and key wrap without padding requires 16, 24, 32 and so on"
    )]
    SecretLength {
        /// The key's identifier.
        id: String,
        /// The length of the secret in bytes.
        found: usize,
    },
    /// A text that would not be read back unchanged.
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
    /// A policy with unknown parts ([`Policy::has_unknown`](crate::Policy::has_unknown)). Written without them, it
    /// would permit more.
    #[error("the policy of key {id:?} has unknown parts, which cannot be written")]
    UnknownPolicy {
        /// The key's identifier.
        id: String,
    },
}
