//! An engine that answers from a script. Requests beyond its end stay pending.

use std::{
    future::pending,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

use keyproof_service::Clock;
use keyproof_store::{
    BoxFuture, Changes, CommitError, Engine, EngineError, Key, Prefix, Row, Timestamp, Version,
    memory::MemoryEngine,
};

/// A request to the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Commit(Changes),
    Read { keys: Vec<Key>, now: Timestamp },
}

/// An answer of the store.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Commit(Result<(), CommitError>),
    Rows(Vec<Option<Row>>),
}

/// An answered request, and the time on the node's clock at the answer.
pub(crate) struct Line {
    pub(crate) request: Request,
    pub(crate) answer: Answer,
    pub(crate) at: Timestamp,
}

pub(crate) struct Script {
    clock: Arc<NodeClock>,
    /// The records that no operation of the model changes. Reading them takes no step of the model.
    fixed: Arc<MemoryEngine>,
    lines: Vec<Arc<Line>>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    answered: usize,
    waiting: Option<Request>,
    noted: Vec<Changes>,
}

impl Script {
    pub(crate) fn new(
        clock: Arc<NodeClock>,
        fixed: Arc<MemoryEngine>,
        lines: Vec<Arc<Line>>,
    ) -> Self {
        Self {
            clock,
            fixed,
            lines,
            progress: Mutex::default(),
        }
    }

    /// Returns whether a request beyond the end of the script is pending.
    pub(crate) fn is_waiting(&self) -> bool {
        self.progress.lock().unwrap().waiting.is_some()
    }

    /// Takes the request beyond the end of the script, if there is one.
    pub(crate) fn take_waiting(&self) -> Option<Request> {
        self.progress.lock().unwrap().waiting.take()
    }

    /// Takes the batches that only wrote to the audit trail.
    pub(crate) fn take_noted(&self) -> Vec<Changes> {
        std::mem::take(&mut self.progress.lock().unwrap().noted)
    }

    async fn answer(&self, request: Request) -> Answer {
        let line = {
            let mut progress = self.progress.lock().unwrap();
            let line = self.lines.get(progress.answered).cloned();
            match &line {
                Some(line) => {
                    // This makes it sound to run an operation again instead of storing its progress.
                    assert_eq!(line.request, request, "an operation ran another way");
                    progress.answered += 1;
                }
                None => assert_eq!(progress.waiting.replace(request), None),
            }
            line
        };
        let Some(line) = line else {
            return pending().await;
        };
        self.clock.set(line.at);
        line.answer.clone()
    }
}

/// A clock that shows the time of the last answer.
pub(crate) struct NodeClock(Mutex<(Timestamp, bool)>);

impl NodeClock {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self(Mutex::new((now, false)))
    }

    fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = (now, false);
    }

    /// Returns whether it was read since it was set.
    pub(crate) fn was_read(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let mut clock = self.0.lock().unwrap();
        clock.1 = true;
        clock.0
    }
}

impl Engine for Script {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(async move {
            if keys.iter().all(is_fixed) {
                return self.fixed.get_many(keys, now).await;
            }
            // Events are never merged here: each is checked with its own batch.
            if keys.iter().all(|key| collection(key) == AUDIT) {
                return Ok(vec![None; keys.len()]);
            }
            assert!(!keys.iter().any(is_never_read), "{keys:?}");
            let keys = keys.to_vec();
            match self.answer(Request::Read { keys, now }).await {
                Answer::Rows(rows) => Ok(rows),
                Answer::Commit(_) => panic!("a read was answered as a commit"),
            }
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        _after: Option<&'a Key>,
        _limit: usize,
        _now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        // No user in the model reaches the limit of application tokens.
        assert!(
            prefix.start().starts_with(b"application_token"),
            "no operation of the model scans {prefix:?}"
        );
        Box::pin(async { Ok(Vec::new()) })
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        _before: Option<&'a Key>,
        _limit: usize,
        _now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        panic!("no operation of the model scans {prefix:?} backwards");
    }

    fn expired(
        &self,
        _within: RangeInclusive<Timestamp>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        panic!("no operation of the model asks what has expired");
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let keys = || changes.entries().iter().map(|entry| &entry.key);
            // For example, a requirement that the signing key exists.
            if keys().all(is_fixed) {
                return self.fixed.commit(changes).await;
            }
            if keys().all(is_of_the_trail) {
                self.progress.lock().unwrap().noted.push(changes);
                return Ok(());
            }
            match self.answer(Request::Commit(changes)).await {
                Answer::Commit(outcome) => outcome,
                Answer::Rows(_) => panic!("a commit was answered as a read"),
            }
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

pub(crate) const AUDIT: &str = "audit";

/// The index of events by user.
const AUDIT_USER: &str = "audit_user";

/// Written once, before the model starts.
const FIXED: [&str; 4] = ["$store", "signing_key", "signing_key_in_use", "user_name"];

/// Collections that the model's operations write and that affect nothing, so they are not stored.
const NEVER_READ: [&str; 5] = [
    "application_token",
    "application_token_text",
    AUDIT,
    AUDIT_USER,
    "refresh_token",
];

fn is_of_the_trail(key: &Key) -> bool {
    [AUDIT, AUDIT_USER].contains(&collection(key).as_str())
}

pub(crate) fn is_fixed(key: &Key) -> bool {
    FIXED.contains(&collection(key).as_str())
}

pub(crate) fn is_never_read(key: &Key) -> bool {
    NEVER_READ.contains(&collection(key).as_str())
}

pub(crate) fn collection(key: &Key) -> String {
    let segment = key.segments().next().expect("a key has a collection");
    segment.to_string()
}
