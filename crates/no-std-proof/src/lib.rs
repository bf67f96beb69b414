//! Proves that the protocol crates need no std: a static library that calls each of them.
//!
//! rustc accepts only one panic handler and this crate defines one, so std anywhere in the dependency tree fails the build. It is
//! built with the profile `freestanding`, the only one that aborts on a panic (`cargo xtask test no-std`). In other profiles std is
//! linked, and this is an ordinary library.
#![cfg_attr(panic = "abort", no_std)]
#![expect(
    unsafe_code,
    reason = "exported names and an allocator, so that nothing is stripped"
)]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(all(feature = "alloc", panic = "abort"))]
mod allocator;
#[cfg(feature = "alloc")]
mod mfa;
#[cfg(feature = "alloc")]
mod otpauth;
#[cfg(feature = "alloc")]
mod pskc;
#[cfg(feature = "alloc")]
mod tpm;
#[cfg(feature = "alloc")]
mod x509;

use keyproof_otp::{
    Algorithm, Base32Profile, Code, Digits, Secret, Totp,
    ocra::{Input, Ocra, Response, Suite},
    pos::{self, PosAlgorithm},
};

#[cfg(panic = "abort")]
#[panic_handler]
fn halt(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Verifies a code for a secret in Base32: secrets, codes, HMAC and the window.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn keyproof_totp_verify(secret: &[u8; 32], code: &[u8; 6], now: u64) -> bool {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    let secret = Secret::from_base32(text(secret), Base32Profile::Lenient);
    let code = Code::parse(text(code), Digits::SIX);
    let (Ok(secret), Ok(code)) = (secret, code) else {
        return false;
    };
    let totp = Totp::new(&secret, Algorithm::Sha256, Digits::SIX);
    totp.verify(&code, now, None).is_ok()
}

/// Returns whether confirmation codes can be made for a price: amounts and key derivation.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn keyproof_pos_confirms(key: &[u8; 32], price: &[u8; 16], now: u64) -> bool {
    let price = core::str::from_utf8(price).unwrap_or_default().parse().ok();
    pos::confirmation_codes(key, PosAlgorithm::TotpWithPrice, price.as_ref(), now).is_some()
}

/// Verifies the response to a question: suites, inputs and truncation.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn keyproof_ocra_verify(
    suite: &[u8; 23],
    question: &[u8; 8],
    response: &[u8; 6],
    key: &[u8; 32],
) -> bool {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    let Ok(suite) = text(suite).parse::<Suite>() else {
        return false;
    };
    let input = Input::new(text(question));
    Response::parse(text(response), &suite).is_ok_and(|response| {
        Ocra::from_key(key, suite)
            .verify(&response, &input, None)
            .is_ok()
    })
}
