//! The error type of parsing and opening: why a container was rejected, and where in it.

use alloc::string::String;

use thiserror::Error;

use crate::{Cipher, KeyDerivation};

/// Why a container was rejected, or could not be opened.
///
/// [`Container::parse`](crate::Container::parse) returns the variants about the document, and
/// [`Container::open`](crate::Container::open) those that its documentation names. Positions (`at`) are byte offsets
/// into the document. No variant contains any part of a key.
///
/// ```
/// use keyproof_pskc::{Container, PskcError};
///
/// let refused = Container::parse("<!DOCTYPE KeyContainer><KeyContainer/>").unwrap_err();
/// assert_eq!(refused, PskcError::DocumentType { at: 0 });
/// assert_eq!(refused.to_string(), "a document type declaration at byte 0 is not allowed; containers need none: remove it");
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PskcError {
    /// An algorithm that is not supported, or not for this purpose.
    #[error("the algorithm {uri:?} at byte {at} is not supported here")]
    Algorithm {
        /// Its identifier, truncated to 100 characters.
        uri: String,
        /// The element that names it.
        at: usize,
    },
    /// An attribute that is missing or invalid.
    #[error("the element at byte {at} has no usable attribute {name}")]
    Attribute {
        /// The attribute's name.
        name: &'static str,
        /// The element.
        at: usize,
    },
    /// The key or password is wrong, or the container was changed: an authentication code does not match, or decryption
    /// detects a wrong key.
    #[error("wrong key or password, or the container was changed")]
    Authentication,
    /// Text that is not Base64 (RFC 4648 section 4, with white space allowed).
    #[error("not Base64 at byte {at}")]
    Base64 {
        /// The element.
        at: usize,
    },
    /// An encrypted value whose length its algorithm never produces.
    #[error("the encrypted value at byte {at} has a length that its algorithm never produces")]
    CipherValue {
        /// The element.
        at: usize,
    },
    /// A document type declaration, which could declare entities.
    #[error(
        "a document type declaration at byte {at} is not allowed; containers need none: remove it"
    )]
    DocumentType {
        /// Where it begins.
        at: usize,
    },
    /// An element that may occur only once, or two keys with the same identifier.
    #[error("an element or a key identifier that may occur only once is repeated at byte {at}")]
    Duplicate {
        /// The second one.
        at: usize,
    },
    /// A secret of zero bytes, which everybody knows.
    #[error("the secret at byte {at} is empty")]
    EmptySecret {
        /// The element.
        at: usize,
    },
    /// Elements nested too deeply, too many elements, attributes or namespaces, or a text that is too long.
    #[error("the document exceeds the limit of {what} at byte {at}")]
    Excessive {
        /// `attributes`, `depth`, `elements`, `namespaces` or `text`.
        what: &'static str,
        /// The position.
        at: usize,
    },
    /// A key derivation whose parameters are out of range.
    #[error(
        "the key derivation at byte {at} has {what} out of range: a salt of {} to {} bytes, 1 to {} iterations, a key of 16, 24 or 32 bytes",
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
    /// A key whose length the algorithm does not accept.
    #[error("{cipher} takes a key of {expected} bytes, not {found}")]
    KeyLength {
        /// The algorithm.
        cipher: Cipher,
        /// The algorithm's key length in bytes.
        expected: usize,
        /// The length of this key in bytes.
        found: usize,
    },
    /// The container is encrypted with a pre-shared key.
    #[error("the container is encrypted with a key, and none was given")]
    KeyNeeded,
    /// An encrypted value without the authentication code that it needs, a code without a method, or a code of a value
    /// that is not encrypted.
    #[error(
        "the value at byte {at} has no authentication code that can be verified; without one, keys must be wrapped (RFC 6030 section 6.1.1)"
    )]
    Mac {
        /// The value's element.
        at: usize,
    },
    /// A required element that is missing.
    #[error("the element at byte {at} has no {name}")]
    MissingElement {
        /// The missing element's name.
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
    /// The container is encrypted with a password, and none or an empty one was given.
    #[error("the container is encrypted with a password, and none was given, or an empty one")]
    PasswordNeeded,
    /// A secret that is not encrypted, in a container that was to be opened with a key or a password.
    #[error(
        "the secret at byte {at} is not encrypted, so anybody may have put it there; with a key or a password, every secret must be encrypted"
    )]
    PlainSecret {
        /// The secret's element.
        at: usize,
    },
    /// A text that contains something else, such as an element or a comment.
    #[error("not a plain text at byte {at}")]
    Text {
        /// The element.
        at: usize,
    },
    /// A document longer than [`Container::MAX_LEN`](crate::Container::MAX_LEN).
    #[error("the document is longer than {} bytes", crate::Container::MAX_LEN)]
    TooLong,
    /// An element that is not allowed there, or one of another namespace.
    #[error("the element at byte {at} is not allowed")]
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
    /// A version whose major number is not 1 (RFC 6030 section 1.2).
    #[error("not a container of version 1")]
    Version,
    /// Not well-formed XML.
    #[error("not well-formed XML at line {line}, column {column}")]
    Xml {
        /// The line, from 1.
        line: u32,
        /// The column in characters, from 1.
        column: u32,
    },
}

impl PskcError {
    /// Creates an [`Algorithm`](Self::Algorithm) error. The identifier is truncated, because the document's author
    /// chooses its length.
    pub(crate) fn algorithm(uri: &str, at: usize) -> Self {
        let uri = uri.chars().take(100).collect();
        Self::Algorithm { uri, at }
    }
}
