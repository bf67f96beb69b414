//! The check of a quote, from the bytes of all its parts, compared with one bare verification of the same signature; the complete
//! check of an endorsement certificate, compared with the bare verifications of its chain; and making a credential, compared with
//! one bare encryption of its seed. Both sides parse their keys.

use std::{convert::Infallible, hint::black_box};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use clap::Parser;
use keyproof_benches::{Aim, Contender, CountingAllocator, medians, report, report_allocations};
use keyproof_tpm::{
    AwsLcRs, EkCertificatePolicy, Name, QuoteEvidence, QuotePolicy, Structure, TpmError,
    TpmlPcrSelection, TpmtPublic, TpmtSignature, algorithms, check_ek_certificate, check_quote,
    make_credential,
};
use keyproof_x509::{Certificate, SubjectPublicKeyInfo};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ROUNDS: usize = 101;
const TIMES: u64 = 200;
/// 2027-01-15, when the vectors' certificates are valid.
const NOW: u64 = 1_800_000_000;

macro_rules! vector {
    ($kind:literal, $file:literal) => {
        include_bytes!(concat!(
            "../../../crates/tpm/tests/vectors/",
            $kind,
            "/",
            $file
        ))
    };
}

/// A quote, and everything that its check takes.
struct Quote {
    ak: &'static [u8],
    ek: &'static [u8],
    attest: &'static [u8],
    signature: &'static [u8],
    values: &'static [u8],
    nonce: &'static [u8],
}

macro_rules! quote {
    ($kind:literal) => {
        Quote {
            ak: vector!($kind, "ak.pub.tpm2b"),
            ek: vector!($kind, "ek.pub.tpm2b"),
            attest: vector!($kind, "quote.tpms_attest.bin"),
            signature: vector!($kind, "quote.tpmt_signature.bin"),
            values: vector!($kind, "quote.pcrs.values.bin"),
            nonce: vector!($kind, "quote.nonce.bin"),
        }
    };
}

macro_rules! chain {
    ($kind:literal) => {
        [
            vector!($kind, "ek.cert.der").to_vec(),
            vector!($kind, "ca.intermediate.der").to_vec(),
            vector!($kind, "ca.root.der").to_vec(),
        ]
    };
}

/// Compares quotes, endorsement certificates and credentials with bare operations; there are no options
#[derive(Parser)]
struct Options {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options {} = Options::parse();
    compare_quote(
        "ECDSA P-256",
        &ECDSA_P256_SHA256_FIXED,
        &quote!("eccp256"),
        Aim::AtMost(1.15),
    )?;
    compare_quote(
        "RSA-2048",
        &RSA_PKCS1_2048_8192_SHA256,
        &quote!("rsa2048"),
        Aim::AtMost(1.5),
    )?;
    compare_chain(
        "RSA-2048 below RSA-3072",
        &RSA_PKCS1_2048_8192_SHA256,
        &chain!("rsa2048"),
    )?;
    compare_chain(
        "P-256 below RSA-3072",
        &RSA_PKCS1_2048_8192_SHA256,
        &chain!("eccp256"),
    )?;
    compare_chain(
        "P-256 below P-384",
        &ECDSA_P384_SHA384_ASN1,
        &on_p384(&chain!("eccp256"))?,
    )?;
    compare_credential()
}

fn compare_quote(
    name: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    quote: &Quote,
    aim: Aim,
) -> Result<(), Box<dyn std::error::Error>> {
    let spki = TpmtPublic::parse_sized(quote.ak)?.to_spki()?;
    let key = SubjectPublicKeyInfo::from_der(&spki)?.key().to_vec();
    let signature = match TpmtSignature::parse(quote.signature)? {
        TpmtSignature::Ecdsa { r, s, .. } => [&r[..], &s[..]].concat(),
        TpmtSignature::Rsassa { signature, .. } => signature.to_vec(),
        _ => return Err("another scheme".into()),
    };
    let selection: TpmlPcrSelection = "sha256:0,1,2,3,4,5,6,7,16".parse()?;
    let bare = || {
        let key = UnparsedPublicKey::new(algorithm, black_box(&key));
        key.verify(black_box(quote.attest), black_box(&signature))
            .is_ok()
    };
    let whole = || {
        let ak = TpmtPublic::parse_sized(black_box(quote.ak))?;
        let ek = TpmtPublic::parse_sized(black_box(quote.ek))?;
        let evidence = QuoteEvidence {
            attest: black_box(quote.attest),
            signature: black_box(quote.signature),
            pcr_values: Some(quote.values),
        };
        let mut policy = QuotePolicy::new(quote.nonce, &selection, algorithms::RING);
        policy.ek = Some(&ek);
        Ok::<_, TpmError>(check_quote(&ak, &evidence, &policy).report.accepted())
    };
    assert!(bare(), "a sound signature");
    assert_eq!(whole(), Ok(true), "a sound quote");

    println!("{name}:");
    let [bare, ours] = medians(
        [
            Contender::repeating("bare verification", bare),
            Contender::repeating("keyproof-tpm parse + check_quote + accepted", whole),
        ],
        ROUNDS,
        TIMES,
    );
    report("quote check / bare verification", ours / bare, aim);
    report_allocations("check", whole);
    Ok(())
}

/// An endorsement certificate as a TPM stores it, an intermediate, a root.
type Chain = [Vec<u8>; 3];

/// Compares the complete check of an endorsement certificate, from the DER of the certificate, its intermediate and its root, with
/// the bare verifications of its two signatures.
fn compare_chain(
    name: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    [leaf, intermediate, root]: &Chain,
) -> Result<(), Box<dyn std::error::Error>> {
    let certificates = [leaf, intermediate, root].map(|der| Certificate::from_der(der));
    let [leaf_read, intermediate_read, root_read] = certificates;
    let (leaf_read, intermediate_read, root_read) = (leaf_read?, intermediate_read?, root_read?);
    let signed = [
        (&leaf_read, &intermediate_read),
        (&intermediate_read, &root_read),
    ];
    let bare = || {
        signed.iter().all(|(signed, signer)| {
            let key = signer.public_key().key();
            let key = UnparsedPublicKey::new(algorithm, black_box(key));
            key.verify(signed.tbs(), signed.signature()).is_ok()
        })
    };
    let whole = || {
        let roots = [black_box(root).as_slice()];
        let intermediates = [black_box(intermediate).as_slice()];
        let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::ALL);
        policy.intermediates = &intermediates;
        check_ek_certificate(black_box(leaf), &policy).accepted()
    };
    assert!(bare(), "sound signatures");
    assert!(whole(), "a sound chain");

    println!("endorsement certificate, {name}:");
    let [bare, ours] = medians(
        [
            Contender::repeating("two bare verifications", bare),
            Contender::repeating("keyproof-tpm check_ek_certificate + accepted", whole),
        ],
        ROUNDS,
        TIMES,
    );
    report(
        "chain check / bare verifications",
        ours / bare,
        Aim::AtMost(1.5),
    );
    report_allocations("check", whole);
    Ok(())
}

/// Issues the same endorsement certificate by CAs on P-384, which Intel and Infineon use.
fn on_p384([leaf, ..]: &Chain) -> Result<Chain, Box<dyn std::error::Error>> {
    let leaf = Certificate::from_der(leaf)?;
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        params
    };
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384);
    let (root_key, sub_key) = (key()?, key()?);
    let (root_params, sub_params) = (ca("Root"), ca("Sub"));
    let root = root_params.self_signed(&root_key)?;
    let sub = sub_params.signed_by(&sub_key, &Issuer::from_params(&root_params, &root_key))?;

    let mut params = CertificateParams::default();
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    // The issuer and its CertificateParams write these themselves.
    let anew = ["2.5.29.14", "2.5.29.19", "2.5.29.35"];
    let kept = leaf.extensions().iter().filter(|extension| {
        let id = extension.id.to_string();
        !anew.contains(&&*id)
    });
    params.custom_extensions = kept
        .map(|extension| {
            let id = extension.id.to_string();
            let arcs: Result<Vec<u64>, _> = id.split('.').map(str::parse).collect();
            let mut custom = CustomExtension::from_oid_content(&arcs?, extension.value.to_vec());
            custom.set_criticality(extension.critical);
            Ok(custom)
        })
        .collect::<Result<_, std::num::ParseIntError>>()?;
    let issuer = Issuer::from_params(&sub_params, &sub_key);
    let leaf = params.signed_by(&KeyPair::generate()?, &issuer)?;
    Ok([leaf, sub, root].map(|certificate| certificate.der().to_vec()))
}

fn compare_credential() -> Result<(), Box<dyn std::error::Error>> {
    let ek = vector!("rsa2048", "ek.pub.tpm2b");
    let spki = TpmtPublic::parse_sized(ek)?.to_spki()?;
    let name = Name::parse(vector!("rsa2048", "ak.name.bin"))?;
    let bare = || {
        let key = PublicEncryptingKey::from_der(black_box(&spki)).ok()?;
        let key = OaepPublicEncryptingKey::new(key).ok()?;
        let mut ciphertext = [0; 256];
        let written = key.encrypt(
            &OAEP_SHA256_MGF1SHA256,
            black_box(&[3; 32]),
            &mut ciphertext,
            Some(b"IDENTITY\0"),
        );
        written.ok().map(|written| written.len())
    };
    let whole = || {
        let ek = TpmtPublic::parse_sized(black_box(ek))?;
        make_credential(&AwsLcRs, &ek, &name, black_box(&[7; 32]), &mut |seed| {
            seed.fill(3);
            Ok::<_, Infallible>(())
        })
    };
    assert_eq!(bare(), Some(256), "a ciphertext");
    assert!(whole().is_ok(), "a credential");

    println!("MakeCredential, RSA-2048:");
    let [bare, ours] = medians(
        [
            Contender::repeating("bare RSAES-OAEP", bare),
            Contender::repeating("keyproof-tpm parse + make_credential", whole),
        ],
        ROUNDS,
        TIMES,
    );
    report(
        "MakeCredential / bare RSAES-OAEP",
        ours / bare,
        Aim::AtMost(1.3),
    );
    Ok(())
}
