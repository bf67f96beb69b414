//! Compares revocation with `openssl verify -crl_check_all` over random, mostly irregular chains and CRLs, and reads the CRLs that
//! this crate issues with `openssl crl`.
//!
//! OpenSSL requires a valid CRL of every issuer where path validation only warns or does not check. Therefore OpenSSL must accept
//! exactly the paths that are accepted here without a warning and with a CRL for each certificate.
#![cfg(all(feature = "prover", feature = "ring"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a peer that does not answer fails the test"
)]

mod hierarchy;

use std::{fs, path::Path, process::Command, time::Duration};

use fastrand::Rng;
use keyproof_x509::{
    Certificate, Outcome, Serial, X509Error, algorithms,
    crl::{Crl, CrlReason, RevocationList, Revoked},
    path::{PathCheck, PathOptions, PathReport, Reason},
    prover::{PrivateKey, RingSigner},
};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, KeyUsagePurpose, RevocationReason, date_time_ymd,
};
use ring::rand::SystemRandom;

use hierarchy::*;

const SETS: u64 = 300;

/// A root, two CAs and a leaf, and CRLs of some of their issuers.
struct Set {
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

impl Set {
    fn draw(rng: &mut Rng, world: &[Authority; 3]) -> Self {
        let [root, upper, lower] = world;
        let point = |uri: &str| CrlDistributionPoint {
            uris: vec![format!("http://crl.example.com/{uri}")],
        };
        let mut certificates = Vec::new();
        for (subject, issuer) in [(root, root), (upper, root), (lower, upper)] {
            let leaves_crl_sign_out = rng.u8(..100) < 4;
            certificates.push(subject.certified_by(issuer, |params| {
                if !leaves_crl_sign_out {
                    params.key_usages.push(KeyUsagePurpose::CrlSign);
                }
                params.crl_distribution_points = vec![point("all"), point("some")];
            }));
        }
        certificates.push(lower.leaf("Leaf", |params| {
            params.crl_distribution_points = vec![point("all")];
        }));
        let mut crls = Vec::new();
        for (index, issuer) in world.iter().enumerate() {
            // OpenSSL also checks the root in its own CRL.
            let issued: [&[u8]; 1] = [&certificates[index + 1]];
            if rng.u8(..100) < 95 {
                crls.push(Self::draw_crl(rng, issuer, &issued));
            }
        }
        if rng.u8(..100) < 10 {
            let stranger = Authority::new("Stranger");
            crls.push(stranger.revoke(&[&certificates[3]], |_| {}));
        }
        rng.shuffle(&mut crls);
        Self { certificates, crls }
    }

    fn judge(&self, require_crls: bool) -> PathReport {
        let crls: Vec<&[u8]> = self.crls.iter().map(Vec::as_slice).collect();
        let crls = parsed(&crls);
        let mut options = PathOptions::new(algorithms::RING, NOW);
        options.crls = &crls;
        options.require_crls = require_crls;
        let [root, upper, lower, leaf] = self.ders();
        search(leaf, &[upper, lower], &[root], &options)
    }

    /// Returns the root, the two CAs and the leaf.
    fn ders(&self) -> [&[u8]; 4] {
        [0, 1, 2, 3].map(|index| &self.certificates[index][..])
    }

    fn draw_crl(rng: &mut Rng, issuer: &Authority, issued: &[&[u8]]) -> Vec<u8> {
        let is_revoked = rng.u8(..100) < 15;
        let revoked = if is_revoked { issued } else { &[] };
        let draw = |rng: &mut Rng, params: &mut CertificateRevocationListParams| {
            if is_revoked {
                params.revoked_certs[0].reason_code = *rng
                    .choice(&[
                        None,
                        Some(RevocationReason::CertificateHold),
                        Some(RevocationReason::Superseded),
                    ])
                    .unwrap();
            }
            match rng.u8(..100) {
                0..4 => {
                    params.this_update = date_time_ymd(2025, 1, 1);
                    params.next_update = date_time_ymd(2026, 1, 1);
                }
                4..8 => params.this_update = date_time_ymd(2027, 6, 1),
                _ => {}
            }
            if rng.u8(..100) < 20 {
                let uri = *rng.choice(&["all", "some", "none"]).unwrap();
                params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
                    distribution_point: CrlDistributionPoint {
                        uris: vec![format!("http://crl.example.com/{uri}")],
                    },
                    scope: *rng
                        .choice(&[
                            None,
                            Some(CrlScope::UserCertsOnly),
                            Some(CrlScope::CaCertsOnly),
                        ])
                        .unwrap(),
                });
            }
        };
        if rng.u8(..100) < 5 {
            // Signed by another key of this name, but with the issuer's key identifier.
            let own = issuer.revoke(&[], |_| {});
            let own = Crl::from_der(&own).unwrap();
            let identifier = own.authority_key_identifier().unwrap().to_vec();
            return issuer.with_new_key().revoke(revoked, |params| {
                draw(rng, params);
                params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
            });
        }
        issuer.revoke(revoked, |params| draw(rng, params))
    }
}

fn openssl_verifies(folder: &Path, set: &Set) -> (bool, String) {
    let file = |name: &str, label, ders: &[&[u8]]| {
        let path = folder.join(name);
        fs::write(&path, pem(label, ders)).unwrap();
        path
    };
    let [root, upper, lower, leaf] = set.ders();
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-crl_check_all"])
        .args(["-no-CApath", "-no-CAstore", "-attime", &NOW.to_string()])
        .arg("-CAfile")
        .arg(file("root.pem", "CERTIFICATE", &[root]))
        .arg("-untrusted")
        .arg(file("cas.pem", "CERTIFICATE", &[upper, lower]));
    if !set.crls.is_empty() {
        let crls: Vec<&[u8]> = set.crls.iter().map(Vec::as_slice).collect();
        command
            .arg("-CRLfile")
            .arg(file("crls.pem", "X509 CRL", &crls));
    }
    let output = run_openssl(command.arg(file("leaf.pem", "CERTIFICATE", &[leaf])));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), told)
}

#[test]
fn what_openssl_verifies_is_what_is_accepted_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let world = ["Root", "Upper", "Lower"].map(Authority::new);
    let (mut accepted, mut revoked, mut other) = (0, 0, 0);
    for seed in 0..SETS {
        let set = Set::draw(&mut Rng::with_seed(seed), &world);
        let report = set.judge(false);
        let checks = report.checks();
        let is_whole = checks.outcome(PathCheck::Revocation) == Outcome::Pass;
        let (verified, told) = openssl_verifies(folder.path(), &set);
        assert_eq!(is_whole, verified, "seed {seed}: {report}\n{told}");
        let required = set.judge(true);
        assert_eq!(required.accepted(), verified, "seed {seed}: {required}");
        match report.refusal().map(|refusal| &refusal.reason) {
            Some(Reason::Revoked { .. }) => revoked += 1,
            _ if is_whole => accepted += 1,
            _ => other += 1,
        }
    }
    println!("{SETS} sets: {accepted} accepted, {revoked} revoked, {other} others");
    assert!(accepted > 50 && revoked > 50 && other > 50);
}

/// Returns one to three CRLs of different days, past and future, with arbitrary numbers. Some revoke the issued certificate.
fn several_crls(rng: &mut Rng, issuer: &Authority, issued: &[u8]) -> Vec<Vec<u8>> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let issued = [issued];
    let mut days: Vec<u8> = (1..=20).collect();
    rng.shuffle(&mut days);
    days.truncate(rng.usize(1..4));
    let lists = days.into_iter().map(|day| {
        let is_revoked = rng.u8(..100) < 25;
        issuer.revoke(if is_revoked { &issued[..] } else { &[] }, |params| {
            params.this_update = date_time_ymd(2027, 1, day);
            params.next_update = params.this_update + DAY * rng.u32(3..30);
            params.crl_number = u64::from(rng.u8(..4)).into();
        })
    });
    lists.collect()
}

/// OpenSSL uses the latest current CRL, or else the latest. What that revokes must not be accepted here, whatever other CRLs
/// contain.
#[test]
fn what_openssl_finds_revoked_among_several_lists_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let world = ["Root", "Upper", "Lower"].map(Authority::new);
    let (mut accepted, mut revoked) = (0, 0);
    for seed in 0..SETS {
        let mut rng = Rng::with_seed(seed);
        let mut set = Set::draw(&mut rng, &world);
        set.crls.clear();
        for (issuer, issued) in world.iter().zip(&set.certificates[1..]) {
            set.crls.extend(several_crls(&mut rng, issuer, issued));
        }
        rng.shuffle(&mut set.crls);
        let report = set.judge(false);
        let (_, told) = openssl_verifies(folder.path(), &set);
        let is_revoked = told.contains("error 23 ");
        assert!(
            !(is_revoked && report.accepted()),
            "seed {seed}: {report}\n{told}"
        );
        revoked += u32::from(is_revoked);
        accepted += u32::from(report.accepted());
    }
    println!("{SETS} sets: {accepted} accepted, {revoked} revoked");
    assert!(accepted > 20 && revoked > 20);
}

#[test]
fn openssl_reads_the_lists_that_are_made_here() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Root");
    let root = authority.certified_by(&authority, crl_signer);
    let ca = Certificate::from_der(&root).unwrap();
    let key = PrivateKey::from_pem_or_der(&authority.key.serialize_der()).unwrap();
    let random = SystemRandom::new();
    let signer = RingSigner::new(&key, &ca, &random).unwrap();
    let revoked = [
        Revoked {
            serial: Serial::from_bytes(&[0x12, 0x34]).unwrap(),
            since: NOW - 60,
            reason: Some(CrlReason::CertificateHold),
        },
        Revoked {
            serial: Serial::from_bytes(&[0x00, 0xFE]).unwrap(),
            since: NOW - 30,
            reason: None,
        },
    ];
    let list = |ca, revoked, next_update| RevocationList {
        ca,
        number: 300,
        this_update: NOW,
        next_update,
        revoked,
    };
    let der = list(&ca, &revoked, NOW + 86_400)
        .sign(&signer, algorithms::RING)
        .unwrap();
    let crl = Crl::from_der(&der).unwrap();
    assert!(crl.verify(algorithms::RING, &ca.public_key()).is_ok());
    assert_eq!(crl.number().unwrap().to_string(), "012C");
    assert_eq!(crl.issuer().as_der(), ca.subject().as_der());
    let found: Vec<_> = crl
        .revocations()
        .iter()
        .map(|entry| (entry.serial.to_string(), entry.since, entry.reason))
        .collect();
    let at = |ago| i64::try_from(NOW - ago).unwrap();
    let hold = Some(CrlReason::CertificateHold);
    assert_eq!(
        found,
        [
            ("FE".to_owned(), at(30), None),
            ("1234".to_owned(), at(60), hold)
        ]
    );
    let [list_file, root_file] = ["list.pem", "root.pem"].map(|name| folder.path().join(name));
    fs::write(&list_file, pem("X509 CRL", &[&der])).unwrap();
    fs::write(&root_file, pem("CERTIFICATE", &[&root])).unwrap();
    let output = run_openssl(
        Command::new("openssl")
            .args(["crl", "-noout", "-text", "-in"])
            .arg(&list_file)
            .arg("-CAfile")
            .arg(&root_file),
    );
    let [text, told] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(told.contains("verify OK"), "{told}");
    for says in [
        "Version 2",
        "CRL Number",
        "300",
        "Certificate Hold",
        "Serial Number: 1234",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    // Without entries, and with times after 2049.
    let far = 2_600_000_000;
    let der = list(&ca, &[], far).sign(&signer, algorithms::RING).unwrap();
    let crl = Crl::from_der(&der).unwrap();
    assert_eq!(crl.next_update(), Some(2_600_000_000));
    assert!(crl.revocations().is_empty());
    // A CA that may not sign CRLs, and the key of another CA.
    let silent = authority.certified_by(&authority, |_| {});
    let silent = Certificate::from_der(&silent).unwrap();
    assert_eq!(
        list(&silent, &revoked, far).sign(&signer, algorithms::RING),
        Err(X509Error::KeyUsageForbids { usage: "cRLSign" })
    );
    let other = authority.with_new_key();
    let other = other.certified_by(&other, crl_signer);
    let other = Certificate::from_der(&other).unwrap();
    assert!(matches!(
        list(&other, &revoked, far).sign(&signer, algorithms::RING),
        Err(X509Error::SignatureInvalid { .. })
    ));
}
