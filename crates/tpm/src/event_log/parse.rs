//! Parsing of both log formats (TCG PC Client Platform Firmware Profile, 10.2): SHA-1 only, and
//! crypto-agile, which begins with a header that lists its banks. All numbers are little-endian.

use alloc::vec::Vec;

use super::event::{EventType, LogEvent};
use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    wire::{MAX_DIGEST, Reader},
};

/// A parsed event log (TCG PC Client Platform Firmware Profile, 10.2).
///
/// Parsing and replaying verify nothing: anyone can write a log, and [`EventLog::replay`] returns
/// the values to which it leads. [`check_event_log`](super::check_event_log) compares them with
/// quoted registers.
///
/// ```
/// use keyproof_tpm::{EventLog, EventLogFormat, HashAlgorithm};
///
/// // The TCG's older form: register, type, SHA-1 digest, length and data of each event.
/// let mut log = [0_u32, 8].map(u32::to_le_bytes).concat();
/// log.extend(HashAlgorithm::Sha1.digest(&[b"firmware 1"])?);
/// log.extend([&10_u32.to_le_bytes()[..], b"firmware 1"].concat());
/// let read = EventLog::parse(&log)?;
/// assert_eq!((read.form, read.events.len()), (EventLogFormat::Sha1, 1));
/// let replayed = read.replay(HashAlgorithm::Sha1, 0)?;
/// assert_eq!((replayed.events(0), replayed.value(0).map(<[u8]>::len)), (1, Some(20)));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLog<'a> {
    /// The form of the log.
    pub form: EventLogFormat,
    /// The hash algorithm identifiers of the banks and their digest sizes, from the header.
    banks: Vec<(u16, usize)>,
    /// The events, without the header.
    pub events: Vec<LogEvent<'a>>,
    /// The number of padding bytes (zeros or ones) after the last event.
    pub padding: usize,
    /// The number of bytes that were not parsed, beginning with an all-zero event, which ends a
    /// log.
    pub unread: usize,
}

/// The format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventLogFormat {
    /// `TCG_PCR_EVENT2` after a `TCG_EfiSpecIDEvent`: one digest per bank.
    CryptoAgile,
    /// `TCG_PCR_EVENT`: SHA-1 only.
    Sha1,
}

impl EventLogFormat {
    /// Returns its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::CryptoAgile => "crypto-agile",
            Self::Sha1 => "SHA-1",
        }
    }

    /// Returns the minimum size of an event, in bytes.
    fn shortest_event(self) -> usize {
        match self {
            Self::CryptoAgile => 16,
            Self::Sha1 => 32,
        }
    }
}

/// The first bytes of a crypto-agile log's header data.
const SPEC_ID_EVENT_03: &[u8] = b"Spec ID Event03\0";

/// Exceeds the banks of any TPM and the digests of any event.
const MAX_BANKS: u32 = 16;

/// Exceeds the events of any boot, which are some thousands.
const MAX_EVENTS: usize = 1 << 16;

impl<'a> EventLog<'a> {
    /// Parses a log, which may be followed by padding of zeros or ones.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnexpectedEnd`] for a log that ends within an event;
    /// [`TpmError::UnknownSelector`] for a digest whose size is neither in the header nor defined
    /// by the TCG; [`TpmError::WrongSize`] for more than 65,536 events, no bank, more than 16 banks
    /// or digests, or a digest size that does not match its algorithm.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let (head, outside) = EventLog::of_head(&mut reader)?;
        let behind = reader.clone().skipped(outside);
        let read = head.clone().with_events(bytes, reader);
        match (read, behind) {
            // Some headers count vendor data that is stored after their declared size.
            (Err(error), Some(behind)) if outside > 0 => {
                head.with_events(bytes, behind).map_err(|_| error)
            }
            (read, _) => read,
        }
    }

    /// Returns the log with the events at `reader`, which reads from `bytes`.
    fn with_events(mut self, bytes: &'a [u8], mut reader: Reader<'a>) -> Result<Self, TpmError> {
        let padding_at = padding_at(bytes);
        loop {
            let at = reader.at();
            if at >= padding_at || at == bytes.len() {
                self.padding = bytes.len().saturating_sub(at);
                return Ok(self);
            }
            if is_end(&reader, self.form) {
                self.unread = bytes.len().saturating_sub(at);
                return Ok(self);
            }
            if self.events.len() >= MAX_EVENTS {
                return Err(TpmError::WrongSize {
                    at,
                    found: self.events.len(),
                    what: "event log",
                });
            }
            let event = match self.form {
                EventLogFormat::CryptoAgile => read_event_2(&mut reader, &self.banks)?,
                EventLogFormat::Sha1 => read_event(&mut reader)?,
            };
            self.events.push(event);
        }
    }

    /// Returns the banks that the log states. Banks with unknown hashes are omitted.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> {
        self.banks
            .iter()
            .filter_map(|(id, _)| HashAlgorithm::from_id(*id))
    }

    /// Returns an empty log in the form that the first event determines. Consumes the header of a
    /// crypto-agile log; the header of a SHA-1 log is an ordinary event that is not extended. Also
    /// returns the number of vendor bytes that the header counts beyond its size.
    fn of_head(reader: &mut Reader<'a>) -> Result<(Self, usize), TpmError> {
        let sha1 = EventLog {
            form: EventLogFormat::Sha1,
            banks: [(HashAlgorithm::Sha1.id(), HashAlgorithm::Sha1.digest_size())].into(),
            events: Vec::new(),
            padding: 0,
            unread: 0,
        };
        let mut ahead = reader.clone();
        let Ok(head) = read_event(&mut ahead) else {
            return Ok((sha1, 0));
        };
        let is_head = !head.is_extended() && head.data.starts_with(SPEC_ID_EVENT_03);
        if !is_head {
            return Ok((sha1, 0));
        }
        let before_data = ahead.at().saturating_sub(head.data.len());
        let (banks, outside) =
            read_spec_id(head.data).map_err(|error| error.moved_by(before_data))?;
        *reader = ahead;
        let agile = EventLog {
            form: EventLogFormat::CryptoAgile,
            banks,
            ..sha1
        };
        Ok((agile, outside))
    }
}

/// Returns the offset of the zeros or ones at the end of `bytes`, which usually is within the last
/// event.
fn padding_at(bytes: &[u8]) -> usize {
    let Some(last @ (0x00 | 0xff)) = bytes.last() else {
        return bytes.len();
    };
    let other = bytes.iter().rposition(|byte| byte != last);
    other.map_or(0, |other| other.saturating_add(1))
}

/// Returns whether an all-zero event is next.
fn is_end(reader: &Reader<'_>, form: EventLogFormat) -> bool {
    let next = reader.clone().take(form.shortest_event());
    next.is_ok_and(|next| next.iter().all(|byte| *byte == 0))
}

/// Parses the banks of a `TCG_EfiSpecIDEvent`. The vendor data after them may be missing or
/// truncated; also returns how many bytes of it are missing.
fn read_spec_id(data: &[u8]) -> Result<(Vec<(u16, usize)>, usize), TpmError> {
    let mut reader = Reader::new(data);
    reader.take(SPEC_ID_EVENT_03.len())?;
    // platformClass, three version numbers, and the size of UINTN.
    reader.take(8)?;
    let at = reader.at();
    let count = reader.u32_le()?;
    if !(1..=MAX_BANKS).contains(&count) {
        return Err(too_many(at, count));
    }
    let mut banks: Vec<(u16, usize)> = Vec::new();
    for _ in 0..count {
        let at = reader.at();
        let (id, size) = (reader.u16_le()?, usize::from(reader.u16_le()?));
        let known = HashAlgorithm::from_id(id).map(HashAlgorithm::digest_size);
        let is_sound = known.map_or((1..=MAX_DIGEST).contains(&size), |known| known == size);
        if !is_sound || banks.iter().any(|(earlier, _)| *earlier == id) {
            return Err(TpmError::WrongSize {
                at,
                found: size,
                what: "TCG_EfiSpecIdEventAlgorithmSize",
            });
        }
        banks.push((id, size));
    }
    let vendor_size = reader.u8().map_or(0, usize::from);
    let outside = vendor_size.saturating_sub(reader.remainder().len());
    Ok((banks, outside))
}

/// Reads a `TCG_PCR_EVENT`.
fn read_event<'a>(reader: &mut Reader<'a>) -> Result<LogEvent<'a>, TpmError> {
    let at = reader.at();
    let (pcr, event_type) = (reader.u32_le()?, EventType(reader.u32_le()?));
    let digest = reader.take(HashAlgorithm::Sha1.digest_size())?;
    Ok(LogEvent {
        at,
        pcr,
        event_type,
        digests: [(HashAlgorithm::Sha1.id(), digest)].into(),
        data: read_data(reader)?,
    })
}

/// Reads a `TCG_PCR_EVENT2`. A digest may be of a bank that is not in the header.
fn read_event_2<'a>(
    reader: &mut Reader<'a>,
    banks: &[(u16, usize)],
) -> Result<LogEvent<'a>, TpmError> {
    let at = reader.at();
    let (pcr, event_type) = (reader.u32_le()?, EventType(reader.u32_le()?));
    let count_at = reader.at();
    let count = reader.u32_le()?;
    if count > MAX_BANKS {
        return Err(too_many(count_at, count));
    }
    let mut digests = Vec::new();
    for _ in 0..count {
        let at = reader.at();
        let id = reader.u16_le()?;
        let announced = banks.iter().find(|(bank, _)| *bank == id);
        let size = announced
            .map(|(_, size)| *size)
            .or_else(|| HashAlgorithm::from_id(id).map(HashAlgorithm::digest_size))
            .ok_or(TpmError::UnknownSelector {
                at,
                value: id.into(),
                what: "TPMI_ALG_HASH",
            })?;
        digests.push((id, reader.take(size)?));
    }
    Ok(LogEvent {
        at,
        pcr,
        event_type,
        digests,
        data: read_data(reader)?,
    })
}

fn read_data<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], TpmError> {
    let at = reader.at();
    let size = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
    // The error refers to the size field, which may be the wrong part.
    reader
        .take(size)
        .map_err(|_| TpmError::UnexpectedEnd { at })
}

fn too_many(at: usize, count: u32) -> TpmError {
    TpmError::WrongSize {
        at,
        found: usize::try_from(count).unwrap_or(usize::MAX),
        what: "number of digests",
    }
}
