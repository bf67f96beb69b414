//! Authentication codes of values.

use alloc::vec::Vec;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::PskcError;

/// The algorithm that authenticates values: HMAC (RFC 2104).
///
/// ```
/// use keyproof_pskc::MacAlgorithm;
///
/// assert_eq!(MacAlgorithm::HmacSha256.to_string(), "hmac-sha256");
/// assert_eq!(MacAlgorithm::HmacSha256.recommended_iterations(), 600_000); // for PBKDF2
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MacAlgorithm {
    /// `xmldsig#hmac-sha1`, which RFC 6030 requires everybody to support.
    HmacSha1,
    /// `xmldsig-more#hmac-sha256`.
    HmacSha256,
    /// `xmldsig-more#hmac-sha384`.
    HmacSha384,
    /// `xmldsig-more#hmac-sha512`.
    HmacSha512,
}

impl MacAlgorithm {
    const ALL: [Self; 4] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The identifier in a container.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::HmacSha1 => "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
            Self::HmacSha256 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
            Self::HmacSha384 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384",
            Self::HmacSha512 => "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512",
        }
    }

    /// The number of PBKDF2 iterations with this HMAC that OWASP recommends (Password Storage Cheat
    /// Sheet, 2023): 600,000 for HMAC-SHA-256.
    pub const fn recommended_iterations(self) -> u32 {
        match self {
            Self::HmacSha1 => 1_300_000,
            Self::HmacSha256 => 600_000,
            Self::HmacSha384 | Self::HmacSha512 => 210_000,
        }
    }

    /// The length of its codes in bytes.
    pub(crate) const fn code_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    pub(crate) fn of(uri: &str, at: usize) -> Result<Self, PskcError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.uri() == uri)
            .ok_or_else(|| PskcError::algorithm(uri, at))
    }

    /// Computes the code of a value.
    pub(crate) fn code(self, key: &[u8], value: &[u8]) -> Vec<u8> {
        match self {
            Self::HmacSha1 => code::<Hmac<Sha1>>(key, value),
            Self::HmacSha256 => code::<Hmac<Sha256>>(key, value),
            Self::HmacSha384 => code::<Hmac<Sha384>>(key, value),
            Self::HmacSha512 => code::<Hmac<Sha512>>(key, value),
        }
    }

    /// Verifies a code in constant time and at its full length: a shorter one is rejected.
    pub(crate) fn verify(self, key: &[u8], value: &[u8], code: &[u8]) -> Result<(), PskcError> {
        let verified = match self {
            Self::HmacSha1 => verify::<Hmac<Sha1>>(key, value, code),
            Self::HmacSha256 => verify::<Hmac<Sha256>>(key, value, code),
            Self::HmacSha384 => verify::<Hmac<Sha384>>(key, value, code),
            Self::HmacSha512 => verify::<Hmac<Sha512>>(key, value, code),
        };
        if verified {
            Ok(())
        } else {
            Err(PskcError::Authentication)
        }
    }
}

/// HMAC takes keys of any length.
fn code<M: Mac + KeyInit>(key: &[u8], value: &[u8]) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mac| mac.chain_update(value).finalize().into_bytes().to_vec(),
    )
}

/// Writes a short name, such as `hmac-sha256`.
impl fmt::Display for MacAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.uri().rsplit('#').next().unwrap_or_default())
    }
}

fn verify<M: Mac + KeyInit>(key: &[u8], value: &[u8], code: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(value).verify_slice(code).is_ok())
}
