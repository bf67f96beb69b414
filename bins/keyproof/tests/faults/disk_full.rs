//! The disk of an SQLite store becomes full, and has space again.

use std::sync::{Arc, Mutex, PoisonError};

use keyproof_store::{
    Change, Changes, CommitError, CommitObserver, Engine, EngineError, Key, NotApplied, Row,
    SystemEntropy, Timestamp, Version,
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    client::Reply,
    cluster::Cluster,
    installation::Installation,
    ledger::Promise,
    load::{Instance, Load},
    seed::Seed,
    tmpfs::{Disk, is_inside},
};

const MIB: u64 = 1 << 20;

/// The verdicts of every group of commits.
#[derive(Default)]
struct Groups(Mutex<Vec<Vec<Result<(), CommitError>>>>);

impl CommitObserver for Groups {
    fn committed(&self, group: &[Result<(), CommitError>]) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.push(group.to_vec());
    }
}

fn is_full(result: &Result<(), CommitError>) -> bool {
    matches!(
        result,
        Err(CommitError::NotApplied(NotApplied::Engine(
            EngineError::Full { .. }
        )))
    )
}

#[tokio::test]
async fn a_group_that_does_not_fit_fails_whole_and_earlier_ones_stay() {
    if !is_inside("disk_full::a_group_that_does_not_fit_fails_whole_and_earlier_ones_stay") {
        return;
    }
    let seed = Seed::of_this_run();
    let mut sizes = seed.stream("sizes");
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(folder.path(), 2 * MIB);
    let path = folder.path().join("store.db");
    let engine = Arc::new(SqliteEngine::open(&path, &SqliteOptions::default()).unwrap());
    let groups = Arc::new(Groups::default());
    engine.observe(groups.clone());
    let now = Timestamp::from_secs(1_000_000);
    let key = |number: u32| Key::new("case", [&number.to_string()]);

    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    disk.fill(300_000);
    // Forty at a time until the disk is full, and then one more wave.
    for wave in 0.. {
        let mut commits = JoinSet::new();
        for number in (0..40).map(|number| wave * 40 + number) {
            let engine = Arc::clone(&engine);
            let row = Row {
                version: Version::random(&SystemEntropy::new()),
                body: vec![7; sizes.usize(..4096)].into(),
                expires_at: None,
            };
            let changes = [(key(number), Change::Insert(row))];
            let changes = Changes::new(changes, now, &SystemEntropy::new()).unwrap();
            commits.spawn(async move { (number, engine.commit(changes).await) });
        }
        let (done, failed): (Vec<_>, Vec<_>) = commits
            .join_all()
            .await
            .into_iter()
            .partition(|(_, result)| result.is_ok());
        assert!(failed.iter().all(|(_, result)| is_full(result)));
        let was_full = !refused.is_empty();
        kept.extend(done.into_iter().map(|(number, _)| number));
        refused.extend(failed.into_iter().map(|(number, _)| number));
        if was_full {
            break;
        }
    }
    let told = std::mem::take(&mut *groups.0.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(
        told.iter()
            .any(|group| group.len() > 1 && is_full(&group[0]))
    );
    for group in &told {
        let full = group.iter().filter(|result| is_full(result)).count();
        assert!(full == 0 || full == group.len(), "{group:?}");
    }

    assert!(matches!(
        engine.ready().await,
        Err(EngineError::Full { .. })
    ));
    disk.empty();
    assert_eq!(engine.ready().await, Ok(()));
    let there = async |engine: &SqliteEngine, numbers: &[u32]| {
        let keys: Vec<_> = numbers.iter().copied().map(key).collect();
        let rows = engine.get_many(&keys, now).await.unwrap();
        rows.iter().filter(|row| row.is_some()).count()
    };
    assert_eq!(there(&engine, &kept).await, kept.len());
    assert_eq!(there(&engine, &refused).await, 0);
    engine.close().await;
    let again = SqliteEngine::open(&path, &SqliteOptions::default()).unwrap();
    assert_eq!(there(&again, &kept).await, kept.len());
    assert_eq!(there(&again, &refused).await, 0);
}

#[tokio::test]
async fn a_server_is_ready_only_if_what_failed_would_fit() {
    if !is_inside("disk_full::a_server_is_ready_only_if_what_failed_would_fit") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(folder.path(), 8 * MIB);
    let cluster = Cluster::start(Installation::on_sqlite_in(folder), 1);
    let fleet = &cluster.fleet;
    let devices = Instance::add(&cluster.installation, fleet, "shop").await;
    let add = async |id: &str, length: usize| {
        let call = devices.add_large_device(id, length);
        match call.send(fleet, 0).await {
            Reply::Answered(answer) => (answer.status, answer.json["code"].clone()),
            Reply::Broken => panic!("it is up"),
        }
    };
    let fits = || (204, Value::Null);
    let does_not = || (500, 54.into());
    assert_eq!(add("before", 100_000).await, fits());
    assert_eq!(cluster.readiness(0).await, Some(200));

    // There is space for a page or two.
    disk.fill(24 << 10);
    assert_eq!(cluster.readiness(0).await, Some(200), "nothing has failed");
    assert_eq!(add("large", 100_000).await, does_not());
    assert_eq!(cluster.readiness(0).await, Some(503));
    // A small commit that succeeds proves nothing about large ones.
    assert_eq!(add("small", 1).await, fits());
    assert_eq!(cluster.readiness(0).await, Some(503));

    disk.empty();
    assert_eq!(cluster.readiness(0).await, Some(200));
    assert_eq!(add("large", 100_000).await, fits());
    assert_eq!(cluster.readiness(0).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_full_disks() {
    if !is_inside("disk_full::what_was_acknowledged_survives_full_disks") {
        return;
    }
    let seed = Seed::of_this_run();
    let mut faults = seed.stream("faults");
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(folder.path(), 24 * MIB);
    let mut cluster = Cluster::start(Installation::on_sqlite_in(folder), 1);
    let load = Load::start(&cluster, seed).await;
    let ledger = load.ledger();
    for round in 0..20 {
        ledger
            .acknowledged(ledger.count() + faults.u64(1..40))
            .await;
        disk.fill(faults.u64(0..100_000));
        let failures = ledger.failures() + faults.u64(1..10);
        ledger.failed(failures).await;
        cluster.becomes(0, 503).await;
        if round % 5 == 4 {
            // Killed while the disk is full, and started again before there is space.
            cluster.kill(0);
            cluster.bring_up(0);
        }
        disk.empty();
        cluster.becomes(0, 200).await;
    }
    let ledger = load.judge(&cluster.installation).await;
    let records = ledger.records();
    let count = |promise| records.count(promise);
    let (not_done, unknown) = (count(Promise::NotDone), count(Promise::Unknown));
    eprintln!(
        "{} acknowledged, {not_done} not done, {unknown} unknown",
        ledger.count()
    );
    assert!(not_done > 0);
}
