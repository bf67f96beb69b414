//! The provider over aws-lc-rs.

use alloc::{vec, vec::Vec};

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey},
    cipher::{AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rsa::{
        OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepAlgorithm, OaepPublicEncryptingKey,
        PublicEncryptingKey,
    },
};
use zeroize::Zeroizing;

use super::{Agreement, CredentialProvider};
use crate::{
    ProviderError,
    algorithm::{EccCurve, HashAlgorithm},
};

/// The [`CredentialProvider`] (and, with the feature `activate`, the `ActivationProvider`) over
/// aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLcRs;

impl CredentialProvider for AwsLcRs {
    fn rsa_oaep_encrypt(
        &self,
        spki: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ProviderError> {
        let key = PublicEncryptingKey::from_der(spki).map_err(refused)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(refused)?;
        let mut ciphertext = vec![0; key.ciphertext_size()];
        let written = key
            .encrypt(oaep(hash)?, plaintext, &mut ciphertext, Some(label))
            .map_err(refused)?
            .len();
        ciphertext.truncate(written);
        Ok(ciphertext)
    }

    fn ecdh(
        &self,
        curve: EccCurve,
        private_key: &[u8],
        peer: &[u8],
    ) -> Result<Agreement, ProviderError> {
        let key = PrivateKey::from_private_key(ecdh(curve)?, private_key).map_err(refused)?;
        Ok(Agreement {
            public_key: key.compute_public_key().map_err(refused)?.as_ref().to_vec(),
            shared_x: agree(&key, peer)?,
        })
    }

    fn aes_cfb_encrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), ProviderError> {
        let key = EncryptingKey::cfb128(aes(key)?).map_err(refused)?;
        key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from([0; 16])))
            .map_err(refused)?;
        Ok(())
    }
}

#[cfg(feature = "activate")]
impl super::ActivationProvider for AwsLcRs {
    fn rsa_oaep_decrypt(
        &self,
        pkcs8: &[u8],
        hash: HashAlgorithm,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};

        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(refused)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(refused)?;
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let written = key
            .decrypt(oaep(hash)?, ciphertext, &mut plaintext, Some(label))
            .map_err(refused)?
            .len();
        plaintext.truncate(written);
        Ok(plaintext)
    }

    fn ecdh_pkcs8(
        &self,
        curve: EccCurve,
        pkcs8: &[u8],
        peer: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let key = PrivateKey::from_private_key_der(ecdh(curve)?, pkcs8).map_err(refused)?;
        agree(&key, peer)
    }

    fn aes_cfb_decrypt(&self, key: &[u8], data: &mut [u8]) -> Result<(), ProviderError> {
        use aws_lc_rs::cipher::{DecryptingKey, DecryptionContext};

        let key = DecryptingKey::cfb128(aes(key)?).map_err(refused)?;
        key.decrypt(data, DecryptionContext::Iv128(FixedLength::from([0; 16])))
            .map_err(refused)?;
        Ok(())
    }
}

fn agree(key: &PrivateKey, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let peer = UnparsedPublicKey::new(key.algorithm(), peer);
    agreement::agree(key, peer, ProviderError, |shared_x| {
        Ok(Zeroizing::new(shared_x.to_vec()))
    })
}

fn oaep(hash: HashAlgorithm) -> Result<&'static OaepAlgorithm, ProviderError> {
    match hash {
        HashAlgorithm::Sha256 => Ok(&OAEP_SHA256_MGF1SHA256),
        HashAlgorithm::Sha384 => Ok(&OAEP_SHA384_MGF1SHA384),
        _ => Err(ProviderError),
    }
}

fn ecdh(curve: EccCurve) -> Result<&'static agreement::Algorithm, ProviderError> {
    match curve {
        EccCurve::NistP256 => Ok(&ECDH_P256),
        EccCurve::NistP384 => Ok(&ECDH_P384),
        _ => Err(ProviderError),
    }
}

fn aes(key: &[u8]) -> Result<UnboundCipherKey, ProviderError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(ProviderError),
    };
    UnboundCipherKey::new(algorithm, key).map_err(refused)
}

/// Discards the reason, which may depend on a secret.
fn refused<E>(_: E) -> ProviderError {
    ProviderError
}
