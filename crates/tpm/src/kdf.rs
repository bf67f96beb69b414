//! The TPM's key derivations.

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, digest::block_api::EagerHash};
use zeroize::Zeroizing;

use crate::{TpmError, algorithm::HashAlgorithm};

/// KDFa (Part 1, 11.4.10.2): the counter mode of SP 800-108 with HMAC. Derives at most one digest
/// of `hash`; `bits` must be a multiple of eight.
///
/// `label` includes its terminating zero byte.
pub(crate) fn kdfa(
    hash: HashAlgorithm,
    key: &[u8],
    label: &str,
    context: &[u8],
    bits: u16,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let mut derived = hmac(
        hash,
        key,
        &[
            &FIRST_ROUND,
            label.as_bytes(),
            &[0],
            context,
            &u32::from(bits).to_be_bytes(),
        ],
    )?;
    let size = usize::from(bits / 8);
    if !bits.is_multiple_of(8) || size > derived.len() {
        return Err(TpmError::UnsupportedEndorsementKey {
            what: "symmetric key size",
        });
    }
    derived.truncate(size);
    Ok(derived)
}

/// KDFe (Part 1, 11.4.10.3): the concatenation KDF of SP 800-56A. Derives one whole digest of
/// `hash`.
///
/// `label` includes its terminating zero byte.
pub(crate) fn kdfe(
    hash: HashAlgorithm,
    shared_x: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    hash.digest(&[
        &FIRST_ROUND,
        shared_x,
        label.as_bytes(),
        &[0],
        party_u,
        party_v,
    ])
    .map(Zeroizing::new)
}

/// Computes the HMAC of the concatenated `parts`, for the hashes that a credential may use.
pub(crate) fn hmac(
    hash: HashAlgorithm,
    key: &[u8],
    parts: &[&[u8]],
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    match hash {
        HashAlgorithm::Sha256 => Ok(hmac_of::<Sha256>(key, parts)),
        HashAlgorithm::Sha384 => Ok(hmac_of::<Sha384>(key, parts)),
        _ => Err(TpmError::UnsupportedHash { hash }),
    }
}

/// The counter of the only round: no derived key is longer than a digest.
const FIRST_ROUND: [u8; 4] = 1_u32.to_be_bytes();

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac_of<D: EagerHash>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = Hmac::<D>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}
