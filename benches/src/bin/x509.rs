//! The whole check of a verification leaf, from the DER of both certificates and with a bound code, beside one bare verification of
//! the same signature. Both sides parse the CA's key.

use std::hint::black_box;

use keyproof_benches::{Aim, Contender, CountingAllocator, allocations, medians, report};
use keyproof_x509::{Certificate, Policy, VerificationCode, algorithms::RING, prove};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
const NOW: u64 = 1_800_000_000;
// Many short rounds: on a busy machine the two then meet the same conditions.
const ROUNDS: usize = 501;
const TIMES: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compare(
        "ECDSA P-256",
        &ECDSA_P256_SHA256_ASN1,
        include_bytes!("../../../crates/x509/tests/data/p256-ca.der"),
        include_bytes!("../../../crates/x509/tests/data/p256-leaf.der"),
        Aim::AtMost(1.15),
    )?;
    compare(
        "RSA-2048",
        &RSA_PKCS1_2048_8192_SHA256,
        include_bytes!("../../../crates/x509/tests/data/rsa2048-ca.der"),
        include_bytes!("../../../crates/x509/tests/data/rsa2048-leaf.der"),
        Aim::AtMost(1.5),
    )
}

fn compare(
    name: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    ca_der: &[u8],
    leaf_der: &[u8],
    aim: Aim,
) -> Result<(), Box<dyn std::error::Error>> {
    let ca = Certificate::from_der(ca_der)?;
    let leaf = Certificate::from_der(leaf_der)?;
    let (key, message, signature) = (ca.public_key().key(), leaf.tbs(), leaf.signature());
    let code = VerificationCode::parse(CODE)?.bound_to(ca.sha256_thumbprint(), Some(NOW + 60));
    let policy = Policy::new(RING);
    let whole = || {
        let ca = Certificate::from_der(black_box(ca_der)).ok()?;
        Some(prove(&ca, black_box(leaf_der), &code, NOW, &policy).accepted())
    };
    assert_eq!(whole(), Some(true), "a sound pair");

    println!("{name}:");
    let [bare, ours] = medians(
        [
            Contender::new("bare verification", |times| {
                for _ in 0..times {
                    let key = UnparsedPublicKey::new(algorithm, black_box(key));
                    let _ = black_box(key.verify(black_box(message), black_box(signature)));
                }
            }),
            Contender::new("keyproof-x509 from_der + prove + accepted", |times| {
                for _ in 0..times {
                    black_box(whole());
                }
            }),
        ],
        ROUNDS,
        TIMES,
    );
    report("whole check / bare verification", ours / bare, aim);
    let allocated = allocations(|| {
        black_box(whole());
    });
    println!("allocations a check: {allocated}\n");
    Ok(())
}
