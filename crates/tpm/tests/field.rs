//! Real manufacturers' certificates and real firmware's event logs. They belong to others and are
//! never committed: `cargo xtask test field` runs this over the folder in `KEYPROOF_FIELD_DATA`.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use keyproof_tpm::{
    EkCertificate, EkCertificateCheck, EkCertificatePolicy, EventLog, EventLogCheck,
    EventLogPolicy, HashAlgorithm, Outcome, TpmlPcrSelection, TpmsPcrSelection,
    check_ek_certificate, check_event_log,
};
use keyproof_x509::{
    Certificate, Upload, Validity, algorithms,
    path::{CertificatePool, PathOptions, TrustAnchors, find},
};

const DAY: u64 = 24 * 60 * 60;

fn field() -> PathBuf {
    PathBuf::from(env::var_os("KEYPROOF_FIELD_DATA").unwrap())
}

fn vendor() -> PathBuf {
    field().join("vendor")
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

/// Returns a time within the validity: 30 days before its end, but at most a year after its
/// beginning.
fn day_within(validity: Validity) -> u64 {
    let end = u64::try_from(validity.not_after).unwrap();
    let begin = u64::try_from(validity.not_before).unwrap();
    // Some certificates have no end, but their issuers do.
    (end - 30 * DAY).min(begin + 365 * DAY)
}

#[test]
#[ignore = "needs the manufacturers' certificates: cargo xtask test field"]
fn every_intermediate_of_the_makers_leads_to_a_root() {
    let (intermediates, roots) = (bundle("intermediates.pem"), bundle("roots.pem"));
    let (all, anchors) = (slices(&intermediates), slices(&roots));
    let (pool, anchors) = (CertificatePool::new(&all), TrustAnchors::new(&anchors));
    let mut refused = Vec::new();
    for der in &all {
        let certificate = Certificate::from_der(der).unwrap();
        let options = PathOptions::new(algorithms::ALL, day_within(certificate.validity()));
        let report = find(&certificate, &pool, &anchors, &options);
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

/// Certificates by manufacturers in the bundle are accepted. Others are rejected for a missing
/// issuer, and accepted from the allow-list.
#[test]
#[ignore = "needs the manufacturers' certificates: cargo xtask test field"]
fn real_endorsement_certificates_are_accepted_or_refused_as_their_makers_are_known() {
    let (intermediates, roots) = (bundle("intermediates.pem"), bundle("roots.pem"));
    let (intermediates, roots) = (slices(&intermediates), slices(&roots));
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(vendor().join("ek")).unwrap() {
        let stored = fs::read(entry.unwrap().path()).unwrap();
        let parsed = EkCertificate::parse(&stored).unwrap();
        let allowed = [parsed.as_der()];
        let judge = |allowed: &[&[u8]]| {
            let now = day_within(parsed.certificate().validity());
            let mut policy = EkCertificatePolicy::without_key(&roots, now, algorithms::ALL);
            policy.allowed = allowed;
            policy.intermediates = &intermediates;
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

/// Each log is either replayed in every bank that it lists, or rejected as a whole.
#[test]
#[ignore = "needs the logs of real firmware: cargo xtask test field"]
fn real_event_logs_are_replayed_or_refused() {
    let folder = field().join("eventlogs");
    let (mut replayed_logs, mut refused_logs) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".json") || name.ends_with(".md") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let replayed = check_event_log(&bytes, &EventLogPolicy::without_registers());
        if !replayed.report.accepted() {
            let why = replayed.report.detail(EventLogCheck::EventLog);
            println!("{name}: refused: {why}");
            refused_logs.push(name);
            continue;
        }
        let log = replayed.log.unwrap();
        for bank in log.banks() {
            let told = replays_to_itself(&bytes, &log, bank);
            println!("{name}: {bank}: {told}");
        }
        replayed_logs += 1;
    }
    println!("{replayed_logs} replayed, {} refused", refused_logs.len());
    // This log contains only events that are not extended.
    assert_eq!(refused_logs, ["short_no_action_eventlog"]);
    assert_eq!(replayed_logs, 9);
}

/// Checks a log against the registers that it leads to, and returns a summary.
fn replays_to_itself(bytes: &[u8], log: &EventLog<'_>, bank: HashAlgorithm) -> String {
    let replay = log.replay(bank, 0).unwrap();
    let told = |index: &u8| replay.missing_digest(*index).is_none();
    let registers: Vec<u8> = (0..24).filter(told).collect();
    let selection = TpmsPcrSelection::new(bank, registers.iter().copied()).unwrap();
    let selection: TpmlPcrSelection = [selection].into_iter().collect();
    let mut values = Vec::new();
    for index in registers {
        values.extend_from_slice(replay.value(index).unwrap());
    }
    let policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    let report = check_event_log(bytes, &policy).report;
    for check in [
        EventLogCheck::Registers,
        EventLogCheck::Digests,
        EventLogCheck::Separators,
    ] {
        assert_ne!(report.outcome(check), Outcome::Fail, "{report}");
    }
    let told = [EventLogCheck::EventData, EventLogCheck::SecureBoot];
    told.map(|check| report.detail(check).to_owned()).join("; ")
}

/// The only log that came with its registers leads to all 24 of them.
#[test]
#[ignore = "needs the logs of real firmware: cargo xtask test field"]
fn a_real_log_leads_to_the_registers_that_came_with_it() {
    let file = field().join("eventlogs/windows_gcp_shielded_vm.json");
    let machine: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let decode = |text: &serde_json::Value| {
        data_encoding::BASE64
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    };
    let log = decode(&machine["Log"]["Raw"]);
    let mut registers: Vec<(u64, Vec<u8>)> = Vec::new();
    for register in machine["Log"]["PCRs"].as_array().unwrap() {
        registers.push((
            register["Index"].as_u64().unwrap(),
            decode(&register["Digest"]),
        ));
    }
    registers.sort();
    let values: Vec<u8> = registers.into_iter().flat_map(|(_, value)| value).collect();
    let bank = TpmsPcrSelection::new(HashAlgorithm::Sha1, 0..24).unwrap();
    let selection: TpmlPcrSelection = [bank].into_iter().collect();
    let mut policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    policy.require_secure_boot = true;
    let report = check_event_log(&log, &policy).report;
    println!("{report}");
    for check in [EventLogCheck::Registers, EventLogCheck::SecureBoot] {
        assert_eq!(report.outcome(check), Outcome::Pass, "{report}");
    }
    // The machine has only this bank, whose hash is weak.
    assert_eq!(report.outcome(EventLogCheck::WeakHashes), Outcome::Fail);
}
