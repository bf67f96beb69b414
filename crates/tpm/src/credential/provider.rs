//! The cryptography of credentials that the caller brings.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
};

/// What making a credential needs beside hashes.
///
/// With the feature `aws-lc-rs` there is an implementation, `AwsLcRs`. Without it all of this crate
/// but credentials works, and an embedder may bring its own. A method that fails, for whatever
/// reason, returns [`TpmError::Provider`].
pub trait CredentialProvider {
    /// RSAES-OAEP (RFC 8017 section 7.1.1) with the key of a DER SubjectPublicKeyInfo; `hash` is
    /// SHA-256 or SHA-384, for the label and for MGF1 alike.
    ///
    /// The padding's randomness is the provider's own: it is the one thing in a credential that is
    /// not an argument.
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`].
    fn rsa_oaep_encrypt(
        &self,
        spki: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, TpmError>;

    /// ECDH on P-256 or P-384 between a private key, a big-endian scalar as long as a coordinate,
    /// and an uncompressed point, which it must check to be on the curve.
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`], also for a scalar that is not a private key.
    fn ecdh(&self, curve: EccCurve, private_key: &[u8], peer: &[u8])
    -> Result<Agreement, TpmError>;

    /// AES in cipher feedback mode of whole blocks (SP 800-38A section 6.3), with a zero IV, in
    /// place; the key has 16, 24 or 32 bytes.
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`].
    fn aes_cfb_encrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), TpmError>;
}

/// The outcome of a key agreement.
pub struct Agreement {
    /// The private key's own point, uncompressed.
    pub public_key: Vec<u8>,
    /// The shared point's x coordinate, as long as the curve's coordinates.
    pub shared_x: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreement")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// What opening a credential in software needs beside hashes. Private keys are PKCS#8 DER.
#[cfg(feature = "activate")]
pub trait ActivationProvider {
    /// The inverse of [`CredentialProvider::rsa_oaep_encrypt`].
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`].
    fn rsa_oaep_decrypt(
        &self,
        pkcs8: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError>;

    /// ECDH on P-256 or P-384 with an uncompressed point, which it must check to be on the curve;
    /// the shared x coordinate.
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`].
    fn ecdh_pkcs8(
        &self,
        curve: EccCurve,
        pkcs8: &[u8],
        peer: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError>;

    /// The inverse of [`CredentialProvider::aes_cfb_encrypt`].
    ///
    /// # Errors
    ///
    /// [`TpmError::Provider`].
    fn aes_cfb_decrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), TpmError>;
}
