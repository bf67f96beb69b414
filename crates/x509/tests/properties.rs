//! Properties of any input: no mutation of a leaf's signed part is accepted, and nothing panics.
#![cfg(all(feature = "prover", feature = "ring"))]
#![allow(
    clippy::unwrap_used,
    reason = "a sound pair that cannot be read fails the test"
)]

mod forge;

use keyproof_x509::{
    Certificate, CertificateSummary, Outcome, Policy, ProofCheck, Upload, VerificationCode,
    algorithms, prove,
};
use proptest::prelude::*;

use forge::{CODE, DEFAULT, Forged, NOW, code, common_name};

const PAIRS: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("data/p256-ca.der"),
        include_bytes!("data/p256-leaf.der"),
    ),
    (
        include_bytes!("data/rsa2048-ca.der"),
        include_bytes!("data/rsa2048-leaf.der"),
    ),
    (
        include_bytes!("data/ed25519-ca.der"),
        include_bytes!("data/ed25519-leaf.der"),
    ),
];

/// Returns the position of the signed part in a leaf.
fn tbs_range(leaf: &[u8]) -> std::ops::Range<usize> {
    let certificate = Certificate::from_der(leaf).unwrap();
    let start = leaf
        .windows(certificate.tbs().len())
        .position(|window| window == certificate.tbs())
        .unwrap();
    start..start + certificate.tbs().len()
}

fn accepted(ca: &[u8], leaf: &[u8]) -> bool {
    let ca = Certificate::from_der(ca).unwrap();
    let code = code().bound_to(ca.sha256_thumbprint(), None);
    prove(&ca, leaf, &code, NOW, &DEFAULT).accepted()
}

#[test]
fn no_bit_of_the_signed_part_can_be_flipped() {
    for (ca, leaf) in PAIRS {
        assert!(accepted(ca, leaf));
        for place in tbs_range(leaf) {
            for bit in 0..8 {
                let mut mutated = leaf.to_vec();
                *mutated.get_mut(place).unwrap() ^= 1 << bit;
                assert!(!accepted(ca, &mutated), "byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn no_byte_of_a_certificate_can_be_left_out() {
    for (ca, leaf) in PAIRS {
        for place in 0..leaf.len() {
            let mut shorter = leaf.to_vec();
            shorter.remove(place);
            assert!(!accepted(ca, &shorter), "byte {place}");
            assert!(Certificate::from_der(leaf.get(..place).unwrap()).is_err());
        }
    }
}

proptest! {
    #[test]
    fn no_mutation_of_the_signed_part_is_accepted(
        pair in 0..PAIRS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let (ca, leaf) = PAIRS[pair];
        let range = tbs_range(leaf);
        let mut mutated = leaf.to_vec();
        for (index, byte, operation) in edits {
            let place = range.start + index.index(range.len());
            match operation {
                0 => *mutated.get_mut(place).unwrap() = byte,
                1 => mutated.insert(place, byte),
                _ => drop(mutated.remove(place)),
            }
        }
        let same = mutated == leaf;
        prop_assert_eq!(accepted(ca, &mutated), same);
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(upload) = Upload::decode(&bytes)
            && let Ok(certificate) = upload.certificate()
        {
            let _ = CertificateSummary::from(&certificate);
        }
        let (ca, _) = PAIRS[0];
        prop_assert!(!accepted(ca, &bytes));
    }

    #[test]
    fn only_the_code_is_the_code(random in any::<[u8; 24]>(), other in any::<[u8; 24]>()) {
        let (ca, _) = PAIRS[0];
        let ca = Certificate::from_der(ca).unwrap();
        let issued = VerificationCode::issue(&random, &ca, None);
        prop_assert!(VerificationCode::parse(issued.digits()).is_ok());
        let another = VerificationCode::issue(&other, &ca, None);
        for (named, is_it) in [(&issued, true), (&another, random == other)] {
            let mut leaf = Forged::leaf();
            leaf.subject = common_name(named.digits());
            let report = prove(&ca, &leaf.sign(), &issued, NOW, &DEFAULT);
            prop_assert_eq!(report.outcome(ProofCheck::CommonName) == Outcome::Pass, is_it);
        }
    }

    #[test]
    fn time_only_ever_opens_one_window(
        is_end: bool,
        distance in prop_oneof![-2_000_000..2_000_000_i64, any::<i64>()],
        skew in 0..1_000_000_u64,
    ) {
        let (ca, leaf) = PAIRS[2];
        let ca = Certificate::from_der(ca).unwrap();
        let mut policy = Policy::new(algorithms::RING);
        policy.clock_skew = std::time::Duration::from_secs(skew);
        let validity = Certificate::from_der(leaf).unwrap().validity();
        let bound = if is_end { validity.not_after } else { validity.not_before };
        let now = u64::try_from(bound.saturating_add(distance)).unwrap_or_default();
        let report = prove(&ca, leaf, &VerificationCode::parse(CODE).unwrap(), now, &policy);
        let (now, skew) = (i64::try_from(now).unwrap_or(i64::MAX), i64::try_from(skew).unwrap_or(i64::MAX));
        let within = now >= validity.not_before.saturating_sub(skew) && now <= validity.not_after.saturating_add(skew);
        prop_assert_eq!(report.outcome(ProofCheck::LeafValidity) == Outcome::Pass, within);
    }
}
