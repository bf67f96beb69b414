//! A certificate that only one TPM can open: encrypted under a fresh key, which is in a credential.

use alloc::vec::Vec;
use core::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    CredentialError, TpmError,
    credential::{AwsLcRs, Credential, make_credential},
    name::Name,
    public::TpmtPublic,
};

/// A certificate that only one TPM can read: it must have the given endorsement key, and an
/// attestation key with the given Name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SealedCertificate {
    /// The certificate, encrypted with AES-256-GCM without associated data; the tag is last.
    pub encrypted_certificate: Vec<u8>,
    /// The 12-byte nonce of the encryption.
    pub nonce: [u8; 12],
    /// The credential that contains the key.
    pub credential: Credential,
    /// The key. The sender may store it to verify that the credential was opened.
    pub key: ActivationKey,
}

/// The 32-byte secret in the credential of a [`SealedCertificate`]. It is wiped on drop and
/// hidden in `Debug` output.
#[derive(Clone)]
pub struct ActivationKey(Zeroizing<[u8; 32]>);

/// Encrypts a certificate (DER) for the TPM with the endorsement key `ek` and an attestation key
/// with the Name `ak`. `random` generates the key and the nonce.
///
/// ```
/// # #[cfg(all(feature = "activate", feature = "aws-lc-rs"))] {
/// use keyproof_tpm::{ActivationKey, AwsLcRs, Name, Structure, TpmtPublic, activate, seal_certificate};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/software/eccp256.ek.pub.tpm2b"))?;
/// let ak = Name::parse(include_bytes!("../../tests/vectors/software/eccp256.name.bin"))?;
/// # let mut random = |bytes: &mut [u8]| Ok::<(), core::convert::Infallible>(bytes.fill(7));
/// // `random` is, for example, `getrandom::fill`. Its errors are returned.
/// let sealed = seal_certificate(&ek, &ak, b"the certificate", &mut random)?;
/// // The device: its TPM opens the key, which decrypts the certificate and proves possession.
/// let private = include_bytes!("../../tests/vectors/software/eccp256.ek.pkcs8.der");
/// let opened = ActivationKey::from_bytes(&activate(&AwsLcRs, &ek, private, &ak, &sealed.credential)?)?;
/// assert_eq!(opened.open(&sealed.nonce, &sealed.encrypted_certificate)?, b"the certificate");
/// // The CA: this proves that the attestation key is in that TPM.
/// sealed.key.verify(&ak, &opened.proof(&ak))?;
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
///
/// # Errors
///
/// Those of [`make_credential`]: [`CredentialError::Random`] with the error of `random`,
/// [`TpmError::UnsupportedEndorsementKey`], and [`TpmError::Provider`] for an invalid endorsement
/// key.
pub fn seal_certificate<E>(
    ek: &TpmtPublic,
    ak: &Name,
    certificate: &[u8],
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<SealedCertificate, CredentialError<E>> {
    let mut key = Zeroizing::new([0; 32]);
    random(key.as_mut_slice()).map_err(CredentialError::Random)?;
    let key = ActivationKey(key);
    let mut nonce = [0; 12];
    random(&mut nonce).map_err(CredentialError::Random)?;
    let mut encrypted_certificate = certificate.to_vec();
    key.cipher()?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut encrypted_certificate,
        )
        .map_err(|_| TpmError::Provider)?;
    Ok(SealedCertificate {
        credential: make_credential(&AwsLcRs, ek, ak, key.0.as_slice(), random)?,
        encrypted_certificate,
        nonce,
        key,
    })
}

impl ActivationKey {
    /// Creates a key from the bytes that a TPM returned.
    ///
    /// # Errors
    ///
    /// [`TpmError::WrongSize`] unless there are 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(TpmError::WrongSize {
                at: 0,
                found: bytes.len(),
                what: "activation key",
            });
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// Returns the key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Decrypts a certificate that was encrypted under this key.
    ///
    /// # Errors
    ///
    /// [`TpmError::CertificateSealed`] for another key or nonce, or a modified certificate.
    pub fn open(
        &self,
        nonce: &[u8; 12],
        encrypted_certificate: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let mut sealed = encrypted_certificate.to_vec();
        let opened = self
            .cipher()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::empty(),
                &mut sealed,
            )
            .map_err(|_| TpmError::CertificateSealed)?;
        Ok(opened.to_vec())
    }

    /// Proves that the credential was opened: HMAC-SHA-256 of the attestation key's Name under this
    /// key.
    pub fn proof(&self, ak: &Name) -> [u8; 32] {
        self.mac(ak).finalize().into_bytes().into()
    }

    /// Verifies in constant time that `proof` matches this key and Name.
    ///
    /// # Errors
    ///
    /// [`TpmError::ActivationProof`] if it does not match or has another length.
    pub fn verify(&self, ak: &Name, proof: &[u8]) -> Result<(), TpmError> {
        self.mac(ak)
            .verify_slice(proof)
            .map_err(|_| TpmError::ActivationProof)
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, ak: &Name) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice());
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(ak.as_bytes());
        mac
    }

    fn cipher(&self) -> Result<LessSafeKey, TpmError> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice());
        key.map(LessSafeKey::new).map_err(|_| TpmError::Provider)
    }
}

impl fmt::Debug for ActivationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationKey(..)")
    }
}
