//! The complete check of a leaf against its CA.

use keyproof_x509::{
    Certificate, Outcome, Policy, ProofCheck, ProofFinding, Report, Strictness, Upload,
    VerificationCode, algorithms, prove as judged,
    prover::{PrivateKey, RingSigner, Signer},
};
use ring::rand::SystemRandom;

use crate::{
    pairs::{CODE, ED25519_CA, ED25519_KEY, NOW, PAIRS, edited},
    report::sound,
};

/// The complete check of a valid pair after some edits: byte 0 selects what is edited, byte 1 selects the pair, and the rest are
/// the edits.
///
/// An edit of a leaf's signed part is never accepted. If the leaf is signed again, it is accepted only if its contents are still
/// those of a valid leaf.
pub fn prove(data: &[u8]) {
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
        // The CA may issue, and is valid.
        let constraints = accepted.basic_constraints().expect("it was accepted");
        assert!(constraints.is_none_or(|constraints| constraints.ca));
        let usage = accepted.key_usage().expect("it was accepted");
        assert!(usage.is_none_or(|usage| usage.key_cert_sign()));
        assert!(accepted.validity().has_begun(NOW + 300));
        assert!(!accepted.validity().has_ended(NOW - 300));
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

/// Checks the pair under both policies, and asserts the properties of every report.
fn judge(ca: &[u8], leaf: &[u8]) -> Report<ProofFinding> {
    let ca = Certificate::from_der(ca).expect("a sound CA");
    let code = VerificationCode::parse(CODE).expect("48 digits");
    let code = code.bound_to(ca.sha256_thumbprint(), None);
    let [report, strict] = [Strictness::Lenient, Strictness::Strict].map(|strictness| {
        let mut policy = Policy::new(algorithms::RING);
        policy.strictness = strictness;
        judged(&ca, leaf, &code, NOW, &policy)
    });
    assert!(report.accepted() || !strict.accepted(), "{strict}");
    for report in [&report, &strict] {
        sound(report);
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
