//! An engine that answers from a script, and leaves whoever asks beyond its end waiting.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use keyproof_service::Clock;
use keyproof_store::{
    BoxFuture, Changes, CommitError, Engine, EngineError, Key, Prefix, Row, Timestamp, Version,
    memory::MemoryEngine,
};

/// What an operation asks the store for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Commit(Changes),
    Read { keys: Vec<Key>, now: Timestamp },
}

/// What the store says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Commit(Result<(), CommitError>),
    Rows(Vec<Option<Row>>),
}

/// A request that was answered, and the time on the node's clock when it was.
pub(crate) struct Line {
    pub(crate) request: Request,
    pub(crate) answer: Answer,
    pub(crate) at: Timestamp,
}

pub(crate) struct Script {
    clock: Arc<NodeClock>,
    /// What no operation of the model changes; it is read without a step of the model.
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

    /// Whether the script is over and somebody waits for more.
    pub(crate) fn is_waiting(&self) -> bool {
        self.progress.lock().unwrap().waiting.is_some()
    }

    /// What was asked beyond the end, if anything was.
    pub(crate) fn take_waiting(&self) -> Option<Request> {
        self.progress.lock().unwrap().waiting.take()
    }

    /// The batches that only wrote to the audit trail.
    pub(crate) fn take_noted(&self) -> Vec<Changes> {
        std::mem::take(&mut self.progress.lock().unwrap().noted)
    }

    async fn answer(&self, request: Request) -> Answer {
        let line = {
            let mut progress = self.progress.lock().unwrap();
            let line = self.lines.get(progress.answered).cloned();
            match &line {
                Some(line) => {
                    // What makes it sound to run an operation again in place of keeping it.
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

/// Stands at the time of the last answer.
pub(crate) struct NodeClock(Mutex<(Timestamp, bool)>);

impl NodeClock {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self(Mutex::new((now, false)))
    }

    fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = (now, false);
    }

    /// Whether anybody has looked at it since it was set.
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
            // No event stands for several: each is judged by its own batch.
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
        // Nobody in the model has as many application tokens as a user may have.
        assert!(
            prefix.start().starts_with(b"application_token"),
            "no operation of the model scans {prefix:?}"
        );
        Box::pin(async { Ok(Vec::new()) })
    }

    fn expired(
        &self,
        _before: Timestamp,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        panic!("no operation of the model asks what has expired");
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let keys = || changes.entries().iter().map(|entry| &entry.key);
            // Such as that the key that signs is there: it is.
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

/// Which events are of which user.
const AUDIT_USER: &str = "audit_user";

/// Written once, before the model starts.
const FIXED: [&str; 4] = ["$store", "signing_key", "signing_key_in_use", "user_name"];

/// What operations of the model write and nothing depends on, so that it need not be kept.
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
