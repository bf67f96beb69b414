//! The call into `keyproof-pskc`.

use keyproof_pskc::{Container, Unlock};

/// Whether a container opens with a password: XML, key derivation, authentication and decryption.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_pskc_opens(document: &[u8; 4096], password: &[u8; 16]) -> bool {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    let container = Container::parse(text(document));
    container.is_ok_and(|container| container.open(Unlock::Password(text(password))).is_ok())
}
