//! The one error type: why a container was not taken, and where in it.

use alloc::string::String;

use thiserror::Error;

use crate::{Cipher, KeyDerivation};

/// Why a container was not taken or not opened.
///
/// Positions (`at`) are byte offsets into the document. No variant holds any part of a key.
///
/// ```
/// use keyproof_pskc::{Container, PskcError};
///
/// let refused = Container::parse("<!DOCTYPE KeyContainer><KeyContainer/>").unwrap_err();
/// assert_eq!(refused, PskcError::DocumentType { at: 0 });
/// assert_eq!(refused.to_string(), "a document type declaration at byte 0 is not taken; containers need none: remove it");
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PskcError {
    /// An algorithm that is not supported, or not for what it is used for.
    #[error("the algorithm {uri:?} at byte {at} is not supported here")]
    Algorithm {
        /// Its identifier, cut off where it is long.
        uri: String,
        /// The element that names it.
        at: usize,
    },
    /// An attribute that is missing or cannot be read.
    #[error("the element at byte {at} has no usable attribute {name}")]
    Attribute {
        /// The attribute's name.
        name: &'static str,
        /// The element.
        at: usize,
    },
    /// The key or the password is another one, or the container was changed: an authentication code
    /// does not verify, or what was to be decrypted shows that the key does not fit.
    #[error("wrong key or password, or the container was changed")]
    Authentication,
    /// Text that is not Base64 (RFC 4648 section 4, blanks aside).
    #[error("not Base64 at byte {at}")]
    Base64 {
        /// The element.
        at: usize,
    },
    /// An encrypted value of a length that its algorithm never makes.
    #[error("the encrypted value at byte {at} is of no possible length")]
    CipherValue {
        /// The element.
        at: usize,
    },
    /// A document type declaration, which may have entities.
    #[error(
        "a document type declaration at byte {at} is not taken; containers need none: remove it"
    )]
    DocumentType {
        /// Where it begins.
        at: usize,
    },
    /// An element that may be there once, or two keys of one identifier.
    #[error(
        "what may be there once, an element or a key of this identifier, is there again at byte {at}"
    )]
    Duplicate {
        /// The second one.
        at: usize,
    },
    /// A secret of no bytes, which everybody knows.
    #[error("the secret at byte {at} is empty")]
    EmptySecret {
        /// The element.
        at: usize,
    },
    /// Elements within elements beyond any container, attributes or namespaces too many, or a text
    /// too long.
    #[error("{what} beyond what a container needs, at byte {at}")]
    Excessive {
        /// `attributes`, `depth`, `elements`, `namespaces` or `text`.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A key derivation whose parameters are out of range.
    #[error(
        "the key derivation at byte {at} has {what} out of range: a salt of {} to {} bytes, 1 to {} iterations",
        KeyDerivation::MIN_SALT_LEN,
        KeyDerivation::MAX_SALT_LEN,
        KeyDerivation::MAX_ITERATIONS
    )]
    KeyDerivation {
        /// `iterations`, `key length` or `salt`.
        what: &'static str,
        /// The element.
        at: usize,
    },
    /// A key of another length than an algorithm takes.
    #[error("{cipher} takes a key of {expected} bytes, not {found}")]
    KeyLength {
        /// The algorithm.
        cipher: Cipher,
        /// How many bytes its keys have.
        expected: usize,
        /// How many this one has.
        found: usize,
    },
    /// The container is encrypted with a key that both sides have.
    #[error("the container is encrypted with a key, and none was given")]
    KeyNeeded,
    /// A value that must be authenticated and is not, or an authentication code without a method or
    /// of a value that is not encrypted.
    #[error(
        "the value at byte {at} has no authentication code that can be verified; without one, keys must be wrapped (RFC 6030 section 6.1.1)"
    )]
    Mac {
        /// The value's element.
        at: usize,
    },
    /// An element that must be there.
    #[error("the element at byte {at} has no {name}")]
    MissingElement {
        /// What it lacks.
        name: &'static str,
        /// The element.
        at: usize,
    },
    /// A number that is not decimal, is negative, or is out of range.
    #[error("not a usable number at byte {at}")]
    Number {
        /// The element.
        at: usize,
    },
    /// The container is encrypted with a password.
    #[error("the container is encrypted with a password, and none was given")]
    PasswordNeeded,
    /// A secret that is not encrypted, where the container was to be opened with a key or a password.
    #[error(
        "the secret at byte {at} is not encrypted, so anybody may have put it there; what comes under a key or a password has no such secrets"
    )]
    PlainSecret {
        /// The secret's element.
        at: usize,
    },
    /// A text with something else within, such as an element or a comment.
    #[error("not a plain text at byte {at}")]
    Text {
        /// The element.
        at: usize,
    },
    /// A document longer than [`Container::MAX_LEN`](crate::Container::MAX_LEN).
    #[error("the document is longer than {} bytes", crate::Container::MAX_LEN)]
    TooLong,
    /// An element that has no place there, or one of another namespace.
    #[error("an element at byte {at} that has no place there")]
    UnexpectedElement {
        /// Where it begins.
        at: usize,
    },
    /// A part of the format that is not supported.
    #[error("{what} at byte {at} is not supported")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// The element.
        at: usize,
    },
    /// A version other than 1.0, or 1 with another minor number (RFC 6030 section 1.2).
    #[error("not a container of version 1")]
    Version,
    /// Not well-formed XML.
    #[error("not well-formed XML at line {line}, column {column}")]
    Xml {
        /// The line, from 1 on.
        line: u32,
        /// The character in it, from 1 on.
        column: u32,
    },
}

impl PskcError {
    /// An algorithm that is not supported; who wrote the document has chosen how long its name is.
    pub(crate) fn algorithm(uri: &str, at: usize) -> Self {
        let uri = uri.chars().take(100).collect();
        Self::Algorithm { uri, at }
    }
}
