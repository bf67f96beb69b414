//! The conformance suite for engines.
//!
//! It checks an engine against the contract of [`Engine`], case by case. It also compares it with
//! [`MemoryEngine`](crate::memory::MemoryEngine), the model, over generated sequences of operations. The author of an
//! engine implements [`Database`] and writes, in a test:
//!
//! ```
//! use std::sync::Arc;
//! use keyproof_store::{BoxFuture, Engine, conformance, memory::MemoryEngine};
//!
//! /// Every node of this database is the same engine.
//! struct Memory(Arc<MemoryEngine>);
//!
//! impl conformance::Database for Memory {
//!     fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>> {
//!         Box::pin(async { self.0.clone() as Arc<dyn Engine> })
//!     }
//!     fn is_durable(&self) -> bool {
//!         false
//!     }
//! }
//!
//! conformance::tests!(Memory(Arc::new(MemoryEngine::new())));
//! ```
//!
//! A case panics if the engine violates its rule.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test suite reports by a panic"
)]

mod model;
mod races;
mod rules;
mod snapshots;

use std::{future::Future, sync::Arc};

use crate::{
    BoxFuture, Change, Changes, CommitError, Engine, EngineError, Key, Prefix, ReadPlan, Reading,
    Row, Snapshot, StoreError, SystemEntropy, Timestamp, Version,
};

pub use model::agrees_with_the_model;
pub use races::{
    a_reading_is_of_one_state, an_expired_record_has_one_successor,
    crossed_requirements_exclude_each_other, one_of_64_writers_wins, totals_hold_under_transfers,
};
pub use rules::{
    a_batch_is_all_or_nothing, a_closed_engine_says_so, a_new_database_is_empty_and_ready,
    a_reading_follows_what_it_finds, a_reading_that_panics_harms_nobody_else,
    acknowledged_writes_outlive_the_engine, expired_records_are_absent, expired_records_are_listed,
    inserting_is_unique, no_version_comes_back, resealing_keeps_the_version,
    scans_are_ordered_and_paged, stale_versions_conflict, the_first_conflict_in_key_order_is_named,
    the_limits_are_reached,
};
pub use snapshots::{
    a_fenced_store_serves_nobody, a_snapshot_is_of_one_state, an_estimate_is_of_all_that_is_stored,
    compacting_changes_nothing, pages_of_a_snapshot_are_bounded,
};

/// A database for one case, empty at first.
pub trait Database: Send + Sync {
    /// Opens the database as one more node; other engines may have it open.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>>;

    /// Whether records outlive the last engine that has the database open.
    fn is_durable(&self) -> bool;
}

/// Writes one `#[test]` for every case. The expression creates a new [`Database`] each time.
#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_tests {
    ($database:expr) => {
        $crate::__conformance_tests!(@each $database;
            a_batch_is_all_or_nothing
            a_closed_engine_says_so
            a_fenced_store_serves_nobody
            a_new_database_is_empty_and_ready
            a_reading_follows_what_it_finds
            a_reading_is_of_one_state
            a_reading_that_panics_harms_nobody_else
            a_snapshot_is_of_one_state
            acknowledged_writes_outlive_the_engine
            agrees_with_the_model
            an_estimate_is_of_all_that_is_stored
            an_expired_record_has_one_successor
            compacting_changes_nothing
            crossed_requirements_exclude_each_other
            expired_records_are_absent
            expired_records_are_listed
            inserting_is_unique
            no_version_comes_back
            one_of_64_writers_wins
            pages_of_a_snapshot_are_bounded
            resealing_keeps_the_version
            scans_are_ordered_and_paged
            stale_versions_conflict
            the_first_conflict_in_key_order_is_named
            the_limits_are_reached
            totals_hold_under_transfers
        );
    };
    (@each $database:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case(&$database);
            }
        )*
    };
}
#[doc(inline)]
pub use crate::__conformance_tests as tests;

/// Scans a prefix from the key beside it, forwards or back.
async fn scan(
    engine: &dyn Engine,
    is_back: bool,
    (prefix, from): (&Prefix, Option<&Key>),
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(Key, Row)>, EngineError> {
    if is_back {
        engine.scan_back(prefix, from, limit, now).await
    } else {
        engine.scan(prefix, from, limit, now).await
    }
}

/// Runs a case on its own runtime, with enough threads for races.
fn run<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(case)
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn key(name: &str) -> Key {
    Key::new("case", ["tenant", name])
}

/// A row with a version that was never used before.
fn row(body: &str) -> Row {
    Row {
        version: Version::random(&SystemEntropy::new()),
        body: body.into(),
        expires_at: None,
    }
}

fn expiring(body: &str, expires_at: Timestamp) -> Row {
    Row {
        expires_at: Some(expires_at),
        ..row(body)
    }
}

fn insert(key: &Key, row: &Row) -> (Key, Change) {
    (key.clone(), Change::Insert(row.clone()))
}

fn replace(key: &Key, old: &Row, new: &Row) -> (Key, Change) {
    (
        key.clone(),
        Change::Replace {
            at: old.version,
            row: new.clone(),
        },
    )
}

fn remove(key: &Key, old: &Row) -> (Key, Change) {
    (key.clone(), Change::Remove { at: old.version })
}

fn require(key: &Key, old: &Row) -> (Key, Change) {
    (key.clone(), Change::Require { at: old.version })
}

fn reseal(key: &Key, old: &Row, body: &str) -> (Key, Change) {
    (
        key.clone(),
        Change::Reseal {
            at: old.version,
            body: body.into(),
        },
    )
}

fn changes(changes: impl IntoIterator<Item = (Key, Change)>, now: Timestamp) -> Changes {
    Changes::new(changes, now, &SystemEntropy::new()).expect("a batch within the limits")
}

async fn commit(
    engine: &dyn Engine,
    entries: impl IntoIterator<Item = (Key, Change)>,
    now: Timestamp,
) -> Result<(), CommitError> {
    engine.commit(changes(entries, now)).await
}

/// Inserts rows that must be absent.
async fn fill(engine: &dyn Engine, rows: &[(Key, Row)]) {
    for chunk in rows.chunks(Changes::MAX_ENTRIES) {
        let entries = chunk.iter().map(|(key, row)| insert(key, row));
        commit(engine, entries, NOW)
            .await
            .expect("nothing is there yet");
    }
}

async fn get(engine: &dyn Engine, key: &Key, now: Timestamp) -> Option<Row> {
    let rows = engine
        .get_many(std::slice::from_ref(key), now)
        .await
        .expect("a read");
    assert_eq!(rows.len(), 1, "as many answers as keys");
    rows.into_iter().next().flatten()
}

async fn read(engine: &dyn Engine, plan: ReadPlan, now: Timestamp) -> Result<Snapshot, StoreError> {
    let reading = engine.read(Reading::new(plan, now), now).await?;
    reading.into_snapshot()
}

/// The row that was read for a key.
fn row_of(found: &Snapshot, key: &Key) -> Option<Row> {
    let raw = found.raw(key).expect("it was read")?;
    Some(raw.clone().into_parts().1)
}

/// The row's body as the name of another key.
fn leads_to(row: &Row) -> Key {
    key(std::str::from_utf8(&row.body).expect("a name"))
}

/// All stored records, except one that expires at the epoch itself.
async fn dump(engine: &dyn Engine) -> Vec<(Key, Row)> {
    engine
        .scan(&Prefix::all(), None, usize::MAX, Timestamp::EPOCH)
        .await
        .expect("a scan")
}
