//! The check of a log against the registers that a quote is over.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::event::{EventTrust, EventType, LogEvent};
use super::parse::EventLog;
use super::replay::Replay;
use super::uefi::{SECURE_BOOT_PCR, SecureBoot, read_variable};
use crate::algorithm::HashAlgorithm;
use crate::pcr::TpmlPcrSelection;
use crate::report::{Report, Tell, checks};

/// What a log is checked against.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventLogPolicy<'a> {
    /// The registers that the log is to explain, and their values concatenated in that order: those of a
    /// quote that was accepted. All of them must follow from the log, so a register that the operating
    /// system extends without a log of its own does not belong here. `None` compares nothing, and no
    /// event can be trusted.
    pub registers: Option<(&'a TpmlPcrSelection, &'a [u8])>,
    /// Whether Secure Boot must be on.
    pub secure_boot: bool,
}

checks! {
    /// The checks of an event log, in the order of reports.
    pub EventLogCheck {
        /// `event-log`: it is a whole log in one of the TCG's two forms, with at least one event that was
        /// extended.
        EventLog = "event-log";
        /// `digests`: each event of a compared register has one digest of each compared bank, and no event
        /// is of a register that there is none of.
        Digests = "digests";
        /// `startup-locality`: the log says at most one locality that the TPM was started at, and PCR 0
        /// begins with it; a warning if PCR 0 shows another.
        StartupLocality = "startup-locality";
        /// `registers`: each compared register holds what the log leads to.
        Registers = "registers";
        /// `separators`: in PCR 0 to 7 the firmware handed over without an error; a warning if a register
        /// has no separator or several.
        Separators = "separators";
        /// `event-data`: events whose digest should be that of their data are so; else a warning, as some
        /// firmware errs here. Such data is a hint at most.
        EventData = "event-data";
        /// `secure-boot`: Secure Boot is on; if it need not be, a warning where it is off or not told.
        SecureBoot = "secure-boot";
        /// `weak-hashes`: no compared bank is of a weak hash.
        WeakHashes = "weak-hashes";
    }
}

/// A register that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRegister {
    /// The bank.
    pub hash: HashAlgorithm,
    /// Its number.
    pub index: u8,
    /// What the log leads to, if the bank can be replayed.
    pub replayed: Option<Vec<u8>>,
    /// What it holds.
    pub value: Vec<u8>,
    /// How many events were extended into it.
    pub events: usize,
}

impl ReplayedRegister {
    /// Whether it holds what the log leads to.
    pub fn is_matched(&self) -> bool {
        self.replayed.as_ref() == Some(&self.value)
    }
}

/// What came of a log.
#[derive(Clone, Debug)]
pub struct ReplayedLog<'a> {
    /// The checks.
    pub report: Report<EventLogCheck>,
    /// The log, if it could be read.
    pub log: Option<EventLog<'a>>,
    /// The locality that PCR 0 was taken to begin with.
    pub locality: u8,
    /// The registers that were compared, in the order of the selection.
    pub registers: Vec<ReplayedRegister>,
    /// How much of each event is backed by the registers, in the log's order.
    pub trust: Vec<EventTrust>,
    /// What the log says of Secure Boot.
    pub secure_boot: SecureBoot<'a>,
}

/// Checks an event log.
///
/// Nothing that a log says can be trusted by itself: it is a file. What its replay shows is that the
/// registers were extended with these digests in this order; [`ReplayedLog::trust`] tells for each event
/// whether that covers what the log says about it.
pub fn check_event_log<'a>(bytes: &'a [u8], policy: &EventLogPolicy<'_>) -> ReplayedLog<'a> {
    let mut report = Report::new();
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => {
            report.fail(EventLogCheck::EventLog, format!("{error}"));
            report.others_not_judged("not judged: there is no log to read");
            return ReplayedLog {
                report,
                log: None,
                locality: 0,
                registers: Vec::new(),
                trust: Vec::new(),
                secure_boot: SecureBoot::default(),
            };
        }
    };
    check_form(&mut report, &log);
    let values = match policy.registers {
        None => Vec::new(),
        Some((selection, values)) => selection.split(values).unwrap_or_else(|| {
            let expected = selection.values_size();
            report.fail(
                EventLogCheck::Registers,
                format!("{} bytes of values, not {expected}", values.len()),
            );
            Vec::new()
        }),
    };
    let locality = check_locality(&mut report, &log, &values);
    let registers = replayed(&log, locality, &values);
    check_digests(&mut report, &log, &registers);
    check_registers(&mut report, &registers, policy);
    let trust = trust(&log.events, &registers);
    check_separators(&mut report, &log.events, &registers);
    check_data(&mut report, &log.events, &trust);
    let hash = strongest(&registers, SECURE_BOOT_PCR).unwrap_or(HashAlgorithm::Sha256);
    let secure_boot = SecureBoot::of(&log.events, &trust, hash);
    check_secure_boot(&mut report, &secure_boot, &registers, policy.secure_boot);
    check_hashes(&mut report, &registers);
    ReplayedLog {
        report,
        locality,
        registers,
        trust,
        secure_boot,
        log: Some(log),
    }
}

/// A register, by bank and number, and its value.
type Value<'v> = (HashAlgorithm, u8, &'v [u8]);

fn check_form(report: &mut Report<EventLogCheck>, log: &EventLog<'_>) {
    let check = EventLogCheck::EventLog;
    let extended = log.events.iter().filter(|event| event.is_extended());
    let found = format!("{} events, {}", log.events.len(), log.form.name());
    if extended.count() == 0 {
        report.fail(check, "it has no event that was extended: only a head");
    } else if log.unread > 0 {
        let unread = log.unread;
        report.warn(check, format!("{found}; {unread} bytes after it are none"));
    } else {
        report.pass(check, found);
    }
}

/// What PCR 0 begins with.
fn check_locality(
    report: &mut Report<EventLogCheck>,
    log: &EventLog<'_>,
    values: &[Value<'_>],
) -> u8 {
    let check = EventLogCheck::StartupLocality;
    let said = match log.startup_locality() {
        Ok(said) => said,
        Err(event) => {
            report.fail(
                check,
                format!("event {event} names no locality, or another than before"),
            );
            return 0;
        }
    };
    let supposed = said.unwrap_or(if log.begins_with_hcrtm() { 4 } else { 0 });
    let leads_to = |locality: u8| {
        let mut own = values.iter().filter(|(_, index, _)| *index == 0);
        own.all(|(hash, _, value)| {
            let replay = log.replay(*hash, locality);
            replay.is_ok_and(|replay| replay.value(0) == Some(*value))
        })
    };
    if !values.iter().any(|(_, index, _)| *index == 0) {
        report.not_asked(check, "PCR 0 was not compared");
    } else if leads_to(supposed) {
        report.pass(check, format!("locality {supposed}"));
    } else if let Some(shown) = [0, 3, 4].into_iter().find(|other| leads_to(*other)) {
        report.warn(
            check,
            format!("locality {shown}, as PCR 0 shows; the log leads to {supposed}"),
        );
        return shown;
    } else {
        report.not_judged(check, "not judged: PCR 0 holds something else altogether");
    }
    supposed
}

fn replayed(log: &EventLog<'_>, locality: u8, values: &[Value<'_>]) -> Vec<ReplayedRegister> {
    let mut replays: Vec<Replay> = Vec::new();
    for (hash, ..) in values {
        if !replays.iter().any(|replay| replay.hash() == *hash) {
            replays.extend(log.replay(*hash, locality));
        }
    }
    values
        .iter()
        .map(|(hash, index, value)| {
            let replay = replays.iter().find(|replay| replay.hash() == *hash);
            let known = replay.filter(|replay| replay.lacking(*index).is_none());
            let replayed = known.and_then(|replay| replay.value(*index));
            ReplayedRegister {
                hash: *hash,
                index: *index,
                replayed: replayed.map(<[u8]>::to_vec),
                value: value.to_vec(),
                events: replay.map_or(0, |replay| replay.events(*index)),
            }
        })
        .collect()
}

fn check_digests(
    report: &mut Report<EventLogCheck>,
    log: &EventLog<'_>,
    registers: &[ReplayedRegister],
) {
    let check = EventLogCheck::Digests;
    let extended = || {
        let events = log.events.iter().enumerate();
        events.filter(|(_, event)| event.is_extended())
    };
    if let Some((number, event)) = extended().find(|(_, event)| event.pcr >= 32) {
        let pcr = event.pcr;
        let reason = format!("event {number} is of PCR {pcr}, which there is none of");
        return report.fail(check, reason);
    }
    let lacking = extended().find_map(|(number, event)| {
        let own = registers
            .iter()
            .filter(|register| u32::from(register.index) == event.pcr);
        let mut banks = own.map(|register| register.hash);
        let lacking = banks.find(|hash| event.digest(*hash).is_none())?;
        Some((number, event.pcr, lacking))
    });
    if registers.is_empty() {
        report.not_asked(check, "no register was compared");
    } else if let Some((number, pcr, hash)) = lacking {
        report.fail(
            check,
            format!("event {number} of PCR {pcr} has not one digest of {hash}"),
        );
    } else {
        report.pass(check, "each event has one of each compared bank");
    }
}

fn check_registers(
    report: &mut Report<EventLogCheck>,
    registers: &[ReplayedRegister],
    policy: &EventLogPolicy<'_>,
) {
    let check = EventLogCheck::Registers;
    // The values are not those of the selection, and that was said.
    if report.of(check).next().is_some() {
        return;
    }
    if policy.registers.is_none() {
        return report.not_asked(check, "no register values were given");
    }
    let names = |matched: bool| {
        let own = registers
            .iter()
            .filter(|register| register.is_matched() == matched);
        let names: Vec<String> = own
            .map(|register| {
                let why = match register {
                    _ if matched => "",
                    ReplayedRegister { replayed: None, .. } => " (unknown)",
                    ReplayedRegister { events: 0, .. } => " (no event)",
                    _ => "",
                };
                format!("{}:{}{why}", register.hash, register.index)
            })
            .collect();
        names.join(", ")
    };
    if registers.is_empty() {
        report.fail(check, "no register was asked for");
    } else if registers.iter().all(ReplayedRegister::is_matched) {
        report.pass(check, format!("matched: {}", names(true)));
    } else {
        let matched = names(true);
        let but = if matched.is_empty() { "none" } else { &matched };
        report.fail(
            check,
            format!("the log does not lead to {}; matched: {but}", names(false)),
        );
    }
}

/// How much of each event is backed: by the bank with the longest digest, of those that match.
fn trust(events: &[LogEvent<'_>], registers: &[ReplayedRegister]) -> Vec<EventTrust> {
    events
        .iter()
        .map(|event| match strongest(registers, event.pcr) {
            _ if !event.is_extended() => EventTrust::NotExtended,
            None => EventTrust::Unmatched,
            Some(hash) if event.measures(hash, event.data) => EventTrust::Data,
            Some(hash) if is_variable_data(event, hash) => EventTrust::VariableData,
            Some(_) => EventTrust::Digest,
        })
        .collect()
}

/// The bank with the longest digest in which a register is matched; all compared banks of a register must
/// match, for they are one boot.
fn strongest(registers: &[ReplayedRegister], pcr: u32) -> Option<HashAlgorithm> {
    let own = || {
        registers
            .iter()
            .filter(|register| u32::from(register.index) == pcr)
    };
    let all_match = own().all(ReplayedRegister::is_matched);
    let banks = own().map(|register| register.hash);
    banks
        .max_by_key(|hash| hash.digest_size())
        .filter(|_| all_match)
}

fn is_variable_data(event: &LogEvent<'_>, hash: HashAlgorithm) -> bool {
    event.event_type.is_variable()
        && read_variable(event.data).is_ok_and(|(_, _, value)| event.measures(hash, value))
}

/// The registers in which the firmware says that it hands over.
const FIRMWARE_PCRS: core::ops::RangeInclusive<u8> = 0..=7;

/// The separator of a firmware that met an error.
const ERROR: &[u8] = &1_u32.to_le_bytes();

/// A separator is known by what was measured, for the log may call it anything: zeros or ones in order, a
/// 1 after an error.
fn check_separators(
    report: &mut Report<EventLogCheck>,
    events: &[LogEvent<'_>],
    registers: &[ReplayedRegister],
) {
    let check = EventLogCheck::Separators;
    let is_firmware = |register: &&ReplayedRegister| FIRMWARE_PCRS.contains(&register.index);
    let compared: Vec<&ReplayedRegister> = registers
        .iter()
        .filter(is_firmware)
        .filter(|register| register.is_matched() && register.events > 0)
        .collect();
    if compared.is_empty() {
        return report.not_asked(check, "none of PCR 0 to 7 is matched that has an event");
    }
    let mut odd: Option<String> = None;
    for register in compared {
        let hash = register.hash;
        let own = || {
            events
                .iter()
                .filter(|event| event.is_extended() && event.pcr == u32::from(register.index))
        };
        let pcr = register.index;
        // A boot order of 1 and 0 has the same four bytes.
        let is_error =
            |event: &LogEvent<'_>| event.measures(hash, ERROR) && !is_variable_data(event, hash);
        if own().any(is_error) {
            return report.fail(check, format!("the firmware met an error, says PCR {pcr}"));
        }
        let mut called = own().filter(|event| event.event_type == EventType::SEPARATOR);
        if !called.all(|event| event.is_separator(hash)) {
            return report.fail(check, format!("a separator of PCR {pcr} separates nothing"));
        }
        match own().filter(|event| event.is_separator(hash)).count() {
            1 => {}
            0 => odd = odd.or_else(|| Some(format!("PCR {pcr} has none"))),
            several => odd = odd.or_else(|| Some(format!("PCR {pcr} has {several}"))),
        }
    }
    match odd {
        None => report.pass(check, "one in each, in order"),
        Some(odd) => report.warn(check, odd),
    }
}

/// The types whose digest is of the data (PC Client Platform Firmware Profile, 10.4.1).
fn measures_its_data(event: &LogEvent<'_>) -> bool {
    matches!(
        event.event_type,
        EventType::SEPARATOR
            | EventType::EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EFI_VARIABLE_AUTHORITY
            | EventType::EFI_VARIABLE_BOOT2
    )
}

fn check_data(report: &mut Report<EventLogCheck>, events: &[LogEvent<'_>], trust: &[EventTrust]) {
    let check = EventLogCheck::EventData;
    let count = |wanted| trust.iter().filter(|trust| **trust == wanted).count();
    let (whole, digest) = (count(EventTrust::Data), count(EventTrust::Digest));
    let value = count(EventTrust::VariableData);
    let odd = events
        .iter()
        .zip(trust)
        .enumerate()
        .find(|(_, (event, trust))| {
            measures_its_data(event)
                && matches!(trust, EventTrust::Digest | EventTrust::VariableData)
        });
    let summary = format!(
        "of {} events, {whole} say what was measured, {value} the value of a variable, \
         and {digest} a digest alone",
        events.len()
    );
    match odd {
        _ if whole == 0 && digest == 0 && value == 0 => {
            report.not_asked(check, "no event is of a register that is matched");
        }
        None => report.pass(check, summary),
        Some((number, (event, _))) => report.warn(
            check,
            format!(
                "event {number} ({}) is not what was measured; {summary}",
                event.event_type
            ),
        ),
    }
}

fn check_secure_boot(
    report: &mut Report<EventLogCheck>,
    found: &SecureBoot<'_>,
    registers: &[ReplayedRegister],
    is_required: bool,
) {
    let check = EventLogCheck::SecureBoot;
    let names = || {
        let names: Vec<&str> = found
            .variables
            .iter()
            .map(|variable| &*variable.name)
            .collect();
        let authorities = found.authorities.len();
        format!("{}; {authorities} authorities", names.join(", "))
    };
    let is_backed = registers
        .iter()
        .any(|register| u32::from(register.index) == SECURE_BOOT_PCR);
    let (off, why) = match found.enabled {
        Some(true) => return report.pass(check, format!("on; {}", names())),
        Some(false) => ("off".to_owned(), names()),
        None if is_backed => ("not told by an event that PCR 7 backs".to_owned(), names()),
        None if is_required => ("PCR 7 was not compared".to_owned(), String::new()),
        None => return report.not_asked(check, "PCR 7 was not compared"),
    };
    let detail = if why.is_empty() {
        off
    } else {
        format!("{off}; {why}")
    };
    if is_required {
        report.fail(check, detail);
    } else {
        report.warn(check, detail);
    }
}

fn check_hashes(report: &mut Report<EventLogCheck>, registers: &[ReplayedRegister]) {
    let check = EventLogCheck::WeakHashes;
    let weak = registers.iter().find(|register| register.hash.is_weak());
    match weak {
        _ if registers.is_empty() => report.not_asked(check, "no register was compared"),
        None => report.pass(check, "no hash is weak"),
        Some(register) => report.fail(
            check,
            format!("a compared bank is of {}, which is weak", register.hash),
        ),
    }
}
