//! What is asked of an event log, and what can be found.

use alloc::string::String;
use core::fmt;

use keyproof_x509::{Finding, Severity, checks};

use super::event::EventType;
use crate::{TpmError, algorithm::HashAlgorithm};

checks! {
    /// The checks of an event log, in the order of reports.
    #[non_exhaustive]
    pub EventLogCheck {
        /// `event-log`: it is a whole log in one of the TCG's two forms, with at least one event that was
        /// extended.
        EventLog = "event-log", "it is a whole log";
        /// `digests`: each event of a compared register has one digest of each compared bank, and no event
        /// is of a register that there is none of.
        Digests = "digests", "each event has one of each compared bank";
        /// `startup-locality`: the log says at most one locality that the TPM was started at, and PCR 0
        /// begins with it; a warning if PCR 0 shows another.
        StartupLocality = "startup-locality", "PCR 0 begins with it";
        /// `registers`: each compared register has the value that the log leads to.
        Registers = "registers", "all are matched";
        /// `separators`: in PCR 0 to 7 the firmware handed over without an error; a warning if a register
        /// has no separator or several, or if a boot order has the bytes of an error and no other register shows
        /// that there was none.
        Separators = "separators", "one in each, in order";
        /// `event-data`: events whose digest should be that of their data are so; else a warning, as some
        /// firmware errs here. Such data is a hint at most.
        EventData = "event-data", "it is what was measured";
        /// `secure-boot`: Secure Boot is on, and the firmware allowed no debugger; if it need not be, a warning where it is off
        /// or not told. A warning where devices may reach memory by themselves.
        SecureBoot = "secure-boot", "on";
        /// `weak-hashes`: no compared bank is of a weak hash.
        WeakHashes = "weak-hashes", "no hash is weak";
    }
}

/// Something that the check of an event log found. Events are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventLogFinding {
    /// A compared bank is of a weak hash.
    BankWeak(HashAlgorithm),
    /// What the log calls the boot order has the four bytes of a firmware's error, and no other register shows that there was
    /// none.
    BootOrderUnclear,
    /// How much of the events is backed by the registers.
    Data(BackedData),
    /// An event's data is not what was measured.
    DataOdd {
        /// Which event.
        event: usize,
        /// Of which type.
        event_type: EventType,
        /// How much is backed all the same.
        backed: BackedData,
    },
    /// An event has not one digest of a compared bank.
    DigestMissing {
        /// Which event.
        event: usize,
        /// Of which register.
        pcr: u32,
        /// Of which bank.
        hash: HashAlgorithm,
    },
    /// Devices may reach memory by themselves: protection from DMA is off.
    DmaProtectionDisabled,
    /// The firmware met an error.
    FirmwareError {
        /// As this register says.
        pcr: u8,
    },
    /// The locality that PCR 0 begins with.
    Locality(u8),
    /// PCR 0 begins with another locality than the log leads to.
    LocalityOther {
        /// The one that PCR 0 shows.
        shown: u8,
        /// The one that the log leads to.
        supposed: u8,
    },
    /// An event names no locality, or another than before.
    LocalityUnclear {
        /// Which event.
        event: usize,
    },
    /// The log.
    Log {
        /// How many events it has.
        events: usize,
        /// Its form.
        form: &'static str,
    },
    /// The log has a head alone.
    LogEmpty,
    /// The log cannot be read.
    LogMalformed(TpmError),
    /// Bytes behind the log are none of its events.
    LogUnread {
        /// How many events it has.
        events: usize,
        /// Its form.
        form: &'static str,
        /// How many bytes.
        bytes: usize,
    },
    /// All compared registers have the value that the log leads to; which they are.
    RegistersMatched(String),
    /// No register was asked for.
    RegistersNone,
    /// Registers have another value.
    RegistersUnmatched {
        /// Which, and why.
        unmatched: String,
        /// Which are matched.
        matched: String,
    },
    /// An event is of a register that there is none of.
    RegisterUnknown {
        /// Which event.
        event: usize,
        /// The register's number.
        pcr: u32,
    },
    /// Whether Secure Boot is on.
    SecureBoot {
        /// What the log tells of it.
        state: SecureBootState,
        /// Whether it must be.
        required: bool,
        /// The variables and how many authorities were told, if any could be.
        variables: String,
    },
    /// A separator separates nothing.
    SeparatorMalformed {
        /// Of this register.
        pcr: u8,
    },
    /// A register has not one separator.
    Separators {
        /// Which register.
        pcr: u8,
        /// How many it has.
        count: usize,
    },
    /// The values are not as many as were asked for.
    ValuesSize {
        /// The bytes of the selection.
        expected: usize,
        /// The bytes given.
        found: usize,
    },
}

/// How much of the events is backed by the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackedData {
    /// How many events there are.
    pub events: usize,
    /// How many say what was measured.
    pub whole: usize,
    /// How many say the value of a variable.
    pub value: usize,
    /// How many say a digest alone.
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
            "of {events} events, {whole} say what was measured, {value} the value of a variable, \
             and {digest} a digest alone"
        )
    }
}

/// What a log tells of Secure Boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecureBootState {
    /// The firmware allowed a debugger, so that it does not matter whether it is on.
    DebugMode,
    /// PCR 7 was not compared.
    NotCompared,
    /// No event that PCR 7 backs tells it.
    NotTold,
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
            Self::NotTold => "not told by an event that PCR 7 backs",
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
            Self::Log { .. } | Self::LogEmpty | Self::LogMalformed(_) | Self::LogUnread { .. } => {
                C::EventLog
            }
            Self::DigestMissing { .. } | Self::RegisterUnknown { .. } => C::Digests,
            Self::Locality(_) | Self::LocalityOther { .. } | Self::LocalityUnclear { .. } => {
                C::StartupLocality
            }
            Self::RegistersMatched(_)
            | Self::RegistersNone
            | Self::RegistersUnmatched { .. }
            | Self::ValuesSize { .. } => C::Registers,
            Self::BootOrderUnclear
            | Self::FirmwareError { .. }
            | Self::SeparatorMalformed { .. }
            | Self::Separators { .. } => C::Separators,
            Self::Data(_) | Self::DataOdd { .. } => C::EventData,
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

            Self::BootOrderUnclear
            | Self::DataOdd { .. }
            | Self::DmaProtectionDisabled
            | Self::LocalityOther { .. }
            | Self::LogUnread { .. }
            | Self::SecureBoot {
                required: false, ..
            }
            | Self::Separators { .. } => Severity::Warning,

            Self::BankWeak(_)
            | Self::DigestMissing { .. }
            | Self::FirmwareError { .. }
            | Self::LocalityUnclear { .. }
            | Self::LogEmpty
            | Self::LogMalformed(_)
            | Self::RegistersNone
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
            } => "nothing: all is well",
            Self::BankWeak(_) => "quote banks of SHA-256, SHA-384 or SHA-512",
            Self::BootOrderUnclear => "compare PCR 0 as well",
            Self::DataOdd { .. } | Self::LocalityOther { .. } | Self::Separators { .. } => {
                "ask the firmware's maker; do not rely on what such events say"
            }
            Self::DigestMissing { .. }
            | Self::LocalityUnclear { .. }
            | Self::LogEmpty
            | Self::LogMalformed(_)
            | Self::LogUnread { .. }
            | Self::RegisterUnknown { .. }
            | Self::SeparatorMalformed { .. } => {
                "send the firmware's whole log, such as binary_bios_measurements, as it is"
            }
            Self::DmaProtectionDisabled => {
                "turn the firmware's protection from DMA on, such as VT-d or the IOMMU"
            }
            Self::FirmwareError { .. } => "find out what the firmware met",
            Self::RegistersNone | Self::ValuesSize { .. } => {
                "give the values of the quoted registers in the order of the selection"
            }
            Self::RegistersUnmatched { .. } => {
                "take log and quote of one boot, and leave registers out that others extend"
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
            Self::BootOrderUnclear => f.write_str(
                "the boot order of PCR 1 may be a firmware's error, and no other register shows that there was none",
            ),
            Self::Data(backed) => backed.fmt(f),
            Self::DataOdd {
                event,
                event_type,
                backed,
            } => write!(
                f,
                "event {event} ({event_type}) is not what was measured; {backed}"
            ),
            Self::DigestMissing { event, pcr, hash } => {
                write!(f, "event {event} of PCR {pcr} has not one digest of {hash}")
            }
            Self::DmaProtectionDisabled => f.write_str("protection from DMA is off"),
            Self::FirmwareError { pcr } => write!(f, "the firmware met an error, says PCR {pcr}"),
            Self::Locality(locality) => write!(f, "locality {locality}"),
            Self::LocalityOther { shown, supposed } => write!(
                f,
                "locality {shown}, as PCR 0 shows; the log leads to {supposed}"
            ),
            Self::LocalityUnclear { event } => {
                write!(f, "event {event} names no locality, or another than before")
            }
            Self::Log { events, form } => write!(f, "{events} events, {form}"),
            Self::LogEmpty => f.write_str("it has no event that was extended: only a head"),
            Self::LogMalformed(error) => error.fmt(f),
            Self::LogUnread {
                events,
                form,
                bytes,
            } => write!(
                f,
                "{events} events, {form}; {bytes} bytes after it are none"
            ),
            Self::RegistersMatched(matched) => write!(f, "matched: {matched}"),
            Self::RegistersNone => f.write_str("no register was asked for"),
            Self::RegistersUnmatched { unmatched, matched } => {
                let but = if matched.is_empty() { "none" } else { matched };
                write!(f, "the log does not lead to {unmatched}; matched: {but}")
            }
            Self::RegisterUnknown { event, pcr } => {
                write!(f, "event {event} is of PCR {pcr}, which there is none of")
            }
            Self::SecureBoot {
                state, variables, ..
            } if variables.is_empty() => state.fmt(f),
            Self::SecureBoot {
                state, variables, ..
            } => write!(f, "{state}; {variables}"),
            Self::SeparatorMalformed { pcr } => {
                write!(f, "a separator of PCR {pcr} separates nothing")
            }
            Self::Separators { pcr, count: 0 } => write!(f, "PCR {pcr} has none"),
            Self::Separators { pcr, count } => write!(f, "PCR {pcr} has {count}"),
            Self::ValuesSize { expected, found } => {
                write!(f, "{found} bytes of values, not {expected}")
            }
        }
    }
}
