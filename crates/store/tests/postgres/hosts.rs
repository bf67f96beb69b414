//! Hosts that a URL names: several, of which one takes writes, and one that does not answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keyproof_peer_postgres::Postgres;
use keyproof_store::postgres::PostgresEngine;
use keyproof_store::{Engine, EngineError, OpenError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

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

#[tokio::test]
async fn connecting_is_given_up_where_nobody_answers() {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // One takes connections and says nothing.
    let silent = TcpListener::bind(here).await.unwrap();
    // The other takes none: its queue is full, so that the kernel drops what comes.
    let full = TcpSocket::new_v4().unwrap();
    full.bind(here).unwrap();
    let full = full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let mut queue = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(connected) = timeout(patience, TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
    }
    let mut options = frugal();
    options.connect_timeout = patience;
    for port in [silent.local_addr().unwrap().port(), address.port()] {
        let url = parse(&format!(
            "postgres://somebody:secret@127.0.0.1:{port}/somewhere"
        ));
        let refused = PostgresEngine::open(&url, &options).await.err().unwrap();
        assert!(
            matches!(&refused, OpenError::Engine(EngineError::Io { detail }) if detail == "connecting took too long"),
            "{refused}"
        );
    }
}
