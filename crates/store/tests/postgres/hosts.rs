//! URLs with several hosts, of which one accepts writes, and with hosts that do not answer.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyproof_peer_postgres::Postgres;
use keyproof_store::{Engine, EngineError, OpenError, postgres::PostgresEngine};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    database::{Database, NOW, body, commit, frugal, insert, key, number, parse, until},
    proxy::Proxy,
    standby::wait_for,
};

const STANDBY: &str = "standby1";

/// The user with password, the host with port, and the database of a URL.
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
    // Nothing listens at the first host.
    let url = format!("{user}@127.0.0.1:1,{copy},{primary}/{name}");
    let engine = PostgresEngine::open(&parse(&url), &frugal()).await.unwrap();
    assert_eq!(commit(&engine, [insert("before", "a")]).await, Ok(()));
    assert_eq!(body(&first, "before").await, Some("a".to_owned()));
    assert_eq!(engine.ready().await, Ok(()));

    first.close().await;
    database.server.kill().unwrap();
    standby.promote().unwrap();
    // No standby would confirm what it commits.
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

/// Accepts and counts connections, and never answers.
struct Silent {
    port: u16,
    taken: Arc<AtomicUsize>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.push(connection);
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, taken }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Accepts no connection: its queue is full, so the kernel drops new ones.
struct Full {
    port: u16,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Full {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        let patience = Duration::from_millis(300);
        while let Ok(connected) = timeout(patience, TcpStream::connect(address)).await {
            queue.push(connected.unwrap());
        }
        Self {
            port: address.port(),
            _listener: listener,
            _queue: queue,
        }
    }
}

#[tokio::test]
async fn connecting_is_given_up_where_nobody_answers() {
    let (silent, full) = (Silent::start().await, Full::start().await);
    let mut options = frugal();
    options.connect_timeout = Duration::from_millis(300);
    for port in [silent.port, full.port] {
        let url = parse(&format!(
            "postgres://somebody:secret@127.0.0.1:{port}/somewhere"
        ));
        let refused = PostgresEngine::open(&url, &options).await.err().unwrap();
        assert!(
            matches!(&refused, OpenError::Engine(EngineError::Io { detail }) if detail == "connecting took too long"),
            "{refused}"
        );
    }
    let both = format!(
        "postgres://somebody:secret@127.0.0.1:{},127.0.0.1:{}/somewhere",
        silent.port, full.port
    );
    let refused = PostgresEngine::open(&parse(&both), &options).await;
    let refused = refused.err().unwrap().to_string();
    for port in [silent.port, full.port] {
        let each = format!("127.0.0.1:{port}: connecting took too long");
        assert!(refused.contains(&each), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_says_nothing_keeps_nobody_from_the_next() {
    let database = Database::new();
    database.open().await.close().await;
    let (silent, full) = (Silent::start().await, Full::start().await);
    let (user, primary, name) = parts(&database.url);
    let url = format!(
        "{user}@127.0.0.1:{},127.0.0.1:{},{primary}/{name}",
        silent.port, full.port
    );
    let mut options = frugal();
    options.connect_timeout = Duration::from_secs(3);
    let engine = PostgresEngine::open(&parse(&url), &options).await.unwrap();
    assert_eq!(commit(&engine, [insert("before", "a")]).await, Ok(()));
    // Once: later connections went to the leader.
    assert_eq!(silent.taken(), 1);

    let back_door = database.back_door().await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'keyproof' AND datname = current_database()";
    back_door.query(terminate, &[]).await.unwrap();
    assert_eq!(commit(&engine, [insert("after", "b")]).await, Ok(()));
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(silent.taken(), 1);
}

/// As if its machine lost the network: neither existing nor new connections get an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_falls_silent_is_left_for_the_next() {
    let database = Database::new();
    database.open().await.close().await;
    let proxy = Proxy::before(database.server.port()).await;
    let through = proxy.url(&database.url);
    let ((user, direct, name), (_, leader, _)) = (parts(&database.url), parts(&through));
    let mut options = frugal();
    options.connect_timeout = Duration::from_secs(2);
    options.statement_timeout = Duration::from_secs(1);
    let url = format!("{user}@{leader},{direct}/{name}");
    let engine = PostgresEngine::open(&parse(&url), &options).await.unwrap();
    assert_eq!(commit(&engine, [insert("before", "a")]).await, Ok(()));
    proxy.fall_silent_after(Some(0), Some(0));
    assert_eq!(commit(&engine, [insert("after", "b")]).await, Ok(()));
    assert_eq!(body(&engine, "before").await, Some("a".to_owned()));
    assert_eq!(engine.ready().await, Ok(()));
}

/// As after a failover that the old leader has not noticed: its data may be outdated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_to_a_former_leader_are_not_used_again() {
    let database = Database::new();
    database.open().await.close().await;
    let proxy = Proxy::before(database.server.port()).await;
    let through = proxy.url(&database.url);
    let ((user, direct, name), (_, leader, _)) = (parts(&database.url), parts(&through));
    let url = format!("{user}@{leader},{direct}/{name}");
    let engine = PostgresEngine::open(&parse(&url), &frugal()).await.unwrap();
    let keys = [key("a")];
    let read = || engine.get_many(&keys, NOW);
    let (a, b, c) = tokio::join!(read(), read(), read());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert!(engine.pool().unwrap().idle > 1);
    assert!(proxy.connections() > 1);

    proxy.close();
    let back_door = database.back_door().await;
    let ours = "FROM pg_stat_activity
        WHERE application_name = 'keyproof' AND datname = current_database()";
    // The server notices a little later that connections have closed.
    until(async || {
        let count = format!("SELECT count(*) {ours}");
        let count = number(&back_door, &count).await;
        usize::try_from(count) == Ok(engine.pool().unwrap().open)
    })
    .await;
    let terminate = format!("SELECT pg_terminate_backend(pid) {ours} LIMIT 1");
    back_door.query(&terminate, &[]).await.unwrap();
    until(async || {
        // More reads than connections: the pool connects, and finds the new leader.
        let _ = tokio::join!(read(), read(), read());
        proxy.connections() == 0
    })
    .await;
    assert!(read().await.is_ok());
}
