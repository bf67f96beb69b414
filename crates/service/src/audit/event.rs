//! An event, which may stand for several that are alike.

use std::{borrow::Cow, net::IpAddr};

use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::bounded;

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The change is made.
    Done,
    /// It was refused; nothing is changed.
    Refused,
}

impl Outcome {
    /// Its word in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// One entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was decided.
    pub at: Timestamp,
    /// What was asked for: an [`Action`](super::Action) by its text, which a later release may know alone.
    pub action: String,
    /// What it was asked of: `instance/default/till-1`.
    pub target: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Who asked.
    pub who: String,
    /// More about it: why it was refused, what was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request's id, as its answer carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How many refusals are left out of the trail, because they came too fast. Releases of before told of those
    /// before a refusal in the next one.
    #[serde(default, skip_serializing_if = "crate::storage::is_zero")]
    pub left_out: u64,
    /// What is told of an event that stands for several.
    #[serde(flatten)]
    pub repeats: Option<Repeats>,
}

/// What is told of several events as one; the first is the event's own, but for its detail, which is the last's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// How many there were.
    pub count: u64,
    /// When the last was.
    pub last_at: Timestamp,
    /// The last one's request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request_id: Option<String>,
    /// The requests of the first eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// The first eight addresses that they came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The first eight details, and how many had each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<RepeatedDetail>,
}

/// A detail that several events have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedDetail {
    /// The detail.
    pub detail: String,
    /// How many have it.
    pub count: u64,
}

/// So many requests, addresses and details are told of repeated events.
const TOLD: usize = 8;

impl Event {
    /// How many events it stands for.
    pub fn count(&self) -> u64 {
        self.repeats.as_ref().map_or(1, |repeats| repeats.count)
    }

    /// When the last of what it stands for was decided.
    pub fn last_at(&self) -> Timestamp {
        self.repeats
            .as_ref()
            .map_or(self.at, |repeats| repeats.last_at)
    }

    /// Cuts its texts to what they may be.
    pub(super) fn cut(&mut self) {
        let repeated = self.repeats.iter_mut();
        let details = repeated.flat_map(|repeats| &mut repeats.details);
        let own = [&mut self.target, &mut self.who].into_iter();
        let all = own.chain(&mut self.detail).chain(&mut self.request_id);
        for text in all.chain(details.map(|told| &mut told.detail)) {
            if let Cow::Owned(cut) = bounded(text) {
                *text = cut;
            }
        }
    }

    /// Makes it stand for another one, too.
    pub(super) fn add(&mut self, next: Self) {
        let first = Repeats {
            count: 1,
            last_at: self.at,
            last_request_id: None,
            request_ids: self.request_id.clone().into_iter().collect(),
            addresses: self.address.into_iter().collect(),
            details: Vec::new(),
        };
        let repeats = self.repeats.get_or_insert(first);
        if repeats.count == 1 {
            repeats.tell_detail(self.detail.take());
        }
        repeats.count = repeats.count.saturating_add(1);
        repeats.last_at = repeats.last_at.max(next.at);
        tell(&mut repeats.request_ids, next.request_id.clone());
        tell(&mut repeats.addresses, next.address);
        repeats.tell_detail(next.detail.clone());
        repeats.last_request_id = next.request_id;
        self.at = self.at.min(next.at);
        self.detail = next.detail;
    }
}

impl Repeats {
    fn tell_detail(&mut self, detail: Option<String>) {
        let Some(detail) = detail else {
            return;
        };
        if let Some(told) = self.details.iter_mut().find(|told| told.detail == detail) {
            told.count = told.count.saturating_add(1);
        } else if self.details.len() < TOLD {
            self.details.push(RepeatedDetail { detail, count: 1 });
        }
    }
}

fn tell<T: PartialEq>(told: &mut Vec<T>, next: Option<T>) {
    if let Some(next) = next
        && told.len() < TOLD
        && !told.contains(&next)
    {
        told.push(next);
    }
}

record!(Event, "audit_event");
