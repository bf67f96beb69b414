//! The model: everything that was asked for, and what the answers promised.
//!
//! A *thing* is what a request changes: a device, a certificate, a code that is good once. Each thing is changed in
//! *rounds*, one after the other. The requests of one round race: they all ask for the thing as the round before left
//! it, so that at most one may be granted; none, if they ask for what it is already. Once a round has left open what became of it, its thing is left alone: a
//! request that nobody answered may still take effect later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::timeout};

use crate::{client::Reply, node::PATIENCE};

/// What an answer says about the change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is made, for good.
    Done,
    /// The thing was not in the state for it: it is not made, and never will be.
    Refused,
    /// The server could not: it is not made, and never will be.
    NotDone,
    /// Nothing, or there was no answer.
    Unknown,
}

/// What a thing is like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Absent,
    /// There, as it is told.
    Is(String),
    /// There, but not as any answer has told.
    Other,
}

/// One request for a change.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// As the audit trail calls it.
    pub(crate) action: &'static str,
    pub(crate) target: String,
    /// What its answer carried.
    pub(crate) request_id: Option<String>,
    pub(crate) promise: Promise,
    /// What the thing is like if it is done.
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

/// How a round has left its thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    As(State),
    /// Nobody knows: it is not to be touched again.
    Open,
}

/// What is written down of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) things: BTreeMap<String, Vec<Round>>,
    /// Reads that did not show what had been acknowledged before them.
    pub(crate) stale: Vec<String>,
}

/// The records, as clients write them.
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

    /// A round has ended.
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

    /// Whether the thing has been asked for before.
    pub(crate) fn knows(&self, thing: &str) -> bool {
        self.records().things.contains_key(thing)
    }

    /// A read has ended, of a thing whose state was known before it began.
    pub(crate) fn looked(&self, thing: &str, expected: &State, found: &State) {
        if expected != found {
            let stale = format!("{thing}: acknowledged as {expected:?}, read as {found:?}");
            self.records().stale.push(stale);
        }
    }

    /// Waits until that many changes have been acknowledged.
    pub(crate) async fn acknowledged(&self, count: u64) {
        reached(&self.acknowledged, count).await;
    }

    /// Waits until that many changes have not been acknowledged for another reason than a refusal.
    pub(crate) async fn failed(&self, count: u64) {
        reached(&self.failed, count).await;
    }

    pub(crate) fn count(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// How many changes have been acknowledged of the things whose names begin like this.
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

async fn reached(counter: &watch::Sender<u64>, count: u64) {
    let mut counter = counter.subscribe();
    let reached = counter.wait_for(|reached| *reached >= count);
    let Ok(reached) = timeout(PATIENCE, reached).await else {
        panic!("no client gets anywhere");
    };
    reached.expect("the ledger is here");
}

impl Records {
    /// How many requests ended like this.
    pub(crate) fn count(&self, promise: Promise) -> usize {
        let deeds = self.deeds();
        deeds.filter(|deed| deed.promise == promise).count()
    }

    pub(crate) fn deeds(&self) -> impl Iterator<Item = &Deed> {
        self.things.values().flatten().flatten()
    }

    /// What the trail may be held to: no other action was under test.
    pub(crate) fn actions(&self) -> BTreeSet<&'static str> {
        self.deeds().map(|deed| deed.action).collect()
    }
}
