//! Certificates of real makers, which are other people's and never committed: `cargo xtask test field` runs this over the
//! folder that `KEYPROOF_FIELD_DATA` names.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::{env, fs, path::PathBuf};

use keyproof_tpm::{
    EkCertificate, EkCertificateCheck, EkCertificatePolicy, Outcome, check_ek_certificate,
};
use keyproof_x509::path::{Pool, Rules, find};
use keyproof_x509::{Certificate, Upload, Validity, algorithms};

const DAY: u64 = 24 * 60 * 60;

fn vendor() -> PathBuf {
    let folder = env::var_os("KEYPROOF_FIELD_DATA").unwrap();
    PathBuf::from(folder).join("vendor")
}

/// The DER of each block of a PEM file.
fn bundle(file: &str) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = fs::read_to_string(vendor().join(file)).unwrap();
    let blocks = text
        .split_inclusive(END)
        .filter(|block| block.contains(END));
    blocks
        .map(|block| Upload::decode(block.as_bytes()).unwrap().into_der())
        .collect()
}

fn slices(certificates: &[Vec<u8>]) -> Vec<&[u8]> {
    certificates.iter().map(Vec::as_slice).collect()
}

/// A day on which it is valid: its last but 30.
fn day_within(validity: Validity) -> u64 {
    let end = u64::try_from(validity.not_after).unwrap();
    let begin = u64::try_from(validity.not_before).unwrap();
    // Some have no end; their issuers do.
    (end - 30 * DAY).min(begin + 365 * DAY)
}

#[test]
#[ignore = "needs the makers' certificates: cargo xtask test field"]
fn every_intermediate_of_the_makers_leads_to_a_root() {
    let (intermediates, roots) = (bundle("intermediates.pem"), bundle("roots.pem"));
    let (all, anchors) = (slices(&intermediates), slices(&roots));
    let (pool, anchors) = (Pool::of(&all), Pool::of(&anchors));
    let mut refused = Vec::new();
    for der in &all {
        let certificate = Certificate::from_der(der).unwrap();
        let rules = Rules::new(algorithms::ALL, day_within(certificate.validity()));
        let report = find(&certificate, &pool, &anchors, &rules);
        if !report.accepted() {
            refused.push(report.to_string());
        }
    }
    println!(
        "{} of {} lead to a root",
        all.len() - refused.len(),
        all.len()
    );
    assert!(!all.is_empty());
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));
}

/// Those of makers in the bundle are accepted, others refused for want of their issuer, and accepted from the allow-list.
#[test]
#[ignore = "needs the makers' certificates: cargo xtask test field"]
fn real_endorsement_certificates_are_accepted_or_refused_as_their_makers_are_known() {
    let (intermediates, roots) = (bundle("intermediates.pem"), bundle("roots.pem"));
    let (intermediates, roots) = (slices(&intermediates), slices(&roots));
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(vendor().join("ek")).unwrap() {
        let stored = fs::read(entry.unwrap().path()).unwrap();
        let parsed = EkCertificate::parse(&stored).unwrap();
        let allowed = [parsed.as_der()];
        let judge = |allowed: &[&[u8]]| {
            let policy = EkCertificatePolicy {
                ek: None,
                allowed,
                roots: &roots,
                intermediates: &intermediates,
                crls: &[],
                now: day_within(parsed.certificate().validity()),
                algorithms: algorithms::ALL,
            };
            check_ek_certificate(&stored, &policy)
        };
        let report = judge(&[]);
        let end = if report.accepted() {
            "accepted"
        } else if report.outcome(EkCertificateCheck::NotACa) == Outcome::Fail {
            "a CA"
        } else {
            let why = report.detail(EkCertificateCheck::Chain);
            assert!(
                why.contains("is not among the certificates given"),
                "{report}"
            );
            let report = judge(&allowed);
            assert!(report.accepted(), "{report}");
            "issuer unknown, allowed"
        };
        *counts.entry(end).or_insert(0) += 1;
    }
    println!("{counts:?}");
    let expected = [("a CA", 1), ("accepted", 5), ("issuer unknown, allowed", 7)];
    assert_eq!(counts, BTreeMap::from(expected));
}
