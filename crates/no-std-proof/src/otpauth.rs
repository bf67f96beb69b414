//! Calls the parts of `keyproof-otp` that need an allocator.

use keyproof_otp::{migration::Migration, otpauth::OtpauthUri};

/// Returns whether a text is an otpauth URI.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_otpauth_parses(uri: &[u8; 64]) -> bool {
    core::str::from_utf8(uri).is_ok_and(|uri| OtpauthUri::parse(uri).is_ok())
}

/// Returns whether a message is an authenticator app's export.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_migration_parses(message: &[u8; 64]) -> bool {
    Migration::from_message(message).is_ok()
}
