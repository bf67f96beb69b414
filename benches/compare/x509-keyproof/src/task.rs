//! Proof of possession: a code for a CA, a leaf that contains it, and the verdict with its reasons.

use std::error::Error;

use keyproof_x509::{
    Policy, Upload, Validity, VerificationCode,
    algorithms::RING,
    prove,
    prover::{PrivateKey, RingSigner, VerificationLeaf},
    ring::rand::SystemRandom,
};

const CA: &[u8] = include_bytes!("../../../../crates/x509/tests/data/p256-ca.pem");
const KEY: &[u8] = include_bytes!("../../../../crates/x509/tests/data/p256-ca.key");
const NOW: u64 = 1_800_000_000;

pub fn task() -> Result<(), Box<dyn Error>> {
    let upload = Upload::decode(CA)?;
    let ca = upload.certificate()?;
    let code = VerificationCode::issue(&[0xA5; 24], &ca, None);
    let (key, random) = (PrivateKey::from_pem_or_der(KEY)?, SystemRandom::new());
    let validity = Validity::between(NOW - 3_600, NOW + 86_400);
    let leaf = VerificationLeaf {
        ca: &ca,
        code: &code,
        validity,
        serial: [7; 16],
    };
    let leaf = leaf.sign(&RingSigner::new(&key, &ca, &random)?, RING)?;
    let report = prove(&ca, &leaf, &code, NOW, &Policy::new(RING));
    assert!(report.accepted(), "{report}");
    Ok(())
}
