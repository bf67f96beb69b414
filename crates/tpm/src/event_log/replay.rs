//! The replay of a log: the values that its events lead to in one bank.

use alloc::{vec, vec::Vec};

use super::{event::EventType, parse::EventLog};
use crate::{TpmError, algorithm::HashAlgorithm};

/// The registers of one bank after the replay of a log.
///
/// ```
/// use keyproof_tpm::{EventLog, HashAlgorithm};
///
/// # let mut log = [0_u32, 8].map(u32::to_le_bytes).concat();
/// # log.extend(HashAlgorithm::Sha1.digest(&[b"firmware 1"])?);
/// # log.extend([&10_u32.to_le_bytes()[..], b"firmware 1"].concat());
/// let replay = EventLog::parse(&log)?.replay(HashAlgorithm::Sha1, 0)?; // of a log with one event
/// let measured = HashAlgorithm::Sha1.digest(&[b"firmware 1"])?;
/// let extended = HashAlgorithm::Sha1.digest(&[&[0; 20], &measured])?;
/// assert_eq!((replay.events(0), replay.value(0)), (1, Some(&extended[..])));
/// assert_eq!((replay.events(7), replay.value(7)), (0, Some(&[0; 20][..])));
/// assert_eq!(replay.value(17), Some(&[0xff; 20][..])); // no dynamic launch
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    hash: HashAlgorithm,
    registers: Vec<Register>,
}

/// One register of a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Register {
    value: Vec<u8>,
    /// The number of events extended into it.
    events: usize,
    /// The first event without exactly one digest of the bank.
    missing_digest: Option<usize>,
}

/// The number of registers that a selection can contain.
const REGISTERS: usize = 32;

/// The registers of a dynamic launch. They are all ones before the launch (PC Client Platform TPM
/// Profile, 4.6.3), and zero when its first event is extended.
const DYNAMIC: core::ops::RangeInclusive<usize> = 17..=22;

/// The data of the `EV_NO_ACTION` event with the TPM's startup locality (PC Client Platform
/// Firmware Profile, 10.4.5.3). One byte follows.
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

impl EventLog<'_> {
    /// Replays one bank. `locality` is the initial value of PCR 0: 0, 3, or 4 after a hardware
    /// CRTM.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedHash`] if the bank's hash is not supported.
    pub fn replay(&self, hash: HashAlgorithm, locality: u8) -> Result<Replay, TpmError> {
        let size = hash.digest(&[])?.len();
        let mut registers: Vec<Register> = (0..REGISTERS)
            .map(|_| Register {
                value: vec![0; size],
                events: 0,
                missing_digest: None,
            })
            .collect();
        if let Some(last) = registers
            .first_mut()
            .and_then(|register| register.value.last_mut())
        {
            *last = locality;
        }
        for (number, event) in self.events.iter().enumerate() {
            let register = usize::try_from(event.pcr)
                .ok()
                .and_then(|index| registers.get_mut(index));
            let Some(register) = register.filter(|_| event.is_extended()) else {
                continue;
            };
            register.events = register.events.saturating_add(1);
            match event.digest(hash) {
                Some(digest) => register.value = hash.digest(&[&register.value, digest])?,
                None => register.missing_digest = register.missing_digest.or(Some(number)),
            }
        }
        for register in registers.get_mut(DYNAMIC).unwrap_or_default() {
            if register.events == 0 {
                register.value.fill(0xff);
            }
        }
        Ok(Replay { hash, registers })
    }

    /// Returns the startup locality that the log states. Fails with the index of an event that
    /// contradicts an earlier one or has an invalid locality.
    pub(super) fn startup_locality(&self) -> Result<Option<u8>, usize> {
        let mut said = None;
        for (number, event) in self.events.iter().enumerate() {
            let Some(after) = event.data.strip_prefix(STARTUP_LOCALITY) else {
                continue;
            };
            if event.is_extended() {
                continue;
            }
            match *after {
                [locality @ (0 | 3 | 4)] if said.is_none_or(|said| said == locality) => {
                    said = Some(locality);
                }
                _ => return Err(number),
            }
        }
        Ok(said)
    }

    /// Returns whether the first measurement into PCR 0 was by hardware.
    pub(super) fn begins_with_hcrtm(&self) -> bool {
        let mut own = self.events.iter().filter(|event| event.pcr == 0);
        own.find(|event| event.is_extended())
            .is_some_and(|event| event.event_type == EventType::EFI_HCRTM_EVENT)
    }
}

impl Replay {
    /// Returns the bank's hash algorithm.
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Returns the value of a register. `None` if its index is above 31, or if the log lacks a
    /// digest of it ([`missing_digest`](Self::missing_digest)): then its value is unknown.
    pub fn value(&self, index: u8) -> Option<&[u8]> {
        self.register(index)
            .filter(|register| register.missing_digest.is_none())
            .map(|register| &*register.value)
    }

    /// Returns the number of events extended into a register.
    pub fn events(&self, index: u8) -> usize {
        self.register(index).map_or(0, |register| register.events)
    }

    /// Returns the index in [`EventLog::events`] of a register's first event without exactly one
    /// digest of this bank.
    pub fn missing_digest(&self, index: u8) -> Option<usize> {
        self.register(index)?.missing_digest
    }

    fn register(&self, index: u8) -> Option<&Register> {
        self.registers.get(usize::from(index))
    }
}
