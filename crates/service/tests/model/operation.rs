//! An operation of a node, run from its beginning as far as the store's answers go.
//!
//! A use case depends only on its command, its node's clock, its random bytes and the store's answers. So its progress
//! need not be stored: it is run again, and [`Script`] asserts that it makes the same requests.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use keyproof_service::{Accounts, Audit, CpuQueue, audit::Event};
use keyproof_store::{Changes, Entropy, Entry, MasterKeys, Store, Timestamp};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::{
    commands::{Command, Verdict},
    script::{AUDIT, Line, NodeClock, Request, Script, collection},
    setting::{Setting, policy},
};

/// A command and how often it was given before, which together identify an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operation {
    pub(crate) command: Command,
    pub(crate) repetition: u8,
}

pub(crate) struct Run {
    pub(crate) stop: Stop,
    /// Its audit events without another change.
    pub(crate) noted: Vec<Event>,
    /// Whether it has read the clock since the last answer.
    pub(crate) timed: bool,
}

/// Where an operation stops.
pub(crate) enum Stop {
    /// It waits for the store.
    Asks(Request),
    Says(Verdict),
}

impl Operation {
    /// Runs it from `start` with the answers of `lines`.
    pub(crate) fn run(&self, setting: &Setting, start: Timestamp, lines: &[Arc<Line>]) -> Run {
        let clock = Arc::new(NodeClock::new(start));
        let script = Script::new(clock.clone(), Arc::clone(&setting.fixed), lines.to_vec());
        let script = Arc::new(script);
        let entropy = Arc::new(Seeded::new(&format!("{self:?}")));
        let open = Store::open(
            script.clone(),
            MasterKeys::new(&setting.master_key),
            entropy,
            start,
        );
        let store = finish(open).expect("it was opened before");
        let audit = Arc::new(Audit::new(store.clone(), clock.clone()));
        let hashing = Arc::clone(&setting.hashing);
        let accounts = Accounts::new(
            store,
            clock.clone(),
            audit,
            hashing,
            CpuQueue::default(),
            policy(),
        );
        let performing = self
            .command
            .perform(&accounts, &setting.session, &setting.old);
        let verdict = run_until(performing, || script.is_waiting());
        let stop = match (verdict, script.take_waiting()) {
            (Some(verdict), None) => Stop::Says(verdict),
            (None, Some(request)) => Stop::Asks(request),
            _ => unreachable!("an operation that has ended waits for the store"),
        };
        Run {
            stop,
            noted: script.take_noted().iter().flat_map(events).collect(),
            timed: clock.was_read(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repetition {
            0 => self.command.fmt(f),
            more => write!(f, "{} (no. {})", self.command, more + 1),
        }
    }
}

/// Returns the audit events in a batch.
pub(crate) fn events(changes: &Changes) -> Vec<Event> {
    #[derive(Deserialize)]
    struct Body {
        data: Event,
    }
    let audited = changes.entries().iter().filter_map(|entry| match entry {
        Entry {
            key,
            change: keyproof_store::Change::Insert(row),
            ..
        } if collection(key) == AUDIT => Some(row),
        _ => None,
    });
    audited
        .map(|row| serde_json::from_slice::<Body>(&row.body).unwrap().data)
        .collect()
}

pub(crate) fn finish<T>(future: impl Future<Output = T>) -> T {
    run_until(future, || false).expect("it runs to its end")
}

/// Polls until the future is ready, or `is_stuck` when it is pending. Hashing threads wake it.
fn run_until<T>(future: impl Future<Output = T>, is_stuck: impl Fn() -> bool) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if is_stuck() => return None,
            Poll::Pending => thread::park(),
        }
    }
}

/// Random bytes that are the same in every run: SHA-256 of a counter and the seed.
pub(crate) struct Seeded {
    seed: String,
    drawn: AtomicU64,
}

impl Seeded {
    pub(crate) fn new(seed: &str) -> Self {
        Self {
            seed: seed.to_owned(),
            drawn: AtomicU64::new(0),
        }
    }
}

impl Entropy for Seeded {
    fn fill(&self, dest: &mut [u8]) {
        for part in dest.chunks_mut(32) {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
            let block = digest(&SHA256, format!("{drawn} {}", self.seed).as_bytes());
            part.copy_from_slice(&block.as_ref()[..part.len()]);
        }
    }
}
