//! Errors of parsing, encoding and credentials.

use alloc::string::String;
use core::convert::Infallible;

use thiserror::Error;

use crate::algorithm::HashAlgorithm;

/// The reason why an input was rejected.
///
/// The parsers of structures return only the *parsing variants*: [`BadMagic`](Self::BadMagic),
/// [`ReservedBits`](Self::ReservedBits), [`TrailingBytes`](Self::TrailingBytes),
/// [`UnexpectedEnd`](Self::UnexpectedEnd), [`UnknownSelector`](Self::UnknownSelector) and
/// [`WrongSize`](Self::WrongSize). Every other function documents the variants that it returns.
///
/// Positions (`at`) are byte offsets into the input that was parsed. No variant contains a secret.
///
/// ```
/// use keyproof_tpm::{TpmError, TpmlPcrSelection};
///
/// let refused = "sha256:0+md5:0".parse::<TpmlPcrSelection>().unwrap_err();
/// assert_eq!(refused, TpmError::PcrSelectionText { at: 9 });
/// assert_eq!(refused.to_string(), "not a PCR selection at byte 9: write one as sha256:0,1,7+sha384:0");
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TpmError {
    /// A proof of activation that does not match the key or the Name.
    #[error(
        "the proof does not match this key, so it does not show that the credential was opened"
    )]
    ActivationProof,
    /// An attestation that does not begin with `TPM_GENERATED_VALUE`. No TPM made it.
    #[error("not made by a TPM: magic {found:#010x} at byte {at}")]
    BadMagic {
        /// The offset of the magic number.
        at: usize,
        /// The number found there.
        found: u32,
    },
    /// A certificate that cannot be parsed.
    #[error("not a certificate: {0}")]
    Certificate(#[from] keyproof_x509::X509Error),
    /// A certificate that was modified, or encrypted under another key.
    #[error("the certificate cannot be decrypted with this key")]
    CertificateSealed,
    /// A credential that was modified, or made for another endorsement key or Name. The error does
    /// not distinguish these cases.
    #[error("the credential does not open with this key for this Name")]
    CredentialRefused,
    /// A chain of CA certificates from a device that cannot be parsed, or is too long.
    #[error("the endorsement certificate's chain: {what}")]
    EkChain {
        /// The reason.
        what: String,
    },
    /// An endorsement certificate that violates the profile's rules on describing its TPM.
    #[error("violates the profile of endorsement certificates: {what}")]
    EkCertificateProfile {
        /// The rule violated.
        what: &'static str,
    },
    /// Text that is not a Name in hexadecimal.
    #[error(
        "not a Name at byte {at}: write algorithm and digest in hexadecimal, such as 000b and 64 digits for SHA-256"
    )]
    NameText {
        /// The first byte that is not a hexadecimal digit, or where the text is too short or too
        /// long.
        at: usize,
    },
    /// A public area without a name algorithm, which has no Name.
    #[error("a public area without a name algorithm has no Name")]
    NoNameAlgorithm,
    /// A PCR index above 31, the highest that a selection can contain.
    #[error("PCR {index} is above 31")]
    PcrIndex {
        /// The index.
        index: u8,
    },
    /// Text that is not a PCR selection, such as `sha256:0,1,7+sha384:0`.
    #[error("not a PCR selection at byte {at}: write one as sha256:0,1,7+sha384:0")]
    PcrSelectionText {
        /// The offset of the bank or register that is invalid.
        at: usize,
    },
    /// The provider rejected the key or its own input. The reason is omitted, as it may depend on a
    /// secret.
    #[error("the cryptographic provider refused")]
    Provider,
    /// Attributes with a reserved bit set.
    #[error("reserved bits {found:#010x} at byte {at}")]
    ReservedBits {
        /// The offset of the attributes.
        at: usize,
        /// The reserved bits that are set.
        found: u32,
    },
    /// A credential's secret that is empty, or longer than a digest of the endorsement key's name
    /// algorithm. A TPM would refuse to return it.
    #[error("the secret has {found} bytes, not 1 to {limit}")]
    SecretSize {
        /// Its size in bytes.
        found: usize,
        /// The maximum size in bytes.
        limit: usize,
    },
    /// A public area that matches no default template for endorsement keys.
    #[error("the key matches no default template for endorsement keys: its {property} differs")]
    TemplateMismatch {
        /// The first property that differs from the template for its type and size.
        property: &'static str,
    },
    /// Text that is too long for its field.
    #[error("{what} is too long")]
    TooLong {
        /// The field.
        what: &'static str,
    },
    /// Bytes after the end of the structure.
    #[error("{count} bytes too many at byte {at}")]
    TrailingBytes {
        /// The offset of the first of them.
        at: usize,
        /// Their number.
        count: usize,
    },
    /// An input, or a part of declared size, that ends before its structure does.
    #[error("the input ends too early, in the field at byte {at}")]
    UnexpectedEnd {
        /// The offset of the incomplete field.
        at: usize,
    },
    /// A name that is not defined for its type.
    #[error("not the name of a {what}, such as sha256 or P-256; letter case matters")]
    UnknownName {
        /// The TCG's name of the expected type.
        what: &'static str,
    },
    /// A number that is not defined for its field.
    #[error("{value:#06x} is not a valid {what} (byte {at})")]
    UnknownSelector {
        /// The offset of the number.
        at: usize,
        /// The number.
        value: u32,
        /// The TCG's name of the expected type.
        what: &'static str,
    },
    /// No credential can be made for this endorsement key. It must be a restricted decryption key:
    /// RSA 2048, 3072 or 4096, P-256 or P-384, with SHA-256 or SHA-384 as name algorithm and AES in
    /// CFB mode.
    #[error("no credential can be made for this endorsement key because of its {what}")]
    UnsupportedEndorsementKey {
        /// The unsupported property.
        what: &'static str,
    },
    /// A hash algorithm that is recognised but not computed.
    #[error("{hash} is not supported")]
    UnsupportedHash {
        /// The algorithm.
        hash: HashAlgorithm,
    },
    /// A SubjectPublicKeyInfo that is malformed, or of a type without a template.
    #[error("no template for this public key: {what}")]
    UnsupportedPublicKey {
        /// The reason.
        what: &'static str,
    },
    /// A field or input whose size is not allowed.
    #[error("{what} has an invalid size: {found} (byte {at})")]
    WrongSize {
        /// The offset of the size, or of the sized field.
        at: usize,
        /// The size: bytes, or the number of elements.
        found: usize,
        /// The TCG's name of the field.
        what: &'static str,
    },
}

/// The failure of a [`CredentialProvider`](crate::CredentialProvider): it rejected the key or its
/// input. It has no reason, which may depend on a secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the cryptographic provider refused")]
pub struct ProviderError;

impl From<ProviderError> for TpmError {
    fn from(_: ProviderError) -> Self {
        Self::Provider
    }
}

/// The reason why no credential was made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CredentialError<E> {
    /// The endorsement key or the secret was rejected.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The caller's source of randomness failed with this error.
    #[error("no randomness: {0}")]
    Random(E),
}

/// For a source of randomness that cannot fail.
impl From<CredentialError<Infallible>> for TpmError {
    fn from(error: CredentialError<Infallible>) -> Self {
        match error {
            CredentialError::Tpm(error) => error,
            CredentialError::Random(never) => match never {},
        }
    }
}

impl TpmError {
    /// Returns the offset in the input where parsing failed, for the variants that have one.
    pub fn position(&self) -> Option<usize> {
        self.clone().position_mut().copied()
    }

    /// Adds `base` to the position: the error's input begins there in a larger one.
    pub(crate) fn moved_by(mut self, base: usize) -> Self {
        if let Some(at) = self.position_mut() {
            *at = at.saturating_add(base);
        }
        self
    }

    fn position_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::BadMagic { at, .. }
            | Self::NameText { at }
            | Self::PcrSelectionText { at }
            | Self::ReservedBits { at, .. }
            | Self::TrailingBytes { at, .. }
            | Self::UnexpectedEnd { at }
            | Self::UnknownSelector { at, .. }
            | Self::WrongSize { at, .. } => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers box errors, and send them to other threads.
    #[test]
    fn errors_can_be_boxed_and_sent() {
        fn is_error<E: core::error::Error + Send + Sync + 'static>() {}
        is_error::<TpmError>();
        is_error::<ProviderError>();
        is_error::<CredentialError<core::fmt::Error>>();
        is_error::<crate::DeviceInfoError>();
    }
}
