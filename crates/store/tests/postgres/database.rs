//! A test's own database, with two ways to access it: the engine and a direct connection.

use std::{panic::Location, sync::Arc, time::Duration};

use keyproof_peer_postgres::Postgres;
use keyproof_store::{
    Change, Changes, CommitError, Engine, EngineError, Key, NotApplied, Row, SystemEntropy,
    Timestamp, Version,
    postgres::{PostgresEngine, PostgresOptions, PostgresUrl},
};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, GenericClient, NoTls};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// An empty database, in the server that the tests share or in one that may be killed.
pub(crate) struct Database<S> {
    pub(crate) server: S,
    pub(crate) url: String,
}

impl Database<Arc<Postgres>> {
    pub(crate) fn new() -> Self {
        Self::of(Postgres::shared().unwrap())
    }
}

impl<S: AsRef<Postgres>> Database<S> {
    pub(crate) fn of(server: S) -> Self {
        let url = server.as_ref().database().unwrap();
        Self { server, url }
    }

    /// Opens the migrated database with an engine of few connections.
    pub(crate) async fn open(&self) -> PostgresEngine {
        self.open_with(&frugal()).await
    }

    pub(crate) async fn open_with(&self, options: &PostgresOptions) -> PostgresEngine {
        let url = parse(&self.url);
        PostgresEngine::migrate(&url, &frugal()).await.unwrap();
        PostgresEngine::open(&url, options).await.unwrap()
    }

    /// Opens a direct connection, without the engine.
    pub(crate) async fn back_door(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The database's URL for a new role that may have this many connections.
    pub(crate) async fn url_limited_to(&self, connections: usize) -> String {
        let role = format!("limited_{}", self.name());
        let limited = format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'limited' CONNECTION LIMIT {connections};
             GRANT ALL ON SCHEMA public TO {role}"
        );
        self.back_door()
            .await
            .batch_execute(&limited)
            .await
            .unwrap();
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{role}:limited@{place}")
    }

    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }
}

/// The only number that a query returns.
pub(crate) async fn number(client: &impl GenericClient, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

pub(crate) fn parse(url: &str) -> PostgresUrl {
    url.parse().unwrap()
}

/// Few connections, since the tests share the server's.
pub(crate) fn frugal() -> PostgresOptions {
    let mut options = PostgresOptions::default();
    options.connections = 4;
    options
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("case", [name])
}

pub(crate) fn row(body: &str) -> Row {
    Row {
        version: Version::random(&SystemEntropy::new()),
        body: body.into(),
        expires_at: None,
    }
}

pub(crate) fn insert(name: &str, body: &str) -> (Key, Change) {
    (key(name), Change::Insert(row(body)))
}

pub(crate) fn changes(entries: impl IntoIterator<Item = (Key, Change)>) -> Changes {
    Changes::new(entries, NOW, &SystemEntropy::new()).unwrap()
}

pub(crate) async fn commit(
    engine: &dyn Engine,
    entries: impl IntoIterator<Item = (Key, Change)>,
) -> Result<(), CommitError> {
    engine.commit(changes(entries)).await
}

/// The engine's error, because of which nothing was applied.
#[track_caller]
pub(crate) fn refusal(outcome: Result<(), CommitError>) -> EngineError {
    match outcome {
        Err(CommitError::NotApplied(NotApplied::Engine(error))) => error,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn body(engine: &dyn Engine, name: &str) -> Option<String> {
    let found = engine.get_many(&[key(name)], NOW).await.unwrap().remove(0);
    found.map(|row| String::from_utf8(row.body.into()).unwrap())
}

/// Long enough for any machine: it only ends tests that hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a future; if it does not complete in time, the test fails at the caller's line.
#[track_caller]
pub(crate) fn in_time<T>(awaited: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        let came = timeout(PATIENCE, awaited).await;
        came.unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}

/// Repeats a check until it holds.
#[track_caller]
pub(crate) fn until<F: Future<Output = bool>>(
    mut holds: impl FnMut() -> F,
) -> impl Future<Output = ()> {
    in_time(async move {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
}
