//! One event of a log.

use alloc::vec::Vec;
use core::fmt;

use crate::algorithm::HashAlgorithm;

/// One event: what was measured, into which register, with which digests.
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
/// assert!(event.digest(HashAlgorithm::Sha256).is_none()); // it was measured with SHA-1 alone
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent<'a> {
    /// Where in the log it begins.
    pub at: usize,
    /// The register.
    pub pcr: u32,
    /// What was measured.
    pub event_type: EventType,
    /// The numbers of the hash algorithms, and the digest by each, in the log's order.
    pub(super) digests: Vec<(u16, &'a [u8])>,
    /// What the log says about it. Worth nothing by itself: see [`EventTrust`].
    pub data: &'a [u8],
}

impl<'a> LogEvent<'a> {
    /// Whether its digest was extended into its register; what was not is a remark of the firmware's.
    pub fn is_extended(&self) -> bool {
        self.event_type != EventType::NO_ACTION
    }

    /// Whether what was measured is a separator, whatever the log calls it: four zeros, or four ones where
    /// option ROMs had run before.
    pub(super) fn is_separator(&self, hash: HashAlgorithm) -> bool {
        self.measures(hash, &[0; 4]) || self.measures(hash, &[0xff; 4])
    }

    /// Its digest by one hash; `None` if there is none, or more than one.
    pub fn digest(&self, hash: HashAlgorithm) -> Option<&'a [u8]> {
        let mut found = self.digests.iter().filter(|(id, _)| *id == hash.id());
        match (found.next(), found.next()) {
            (Some((_, digest)), None) => Some(digest),
            _ => None,
        }
    }

    /// Whether its digest by `hash` is that of `measured`.
    pub(super) fn measures(&self, hash: HashAlgorithm, measured: &[u8]) -> bool {
        let digest = hash.digest(&[measured]);
        self.digest(hash)
            .is_some_and(|own| digest.is_ok_and(|digest| digest == own))
    }
}

/// How much of an event is backed by the quoted registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventTrust {
    /// Nothing: it was not extended.
    NotExtended,
    /// Nothing: its register was not compared, or has another value than the log leads to.
    Unmatched,
    /// That something with this digest was measured in its place. What the log says about it is a hint.
    Digest,
    /// Of a UEFI variable, its value, but not its name: the digest is that of the value alone.
    VariableData,
    /// All of it: the digest is that of the data.
    Data,
}

impl EventTrust {
    /// Its name in reports.
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
/// assert_eq!(EventType(0x8000_00ff).to_string(), "0x800000ff"); // none of the TCG's
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u32);

impl EventType {
    /// `EV_NO_ACTION`: not extended.
    pub const NO_ACTION: Self = Self(0x0000_0003);
    /// `EV_SEPARATOR`: what the platform firmware measures as it hands over.
    pub const SEPARATOR: Self = Self(0x0000_0004);
    /// `EV_EFI_VARIABLE_DRIVER_CONFIG`: a UEFI variable that configures.
    pub const EFI_VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// `EV_EFI_VARIABLE_BOOT`: a UEFI variable of the boot order; its digest is of the value alone.
    pub const EFI_VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// `EV_EFI_VARIABLE_BOOT2`: the same, its digest of name and value.
    pub const EFI_VARIABLE_BOOT2: Self = Self(0x8000_000c);
    /// `EV_EFI_HCRTM_EVENT`: measured by hardware before the firmware ran.
    pub const EFI_HCRTM_EVENT: Self = Self(0x8000_0010);
    /// `EV_EFI_VARIABLE_AUTHORITY`: the entry of a UEFI variable that an image was verified by.
    pub const EFI_VARIABLE_AUTHORITY: Self = Self(0x8000_00e0);

    /// The TCG's name, if it is one of the TCG's.
    pub fn name(self) -> Option<&'static str> {
        let found = NAMES.iter().find(|(value, _)| *value == self.0);
        found.map(|(_, name)| *name)
    }

    /// Whether its data is a `UEFI_VARIABLE_DATA`.
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

/// The TCG's name, or the number.
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
