//! The engine for many nodes: one database that speaks PostgreSQL's protocol. It is tested with PostgreSQL 15 and
//! later.
//!
//! Any number of processes on any number of machines may have the same database open; all state is in it. Batches are
//! isolated by row locks, which are taken in key order and held until the transaction ends, and by the versions of the
//! rows, under `READ COMMITTED`.
//!
//! **Durability** is the server's: a commit is acknowledged only after its `COMMIT`, with `synchronous_commit` set to
//! `on` or `remote_apply`. If the server, the database or the role sets `off`, `local` or `remote_write`, none of which
//! waits for a standby's disk, the engine uses `on`. With `fsync` off on the server, nothing is guaranteed.
//!
//! **An unavailable standby** delays commits until they time out. Then the server is told to stop waiting, which leaves
//! them committed on that server alone. Their outcome is unknown until a query that reads it back has waited for the
//! standby.
//!
//! **A lost answer** is read back as [`Engine`] describes: every attempt of a batch first inserts its id into
//! `keyproof_commits`. To learn the outcome, another connection inserts the same id, marked as not applied. That waits
//! for an attempt that is still in flight, and the answer shows whose row it is. The query writes in either case, so
//! that it waits for the server's standbys as a commit does. An id is needed only until its attempt was answered. It is
//! deleted soon after, together with many others. Ids left behind by a killed process, or by reading back, are deleted
//! when they are a day old by the server's clock. No attempt lives that long, since the server ends one that hangs
//! after a few seconds ([`PostgresOptions::statement_timeout`]).
//!
//! The database may be reached directly or through a proxy that gives each connection its own session. A proxy that
//! does not ([`EngineError::TransactionPooling`]) is detected when the engine is opened, and by [`Engine::ready`]. If the server
//! has no room for a second connection when the engine is opened, the engine uses one, and tries to get more once a
//! minute. Connections that no caller needed for five minutes are closed, except one.

mod commit;
mod connection;
mod error;
mod hosts;
mod names;
mod node;
mod pooler;
mod read;
mod schema;
mod snapshot;
mod statements;
mod tls;
mod url;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout},
};

use self::{
    connection::{Connector, took_too_long},
    node::{IDLE, Node},
};
use crate::{
    BoxFuture, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot, Key,
    Migration, NotApplied, OpenError, PoolStatus, Prefix, Row, Standbys, Timestamp, Version,
};

pub use self::url::{ParsePostgresUrlError, PostgresUrl};

/// How a [`PostgresEngine`] uses its server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The maximum number of connections, at least one. 16 by default: a server accepts 100 unless configured
    /// otherwise, so three nodes fit, together with commands run beside them.
    pub connections: usize,
    /// How long to wait for a free connection before a call fails with [`EngineError::Busy`]. 5 seconds by default.
    pub acquire_timeout: Duration,
    /// How long connecting may take, including TLS and authentication. 5 seconds by default. If there are several hosts
    /// or addresses, each in turn gets an equal share of the remaining time. Each share is at least one second, as long
    /// as all of them end within twice the time.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement, and how long it keeps an idle transaction open, before it gives
    /// up. Then nothing was applied. 5 seconds by default.
    pub statement_timeout: Duration,
    /// How long a commit may wait for another one that changes the same record, before it fails with
    /// [`EngineError::Busy`]. 3 seconds by default.
    pub lock_timeout: Duration,
    /// How long a commit may take, including the wait for a connection, all attempts, and reading back a lost answer.
    /// If the outcome is still unknown then, it ends as [`CommitError::Unknown`]. 12 seconds by default; a caller's own
    /// timeout should be longer, so that it gets this result. A value below twice the time that the server needs to end
    /// a hanging transaction leaves outcomes unknown that could have been read back.
    pub commit_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections: 16,
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            commit_timeout: Duration::from_secs(12),
        }
    }
}

/// The maximum for any wait, since a clock cannot represent unlimited times.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl PostgresOptions {
    /// How long to wait for one answer. A live server answers well before.
    fn answer_timeout(&self) -> Duration {
        (self.statement_timeout.saturating_mul(5) / 4).min(LONGEST)
    }

    /// When a commit that begins now must have ended.
    fn commit_deadline(&self) -> Instant {
        Instant::now() + self.commit_timeout.min(LONGEST)
    }
}

/// Records in a PostgreSQL database.
///
/// It requires Tokio. Open it within a runtime with I/O and time enabled, which must outlive the engine, and call it
/// from there.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use keyproof_store::{MasterKeys, Store, SystemEntropy, Timestamp};
/// use keyproof_store::postgres::{PostgresEngine, PostgresOptions, PostgresUrl};
///
/// # async fn open(keys: MasterKeys, now: Timestamp) -> Result<Store, Box<dyn std::error::Error>> {
/// let url: PostgresUrl = "postgresql://keyproof@db.example.com/keyproof?sslmode=verify-full".parse()?;
/// let mut options = PostgresOptions::default();
/// options.connections = 8;
/// PostgresEngine::migrate(&url, &options).await?; // any number of nodes may do this at once
/// let engine = PostgresEngine::open(&url, &options).await?;
/// let store = Store::open(Arc::new(engine), keys, Arc::new(SystemEntropy::new()), now).await?;
/// # Ok(store)
/// # }
/// ```
pub struct PostgresEngine {
    node: Arc<Node>,
    runtime: Handle,
    /// Each commit in progress holds a receiver.
    commits: watch::Sender<()>,
}

impl PostgresEngine {
    /// Opens the database, which must have a schema that this release runs on; see [`PostgresEngine::migrate`].
    ///
    /// # Errors
    ///
    /// [`OpenError::OlderSchema`] if it must be migrated first, [`OpenError::NewerSchema`] if it was migrated by a
    /// release too far ahead, and [`OpenError::Engine`] if no server that accepts writes can be reached, or only
    /// through a pooler that shares sessions among connections.
    pub async fn open(url: &PostgresUrl, options: &PostgresOptions) -> Result<Self, OpenError> {
        let connector = Connector::new(url, options)?;
        // Changes no setting and prepares nothing until it is certain that the session stays with its connection.
        let first = connector.reach().await?;
        let second = connector.reach_another().await?;
        let has_another = second.is_some();
        if let Some(second) = second {
            let patience = options.connect_timeout;
            let compared = pooler::check(&first.client, &second.client, patience).await;
            if compared != Ok(true) {
                second.abandon();
            }
            compared?;
        }
        // Another client may have locked the table, and the session still has the server's settings, which may allow
        // waiting for ever.
        let patience = options.answer_timeout();
        match timeout(patience, schema::check(&first.client)).await {
            Ok(checked) => checked?,
            Err(_) => {
                first.give_up();
                return Err(took_too_long("reading the schema").into());
            }
        }
        connector.keep(first);
        // With one connection, a caller that finds it in use waits for it, not for a second one that the server has no
        // room for.
        let connections = if has_another { options.connections } else { 1 };
        let node = Arc::new(Node::new(connector, options, connections)?);
        node.give_up_idle(IDLE);
        if !has_another {
            node.look_for_more();
        }
        Ok(Self {
            node,
            runtime: Handle::current(),
            commits: watch::Sender::new(()),
        })
    }

    /// Migrates the database, which may be empty, to this release's schema. Any number of nodes may do so at once, and
    /// servers of the previous release may keep running.
    ///
    /// # Errors
    ///
    /// [`OpenError::NewerSchema`] if a release too far ahead migrated it, and [`OpenError::Engine`] if the database
    /// cannot be reached or denies permission. A pooler of any mode is allowed.
    pub async fn migrate(
        url: &PostgresUrl,
        options: &PostgresOptions,
    ) -> Result<Migration, OpenError> {
        let session = Connector::new(url, options)?.reach().await?;
        let migration = schema::migrate(&session.client).await?;
        if migration.from != migration.to && session.take_warning() {
            return Err(connection::not_durable().into());
        }
        Ok(migration)
    }

    fn open_node(&self) -> Result<&Arc<Node>, EngineError> {
        if self.node.is_closed() {
            return Err(EngineError::Closed);
        }
        Ok(&self.node)
    }
}

impl std::fmt::Debug for PostgresEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresEngine")
    }
}

impl Engine for PostgresEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(async move { self.open_node()?.get_many(keys, now).await })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move { self.open_node()?.scan(prefix, after, limit, now).await })
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move {
            let node = self.open_node()?;
            node.scan_back(prefix, before, limit, now).await
        })
    }

    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        Box::pin(async move { self.open_node()?.expired(&within, limit).await })
    }

    /// Spawns a task, which runs to its end even if the future is dropped.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        // Subscribes before checking that the engine is open, so that `close` waits for this commit.
        let under_way = self.commits.subscribe();
        let node = match self.open_node() {
            Ok(node) => node.clone(),
            Err(error) => return Box::pin(async { Err(NotApplied::from(error).into()) }),
        };
        let commit = self.runtime.spawn(async move {
            let outcome = node.commit(&changes).await;
            drop(under_way);
            outcome
        });
        // If the runtime ended first, the outcome is unknown.
        Box::pin(async {
            commit
                .await
                .unwrap_or(Err(CommitError::Unknown(EngineError::Closed)))
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async { Ok(Box::new(self.open_node()?.snapshot().await?) as _) })
    }

    /// Renames the table, so that no client's statements find it.
    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { self.open_node()?.fence().await })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { self.open_node()?.ready().await })
    }

    fn pool(&self) -> Option<PoolStatus> {
        Some(self.node.pool_figures())
    }

    fn standbys(&self) -> BoxFuture<'_, Result<Standbys, EngineError>> {
        Box::pin(async { self.open_node()?.standbys().await })
    }

    fn server_time(&self) -> BoxFuture<'_, Result<Option<Timestamp>, EngineError>> {
        Box::pin(async { self.open_node()?.server_time().await.map(Some) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.node.refuse();
            self.commits.closed().await;
            self.node.close().await;
        })
    }

    fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.node.observe(observer);
    }

    /// Returns the server's own estimate, from when it last analysed the table.
    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(async { self.open_node()?.estimate().await })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async { self.open_node()?.is_empty().await })
    }
}

/// What the tests of several files start from.
#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use keyproof_peer_postgres::Postgres;
    use tokio_postgres::{Client, NoTls};

    use super::{PostgresUrl, schema};

    /// Returns the address of a new database with our tables, a client of it, and the server, which runs as long as that is kept.
    pub(super) async fn database() -> (PostgresUrl, Client, Arc<Postgres>) {
        let server = Postgres::shared().unwrap();
        let url = server.database().unwrap();
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        schema::migrate(&client).await.unwrap();
        (url.parse().unwrap(), client, server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_has_an_end_whatever_is_asked_for() {
        let options = PostgresOptions {
            commit_timeout: Duration::MAX,
            statement_timeout: Duration::MAX,
            ..PostgresOptions::default()
        };
        assert_eq!(options.answer_timeout(), LONGEST);
        assert!(options.commit_deadline() <= Instant::now() + LONGEST);
        let default = PostgresOptions::default();
        assert!(default.answer_timeout() > default.statement_timeout);
        // Leaves time to read back an attempt whose answer was lost.
        assert!(default.commit_timeout > default.answer_timeout() + default.statement_timeout / 2);
    }
}
