//! The targets of `keyproof-x509`: uploads, certificates, and the whole check on mutated pairs.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target reports by a panic"
)]

use keyproof_x509::prover::{PrivateKey, RingSigner, Signer};
use keyproof_x509::{
    Certificate, Check as _, Encoding, Error, Facts, Outcome, Policy, ProofCheck, ProofFinding,
    Report, Upload, VerificationCode, algorithms, prove,
};
use ring::rand::SystemRandom;

/// Uploads: errors point into the upload, and what is read from one is read from every encoding.
pub fn upload(data: &[u8]) {
    let upload = match Upload::decode(data) {
        Ok(upload) => upload,
        Err(Error::Base64 { at, .. } | Error::PemUnterminated { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    if let Some(pem) = upload.sole_pem() {
        let again = Upload::decode(pem).expect("a file of one certificate");
        assert_eq!(again.as_der(), upload.as_der());
        assert_eq!(again.encoding(), Encoding::Pem);
        assert_eq!(again.sole_pem(), Some(pem));
    }
    // A PEM block may hold what is no certificate; that is found out by reading it.
    if upload.certificate().is_err() {
        return;
    }
    let der = upload.as_der();
    let base64 = base64(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\r\n{base64}\r\n-----END CERTIFICATE-----\r\n");
    for (text, encoding) in [
        (der.to_vec(), Encoding::Der),
        (base64.into_bytes(), Encoding::Base64Der),
        (
            self::base64(pem.as_bytes()).into_bytes(),
            Encoding::Base64Pem,
        ),
        (pem.into_bytes(), Encoding::Pem),
    ] {
        match Upload::decode(&text) {
            Ok(again) => {
                assert_eq!(again.as_der(), der);
                assert_eq!(again.encoding(), encoding);
            }
            Err(Error::TooLong { .. }) => {}
            Err(error) => panic!("{encoding}: {error}"),
        }
    }
}

/// Base64 (RFC 4648 section 4), padded, in one line.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        ALPHABET
            .get((bits & 63) as usize)
            .map_or('?', |digit| char::from(*digit))
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                digit(group >> (18 - 6 * place))
            } else {
                '='
            });
        }
    }
    text
}

/// Certificates: all facts of whatever is read, and strictness about what follows.
pub fn certificate(data: &[u8]) {
    let certificate = match Certificate::from_der(data) {
        Ok(certificate) => certificate,
        Err(Error::Malformed { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    assert_eq!(certificate.as_der(), data);
    let facts = Facts::of(&certificate);
    assert_eq!(facts.sha1_thumbprint.len(), 40);
    assert_eq!(facts.sha256_thumbprint.len(), 64);
    assert!(
        !facts.subject.contains(char::is_control),
        "{:?}",
        facts.subject
    );
    assert!(
        certificate
            .subject()
            .compare(&certificate.subject())
            .is_match()
    );
    assert_eq!(
        certificate.issuer().compare(&certificate.subject()),
        certificate.subject().compare(&certificate.issuer()),
    );
    let mut longer = data.to_vec();
    longer.push(0);
    assert!(Certificate::from_der(&longer).is_err());
    longer.truncate(data.len() - 1);
    assert!(Certificate::from_der(&longer).is_err());
}

const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
/// 2027-01-15T08:00:00Z, within the validity of every pair.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A CA and a sound leaf of it for [`CODE`].
const PAIRS: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("../../crates/x509/tests/data/p256-ca.der"),
        include_bytes!("../../crates/x509/tests/data/p256-leaf.der"),
    ),
    (
        include_bytes!("../../crates/x509/tests/data/rsa2048-ca.der"),
        include_bytes!("../../crates/x509/tests/data/rsa2048-leaf.der"),
    ),
    (ED25519_CA, ED25519_LEAF),
];
pub(crate) const ED25519_CA: &[u8] = include_bytes!("../../crates/x509/tests/data/ed25519-ca.der");
pub(crate) const ED25519_LEAF: &[u8] =
    include_bytes!("../../crates/x509/tests/data/ed25519-leaf.der");
pub(crate) const ED25519_KEY: &[u8] = include_bytes!("../../crates/x509/tests/data/ed25519-ca.key");

/// The whole check on a valid pair after some edits: byte 0 says to what, byte 1 to which pair, the rest are the edits.
///
/// No edit of a leaf's signed part is ever accepted; if it is signed anew, then only as long as it says what a sound leaf says.
pub fn prove_mutated(data: &[u8]) {
    let [what, pair, edits @ ..] = data else {
        return;
    };
    let Some((ca, leaf)) = PAIRS.get(usize::from(*pair) % PAIRS.len()) else {
        return;
    };
    match what % 4 {
        0 => mutated_leaf(ca, leaf, edits),
        1 => mutated_ca(ca, leaf, edits),
        2 => leaf_signed_anew(edits),
        _ => drop(judge(ca, edits)),
    }
}

/// Applies edits of four bytes each: an operation, a place, a value.
pub(crate) fn edited(original: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let (edits, _) = edits.as_chunks::<4>();
    for [operation, high, low, value] in edits {
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(byte) = bytes.get_mut(place) else {
            continue;
        };
        match operation % 4 {
            0 => *byte = *value,
            1 => *byte ^= 1 << (value % 8),
            2 => drop(bytes.remove(place)),
            _ => bytes.insert(place, *value),
        }
    }
    bytes
}

fn mutated_leaf(ca: &[u8], leaf: &[u8], edits: &[u8]) {
    let mutated = edited(leaf, edits);
    if judge(ca, &mutated).accepted() {
        let upload = Upload::decode(&mutated).expect("it was accepted");
        let accepted = upload.certificate().expect("it was accepted");
        let original = Certificate::from_der(leaf).expect("a sound leaf");
        // The signature may differ: ECDSA has two for each message.
        assert_eq!(accepted.tbs(), original.tbs());
    }
}

fn mutated_ca(ca: &[u8], leaf: &[u8], edits: &[u8]) {
    let mutated = edited(ca, edits);
    if Certificate::from_der(&mutated).is_ok() && judge(&mutated, leaf).accepted() {
        let accepted = Certificate::from_der(&mutated).expect("it was read");
        let original = Certificate::from_der(ca).expect("a sound CA");
        assert_eq!(accepted.public_key().key(), original.public_key().key());
        assert!(accepted.subject().compare(&original.subject()).is_match());
    }
}

fn leaf_signed_anew(edits: &[u8]) {
    let ca = Certificate::from_der(ED25519_CA).expect("a sound CA");
    let [.., (_, leaf)] = PAIRS;
    let leaf = Certificate::from_der(leaf).expect("a sound leaf");
    let random = SystemRandom::new();
    let key = PrivateKey::from_pem_or_der(ED25519_KEY).expect("a sound key");
    let signer = RingSigner::new(&key, &ca, &random).expect("the CA's key");
    let tbs = edited(leaf.tbs(), edits);
    let signature = signer.sign(&tbs).expect("Ed25519 signs anything");
    let rest = [leaf.algorithm().as_der(), &[0x03, 0x41, 0x00], &signature].concat();
    let length = u16::try_from(tbs.len() + rest.len()).unwrap_or(u16::MAX);
    let der = [&[0x30, 0x82][..], &length.to_be_bytes(), &tbs, &rest].concat();
    if judge(ED25519_CA, &der).accepted() {
        let accepted = Certificate::from_der(&der).expect("it was accepted");
        let names: Vec<_> = accepted
            .subject()
            .common_names()
            .map(|name| name.text().expect("it was compared").into_owned())
            .collect();
        assert_eq!(names, [CODE]);
        assert!(accepted.issuer().compare(&ca.subject()).is_match());
        assert!(accepted.validity().has_begun(NOW + 300));
        assert!(!accepted.validity().has_ended(NOW - 300));
        assert_eq!(
            accepted.tbs_algorithm().as_der(),
            accepted.algorithm().as_der()
        );
    }
}

/// Judges under both policies, and holds the reports to what every report keeps.
fn judge(ca: &[u8], leaf: &[u8]) -> Report<ProofFinding> {
    let ca = Certificate::from_der(ca).expect("a sound CA");
    let code = VerificationCode::parse(CODE).expect("48 digits");
    let policy = Policy::new(algorithms::RING);
    let [report, strict] =
        [policy, policy.strict()].map(|policy| prove(&ca, leaf, &code, NOW, &policy));
    assert!(report.accepted() || !strict.accepted(), "{strict}");
    for report in [&report, &strict] {
        assert_eq!(
            report.accepted(),
            report.first_refusal().is_none(),
            "{report}"
        );
        assert_eq!(report.rows().count(), ProofCheck::ALL.len());
        assert!(report.rows().all(|row| !row.detail.is_empty()), "{report}");
        if report.accepted() {
            assert_eq!(
                report.outcome(ProofCheck::Signature),
                Outcome::Pass,
                "{report}"
            );
        }
        assert!(!report.to_string().contains(CODE));
    }
    report
}
