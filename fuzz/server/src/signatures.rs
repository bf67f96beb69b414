//! Compares the algorithm table of aws-lc-rs with that of ring. The target is in this package, which links aws-lc-rs anyway: in
//! `fuzz/x509` it would triple the build time.

use keyproof_x509::{Certificate, SignatureVerificationAlgorithm, X509Error, algorithms, verify};

/// Self-signed certificates, one per scheme; ring does not support the schemes of the last two.
const GENUINE: [&[u8]; 6] = [
    include_bytes!("../vectors/signatures/p256.der"),
    include_bytes!("../vectors/signatures/p384.der"),
    include_bytes!("../vectors/signatures/rsa.der"),
    include_bytes!("../vectors/signatures/ed25519.der"),
    include_bytes!("../vectors/signatures/pss.der"),
    include_bytes!("../vectors/signatures/p521.der"),
];

/// Byte 0 selects a certificate; the rest are changes of four bytes each. Where ring supports an algorithm, aws-lc-rs gives the
/// same result. No signature verifies over anything but the signed contents.
pub fn tables(data: &[u8]) {
    let Some((choice, edits)) = data.split_first() else {
        return;
    };
    let genuine = GENUINE[usize::from(*choice) % GENUINE.len()];
    let mut changed = genuine.to_vec();
    for [operation, high, low, value] in edits.as_chunks::<4>().0 {
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        match (operation % 3, changed.get_mut(place)) {
            (0, Some(byte)) => *byte ^= value,
            (1, Some(_)) => drop(changed.remove(place)),
            (_, Some(_)) => changed.insert(place, *value),
            (_, None) => {}
        }
    }
    let original = Certificate::from_der(genuine).expect("a sound certificate");
    let Ok(changed) = Certificate::from_der(&changed) else {
        return;
    };
    // With the certificate's own key, and with the key that made the signature.
    for key in [changed.public_key(), original.public_key()] {
        let judge = |table: &[&dyn SignatureVerificationAlgorithm]| {
            let algorithm = changed.algorithm();
            verify(table, &key, &algorithm, changed.tbs(), changed.signature())
        };
        let [ring, aws, all] =
            [algorithms::RING, algorithms::AWS_LC_RS, algorithms::ALL].map(judge);
        if !matches!(ring, Err(X509Error::AlgorithmUnsupported { .. })) {
            assert_eq!(ring.is_ok(), aws.is_ok(), "{ring:?} {aws:?}");
        }
        assert_eq!(all.is_ok(), aws.is_ok(), "{all:?} {aws:?}");
        assert!(aws.is_err() || changed.tbs() == original.tbs());
    }
}
