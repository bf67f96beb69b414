//! The check of a quote, from the bytes of everything that it takes, beside one bare verification of the same signature; and
//! making a credential beside one bare encryption of its seed. Both sides parse their keys.

use std::hint::black_box;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use keyproof_benches::{Aim, Contender, CountingAllocator, allocations, medians, report};
use keyproof_tpm::{
    AttestationKeyPolicy, AwsLcRs, Name, QuoteEvidence, QuotePolicy, Structure, TpmError,
    TpmlPcrSelection, TpmtPublic, TpmtSignature, algorithms, check_quote, make_credential,
};
use keyproof_x509::SubjectPublicKeyInfo;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ROUNDS: usize = 101;
const TIMES: u64 = 200;

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

/// A quote, and all that its check can take.
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
        let policy = QuotePolicy {
            nonce: quote.nonce,
            selection: Some(&selection),
            ek: Some(&ek),
            last_seen: None,
            key_policy: AttestationKeyPolicy::default(),
            algorithms: algorithms::RING,
        };
        Ok::<_, TpmError>(check_quote(&ak, &evidence, &policy).accepted())
    };
    assert!(bare(), "a sound signature");
    assert_eq!(whole(), Ok(true), "a sound quote");

    println!("{name}:");
    let [bare, ours] = medians(
        [
            Contender::new("bare verification", |times| {
                for _ in 0..times {
                    black_box(bare());
                }
            }),
            Contender::new("keyproof-tpm parse + check_quote + accepted", |times| {
                for _ in 0..times {
                    let _ = black_box(whole());
                }
            }),
        ],
        ROUNDS,
        TIMES,
    );
    report("quote check / bare verification", ours / bare, aim);
    let allocated = allocations(|| {
        let _ = black_box(whole());
    });
    println!("allocations a check: {allocated}\n");
    Ok(())
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
            seed.fill(3)
        })
    };
    assert_eq!(bare(), Some(256), "a ciphertext");
    assert!(whole().is_ok(), "a credential");

    println!("MakeCredential, RSA-2048:");
    let [bare, ours] = medians(
        [
            Contender::new("bare RSAES-OAEP", |times| {
                for _ in 0..times {
                    black_box(bare());
                }
            }),
            Contender::new("keyproof-tpm parse + make_credential", |times| {
                for _ in 0..times {
                    let _ = black_box(whole());
                }
            }),
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
