//! The call into `keyproof-pskc`.

use core::convert::Infallible;

use keyproof_pskc::{
    Cipher, Container, DecryptionKey, Key, KeyData, KeyDerivation, KeyInfo, KeyProtection, Prf,
    Secret, Writer,
};

/// Returns whether a container opens with a password: XML, key derivation, authentication and decryption.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_pskc_opens(document: &[u8; 4096], password: &[u8; 16]) -> bool {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
    let container = Container::parse(text(document));
    container.is_ok_and(|container| {
        container
            .open(DecryptionKey::Password(text(password)))
            .is_ok()
    })
}

/// Returns whether a key can be written: key derivation, encryption, authentication and XML.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_pskc_writes(secret: &[u8; 20], password: &[u8; 16]) -> bool {
    let mut data = KeyData::default();
    data.secret = Some(Secret::from(&secret[..]));
    let cipher = Cipher::Aes128Cbc;
    let Ok(derivation) = KeyDerivation::new(cipher, Prf::HmacSha256, password) else {
        return false;
    };
    let lock = KeyProtection::Password {
        cipher,
        derivation: &derivation,
        password: core::str::from_utf8(password).unwrap_or_default(),
    };
    let key = Key::new(KeyInfo::new("1"), data);
    Writer::new(lock)
        .write(&[key], |bytes| {
            bytes.fill(7);
            Ok::<_, Infallible>(())
        })
        .is_ok()
}
