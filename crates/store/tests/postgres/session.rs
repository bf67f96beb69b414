//! The required session settings, and what an error must not contain.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use keyproof_peer_postgres::{Postgres, Setup};
use keyproof_store::{
    CommitError, CommitObserver, Engine, EngineError, OpenError,
    postgres::{PostgresEngine, PostgresOptions, PostgresUrl},
};

use super::{
    database::{Database, body, changes, commit, frugal, insert, number, parse, refusal, until},
    standby::wait_for,
};

#[tokio::test]
async fn the_session_is_ours_whatever_the_database_says() {
    let database = Database::new();
    let back_door = database.back_door().await;
    database.open().await.close().await;
    let name = database.name();
    let adverse = format!(
        "ALTER DATABASE {name} SET synchronous_commit = off;
         ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
         ALTER DATABASE {name} SET client_min_messages = error;
         ALTER DATABASE {name} SET statement_timeout = 0;
         CREATE TABLE seen (setting TEXT, value TEXT);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NULL; END';
         CREATE TRIGGER see AFTER INSERT ON keyproof_records FOR EACH ROW EXECUTE FUNCTION see()"
    );
    back_door.batch_execute(&adverse).await.unwrap();
    let engine = database.open_with(&PostgresOptions::default()).await;
    commit(&engine, [insert("a", "a")]).await.unwrap();
    for (setting, value) in [
        ("application_name", "keyproof"),
        ("client_min_messages", "warning"),
        ("idle_in_transaction_session_timeout", "5000"),
        ("lock_timeout", "3000"),
        ("statement_timeout", "5000"),
        ("synchronous_commit", "on"),
        ("transaction_isolation", "read committed"),
    ] {
        let seen = "SELECT DISTINCT value FROM seen WHERE setting = $1";
        let seen: String = back_door.query_one(seen, &[&setting]).await.unwrap().get(0);
        assert_eq!(seen, value, "{setting}");
    }
}

#[tokio::test]
async fn a_weaker_promise_of_durability_is_raised_and_a_stronger_one_is_kept() {
    let database = Database::new();
    let back_door = database.back_door().await;
    database.open().await.close().await;
    let see = "CREATE TABLE seen (value TEXT);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT ON keyproof_records FOR EACH ROW EXECUTE FUNCTION see()";
    back_door.batch_execute(see).await.unwrap();
    for (set, held_to) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let name = database.name();
        let setting = format!("ALTER DATABASE {name} SET synchronous_commit = {set}");
        back_door.batch_execute(&setting).await.unwrap();
        let engine = database.open().await;
        commit(&engine, [insert(set, "a")]).await.unwrap();
        let seen = "DELETE FROM seen RETURNING value";
        let seen: String = back_door.query_one(seen, &[]).await.unwrap().get(0);
        assert_eq!(seen, held_to, "{set}");
        engine.close().await;
    }
}

#[tokio::test]
async fn a_commit_that_its_standby_did_not_confirm_is_not_acknowledged() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let mut options = frugal();
    options.commit_timeout = Duration::from_secs(6);
    let engine = database.open_with(&options).await;
    let back_door = database.back_door().await;
    wait_for(&back_door, "nowhere").await;
    let waiting =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    for batch in [
        vec![insert("a", "a")],
        vec![insert("b", "b"), insert("c", "c")],
    ] {
        let commit = engine.commit(changes(batch));
        until(async || number(&back_door, waiting).await > 0).await;
        let outcome = commit.await;
        assert!(
            matches!(outcome, Err(CommitError::Unknown(_))),
            "{outcome:?}"
        );
    }
    wait_for(&back_door, "").await;
    until(async || commit(&engine, [insert("d", "d")]).await == Ok(())).await;
}

/// Like the warning about a counter that runs out, which comes with every transaction meanwhile.
#[tokio::test]
async fn other_warnings_are_the_servers_own_business() {
    let database = Database::new();
    let engine = database.open().await;
    let warn = "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE WARNING ''the end is near''; RETURN NULL; END';
        CREATE TRIGGER warn AFTER INSERT ON keyproof_records FOR EACH ROW EXECUTE FUNCTION warn()";
    let back_door = database.back_door().await;
    back_door.batch_execute(warn).await.unwrap();
    assert_eq!(commit(&engine, [insert("a", "a")]).await, Ok(()));
    let two = [insert("b", "b"), insert("c", "c")];
    assert_eq!(commit(&engine, two).await, Ok(()));
    assert_eq!(engine.ready().await, Ok(()));
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_ready() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let engine = database.open().await;
    commit(&engine, [insert("a", "a")]).await.unwrap();
    assert_eq!(engine.ready().await, Ok(()));
    let back_door = database.back_door().await;
    let read_only = async |on: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
        back_door.batch_execute(&set).await.unwrap();
        back_door
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
    };
    let is_io = |outcome: &Result<(), EngineError>| matches!(outcome, Err(EngineError::Io { .. }));
    read_only("on").await;
    until(async || is_io(&engine.ready().await)).await;
    let refused = refusal(commit(&engine, [insert("b", "b")]).await);
    assert!(matches!(refused, EngineError::Io { .. }), "{refused:?}");
    let opened = PostgresEngine::open(&parse(&database.url), &frugal()).await;
    assert!(matches!(
        opened,
        Err(OpenError::Engine(EngineError::Io { .. }))
    ));
    read_only("off").await;
    until(async || engine.ready().await.is_ok()).await;
    assert_eq!(commit(&engine, [insert("b", "b")]).await, Ok(()));
}

#[tokio::test]
async fn a_server_whose_disk_is_full_is_not_ready_until_a_write_succeeds() {
    let database = Database::new();
    let engine = database.open().await;
    let back_door = database.back_door().await;
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''no space left''; END';
        CREATE TRIGGER full_disk BEFORE INSERT ON keyproof_commits FOR EACH ROW EXECUTE FUNCTION full_disk()";
    back_door.batch_execute(full).await.unwrap();
    assert_eq!(engine.ready().await, Ok(()), "nobody knows yet");
    for batch in [
        vec![insert("a", "a")],
        vec![insert("a", "a"), insert("b", "b")],
    ] {
        let refused = refusal(commit(&engine, batch).await);
        assert!(matches!(refused, EngineError::Full { .. }), "{refused:?}");
    }
    assert!(matches!(
        engine.ready().await,
        Err(EngineError::Full { .. })
    ));
    back_door
        .batch_execute("DROP TRIGGER full_disk ON keyproof_commits")
        .await
        .unwrap();
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(engine.is_empty().await, Ok(true));
}

#[tokio::test]
async fn no_error_and_no_debug_text_holds_the_password() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
    let server = Setup::default().file("pg_hba.conf", hba).start().unwrap();
    let port = server.port();
    let url: PostgresUrl = server.url().parse().unwrap();
    let password = server.url();
    let (_, password) = password
        .rsplit_once('@')
        .unwrap()
        .0
        .rsplit_once(':')
        .unwrap();
    PostgresEngine::migrate(&url, &frugal()).await.unwrap();
    let engine = PostgresEngine::open(&url, &frugal()).await.unwrap();
    assert_eq!(
        commit(&engine, [insert("a", "a")]).await,
        Ok(()),
        "by SCRAM"
    );

    let mut texts = vec![format!("{engine:?} {url:?} {url}")];
    let wrong = "hunter2";
    for url in [
        format!("postgres://keyproof:{wrong}@127.0.0.1:{port}/postgres"),
        format!("postgres://keyproof:{wrong}@127.0.0.1:1/postgres"),
        format!("postgres://keyproof:{wrong}@host.invalid:{port}/postgres"),
        format!("postgres://nobody:{password}@127.0.0.1:{port}/postgres"),
        format!("postgres://keyproof:{password}@127.0.0.1:{port}/nothing"),
        format!("postgres://keyproof:{password}@127.0.0.1:{port}/postgres?sslmode=require"),
    ] {
        let error = PostgresEngine::open(&parse(&url), &frugal())
            .await
            .unwrap_err();
        texts.push(format!("{error} {error:?} {:?}", parse(&url)));
    }
    drop(server);
    let error = engine.ready().await.unwrap_err();
    texts.push(format!("{error} {error:?}"));
    for text in texts {
        assert!(!text.contains(password) && !text.contains(wrong), "{text}");
    }
}

#[tokio::test]
async fn the_observer_is_told_how_each_commit_ended_and_of_nothing_else() {
    #[derive(Default)]
    struct Ends(Mutex<Vec<Result<(), CommitError>>>);
    impl CommitObserver for Ends {
        fn committed(&self, group: &[Result<(), CommitError>]) {
            self.0.lock().unwrap().extend(group.iter().cloned());
        }
    }
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let mut options = frugal();
    options.commit_timeout = Duration::from_secs(2);
    let engine = database.open_with(&options).await;
    let ends = Arc::new(Ends::default());
    engine.observe(ends.clone());
    commit(&engine, [insert("a", "a")]).await.unwrap();
    commit(&engine, [insert("a", "a")]).await.unwrap_err();
    body(&engine, "a").await;
    database.server.kill().unwrap();
    let failed = commit(&engine, [insert("b", "b")]).await.unwrap_err();
    database.server.restart().unwrap();
    engine.ready().await.unwrap();
    let ends = ends.0.lock().unwrap().clone();
    let conflict = CommitError::Conflict { entry: 0 };
    assert_eq!(ends, [Ok(()), Err(conflict), Err(failed)]);
}
