//! One event of a log.

use alloc::vec::Vec;
use core::fmt;

use crate::algorithm::HashAlgorithm;

/// An event: what was measured into which register, with its digests.
///
/// ```
/// use keyproof_tpm::{EventLog, HashAlgorithm};
///
/// # let mut log = [0_u32, 8].map(u32::to_le_bytes).concat();
/// # log.extend(HashAlgorithm::Sha1.digest(&[b"firmware 1"])?);
/// # log.extend([&10_u32.to_le_bytes()[..], b"firmware 1"].concat());
/// let read = EventLog::parse(&log)?; // a log with one event
/// let event = &read.events[0];
/// assert_eq!((event.pcr, event.event_type.name(), event.data), (0, Some("EV_S_CRTM_VERSION"), &b"firmware 1"[..]));
/// assert!(event.is_extended());
/// assert!(event.digest(HashAlgorithm::Sha256).is_none()); // it was measured with SHA-1 only
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEvent<'a> {
    /// Its offset in the log.
    pub at: usize,
    /// The register.
    pub pcr: u32,
    /// The type of the measured data.
    pub event_type: EventType,
    /// The hash algorithm identifiers with their digests, in log order.
    pub(super) digests: Vec<(u16, &'a [u8])>,
    /// The log's description of the event. By itself it proves nothing: see [`EventTrust`].
    pub data: &'a [u8],
}

impl<'a> LogEvent<'a> {
    /// Returns whether its digest was extended into its register. An event that was not extended is
    /// only informative.
    pub fn is_extended(&self) -> bool {
        self.event_type != EventType::NO_ACTION
    }

    /// Returns whether the measured data is a separator, whatever type the log states: four zero
    /// bytes, or four 0xff bytes if option ROMs had run before.
    pub(super) fn is_separator(&self, hash: HashAlgorithm) -> bool {
        self.measures(hash, &[0; 4]) || self.measures(hash, &[0xff; 4])
    }

    /// Returns its digest under one hash; `None` if there is none, or more than one.
    pub fn digest(&self, hash: HashAlgorithm) -> Option<&'a [u8]> {
        let mut found = self.digests.iter().filter(|(id, _)| *id == hash.id());
        match (found.next(), found.next()) {
            (Some((_, digest)), None) => Some(digest),
            _ => None,
        }
    }

    /// Returns whether its digest under `hash` is that of `measured`.
    pub(super) fn measures(&self, hash: HashAlgorithm, measured: &[u8]) -> bool {
        let digest = hash.digest(&[measured]);
        self.digest(hash)
            .is_some_and(|own| digest.is_ok_and(|digest| digest == own))
    }
}

/// The part of an event that the quoted registers confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventTrust {
    /// Nothing: the event was not extended.
    NotExtended,
    /// Nothing: its register was not compared, or does not match the log.
    Unmatched,
    /// The digest: something with this digest was measured at this position. The event data is a
    /// hint.
    Digest,
    /// The value of a UEFI variable but not its name: the digest covers only the value.
    VariableData,
    /// All of the data: the digest covers it.
    Data,
}

impl EventTrust {
    /// Returns its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotExtended => "not extended",
            Self::Unmatched => "unmatched",
            Self::Digest => "digest",
            Self::VariableData => "variable data",
            Self::Data => "data",
        }
    }
}

/// `TCG_EVENTTYPE` (TCG PC Client Platform Firmware Profile, 10.4.1).
///
/// ```
/// use keyproof_tpm::EventType;
///
/// assert_eq!(EventType::SEPARATOR.to_string(), "EV_SEPARATOR");
/// assert_eq!(EventType(0x8000_00ff).to_string(), "0x800000ff"); // not a type of the TCG's
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u32);

impl EventType {
    /// `EV_NO_ACTION`: not extended.
    pub const NO_ACTION: Self = Self(0x0000_0003);
    /// `EV_SEPARATOR`: measured by the platform firmware when it hands over.
    pub const SEPARATOR: Self = Self(0x0000_0004);
    /// `EV_EFI_VARIABLE_DRIVER_CONFIG`: a UEFI configuration variable.
    pub const EFI_VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// `EV_EFI_VARIABLE_BOOT`: a UEFI boot variable. The digest covers only its value.
    pub const EFI_VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// `EV_EFI_VARIABLE_BOOT2`: a UEFI boot variable. The digest covers its name and value.
    pub const EFI_VARIABLE_BOOT2: Self = Self(0x8000_000c);
    /// `EV_EFI_HCRTM_EVENT`: measured by hardware before the firmware ran.
    pub const EFI_HCRTM_EVENT: Self = Self(0x8000_0010);
    /// `EV_EFI_VARIABLE_AUTHORITY`: the entry of a UEFI variable that verified an image.
    pub const EFI_VARIABLE_AUTHORITY: Self = Self(0x8000_00e0);

    /// Returns the TCG's name, if there is one.
    pub fn name(self) -> Option<&'static str> {
        let found = NAMES.iter().find(|(value, _)| *value == self.0);
        found.map(|(_, name)| *name)
    }

    /// Returns whether its data is a `UEFI_VARIABLE_DATA`.
    pub(super) fn is_variable(self) -> bool {
        [
            Self::EFI_VARIABLE_DRIVER_CONFIG,
            Self::EFI_VARIABLE_BOOT,
            Self::EFI_VARIABLE_BOOT2,
            Self::EFI_VARIABLE_AUTHORITY,
        ]
        .contains(&self)
    }
}

/// Writes the TCG's name, or the number.
impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

const NAMES: [(u32, &str); 41] = [
    (0x0000_0000, "EV_PREBOOT_CERT"),
    (0x0000_0001, "EV_POST_CODE"),
    (0x0000_0002, "EV_UNUSED"),
    (0x0000_0003, "EV_NO_ACTION"),
    (0x0000_0004, "EV_SEPARATOR"),
    (0x0000_0005, "EV_ACTION"),
    (0x0000_0006, "EV_EVENT_TAG"),
    (0x0000_0007, "EV_S_CRTM_CONTENTS"),
    (0x0000_0008, "EV_S_CRTM_VERSION"),
    (0x0000_0009, "EV_CPU_MICROCODE"),
    (0x0000_000a, "EV_PLATFORM_CONFIG_FLAGS"),
    (0x0000_000b, "EV_TABLE_OF_DEVICES"),
    (0x0000_000c, "EV_COMPACT_HASH"),
    (0x0000_000d, "EV_IPL"),
    (0x0000_000e, "EV_IPL_PARTITION_DATA"),
    (0x0000_000f, "EV_NONHOST_CODE"),
    (0x0000_0010, "EV_NONHOST_CONFIG"),
    (0x0000_0011, "EV_NONHOST_INFO"),
    (0x0000_0012, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x0000_0013, "EV_POST_CODE2"),
    (0x8000_0000, "EV_EFI_EVENT_BASE"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_000d, "EV_EFI_GPT_EVENT2"),
    (0x8000_0010, "EV_EFI_HCRTM_EVENT"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
    (0x8000_00e1, "EV_EFI_SPDM_FIRMWARE_BLOB"),
    (0x8000_00e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"),
    (0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY"),
    (0x8000_00e4, "EV_EFI_SPDM_DEVICE_AUTHORITY"),
    (0x8000_00e5, "EV_EFI_SPDM_DEVICE_BLOB"),
];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn each_type_has_one_name_and_each_name_one_type() {
        for (value, name) in NAMES {
            assert_eq!(EventType(value).name(), Some(name));
            assert_eq!(EventType(value).to_string(), name);
            assert!(name.starts_with("EV_"), "{name}");
            assert_eq!(NAMES.iter().filter(|(_, other)| *other == name).count(), 1);
        }
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
        for (known, name) in [
            (EventType::NO_ACTION, "EV_NO_ACTION"),
            (EventType::SEPARATOR, "EV_SEPARATOR"),
            (
                EventType::EFI_VARIABLE_DRIVER_CONFIG,
                "EV_EFI_VARIABLE_DRIVER_CONFIG",
            ),
            (EventType::EFI_VARIABLE_BOOT, "EV_EFI_VARIABLE_BOOT"),
            (EventType::EFI_VARIABLE_BOOT2, "EV_EFI_VARIABLE_BOOT2"),
            (EventType::EFI_HCRTM_EVENT, "EV_EFI_HCRTM_EVENT"),
            (
                EventType::EFI_VARIABLE_AUTHORITY,
                "EV_EFI_VARIABLE_AUTHORITY",
            ),
        ] {
            assert_eq!(known.name(), Some(name));
        }
        assert_eq!(EventType(0x8000_00ff).name(), None);
        assert_eq!(EventType(0x8000_00ff).to_string(), "0x800000ff");
    }

    #[test]
    fn each_degree_of_trust_has_its_name() {
        let names = [
            EventTrust::NotExtended,
            EventTrust::Unmatched,
            EventTrust::Digest,
            EventTrust::VariableData,
            EventTrust::Data,
        ]
        .map(EventTrust::name);
        assert_eq!(
            names,
            [
                "not extended",
                "unmatched",
                "digest",
                "variable data",
                "data"
            ]
        );
    }
}
