//! Callers that change records all the time, a model of the outcomes they got, and a log of what the database did.

use std::{
    collections::HashMap,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyproof_store::{Change, CommitError, Engine, Key, NotApplied, Prefix, Row};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;

use super::database::{NOW, changes, in_time, key, number, row};

/// Logs every version that the database writes, in the transaction that writes it.
pub(crate) async fn keep_a_log(back_door: &Client) {
    back_door
        .batch_execute(
            "CREATE TABLE log (version BYTEA);
             CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO log VALUES (NEW.version); RETURN NULL; END';
             CREATE TRIGGER log AFTER INSERT OR UPDATE ON keyproof_records
                 FOR EACH ROW EXECUTE FUNCTION log()",
        )
        .await
        .unwrap();
}

/// How many commits ended in each way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) applied: usize,
    pub(crate) not_applied: usize,
    pub(crate) unknown: usize,
}

/// Callers at work.
pub(crate) struct Workload {
    is_over: Arc<AtomicBool>,
    applied: Arc<AtomicUsize>,
    callers: JoinSet<(Tally, HashMap<Key, Row>)>,
}

impl Workload {
    /// Each caller replaces its own counter, and with each change inserts a record that stays.
    pub(crate) fn start(engine: &Arc<dyn Engine>, truth: &Arc<dyn Engine>, callers: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let applied = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let caller = Caller {
                engine: engine.clone(),
                truth: truth.clone(),
                applied: applied.clone(),
                caller,
                counter: None,
                kept: HashMap::new(),
            };
            tasks.spawn(caller.work(is_over.clone()));
        }
        Self {
            is_over,
            applied,
            callers: tasks,
        }
    }

    /// Waits until this many more commits were acknowledged.
    pub(crate) async fn go_on(&self, commits: usize) {
        let enough = self.applied.load(Ordering::SeqCst) + commits;
        in_time(async {
            while self.applied.load(Ordering::SeqCst) < enough {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Stops the callers, and compares the records with the outcomes they got.
    pub(crate) async fn finish(self, truth: &dyn Engine, back_door: &Client) -> Tally {
        self.is_over.store(true, Ordering::SeqCst);
        let mut tally = Tally::default();
        let mut model = HashMap::new();
        for (caller, kept) in in_time(self.callers.join_all()).await {
            tally.applied += caller.applied;
            tally.not_applied += caller.not_applied;
            tally.unknown += caller.unknown;
            model.extend(kept);
        }
        let found = truth
            .scan(&Prefix::all(), None, usize::MAX, NOW)
            .await
            .unwrap();
        assert_eq!(found.len(), model.len(), "{tally:?}");
        for (key, row) in found {
            assert_eq!(model.get(&key), Some(&row), "{key}");
        }
        let twice = "SELECT count(*) FROM (SELECT 1 FROM log GROUP BY version HAVING count(*) > 1) AS twice";
        let twice = number(back_door, twice).await;
        assert_eq!(twice, 0, "versions that were written twice");
        tally
    }
}

struct Caller {
    engine: Arc<dyn Engine>,
    truth: Arc<dyn Engine>,
    applied: Arc<AtomicUsize>,
    caller: usize,
    counter: Option<Row>,
    kept: HashMap<Key, Row>,
}

impl Caller {
    async fn work(mut self, is_over: Arc<AtomicBool>) -> (Tally, HashMap<Key, Row>) {
        let mut tally = Tally::default();
        let counter_key = key(&format!("counter {}", self.caller));
        for step in 0.. {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            let counter = row(&step.to_string());
            let event_key = key(&format!("event {} {step}", self.caller));
            // Sometimes long enough to be sent in several segments.
            let event = row(&"x".repeat(if step % 8 == 0 { 20_000 } else { 20 }));
            let change = match &self.counter {
                None => Change::Insert(counter.clone()),
                Some(old) => Change::Replace {
                    at: old.version,
                    row: counter.clone(),
                },
            };
            let batch = changes([
                (counter_key.clone(), change),
                (event_key.clone(), Change::Insert(event.clone())),
            ]);
            let is_applied = match self.engine.commit(batch).await {
                Ok(()) => {
                    tally.applied += 1;
                    self.applied.fetch_add(1, Ordering::SeqCst);
                    self.counter_is(&counter_key, counter);
                    true
                }
                Err(CommitError::NotApplied(NotApplied::Engine(_))) => {
                    tally.not_applied += 1;
                    sleep(Duration::from_millis(5)).await;
                    false
                }
                Err(CommitError::Unknown(_)) => {
                    tally.unknown += 1;
                    self.settle(&counter_key, &counter).await
                }
                Err(error) => panic!("nobody else changes these records: {error}"),
            };
            if is_applied {
                self.kept.insert(event_key, event);
            }
        }
        (tally, self.kept)
    }

    fn counter_is(&mut self, key: &Key, row: Row) {
        self.kept.insert(key.clone(), row.clone());
        self.counter = Some(row);
    }

    /// Resolves an unknown outcome, and returns whether it was applied. It changes only the version of the counter,
    /// which either comes after that commit or makes it impossible.
    async fn settle(&mut self, key: &Key, unknown: &Row) -> bool {
        let mut was_applied = false;
        loop {
            sleep(Duration::from_millis(20)).await;
            let Ok(found) = self.truth.get_many(slice::from_ref(key), NOW).await else {
                continue;
            };
            let found = found.into_iter().next().flatten();
            was_applied |= found
                .as_ref()
                .is_some_and(|row| row.version == unknown.version);
            let next = Row {
                version: row("").version,
                ..found.clone().unwrap_or_else(|| unknown.clone())
            };
            let change = match found {
                Some(Row { version: at, .. }) => Change::Replace {
                    at,
                    row: next.clone(),
                },
                None => Change::Insert(next.clone()),
            };
            let settled = self.truth.commit(changes([(key.clone(), change)])).await;
            if settled.is_ok() {
                self.counter_is(key, next);
                return was_applied;
            }
        }
    }
}
