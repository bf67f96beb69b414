//! Which scheme an algorithm identifier and a key specify together, and which pairs are rejected.
#![cfg(all(feature = "prover", feature = "ring"))]

mod forge;

use keyproof_x509::{
    AlgorithmIdentifier, Curve, Hash, Outcome, ParametersProblem, ProofCheck, ProofFinding, Role,
    Scheme, SubjectPublicKeyInfo, X509Error, algorithms,
};

use forge::*;

const RSA_ENCRYPTION: &[u8] = &[
    0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
];
const RSASSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
const MGF1: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08];
/// The last arcs of SHA-256 and SHA-384 below 2.16.840.1.101.3.4.2.
const SHA256: u8 = 1;
const SHA384: u8 = 2;

fn hash(arc: u8) -> Vec<u8> {
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc];
    sequence(&[&tlv(0x06, &oid)])
}

/// RSASSA-PSS with its parameters (RFC 4055 section 3.1).
fn pss(message: u8, mask: u8, salt: u8) -> Vec<u8> {
    let mask = sequence(&[&tlv(0x06, MGF1), &hash(mask)]);
    // A number whose first bit is set needs a leading zero.
    let salt = if salt < 0x80 {
        vec![salt]
    } else {
        vec![0, salt]
    };
    let parameters = sequence(&[
        &tlv(0xA0, &hash(message)),
        &tlv(0xA1, &mask),
        &tlv(0xA2, &tlv(0x02, &salt)),
    ]);
    sequence(&[&tlv(0x06, RSASSA_PSS), &parameters])
}

/// A key with a modulus of this many bits and no private key.
fn rsa_key(algorithm: &[u8], bits: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0xFF; bits.div_ceil(8)];
    let unused = modulus.len() * 8 - bits;
    if let Some(first) = modulus.first_mut() {
        *first >>= unused;
    }
    let number = |octets: &[u8]| {
        let zero: &[u8] = if octets.first().is_some_and(|first| first >> 7 == 1) {
            &[0]
        } else {
            &[]
        };
        tlv(0x02, &[zero, octets].concat())
    };
    let key = sequence(&[&number(&modulus), &number(exponent)]);
    sequence(&[algorithm, &tlv(0x03, &[&[0], &key[..]].concat())])
}

fn scheme(algorithm: &[u8], key: &[u8]) -> Result<Scheme, X509Error> {
    let algorithm = AlgorithmIdentifier::from_der(algorithm)?;
    Scheme::of(&algorithm, &SubjectPublicKeyInfo::from_der(key)?)
}

fn problem(algorithm: &[u8], key: &[u8]) -> Option<ParametersProblem> {
    match scheme(algorithm, key) {
        Err(X509Error::AlgorithmParameters { reason, .. }) => Some(reason),
        _ => None,
    }
}

const F4: &[u8] = &[1, 0, 1];

#[test]
fn a_pss_salt_is_as_long_as_the_hash_or_as_there_is_room_for() {
    for (bits, longest) in [(2048, 222), (2042, 222), (2041, 221)] {
        let key = rsa_key(RSA_ENCRYPTION, bits, F4);
        let of = |salt| scheme(&pss(SHA256, SHA256, salt), &key);
        assert_eq!(of(32), Ok(Scheme::RsaPss(Hash::Sha256)));
        assert_eq!(of(longest), Ok(Scheme::RsaPssMaxSalt(Hash::Sha256)));
        for salt in [0, 31, 33, longest - 1, longest + 1] {
            let found = u32::from(salt);
            let expected = 32;
            let wrong = ParametersProblem::SaltLength { found, expected };
            assert_eq!(
                problem(&pss(SHA256, SHA256, salt), &key),
                Some(wrong),
                "{bits} {salt}"
            );
        }
    }
}

#[test]
fn a_pss_mask_is_of_the_messages_hash() {
    let key = rsa_key(RSA_ENCRYPTION, 2048, F4);
    assert_eq!(
        problem(&pss(SHA256, SHA384, 32), &key),
        Some(ParametersProblem::Mgf1Hash)
    );
}

#[test]
fn a_pss_key_keeps_its_restrictions() {
    let wanted = pss(SHA256, SHA256, 32);
    let restricted = Some(ParametersProblem::PssKeyRestriction);
    let bare = sequence(&[&tlv(0x06, RSASSA_PSS)]);
    for (allowed, refused) in [
        (bare, None),
        (pss(SHA256, SHA256, 0), None),
        // The minimum salt length of this key.
        (pss(SHA256, SHA256, 32), None),
        (pss(SHA256, SHA256, 33), restricted),
        (pss(SHA384, SHA256, 32), restricted),
        (pss(SHA256, SHA384, 32), restricted),
        // Unreadable parameters allow nothing.
        (
            sequence(&[&tlv(0x06, RSASSA_PSS), &[0x05, 0x00]]),
            restricted,
        ),
    ] {
        let key = rsa_key(&allowed, 2048, F4);
        assert_eq!(problem(&wanted, &key), refused, "{allowed:02X?}");
        assert_eq!(scheme(&wanted, &key).is_ok(), refused.is_none());
    }
    // The key is for PSS only.
    let key = rsa_key(&pss(SHA256, SHA256, 32), 2048, F4);
    assert!(matches!(
        scheme(RSA_SHA256, &key),
        Err(X509Error::AlgorithmMismatch { .. })
    ));
}

#[test]
fn rsa_keys_have_sizes_and_exponents_that_mean_something() {
    for (bits, exponent, size, unsound) in [
        (2040, F4, true, false),
        (2041, F4, false, false),
        (8192, F4, false, false),
        (8193, F4, true, false),
        (2048, &[3], false, false),
        (2048, &[1, 0, 0, 0, 1], false, false),
        // Anyone can forge signatures for exponent 1.
        (2048, &[1], false, true),
        (2048, &[0], false, true),
        (2048, &[2], false, true),
        (2048, &[1, 0, 0], false, true),
        (2048, &[1, 0, 0, 0, 0], false, true),
        (2048, &[2, 0, 0, 0, 1], false, true),
        (2048, &[1, 0, 0, 0, 0, 1], false, true),
    ] {
        let key = rsa_key(RSA_ENCRYPTION, bits, exponent);
        let found = |role| {
            let sizes = ProofFinding::KeySize {
                role,
                bits: bits as u32,
            };
            let exponents = ProofFinding::KeyExponentUnsound { role };
            let size = size.then_some(sizes);
            size.into_iter().chain(unsound.then_some(exponents))
        };
        let mut leaf = Forged::leaf();
        leaf.public_key = key.clone();
        let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
        // The leaf's key is never used.
        assert!(report.accepted(), "{report}");
        assert!(
            report
                .findings(ProofCheck::KeyStrength)
                .eq(&found(Role::Leaf).collect::<Vec<_>>()),
            "{bits} {exponent:?}: {report}"
        );
        let mut ca = Forged::ca();
        ca.public_key = key;
        let report = judge(&ca.sign(), &Forged::leaf().sign(), &DEFAULT);
        assert!(!report.accepted());
        let is_weak = size || unsound;
        let (strength, signature) = if is_weak {
            (Outcome::Fail, Outcome::NotEvaluated)
        } else {
            (Outcome::Pass, Outcome::Fail)
        };
        assert_eq!(
            report.outcome(ProofCheck::KeyStrength),
            strength,
            "{report}"
        );
        assert_eq!(report.outcome(ProofCheck::Signature), signature, "{report}");
    }
}

/// RFC 4055 section 5, RFC 3279 section 2.3.1, RFC 5758 section 3.2, RFC 5480 section 2.1.1, RFC 8410 section 3.
#[test]
fn parameters_are_those_of_the_algorithm_and_no_others() {
    let rsa = rsa_key(RSA_ENCRYPTION, 2048, F4);
    let (rsa_oid, rsa_sha256_oid) = (&RSA_ENCRYPTION[2..13], &RSA_SHA256[2..13]);
    let empty = [0x04, 0x00];
    let not_null = Some(ParametersProblem::NotNull);
    // NULL or absent in the signature, NULL in the key.
    assert_eq!(scheme(RSA_SHA256, &rsa), Ok(Scheme::RsaPkcs1(Hash::Sha256)));
    let bare = sequence(&[rsa_sha256_oid]);
    assert_eq!(scheme(&bare, &rsa), Ok(Scheme::RsaPkcs1(Hash::Sha256)));
    let other = sequence(&[rsa_sha256_oid, &empty]);
    assert_eq!(problem(&other, &rsa), not_null);
    for parameters in [&[][..], &empty] {
        let key = rsa_key(&sequence(&[rsa_oid, parameters]), 2048, F4);
        assert_eq!(problem(RSA_SHA256, &key), not_null);
    }
    let null = [0x05, 0x00];
    let ed25519_oid = tlv(0x06, &[0x2B, 0x65, 0x70]);
    let (bare, with_null) = (sequence(&[&ed25519_oid]), sequence(&[&ed25519_oid, &null]));
    let key = |algorithm: &[u8]| sequence(&[algorithm, &tlv(0x03, &[0; 33])]);
    let not_absent = Some(ParametersProblem::NotAbsent);
    assert_eq!(scheme(&bare, &key(&bare)), Ok(Scheme::Ed25519));
    assert_eq!(problem(&with_null, &key(&bare)), not_absent);
    assert_eq!(problem(&bare, &key(&with_null)), not_absent);
    // RFC 5480 section 2.1.1: a curve has a name. It is neither explicit nor implicit.
    let ec_oid = tlv(0x06, &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01]);
    for parameters in [&[][..], &null, &[0x30, 0x00]] {
        let found = problem(ECDSA_SHA256, &key(&sequence(&[&ec_oid, parameters])));
        assert_eq!(found, Some(ParametersProblem::ExplicitCurve));
    }
    // The same for the parameters of a hash within those of RSASSA-PSS.
    let sha256 = tlv(
        0x06,
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, SHA256],
    );
    let odd = sequence(&[&sha256, &empty]);
    let mask = sequence(&[&tlv(0x06, MGF1), &hash(SHA256)]);
    let parameters = sequence(&[
        &tlv(0xA0, &odd),
        &tlv(0xA1, &mask),
        &tlv(0xA2, &[0x02, 0x01, 32]),
    ]);
    let odd = sequence(&[&tlv(0x06, RSASSA_PSS), &parameters]);
    assert_eq!(problem(&odd, &rsa), Some(ParametersProblem::PssMalformed));
}

#[test]
fn keys_of_another_form_are_told_from_bad_signatures() {
    let p256: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
        0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07,
    ];
    let ed25519 = sequence(&[&tlv(0x06, &[0x2B, 0x65, 0x70])]);
    let ecdsa = Scheme::Ecdsa(Curve::P256, Hash::Sha256);
    let rsa = Scheme::RsaPkcs1(Hash::Sha256);
    for (scheme, algorithm, key) in [
        // A short uncompressed point, a hybrid point of the right length, and an empty key.
        (ecdsa, p256, [&[0x04_u8][..], &[1; 63]].concat()),
        (ecdsa, p256, [&[0x06_u8][..], &[1; 64]].concat()),
        (ecdsa, p256, Vec::new()),
        (Scheme::Ed25519, ed25519.as_slice(), vec![1; 31]),
        (Scheme::Ed25519, ed25519.as_slice(), vec![1; 33]),
        (rsa, RSA_ENCRYPTION, vec![0x30, 0x00]),
    ] {
        let key = sequence(&[algorithm, &tlv(0x03, &[&[0], &key[..]].concat())]);
        let key = SubjectPublicKeyInfo::from_der(&key).unwrap();
        let refused = scheme.verify(algorithms::RING, &key, b"", b"");
        assert!(
            matches!(refused, Err(X509Error::PublicKeyMalformed { .. })),
            "{refused:?}"
        );
    }
}

/// A key that is restricted to RSASSA-PSS has the octets of any RSA key, and a provider does not see the restriction.
#[test]
fn a_scheme_is_verified_only_with_a_key_that_it_is_for() {
    let rsa = rsa_key(RSA_ENCRYPTION, 2048, F4);
    let [only_pss, long_salts] = [32, 33].map(|salt| rsa_key(&pss(SHA256, SHA256, salt), 2048, F4));
    for (scheme, key, is_for) in [
        (Scheme::RsaPkcs1(Hash::Sha256), &rsa, true),
        (Scheme::RsaPss(Hash::Sha256), &rsa, true),
        (Scheme::RsaPss(Hash::Sha256), &only_pss, true),
        (Scheme::RsaPkcs1(Hash::Sha256), &only_pss, false),
        (Scheme::RsaPss(Hash::Sha384), &only_pss, false),
        (Scheme::RsaPss(Hash::Sha256), &long_salts, false),
        (Scheme::Ed25519, &rsa, false),
        (Scheme::Ecdsa(Curve::P256, Hash::Sha256), &rsa, false),
    ] {
        let key = SubjectPublicKeyInfo::from_der(key).unwrap();
        match scheme.verify(algorithms::RING, &key, b"", b"") {
            Err(X509Error::SignatureInvalid { .. }) => assert!(is_for, "{scheme}"),
            Err(X509Error::AlgorithmMismatch { .. }) => assert!(!is_for, "{scheme}"),
            other => panic!("{scheme}: {other:?}"),
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn a_restricted_key_signs_with_the_longest_salt_if_that_is_long_enough() {
    for (shortest, is_for) in [(222, true), (223, false)] {
        let key = rsa_key(&pss(SHA256, SHA256, shortest), 2048, F4);
        let key = SubjectPublicKeyInfo::from_der(&key).unwrap();
        let scheme = Scheme::RsaPssMaxSalt(Hash::Sha256);
        match scheme.verify(algorithms::ALL, &key, b"", b"") {
            Err(X509Error::SignatureInvalid { .. }) => assert!(is_for, "{shortest}"),
            Err(X509Error::AlgorithmMismatch { .. }) => assert!(!is_for, "{shortest}"),
            other => panic!("{other:?}"),
        }
    }
}
