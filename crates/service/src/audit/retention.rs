//! How long events are kept, and client addresses in them.
//!
//! Refusals expire by themselves with all other expired records. Changes have no expiry, since the operator sets how long they are
//! kept and may change that. So the upkeep sweeps the trail in order of time and stores its position, so that it does not start
//! over after a restart.

use std::{mem, net::IpAddr, time::Duration};

use keyproof_store::{Key, Stored, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Audit, Event, EventKey, Outcome, RepeatedDetail, all_events, index};
use crate::{StorageError, slot::Slot, storage::commit_unless_changed, upkeep::Round};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the client's address is kept in an event that is kept longer.
const ADDRESSES_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The number of events processed together.
const BATCH: usize = 100;
/// The number of batches in one call.
const BATCHES: usize = 25;

/// How long events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// For changes; `None` means forever.
    pub keep: Option<Duration>,
    /// For refusals, for uses of what was granted before, and for first login steps.
    pub keep_refusals: Duration,
}

impl AuditSettings {
    /// Creates settings in days.
    pub fn days(keep: Option<u32>, keep_refusals: u32) -> Self {
        Self {
            keep: keep.map(|days| DAY.saturating_mul(days)),
            keep_refusals: DAY.saturating_mul(keep_refusals),
        }
    }
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self::days(None, 90)
    }
}

/// Stored at `audit_sweep/all`: the ids of the events up to which the trail was swept.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sweep {
    /// For addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addresses: Option<String>,
    /// For changes that are older than they are to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<String>,
}

record!(Sweep, "audit_sweep");

/// Not `_`, where releases that left addresses in details store their position. So the trail is swept again from the beginning, and
/// their position is left to them.
fn sweep_key() -> Key {
    Key::new("audit_sweep", ["all"])
}

/// What a sweep does to old events.
#[derive(Clone, Copy)]
enum Task {
    Addresses,
    Changes,
}

impl Audit {
    /// Removes changes that are older than they are to be kept, and addresses from events older than 90 days. One call handles at
    /// most 2500 events of each and, after each 100, pauses for as long as they took. Several servers may run it at once.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the remaining events stay for the next call.
    pub async fn forget_old(&self) -> Result<Round, StorageError> {
        let now = self.clock.now();
        let mut round = Round::default();
        for (task, kept) in [
            (Task::Changes, self.settings.keep),
            (Task::Addresses, Some(ADDRESSES_KEPT)),
        ] {
            let Some(kept) = kept else { continue };
            let until = now.saturating_sub(kept);
            let mut is_through = false;
            for _ in 0..BATCHES {
                let began = Instant::now();
                let Some(changed) = self.sweep(task, until).await? else {
                    is_through = true;
                    break;
                };
                round.removed += changed;
                sleep(began.elapsed()).await;
            }
            round.goes_on |= !is_through;
        }
        Ok(round)
    }

    /// Processes the next events before `until`; `None` if there are no more or another server does the same work.
    async fn sweep(&self, task: Task, until: Timestamp) -> Result<Option<usize>, StorageError> {
        let now = self.clock.now();
        let kept = Slot::<Sweep>::read(&self.store, sweep_key(), now).await?;
        let mut sweep = kept.record().cloned().unwrap_or_default();
        let from = match task {
            Task::Addresses => &mut sweep.addresses,
            Task::Changes => &mut sweep.changes,
        };
        let reached: Option<EventKey> = from.as_ref().and_then(|id| id.parse().ok());
        // What was swept was old then. So the clock was set back, and newer events lie before the position.
        let is_ahead = reached.as_ref().is_some_and(|id| *id >= EventKey::end(now));
        let after = reached.filter(|_| !is_ahead).map(|EventKey(key)| key);
        let all = all_events();
        let page = self.store.scan::<Event>(&all, after.as_ref(), BATCH, now);
        let EventKey(end) = EventKey::start(until);
        let old = page.await?.into_iter().take_while(|(key, _)| *key < end);
        let mut batch = self.store.batch(now);
        let mut count = 0;
        let mut last = None;
        let mut removed = Vec::new();
        for (key, stored) in old {
            let Stored {
                record: mut event,
                version,
                expires_at,
            } = stored;
            match task {
                Task::Changes if event.outcome == Outcome::Done && expires_at.is_none() => {
                    batch.remove(&key, version);
                    removed.push((EventKey(key.clone()), event));
                    count += 1;
                }
                Task::Addresses if event.forget_addresses() => {
                    batch.replace(&key, version, &event, expires_at);
                    count += 1;
                }
                _ => {}
            }
            last = Some(EventKey(key).to_string());
        }
        if last.is_none() && !is_ahead {
            return Ok(None);
        }
        *from = last;
        index::take_out(&self.store, &mut batch, &removed, now).await?;
        kept.replace(&mut batch, &sweep, None);
        let is_made = commit_unless_changed(&self.store, batch).await?;
        Ok(is_made.then_some(count))
    }
}

impl Event {
    /// Removes client addresses. Returns whether there were any.
    fn forget_addresses(&mut self) -> bool {
        let mut had = self.address.take().is_some();
        had |= self.detail.as_mut().is_some_and(cut_address);
        if let Some(repeats) = &mut self.repeats {
            had |= !repeats.addresses.is_empty();
            repeats.addresses.clear();
            // Details that differed only in their addresses are merged.
            let mut details: Vec<RepeatedDetail> = Vec::new();
            for mut told in mem::take(&mut repeats.details) {
                had |= cut_address(&mut told.detail);
                match details.iter_mut().find(|same| same.detail == told.detail) {
                    Some(same) => same.count = same.count.saturating_add(told.count),
                    None => details.push(told),
                }
            }
            repeats.details = details;
        }
        had
    }
}

/// Cuts off the address that earlier releases put at the end of details of refused logins. Returns whether there was one.
fn cut_address(detail: &mut String) -> bool {
    let Some((rest, address)) = detail.rsplit_once(" from IP ") else {
        return false;
    };
    let end = rest.len();
    let is_address = address.parse::<IpAddr>().is_ok();
    if is_address {
        detail.truncate(end);
    }
    is_address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, Origin,
        audit::{Action, NewEvent, Repeats, Target},
        testing::{Bench, START, bench_with},
    };

    async fn events(bench: &Bench) -> Vec<Event> {
        let all = all_events();
        let found = bench
            .store
            .scan::<Event>(&all, None, 10_000, bench.clock.now());
        found
            .await
            .unwrap()
            .into_iter()
            .map(|(_, event)| event.record)
            .collect()
    }

    async fn forget(bench: &Bench) -> usize {
        bench.service.audit.forget_old().await.unwrap().removed
    }

    #[tokio::test]
    async fn what_was_done_stays_as_long_as_it_is_to_and_no_longer() {
        let bench = bench_with(|settings| settings.audit = AuditSettings::days(Some(10), 90)).await;
        let before = events(&bench).await.len();
        bench.tell(250).await;
        bench.clock.advance(DAY);
        bench.tell(1).await;
        bench.clock.advance(DAY * 9);
        assert_eq!(forget(&bench).await, 0);
        assert_eq!(events(&bench).await.len(), before + 251);
        bench.clock.advance(Duration::from_millis(1));
        assert_eq!(forget(&bench).await, before + 250);
        assert_eq!(events(&bench).await.len(), 1);
        bench.clock.advance(DAY);
        assert_eq!(forget(&bench).await, 1);
        assert_eq!(forget(&bench).await, 0);
    }

    /// The sweep had come as far as the clock was ahead.
    #[tokio::test]
    async fn what_is_done_after_a_clock_was_set_back_stays_no_longer() {
        let bench = bench_with(|settings| settings.audit = AuditSettings::days(Some(10), 90)).await;
        let (right, before) = (bench.clock.now(), events(&bench).await.len());
        bench.clock.advance(DAY * 20);
        bench.tell(1).await;
        bench.clock.advance(DAY * 11);
        assert_eq!(forget(&bench).await, before + 1);
        bench.clock.set(right);
        assert_eq!(forget(&bench).await, 0);
        bench.tell(3).await;
        // Beyond the position of then.
        bench.clock.advance(DAY * 25);
        assert_eq!(forget(&bench).await, 3);
        assert_eq!(events(&bench).await.len(), 0);
    }

    #[tokio::test]
    async fn what_was_done_stays_for_ever_without_its_address_unless_said_otherwise() {
        let bench = bench_with(|_| {}).await;
        bench.tell(3).await;
        bench.clock.advance(DAY * 90);
        assert_eq!(forget(&bench).await, 0);
        bench.tell(1).await;
        bench.clock.advance(Duration::from_millis(1));
        let before = events(&bench).await;
        assert_eq!(forget(&bench).await, 3);
        let mut after = events(&bench).await;
        assert_eq!(after.len(), before.len());
        assert_eq!(
            after.iter().filter(|event| event.address.is_some()).count(),
            1
        );
        // Otherwise they are unchanged.
        for (event, before) in after.iter_mut().zip(&before) {
            event.address = before.address;
        }
        assert_eq!(after, before);
        bench.clock.advance(DAY * 1000);
        assert_eq!(forget(&bench).await, 1);
        assert_eq!(events(&bench).await.len(), before.len());
    }

    /// As an earlier build wrote it, once for each address.
    #[tokio::test]
    async fn an_address_leaves_the_details_too() {
        let bench = bench_with(|settings| settings.audit = AuditSettings::days(None, 365)).await;
        let told = |detail: &str, count| RepeatedDetail {
            detail: detail.to_owned(),
            count,
        };
        let planted = Event {
            at: START,
            action: "user.authenticate".to_owned(),
            target: "nobody".to_owned(),
            outcome: Outcome::Refused,
            who: "anonymous".to_owned(),
            detail: Some("Reason: wrong from IP 203.0.113.7".to_owned()),
            request_id: None,
            address: Some([203, 0, 113, 7].into()),
            left_out: 0,
            repeats: Some(Repeats {
                count: 7,
                last_at: START,
                last_request_id: None,
                request_ids: Vec::new(),
                addresses: vec![[203, 0, 113, 7].into()],
                details: vec![
                    told("Reason: wrong from IP 203.0.113.7", 1),
                    told("Reason: locked from IP 203.0.113.7", 1),
                    told("Reason: wrong from IP 2001:db8::7", 2),
                    told("came from IP country", 3),
                ],
            }),
        };
        let EventKey(place) = "0000018bcfe56800-000102030405060708090a0b0c0d0eff"
            .parse()
            .unwrap();
        let mut batch = bench.store.batch(START);
        batch.insert(&place, &planted, Some(START.saturating_add(DAY * 365)));
        bench.store.commit(batch).await.unwrap();
        bench.clock.advance(DAY * 91);
        assert_eq!(forget(&bench).await, 1);
        let swept = events(&bench).await;
        let swept = swept.iter().find(|event| event.target == "nobody").unwrap();
        let text = format!("{swept:?}");
        assert!(
            !text.contains("203.0.113.7") && !text.contains("2001:db8"),
            "{text}"
        );
        assert_eq!(swept.detail.as_deref(), Some("Reason: wrong"));
        let details = &swept.repeats.as_ref().unwrap().details;
        let expected = [
            told("Reason: wrong", 3),
            told("Reason: locked", 1),
            told("came from IP country", 3),
        ];
        assert_eq!(*details, expected);
    }

    /// Two releases may serve one store for a while.
    #[tokio::test]
    async fn how_far_an_earlier_release_was_is_neither_believed_nor_changed() {
        let bench =
            bench_with(|settings| settings.audit = AuditSettings::days(Some(100), 90)).await;
        bench.tell(3).await;
        let id = Some("7fffffffffffffff-000102030405060708090a0b0c0d0eff".to_owned());
        let theirs = Sweep {
            addresses: id.clone(),
            changes: id,
        };
        let place = Key::new("audit_sweep", ["_"]);
        let mut batch = bench.store.batch(START);
        batch.insert(&place, &theirs, None);
        bench.store.commit(batch).await.unwrap();
        let now = || bench.clock.now();
        let before = bench.store.get::<Sweep>(&place, now()).await.unwrap();
        bench.clock.advance(DAY * 91);
        assert_eq!(forget(&bench).await, 3);
        bench.clock.advance(DAY * 10);
        assert!(forget(&bench).await >= 3);
        let after = bench.store.get::<Sweep>(&place, now()).await.unwrap();
        let version = |stored: Option<Stored<Sweep>>| stored.unwrap().version;
        assert_eq!(version(after), version(before));
        // This release does not start over each time either.
        assert_eq!(forget(&bench).await, 0);
    }

    #[tokio::test]
    async fn refusals_end_as_the_operator_has_it() {
        let bench = bench_with(|settings| settings.audit = AuditSettings::days(None, 2)).await;
        let before = events(&bench).await.len();
        let origin = Origin::keyproof();
        let new_event = NewEvent {
            action: Action::AuditLeaveOut,
            target: Target::Store,
            detail: None,
            origin: &origin,
        };
        bench.service.audit.refused(new_event).await;
        assert_eq!(events(&bench).await.len(), before + 1);
        bench.clock.advance(DAY * 2);
        assert_eq!(events(&bench).await.len(), before);
    }
}
