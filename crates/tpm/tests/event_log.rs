//! Event logs in both forms, valid and malformed.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod event_log_maker;

use keyproof_tpm::{
    Check as _, EventLog, EventLogCheck, EventLogFormat, EventLogPolicy, EventTrust, Finding as _,
    HashAlgorithm, Outcome, ReplayedLog, TpmError, TpmlPcrSelection, check_event_log,
};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use event_log_maker::{
    CRTM_VERSION, EFI_ACTION, GLOBAL, HCRTM, IMAGE_SECURITY, IPL, LogMaker, NO_ACTION, SEPARATOR,
    VARIABLE_AUTHORITY, VARIABLE_BOOT, VARIABLE_CONFIG, sha1_event, spec_id, variable,
};

const BANKS: [HashAlgorithm; 3] = [
    HashAlgorithm::Sha1,
    HashAlgorithm::Sha256,
    HashAlgorithm::Sha384,
];

fn selection(text: &str) -> TpmlPcrSelection {
    text.parse().unwrap()
}

/// Checks a log against the registers of the TPM.
fn check<'a>(log: &'a LogMaker, text: &str) -> ReplayedLog<'a> {
    let selection = selection(text);
    let values = log.values(&selection);
    let policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    check_event_log(&log.bytes, &policy)
}

fn failed(replayed: &ReplayedLog<'_>) -> Vec<&'static str> {
    let rows = replayed.report.rows();
    rows.filter(|row| row.outcome == Outcome::Fail)
        .map(|row| row.name)
        .collect()
}

/// Asserts that exactly these checks fail.
#[track_caller]
fn refused(replayed: &ReplayedLog<'_>, by: &[&str]) {
    assert_eq!(failed(replayed), by, "{}", replayed.report);
    assert_eq!(replayed.report.accepted(), by.is_empty());
}

fn booted() -> LogMaker {
    let mut log = LogMaker::agile(&BANKS);
    log.boot(true);
    log
}

#[test]
fn a_boot_is_replayed_in_each_bank() {
    let log = booted();
    let replayed = check(&log, "sha256:0,1,2,3,4,5,6,7,8,9,16,17,22,23+sha384:0,7");
    refused(&replayed, &[]);
    for check in EventLogCheck::ALL {
        assert_eq!(
            replayed.report.outcome(*check),
            Outcome::Pass,
            "{}",
            replayed.report
        );
    }
    assert!(
        replayed
            .registers
            .iter()
            .all(|register| register.is_matched())
    );
    let read = replayed.log.unwrap();
    assert_eq!(
        replayed.report.detail(EventLogCheck::EventLog),
        format!("{} events, crypto-agile", read.events.len())
    );
    assert_eq!(read.form, EventLogFormat::CryptoAgile);
    assert_eq!(read.banks().collect::<Vec<_>>(), BANKS);
    // Replays one register independently, event by event.
    let replay = read.replay(HashAlgorithm::Sha256, 0).unwrap();
    let extended = |value: &[u8], measured: &[u8]| {
        let measured = digest(&SHA256, measured);
        let joined = [value, measured.as_ref()].concat();
        digest(&SHA256, &joined).as_ref().to_vec()
    };
    let value = extended(&[0; 32], b"linux /vmlinuz");
    assert_eq!(replay.value(8), Some(&*value));
    assert_eq!((replay.events(8), replay.events(9)), (1, 0));
    assert_eq!(replay.value(9), Some(&[0; 32][..]));
    assert_eq!(replay.value(17), Some(&[0xff; 32][..]));
    assert_eq!(
        (replay.hash(), replay.value(32)),
        (HashAlgorithm::Sha256, None)
    );
    for register in [0, 8, 9, 17, 32] {
        assert_eq!(replay.missing_digest(register), None);
    }
}

#[test]
fn registers_that_are_not_matched_are_named() {
    let mut log = booted();
    log.extend(8, b"what the log does not say");
    log.extend(16, b"an application's");
    let replayed = check(&log, "sha256:0,8,16");
    refused(&replayed, &["registers"]);
    assert_eq!(
        replayed.report.detail(EventLogCheck::Registers),
        "the log does not lead to sha256:8, sha256:16 (no event); matched: sha256:0"
    );
    // A register that matches is only named, even without an event.
    let report = check(&log, "sha256:0,9").report;
    let detail = report.detail(EventLogCheck::Registers);
    assert_eq!(detail, "matched: sha256:0, sha256:9");
    let refusal = replayed.report.first_refusal().unwrap();
    assert_eq!(
        refusal.remedy(),
        "use log and quote of the same boot, and omit registers that others extend"
    );
    // Only the events of registers that match are trusted.
    let events = replayed.log.unwrap().events;
    for (event, trust) in events.iter().zip(&replayed.trust) {
        assert_eq!(event.pcr != 0, *trust == EventTrust::Unmatched, "{event:?}");
    }
}

#[test]
fn values_are_as_many_as_the_selection_says() {
    let log = booted();
    let selection = selection("sha256:0,7");
    let values = log.values(&selection);
    for wrong in [&values[..63], &[&values[..], b"\0"].concat(), b""] {
        let policy = EventLogPolicy::with_unverified_registers(&selection, wrong);
        refused(&check_event_log(&log.bytes, &policy), &["registers"]);
    }
    let nothing = TpmlPcrSelection::default();
    let policy = EventLogPolicy::with_unverified_registers(&nothing, b"");
    refused(&check_event_log(&log.bytes, &policy), &["registers"]);
}

#[test]
fn without_registers_nothing_is_trusted() {
    let log = booted();
    let replayed = check_event_log(&log.bytes, &EventLogPolicy::without_registers());
    refused(&replayed, &[]);
    for check in EventLogCheck::ALL {
        let outcome = match check {
            EventLogCheck::EventLog => Outcome::Pass,
            _ => Outcome::NotRequested,
        };
        assert_eq!(replayed.report.outcome(*check), outcome, "{check:?}");
    }
    assert_eq!(replayed.secure_boot.enabled, None);
    assert!(
        replayed
            .trust
            .iter()
            .all(|trust| *trust == EventTrust::Unmatched)
    );
}

#[test]
fn a_sha1_log_is_replayed_and_its_bank_is_weak() {
    let mut bare = LogMaker::sha1();
    bare.boot(false);
    let mut headed = LogMaker::sha1();
    // TCG_EfiSpecIDEventStruct of TPM 1.2, with two bytes of vendor data.
    headed.remark(0, b"Spec ID Event02\0\0\0\0\0\x02\x01\x00\x01\x02\xab\xcd");
    headed.boot(false);
    for log in [&bare, &headed] {
        let replayed = check(log, "sha1:0,1,4,5,7,8");
        refused(&replayed, &["weak-hashes"]);
        assert_eq!(
            replayed.report.outcome(EventLogCheck::Registers),
            Outcome::Pass
        );
        assert_eq!(replayed.secure_boot.enabled, Some(false));
        assert_eq!(replayed.log.unwrap().form, EventLogFormat::Sha1);
    }
    // A bank that the log does not have.
    let selection = selection("sha256:0");
    let policy = EventLogPolicy::with_unverified_registers(&selection, &[0; 32]);
    let replayed = check_event_log(&bare.bytes, &policy);
    refused(&replayed, &["digests", "registers"]);
    assert_eq!(
        replayed.report.detail(EventLogCheck::Registers),
        "the log does not lead to sha256:0 (unknown); matched: none"
    );
    let log = replayed.log.unwrap();
    let replay = log.replay(HashAlgorithm::Sha256, 0).unwrap();
    assert_eq!((replay.value(0), replay.missing_digest(0)), (None, Some(0)));
    let first = log.events.iter().position(|event| event.pcr == 7).unwrap();
    assert_eq!((first, replay.missing_digest(7)), (2, Some(2)));
    assert_eq!(replay.value(23), Some(&[0; 32][..]));
}

/// The initial value of PCR 0 for each kind of start, and what the log may state.
#[test]
fn pcr_0_begins_with_the_startup_locality() {
    let log_of = |said: &[u8], started: u8, hcrtm: bool| {
        let mut log = LogMaker::agile(&BANKS[1..]);
        log.start_at(started);
        for locality in said {
            log.say_locality(*locality);
        }
        if hcrtm {
            log.measure(0, HCRTM, b"HCRTM");
        }
        log.boot(true);
        log
    };
    use Outcome::{Fail, Pass, Warn};
    for (said, started, hcrtm, outcome) in [
        (&[][..], 0, false, Pass),
        (&[0], 0, false, Pass),
        (&[3], 3, false, Pass),
        (&[3, 3], 3, false, Pass),
        (&[4], 4, true, Pass),
        // A hardware CRTM starts at locality 4, whether or not the log states it.
        (&[], 4, true, Pass),
        // The register shows the locality.
        (&[], 3, false, Warn),
        (&[0], 3, false, Warn),
        (&[], 0, true, Warn),
        (&[0, 3], 0, false, Fail),
        (&[1], 0, false, Fail),
    ] {
        let log = log_of(said, started, hcrtm);
        let replayed = check(&log, "sha256:0,7+sha384:0");
        let report = &replayed.report;
        assert_eq!(
            report.outcome(EventLogCheck::StartupLocality),
            outcome,
            "{said:?} {started} {hcrtm}: {report}"
        );
        if outcome != Fail {
            refused(&replayed, &[]);
            assert_eq!(replayed.locality, started);
        }
    }
    let log = log_of(&[], 0, false);
    let report = check(&log, "sha256:7").report;
    let outcome = report.outcome(EventLogCheck::StartupLocality);
    assert_eq!(outcome, Outcome::NotRequested);
    // A locality for which no register value exists.
    let replayed = log_of(&[], 2, false);
    refused(&check(&replayed, "sha256:0"), &["registers"]);
    // The text without its locality byte.
    let mut log = LogMaker::agile(&BANKS[1..]);
    log.remark(0, b"StartupLocality\0");
    log.boot(true);
    refused(&check(&log, "sha256:0"), &["startup-locality"]);
}

#[test]
fn remarks_are_not_extended_in_whatever_register() {
    let mut log = LogMaker::agile(&BANKS);
    log.remark(0xffff_ffff, b"Windows has those");
    log.remark(7, &variable(&GLOBAL, "SecureBoot", &[1]));
    log.boot(false);
    log.raw(3, NO_ACTION, &[], b"");
    let replayed = check(&log, "sha256:0,3,7");
    refused(&replayed, &[]);
    assert_eq!(replayed.trust[0], EventTrust::NotExtended);
    assert_eq!(replayed.trust[1], EventTrust::NotExtended);
    assert_eq!(replayed.secure_boot.enabled, Some(false));
}

#[test]
fn an_event_is_trusted_as_far_as_its_digest_goes() {
    let log = booted();
    let replayed = check(&log, "sha256:0,1,4,7,8");
    let trust = |pcr: u32, event_type: u32| {
        let events = &replayed.log.as_ref().unwrap().events;
        let at = events
            .iter()
            .position(|event| event.pcr == pcr && event.event_type.0 == event_type);
        replayed.trust[at.unwrap()]
    };
    assert_eq!(trust(0, CRTM_VERSION), EventTrust::Data);
    assert_eq!(trust(0, 0x8000_0008), EventTrust::Digest);
    assert_eq!(trust(1, 0x8000_0002), EventTrust::VariableData);
    assert_eq!(trust(7, VARIABLE_CONFIG), EventTrust::Data);
    assert_eq!(trust(8, IPL), EventTrust::Digest);
    assert_eq!(trust(5, SEPARATOR), EventTrust::Unmatched);
}

/// Each degree of trust alone is an answer. Only without any event there is none.
#[test]
fn what_the_registers_confirm_is_counted() {
    let told = |measure: &dyn Fn(&mut LogMaker)| {
        let mut log = LogMaker::agile(&BANKS[1..2]);
        log.measure(9, IPL, b"in a register that is not compared");
        measure(&mut log);
        let report = check(&log, "sha256:1,8").report;
        let detail = report.detail(EventLogCheck::EventData);
        (report.outcome(EventLogCheck::EventData), detail)
    };
    let value = variable(&GLOBAL, "BootOrder", &[0, 0]);
    let (whole, value_alone, digest) = (
        "1 have data that was measured, 0 a variable's value, and 0 only a digest",
        "0 have data that was measured, 1 a variable's value, and 0 only a digest",
        "0 have data that was measured, 0 a variable's value, and 1 only a digest",
    );
    let of_two = |backed: &str| (Outcome::Pass, format!("of 2 events, {backed}"));
    let measured = told(&|log| log.measure(8, IPL, b"a"));
    assert_eq!(measured, of_two(whole));
    let described = told(&|log| log.measure_as(8, IPL, b"a", b"b"));
    assert_eq!(described, of_two(digest));
    let order = told(&|log| log.measure_as(1, VARIABLE_BOOT, &[0, 0], &value));
    assert_eq!(order, of_two(value_alone));
    // Another type's data is no variable, whatever it looks like.
    let renamed = told(&|log| log.measure_as(1, IPL, &[0, 0], &value));
    assert_eq!(renamed, of_two(digest));
    let nothing = "no event is of a register that matches".to_owned();
    assert_eq!(told(&|_| ()), (Outcome::NotRequested, nothing));
}

/// A log still matches if bytes that no digest covers are changed. The changed data is not trusted.
#[test]
fn data_that_was_changed_is_a_hint_at_most() {
    let mut log = LogMaker::agile(&BANKS[1..2]);
    let off = variable(&GLOBAL, "SecureBoot", &[0]);
    let on = variable(&GLOBAL, "SecureBoot", &[1]);
    log.measure_as(7, VARIABLE_CONFIG, &off, &on);
    log.hand_over();
    let replayed = check(&log, "sha256:7");
    refused(&replayed, &[]);
    assert_eq!(replayed.trust[0], EventTrust::Digest);
    assert_eq!(replayed.secure_boot.enabled, None);
    let report = &replayed.report;
    assert_eq!(report.outcome(EventLogCheck::EventData), Outcome::Warn);
    assert_eq!(report.outcome(EventLogCheck::SecureBoot), Outcome::Warn);
}

#[test]
fn secure_boot_is_told_by_its_own_variable_before_the_hand_over() {
    let state = |events: &dyn Fn(&mut LogMaker)| {
        let mut log = LogMaker::agile(&BANKS[1..2]);
        events(&mut log);
        let replayed = check(&log, "sha256:7");
        refused(&replayed, &[]);
        replayed.secure_boot.enabled
    };
    let config = |log: &mut LogMaker, vendor: &[u8; 16], name: &str, value: &[u8]| {
        log.measure(7, VARIABLE_CONFIG, &variable(vendor, name, value));
    };
    assert_eq!(state(&|log| log.boot(true)), Some(true));
    assert_eq!(state(&|log| log.boot(false)), Some(false));
    assert_eq!(state(&|log| log.hand_over()), None);
    let before = |vendor: &[u8; 16], name: &str, value: &[u8]| {
        state(&|log| {
            config(log, vendor, name, value);
            log.hand_over();
        })
    };
    // If the variable does not exist, an empty value is measured.
    assert_eq!(before(&GLOBAL, "SecureBoot", &[]), Some(false));
    // Measured after the hand-over, by any loader.
    let late = |log: &mut LogMaker| {
        log.hand_over();
        config(log, &GLOBAL, "SecureBoot", &[1]);
    };
    assert_eq!(state(&late), None);
    let late = |log: &mut LogMaker| {
        config(log, &GLOBAL, "SecureBoot", &[0]);
        log.hand_over();
        config(log, &GLOBAL, "SecureBoot", &[1]);
    };
    assert_eq!(state(&late), Some(false));
    // A variable of that name by another vendor, invalid values, and two contradictory values.
    assert_eq!(before(&IMAGE_SECURITY, "SecureBoot", &[1]), None);
    assert_eq!(before(&GLOBAL, "SecureBoot", &[1, 0]), None);
    let both = |log: &mut LogMaker| {
        config(log, &GLOBAL, "SecureBoot", &[1]);
        config(log, &GLOBAL, "SecureBoot", &[0]);
        log.hand_over();
    };
    assert_eq!(state(&both), None);
    // Some firmware includes the terminating NUL in the name.
    assert_eq!(before(&GLOBAL, "SecureBoot\0", &[1]), Some(true));
    // No digest covers an event's type, so the types stated in the log change nothing.
    let renamed = |log: &mut LogMaker| {
        log.measure(7, EFI_ACTION, &variable(&GLOBAL, "SecureBoot", &[0]));
        log.measure(7, EFI_ACTION, &[0; 4]);
        config(log, &GLOBAL, "SecureBoot", &[1]);
    };
    assert_eq!(state(&renamed), Some(false));
    // An event whose data was replaced does not count, and a log without a separator proves
    // nothing.
    let exchanged = |log: &mut LogMaker| {
        let off = variable(&GLOBAL, "SecureBoot", &[0]);
        log.measure_as(7, EFI_ACTION, &off, b"nothing of interest");
        config(log, &GLOBAL, "SecureBoot", &[1]);
        log.hand_over();
    };
    assert_eq!(state(&exchanged), None);
    let without = |log: &mut LogMaker| config(log, &GLOBAL, "SecureBoot", &[1]);
    assert_eq!(state(&without), None);
    // In another register the variable has no meaning.
    let elsewhere = |log: &mut LogMaker| {
        let on = variable(&GLOBAL, "SecureBoot", &[1]);
        log.measure(6, VARIABLE_CONFIG, &on);
        log.hand_over();
    };
    assert_eq!(state(&elsewhere), None);
}

/// All banks of a register record the same boot: if one does not match, the others are not trusted.
#[test]
fn a_bank_that_is_not_matched_takes_the_others_trust_away() {
    let log = booted();
    let selection = selection("sha256:7+sha384:7");
    let values = log.values(&selection);
    for at in [0, 32] {
        let mut wrong = values.clone();
        wrong[at] ^= 1;
        let policy = EventLogPolicy::with_unverified_registers(&selection, &wrong);
        let replayed = check_event_log(&log.bytes, &policy);
        refused(&replayed, &["registers"]);
        assert_eq!(replayed.secure_boot.enabled, None);
        assert!(
            replayed
                .trust
                .iter()
                .all(|trust| *trust == EventTrust::Unmatched)
        );
    }
}

/// Returns the failed checks if Secure Boot is required.
fn required(log: &LogMaker, text: &str) -> Vec<&'static str> {
    let selection = selection(text);
    let values = log.values(&selection);
    let mut policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    policy.require_secure_boot = true;
    failed(&check_event_log(&log.bytes, &policy))
}

#[test]
fn secure_boot_can_be_required() {
    let on = booted();
    assert_eq!(required(&on, "sha256:0,7"), [""; 0]);
    assert_eq!(required(&on, "sha256:0"), ["secure-boot"]);
    let mut off = LogMaker::agile(&BANKS);
    off.boot(false);
    assert_eq!(required(&off, "sha256:7"), ["secure-boot"]);
    let detail = check(&on, "sha256:7")
        .report
        .detail(EventLogCheck::SecureBoot)
        .to_owned();
    assert_eq!(detail, "on; SecureBoot, PK, KEK, db, dbx; 1 authorities");
    // Without PCR 7 nothing is known, which matters only where it is required.
    let selection = selection("sha256:0");
    let values = on.values(&selection);
    let mut policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    for (is_required, outcome) in [(false, Outcome::NotRequested), (true, Outcome::Fail)] {
        policy.require_secure_boot = is_required;
        let report = check_event_log(&on.bytes, &policy).report;
        assert_eq!(report.outcome(EventLogCheck::SecureBoot), outcome);
        let detail = report.detail(EventLogCheck::SecureBoot);
        assert_eq!(detail, "PCR 7 was not compared");
    }
    // If no event shows the state, no variables are listed.
    let mut silent = LogMaker::agile(&BANKS);
    silent.measure(7, CRTM_VERSION, b"1");
    let report = check(&silent, "sha256:7").report;
    let detail = report.detail(EventLogCheck::SecureBoot);
    assert_eq!(detail, "not shown by any event that PCR 7 backs");
    let mut authority = LogMaker::agile(&BANKS);
    authority.hand_over();
    let entry = variable(&IMAGE_SECURITY, "db", b"the entry of the boot loader");
    authority.measure(7, VARIABLE_AUTHORITY, &entry);
    let report = check(&authority, "sha256:7").report;
    let detail = report.detail(EventLogCheck::SecureBoot);
    let expected = "not shown by any event that PCR 7 backs; 1 authorities";
    assert_eq!(detail, expected);
}

#[test]
fn a_variables_name_is_utf_16_of_at_most_1024_units() {
    let name = "Gr\u{f6}\u{df}e \u{3b1} \u{1f511}";
    let mut log = LogMaker::agile(&BANKS[1..2]);
    log.measure(7, VARIABLE_CONFIG, &variable(&GLOBAL, name, b"value"));
    log.hand_over();
    let replayed = check(&log, "sha256:7");
    let found = &replayed.secure_boot.variables[0];
    assert_eq!((&*found.name, found.vendor), (name, GLOBAL));
    assert_eq!((found.event, found.pcr, found.data), (0, 7, &b"value"[..]));
    for (length, trust) in [(1024, EventTrust::VariableData), (1025, EventTrust::Digest)] {
        let mut log = LogMaker::agile(&BANKS[1..2]);
        let data = variable(&GLOBAL, &"x".repeat(length), b"value");
        log.measure_as(1, VARIABLE_BOOT, b"value", &data);
        assert_eq!(check(&log, "sha256:1").trust, [trust], "{length}");
    }
}

/// A debugger can bypass Secure Boot, whatever type the log states for the event.
#[test]
fn secure_boot_is_not_on_where_a_debugger_was_allowed() {
    const DEBUG_MODE: &[u8] = b"UEFI Debug Mode";
    for (event_type, data) in [
        (EFI_ACTION, DEBUG_MODE),
        (VARIABLE_CONFIG, DEBUG_MODE),
        (EFI_ACTION, &b"nothing of interest"[..]),
        (VARIABLE_CONFIG, &*variable(&GLOBAL, "dbt", b"")),
    ] {
        for is_first in [true, false] {
            let mut log = LogMaker::agile(&BANKS);
            if !is_first {
                log.boot(true);
            }
            log.measure_as(7, event_type, DEBUG_MODE, data);
            if is_first {
                log.boot(true);
            }
            let replayed = check(&log, "sha256:0,7");
            refused(&replayed, &[]);
            assert!(replayed.secure_boot.debug_mode);
            assert_eq!(replayed.secure_boot.enabled, None);
            let report = &replayed.report;
            assert_eq!(report.outcome(EventLogCheck::SecureBoot), Outcome::Warn);
            let detail = report.detail(EventLogCheck::SecureBoot);
            let says = "the firmware allowed a debugger; SecureBoot";
            assert!(detail.starts_with(says), "{detail}");
            assert_eq!(required(&log, "sha256:0,7"), ["secure-boot"]);
        }
    }
    // In another register the event has no special meaning.
    let mut log = booted();
    log.measure(6, EFI_ACTION, DEBUG_MODE);
    assert_eq!(required(&log, "sha256:0,6,7"), [""; 0]);
}

#[test]
fn memory_that_is_open_to_devices_is_a_warning() {
    let mut log = LogMaker::agile(&BANKS);
    log.measure(7, EFI_ACTION, b"DMA Protection Disabled");
    log.boot(true);
    assert_eq!(required(&log, "sha256:7"), [""; 0]);
    let replayed = check(&log, "sha256:7");
    assert_eq!(replayed.secure_boot.enabled, Some(true));
    let report = &replayed.report;
    assert_eq!(report.outcome(EventLogCheck::SecureBoot), Outcome::Warn);
    let detail = report.detail(EventLogCheck::SecureBoot);
    assert!(detail.ends_with("; protection from DMA is off"), "{detail}");
}

/// Any other firmware event in PCR 7 leaves the state of Secure Boot unknown.
#[test]
fn what_is_no_variable_leaves_secure_boot_open() {
    for (data, enabled) in [
        (&b"UEFI Debug Mode, or so"[..], None),
        (&b""[..], None),
        (&*variable(&IMAGE_SECURITY, "dbt", b"dbt"), Some(true)),
    ] {
        let mut log = LogMaker::agile(&BANKS);
        log.measure(7, EFI_ACTION, data);
        log.boot(true);
        assert_eq!(check(&log, "sha256:7").secure_boot.enabled, enabled);
        let failed = required(&log, "sha256:7");
        assert_eq!(failed.is_empty(), enabled == Some(true), "{failed:?}");
        // Measurements by an image after the hand-over do not matter.
        let mut log = booted();
        log.measure(7, EFI_ACTION, data);
        assert_eq!(check(&log, "sha256:7").secure_boot.enabled, Some(true));
    }
}

#[test]
fn separators_end_the_firmwares_part() {
    let in_register = |pcr: u32, separators: &[&[u8]], measured: Option<&[u8]>| {
        let mut log = LogMaker::agile(&BANKS[1..2]);
        log.measure(pcr, CRTM_VERSION, b"1");
        for data in separators {
            log.measure_as(pcr, SEPARATOR, measured.unwrap_or(data), data);
        }
        let replayed = check(&log, &format!("sha256:{pcr}"));
        assert_eq!(
            replayed.report.outcome(EventLogCheck::Registers),
            Outcome::Pass
        );
        replayed.report.outcome(EventLogCheck::Separators)
    };
    let with = |separators: &[&[u8]], measured: Option<&[u8]>| {
        let [first, middle, last] = [0, 2, 7].map(|pcr| in_register(pcr, separators, measured));
        assert_eq!((first, last), (middle, middle));
        // Other registers have no firmware separator.
        assert_eq!(in_register(8, separators, measured), Outcome::NotRequested);
        middle
    };
    assert_eq!(with(&[&[0; 4]], None), Outcome::Pass);
    assert_eq!(with(&[&[0xff; 4]], None), Outcome::Pass);
    assert_eq!(in_register(1, &[&[0; 4]], None), Outcome::Pass);
    // Only the digest counts.
    assert_eq!(with(&[b"what?"], Some(&[0; 4])), Outcome::Pass);
    assert_eq!(with(&[], None), Outcome::Warn);
    assert_eq!(with(&[&[0; 4], &[0; 4]], None), Outcome::Warn);
    assert_eq!(with(&[&[1, 0, 0, 0]], None), Outcome::Fail);
    assert_eq!(with(&[b"WBCL"], None), Outcome::Fail);
    assert_eq!(with(&[&[0; 4]], Some(b"an image")), Outcome::Fail);
}

/// No digest covers the log's description of the four bytes.
#[test]
fn an_error_is_not_hidden_as_a_boot_order() {
    const VALUE: &[u8] = &[1, 0, 0, 0];
    let order = variable(&GLOBAL, "BootOrder", VALUE);
    let report = |pcr: u32, data: &[u8], after: &[u32], compared: &str| {
        let mut log = LogMaker::agile(&BANKS[1..2]);
        log.measure(0, CRTM_VERSION, b"1");
        log.measure_as(pcr, VARIABLE_BOOT, VALUE, data);
        for separated in after {
            log.measure(*separated, SEPARATOR, &[0; 4]);
        }
        let report = check(&log, compared).report;
        assert_eq!(report.outcome(EventLogCheck::Registers), Outcome::Pass);
        report
    };
    let judged = |pcr, data: &[u8], after: &[u32], compared: &str| {
        report(pcr, data, after, compared).outcome(EventLogCheck::Separators)
    };
    // Code that runs later can extend a separator, so PCR 1 alone proves nothing.
    assert_eq!(judged(1, &order, &[1], "sha256:1"), Outcome::Warn);
    assert_eq!(judged(1, &order, &[], "sha256:1"), Outcome::Fail);
    // Another register proves it, if it has exactly one separator.
    assert_eq!(judged(1, &order, &[0, 1], "sha256:0,1"), Outcome::Pass);
    assert_eq!(judged(1, &order, &[1, 7], "sha256:1,7"), Outcome::Pass);
    let twice = report(1, &order, &[0, 0, 1], "sha256:0,1");
    assert_eq!(twice.outcome(EventLogCheck::Separators), Outcome::Warn);
    let detail = twice.detail(EventLogCheck::Separators);
    assert!(detail.starts_with("the boot order in PCR 1"), "{detail}");
    assert_eq!(judged(1, &order, &[1], "sha256:0,1"), Outcome::Warn);
    assert_eq!(judged(1, &order, &[1, 8], "sha256:1,8"), Outcome::Warn);
    // No other variable may have these bytes as its value.
    for (vendor, name) in [
        (&GLOBAL, "BootCurrent"),
        (&GLOBAL, ""),
        (&IMAGE_SECURITY, "BootOrder"),
    ] {
        let other = variable(vendor, name, VALUE);
        assert_eq!(
            judged(1, &other, &[0, 1], "sha256:0,1"),
            Outcome::Fail,
            "{name}"
        );
    }
    // Other registers have no boot order.
    assert_eq!(judged(0, &order, &[0], "sha256:0"), Outcome::Fail);
    assert_eq!(judged(0, &order, &[0, 1], "sha256:0,1"), Outcome::Fail);
    assert_eq!(judged(0, &order, &[], "sha256:0"), Outcome::Fail);
    // The other register has an error itself.
    let mut log = LogMaker::agile(&BANKS[1..2]);
    for pcr in [0, 1] {
        log.measure_as(pcr, VARIABLE_BOOT, VALUE, &order);
        log.measure(pcr, SEPARATOR, &[0; 4]);
    }
    let report = check(&log, "sha256:0,1").report;
    assert_eq!(report.outcome(EventLogCheck::Separators), Outcome::Fail);
}

#[test]
fn a_register_without_an_event_has_no_separator() {
    let mut log = LogMaker::agile(&BANKS);
    log.measure(0, CRTM_VERSION, b"1");
    log.measure(0, SEPARATOR, &[0; 4]);
    let separators = |log: &LogMaker, text: &str| {
        let report = check(log, text).report;
        let detail = report.detail(EventLogCheck::Separators);
        (report.outcome(EventLogCheck::Separators), detail)
    };
    assert_eq!(separators(&log, "sha256:0").0, Outcome::Pass);
    let none = "PCR 1 has none".to_owned();
    assert_eq!(separators(&log, "sha256:0,1"), (Outcome::Warn, none));
    // The firmware has measured nothing.
    let mut silent = LogMaker::agile(&BANKS);
    silent.measure(8, IPL, b"linux /vmlinuz");
    let none = "PCR 0 has none".to_owned();
    let all = "sha256:0,1,2,3,4,5,6,7,8";
    assert_eq!(separators(&silent, all), (Outcome::Warn, none));
    assert_eq!(separators(&silent, "sha256:8").0, Outcome::NotRequested);
}

#[test]
fn a_log_that_is_cut_is_refused() {
    let log = booted();
    let selection = selection("sha256:0,1,2,3,4,5,6,7,8");
    let values = log.values(&selection);
    let policy = EventLogPolicy::with_unverified_registers(&selection, &values);
    for length in 0..log.bytes.len() {
        let replayed = check_event_log(&log.bytes[..length], &policy);
        assert!(!replayed.report.accepted(), "{length}: {}", replayed.report);
    }
    // Cut between two events, it is a valid log, but not of this boot.
    let events = EventLog::parse(&log.bytes).unwrap().events;
    let last = events.last().unwrap().at;
    refused(
        &check_event_log(&log.bytes[..last], &policy),
        &["registers"],
    );
    let within = check_event_log(&log.bytes[..last + 1], &policy);
    refused(&within, &["event-log"]);
}

#[test]
fn the_memory_after_a_log_is_none_of_it() {
    let mut sha1 = LogMaker::sha1();
    sha1.boot(true);
    for (log, text, by) in [
        (booted(), "sha256:0,7", &[][..]),
        (sha1, "sha1:0,7", &["weak-hashes"]),
    ] {
        let length = log.bytes.len();
        for (after, padding, unread) in [
            (vec![0; 1], 1, 0),
            (vec![0; 5000], 5000, 0),
            (vec![0xff; 3], 3, 0),
            (vec![0xff; 5000], 5000, 0),
            ([&[0; 40][..], b"older bytes"].concat(), 0, 51),
        ] {
            let mut padded = log.clone();
            padded.bytes.extend(&after);
            let replayed = check(&padded, text);
            refused(&replayed, by);
            let outcome = replayed.report.outcome(EventLogCheck::EventLog);
            let warned = unread > 0;
            assert_eq!(outcome == Outcome::Warn, warned, "{}", replayed.report);
            let read = replayed.log.unwrap();
            assert_eq!((read.padding, read.unread), (padding, unread));
        }
        // Other trailing bytes are an incomplete event.
        let mut longer = log.clone();
        longer.bytes.extend(b"\x01\x02\x03");
        assert_eq!(
            EventLog::parse(&longer.bytes),
            Err(TpmError::UnexpectedEnd { at: length })
        );
    }
}

#[test]
fn a_head_alone_is_no_log() {
    let mut only_locality = LogMaker::sha1();
    only_locality.say_locality(3);
    for bytes in [
        Vec::new(),
        vec![0; 64],
        vec![0xff; 64],
        only_locality.bytes,
        LogMaker::agile(&BANKS).bytes,
    ] {
        let replayed = check_event_log(&bytes, &EventLogPolicy::without_registers());
        refused(&replayed, &["event-log"]);
    }
}

/// A crypto-agile log with this header, and one event with a digest for each of its banks.
fn headed(head: &[u8], digests: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut log = LogMaker::agile(&[]);
    log.bytes = sha1_event(0, NO_ACTION, &[0; 20], head);
    log.raw(0, CRTM_VERSION, digests, b"1");
    log.bytes
}

#[test]
fn the_head_has_many_shapes() {
    const SHA256: u16 = 0x0b;
    const UNKNOWN: u16 = 0x7777;
    let event = [(SHA256, vec![1; 32]), (UNKNOWN, vec![2; 24])];
    let banks = [(SHA256, 32), (UNKNOWN, 24)];
    // With complete, truncated and missing vendor data.
    for vendor in [&b""[..], b"\0", b"\x02ab", b"\x09ab", b"\0\0\0\0\0\0"] {
        let bytes = headed(&spec_id(&banks, vendor), &event);
        let log = EventLog::parse(&bytes).unwrap();
        assert_eq!(log.form, EventLogFormat::CryptoAgile);
        assert_eq!(log.banks().collect::<Vec<_>>(), [HashAlgorithm::Sha256]);
        assert_eq!(log.events.len(), 1);
        assert_eq!(
            log.events[0].digest(HashAlgorithm::Sha256),
            Some(&[1; 32][..])
        );
    }
    // Vendor data after the declared size of the header, which counts it.
    let mut behind = headed(&spec_id(&banks, b"\x04"), &event);
    let head_size = 32 + spec_id(&banks, b"\x04").len();
    behind.splice(head_size..head_size, *b"\xde\xad\xbe\xef");
    let log = EventLog::parse(&behind).unwrap();
    assert_eq!((log.events.len(), log.events[0].at), (1, head_size + 4));
    // No banks, too many banks, duplicate banks, and a wrong digest size.
    let size = "TCG_EfiSpecIdEventAlgorithmSize";
    let number = "number of digests";
    for (banks, at, found, what) in [
        (vec![], 56, 0, number),
        (vec![(UNKNOWN, 8); 17], 56, 17, number),
        (vec![(SHA256, 32), (SHA256, 32)], 64, 32, size),
        (vec![(SHA256, 20)], 60, 20, size),
        (vec![(UNKNOWN, 0)], 60, 0, size),
        (vec![(UNKNOWN, 65)], 60, 65, size),
    ] {
        let bytes = headed(&spec_id(&banks, b"\0"), &event);
        let expected = TpmError::WrongSize { at, found, what };
        assert_eq!(EventLog::parse(&bytes), Err(expected), "{banks:?}");
    }
    // A truncated header.
    let whole = spec_id(&banks, b"");
    for length in 16..whole.len() {
        let bytes = headed(&whole[..length], &event);
        assert!(matches!(
            EventLog::parse(&bytes),
            Err(TpmError::UnexpectedEnd { at }) if at <= 32 + length
        ));
    }
}

#[test]
fn digests_are_as_many_as_there_are() {
    const SHA256: (u16, usize) = (0x0b, 32);
    const SHA384: (u16, usize) = (0x0c, 48);
    const UNKNOWN: (u16, usize) = (0x7777, 24);
    let selection = selection("sha256:0");
    let outcome = |digests: &[(u16, usize)]| {
        let digests: Vec<_> = digests
            .iter()
            .map(|(id, size)| (*id, vec![5; *size]))
            .collect();
        let bytes = headed(&spec_id(&[(SHA256.0, 32)], b"\0"), &digests);
        let value = digest(&ring::digest::SHA256, &[&[0; 32][..], &[5; 32]].concat());
        let policy = EventLogPolicy::with_unverified_registers(&selection, value.as_ref());
        failed(&check_event_log(&bytes, &policy))
    };
    assert_eq!(outcome(&[SHA256]), [""; 0]);
    // Banks with known hashes that the header does not list.
    assert_eq!(outcome(&[SHA256, SHA384]), [""; 0]);
    assert_eq!(outcome(&[SHA384, SHA256]), [""; 0]);
    // The digest size of an unknown hash is not defined.
    assert_eq!(outcome(&[SHA256, UNKNOWN]), ["event-log"]);
    // With none or two digests of a bank, it is unknown which one was extended.
    assert_eq!(outcome(&[]), ["digests", "registers"]);
    assert_eq!(outcome(&[SHA384]), ["digests", "registers"]);
    assert_eq!(outcome(&[SHA256, SHA256]), ["digests", "registers"]);
    assert_eq!(outcome(&[SHA256; 16]), ["digests", "registers"]);
    assert_eq!(outcome(&[SHA256; 17]), ["event-log"]);
}

#[test]
fn sizes_and_registers_that_cannot_be_are_refused() {
    // A data size that exceeds the rest of the log.
    for size in [2_u32, 0x7fff_ffff, 0xffff_ffff] {
        let mut log = booted();
        let at = log.bytes.len();
        log.raw(0, IPL, &[], b"");
        let end = log.bytes.len();
        log.bytes[end - 4..].copy_from_slice(&size.to_le_bytes());
        log.bytes.push(b'x');
        let expected = TpmError::UnexpectedEnd { at: at + 12 };
        assert_eq!(EventLog::parse(&log.bytes), Err(expected));
    }
    // The last valid register. It does not affect others.
    let mut log = booted();
    let digests: Vec<_> = BANKS
        .iter()
        .map(|bank| (bank.id(), vec![9; bank.digest_size()]))
        .collect();
    log.raw(31, IPL, &digests, b"");
    refused(&check(&log, "sha256:0"), &[]);
    // Registers that do not exist.
    for pcr in [32, 0xffff_ffff] {
        let mut log = booted();
        log.raw(pcr, IPL, &digests, b"");
        refused(&check(&log, "sha256:0"), &["digests"]);
    }
    // More events than any boot produces.
    let event = sha1_event(9, IPL, &[1; 20], b"");
    let many = event.repeat(65_536);
    assert_eq!(EventLog::parse(&many).unwrap().events.len(), 65_536);
    let more = event.repeat(65_537);
    let error = EventLog::parse(&more);
    assert!(matches!(
        error,
        Err(TpmError::WrongSize { found: 65_536, .. })
    ));
}

proptest! {
    #[test]
    fn no_bytes_break_it(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        is_agile: bool,
    ) {
        if is_agile {
            bytes = [&LogMaker::agile(&BANKS).bytes, &bytes[..]].concat();
        }
        let selection = selection("sha256:0,7+sha1:0");
        let values = vec![0; selection.values_size()];
        let mut policy = EventLogPolicy::with_unverified_registers(&selection, &values);
        policy.require_secure_boot = true;
        let replayed = check_event_log(&bytes, &policy);
        prop_assert!(!replayed.report.accepted());
        if let Err(error) = EventLog::parse(&bytes) {
            prop_assert!(error.position().is_some_and(|at| at <= bytes.len()));
        }
    }

    /// Whatever byte is changed, only measured data is accepted and trusted.
    #[test]
    fn a_changed_byte_changes_nothing_that_is_trusted(at: proptest::sample::Index, bit in 0..8_u8) {
        let log = booted();
        let before = check(&log, "sha256:0,1,2,3,4,5,6,7,8");
        let mut changed = log.clone();
        let at = at.index(changed.bytes.len());
        changed.bytes[at] ^= 1 << bit;
        let after = check(&changed, "sha256:0,1,2,3,4,5,6,7,8");
        if after.report.accepted() {
            let (before_log, after_log) = (before.log.unwrap(), after.log.unwrap());
            for (number, event) in after_log.events.iter().enumerate() {
                let was = &before_log.events[number];
                match after.trust[number] {
                    EventTrust::Data => prop_assert_eq!((event.pcr, event.data), (was.pcr, was.data)),
                    EventTrust::NotExtended => prop_assert!(false, "an event was hidden"),
                    _ => prop_assert_eq!(event.pcr, was.pcr),
                }
            }
        }
    }
}
