//! The verifier's side: `TPM2_MakeCredential` (Part 3, 12.6; Part 1, "Credential Protection").

use alloc::{vec, vec::Vec};

use zeroize::Zeroizing;

use super::{
    Credential, CredentialProvider, EncryptedSecret, TpmsIdObject,
    endorsement::{EndorsementKey, Transport},
};
use crate::{
    CredentialError, ProviderError, TpmError,
    kdf::{hmac, kdfa, kdfe},
    name::Name,
    public::{EccPublic, TpmtPublic},
    spki::{padded, uncompressed},
    wire::{Buffer, put_sized},
};

/// The label of credential seeds. KDFe and OAEP both include its terminating zero.
pub(super) const IDENTITY: &str = "IDENTITY";
pub(super) const IDENTITY_WITH_ZERO: &[u8] = b"IDENTITY\0";

/// A random scalar is out of range with a probability of at most 2^-32.
const SCALAR_DRAWS: usize = 8;

/// Makes a credential: only the TPM that has `ek` can return `secret`, and only if it has an object
/// with the Name `name`.
///
/// `random` fills a slice with random bytes. For an RSA key it generates the seed, one digest of
/// the name algorithm long. For an EC key it generates the ephemeral private key, one coordinate
/// long, and may be called several times. All later steps are deterministic, except for the
/// RSAES-OAEP padding, whose randomness is the provider's.
///
/// ```
/// # #[cfg(all(feature = "activate", feature = "aws-lc-rs"))] {
/// use keyproof_tpm::{AwsLcRs, Name, Structure, TpmtPublic, activate, make_credential};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/software/eccp256.ek.pub.tpm2b"))?;
/// let ak = Name::parse(include_bytes!("../../tests/vectors/software/eccp256.name.bin"))?;
/// # let mut random = |bytes: &mut [u8]| Ok::<(), core::convert::Infallible>(bytes.fill(7));
/// // `random` is, for example, `getrandom::fill`. Its errors are returned.
/// let credential = make_credential(&AwsLcRs, &ek, &ak, b"a secret of up to 32 bytes", &mut random)?;
/// let file = credential.to_bytes(); // for `tpm2_activatecredential`
/// // The TPM's part, here in software.
/// let private = include_bytes!("../../tests/vectors/software/eccp256.ek.pkcs8.der");
/// assert_eq!(*activate(&AwsLcRs, &ek, private, &ak, &credential)?, b"a secret of up to 32 bytes");
/// # assert!(!file.is_empty());
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
///
/// # Errors
///
/// [`CredentialError::Random`] with the error of `random`. Otherwise [`CredentialError::Tpm`] with
/// [`TpmError::UnsupportedEndorsementKey`], [`TpmError::UnsupportedPublicKey`],
/// [`TpmError::SecretSize`] or [`TpmError::Provider`].
pub fn make_credential<E>(
    provider: &dyn CredentialProvider,
    ek: &TpmtPublic,
    name: &Name,
    secret: &[u8],
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Credential, CredentialError<E>> {
    let key = EndorsementKey::of(ek)?;
    check_secret(&key, secret)?;
    let (seed, encrypted_secret) = match key.transport {
        Transport::Ecdh(point) => agree(provider, &key, point, random)?,
        Transport::Oaep => {
            let mut seed = Zeroizing::new(vec![0; key.hash.digest_size()]);
            random(&mut seed).map_err(CredentialError::Random)?;
            let spki = ek.to_spki()?;
            let sealed = provider.rsa_oaep_encrypt(&spki, key.hash, IDENTITY_WITH_ZERO, &seed);
            (seed, sealed.map_err(TpmError::from)?)
        }
    };
    Ok(Credential {
        id_object: make_credential_with_seed(provider, ek, name, secret, &seed)?,
        encrypted_secret: EncryptedSecret(Buffer::new(encrypted_secret)?),
    })
}

/// Performs the steps of [`make_credential`] after the seed: encrypts `secret` and binds it to
/// `name` (Part 1, "Credential Protection"). Use it to reproduce credentials, such as test vectors.
///
/// `seed` has the size of a digest of the endorsement key's name algorithm. Whoever knows it can
/// open the credential.
///
/// # Errors
///
/// [`TpmError::UnsupportedEndorsementKey`], [`TpmError::SecretSize`], [`TpmError::WrongSize`] for
/// a seed of another size, and [`TpmError::Provider`].
pub fn make_credential_with_seed(
    provider: &dyn CredentialProvider,
    ek: &TpmtPublic,
    name: &Name,
    secret: &[u8],
    seed: &[u8],
) -> Result<TpmsIdObject, TpmError> {
    let key = EndorsementKey::of(ek)?;
    check_secret(&key, secret)?;
    if seed.len() != key.hash.digest_size() {
        return Err(TpmError::WrongSize {
            at: 0,
            found: seed.len(),
            what: "credential seed",
        });
    }
    let mut identity = Zeroizing::new(Vec::new());
    put_sized(&mut identity, secret);
    provider.aes_cfb_encrypt(&storage_key(&key, seed, name)?, &mut identity)?;
    Ok(TpmsIdObject {
        integrity_hmac: Buffer::new(integrity(&key, seed, &identity, name)?.to_vec())?,
        enc_identity: Buffer::new(identity.to_vec())?,
    })
}

/// Derives the key that encrypts the secret.
pub(super) fn storage_key(
    key: &EndorsementKey<'_>,
    seed: &[u8],
    name: &Name,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    kdfa(key.hash, seed, "STORAGE", name.as_bytes(), key.aes_bits)
}

/// Computes the HMAC over the encrypted secret and the Name.
pub(super) fn integrity(
    key: &EndorsementKey<'_>,
    seed: &[u8],
    enc_identity: &[u8],
    name: &Name,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let size = key.hash.digest_size();
    let bits = u16::try_from(size.saturating_mul(8)).unwrap_or(u16::MAX);
    let hmac_key = kdfa(key.hash, seed, "INTEGRITY", &[], bits)?;
    hmac(key.hash, &hmac_key, &[enc_identity, name.as_bytes()])
}

/// Derives the seed from a shared point, as both sides do.
pub(super) fn shared_seed(
    key: &EndorsementKey<'_>,
    point: &EccPublic,
    ephemeral_x: &[u8],
    shared_x: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let size = point.curve.coordinate_size();
    kdfe(
        key.hash,
        shared_x,
        IDENTITY,
        ephemeral_x,
        &padded(&point.x, size),
    )
}

/// The seed, and the ephemeral public point.
type Agreed = (Zeroizing<Vec<u8>>, Vec<u8>);

fn agree<E>(
    provider: &dyn CredentialProvider,
    key: &EndorsementKey<'_>,
    point: &EccPublic,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Agreed, CredentialError<E>> {
    let size = point.curve.coordinate_size();
    let peer = uncompressed(&padded(&point.x, size), &padded(&point.y, size));
    let mut scalar = Zeroizing::new(vec![0; size]);
    let mut agreed = Err(ProviderError);
    for _ in 0..SCALAR_DRAWS {
        random(&mut scalar).map_err(CredentialError::Random)?;
        agreed = provider.ecdh(point.curve, &scalar, &peer);
        if agreed.is_ok() {
            break;
        }
    }
    let agreement = agreed.map_err(TpmError::from)?;
    let (x, y) = agreement
        .public_key
        .split_first()
        .map(|(_, coordinates)| coordinates.split_at(coordinates.len() / 2))
        .ok_or(TpmError::Provider)?;
    let mut ephemeral = Vec::new();
    put_sized(&mut ephemeral, x);
    put_sized(&mut ephemeral, y);
    Ok((shared_seed(key, point, x, &agreement.shared_x)?, ephemeral))
}

/// Rejects a secret that a TPM would not return: one longer than a digest of the endorsement key's
/// name algorithm.
fn check_secret(key: &EndorsementKey<'_>, secret: &[u8]) -> Result<(), TpmError> {
    let limit = key.hash.digest_size();
    if (1..=limit).contains(&secret.len()) {
        Ok(())
    } else {
        Err(TpmError::SecretSize {
            found: secret.len(),
            limit,
        })
    }
}
