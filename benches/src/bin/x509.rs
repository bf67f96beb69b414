//! The complete check of a verification leaf, from the DER of both certificates and with a bound code, compared with one bare
//! verification of the same signature. Both sides parse the CA's key. Then the validation of a path of three certificates, from
//! their DER, compared with the two verifications that it contains.

use std::hint::black_box;

use clap::Parser;
use keyproof_benches::{Aim, Contender, CountingAllocator, medians, report, report_allocations};
use keyproof_x509::{
    Certificate, Policy, VerificationCode,
    algorithms::RING,
    path::{CertificatePool, PathOptions, TrustAnchors, find},
    prove,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
const NOW: u64 = 1_800_000_000;
// Many short rounds: on a busy machine both sides then meet the same conditions.
const ROUNDS: usize = 501;
const TIMES: u64 = 20;

/// Compares checks of leaves and paths with bare verifications; there are no options
#[derive(Parser)]
struct Options {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options {} = Options::parse();
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
    )?;
    compare_path()
}

/// Returns a leaf below a CA below a root, on P-256, in DER.
fn chain() -> Result<[Vec<u8>; 3], rcgen::Error> {
    let params = |name: &str, is_ca: IsCa| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        params.use_authority_key_identifier_extension = true;
        params
    };
    let ca = |name: &str| {
        let mut params = params(name, IsCa::Ca(BasicConstraints::Unconstrained));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let (root_key, sub_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let (root_params, sub_params) = (ca("Root"), ca("Sub"));
    let root = root_params.self_signed(&root_key)?;
    let root_issuer = Issuer::from_params(&root_params, &root_key);
    let sub = sub_params.signed_by(&sub_key, &root_issuer)?;
    let sub_issuer = Issuer::from_params(&sub_params, &sub_key);
    let leaf = params("Leaf", IsCa::ExplicitNoCa);
    let leaf = leaf.signed_by(&KeyPair::generate()?, &sub_issuer)?;
    Ok([leaf, sub, root].map(|certificate| certificate.der().to_vec()))
}

fn compare_path() -> Result<(), Box<dyn std::error::Error>> {
    let [leaf_der, sub_der, root_der] = chain()?;
    let [leaf, sub, root] = [
        Certificate::from_der(&leaf_der)?,
        Certificate::from_der(&sub_der)?,
        Certificate::from_der(&root_der)?,
    ];
    let whole = || {
        let leaf = Certificate::from_der(black_box(&leaf_der)).ok()?;
        let (intermediates, anchors) = (
            CertificatePool::new(&[&sub_der]),
            TrustAnchors::new(&[&root_der]),
        );
        Some(
            find(
                &leaf,
                &intermediates,
                &anchors,
                &PathOptions::new(RING, NOW),
            )
            .accepted(),
        )
    };
    assert_eq!(whole(), Some(true), "a sound chain");
    println!("path of three certificates, ECDSA P-256:");
    let [bare, ours] = medians(
        [
            Contender::repeating("two bare verifications", || {
                for (signed, signer) in [(&leaf, &sub), (&sub, &root)] {
                    let key = signer.public_key().key();
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, black_box(key));
                    let _ = black_box(key.verify(signed.tbs(), signed.signature()));
                }
            }),
            Contender::repeating("keyproof-x509 from_der + Pool::new + path::find", whole),
        ],
        ROUNDS,
        TIMES,
    );
    report(
        "path search / bare verifications",
        ours / bare,
        Aim::AtMost(1.5),
    );
    report_allocations("search", whole);
    Ok(())
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
            Contender::repeating("bare verification", || {
                let key = UnparsedPublicKey::new(algorithm, black_box(key));
                key.verify(black_box(message), black_box(signature))
            }),
            Contender::repeating("keyproof-x509 from_der + prove + accepted", whole),
        ],
        ROUNDS,
        TIMES,
    );
    report("whole check / bare verification", ours / bare, aim);
    report_allocations("check", whole);
    Ok(())
}
