//! Lost answers, each lost at a known point.

use std::{sync::Arc, time::Duration};

use keyproof_peer_postgres::Postgres;
use keyproof_store::{
    Change, CommitError, Engine, EngineError, Key, NotApplied,
    postgres::{PostgresEngine, PostgresOptions},
};
use tokio_postgres::Client;

use super::{
    database::{
        Database, body, changes, commit, frugal, insert, key, number, parse, refusal, row, until,
    },
    proxy::Proxy,
    workload::keep_a_log,
};

/// The engine behind a proxy, with one connection already open, and a log of what is written.
async fn behind_a_proxy(
    database: &Database<Arc<Postgres>>,
    options: &PostgresOptions,
) -> (Proxy, PostgresEngine, Client) {
    let direct = database.open().await;
    let back_door = database.back_door().await;
    keep_a_log(&back_door).await;
    direct.close().await;
    let proxy = Proxy::before(database.server.port()).await;
    let url = parse(&proxy.url(&database.url));
    let engine = PostgresEngine::open(&url, options).await.unwrap();
    engine.ready().await.unwrap();
    (proxy, engine, back_door)
}

/// Options for one connection, so that it is the one that breaks.
fn one() -> PostgresOptions {
    let mut options = PostgresOptions::default();
    options.connections = 1;
    options
}

async fn written(back_door: &Client) -> i64 {
    number(back_door, "SELECT count(*) FROM log").await
}

fn batch(of: usize) -> Vec<(Key, Change)> {
    (0..of).map(|at| insert(&format!("a{at}"), "a")).collect()
}

#[tokio::test]
async fn a_commit_that_was_applied_is_found_so() {
    for of in [1, 3] {
        let database = Database::new();
        let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
        proxy.fall_silent_after(None, Some(0));
        let commit = engine.commit(changes(batch(of)));
        until(async || written(&back_door).await == of as i64).await;
        proxy.cut();
        assert_eq!(commit.await, Ok(()), "of {of}");
        assert_eq!(written(&back_door).await, of as i64, "once");
        assert_eq!(body(&engine, "a0").await, Some("a".to_owned()));
    }
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_tried_again() {
    for of in [1, 3] {
        let database = Database::new();
        let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
        proxy.cut_after(Some(0), None);
        assert_eq!(commit(&engine, batch(of)).await, Ok(()), "of {of}");
        assert_eq!(written(&back_door).await, of as i64, "once");
    }
}

#[tokio::test]
async fn a_commit_of_which_a_part_arrived_is_tried_again() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    // Only a part arrives: the transaction is open, and waits for more.
    proxy.cut_after(Some(600), None);
    assert_eq!(commit(&engine, batch(20)).await, Ok(()));
    assert_eq!(written(&back_door).await, 20);
}

#[tokio::test]
async fn a_conflict_is_found_again_after_its_answer_was_lost() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    commit(&engine, [insert("b", "b")]).await.unwrap();
    for (batch, entry) in [
        (vec![insert("b", "c")], 0),
        (
            vec![insert("a", "a"), insert("b", "c"), insert("c", "c")],
            1,
        ),
    ] {
        proxy.cut_after(None, Some(0));
        assert_eq!(
            commit(&engine, batch).await,
            Err(CommitError::Conflict { entry })
        );
        assert_eq!(written(&back_door).await, 1);
    }
}

/// The id inserted to read back must not be mistaken for the commit it is about.
#[tokio::test]
async fn a_question_whose_own_answer_was_lost_is_asked_again() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NOT NEW.applied THEN PERFORM pg_sleep(1); END IF; RETURN NULL; END';
        CREATE TRIGGER slow AFTER INSERT ON keyproof_commits FOR EACH ROW EXECUTE FUNCTION slow()";
    back_door.batch_execute(slow).await.unwrap();
    proxy.cut_after(Some(0), None);
    let commit = engine.commit(changes(batch(2)));
    let asking = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until(async || !back_door.query(asking, &[]).await.unwrap().is_empty()).await;
    proxy.fall_silent_after(None, Some(0));
    let asked = "SELECT 1 FROM keyproof_commits WHERE NOT applied";
    until(async || !back_door.query(asked, &[]).await.unwrap().is_empty()).await;
    proxy.cut();
    assert_eq!(commit.await, Ok(()));
    assert_eq!(written(&back_door).await, 2);
}

/// A single statement commits at its end, so a cancellation may come too late.
#[tokio::test]
async fn a_single_statement_that_was_cancelled_is_asked_about() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    proxy.answer_cancelled();
    assert_eq!(commit(&engine, [insert("late", "a")]).await, Ok(()));
    assert_eq!(written(&back_door).await, 1, "once");

    let cancelled = "CREATE FUNCTION cancelled() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION USING ERRCODE = ''57014'', MESSAGE = ''cancelled''; END';
        CREATE TRIGGER cancelled AFTER INSERT ON keyproof_records FOR EACH ROW EXECUTE FUNCTION cancelled()";
    back_door.batch_execute(cancelled).await.unwrap();
    let refused = refusal(commit(&engine, [insert("in time", "a")]).await);
    assert!(matches!(refused, EngineError::Busy { .. }), "{refused:?}");
    assert_eq!(written(&back_door).await, 1);
    let asked = "SELECT count(*) FROM keyproof_commits WHERE NOT applied";
    assert_eq!(number(&back_door, asked).await, 1);
}

/// As if its server was demoted meanwhile: another may accept writes.
#[tokio::test]
async fn a_question_that_a_connection_refuses_as_a_write_is_asked_on_another() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    let demote = "CREATE FUNCTION demote() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM set_config(''default_transaction_read_only'', ''on'', false); RETURN NULL; END';
        CREATE TRIGGER demote AFTER INSERT ON keyproof_records FOR EACH ROW EXECUTE FUNCTION demote()";
    back_door.batch_execute(demote).await.unwrap();
    proxy.answer_cancelled();
    assert_eq!(commit(&engine, [insert("late", "a")]).await, Ok(()));
    assert_eq!(written(&back_door).await, 1, "once");
}

/// Everything else is sent along with `BEGIN`, and must not take effect without it.
#[tokio::test]
async fn a_transaction_that_was_not_begun_applies_nothing() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    let kept = row("kept");
    commit(&engine, [(key("kept"), Change::Insert(kept.clone()))])
        .await
        .unwrap();
    let named = async || number(&back_door, "SELECT count(*) FROM keyproof_commits").await;
    let before = (written(&back_door).await, named().await);
    let (at, row) = (kept.version, row("changed"));
    let of_kept = |change| (key("kept"), change);
    for batch in [
        vec![insert("a", "a"), insert("b", "b")],
        vec![insert("a", "a"), of_kept(Change::Replace { at, row })],
        vec![insert("a", "a"), of_kept(Change::Remove { at })],
        vec![of_kept(Change::Require { at }), insert("z", "z")],
    ] {
        proxy.misspell("BEGIN");
        refusal(commit(&engine, batch).await);
        assert_eq!((written(&back_door).await, named().await), before);
        assert_eq!(body(&engine, "kept").await, Some("kept".to_owned()));
    }
    // The connection is still usable.
    assert_eq!(commit(&engine, batch(3)).await, Ok(()));
}

/// Neither may count as done. The connection has an open transaction, which must not be reused.
#[tokio::test]
async fn a_transaction_that_was_not_ended_is_not_gone_on_with() {
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    proxy.misspell("COMMIT");
    assert_eq!(commit(&engine, batch(3)).await, Ok(()));
    assert_eq!(written(&back_door).await, 3, "once");
    assert_eq!(body(&engine, "a0").await, Some("a".to_owned()));
    // A batch that is too large to be sent at once ends with ROLLBACK if an early entry has failed.
    let large = (0..24).map(|at| insert(&format!("a{at}"), &"x".repeat(512 << 10)));
    proxy.misspell("ROLLBACK");
    assert_eq!(
        commit(&engine, large).await,
        Err(CommitError::Conflict { entry: 0 })
    );
    assert_eq!(body(&engine, "a0").await, Some("a".to_owned()));
    assert_eq!(commit(&engine, [insert("b", "b")]).await, Ok(()));
}

/// More than is sent at once.
#[tokio::test]
async fn a_large_batch_is_all_or_nothing_too() {
    let large = |but: Option<usize>| {
        let keep = (0..24).filter(move |at| but != Some(*at));
        keep.map(|at| insert(&format!("large {at:02}"), &"x".repeat(512 << 10)))
            .collect::<Vec<_>>()
    };
    let database = Database::new();
    let (proxy, engine, back_door) = behind_a_proxy(&database, &one()).await;
    commit(&engine, [insert("large 12", "in the way")])
        .await
        .unwrap();
    assert_eq!(
        commit(&engine, large(None)).await,
        Err(CommitError::Conflict { entry: 12 })
    );
    assert_eq!(written(&back_door).await, 1);
    proxy.cut_after(Some(8 << 20), None);
    assert_eq!(commit(&engine, large(Some(12))).await, Ok(()));
    assert_eq!(written(&back_door).await, 24);
}

#[tokio::test]
async fn an_answer_that_nobody_can_give_is_unknown() {
    for of in [1, 3] {
        let database = Database::new();
        let mut options = one();
        options.statement_timeout = Duration::from_secs(2);
        options.commit_timeout = Duration::from_secs(5);
        let (proxy, engine, back_door) = behind_a_proxy(&database, &options).await;
        // No answer comes back, on any connection, as long as the engine tries to read back.
        proxy.fall_silent_after(None, Some(0));
        let outcome = commit(&engine, batch(of)).await;
        assert!(
            matches!(outcome, Err(CommitError::Unknown(EngineError::Io { .. }))),
            "{outcome:?}"
        );
        proxy.cut();
        until(async || written(&back_door).await == of as i64).await;
        until(async || engine.ready().await.is_ok()).await;
        assert_eq!(body(&engine, "a0").await, Some("a".to_owned()));
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_applies_nothing_and_is_not_ready() {
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let mut options = frugal();
    options.commit_timeout = Duration::from_secs(2);
    let engine = database.open_with(&options).await;
    commit(&engine, [insert("a", "a")]).await.unwrap();
    database.server.kill().unwrap();
    // The existing connections are not known to be closed; new ones are refused.
    let outcome = commit(&engine, [insert("b", "b")]).await;
    assert!(
        matches!(
            outcome,
            Err(
                CommitError::NotApplied(NotApplied::Engine(EngineError::Io { .. }))
                    | CommitError::Unknown(_)
            )
        ),
        "{outcome:?}"
    );
    let refused = refusal(commit(&engine, [insert("b", "b")]).await);
    assert!(matches!(refused, EngineError::Io { .. }), "{refused:?}");
    assert!(matches!(engine.ready().await, Err(EngineError::Io { .. })));
    database.server.restart().unwrap();
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(body(&engine, "a").await, Some("a".to_owned()));
    assert_eq!(body(&engine, "b").await, None);
}

#[tokio::test]
async fn reads_go_on_after_the_server_was_restarted() {
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open().await;
    commit(&engine, [insert("a", "a")]).await.unwrap();
    database.server.kill().unwrap();
    database.server.restart().unwrap();
    assert_eq!(body(&engine, "a").await, Some("a".to_owned()));
}

#[tokio::test]
async fn a_commit_whose_caller_went_away_is_applied_all_the_same() {
    let database = Database::new();
    let engine = database.open().await;
    let back_door = database.back_door().await;
    drop(engine.commit(changes([insert("never asked", "a"), insert("b", "b")])));
    until(async || body(&engine, "never asked").await.is_some()).await;

    // One that waits for another client's lock when it is given up.
    let held = row("held");
    commit(&engine, [(key("held"), Change::Insert(held.clone()))])
        .await
        .unwrap();
    back_door
        .batch_execute("BEGIN; SELECT 1 FROM keyproof_records FOR UPDATE")
        .await
        .unwrap();
    let remove = Change::Remove { at: held.version };
    let waiting = engine.commit(changes([insert("a", "a"), (key("held"), remove)]));
    let given_up = tokio::time::timeout(Duration::from_millis(100), waiting).await;
    assert!(given_up.is_err());
    assert_eq!(body(&engine, "a").await, None);
    back_door.batch_execute("ROLLBACK").await.unwrap();
    until(async || body(&engine, "a").await.is_some()).await;
    assert_eq!(body(&engine, "held").await, None);
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    let database = Database::new();
    let engine = database.open().await;
    let commits: Vec<_> = (0..10)
        .map(|at| {
            engine.commit(changes([
                insert(&format!("a{at}"), "a"),
                insert(&format!("b{at}"), "b"),
            ]))
        })
        .collect();
    engine.close().await;
    engine.close().await;
    for commit in commits {
        assert_eq!(commit.await, Ok(()));
    }
    let back_door = database.back_door().await;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(number(&back_door, left).await, 0, "connections");
    assert_eq!(
        commit(&engine, []).await,
        Err(CommitError::NotApplied(EngineError::Closed.into()))
    );
}
