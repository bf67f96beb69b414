//! The cryptography of credentials, supplied by the caller.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    ProviderError,
    algorithm::{EccCurve, HashAlgorithm},
};

/// The operations that making a credential needs, other than hashes.
///
/// The feature `aws-lc-rs` adds the implementation `AwsLcRs`. Without it, everything in this crate
/// except credentials works, and an embedder may supply its own.
pub trait CredentialProvider {
    /// Encrypts with RSAES-OAEP (RFC 8017 section 7.1.1) under a DER SubjectPublicKeyInfo. `hash`
    /// is SHA-256 or SHA-384, for both the label and MGF1.
    ///
    /// The provider generates the padding's randomness. It is the only randomness in a credential
    /// that the caller does not supply.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn rsa_oaep_encrypt(
        &self,
        spki: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ProviderError>;

    /// Performs ECDH on P-256 or P-384 between a private key, a big-endian scalar of one
    /// coordinate's size, and an uncompressed point. Must check that the point is on the curve.
    ///
    /// # Errors
    ///
    /// [`ProviderError`], including for a scalar that is not a valid private key.
    fn ecdh(
        &self,
        curve: EccCurve,
        private_key: &[u8],
        peer: &[u8],
    ) -> Result<Agreement, ProviderError>;

    /// Encrypts in place with AES in cipher feedback mode of whole blocks (SP 800-38A section 6.3)
    /// and a zero IV. The key has 16, 24 or 32 bytes.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn aes_cfb_encrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), ProviderError>;
}

/// The result of a key agreement.
pub struct Agreement {
    /// The public point of the private key, uncompressed.
    pub public_key: Vec<u8>,
    /// The shared point's x coordinate, padded to the curve's coordinate size.
    pub shared_x: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreement")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// The operations that opening a credential in software needs, other than hashes. Private keys are
/// PKCS#8 DER.
#[cfg(feature = "activate")]
pub trait ActivationProvider {
    /// The inverse of [`CredentialProvider::rsa_oaep_encrypt`].
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn rsa_oaep_decrypt(
        &self,
        pkcs8: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError>;

    /// Returns the shared x coordinate of ECDH on P-256 or P-384 with an uncompressed point. Must
    /// check that the point is on the curve.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn ecdh_pkcs8(
        &self,
        curve: EccCurve,
        pkcs8: &[u8],
        peer: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError>;

    /// The inverse of [`CredentialProvider::aes_cfb_encrypt`].
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn aes_cfb_decrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), ProviderError>;
}
