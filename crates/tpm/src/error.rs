//! Why an input was not taken.

use alloc::string::String;
use core::convert::Infallible;

use thiserror::Error;

use crate::{algorithm::HashAlgorithm, device::DeviceField};

/// Why an input was not taken.
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
    /// A proof of activation that is of another key or Name.
    #[error("the proof does not show that this key's credential was opened")]
    ActivationProof,
    /// An attestation that does not begin with `TPM_GENERATED_VALUE`: no TPM made it.
    #[error("not made by a TPM: magic {found:#010x} at byte {at}")]
    BadMagic {
        /// Where the number stands.
        at: usize,
        /// What stands there.
        found: u32,
    },
    /// A certificate that cannot be read.
    #[error("not a certificate: {0}")]
    Certificate(#[from] keyproof_x509::X509Error),
    /// A certificate that was changed, or sealed under another key.
    #[error("the certificate does not open with this key")]
    CertificateSealed,
    /// A certification request that cannot be read, or is not signed by its own key.
    #[error("{0}")]
    CertificationRequest(keyproof_x509::X509Error),
    /// A certification request of another device.
    #[error("{what}")]
    CertificationRequestSubject {
        /// What in its subject is not the device's.
        what: &'static str,
    },
    /// A credential that was changed, or made for another endorsement key or Name. Which one is not
    /// said.
    #[error("the credential does not open with this key for this Name")]
    CredentialRefused,
    /// A device property outside its limits, in Unicode code points.
    #[error("the device's {field} has {found} characters, not {minimum} to {maximum}")]
    DeviceInfo {
        /// The property.
        field: DeviceField,
        /// How many it has; 0 if it is absent.
        found: usize,
        /// The fewest allowed.
        minimum: usize,
        /// The most allowed.
        maximum: usize,
    },
    /// A device property with a character that it must not have there.
    #[error("the device's {field} {what}")]
    DeviceInfoText {
        /// The property.
        field: DeviceField,
        /// What it has.
        what: &'static str,
    },
    /// A chain of CA certificates from a device that cannot be read, or is too long.
    #[error("the endorsement certificate's chain: {what}")]
    EkChain {
        /// What is wrong with it.
        what: String,
    },
    /// An endorsement certificate that does not say of its TPM what the profile asks for.
    #[error("not as the profile of endorsement certificates asks for: {what}")]
    EkCertificateProfile {
        /// What is wrong.
        what: &'static str,
    },
    /// A text that is no Name in hexadecimal.
    #[error(
        "not a Name at byte {at}: it is the algorithm and the digest in hexadecimal, such as 000b and 64 digits of SHA-256"
    )]
    NameText {
        /// The first byte that is no digit, or where the text is too short or too long.
        at: usize,
    },
    /// A public area without a name algorithm has no Name.
    #[error("a public area without a name algorithm has no Name")]
    NoNameAlgorithm,
    /// A register above the highest that a selection can name.
    #[error("PCR {index} is above 31")]
    PcrIndex {
        /// Its number.
        index: u8,
    },
    /// Text that is not a PCR selection, such as `sha256:0,1,7+sha384:0`.
    #[error("not a PCR selection at byte {at}: write one as sha256:0,1,7+sha384:0")]
    PcrSelectionText {
        /// The bank or register that cannot be taken.
        at: usize,
    },
    /// The provider refused the key or its own input; the reason is not told, as it may depend on a
    /// secret.
    #[error("the cryptographic provider refused")]
    Provider,
    /// Attributes with a reserved bit set.
    #[error("reserved bits {found:#010x} at byte {at}")]
    ReservedBits {
        /// Where the attributes stand.
        at: usize,
        /// The bits.
        found: u32,
    },
    /// A credential's secret that is empty, or longer than the digests of the endorsement key's name
    /// algorithm: a TPM would refuse to return it.
    #[error("the secret has {found} bytes, not 1 to {limit}")]
    SecretSize {
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A public area that follows no template for endorsement keys.
    #[error("not an endorsement key by any default template: its {property} is another")]
    TemplateMismatch {
        /// The first property that departs from the template for its type and size.
        property: &'static str,
    },
    /// A text that is longer than its place.
    #[error("{what} is too long")]
    TooLong {
        /// The place.
        what: &'static str,
    },
    /// Bytes after the end of the structure.
    #[error("{count} bytes too many at byte {at}")]
    TrailingBytes {
        /// The first of them.
        at: usize,
        /// How many.
        count: usize,
    },
    /// An input, or a part behind a size, that ends before its structure does.
    #[error("the input ends too early, in the field at byte {at}")]
    UnexpectedEnd {
        /// Where the field begins that is not all there.
        at: usize,
    },
    /// A name that stands for nothing in its place.
    #[error("not a name of a {what}, to the letter, such as sha256 or P-256")]
    UnknownName {
        /// The TCG's name of what it should be.
        what: &'static str,
    },
    /// A number that stands for nothing in its place.
    #[error("{value:#06x} is no {what} (byte {at})")]
    UnknownSelector {
        /// Where the number stands.
        at: usize,
        /// The number.
        value: u32,
        /// The TCG's name of what it should be.
        what: &'static str,
    },
    /// A credential for an endorsement key that is not a restricted decryption key of RSA 2048, 3072
    /// or 4096, P-256 or P-384, with SHA-256 or SHA-384 as name algorithm and AES in CFB mode.
    #[error("no credential can be made for this endorsement key because of its {what}")]
    UnsupportedEndorsementKey {
        /// The property.
        what: &'static str,
    },
    /// A hash algorithm that is recognised but not computed here.
    #[error("{hash} is not supported")]
    UnsupportedHash {
        /// The algorithm.
        hash: HashAlgorithm,
    },
    /// A SubjectPublicKeyInfo that is malformed, or of a kind for which there is no template.
    #[error("no template for this public key: {what}")]
    UnsupportedPublicKey {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Something whose size is not one that it may have.
    #[error("{what} of {found} bytes (byte {at})")]
    WrongSize {
        /// Where the size stands, or what has it.
        at: usize,
        /// The size.
        found: usize,
        /// The TCG's name of it.
        what: &'static str,
    },
}

/// Why no credential was made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CredentialError<E> {
    /// The endorsement key or the secret was not taken.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The caller's source of randomness failed; this is what it returned.
    #[error("no randomness: {0}")]
    Random(E),
}

/// Of a source that cannot fail.
impl From<CredentialError<Infallible>> for TpmError {
    fn from(error: CredentialError<Infallible>) -> Self {
        match error {
            CredentialError::Tpm(error) => error,
            CredentialError::Random(never) => match never {},
        }
    }
}

impl TpmError {
    /// Where in the input, of the variants that are about parsing.
    pub fn position(&self) -> Option<usize> {
        self.clone().position_mut().copied()
    }

    /// The same error of an input that begins at `base`.
    pub(crate) fn moved_by(mut self, base: usize) -> Self {
        if let Some(at) = self.position_mut() {
            *at = at.saturating_add(base);
        }
        self
    }

    fn position_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::BadMagic { at, .. }
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
