//! The audit trail: who did what, when, on whose request. The event of a change is an entry of the change's own
//! batch, so there is no change without its event and no event without its change.
//!
//! Events are keyed by their millisecond and a random id. Servers' clocks differ and commits take time, so an event
//! may appear before one that was read already; a [`Follower`] looks back and tells each event once.

use crate::{Clock, StorageError};
use keyproof_store::{Batch, Key, Prefix, Record, Store, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody who could be told apart.
    Anonymous,
    /// Somebody at the machine's own command line, by the name of their account there.
    Console(String),
    /// The holder of an external issuer's token.
    External {
        /// The issuer.
        issuer: String,
        /// Whose token it says that it is.
        subject: String,
    },
    /// The holder of a Taler instance's password, or of one of its tokens.
    Instance {
        /// The instance's name.
        name: String,
        /// The token's id: the first 16 hex digits of its digest.
        token: Option<String>,
    },
    /// keyproof itself, tidying up.
    Keyproof,
    /// The holder of an operator's token, by the token's id.
    Operator(String),
    /// A user who is logged in, or an application that acts for one.
    User {
        /// The user's name.
        name: String,
        /// The number of the application's token.
        application_token: Option<u32>,
    },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Console(user) => write!(f, "console:{user}"),
            Self::External { issuer, subject } => write!(f, "external:{issuer}/{subject}"),
            Self::Instance { name, token: None } => write!(f, "instance:{name}"),
            Self::Instance {
                name,
                token: Some(token),
            } => write!(f, "instance:{name}/token:{token}"),
            Self::Keyproof => f.write_str("keyproof"),
            Self::Operator(id) => write!(f, "operator:{id}"),
            Self::User {
                name,
                application_token: None,
            } => write!(f, "user:{name}"),
            Self::User {
                name,
                application_token: Some(token),
            } => write!(f, "user:{name}/application_token:{token}"),
        }
    }
}

/// Where a request for a change comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who asks.
    pub who: Who,
    /// The request's id, if it came by a network.
    pub request_id: Option<String>,
    /// The client's address, if it came by a network.
    pub address: Option<IpAddr>,
}

impl Origin {
    /// A request by somebody else's authority, from the same place: what is known after authentication.
    #[must_use]
    pub fn by(&self, who: Who) -> Self {
        Self {
            who,
            ..self.clone()
        }
    }

    /// What keyproof does by itself.
    pub const fn keyproof() -> Self {
        Self {
            who: Who::Keyproof,
            request_id: None,
            address: None,
        }
    }
}

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The change is made.
    Done,
    /// It was refused; nothing is changed.
    Refused,
}

/// One entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was decided.
    pub at: Timestamp,
    /// What was asked for, as `thing.verb`: `otp_device.add`.
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
    /// How many refusals before this one were left out of the trail, because they came too fast.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record for Event {
    const TYPE: &'static str = "audit_event";
    const VERSION: u32 = 1;
}

/// What an event tells, before it is known when it happened.
pub(crate) struct Deed<'a> {
    pub(crate) action: &'static str,
    pub(crate) target: String,
    pub(crate) detail: Option<String>,
    pub(crate) origin: &'a Origin,
}

impl Deed<'_> {
    fn event(self, at: Timestamp, outcome: Outcome) -> Event {
        Event {
            at,
            action: self.action.to_owned(),
            target: self.target,
            outcome,
            who: self.origin.who.to_string(),
            detail: self.detail,
            request_id: self.origin.request_id.clone(),
            address: self.origin.address,
            left_out: 0,
        }
    }
}

/// How long a refusal stays in the trail; changes stay for good.
const REFUSALS_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Refusals that one process writes a minute: whoever hammers at a door must not fill the disk.
const REFUSALS_PER_MINUTE: u32 = 120;

/// The page size of reads, and so the most that one read holds in memory.
const PAGE: usize = 500;

/// How far back a follower looks: longer than a request takes to commit and servers' clocks differ.
const LOOK_BACK: Duration = Duration::from_secs(30);

/// The trail in a store.
pub struct Audit {
    store: Store,
    clock: Arc<dyn Clock>,
    allowance: Mutex<Allowance>,
}

impl Audit {
    /// The trail of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            allowance: Mutex::default(),
        }
    }

    /// Adds the event of a change to the change's batch.
    pub(crate) fn done(&self, batch: &mut Batch, at: Timestamp, deed: Deed<'_>) {
        batch.insert(&self.key(at), &deed.event(at, Outcome::Done), None);
    }

    /// Adds the event of a refusal to the batch of what the refusal changes, as a count of failures.
    pub(crate) fn counted(&self, batch: &mut Batch, at: Timestamp, deed: Deed<'_>) {
        let kept = Some(at.saturating_add(REFUSALS_KEPT));
        batch.insert(&self.key(at), &deed.event(at, Outcome::Refused), kept);
    }

    /// Notes a refusal. The caller's answer does not wait for luck: a trail that cannot be written is logged.
    pub(crate) async fn refused(&self, deed: Deed<'_>) {
        let at = self.clock.now();
        let left_out = {
            let mut allowance = self
                .allowance
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match allowance.take(at) {
                Some(left_out) => left_out,
                None => return,
            }
        };
        let event = Event {
            left_out,
            ..deed.event(at, Outcome::Refused)
        };
        let mut batch = self.store.batch(at);
        batch.insert(
            &self.key(at),
            &event,
            Some(at.saturating_add(REFUSALS_KEPT)),
        );
        if let Err(error) = self.store.commit(batch).await {
            tracing::error!(%error, action = event.action, "a refusal could not be written to the audit trail");
        }
    }

    /// The events from `since` on, oldest first, at most one page; after `after` where a page before ended there.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn events(
        &self,
        since: Timestamp,
        after: Option<&EventKey>,
    ) -> Result<Vec<(EventKey, Event)>, StorageError> {
        let start = Key::new("audit", ["_", &bucket(since)]);
        let after = after.map_or(&start, |EventKey(key)| key);
        let page = self
            .store
            .scan::<Event>(
                &Prefix::new("audit", ["_"]),
                Some(after),
                PAGE,
                self.clock.now(),
            )
            .await?;
        Ok(page
            .into_iter()
            .map(|(key, stored)| (EventKey(key), stored.record))
            .collect())
    }

    fn key(&self, at: Timestamp) -> Key {
        let mut id = [0; 16];
        self.store.entropy().fill(&mut id);
        Key::new("audit", [b"_", bucket(at).as_bytes(), id.as_slice()])
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// Sorts as the time does.
fn bucket(at: Timestamp) -> String {
    format!("{:016x}", at.as_millis())
}

/// Where an event stands in the trail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey(Key);

/// Reads the trail as it grows, and tells each event once.
#[derive(Debug)]
pub struct Follower {
    since: Timestamp,
    after: Option<EventKey>,
    told: BTreeMap<EventKey, Timestamp>,
}

impl Follower {
    /// Follows from `since` on.
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            after: None,
            told: BTreeMap::new(),
        }
    }

    /// The next events that were not told yet, oldest first and at most one page; none if there are none for now.
    ///
    /// # Errors
    /// [`StorageError`]; the next call asks for the same events again.
    pub async fn poll(&mut self, audit: &Audit) -> Result<Vec<Event>, StorageError> {
        let page = audit.events(self.since, self.after.as_ref()).await?;
        let recent = audit.clock.now().saturating_sub(LOOK_BACK);
        if page.len() == PAGE {
            self.after = page.last().map(|(key, _)| key.clone());
        } else {
            // The end, for now: the next look starts where stragglers may still appear.
            self.after = None;
            self.since = self.since.max(recent);
        }
        let fresh = page
            .into_iter()
            .filter(|(key, event)| self.told.insert(key.clone(), event.at).is_none())
            .map(|(_, event)| event)
            .collect();
        // What is older is not read again, so it need not be remembered.
        self.told.retain(|_, at| *at >= recent);
        Ok(fresh)
    }
}

/// A minute's allowance of refusals, and how many went over it.
#[derive(Default)]
struct Allowance {
    minute: u64,
    used: u32,
    left_out: u64,
}

impl Allowance {
    /// Takes one; answers how many were left out since the last that was not.
    fn take(&mut self, now: Timestamp) -> Option<u64> {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.used = 0;
        }
        if self.used >= REFUSALS_PER_MINUTE {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, START, bench, console, origin, secret};
    use std::sync::atomic::Ordering;

    async fn note(bench: &Bench, at: Timestamp, action: &'static str) {
        let mut batch = bench.store.batch(at);
        let origin = console();
        let deed = Deed {
            action,
            target: "test".to_owned(),
            detail: None,
            origin: &origin,
        };
        bench.service.audit.done(&mut batch, at, deed);
        bench.store.commit(batch).await.unwrap();
    }

    async fn refuse(bench: &Bench) {
        bench
            .service
            .audit
            .refused(Deed {
                action: "test.refuse",
                target: "test".to_owned(),
                detail: None,
                origin: &origin(),
            })
            .await;
    }

    #[tokio::test]
    async fn an_event_says_who_what_when_and_on_which_request() {
        let bench = bench().await;
        let devices = &bench.service.otp_devices;
        bench.clock.advance(Duration::from_secs(5));
        devices
            .set_password("default", secret("correct horse"), &console())
            .await
            .unwrap();
        let wrong = devices
            .login("default", "default", secret("wrong"), &origin())
            .await;
        assert!(wrong.is_err());
        let since = START.saturating_add(Duration::from_secs(5));
        let mut events = bench.service.audit.events(since, None).await.unwrap();
        // Within one millisecond the order is by chance.
        events.sort_by_key(|(_, event)| event.outcome == Outcome::Refused);
        let [(_, set), (_, refused)] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(
            (&*set.action, &*set.target, &*set.who, set.at),
            (
                "instance.set_password",
                "instance/default",
                "console:root",
                since
            )
        );
        assert_eq!(set.outcome, Outcome::Done);
        assert_eq!(refused.who, "anonymous");
        assert_eq!(refused.request_id.as_deref(), Some("0123"));
        assert_eq!(refused.address, Some([127, 0, 0, 1].into()));
        let json = format!("{set:?}{refused:?}");
        assert!(
            !json.contains("wrong\"") && !json.contains("horse"),
            "{json}"
        );
    }

    #[tokio::test]
    async fn refusals_are_bounded_counted_and_forgotten_in_the_end() {
        let bench = bench().await;
        for _ in 0..REFUSALS_PER_MINUTE + 30 {
            refuse(&bench).await;
        }
        let refusals = async || {
            let events = bench.service.audit.events(START, None).await.unwrap();
            let refused = |(_, event): (_, Event)| (event.action == "test.refuse").then_some(event);
            events.into_iter().filter_map(refused).collect::<Vec<_>>()
        };
        assert_eq!(refusals().await.len(), REFUSALS_PER_MINUTE as usize);
        bench.clock.advance(Duration::from_secs(60));
        refuse(&bench).await;
        let left_out: Vec<_> = refusals()
            .await
            .iter()
            .map(|event| event.left_out)
            .collect();
        assert_eq!(left_out.last(), Some(&30));
        bench.clock.advance(REFUSALS_KEPT);
        assert_eq!(refusals().await, []);
        assert!(
            bench.actions().await.contains(&"instance.add".to_owned()),
            "changes stay"
        );
    }

    #[tokio::test]
    async fn a_change_that_is_not_made_leaves_no_event() {
        let bench = bench().await;
        let before = bench.actions().await.len();
        bench.faults.commits.store(true, Ordering::SeqCst);
        let devices = &bench.service.otp_devices;
        assert!(
            devices
                .remove_instance("default", &console())
                .await
                .is_err()
        );
        bench.faults.commits.store(false, Ordering::SeqCst);
        assert_eq!(bench.actions().await.len(), before);
    }

    #[tokio::test]
    async fn pages_meet_without_gap_or_overlap() {
        let bench = bench().await;
        let total = PAGE + 7;
        for number in 0..total {
            let at = START.saturating_add(Duration::from_millis(10 + number as u64 / 3));
            note(&bench, at, "test.note").await;
        }
        let since = START.saturating_add(Duration::from_millis(10));
        let audit = &bench.service.audit;
        let first = audit.events(since, None).await.unwrap();
        assert_eq!(first.len(), PAGE);
        let second = audit
            .events(since, first.last().map(|(key, _)| key))
            .await
            .unwrap();
        assert_eq!(second.len(), 7);
        let keys: std::collections::BTreeSet<_> = first
            .iter()
            .chain(&second)
            .map(|(key, _)| key.clone())
            .collect();
        assert_eq!(keys.len(), total);
        assert!(
            first
                .iter()
                .zip(first.iter().skip(1))
                .all(|((_, a), (_, b))| a.at <= b.at)
        );
    }

    #[tokio::test]
    async fn a_follower_tells_each_event_once_stragglers_included() {
        let bench = bench().await;
        let mut follower = Follower::new(START);
        let poll = async |follower: &mut Follower| {
            let events = follower.poll(&bench.service.audit).await.unwrap();
            events
                .into_iter()
                .map(|event| event.action)
                .collect::<Vec<_>>()
        };
        assert_eq!(poll(&mut follower).await, ["instance.add"]);
        assert_eq!(poll(&mut follower).await, [""; 0]);

        bench.clock.advance(Duration::from_secs(60));
        let now = bench.clock.now();
        note(&bench, now, "test.first").await;
        assert_eq!(poll(&mut follower).await, ["test.first"]);
        // Decided earlier than what was told already, on a server that took its time.
        note(
            &bench,
            now.saturating_sub(Duration::from_secs(29)),
            "test.late",
        )
        .await;
        assert_eq!(poll(&mut follower).await, ["test.late"]);
        assert_eq!(poll(&mut follower).await, [""; 0]);
        assert!(follower.told.len() <= 2, "what is old is forgotten");
    }

    #[tokio::test]
    async fn a_follower_of_a_long_trail_gets_all_of_it_page_by_page() {
        let bench = bench().await;
        for number in 0..PAGE * 2 {
            let at = START.saturating_add(Duration::from_millis(number as u64));
            note(&bench, at, "test.note").await;
        }
        bench.clock.advance(Duration::from_secs(3600));
        let mut follower = Follower::new(START);
        let mut told = 0;
        loop {
            let events = follower.poll(&bench.service.audit).await.unwrap();
            if events.is_empty() {
                break;
            }
            told += events.len();
        }
        assert_eq!(told, PAGE * 2 + 1);
        assert!(follower.told.is_empty());
    }
}
