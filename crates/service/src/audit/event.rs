//! An event, which may combine several similar ones.

use std::{borrow::Cow, net::IpAddr};

use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::bounded;

/// The outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The change was made.
    Done,
    /// The action was refused; nothing was changed.
    Refused,
}

impl Outcome {
    /// Returns its word in the trail.
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
    /// When the action was decided.
    pub at: Timestamp,
    /// The text of an [`Action`](super::Action), which may be of a later release.
    pub action: String,
    /// The object of the action, such as `instance/default/till-1`.
    pub target: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The caller.
    pub who: String,
    /// Details, such as the reason for a refusal or what was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request's id, as returned to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How many refusals are left out of the trail because they came too fast. Earlier releases reported them in the next refusal.
    #[serde(default, skip_serializing_if = "crate::storage::is_zero")]
    pub left_out: u64,
    /// The further fields of a combined event.
    #[serde(flatten)]
    pub repeats: Option<Repeats>,
}

/// The fields of a combined event. The event itself is the first one, except that its detail is the last one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// The number of events.
    pub count: u64,
    /// When the last one was decided.
    pub last_at: Timestamp,
    /// The request id of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request_id: Option<String>,
    /// The request ids of the first eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// The first eight different addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The first eight different details, each with its count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<RepeatedDetail>,
}

/// A detail shared by several events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedDetail {
    /// The detail.
    pub detail: String,
    /// The number of events with it.
    pub count: u64,
}

/// The maximum number of request ids, addresses and details of a combined event.
const MAX_DISTINCT: usize = 8;

impl Event {
    /// Returns how many events it combines.
    pub fn count(&self) -> u64 {
        self.repeats.as_ref().map_or(1, |repeats| repeats.count)
    }

    /// Returns when the last of the combined events was decided.
    pub fn last_at(&self) -> Timestamp {
        self.repeats
            .as_ref()
            .map_or(self.at, |repeats| repeats.last_at)
    }

    /// Returns where it came from: the first eight different addresses of a combined event.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.repeats {
            Some(repeats) => &repeats.addresses,
            None => self.address.as_slice(),
        }
    }

    /// Returns the details of the combined events that differ from its own, each with its count.
    pub fn other_details(&self) -> impl Iterator<Item = &RepeatedDetail> {
        let details = self.repeats.iter().flat_map(|repeats| &repeats.details);
        details.filter(move |told| self.detail.as_ref() != Some(&told.detail))
    }

    /// Cuts its texts to the maximum length.
    pub(super) fn cut(&mut self) {
        let repeated = self.repeats.iter_mut();
        let details = repeated.flat_map(|repeats| &mut repeats.details);
        let own = [&mut self.target, &mut self.who].into_iter();
        let all = own.chain(&mut self.detail).chain(&mut self.request_id);
        for text in all.chain(details.map(|known| &mut known.detail)) {
            if let Cow::Owned(cut) = bounded(text) {
                *text = cut;
            }
        }
    }

    /// Combines another event with this one.
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
            repeats.add_detail(self.detail.take());
        }
        repeats.count = repeats.count.saturating_add(1);
        repeats.last_at = repeats.last_at.max(next.at);
        add_distinct(&mut repeats.request_ids, next.request_id.clone());
        add_distinct(&mut repeats.addresses, next.address);
        repeats.add_detail(next.detail.clone());
        repeats.last_request_id = next.request_id;
        self.at = self.at.min(next.at);
        self.detail = next.detail;
    }
}

impl Repeats {
    fn add_detail(&mut self, detail: Option<String>) {
        let Some(detail) = detail else {
            return;
        };
        if let Some(known) = self.details.iter_mut().find(|known| known.detail == detail) {
            known.count = known.count.saturating_add(1);
        } else if self.details.len() < MAX_DISTINCT {
            self.details.push(RepeatedDetail { detail, count: 1 });
        }
    }
}

fn add_distinct<T: PartialEq>(known: &mut Vec<T>, next: Option<T>) {
    if let Some(next) = next
        && known.len() < MAX_DISTINCT
        && !known.contains(&next)
    {
        known.push(next);
    }
}

record!(Event, "audit_event");
