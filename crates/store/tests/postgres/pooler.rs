//! PgBouncer between the engine and its server.

use std::time::Duration;

use keyproof_peer_postgres::{Pooler, Postgres};
use keyproof_store::{
    Engine, EngineError, Migration, OpenError,
    postgres::{PostgresEngine, PostgresOptions, PostgresUrl},
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::database::{Database, body, changes, commit, frugal, insert, parse, until};

const OF_A_SESSION: &str = "pool_mode=session";
const OF_A_TRANSACTION: &str = "pool_mode=transaction";

async fn through(pooler: &Pooler, url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&pooler.url(url), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// The settings of an idle server session of the pooler, beyond those that the pooler itself sets, and the number of
/// statements prepared in it.
async fn left_behind(client: &Client) -> Vec<String> {
    let left = "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'session'
        UNION ALL SELECT name FROM pg_prepared_statements";
    let rows = client.simple_query(left).await.unwrap();
    let rows = rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let rows = rows.filter(|row| !row.starts_with("application_name"));
    let mut rows: Vec<String> = rows.map(ToOwned::to_owned).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn a_pooler_of_transactions_or_statements_is_named_when_the_engine_is_opened() {
    let database = Database::new();
    let in_turn = "server_round_robin=1";
    let few = "default_pool_size=2";
    let one = "default_pool_size=1";
    for settings in [
        &[OF_A_TRANSACTION][..],
        &[OF_A_TRANSACTION, in_turn],
        &[OF_A_TRANSACTION, few],
        &[OF_A_TRANSACTION, one],
        &["pool_mode=statement"],
    ] {
        let pooler = Pooler::before(&database.server, settings).unwrap();
        let url = parse(&pooler.url(&database.url));
        PostgresEngine::migrate(&url, &frugal()).await.unwrap();
        let mut options = frugal();
        options.connect_timeout = Duration::from_secs(2);
        let opened = PostgresEngine::open(&url, &options).await;
        let Err(OpenError::Engine(error @ EngineError::TransactionPooling)) = opened else {
            panic!("{settings:?}: {opened:?}")
        };
        assert!(error.to_string().contains("pool_mode = session"), "{error}");
    }
}

#[tokio::test]
async fn a_migration_through_a_pooler_sets_nothing_that_outlives_it() {
    let database = Database::new();
    let pooler = Pooler::before(&database.server, &[OF_A_TRANSACTION]).unwrap();
    let client = through(&pooler, &database.url).await;
    let before = left_behind(&client).await;
    let url = parse(&pooler.url(&database.url));
    for from in [0, 1] {
        let migrated = PostgresEngine::migrate(&url, &frugal()).await;
        assert_eq!(migrated, Ok(Migration { from, to: 1 }));
    }
    let opened = PostgresEngine::open(&url, &frugal()).await;
    assert!(matches!(
        opened,
        Err(OpenError::Engine(EngineError::TransactionPooling))
    ));
    assert_eq!(left_behind(&client).await, before);
}

#[tokio::test]
async fn a_pooler_of_sessions_is_as_good_as_the_server() {
    let database = Database::new();
    let pooler = Pooler::before(&database.server, &[OF_A_SESSION]).unwrap();
    let url = parse(&pooler.url(&database.url));
    PostgresEngine::migrate(&url, &frugal()).await.unwrap();
    let engine = PostgresEngine::open(&url, &frugal()).await.unwrap();
    for round in 0..3 {
        let two = ["a", "b"].map(|name| insert(&format!("{name} {round}"), name));
        assert_eq!(commit(&engine, two).await, Ok(()));
        assert_eq!(engine.ready().await, Ok(()));
    }
    assert_eq!(body(&engine, "a 0").await, Some("a".to_owned()));
    engine.close().await;
}

/// Works with as many concurrent calls as the pool allows connections, and is ready meanwhile.
async fn works_with_one_connection(url: &str) {
    let mut options = frugal();
    options.connect_timeout = Duration::from_secs(2);
    let url = parse(url);
    PostgresEngine::migrate(&url, &options).await.unwrap();
    // Twice, like a command run after the server.
    for round in 0..2 {
        let engine = until_opened(&url, &options).await;
        let commits: Vec<_> = (0..8)
            .map(|at| engine.commit(changes([insert(&format!("{round} {at}"), "a")])))
            .collect();
        assert_eq!(engine.ready().await, Ok(()));
        for commit in commits {
            assert_eq!(commit.await, Ok(()));
        }
        assert_eq!(engine.ready().await, Ok(()));
        engine.close().await;
    }
}

/// The server takes a moment to notice that a connection has ended.
async fn until_opened(url: &PostgresUrl, options: &PostgresOptions) -> PostgresEngine {
    loop {
        match PostgresEngine::open(url, options).await {
            Ok(engine) => return engine,
            Err(OpenError::Engine(EngineError::Busy { .. })) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_pooler_of_sessions_with_one_place_is_good_for_one_connection() {
    let database = Database::new();
    let settings = [OF_A_SESSION, "default_pool_size=1"];
    let pooler = Pooler::before(&database.server, &settings).unwrap();
    works_with_one_connection(&pooler.url(&database.url)).await;
}

#[tokio::test]
async fn a_server_with_one_place_left_is_good_for_one_connection() {
    let database = Database::new();
    works_with_one_connection(&database.url_limited_to(1).await).await;
}

#[tokio::test]
async fn a_pooler_whose_mode_is_changed_makes_the_engine_unready_until_it_is_changed_back() {
    let database = Database::of(Box::new(Postgres::start().unwrap()));
    let mut pooler = Pooler::before(&database.server, &[OF_A_SESSION]).unwrap();
    let url = parse(&pooler.url(&database.url));
    PostgresEngine::migrate(&url, &frugal()).await.unwrap();
    for connections in [1, 4] {
        let mut options = frugal();
        options.connections = connections;
        let engine = PostgresEngine::open(&url, &options).await.unwrap();
        assert_eq!(engine.ready().await, Ok(()));
        pooler.restart_with(&[OF_A_TRANSACTION]).unwrap();
        // Other clients keep the pooler busy.
        let other = through(&pooler, &database.url).await;
        if connections == 1 {
            let _ = engine.is_empty().await;
            other.batch_execute("BEGIN").await.unwrap();
        }
        until(async || engine.ready().await == Err(EngineError::TransactionPooling)).await;
        drop(other);
        pooler.restart_with(&[OF_A_SESSION]).unwrap();
        until(async || engine.ready().await == Ok(())).await;
        let key = format!("with {connections}");
        assert_eq!(commit(&engine, [insert(&key, "a")]).await, Ok(()));
        engine.close().await;
    }
}
