//! The HMAC behind a code, with a key that is prepared once.

use core::{fmt, str::FromStr};

use hmac::{
    EagerHash,
    block_api::HmacCore,
    digest::{
        KeyInit, Output,
        block_api::{Buffer, FixedOutputCore, UpdateCore},
    },
};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::OtpError;

/// The hash function of the HMAC (RFC 6238 section 1.2).
///
/// RFC 4226 defines SHA-1 only, and every authenticator supports it. Many authenticators silently
/// use SHA-1 when another hash is requested.
///
/// ```
/// use keyproof_otp::Algorithm;
///
/// assert_eq!(Algorithm::default(), Algorithm::Sha1);
/// assert_eq!("sha256".parse::<Algorithm>()?.name(), "SHA256");
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum Algorithm {
    /// HMAC-SHA-1, the default.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in `otpauth` URIs: `SHA1`, `SHA256` or `SHA512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    pub(crate) const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The length of the hash in bytes.
    pub(crate) const fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = OtpError;

    /// Parses [`Algorithm::name`], ignoring ASCII case. Fails by
    /// [`UnknownAlgorithm`](OtpError::UnknownAlgorithm).
    fn from_str(name: &str) -> Result<Self, OtpError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or(OtpError::UnknownAlgorithm)
    }
}

/// HMAC state after both key blocks. A code costs the two compressions that depend on the counter,
/// and not the two that depend on the key. The hashes' `zeroize` feature wipes the state on drop.
#[derive(Clone)]
pub(crate) enum KeyedMac {
    Sha1(HmacCore<Sha1>),
    Sha256(HmacCore<Sha256>),
    Sha512(HmacCore<Sha512>),
}

impl KeyedMac {
    /// Accepts a key of any length, including an empty one.
    pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(keyed(key)),
            Algorithm::Sha256 => Self::Sha256(keyed(key)),
            Algorithm::Sha512 => Self::Sha512(keyed(key)),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Returns the 31-bit number of RFC 4226 section 5.3 for a moving factor.
    pub(crate) fn truncated(&self, counter: u64) -> u32 {
        match self {
            Self::Sha1(core) => truncate(&finish(core, counter)),
            Self::Sha256(core) => truncate(&finish(core, counter)),
            Self::Sha512(core) => truncate(&finish(core, counter)),
        }
    }
}

impl KeyedMac {
    /// Returns the HMAC of the concatenated parts.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> Tag {
        match self {
            Self::Sha1(core) => Tag::of(&finish_parts(core, parts)),
            Self::Sha256(core) => Tag::of(&finish_parts(core, parts)),
            Self::Sha512(core) => Tag::of(&finish_parts(core, parts)),
        }
    }
}

/// An HMAC of up to 64 bytes.
pub(crate) struct Tag {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl Tag {
    pub(crate) const MAX_LEN: usize = 64;

    fn of(tag: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.iter_mut().zip(tag).for_each(|(to, from)| *to = *from);
        let len = tag.len().min(Self::MAX_LEN);
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The 31-bit number of RFC 4226 section 5.3.
    pub(crate) fn truncated(&self) -> u32 {
        truncate(self.as_bytes())
    }
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of any length (RFC 2104 section 2)"
)]
fn keyed<D: EagerHash>(key: &[u8]) -> HmacCore<D> {
    HmacCore::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn finish<D: EagerHash>(core: &HmacCore<D>, counter: u64) -> Output<HmacCore<D>> {
    let mut tag = Output::<HmacCore<D>>::default();
    let mut buffer = Buffer::<HmacCore<D>>::new(&counter.to_be_bytes());
    core.clone().finalize_fixed_core(&mut buffer, &mut tag);
    tag
}

fn finish_parts<D: EagerHash>(core: &HmacCore<D>, parts: &[&[u8]]) -> Output<HmacCore<D>> {
    let mut core = core.clone();
    let mut buffer = Buffer::<HmacCore<D>>::default();
    for part in parts {
        buffer.digest_blocks(part, |blocks| core.update_blocks(blocks));
    }
    let mut tag = Output::<HmacCore<D>>::default();
    core.finalize_fixed_core(&mut buffer, &mut tag);
    tag
}

/// Dynamic truncation (RFC 4226 section 5.3): the low four bits of the last byte are the offset of
/// the number's four bytes. The offset is at most 15, so 19 bytes suffice; the shortest HMAC has
/// 20.
fn truncate(tag: &[u8]) -> u32 {
    let offset = tag.last().map_or(0, |last| usize::from(last & 0x0f));
    let number = tag.iter().skip(offset).take(4);
    number.fold(0, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff
}
