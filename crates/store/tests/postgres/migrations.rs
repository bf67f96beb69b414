//! Schemas: none, this release's, the next, and too far ahead.

use keyproof_store::{Engine, EngineError, Migration, OpenError, postgres::PostgresEngine};
use tokio::task::JoinSet;

use super::database::{Database, body, commit, frugal, insert, parse, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_nodes_may_migrate_an_empty_database_at_once() {
    const NODES: usize = 8;
    for _ in 0..3 {
        let database = Database::new();
        let mut nodes = JoinSet::new();
        for _ in 0..NODES {
            let url = parse(&database.url);
            nodes.spawn(async move { PostgresEngine::migrate(&url, &frugal()).await });
        }
        let migrations = nodes.join_all().await;
        let of = |from| Ok(Migration { from, to: 1 });
        let made = migrations.iter().filter(|made| **made == of(0)).count();
        let found = migrations.iter().filter(|found| **found == of(1)).count();
        assert_eq!((made, found), (1, NODES - 1), "{migrations:?}");
        let back_door = database.back_door().await;
        let schemas = back_door
            .query("SELECT version FROM keyproof_schema", &[])
            .await
            .unwrap();
        assert_eq!(schemas.len(), 1);
        let url = parse(&database.url);
        let engine = PostgresEngine::open(&url, &frugal()).await.unwrap();
        assert_eq!(commit(&engine, [insert("a", "a")]).await, Ok(()));
        let again = PostgresEngine::migrate(&url, &frugal()).await;
        assert_eq!(again, Ok(Migration { from: 1, to: 1 }));
        assert_eq!(body(&engine, "a").await, Some("a".to_owned()));
    }
}

#[tokio::test]
async fn whoever_waited_for_a_migration_says_what_it_found() {
    let database = Database::new();
    let (other, back_door) = (database.back_door().await, database.back_door().await);
    other
        .batch_execute(
            "BEGIN;
             CREATE TABLE keyproof_schema (version BIGINT NOT NULL PRIMARY KEY);
             INSERT INTO keyproof_schema (version) VALUES (1)",
        )
        .await
        .unwrap();
    let url = parse(&database.url);
    let migration = tokio::spawn(async move { PostgresEngine::migrate(&url, &frugal()).await });
    until(async || {
        let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        !back_door.query(waiting, &[]).await.unwrap().is_empty()
    })
    .await;
    other.batch_execute("COMMIT").await.unwrap();
    let found = migration.await.unwrap();
    assert_eq!(found, Ok(Migration { from: 1, to: 1 }));
}

#[tokio::test]
async fn tables_that_no_schema_accounts_for_are_told_of() {
    for loss in ["DELETE FROM keyproof_schema", "DROP TABLE keyproof_schema"] {
        let database = Database::new();
        database.open().await.close().await;
        let back_door = database.back_door().await;
        back_door.batch_execute(loss).await.unwrap();
        let refused = PostgresEngine::migrate(&parse(&database.url), &frugal()).await;
        let Err(OpenError::Engine(EngineError::Corrupt { detail })) = refused else {
            panic!("{loss}: {refused:?}");
        };
        for says in ["keyproof_schema", "schema 1", "keyproof_records"] {
            assert!(detail.contains(says), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_database_without_a_schema_must_be_migrated_first() {
    let database = Database::new();
    let url = parse(&database.url);
    let open = async || PostgresEngine::open(&url, &frugal()).await.map(drop);
    let older = OpenError::OlderSchema {
        found: 0,
        oldest: 1,
    };
    assert_eq!(open().await, Err(older));
    let migration = PostgresEngine::migrate(&url, &frugal()).await;
    assert_eq!(migration, Ok(Migration { from: 0, to: 1 }));
    assert_eq!(open().await, Ok(()));
}

#[tokio::test]
async fn a_schema_one_ahead_is_served_and_two_ahead_is_refused() {
    let database = Database::new();
    database.open().await.close().await;
    let back_door = database.back_door().await;
    let ahead = async |schema: i64| {
        let insert = "INSERT INTO keyproof_schema (version) VALUES ($1)";
        back_door.execute(insert, &[&schema]).await.unwrap();
    };
    let url = parse(&database.url);
    ahead(2).await;
    let next = PostgresEngine::open(&url, &frugal()).await.unwrap();
    assert_eq!(commit(&next, [insert("a", "a")]).await, Ok(()));
    let kept = PostgresEngine::migrate(&url, &frugal()).await;
    assert_eq!(kept, Ok(Migration { from: 2, to: 2 }));
    ahead(3).await;
    let newer = OpenError::NewerSchema {
        found: 3,
        newest: 2,
    };
    let opened = PostgresEngine::open(&url, &frugal()).await.map(drop);
    assert_eq!(opened, Err(newer.clone()));
    assert_eq!(PostgresEngine::migrate(&url, &frugal()).await, Err(newer));
}

#[tokio::test]
async fn who_may_not_make_tables_is_told_so_and_makes_none() {
    let database = Database::new();
    let back_door = database.back_door().await;
    let role = format!("weak_{}", database.name());
    let weak = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'weak'; REVOKE ALL ON SCHEMA public FROM PUBLIC"
    );
    back_door.batch_execute(&weak).await.unwrap();
    let (_, host) = database.url.split_once('@').unwrap();
    let url = parse(&format!("postgres://{role}:weak@{host}"));
    let refused = PostgresEngine::migrate(&url, &frugal()).await;
    assert!(matches!(refused, Err(OpenError::Engine(_))), "{refused:?}");
    let refused = PostgresEngine::open(&url, &frugal()).await.map(drop);
    assert!(
        matches!(refused, Err(OpenError::OlderSchema { found: 0, .. })),
        "{refused:?}"
    );
}
