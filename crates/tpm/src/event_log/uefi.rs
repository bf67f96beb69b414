//! UEFI variables in events, in particular those of Secure Boot.

use alloc::{string::String, vec::Vec};

use super::event::{EventTrust, LogEvent};
use crate::{TpmError, algorithm::HashAlgorithm, wire::Reader};

/// A UEFI variable that was measured (`UEFI_VARIABLE_DATA`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootVariable<'a> {
    /// The index of the event in [`EventLog::events`](super::EventLog::events).
    pub event: usize,
    /// The register.
    pub pcr: u32,
    /// The vendor's GUID, in its memory byte order.
    pub vendor: [u8; 16],
    /// The name.
    pub name: String,
    /// The value.
    pub data: &'a [u8],
    /// The part of it that the quoted registers confirm.
    pub trust: EventTrust,
}

/// The state of Secure Boot, as far as PCR 7 confirms the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecureBoot<'a> {
    /// Whether it is on; `None` if no confirmed event shows it, or if a debugger was allowed.
    pub enabled: Option<bool>,
    /// Whether the firmware allowed a debugger, which can bypass Secure Boot.
    pub debug_mode: bool,
    /// Whether the protection of memory against DMA by devices is disabled.
    pub dma_protection_disabled: bool,
    /// The configuration variables, measured before the firmware handed over.
    pub variables: Vec<BootVariable<'a>>,
    /// The variables measured after that: the authorities that verified images, as their measurer
    /// reports.
    pub authorities: Vec<BootVariable<'a>>,
}

/// `EFI_GLOBAL_VARIABLE` (UEFI Specification, 3.3), the vendor of `SecureBoot` and `BootOrder`.
pub(super) const GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];

/// The PCR of Secure Boot's configuration.
pub(super) const SECURE_BOOT_PCR: u32 = 7;

/// The data that firmware measures into that PCR before it allows a debugger, and when it leaves
/// memory open to DMA (PC Client Platform Firmware Profile, 3.3.4.8).
const DEBUG_MODE: &[u8] = b"UEFI Debug Mode";
const DMA_PROTECTION_DISABLED: &[u8] = b"DMA Protection Disabled";

/// The maximum length of a name, in UTF-16 code units.
const MAX_NAME: usize = 1024;

impl<'a> BootVariable<'a> {
    /// Returns the variable in an event's data, if there is one.
    pub(super) fn of(number: usize, event: &LogEvent<'a>, trust: EventTrust) -> Option<Self> {
        let (vendor, name, data) = read_variable(event.data).ok()?;
        Some(BootVariable {
            event: number,
            pcr: event.pcr,
            vendor,
            name,
            data,
            trust,
        })
    }
}

impl<'a> SecureBoot<'a> {
    /// Evaluates the events of PCR 7. `trust` belongs to `events`, under the bank of `hash`.
    ///
    /// No digest covers the *type* that the log states, so only the measured data counts. Events
    /// before the separator's digest come from the firmware. Unless each of them is a variable whose
    /// measurement covers its data, a variable may be hidden among them, and the state is unknown.
    pub(super) fn of(events: &[LogEvent<'a>], trust: &[EventTrust], hash: HashAlgorithm) -> Self {
        let mut found = SecureBoot::default();
        let mut handed_over = false;
        let mut is_all_known = true;
        for (number, (event, trust)) in events.iter().zip(trust).enumerate() {
            let is_backed = !matches!(trust, EventTrust::NotExtended | EventTrust::Unmatched);
            if event.pcr != SECURE_BOOT_PCR || !is_backed {
                continue;
            }
            if event.is_separator(hash) {
                handed_over = true;
                continue;
            }
            if event.measures(hash, DEBUG_MODE) {
                found.debug_mode = true;
                continue;
            }
            if event.measures(hash, DMA_PROTECTION_DISABLED) {
                found.dma_protection_disabled = true;
                continue;
            }
            let variable = BootVariable::of(number, event, *trust);
            match variable.filter(|_| *trust == EventTrust::Data) {
                Some(variable) if handed_over => found.authorities.push(variable),
                Some(variable) => found.variables.push(variable),
                None => is_all_known &= handed_over,
            }
        }
        if handed_over && is_all_known && !found.debug_mode {
            found.enabled = enabled(&found.variables);
        }
        found
    }
}

/// Returns whether the variables show that it is on; `None` if they are missing or contradictory.
fn enabled(variables: &[BootVariable<'_>]) -> Option<bool> {
    let mut said = variables
        .iter()
        .filter(|variable| variable.name == "SecureBoot" && variable.vendor == GLOBAL_VARIABLE)
        .map(|variable| match variable.data {
            [1] => Some(true),
            // If the variable does not exist, the firmware measures an empty value.
            [0] | [] => Some(false),
            _ => None,
        });
    let first = said.next()??;
    said.all(|other| other == Some(first)).then_some(first)
}

/// Parses a `UEFI_VARIABLE_DATA` (PC Client Platform Firmware Profile, 10.2.6) that fills `data`.
pub(super) fn read_variable(data: &[u8]) -> Result<([u8; 16], String, &[u8]), TpmError> {
    let mut reader = Reader::new(data);
    let mut vendor = [0; 16];
    vendor.copy_from_slice(reader.take(16)?);
    let at = reader.at();
    let name_size = usize::try_from(reader.u64_le()?).unwrap_or(usize::MAX);
    let data_size = usize::try_from(reader.u64_le()?).unwrap_or(usize::MAX);
    if name_size > MAX_NAME {
        return Err(TpmError::WrongSize {
            at,
            found: name_size,
            what: "UnicodeNameLength",
        });
    }
    let units: Vec<u16> = reader
        .take(name_size.saturating_mul(2))?
        .chunks_exact(2)
        .map(|unit| {
            unit.iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u16::from(*byte))
        })
        .collect();
    let value = reader.take(data_size)?;
    reader.finish()?;
    // Some firmware includes the terminating NUL in the name.
    let name = String::from_utf16_lossy(&units);
    Ok((vendor, name.trim_end_matches('\0').into(), value))
}
