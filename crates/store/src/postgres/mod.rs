//! The engine for many nodes: one database that speaks PostgreSQL's protocol, PostgreSQL 15 or later being the one tried.
//!
//! Any number of processes on any number of machines may have the same database open; all state is in it. Row locks,
//! taken in key order and held until the transaction ends, isolate batches from each other; the versions of the rows do
//! the rest under `READ COMMITTED`.
//!
//! **Durability** is the server's: nothing is acknowledged before its `COMMIT` is, with `synchronous_commit` on or
//! `remote_apply`; where the server, the database or the role says `off`, `local` or `remote_write`, none of which waits
//! for a standby's disk, it is `on` for us. A server with `fsync` off keeps no promise of ours.
//!
//! **A standby that is away** delays commits until their time is over. Then the server is told to stop waiting, which
//! leaves them committed on that server alone, and their outcome unknown until a question has waited in their place.
//!
//! **A lost answer** is read back, as [`Engine`] describes: every try of a batch inserts an id of its own into
//! `keyproof_commits`, first of all. To learn what became of it, another connection inserts the id too, marked as not
//! applied, which waits for a try that is still under way; the answer says whose the id is. The question writes whatever
//! it finds, so that it waits for the server's standbys as a commit does. So an id counts only until its
//! try was answered, and is deleted soon after, many at a time. What is left behind by a process that was killed, or by
//! reading back, is deleted when it is a day old by the server's clock: the server ends a try that hangs after a few
//! seconds ([`PostgresOptions::statement_timeout`]), so none lives that long.
//!
//! The database may be reached directly or through a proxy that gives each connection a session of its own. One that does
//! not ([`EngineError::Pooled`]) is found when the engine is opened, and by [`Engine::ready`]. Where there is no place for
//! a second connection when the engine is opened, it makes do with one, and looks for more once a minute.

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

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout},
};

use self::{
    connection::{Connector, took_too_long},
    node::Node,
};
use crate::{
    BoxFuture, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot, Key,
    Migration, NotApplied, OpenError, PoolFigures, Prefix, Row, Standbys, Timestamp, Version,
};

pub use self::url::{ParsePostgresUrlError, PostgresUrl};

/// How a [`PostgresEngine`] deals with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// How many connections at most; at least one, and 16 by default: as a server takes 100 unless told otherwise, three
    /// nodes fit, with the commands run beside them.
    pub connections: usize,
    /// How long to wait for one of them to be free, before a call fails with [`EngineError::Busy`]. 5 seconds by default.
    pub acquire_timeout: Duration,
    /// How long connecting may take, TLS and authentication included. 5 seconds by default. Of several hosts, or addresses of
    /// one, that are tried in turn each has an equal share of what is left, and one second at least, as long as all of them have
    /// ended within twice the time.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement, and how long it keeps a transaction in which nothing happens,
    /// before it gives up: then nothing was applied. 5 seconds by default.
    pub statement_timeout: Duration,
    /// How long a commit may wait for another one that is changing the same record; then it fails with
    /// [`EngineError::Busy`]. 3 seconds by default.
    pub lock_timeout: Duration,
    /// How long a commit may take with the wait for a connection, with all its tries, and with the questions about one whose answer was lost; what is not
    /// known then ends as [`CommitError::Unknown`]. 12 seconds by default: whoever waits for it should wait longer, to be
    /// told so. Less than twice what the server needs to end a hanging transaction makes unknown what would have become
    /// known.
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

/// The longest that is waited for anything: a clock takes no time without end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl PostgresOptions {
    /// How long to wait for one answer, which a server that is alive gives well before.
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
/// It needs Tokio: open it within a runtime, with I/O and time enabled, that lives as long as it does, and call it from
/// there.
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
/// PostgresEngine::migrate(&url, &options).await?; // by any number of nodes at once
/// let engine = PostgresEngine::open(&url, &options).await?;
/// let store = Store::open(Arc::new(engine), keys, Arc::new(SystemEntropy::new()), now).await?;
/// # Ok(store)
/// # }
/// ```
pub struct PostgresEngine {
    node: Arc<Node>,
    runtime: Handle,
    /// Each commit under way holds a receiver.
    commits: watch::Sender<()>,
}

impl PostgresEngine {
    /// Opens the database, which must have a schema that this release runs on: see [`PostgresEngine::migrate`].
    ///
    /// # Errors
    ///
    /// [`OpenError::OlderSchema`] if it must be migrated first, [`OpenError::NewerSchema`] if a release too far ahead
    /// did, [`OpenError::Engine`] if it cannot be reached, or only by a server that takes no writes, or through a pooler
    /// that gives its sessions to several connections.
    pub async fn open(url: &PostgresUrl, options: &PostgresOptions) -> Result<Self, OpenError> {
        let connector = Connector::new(url, options)?;
        // Nothing is set, nor prepared, before it is known that it would stay with its connection.
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
        // Somebody may keep the table to themselves, and the session is the server's own still, which may wait without end.
        let patience = options.answer_timeout();
        match timeout(patience, schema::check(&first.client)).await {
            Ok(checked) => checked?,
            Err(_) => {
                first.give_up();
                return Err(took_too_long("reading the schema").into());
            }
        }
        connector.keep(first);
        // Whoever finds the only connection in use waits for that one, not for a place that is not there.
        let connections = if has_another { options.connections } else { 1 };
        let node = Arc::new(Node::new(connector, options, connections)?);
        if !has_another {
            node.look_for_more();
        }
        Ok(Self {
            node,
            runtime: Handle::current(),
            commits: watch::Sender::new(()),
        })
    }

    /// Brings the database to this release's schema, and an empty one too. Any number of nodes may do so at once, and
    /// servers of the release before may go on running.
    ///
    /// # Errors
    ///
    /// [`OpenError::NewerSchema`] if a release too far ahead was there, [`OpenError::Engine`] if the database cannot be
    /// reached or does not let us. Through a pooler it may be, of whatever mode.
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

    fn expired(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        Box::pin(async move { self.open_node()?.expired(before, limit).await })
    }

    /// A task of its own, which runs to its end whatever becomes of the future.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        // Before it is asked whether we are open, so that whoever closes waits for it.
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
        // Nobody can tell if the runtime ended first.
        Box::pin(async {
            commit
                .await
                .unwrap_or(Err(CommitError::Unknown(EngineError::Closed)))
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async { Ok(Box::new(self.open_node()?.snapshot().await?) as _) })
    }

    /// Its table gets another name, so that no statement of anybody finds it.
    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { self.open_node()?.fence().await })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { self.open_node()?.ready().await })
    }

    fn pool(&self) -> Option<PoolFigures> {
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

    /// As the server has it from its last look at the table.
    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(async { self.open_node()?.estimate().await })
    }

    fn is_empty(&self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async { self.open_node()?.is_empty().await })
    }
}

/// A timestamp never exceeds what a signed 64-bit column can store.
fn millis(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_millis()).unwrap_or(i64::MAX)
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
        // Time to ask what became of a try whose answer was lost.
        assert!(default.commit_timeout > default.answer_timeout() + default.statement_timeout / 2);
    }
}
