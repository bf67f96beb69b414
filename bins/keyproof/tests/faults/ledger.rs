//! The model: everything that was requested, and what the answers promised.
//!
//! A *thing* is what a request changes: a device, a certificate, a code that can be used once. Each thing is changed in *rounds*,
//! one after the other. The requests of one round race: all require the state that the previous round left, so at most one may
//! succeed, and none if they request the state that it has already. After a round with an unknown outcome the thing is not changed
//! again, because an unanswered request may still take effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::timeout};

use crate::{client::Reply, node::PATIENCE};

/// What an answer promises about the requested change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It was made and is durable.
    Done,
    /// The thing was not in the required state: the change was not made, and never will be.
    Refused,
    /// The server was not able to: the change was not made, and never will be.
    NotDone,
    /// Nothing, or there was no answer.
    Unknown,
}

/// The state of a thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Absent,
    /// It exists, in the state that an answer has described.
    Is(String),
    /// It exists, in a state that no answer has described.
    Other,
}

/// A request for a change.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// The action's name in the audit trail.
    pub(crate) action: &'static str,
    pub(crate) target: String,
    /// The request id in the answer.
    pub(crate) request_id: Option<String>,
    pub(crate) promise: Promise,
    /// The state of the thing if the change is made.
    pub(crate) becomes: State,
}

impl Deed {
    pub(crate) fn new(
        action: &'static str,
        target: &str,
        reply: &Reply,
        promise: Promise,
        becomes: State,
    ) -> Self {
        let request_id = match reply {
            Reply::Answered(answer) => answer.request_id.clone(),
            Reply::Broken => None,
        };
        Self {
            action,
            target: target.to_owned(),
            request_id,
            promise,
            becomes,
        }
    }
}

/// Requests that raced.
pub(crate) type Round = Vec<Deed>;

/// The state in which a round has left its thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    As(State),
    /// Unknown: the thing must not be changed again.
    Open,
}

/// The records of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) things: BTreeMap<String, Vec<Round>>,
    /// Reads that did not show what had been acknowledged before them.
    pub(crate) stale: Vec<String>,
}

/// The records while clients write them.
pub(crate) struct Ledger {
    records: Mutex<Records>,
    acknowledged: watch::Sender<u64>,
    failed: watch::Sender<u64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            records: Mutex::default(),
            acknowledged: watch::Sender::new(0),
            failed: watch::Sender::new(0),
        }
    }

    /// Records the end of a round.
    pub(crate) fn round(&self, thing: &str, round: Round) -> Left {
        let done = |deed: &&Deed| deed.promise == Promise::Done;
        let acknowledged = round.iter().filter(done).count() as u64;
        let open = round.iter().any(|deed| deed.promise == Promise::Unknown);
        let failed = |deed: &&Deed| matches!(deed.promise, Promise::NotDone | Promise::Unknown);
        let failed = round.iter().filter(failed).count() as u64;
        let mut records = self.records();
        let rounds = records.things.entry(thing.to_owned()).or_default();
        rounds.push(round);
        let left = if open && acknowledged == 0 {
            Left::Open
        } else {
            let last = rounds.iter().flatten().rfind(done);
            Left::As(last.map_or(State::Absent, |deed| deed.becomes.clone()))
        };
        drop(records);
        self.acknowledged
            .send_modify(|count| *count += acknowledged);
        self.failed.send_modify(|count| *count += failed);
        left
    }

    /// Returns whether the thing was requested before.
    pub(crate) fn knows(&self, thing: &str) -> bool {
        self.records().things.contains_key(thing)
    }

    /// Records a read of a thing whose state was known before the read began.
    pub(crate) fn looked(&self, thing: &str, expected: &State, found: &State) {
        if expected != found {
            let stale = format!("{thing}: acknowledged as {expected:?}, read as {found:?}");
            self.records().stale.push(stale);
        }
    }

    /// Waits until this many changes have been acknowledged.
    pub(crate) async fn acknowledged(&self, count: u64) {
        reached(&self.acknowledged, count).await;
    }

    /// Waits until this many changes have failed for a reason other than a refusal.
    pub(crate) async fn failed(&self, count: u64) {
        reached(&self.failed, count).await;
    }

    pub(crate) fn count(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// Returns the number of acknowledged changes of things whose names start with this prefix.
    pub(crate) fn done_of(&self, beginning: &str) -> usize {
        let records = self.records();
        let things = records.things.iter();
        let own = things.filter(|(thing, _)| thing.starts_with(beginning));
        own.flat_map(|(_, rounds)| rounds.iter().flatten())
            .filter(|deed| deed.promise == Promise::Done)
            .count()
    }

    pub(crate) fn failures(&self) -> u64 {
        *self.failed.borrow()
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits as long as it counts on.
async fn reached(counter: &watch::Sender<u64>, count: u64) {
    let mut counter = counter.subscribe();
    while *counter.borrow_and_update() < count {
        let Ok(changed) = timeout(PATIENCE, counter.changed()).await else {
            panic!("no client gets anywhere");
        };
        changed.expect("the ledger is here");
    }
}

impl Records {
    /// Returns the number of requests with this outcome.
    pub(crate) fn count(&self, promise: Promise) -> usize {
        let deeds = self.deeds();
        deeds.filter(|deed| deed.promise == promise).count()
    }

    pub(crate) fn deeds(&self) -> impl Iterator<Item = &Deed> {
        self.things.values().flatten().flatten()
    }

    /// Returns the actions for which the trail must be complete: no others were under test.
    pub(crate) fn actions(&self) -> BTreeSet<&'static str> {
        self.deeds().map(|deed| deed.action).collect()
    }
}
