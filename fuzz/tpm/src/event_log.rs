//! Event logs.

use keyproof_tpm::{
    EventLog, EventLogCheck, EventLogPolicy, EventTrust, HashAlgorithm, Outcome, TpmlPcrSelection,
    TpmsPcrSelection, check_event_log,
};

use crate::{report::sound, structure::points_into};

/// Event logs: a log is accepted for the register values that its replay gives, and for no others. Data is trusted only if it was
/// measured.
pub fn event_log(data: &[u8]) {
    let log = match EventLog::parse(data) {
        Ok(log) => log,
        Err(error) => {
            points_into(data, &error);
            let policy = EventLogPolicy::without_registers();
            let report = check_event_log(data, &policy).report;
            sound(&report);
            assert!(!report.accepted());
            return;
        }
    };
    let hash = log.banks().next().unwrap_or(HashAlgorithm::Sha256);
    let Ok(replay) = log.replay(hash, 0) else {
        return;
    };
    let known = (0..32).filter(|index| replay.missing_digest(*index).is_none());
    let selection: TpmlPcrSelection = TpmsPcrSelection::new(hash, known).into_iter().collect();
    let mut values = Vec::new();
    for index in selection.banks().iter().flat_map(|bank| bank.registers()) {
        values.extend_from_slice(replay.value(index).expect("a register"));
    }
    let check = |values: &[u8]| {
        let mut policy = EventLogPolicy::with_unverified_registers(&selection, values);
        policy.require_secure_boot = true;
        let replayed = check_event_log(data, &policy);
        sound(&replayed.report);
        let outcome = replayed.report.outcome(EventLogCheck::Registers);
        (outcome, replayed)
    };
    if values.is_empty() {
        return;
    }
    let (outcome, replayed) = check(&values);
    // The log may contain another locality, or PCR 0 may start with another one.
    let says_locality = replayed.locality != 0;
    assert!(
        outcome == Outcome::Pass || says_locality,
        "{}",
        replayed.report
    );
    for (event, trust) in log.events.iter().zip(&replayed.trust) {
        assert_eq!(
            event.event_type.name().is_some(),
            !event.event_type.to_string().starts_with("0x")
        );
        assert!(!trust.name().is_empty());
        if *trust == EventTrust::Data {
            let measured = hash.digest(&[event.data]).expect("a hash");
            assert_eq!(event.digest(hash), Some(&*measured));
        }
    }
    // Secure Boot is on only if the variable was measured into its register.
    if replayed.secure_boot.enabled == Some(true) {
        let name: Vec<u8> = "SecureBoot"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut told = log.events.iter().zip(&replayed.trust);
        assert!(told.any(|(event, trust)| {
            event.pcr == 7
                && *trust == EventTrust::Data
                && event.data.ends_with(&[1])
                && event.data.windows(name.len()).any(|part| part == name)
        }));
    }
    if let Some(last) = values.last_mut() {
        *last ^= 1;
    }
    assert_eq!(check(&values).0, Outcome::Fail);
    values.push(0);
    assert_eq!(check(&values).0, Outcome::Fail);
    let unasked = check_event_log(data, &EventLogPolicy::without_registers());
    sound(&unasked.report);
}
