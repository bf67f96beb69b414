//! The device's side in software: `TPM2_ActivateCredential` (Part 3, 12.5).

use alloc::vec::Vec;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    ActivationProvider, Credential,
    endorsement::{EndorsementKey, Transport},
    make::{IDENTITY_WITH_ZERO, integrity, shared_seed, storage_key},
};
use crate::{
    TpmError,
    name::Name,
    public::{EccPublic, TpmtPublic},
    spki::uncompressed,
    wire::Reader,
};

/// Opens a credential with the private key of `ek` (PKCS#8 DER), for the object named `name`.
///
/// # Errors
///
/// [`TpmError::UnsupportedEndorsementKey`]; [`TpmError::CredentialRefused`] for a credential that
/// was modified, made for another key or Name, or has a seed that the provider cannot decrypt;
/// [`TpmError::Provider`] if the provider fails at AES.
pub fn activate(
    provider: &dyn ActivationProvider,
    ek: &TpmtPublic,
    ek_pkcs8: &[u8],
    name: &Name,
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let key = EndorsementKey::of(ek)?;
    let sealed = &credential.encrypted_secret.0;
    let seed = match key.transport {
        Transport::Ecdh(point) => agree(provider, &key, point, ek_pkcs8, sealed),
        Transport::Oaep => provider
            .rsa_oaep_decrypt(ek_pkcs8, key.hash, IDENTITY_WITH_ZERO, sealed)
            .map_err(TpmError::from),
    };
    let seed = seed.map_err(|_| TpmError::CredentialRefused)?;

    // Like a TPM, verify the integrity before decrypting.
    let id_object = &credential.id_object;
    let expected = integrity(&key, &seed, &id_object.enc_identity, name)?;
    if !bool::from(expected.ct_eq(&id_object.integrity_hmac)) {
        return Err(TpmError::CredentialRefused);
    }
    let mut identity = Zeroizing::new(id_object.enc_identity.to_vec());
    provider.aes_cfb_decrypt(&storage_key(&key, &seed, name)?, &mut identity)?;
    secret(&identity, key.hash.digest_size()).map_err(|_| TpmError::CredentialRefused)
}

fn agree(
    provider: &dyn ActivationProvider,
    key: &EndorsementKey<'_>,
    point: &EccPublic,
    ek_pkcs8: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let size = point.curve.coordinate_size();
    let mut reader = Reader::new(sealed);
    let x = reader.buffer_of("TPM2B_ECC_PARAMETER", &[size])?;
    let y = reader.buffer_of("TPM2B_ECC_PARAMETER", &[size])?;
    reader.finish()?;
    let shared_x = provider.ecdh_pkcs8(point.curve, ek_pkcs8, &uncompressed(&x, &y))?;
    shared_seed(key, point, &x, &shared_x)
}

/// Parses the secret after its size, without trailing bytes.
fn secret(identity: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let mut reader = Reader::new(identity);
    let secret = Zeroizing::new(reader.sized("TPM2B_DIGEST", limit)?.remainder().to_vec());
    reader.finish()?;
    Ok(secret)
}
