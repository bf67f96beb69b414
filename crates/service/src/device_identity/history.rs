//! What is remembered of a device's attestations: what each came to, which values its registers had, and what the event
//! log says was measured into those that had another value than before.

use data_encoding::HEXLOWER;
use keyproof_store::Timestamp;
use keyproof_tpm::{EventLog, HashAlgorithm, ReplayedLog};
use serde::{Deserialize, Serialize};

use super::{LearntRegister, PcrPolicy, identity::Device};

/// How many attestations of a device are remembered.
const REMEMBERED: usize = 16;

/// How many events of a log are remembered of one attestation: of each register the first ones.
const EVENTS: usize = 64;

/// The most that is kept of what an event says, in characters.
const LONGEST_HINT: usize = 80;

/// The shortest text that is taken for one in an event's data, in characters.
const SHORTEST_HINT: usize = 4;

/// What an attestation came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// When it was judged.
    pub at: Timestamp,
    /// The name of the category that it was judged for.
    pub category: String,
    /// The Name of the attestation key, in hex.
    pub ak: String,
    /// The registers that were to be quoted.
    pub selection: String,
    /// Whether it was accepted.
    pub accepted: bool,
    /// The checks that failed or warned, a line each.
    pub told: Vec<String>,
    /// The values of its registers; absent in records of before.
    #[serde(default)]
    pub registers: Registers,
    /// What the log says was measured into registers that had another value than before; nothing without a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<LoggedEvent>,
}

/// The values that a device's registers had at an attestation, as far as its key has signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registers {
    /// None were shown, or they are not those of the quote.
    #[default]
    Unknown,
    /// The same as at the latest attestation before of which they are known. Nobody is shown this: it is how the store
    /// keeps them.
    Same,
    /// These.
    Values(Vec<LearntRegister>),
}

/// An event of a log, of a register that has another value than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// The name of the bank's hash.
    pub bank: String,
    /// The register's number.
    pub index: u8,
    /// What was measured: the TCG's name of it, or a number.
    pub kind: String,
    /// The digest that was extended, in lower-case hexadecimal.
    pub digest: String,
    /// How much of the event is backed by the registers, as [`keyproof_tpm::EventTrust`] calls it.
    pub backed: String,
    /// The text in what the log says of it, if there is any: a hint, as far as it is not backed.
    pub hint: String,
}

/// A register, by the name of its bank and its number.
pub(super) type RegisterName = (String, u8);

impl Device {
    /// Remembers an attestation.
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
        // Those that refer to what has gone have it from now on.
        let mut kept = self.attestations.iter_mut();
        let first = kept.find(|kept| kept.registers != Registers::Unknown);
        if let (Some(values), Some(first)) = (known, first)
            && first.registers == Registers::Same
        {
            first.registers = Registers::Values(values);
        }
    }

    /// The values at the latest attestation of which they are known.
    fn last_values(&self) -> Option<&Vec<LearntRegister>> {
        let mut latest = self.attestations.iter().rev();
        latest.find_map(|verdict| match &verdict.registers {
            Registers::Values(values) => Some(values),
            Registers::Same | Registers::Unknown => None,
        })
    }

    /// The registers of these that have another value than at the attestation before, or than they are to have.
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

    /// The attestations as they are shown: each with its values.
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

/// What a log says was measured into these registers.
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

/// The longest text in an event's data, as ASCII or as UTF-16.
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

/// The longest run of printable ASCII among these units, cut to what is kept.
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
        // It was like this before, and not as it was learnt.
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
