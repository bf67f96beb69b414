//! A device's registers in each attestation, compared with the one before and with the learnt values.

use keyproof_service::device_identity::{BoundDevice, LearntRegister, Registers, Verdict};

use super::pages::{AttestationRow, RegisterRow, Shown};
use crate::sites::moment::second;

/// Returns the registers of the latest earlier attestation whose values are known.
pub(super) fn before(history: &[Verdict], number: usize) -> Option<&[LearntRegister]> {
    let mut earlier = history.get(..number)?.iter().rev();
    earlier.find_map(|verdict| values(&verdict.registers))
}

fn values(registers: &Registers) -> Option<&[LearntRegister]> {
    match registers {
        Registers::Values(values) => Some(values),
        Registers::Same | Registers::Unknown => None,
    }
}

/// Returns the value of this register among `registers`.
fn value_of<'a>(registers: Option<&'a [LearntRegister]>, of: &LearntRegister) -> Option<&'a str> {
    let mut registers = registers?.iter();
    let found = registers.find(|known| known.bank == of.bank && known.index == of.index);
    found.map(|known| &*known.value)
}

/// Whether a register's value differs from that in `since`.
fn is_changed(register: &LearntRegister, since: Option<&[LearntRegister]>) -> bool {
    value_of(since, register).is_some_and(|value| value != register.value)
}

impl AttestationRow {
    pub(super) fn of(
        verdict: &Verdict,
        before: Option<&[LearntRegister]>,
        link: &str,
        is_shown: bool,
    ) -> Self {
        let changed = match (values(&verdict.registers), before) {
            (None, _) => "values not known".to_owned(),
            (Some(_), None) => "the first values".to_owned(),
            (Some(values), Some(_)) => {
                let changed = values.iter().filter(|value| is_changed(value, before));
                let changed: Vec<String> = changed.map(name).collect();
                if changed.is_empty() {
                    "nothing".to_owned()
                } else {
                    changed.join(", ")
                }
            }
        };
        Self {
            when: second(verdict.at),
            category: verdict.category.clone(),
            is_accepted: verdict.accepted,
            told: verdict.told.clone(),
            changed,
            link: format!("{link}&at={}", verdict.at.as_millis()),
            is_shown,
        }
    }
}

impl Shown {
    pub(super) fn of(
        verdict: &Verdict,
        before: Option<&[LearntRegister]>,
        device: &BoundDevice,
    ) -> Self {
        let learnt = device.learnt.as_deref();
        let registers = values(&verdict.registers).unwrap_or_default().iter();
        Self {
            when: second(verdict.at),
            registers: registers
                .map(|register| RegisterRow {
                    name: name(register),
                    value: register.value.clone(),
                    before: value_of(before, register).map(ToOwned::to_owned),
                    learnt: value_of(learnt, register).map(ToOwned::to_owned),
                    is_changed: is_changed(register, before),
                    is_other: is_changed(register, learnt),
                })
                .collect(),
            events: verdict.events.clone(),
        }
    }
}

/// Returns the display name of a register.
fn name(register: &LearntRegister) -> String {
    format!("{}:{}", register.bank, register.index)
}
