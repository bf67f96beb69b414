//! A URL that names several hosts, of which one takes writes.

use keyproof_peer_postgres::Postgres;
use keyproof_store::Engine;
use keyproof_store::postgres::PostgresEngine;

use super::database::{Database, body, commit, frugal, insert, parse, until};
use super::standby::wait_for;

const STANDBY: &str = "standby1";

/// User and password, host and port, and the database of a URL.
fn parts(url: &str) -> (&str, &str, &str) {
    let (before, rest) = url.split_once('@').unwrap();
    let (host, database) = rest.split_once('/').unwrap();
    (before, host, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_the_one_that_takes_writes_is_used_whichever_it_becomes() {
    let mut database = Database::of(Box::new(Postgres::start().unwrap()));
    let first = database.open().await;
    let mut standby = database.server.standby(STANDBY).unwrap();
    wait_for(&database.back_door().await, STANDBY).await;
    let copy = standby.url_of_copy(&database.url);
    let ((user, primary, name), (_, copy, _)) = (parts(&database.url), parts(&copy));
    // Nothing listens at the first.
    let url = format!("{user}@127.0.0.1:1,{copy},{primary}/{name}");
    let engine = PostgresEngine::open(&parse(&url), &frugal()).await.unwrap();
    assert_eq!(commit(&engine, [insert("before", "a")]).await, Ok(()));
    assert_eq!(body(&first, "before").await, Some("a".to_owned()));
    assert_eq!(engine.ready().await, Ok(()));

    first.close().await;
    database.server.kill().unwrap();
    standby.promote().unwrap();
    // Nobody would confirm what it commits.
    let promoted = standby.url_of_copy(&database.url);
    let back_door = tokio_postgres::connect(&promoted, tokio_postgres::NoTls);
    let (back_door, connection) = back_door.await.unwrap();
    tokio::spawn(connection);
    wait_for(&back_door, "").await;
    until(async || engine.ready().await.is_ok()).await;
    assert_eq!(body(&engine, "before").await, Some("a".to_owned()));
    assert_eq!(commit(&engine, [insert("after", "b")]).await, Ok(()));
    standby.kill().unwrap();
}
