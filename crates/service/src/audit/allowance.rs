//! Limits how many refusals one process writes to the trail, so that attackers cannot fill the disk and anonymous requests cannot
//! hide what known callers do.

use std::{collections::BTreeMap, fmt};

use keyproof_store::Timestamp;

use super::{Action, Principal, PrincipalKind};

/// The maximum number of recorded refusals of anonymous callers a minute.
pub(super) const OF_STRANGERS: u32 = 120;

/// The maximum number of recorded refusals of all known callers a minute.
pub(super) const OF_THE_KNOWN: u32 = 600;

/// The maximum number of recorded refusals of one known caller a minute, across all its tokens.
pub(super) const OF_ONE: u32 = 60;

/// The text for callers beyond the number that are counted separately.
const OTHERS: &str = "others";

/// The start of an operator's text, for all their tokens together.
const OPERATOR_SUBJECT: &str = "operator_subject";

/// The state of a minute's allowance, and the refusals beyond it.
#[derive(Default)]
pub(super) struct Allowance {
    minute: u64,
    strangers: u32,
    known: u32,
    each: BTreeMap<String, u32>,
    left_out: BTreeMap<Party, BTreeMap<&'static str, u64>>,
}

/// The callers whose refusals are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Anonymous callers.
    Strangers,
    /// One caller, with all its tokens: the caller's text without the token. For an operator it is `operator_subject:NAME`, with
    /// the subject of the token.
    One(String),
    /// Callers beyond the number that are counted separately.
    Others,
}

/// Refusals that were not recorded.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) of: Party,
    actions: BTreeMap<&'static str, u64>,
}

impl Allowance {
    /// Whether this refusal may be recorded. It is counted as recorded or as left out.
    pub(super) fn take(&mut self, who: &Principal, action: Action, now: Timestamp) -> bool {
        let Err(of) = self.take_room(who, now) else {
            return true;
        };
        let count = self.left_out.entry(of).or_default().entry(action.name());
        let count = count.or_default();
        *count = count.saturating_add(1);
        false
    }

    /// Takes one refusal from the allowance, or returns the party that has used up its own.
    pub(super) fn take_room(&mut self, who: &Principal, now: Timestamp) -> Result<(), Party> {
        let minute = minute(now);
        if minute != self.minute {
            (self.strangers, self.known, self.minute) = (0, 0, minute);
            self.each.clear();
        }
        match who {
            Principal::Anonymous => {
                if self.strangers < OF_STRANGERS {
                    self.strangers += 1;
                    return Ok(());
                }
                Err(Party::Strangers)
            }
            who => {
                let one = one(who);
                let used = self.each.get(&one).copied();
                if self.known < OF_THE_KNOWN && used.unwrap_or(0) < OF_ONE {
                    self.known += 1;
                    *self.each.entry(one).or_default() += 1;
                    return Ok(());
                }
                Err(used.map_or(Party::Others, |_| Party::One(one)))
            }
        }
    }

    /// Takes the refusals that were left out, once their minute is over.
    pub(super) fn take_left_out(&mut self, now: Timestamp) -> Vec<LeftOut> {
        if minute(now) == self.minute {
            Vec::new()
        } else {
            self.take_all_left_out()
        }
    }

    /// Takes the refusals left out so far.
    pub(super) fn take_all_left_out(&mut self) -> Vec<LeftOut> {
        let left_out = std::mem::take(&mut self.left_out).into_iter();
        left_out
            .map(|(of, actions)| LeftOut { of, actions })
            .collect()
    }

    /// Puts back refusals that could not be reported.
    pub(super) fn restore(&mut self, left_out: Vec<LeftOut>) {
        for LeftOut { of, actions } in left_out {
            let counts = self.left_out.entry(of).or_default();
            for (action, more) in actions {
                let count = counts.entry(action).or_default();
                *count = count.saturating_add(more);
            }
        }
    }
}

impl LeftOut {
    pub(super) fn total(&self) -> u64 {
        self.actions
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the number for each action, as text.
    pub(super) fn detail(&self) -> String {
        let counts = self.actions.iter();
        let counts: Vec<_> = counts
            .map(|(action, count)| format!("{count} {action}"))
            .collect();
        format!("refusals that came too fast: {}", counts.join(", "))
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strangers => f.write_str(PrincipalKind::Anonymous.name()),
            Self::One(who) => f.write_str(who),
            Self::Others => f.write_str(OTHERS),
        }
    }
}

impl Party {
    /// Parses the text of a party.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == PrincipalKind::Anonymous.name() {
            return Some(Self::Strangers);
        }
        if text == OTHERS {
            return Some(Self::Others);
        }
        let is_asker = match text.split_once(':') {
            Some((kind, _)) => {
                kind == OPERATOR_SUBJECT
                    || PrincipalKind::ALL.map(PrincipalKind::name).contains(&kind)
            }
            None => text == PrincipalKind::Keyproof.name(),
        };
        is_asker.then(|| Self::One(text.to_owned()))
    }
}

/// Returns the caller's text without its token, so that several tokens do not raise the limit.
fn one(who: &Principal) -> String {
    match who {
        Principal::Instance { .. } => who.party(),
        Principal::Operator { subject, .. } => format!("{OPERATOR_SUBJECT}:{subject}"),
        Principal::User { subject, .. } => Principal::user_named(&subject.to_string()),
        Principal::Anonymous
        | Principal::CommandLine(_)
        | Principal::External { .. }
        | Principal::Keyproof
        | Principal::Station { .. } => who.to_string(),
    }
}

const fn minute(at: Timestamp) -> u64 {
    at.as_secs() / 60
}
