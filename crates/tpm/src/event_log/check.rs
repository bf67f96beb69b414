//! The check of an event log against quoted registers.

use alloc::{format, string::String, vec::Vec};

use keyproof_x509::Report;

use super::{
    event::{EventTrust, EventType, LogEvent},
    finding::{BackedData, EventLogCheck, EventLogFinding, SecureBootState},
    parse::EventLog,
    replay::Replay,
    uefi::{GLOBAL_VARIABLE, SECURE_BOOT_PCR, SecureBoot, read_variable},
};
use crate::{
    algorithm::HashAlgorithm,
    pcr::{QuotedRegisters, TpmlPcrSelection},
};

/// The requirements for an event log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EventLogPolicy<'a> {
    /// The registers to compare and their values, concatenated in selection order; `None` compares
    /// no register.
    registers: Option<(&'a TpmlPcrSelection, &'a [u8])>,
    /// Requires that Secure Boot is on.
    pub require_secure_boot: bool,
}

impl<'a> EventLogPolicy<'a> {
    /// Creates a policy from the registers of an accepted quote. Every register must follow from
    /// the log, so drop those that the operating system extends without a log
    /// ([`QuotedRegisters::retain`]). Secure Boot may be on or off. Set the other fields
    /// afterwards.
    pub fn new(registers: &'a QuotedRegisters) -> Self {
        Self::with_unverified_registers(registers.selection(), registers.values())
    }

    /// Creates a policy from registers and their concatenated values in selection order, which
    /// nothing here verifies: the report is worth no more than they are. If they come from the
    /// device without an accepted quote, the device may have computed them from a forged log.
    pub const fn with_unverified_registers(
        selection: &'a TpmlPcrSelection,
        values: &'a [u8],
    ) -> Self {
        Self {
            registers: Some((selection, values)),
            require_secure_boot: false,
        }
    }

    /// Creates a policy that compares no register, to replay a log. The verdict is then on the
    /// log's form alone: it also accepts a forged log, and no event can be trusted.
    pub const fn without_registers() -> Self {
        Self {
            registers: None,
            require_secure_boot: false,
        }
    }
}

/// A register that was compared with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayedRegister {
    /// The bank.
    pub hash: HashAlgorithm,
    /// Its number.
    pub index: u8,
    /// The value that the log leads to, if the bank can be replayed.
    pub replayed: Option<Vec<u8>>,
    /// Its quoted value.
    pub value: Vec<u8>,
    /// The number of events extended into it.
    pub events: usize,
}

impl ReplayedRegister {
    /// Returns whether the quoted value is the one that the log leads to.
    pub fn is_matched(&self) -> bool {
        self.replayed.as_ref() == Some(&self.value)
    }
}

/// The result of checking a log.
#[derive(Clone, Debug)]
#[must_use = "its report has the verdict on the log"]
#[non_exhaustive]
pub struct ReplayedLog<'a> {
    /// The checks. The verdict is worth no more than the registers that were compared
    /// ([`EventLogPolicy::new`]).
    pub report: Report<EventLogFinding>,
    /// The log, if it could be parsed.
    pub log: Option<EventLog<'a>>,
    /// The locality assumed for the initial value of PCR 0.
    pub locality: u8,
    /// The registers that were compared, in selection order.
    pub registers: Vec<ReplayedRegister>,
    /// For each event in log order, the part that the registers confirm.
    pub trust: Vec<EventTrust>,
    /// The state of Secure Boot.
    pub secure_boot: SecureBoot<'a>,
}

/// Checks an event log.
///
/// A log is a file and proves nothing by itself. A successful replay shows that the registers were
/// extended with these digests in this order. [`ReplayedLog::trust`] states for each event whether
/// that also confirms its data.
///
/// ```
/// use keyproof_tpm::{EventLogPolicy, HashAlgorithm, check_event_log};
///
/// // A log in the TCG's crypto-agile form: its header, and one event of PCR 0.
/// let mut log = [0_u32, 3].map(u32::to_le_bytes).concat();
/// log.extend([0; 20]);
/// log.extend(33_u32.to_le_bytes());
/// log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0\x20\0\0");
/// let version = b"firmware 1";
/// let digest = HashAlgorithm::Sha256.digest(&[version])?;
/// log.extend([0_u32, 8, 1].map(u32::to_le_bytes).concat());
/// log.extend([&0x0b_u16.to_le_bytes()[..], &digest, &10_u32.to_le_bytes(), version].concat());
///
/// let value = HashAlgorithm::Sha256.digest(&[&[0; 32], &digest])?;
/// let selection = "sha256:0".parse()?;
/// // Here, not from a quote. A verifier uses `EventLogPolicy::new`.
/// let policy = EventLogPolicy::with_unverified_registers(&selection, &value);
/// assert!(check_event_log(&log, &policy).report.accepted()); // the register has the value that this log leads to
///
/// let policy = EventLogPolicy::with_unverified_registers(&selection, &[7; 32]);
/// assert!(!check_event_log(&log, &policy).report.accepted());
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_event_log<'a>(bytes: &'a [u8], policy: &EventLogPolicy<'_>) -> ReplayedLog<'a> {
    let mut report = Report::new();
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => {
            report.judged(
                EventLogCheck::EventLog,
                EventLogFinding::LogMalformed(error),
            );
            report.remaining_not_evaluated("not checked: there is no log to read");
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
            let found = values.len();
            report.judged(
                EventLogCheck::Registers,
                EventLogFinding::ValuesSize { expected, found },
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
    check_secure_boot(
        &mut report,
        &secure_boot,
        &registers,
        policy.require_secure_boot,
    );
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

/// The bank, number and value of a register.
type Value<'v> = (HashAlgorithm, u8, &'v [u8]);

fn check_form(report: &mut Report<EventLogFinding>, log: &EventLog<'_>) {
    let mut extended = log.events.iter().filter(|event| event.is_extended());
    let (events, form) = (log.events.len(), log.form.name());
    let finding = match log.unread {
        _ if extended.next().is_none() => EventLogFinding::LogEmpty,
        0 => EventLogFinding::Log { events, form },
        bytes => EventLogFinding::LogTrailingBytes {
            events,
            form,
            bytes,
        },
    };
    report.judged(EventLogCheck::EventLog, finding);
}

/// Returns the locality of PCR 0's initial value.
fn check_locality(
    report: &mut Report<EventLogFinding>,
    log: &EventLog<'_>,
    values: &[Value<'_>],
) -> u8 {
    let check = EventLogCheck::StartupLocality;
    let said = match log.startup_locality() {
        Ok(said) => said,
        Err(event) => {
            report.judged(check, EventLogFinding::LocalityInconsistent { event });
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
        report.not_requested(check, "PCR 0 was not compared");
    } else if leads_to(supposed) {
        report.judged(check, EventLogFinding::Locality(supposed));
    } else if let Some(shown) = [0, 3, 4].into_iter().find(|other| leads_to(*other)) {
        report.judged(check, EventLogFinding::LocalityMismatch { shown, supposed });
        return shown;
    } else {
        report.not_evaluated(
            check,
            "not checked: PCR 0 does not match the log with any locality",
        );
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
            let replayed = replay.and_then(|replay| replay.value(*index));
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
    report: &mut Report<EventLogFinding>,
    log: &EventLog<'_>,
    registers: &[ReplayedRegister],
) {
    let check = EventLogCheck::Digests;
    let extended = || {
        let events = log.events.iter().enumerate();
        events.filter(|(_, event)| event.is_extended())
    };
    if let Some((event, logged)) = extended().find(|(_, event)| event.pcr >= 32) {
        let pcr = logged.pcr;
        return report.judged(check, EventLogFinding::RegisterUnknown { event, pcr });
    }
    let missing_digest = extended().find_map(|(number, event)| {
        let mut banks = banks_of(registers, event.pcr).map(|register| register.hash);
        let missing_digest = banks.find(|hash| event.digest(*hash).is_none())?;
        Some((number, event.pcr, missing_digest))
    });
    if registers.is_empty() {
        report.not_requested(check, "no register was compared");
    } else {
        let missing = |(event, pcr, hash)| EventLogFinding::DigestMissing { event, pcr, hash };
        report.judged(check, missing_digest.map(missing));
    }
}

fn check_registers(
    report: &mut Report<EventLogFinding>,
    registers: &[ReplayedRegister],
    policy: &EventLogPolicy<'_>,
) {
    let check = EventLogCheck::Registers;
    // Wrong sizes of the values have been reported.
    if report.findings(check).next().is_some() {
        return;
    }
    if policy.registers.is_none() {
        return report.not_requested(check, "no register values were given");
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
    let finding = if registers.is_empty() {
        EventLogFinding::RegistersNotChecked
    } else if registers.iter().all(ReplayedRegister::is_matched) {
        EventLogFinding::RegistersMatched(names(true))
    } else {
        EventLogFinding::RegistersUnmatched {
            unmatched: names(false),
            matched: names(true),
        }
    };
    report.judged(check, finding);
}

/// Returns the part of each event that is confirmed, under the matching bank with the longest
/// digest.
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

/// Returns the bank with the longest digest for a register. All compared banks of the register must
/// match, since they record the same boot.
fn strongest(registers: &[ReplayedRegister], pcr: u32) -> Option<HashAlgorithm> {
    let all_match = banks_of(registers, pcr).all(ReplayedRegister::is_matched);
    banks_of(registers, pcr)
        .map(|register| register.hash)
        .max_by_key(|hash| hash.digest_size())
        .filter(|_| all_match)
}

/// Returns a register in each of its compared banks.
fn banks_of(registers: &[ReplayedRegister], pcr: u32) -> impl Iterator<Item = &ReplayedRegister> {
    registers
        .iter()
        .filter(move |register| u32::from(register.index) == pcr)
}

fn is_variable_data(event: &LogEvent<'_>, hash: HashAlgorithm) -> bool {
    event.event_type.is_variable()
        && read_variable(event.data).is_ok_and(|(_, _, value)| event.measures(hash, value))
}

/// Returns whether the log states that it is the boot order, and its value was measured. No digest
/// covers the name.
fn is_called_boot_order(event: &LogEvent<'_>, hash: HashAlgorithm) -> bool {
    is_variable_data(event, hash)
        && read_variable(event.data)
            .is_ok_and(|(vendor, name, _)| vendor == GLOBAL_VARIABLE && name == "BootOrder")
}

/// The registers that get a separator when the firmware hands over.
const FIRMWARE_PCRS: core::ops::RangeInclusive<u8> = 0..=7;

/// The register of the boot order.
const BOOT_ORDER_PCR: u8 = 1;

/// The separator that firmware measures after an error.
const ERROR: &[u8] = &1_u32.to_le_bytes();

/// Returns the events that were extended into a register.
fn extended_into<'e, 'a>(
    events: &'e [LogEvent<'a>],
    pcr: u8,
) -> impl Iterator<Item = &'e LogEvent<'a>> {
    let own = move |event: &&LogEvent<'_>| event.is_extended() && event.pcr == u32::from(pcr);
    events.iter().filter(own)
}

/// Counts the separators of a register.
fn separators(events: &[LogEvent<'_>], register: &ReplayedRegister) -> usize {
    let own = extended_into(events, register.index);
    own.filter(|event| event.is_separator(register.hash))
        .count()
}

/// Returns the events of a register that measured an error separator.
fn errors<'e, 'a>(
    events: &'e [LogEvent<'a>],
    register: &ReplayedRegister,
) -> impl Iterator<Item = &'e LogEvent<'a>> {
    let hash = register.hash;
    extended_into(events, register.index).filter(move |event| event.measures(hash, ERROR))
}

/// Identifies separators by the measured data, since the log may state any type: zeros or ones
/// without an error, 1 after an error.
fn check_separators(
    report: &mut Report<EventLogFinding>,
    events: &[LogEvent<'_>],
    registers: &[ReplayedRegister],
) {
    let check = EventLogCheck::Separators;
    let is_firmware = |register: &&ReplayedRegister| FIRMWARE_PCRS.contains(&register.index);
    let compared: Vec<&ReplayedRegister> = registers
        .iter()
        .filter(is_firmware)
        .filter(|register| register.is_matched())
        .collect();
    if compared.is_empty() {
        return report.not_requested(check, "none of PCR 0 to 7 matches");
    }
    // Only the log states which event is a boot order. A boot loader can extend a separator, but
    // cannot remove an error.
    let is_sound_elsewhere = compared.iter().any(|register| {
        register.index != BOOT_ORDER_PCR
            && separators(events, register) == 1
            && errors(events, register).next().is_none()
    });
    let mut odd = None;
    for register in compared {
        let (hash, pcr) = (register.hash, register.index);
        let count = separators(events, register);
        // A boot order of 1 and 0 has the same four bytes. But an error replaces the separator.
        let is_boot_order = |event: &LogEvent<'_>| {
            pcr == BOOT_ORDER_PCR && count > 0 && is_called_boot_order(event, hash)
        };
        if !errors(events, register).all(is_boot_order) {
            return report.judged(check, EventLogFinding::FirmwareError { pcr });
        }
        let mut called =
            extended_into(events, pcr).filter(|event| event.event_type == EventType::SEPARATOR);
        if !called.all(|event| event.is_separator(hash)) {
            return report.judged(check, EventLogFinding::SeparatorMalformed { pcr });
        }
        if count != 1 {
            odd = odd.or(Some(EventLogFinding::Separators { pcr, count }));
        } else if !is_sound_elsewhere && errors(events, register).next().is_some() {
            odd = Some(EventLogFinding::BootOrderAmbiguous);
        }
    }
    report.judged(check, odd);
}

/// Returns whether the digest of this type covers the data (PC Client Platform Firmware Profile,
/// 10.4.1).
fn measures_its_data(event: &LogEvent<'_>) -> bool {
    matches!(
        event.event_type,
        EventType::SEPARATOR
            | EventType::EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EFI_VARIABLE_AUTHORITY
            | EventType::EFI_VARIABLE_BOOT2
    )
}

fn check_data(report: &mut Report<EventLogFinding>, events: &[LogEvent<'_>], trust: &[EventTrust]) {
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
    if whole == 0 && digest == 0 && value == 0 {
        return report.not_requested(check, "no event is of a register that matches");
    }
    let backed = BackedData {
        events: events.len(),
        whole,
        value,
        digest,
    };
    report.judged(
        check,
        match odd {
            None => EventLogFinding::Data(backed),
            Some((event, (odd, _))) => EventLogFinding::DataMismatch {
                event,
                event_type: odd.event_type,
                backed,
            },
        },
    );
}

fn check_secure_boot(
    report: &mut Report<EventLogFinding>,
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
        match (names.join(", "), found.authorities.len()) {
            (names, 0) => names,
            (names, authorities) if names.is_empty() => format!("{authorities} authorities"),
            (names, authorities) => format!("{names}; {authorities} authorities"),
        }
    };
    let is_backed = banks_of(registers, SECURE_BOOT_PCR).next().is_some();
    let (state, variables) = match found.enabled {
        _ if found.debug_mode => (SecureBootState::DebugMode, names()),
        Some(true) => (SecureBootState::On, names()),
        Some(false) => (SecureBootState::Off, names()),
        None if is_backed => (SecureBootState::NotReported, names()),
        None if is_required => (SecureBootState::NotCompared, String::new()),
        None => return report.not_requested(check, "PCR 7 was not compared"),
    };
    let finding = EventLogFinding::SecureBoot {
        state,
        required: is_required,
        variables,
    };
    report.judged(check, finding);
    if found.dma_protection_disabled {
        report.add(EventLogFinding::DmaProtectionDisabled);
    }
}

fn check_hashes(report: &mut Report<EventLogFinding>, registers: &[ReplayedRegister]) {
    let check = EventLogCheck::WeakHashes;
    if registers.is_empty() {
        return report.not_requested(check, "no register was compared");
    }
    let weak = registers.iter().find(|register| register.hash.is_weak());
    report.judged(
        check,
        weak.map(|register| EventLogFinding::BankWeak(register.hash)),
    );
}
