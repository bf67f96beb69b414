//! Private keys in common file formats.

use keyproof_x509::{
    Certificate, algorithms,
    prover::{PrivateKey, RingSigner, Signer},
};
use ring::rand::SystemRandom;

use crate::pairs::edited;

/// Keys as PKCS#8, each with its self-signed certificate.
const GENUINE: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("../vectors/p256.key.der"),
        include_bytes!("../vectors/p256.cert.der"),
    ),
    (
        include_bytes!("../vectors/rsa2048.key.der"),
        include_bytes!("../vectors/rsa2048.cert.der"),
    ),
    (
        include_bytes!("../vectors/ed25519.key.der"),
        include_bytes!("../vectors/ed25519.cert.der"),
    ),
];

/// Byte 0 selects whether the rest is an arbitrary file, or edits of a genuine key, and of which one. A key that is accepted for a
/// certificate makes signatures that verify with that certificate.
pub fn private_key(data: &[u8]) {
    match data {
        [0, file @ ..] => signs(file),
        [choice, edits @ ..] => {
            let (genuine, _) = GENUINE[usize::from(*choice) % GENUINE.len()];
            signs(&edited(genuine, edits));
        }
        [] => {}
    }
}

fn signs(file: &[u8]) {
    let Ok(key) = PrivateKey::from_pem_or_der(file) else {
        return;
    };
    let shown = format!("{key:?}");
    assert!(
        ["PrivateKey(EC)", "PrivateKey(Ed25519)", "PrivateKey(RSA)"].contains(&&*shown),
        "{shown}"
    );
    let random = SystemRandom::new();
    for (_, certificate) in GENUINE {
        let ca = Certificate::from_der(certificate).expect("a sound certificate");
        let Ok(signer) = RingSigner::new(&key, &ca, &random) else {
            continue;
        };
        // A provider may detect only when signing that the parts of a key do not belong together.
        let Ok(signature) = signer.sign(b"message") else {
            continue;
        };
        let verified =
            signer
                .scheme()
                .verify(algorithms::RING, &ca.public_key(), b"message", &signature);
        assert!(verified.is_ok(), "{verified:?}");
    }
}
