//! The history of a device's attestations: the results, the PCR values, and the event log entries of PCRs whose values
//! changed.

use data_encoding::HEXLOWER;
use keyproof_store::Timestamp;
use keyproof_tpm::{EventLog, HashAlgorithm, ReplayedLog};
use serde::{Deserialize, Serialize};

use super::{LearntRegister, PcrPolicy, identity::Device};

/// How many attestations of a device are stored.
const REMEMBERED: usize = 16;

/// How many event log entries are stored for one attestation, shared evenly by its PCRs.
const EVENTS: usize = 64;

/// The longest stored text of an event, in characters.
const LONGEST_HINT: usize = 80;

/// The shortest text that is recognised in an event's data, in characters.
const SHORTEST_HINT: usize = 4;

/// The result of an attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// When it was evaluated.
    pub at: Timestamp,
    /// The name of the category.
    pub category: String,
    /// The Name of the AK, in hex.
    pub ak: String,
    /// The PCRs that were to be quoted.
    pub selection: String,
    /// Whether it was accepted.
    pub accepted: bool,
    /// The checks that failed or warned, one line each.
    pub told: Vec<String>,
    /// The PCR values; unknown in records of earlier releases.
    #[serde(default)]
    pub registers: Registers,
    /// The event log entries of PCRs whose values changed; empty without a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<LoggedEvent>,
}

/// The PCR values of an attestation, if the AK has signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registers {
    /// No values were sent, or they do not match the quote.
    #[default]
    Unknown,
    /// The same values as at the last attestation at which they are known. Only used in the store.
    Same,
    /// The values.
    Values(Vec<LearntRegister>),
}

/// An event log entry of a PCR whose value changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// The name of the PCR bank.
    pub bank: String,
    /// The PCR's index.
    pub index: u8,
    /// The event type: its TCG name, or a number.
    pub kind: String,
    /// The digest that was extended, in lower-case hexadecimal.
    pub digest: String,
    /// How far the PCRs confirm the event, as a name of [`keyproof_tpm::EventTrust`].
    pub backed: String,
    /// Text found in the event's data, if any. It is only a hint where the PCRs do not confirm it.
    pub hint: String,
}

/// A PCR's bank name and index.
pub(super) type RegisterName = (String, u8);

impl Device {
    /// Adds an attestation to the history.
    pub(super) fn remember(&mut self, mut verdict: Verdict) {
        if matches!(&verdict.registers, Registers::Values(values) if self.last_values() == Some(values))
        {
            verdict.registers = Registers::Same;
        }
        let over = (self.attestations.len() + 1).saturating_sub(REMEMBERED);
        let gone = self.attestations.drain(..over);
        let known = gone.fold(None, |known, gone| match gone.registers {
            Registers::Values(values) => Some(values),
            Registers::Same | Registers::Unknown => known,
        });
        self.attestations.push(verdict);
        // If the values that `Same` refers to are dropped, store them with the first such entry.
        let mut kept = self.attestations.iter_mut();
        let first = kept.find(|kept| kept.registers != Registers::Unknown);
        if let (Some(values), Some(first)) = (known, first)
            && first.registers == Registers::Same
        {
            first.registers = Registers::Values(values);
        }
    }

    /// Returns the last known PCR values.
    fn last_values(&self) -> Option<&Vec<LearntRegister>> {
        let mut latest = self.attestations.iter().rev();
        latest.find_map(|verdict| match &verdict.registers {
            Registers::Values(values) => Some(values),
            Registers::Same | Registers::Unknown => None,
        })
    }

    /// Returns the quoted PCRs whose values differ from the last known, the learnt or the expected ones.
    pub(super) fn changed(
        &self,
        quoted: &[LearntRegister],
        policy: &PcrPolicy,
    ) -> Vec<RegisterName> {
        let of = |known: &[LearntRegister], register: &LearntRegister| {
            let mut known = known.iter();
            let known =
                known.find(|known| (&known.bank, known.index) == (&register.bank, register.index));
            known.is_some_and(|known| known.value != register.value)
        };
        let differs = |register: &&LearntRegister| {
            let is_learnt = self.learnt.as_ref().filter(|_| *policy == PcrPolicy::Learn);
            let known = [self.last_values(), is_learnt];
            let is_unexpected = match policy {
                PcrPolicy::Expected(expected) => expected.iter().any(|expected| {
                    (&expected.bank, expected.index) == (&register.bank, register.index)
                        && !expected.values.contains(&register.value)
                }),
                PcrPolicy::Any | PcrPolicy::Learn => false,
            };
            is_unexpected || known.into_iter().flatten().any(|known| of(known, register))
        };
        let changed = quoted.iter().filter(differs);
        changed
            .map(|register| (register.bank.clone(), register.index))
            .collect()
    }

    /// Returns the history with the values filled in for [`Registers::Same`].
    pub(super) fn history(self) -> Vec<Verdict> {
        let mut known: Option<Vec<LearntRegister>> = None;
        let all = self.attestations.into_iter();
        all.map(|mut verdict| {
            match &verdict.registers {
                Registers::Unknown => {}
                Registers::Values(values) => known = Some(values.clone()),
                Registers::Same => {
                    let same = known.clone();
                    verdict.registers = same.map_or(Registers::Unknown, Registers::Values);
                }
            }
            verdict
        })
        .collect()
    }
}

/// Returns the event log entries for these PCRs.
pub(super) fn events_of(
    replayed: &ReplayedLog<'_>,
    registers: &[RegisterName],
) -> Vec<LoggedEvent> {
    let Some(EventLog { events, .. }) = &replayed.log else {
        return Vec::new();
    };
    let share = EVENTS / registers.len().clamp(1, EVENTS);
    let mut told = Vec::new();
    for (bank, index) in registers.iter().take(EVENTS) {
        let Some(hash) = HashAlgorithm::from_name(bank) else {
            continue;
        };
        let own = events.iter().zip(&replayed.trust);
        let own = own.filter(|(event, _)| event.pcr == u32::from(*index) && event.is_extended());
        told.extend(own.take(share).map(|(event, trust)| LoggedEvent {
            bank: bank.clone(),
            index: *index,
            kind: event.event_type.to_string(),
            digest: HEXLOWER.encode(event.digest(hash).unwrap_or_default()),
            backed: trust.name().to_owned(),
            hint: hint(event.data),
        }));
    }
    told
}

/// Returns the longest text in an event's data, as ASCII or UTF-16.
fn hint(data: &[u8]) -> String {
    let narrow = data.iter().copied().map(u16::from);
    let (even, odd) = (data, data.get(1..).unwrap_or_default());
    let wide = [even, odd].map(|data| {
        let (pairs, _) = data.as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_le_bytes(*pair))
    });
    let [even, odd] = wide;
    let texts = [longest(narrow), longest(even), longest(odd)];
    let longest = texts
        .into_iter()
        .max_by_key(String::len)
        .unwrap_or_default();
    if longest.len() < SHORTEST_HINT {
        String::new()
    } else {
        longest
    }
}

/// Returns the longest run of printable ASCII among these units, cut to [`LONGEST_HINT`].
fn longest(units: impl Iterator<Item = u16>) -> String {
    let (mut longest, mut run) = (String::new(), String::new());
    for unit in units {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => {
                if run.len() < LONGEST_HINT {
                    run.push(char::from(byte));
                }
            }
            _ => run.clear(),
        }
        if run.len() > longest.len() {
            longest.clone_from(&run);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::{super::testing::device, *};
    use crate::device_identity::ExpectedRegister;

    fn values(value: &str) -> Vec<LearntRegister> {
        [(0, "same"), (7, value)]
            .map(|(index, value)| LearntRegister {
                bank: "sha256".to_owned(),
                index,
                value: value.to_owned(),
            })
            .to_vec()
    }

    fn verdict(at: u64, registers: Registers) -> Verdict {
        Verdict {
            at: Timestamp::from_secs(at),
            category: String::new(),
            ak: String::new(),
            selection: String::new(),
            accepted: true,
            told: Vec::new(),
            registers,
            events: Vec::new(),
        }
    }

    #[test]
    fn values_are_kept_where_they_change_and_shown_everywhere() {
        let mut device = device("m", "1");
        let mut all = Vec::new();
        for at in 0..40 {
            let registers = match at {
                5 | 20 => Registers::Unknown,
                at if at < 10 => Registers::Values(values("a")),
                38 => Registers::Values(values("c")),
                _ => Registers::Values(values("b")),
            };
            all.push(verdict(at, registers.clone()));
            device.remember(verdict(at, registers));
            let kept = device.attestations.iter();
            let kept = kept.filter(|kept| matches!(kept.registers, Registers::Values(_)));
            assert!((1..=3).contains(&kept.count()), "{at}");
            let from = all.len().saturating_sub(REMEMBERED);
            assert_eq!(device.clone().history(), all[from..], "{at}");
        }
    }

    #[test]
    fn a_register_changes_by_what_it_was_and_by_what_it_is_to_be() {
        let mut device = device("m", "1");
        let seven = [("sha256".to_owned(), 7)];
        let changed =
            |device: &Device, value, policy: &PcrPolicy| device.changed(&values(value), policy);
        assert_eq!(changed(&device, "a", &PcrPolicy::Learn), []);
        device.remember(verdict(1, Registers::Values(values("a"))));
        assert_eq!(changed(&device, "a", &PcrPolicy::Learn), []);
        assert_eq!(changed(&device, "b", &PcrPolicy::Any), seven);
        // The value is unchanged, but differs from the learnt one.
        device.learnt = Some(values("b"));
        assert_eq!(changed(&device, "a", &PcrPolicy::Learn), seven);
        assert_eq!(changed(&device, "a", &PcrPolicy::Any), []);
        let expected = |value: &str| {
            PcrPolicy::Expected(vec![ExpectedRegister {
                bank: "sha256".to_owned(),
                index: 7,
                values: vec![value.to_owned()],
            }])
        };
        assert_eq!(changed(&device, "a", &expected("a")), []);
        assert_eq!(changed(&device, "a", &expected("c")), seven);
    }

    #[test]
    fn a_hint_is_the_longest_text() {
        assert_eq!(
            hint(b"\0\x01grub_cmd: linux /vmlinuz\0ab"),
            "grub_cmd: linux /vmlinuz"
        );
        let wide: Vec<u8> = "SecureBoot"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(hint(&wide), "SecureBoot");
        assert_eq!(hint(&[&[7], &*wide].concat()), "SecureBoot");
        assert_eq!(hint(b"\xff\xfeabc\0"), "");
        assert_eq!(hint(b""), "");
        assert_eq!(hint(&[b'x'; 500]).len(), LONGEST_HINT);
        assert_eq!(hint("<b>\u{202e}".as_bytes()), "");
    }
}
