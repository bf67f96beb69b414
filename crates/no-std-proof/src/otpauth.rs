//! The call into what `keyproof-otp` needs an allocator for.

use keyproof_otp::otpauth::OtpauthUri;

/// Whether a text is an otpauth URI.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_otpauth_parses(uri: &[u8; 64]) -> bool {
    core::str::from_utf8(uri).is_ok_and(|uri| OtpauthUri::parse(uri).is_ok())
}
