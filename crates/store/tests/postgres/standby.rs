//! A synchronous standby that is unavailable: what waits for it, what is acknowledged meanwhile, and what it lacks when
//! it is promoted.

use std::{sync::Arc, time::Duration};

use keyproof_peer_postgres::{Postgres, Stop};
use keyproof_store::{
    Change, CommitError, Engine, EngineError, Key, Standbys,
    postgres::{PostgresEngine, PostgresOptions},
};
use tokio::{task::JoinHandle, time};
use tokio_postgres::Client;

use super::database::{
    Database, NOW, body, changes, commit, frugal, insert, key, number, parse, until,
};

const STANDBY: &str = "standby1";

/// What happens to a waiting write.
#[derive(Clone, Copy, Debug)]
enum Event {
    Cancelled,
    Terminated,
    Restarted(Stop),
}

/// Makes commits of this session wait for the standbys of that name; `back_door` itself never does.
pub(crate) async fn wait_for(back_door: &Client, standbys: &str) {
    back_door
        .batch_execute("SET synchronous_commit = local")
        .await
        .unwrap();
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
    back_door.batch_execute(&set).await.unwrap();
    back_door
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let set =
        "SELECT 1 FROM pg_stat_activity WHERE current_setting('synchronous_standby_names') = $1";
    until(async || !back_door.query(set, &[&standbys]).await.unwrap().is_empty()).await;
    // Whether commits wait is decided by the checkpointer, which may read the setting later than this session.
    back_door.batch_execute("CHECKPOINT").await.unwrap();
}

pub(crate) async fn waiting(back_door: &Client) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    number(back_door, waiting).await
}

/// Options with timeouts short enough for a test.
fn impatient() -> PostgresOptions {
    let mut options = frugal();
    options.commit_timeout = Duration::from_secs(3);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standbys_are_counted_and_it_is_told_whether_one_is_waited_for() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open_with(&frugal()).await;
    let told = async || engine.standbys().await.unwrap();
    assert_eq!(told().await, Standbys::default());
    let mut standby = database.server.standby(STANDBY).unwrap();
    until(async || told().await.following == 1).await;
    assert!(told().await.is_failover_unsafe());
    wait_for(&database.back_door().await, STANDBY).await;
    until(async || told().await.is_synchronous).await;
    assert!(!told().await.is_failover_unsafe());
    standby.kill().unwrap();
    until(async || told().await.following == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_a_synchronous_standby_takes_over() {
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = Arc::new(database.open_with(&impatient()).await);
    let mut standby = database.server.standby(STANDBY).unwrap();
    wait_for(&database.back_door().await, STANDBY).await;
    assert_eq!(commit(&*engine, [insert("before", "a")]).await, Ok(()));
    standby.kill().unwrap();

    let mut acknowledged = vec![key("before")];
    let mut unknown: Vec<Key> = Vec::new();
    for (at, event) in [
        Event::Cancelled,
        Event::Terminated,
        Event::Restarted(Stop::Fast),
        Event::Restarted(Stop::Immediate),
    ]
    .into_iter()
    .enumerate()
    {
        let alone = vec![insert(&format!("{at} alone"), "a")];
        let among_others = vec![
            insert(&format!("{at} first"), "a"),
            insert(&format!("{at} second"), "a"),
        ];
        let commits = [alone, among_others].map(|batch| {
            let keys: Vec<Key> = batch.iter().map(|(key, _)| key.clone()).collect();
            let engine = engine.clone();
            let commit = tokio::spawn(async move { commit(&*engine, batch).await });
            (keys, commit)
        });
        let back_door = database.back_door().await;
        until(async || waiting(&back_door).await == 2).await;
        let all_that_wait = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        match event {
            Event::Cancelled => {
                let cancel = format!("SELECT pg_cancel_backend(pid) {all_that_wait}");
                back_door.query(&cancel, &[]).await.unwrap();
            }
            Event::Terminated => {
                let terminate = format!("SELECT pg_terminate_backend(pid) {all_that_wait}");
                back_door.query(&terminate, &[]).await.unwrap();
            }
            Event::Restarted(how) => {
                database.server.stop(how).unwrap();
                database.server.restart().unwrap();
            }
        }
        for (keys, commit) in commits {
            match commit.await.unwrap() {
                Ok(()) => acknowledged.extend(keys.clone()),
                Err(CommitError::Unknown(_)) => {}
                other => panic!("{event:?}: {other:?}"),
            }
            unknown.extend(keys);
        }
    }
    // The primary returns them, so what depends on them must not be acknowledged either.
    let seen = engine.get_many(&unknown, NOW).await.unwrap();
    let confirmations = unknown.into_iter().zip(seen).map(|(key, row)| {
        let at = row.unwrap_or_else(|| panic!("{key}")).version;
        let engine = engine.clone();
        tokio::spawn(async move {
            let confirmed = commit(&*engine, [(key.clone(), Change::Require { at })]).await;
            confirmed.is_ok().then_some(key)
        })
    });
    for confirmation in confirmations.collect::<Vec<_>>() {
        acknowledged.extend(confirmation.await.unwrap());
    }

    database.server.kill().unwrap();
    standby.restart().unwrap();
    standby.promote().unwrap();
    let url = parse(&standby.url_of_copy(&database.url));
    let promoted = PostgresEngine::open(&url, &frugal()).await.unwrap();
    let found = promoted.get_many(&acknowledged, NOW).await.unwrap();
    for (key, row) in acknowledged.iter().zip(found) {
        assert!(row.is_some(), "{key} was acknowledged and is lost");
    }
}

/// Neither the write itself, nor reading back its outcome, nor the deletion of old ids.
#[tokio::test]
async fn writes_given_up_while_a_standby_is_away_leave_nothing_waiting() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let mut options = frugal();
    options.statement_timeout = Duration::from_millis(200);
    options.commit_timeout = Duration::from_millis(500);
    let engine = database.open_with(&options).await;
    commit(&engine, [insert("before", "a")]).await.unwrap();
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    let (mut given_up, mut is_told) = (0, false);
    for round in 0..6 {
        let alone = engine.commit(changes([insert(&format!("{round} a"), "a")]));
        let two = [
            insert(&format!("{round} b"), "b"),
            insert(&format!("{round} c"), "c"),
        ];
        let among_others = engine.commit(changes(two));
        let (alone, among_others) = tokio::join!(alone, among_others);
        for outcome in [alone, among_others] {
            match outcome {
                Err(CommitError::Unknown(error)) => {
                    given_up += 1;
                    is_told |= error
                        .to_string()
                        .contains("a standby that commits wait for is away");
                }
                // A busy machine did not start it in time.
                Err(CommitError::NotApplied(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(given_up > 0, "nothing was given up");
    assert!(is_told, "no error named the standby");
    until(async || waiting(&back_door).await == 0).await;
    engine.close().await;
    until(async || waiting(&back_door).await == 0).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'keyproof' AND backend_type = 'client backend'";
    until(async || number(&back_door, sessions).await == 0).await;
}

#[tokio::test]
async fn a_write_whose_standby_comes_back_in_time_is_acknowledged() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open_with(&PostgresOptions::default()).await;
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    let commit = engine.commit(changes([insert("a", "a")]));
    until(async || waiting(&back_door).await == 1).await;
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    back_door.query(terminate, &[]).await.unwrap();
    // Now the query that reads back is the one that waits.
    until(async || waiting(&back_door).await == 1).await;
    wait_for(&back_door, "").await;
    assert_eq!(commit.await, Ok(()));
    assert_eq!(body(&engine, "a").await, Some("a".to_owned()));
}

/// A cancelled wait ends in success with a warning, also for the query that reads back.
#[tokio::test]
async fn a_question_whose_wait_is_cancelled_is_not_believed() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open_with(&impatient()).await;
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    let cancelling = cancel_waits(back_door);
    let outcome = commit(&engine, [insert("a", "a")]).await;
    cancelling.abort();
    assert!(
        matches!(outcome, Err(CommitError::Unknown(_))),
        "{outcome:?}"
    );
}

/// A fence whose wait is cancelled exists, but does not count as done for a process that finds it.
#[tokio::test]
async fn a_fence_that_no_standby_has_is_refused_however_often_it_is_asked_for() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open_with(&impatient()).await;
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    let cancelling = cancel_waits(database.back_door().await);
    for _ in 0..3 {
        let fenced = engine.fence().await;
        assert!(matches!(fenced, Err(EngineError::Io { .. })), "{fenced:?}");
        let read = engine.get_many(&[key("a")], NOW).await;
        assert_eq!(read, Err(EngineError::Relocated));
    }
    cancelling.abort();
    wait_for(&back_door, "").await;
    assert_eq!(engine.fence().await, Ok(()));
    assert_eq!(engine.fence().await, Ok(()));
}

/// Both the fence and its confirmation. A minute passes as soon as either waits.
#[tokio::test]
async fn a_fence_that_waits_for_a_standby_says_so() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open_with(&impatient()).await;
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    for _ in 0..2 {
        let pass_a_minute = async {
            until(async || waiting(&back_door).await == 1).await;
            time::pause();
            time::advance(Duration::from_secs(61)).await;
            time::resume();
        };
        let (fenced, ()) = tokio::join!(engine.fence(), pass_a_minute);
        assert!(
            matches!(&fenced, Err(EngineError::Io { detail }) if detail.contains("waits for a standby")),
            "{fenced:?}"
        );
        until(async || waiting(&back_door).await == 0).await;
    }
    wait_for(&back_door, "").await;
    assert_eq!(engine.fence().await, Ok(()));
}

/// As if it was found on a former leader, and the current leader does not have it.
#[tokio::test]
async fn a_fence_that_the_server_has_not_is_not_confirmed() {
    let database = Database::new();
    let engine = database.open().await;
    let back_door = database.back_door().await;
    let rename = async |from: &str, to: &str| {
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        back_door.batch_execute(&rename).await.unwrap();
    };
    rename("keyproof_records", "elsewhere").await;
    let fenced = engine.fence().await;
    assert!(
        matches!(&fenced, Err(EngineError::Io { detail }) if detail.contains("no fence")),
        "{fenced:?}"
    );
    rename("elsewhere", "keyproof_records").await;
    assert_eq!(engine.fence().await, Ok(()));
    assert_eq!(engine.fence().await, Ok(()));
}

/// Ends every wait for a standby, until it is aborted.
fn cancel_waits(back_door: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        let cancel =
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while back_door.query(cancel, &[]).await.is_ok() {
            time::sleep(Duration::from_millis(10)).await;
        }
    })
}
