//! HOTP transcribed from RFC 4226, with HMAC from RFC 2104. It shares only the hash functions with the crate.

use keyproof_otp::Algorithm;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// RFC 4226 section 5.3, in decimal.
pub(crate) fn code(key: &[u8], counter: u64, algorithm: Algorithm, digits: u8) -> String {
    let hs = match algorithm {
        Algorithm::Sha1 => hmac::<Sha1>(key, &counter.to_be_bytes(), 64),
        Algorithm::Sha256 => hmac::<Sha256>(key, &counter.to_be_bytes(), 64),
        Algorithm::Sha512 => hmac::<Sha512>(key, &counter.to_be_bytes(), 128),
    };
    let offset = usize::from(hs[hs.len() - 1] & 0xf);
    let bin_code = u64::from(hs[offset] & 0x7f) << 24
        | u64::from(hs[offset + 1]) << 16
        | u64::from(hs[offset + 2]) << 8
        | u64::from(hs[offset + 3]);
    let otp = bin_code % 10_u64.pow(digits.into());
    format!("{otp:0width$}", width = digits.into())
}

/// RFC 2104 section 2, with blocks of B octets.
fn hmac<H: Digest>(key: &[u8], text: &[u8], b: usize) -> Vec<u8> {
    let mut k = if key.len() > b {
        H::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    k.resize(b, 0);
    let pad = |byte: u8| k.iter().map(|k| k ^ byte).collect::<Vec<u8>>();
    let inner = H::digest([&pad(0x36)[..], text].concat());
    H::digest([&pad(0x5c)[..], &inner].concat()).to_vec()
}
