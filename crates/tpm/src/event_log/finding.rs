//! The checks of an event log and their findings.

use alloc::string::String;
use core::fmt;

use keyproof_x509::{Finding, Severity, checks};

use super::event::EventType;
use crate::{TpmError, algorithm::HashAlgorithm};

checks! {
    /// The checks of an event log, in the order of reports.
    #[non_exhaustive]
    pub EventLogCheck {
        /// `event-log`: it is a complete log in one of the TCG's two forms, with at least one
        /// extended event.
        EventLog = "event-log", "it is a whole log";
        /// `digests`: each event of a compared register has exactly one digest per compared bank,
        /// and every event's register exists.
        Digests = "digests", "each event has one of each compared bank";
        /// `startup-locality`: the log states at most one startup locality, and PCR 0 begins with
        /// it; a warning if PCR 0 shows another.
        StartupLocality = "startup-locality", "PCR 0 begins with it";
        /// `registers`: each compared register has the value that the log leads to.
        Registers = "registers", "all match";
        /// `separators`: in PCR 0 to 7, the firmware handed over without an error. It warns if a
        /// register does not have exactly one separator. It also warns if a boot order has the
        /// bytes of an error and no other register shows that there was none.
        Separators = "separators", "each register has one, without an error";
        /// `event-data`: if an event's digest should cover its data, it does; otherwise a warning,
        /// since some firmware errs here. Such data is at most a hint.
        EventData = "event-data", "it is what was measured";
        /// `secure-boot`: Secure Boot is on, and the firmware allowed no debugger. If Secure Boot
        /// is optional, anything else is a warning. Disabled DMA protection is always a warning.
        SecureBoot = "secure-boot", "on";
        /// `weak-hashes`: no compared bank uses a weak hash.
        WeakHashes = "weak-hashes", "no hash is weak";
    }
}

/// A finding of the check of an event log. Events are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventLogFinding {
    /// A compared bank uses a weak hash.
    BankWeak(HashAlgorithm),
    /// An event that the log calls the boot order has the four bytes of a firmware error, and no
    /// other register shows that there was none.
    BootOrderAmbiguous,
    /// The part of the events that the registers confirm.
    Data(BackedData),
    /// The data of an event does not match its digest.
    DataMismatch {
        /// The index of the event.
        event: usize,
        /// Its type.
        event_type: EventType,
        /// The part of the events that is confirmed.
        backed: BackedData,
    },
    /// An event does not have exactly one digest of a compared bank.
    DigestMissing {
        /// The index of the event.
        event: usize,
        /// Its register.
        pcr: u32,
        /// The bank.
        hash: HashAlgorithm,
    },
    /// The protection against DMA by devices is disabled.
    DmaProtectionDisabled,
    /// The firmware reported an error.
    FirmwareError {
        /// The register that shows it.
        pcr: u8,
    },
    /// The locality of PCR 0's initial value.
    Locality(u8),
    /// PCR 0 shows another startup locality than the log.
    LocalityMismatch {
        /// The locality that PCR 0 shows.
        shown: u8,
        /// The locality that the log leads to.
        supposed: u8,
    },
    /// An event has an invalid locality, or another than an earlier event.
    LocalityInconsistent {
        /// The index of the event.
        event: usize,
    },
    /// The log is complete.
    Log {
        /// The number of events.
        events: usize,
        /// Its form.
        form: &'static str,
    },
    /// The log has no extended event.
    LogEmpty,
    /// The log cannot be parsed.
    LogMalformed(TpmError),
    /// The log is followed by bytes that are not events.
    LogTrailingBytes {
        /// The number of events.
        events: usize,
        /// Its form.
        form: &'static str,
        /// The number of bytes that were not parsed.
        bytes: usize,
    },
    /// All compared registers match the log, with a list of them.
    RegistersMatched(String),
    /// The selection contains no register.
    RegistersNotChecked,
    /// Some registers do not match the log.
    RegistersUnmatched {
        /// These registers, with reasons.
        unmatched: String,
        /// The registers that match.
        matched: String,
    },
    /// The register of an event does not exist.
    RegisterUnknown {
        /// The index of the event.
        event: usize,
        /// The register's number.
        pcr: u32,
    },
    /// The state of Secure Boot.
    SecureBoot {
        /// The state.
        state: SecureBootState,
        /// Whether it must be on.
        required: bool,
        /// The names of the confirmed variables and the number of authorities, if there are any.
        variables: String,
    },
    /// A separator has invalid data.
    SeparatorMalformed {
        /// The register.
        pcr: u8,
    },
    /// A register does not have exactly one separator.
    Separators {
        /// The register.
        pcr: u8,
        /// The number of its separators.
        count: usize,
    },
    /// The size of the given values does not match the selection.
    ValuesSize {
        /// The size required by the selection, in bytes.
        expected: usize,
        /// The size given, in bytes.
        found: usize,
    },
}

/// The number of events by the part that the registers confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BackedData {
    /// All events.
    pub events: usize,
    /// Events whose data is confirmed.
    pub whole: usize,
    /// Events of which only a variable's value is confirmed.
    pub value: usize,
    /// Events of which only the digest is confirmed.
    pub digest: usize,
}

impl fmt::Display for BackedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            whole,
            value,
            digest,
        } = self;
        write!(
            f,
            "of {events} events, {whole} have data that was measured, {value} a variable's value, \
             and {digest} only a digest"
        )
    }
}

/// The state of Secure Boot, according to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecureBootState {
    /// The firmware allowed a debugger, so Secure Boot gives no protection.
    DebugMode,
    /// PCR 7 was not compared.
    NotCompared,
    /// No event confirmed by PCR 7 shows the state.
    NotReported,
    /// It is off.
    Off,
    /// It is on.
    On,
}

impl fmt::Display for SecureBootState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DebugMode => "the firmware allowed a debugger",
            Self::NotCompared => "PCR 7 was not compared",
            Self::NotReported => "not shown by any event that PCR 7 backs",
            Self::Off => "off",
            Self::On => "on",
        })
    }
}

impl Finding for EventLogFinding {
    type Check = EventLogCheck;

    fn check(&self) -> EventLogCheck {
        use EventLogCheck as C;

        match self {
            Self::Log { .. }
            | Self::LogEmpty
            | Self::LogMalformed(_)
            | Self::LogTrailingBytes { .. } => C::EventLog,
            Self::DigestMissing { .. } | Self::RegisterUnknown { .. } => C::Digests,
            Self::Locality(_)
            | Self::LocalityMismatch { .. }
            | Self::LocalityInconsistent { .. } => C::StartupLocality,
            Self::RegistersMatched(_)
            | Self::RegistersNotChecked
            | Self::RegistersUnmatched { .. }
            | Self::ValuesSize { .. } => C::Registers,
            Self::BootOrderAmbiguous
            | Self::FirmwareError { .. }
            | Self::SeparatorMalformed { .. }
            | Self::Separators { .. } => C::Separators,
            Self::Data(_) | Self::DataMismatch { .. } => C::EventData,
            Self::DmaProtectionDisabled | Self::SecureBoot { .. } => C::SecureBoot,
            Self::BankWeak(_) => C::WeakHashes,
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Data(_)
            | Self::Locality(_)
            | Self::Log { .. }
            | Self::RegistersMatched(_)
            | Self::SecureBoot {
                state: SecureBootState::On,
                ..
            } => Severity::Remark,

            Self::BootOrderAmbiguous
            | Self::DataMismatch { .. }
            | Self::DmaProtectionDisabled
            | Self::LocalityMismatch { .. }
            | Self::LogTrailingBytes { .. }
            | Self::SecureBoot {
                required: false, ..
            }
            | Self::Separators { .. } => Severity::Warning,

            Self::BankWeak(_)
            | Self::DigestMissing { .. }
            | Self::FirmwareError { .. }
            | Self::LocalityInconsistent { .. }
            | Self::LogEmpty
            | Self::LogMalformed(_)
            | Self::RegistersNotChecked
            | Self::RegistersUnmatched { .. }
            | Self::RegisterUnknown { .. }
            | Self::SecureBoot { required: true, .. }
            | Self::SeparatorMalformed { .. }
            | Self::ValuesSize { .. } => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Data(_)
            | Self::Locality(_)
            | Self::Log { .. }
            | Self::RegistersMatched(_)
            | Self::SecureBoot {
                state: SecureBootState::On,
                ..
            } => "nothing: no problem found",
            Self::BankWeak(_) => "quote banks of SHA-256, SHA-384 or SHA-512",
            Self::BootOrderAmbiguous => "compare PCR 0 as well",
            Self::DataMismatch { .. } | Self::LocalityMismatch { .. } | Self::Separators { .. } => {
                "ask the firmware's manufacturer; do not rely on the data of such events"
            }
            Self::DigestMissing { .. }
            | Self::LocalityInconsistent { .. }
            | Self::LogEmpty
            | Self::LogMalformed(_)
            | Self::LogTrailingBytes { .. }
            | Self::RegisterUnknown { .. }
            | Self::SeparatorMalformed { .. } => {
                "send the firmware's whole log, such as binary_bios_measurements, unchanged"
            }
            Self::DmaProtectionDisabled => {
                "turn the firmware's protection from DMA on, such as VT-d or the IOMMU"
            }
            Self::FirmwareError { .. } => "find out which error the firmware reported",
            Self::RegistersNotChecked | Self::ValuesSize { .. } => {
                "give the values of the quoted registers in the order of the selection"
            }
            Self::RegistersUnmatched { .. } => {
                "use log and quote of the same boot, and omit registers that others extend"
            }
            Self::SecureBoot {
                state: SecureBootState::DebugMode,
                ..
            } => "boot firmware without a debugger",
            Self::SecureBoot { .. } => "turn Secure Boot on, and quote PCR 7 as well",
        }
    }
}

impl fmt::Display for EventLogFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BankWeak(hash) => write!(f, "a compared bank is of {hash}, which is weak"),
            Self::BootOrderAmbiguous => f.write_str(
                "the boot order in PCR 1 may be a firmware error, and no other register shows that there was none",
            ),
            Self::Data(backed) => backed.fmt(f),
            Self::DataMismatch {
                event,
                event_type,
                backed,
            } => write!(
                f,
                "event {event} ({event_type}) is not what was measured; {backed}"
            ),
            Self::DigestMissing { event, pcr, hash } => {
                write!(f, "event {event} of PCR {pcr} does not have exactly one {hash} digest")
            }
            Self::DmaProtectionDisabled => f.write_str("protection from DMA is off"),
            Self::FirmwareError { pcr } => write!(f, "the firmware reported an error in PCR {pcr}"),
            Self::Locality(locality) => write!(f, "locality {locality}"),
            Self::LocalityMismatch { shown, supposed } => write!(
                f,
                "PCR 0 shows locality {shown}; the log leads to {supposed}"
            ),
            Self::LocalityInconsistent { event } => {
                write!(f, "event {event} has an invalid locality, or another than before")
            }
            Self::Log { events, form } => write!(f, "{events} events, {form}"),
            Self::LogEmpty => f.write_str("it has no extended event"),
            Self::LogMalformed(error) => error.fmt(f),
            Self::LogTrailingBytes {
                events,
                form,
                bytes,
            } => write!(
                f,
                "{events} events, {form}; {bytes} bytes after them are not events"
            ),
            Self::RegistersMatched(matched) => write!(f, "matched: {matched}"),
            Self::RegistersNotChecked => f.write_str("no register was asked for"),
            Self::RegistersUnmatched { unmatched, matched } => {
                let but = if matched.is_empty() { "none" } else { matched };
                write!(f, "the log does not lead to {unmatched}; matched: {but}")
            }
            Self::RegisterUnknown { event, pcr } => {
                write!(f, "event {event} is of PCR {pcr}, which does not exist")
            }
            Self::SecureBoot {
                state, variables, ..
            } if variables.is_empty() => state.fmt(f),
            Self::SecureBoot {
                state, variables, ..
            } => write!(f, "{state}; {variables}"),
            Self::SeparatorMalformed { pcr } => {
                write!(f, "an event of PCR {pcr} is called a separator but is not one")
            }
            Self::Separators { pcr, count: 0 } => write!(f, "PCR {pcr} has none"),
            Self::Separators { pcr, count } => write!(f, "PCR {pcr} has {count}"),
            Self::ValuesSize { expected, found } => {
                write!(f, "{found} bytes of values, not {expected}")
            }
        }
    }
}
