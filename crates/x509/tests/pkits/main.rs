//! NIST's Public Key Interoperability Test Suite, with all its CA certificates at once, so that each path must be found among them.
#![cfg(feature = "ring")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a suite that cannot be run fails the test"
)]

#[path = "../../../../bins/keyproof/tests/python/mod.rs"]
mod python;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use keyproof_x509::{
    Certificate, ObjectIdentifier, algorithms,
    path::{CertificatePool, PathOptions, PathReport, Reason, TrustAnchors, find},
};
use serde::Deserialize;

/// 2026-11-29, within the validity of all certificates that must be valid.
const NOW: u64 = 1_795_910_400;

/// The number of tests in each section of NIST's description. Subtests of one test count once.
const TESTS: [(&str, usize); 16] = [
    ("4.1", 6),
    ("4.2", 8),
    ("4.3", 11),
    ("4.4", 21),
    ("4.5", 8),
    ("4.6", 17),
    ("4.7", 5),
    ("4.8", 20),
    ("4.9", 8),
    ("4.10", 14),
    ("4.11", 11),
    ("4.12", 10),
    ("4.13", 38),
    ("4.14", 35),
    ("4.15", 10),
    ("4.16", 2),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    exceptions: Vec<Exception>,
    tests: Vec<Subtest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    id: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subtest {
    id: String,
    leaf: String,
    #[serde(default)]
    initial: Option<Vec<u32>>,
    #[serde(default)]
    explicit: bool,
    #[serde(default)]
    inhibit_policy_mapping: bool,
    #[serde(default)]
    inhibit_any: bool,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    user: Option<Vec<Policy>>,
    #[serde(default)]
    authority: Option<Vec<Policy>>,
}

/// A policy by its number in the suite, or any.
#[derive(Deserialize)]
#[serde(untagged)]
enum Policy {
    Any(String),
    Numbered(u32),
}

impl Policy {
    fn oid(&self) -> String {
        match self {
            Self::Any(any) if any == "any" => "2.5.29.32.0".to_owned(),
            Self::Any(other) => panic!("{other}"),
            Self::Numbered(number) => format!("2.16.840.1.101.3.2.1.48.{number}"),
        }
    }
}

fn suite() -> Suite {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pkits.toml");
    toml::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn certificates() -> BTreeMap<String, Vec<u8>> {
    let output = python::client("pkits").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

fn judge(subtest: &Subtest, certificates: &BTreeMap<String, Vec<u8>>) -> PathReport {
    let anchor = certificates["TrustAnchorRootCertificate"].as_slice();
    let intermediates: Vec<&[u8]> = certificates
        .iter()
        .filter(|(name, der)| !name.ends_with("EE") && der.as_slice() != anchor)
        .map(|(_, der)| der.as_slice())
        .collect();
    let initial: Option<Vec<ObjectIdentifier>> = subtest.initial.as_ref().map(|initial| {
        let policies = initial.iter().map(|number| Policy::Numbered(*number).oid());
        policies
            .map(|oid| ObjectIdentifier::new(&oid).unwrap())
            .collect()
    });
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.require_explicit_policy = subtest.explicit;
    options.inhibit_policy_mapping = subtest.inhibit_policy_mapping;
    options.inhibit_any_policy = subtest.inhibit_any;
    options.policies = initial.as_deref();
    let leaf = Certificate::from_der(&certificates[&subtest.leaf]).unwrap();
    find(
        &leaf,
        &CertificatePool::new(&intermediates),
        &TrustAnchors::new(&[anchor]),
        &options,
    )
}

fn name_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::BasicConstraintsMissing | Reason::NotACa => "not-a-ca",
        Reason::CriticalExtensionUnknown { .. } => "critical",
        Reason::Expired { .. } => "expired",
        Reason::IssuerUnknown { .. } => "issuer-unknown",
        Reason::KeyCertSignMissing => "key-cert-sign",
        Reason::NameExcluded { .. } => "name-excluded",
        Reason::NameNotPermitted { .. } => "name-not-permitted",
        Reason::NotYetValid { .. } => "not-yet-valid",
        Reason::PathLength { .. } => "path-length",
        Reason::AnyPolicyMapped => "mapped-any",
        Reason::PolicyRequired => "policy",
        Reason::SignatureRefused(_) => "signature",
        _ => "another reason",
    }
}

#[test]
fn every_path_of_pkits_is_judged_as_nist_says() {
    let (suite, certificates) = (suite(), certificates());
    let mut wrong = Vec::new();
    for subtest in &suite.tests {
        let report = judge(subtest, &certificates);
        let refused = report.refusal().map(|refusal| name_of(&refusal.reason));
        let sets_are = |found: &[String], wanted: &Option<Vec<Policy>>| {
            let found: BTreeSet<_> = found.iter().cloned().collect();
            let wanted = wanted
                .as_ref()
                .map(|wanted| wanted.iter().map(Policy::oid).collect());
            wanted.is_none_or(|wanted: BTreeSet<_>| wanted == found)
        };
        let is_right = refused == subtest.refused.as_deref()
            && report.policies().map_or(refused.is_some(), |sets| {
                sets_are(&sets.user, &subtest.user) && sets_are(&sets.authority, &subtest.authority)
            });
        if !is_right {
            let sets = report.policies();
            wrong.push(format!(
                "{} {}\n{report}\n{sets:?}\n",
                subtest.id, subtest.leaf
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("PKITS: {} subtests as NIST says", suite.tests.len());
}

/// Ensures that no test is skipped silently.
#[test]
fn every_test_of_pkits_is_run_or_excepted_with_a_reason() {
    let suite = suite();
    assert!(
        suite
            .exceptions
            .iter()
            .all(|exception| !exception.why.is_empty())
    );
    let run: BTreeSet<_> = suite
        .tests
        .iter()
        .map(|subtest| {
            subtest
                .id
                .splitn(4, '.')
                .take(3)
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    for (section, count) in TESTS {
        for number in 1..=count {
            let id = format!("{section}.{number}");
            let excepted = suite
                .exceptions
                .iter()
                .filter(|exception| exception.id == id || exception.id == section)
                .count();
            assert_eq!(excepted + usize::from(run.contains(&id)), 1, "{id}");
        }
    }
    let all: usize = TESTS.iter().map(|(_, count)| count).sum();
    let excepted = [21, 35, 10].iter().sum::<usize>() + 8;
    assert_eq!(run.len(), all - excepted);
}
