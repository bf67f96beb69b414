//! One state of the database: a `REPEATABLE READ` transaction, open on a connection of the pool as long as the snapshot
//! exists.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Error, Statement, types::Type};

use super::{
    commit::{Binary, Parameter},
    connection::{Session, durable, not_durable, took_too_long, value},
    error::engine_error,
    node::{Leased, Node},
    read::{corrupt, stored},
};
use crate::{
    BoxFuture, EngineError, EngineSnapshot, Key, Row,
    scan::{PAGE_ROWS, SNAPSHOT_PATIENCE},
    sql::rows,
};

/// The first statement that reads fixes the state. Between two pages the reader may be busy, for example with writing
/// to a slow disk, so the idle timeout is long.
fn begin_text() -> String {
    let patience = SNAPSHOT_PATIENCE.as_millis();
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SET LOCAL idle_in_transaction_session_timeout = {patience};
         SELECT to_regclass('{MOVED}') IS NOT NULL"
    )
}

/// How long the server may take to answer a fence: longer than it waits for locks. A commit may wait for a standby for ever.
const FENCE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the server may take to answer what a fence waits for.
const REASON_PATIENCE: Duration = Duration::from_secs(5);
/// Whether a commit of this user waits for a standby. No timeout of the server ends that wait.
const WAITS_FOR_STANDBY: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND usename = session_user AND wait_event = 'SyncRep')";
/// The id written to confirm a fence. No batch has it, since it is shorter than theirs.
const CONFIRMED: &str = "\\x66656e6365";
/// The table's name once the records were moved.
const MOVED: &str = "keyproof_records_moved";
/// The sizes of the next records, read before the records are: a page limited only by number could be a gigabyte.
const SIZES: &str = "SELECT key, octet_length(key) + octet_length(body) FROM keyproof_records
     WHERE key > $1 ORDER BY key LIMIT $2";
const ROWS: &str = "SELECT key, version, body, expires_at FROM keyproof_records
     WHERE key > $1 AND key <= $2 ORDER BY key";

pub(super) struct PostgresSnapshot {
    transaction: Transaction,
    sizes: Statement,
    rows: Statement,
    patience: Duration,
}

/// The transaction, which may not have begun yet.
struct Transaction {
    /// `Some` until this is dropped.
    held: Option<Held>,
}

/// The connection of the transaction.
enum Held {
    Pooled(Box<Leased>),
    /// A separate connection: once the records were moved, the pool cannot prepare any.
    Own(Box<Session>),
}

impl Transaction {
    fn session(&self) -> Result<&Session, EngineError> {
        match self.held.as_ref().ok_or(EngineError::Closed)? {
            Held::Pooled(connection) => Ok(&connection.session),
            Held::Own(session) => Ok(session),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // The transaction ends with its connection, at once; in the pool it would stay open until the connection's next
        // use.
        if let Some(Held::Pooled(connection)) = self.held.take() {
            drop(connection.remove());
        }
    }
}

impl Node {
    pub(super) async fn snapshot(&self) -> Result<PostgresSnapshot, EngineError> {
        let held = match self.acquire().await {
            Ok(mut connection) => {
                // A transaction is open on it, so it must not be reused.
                connection.is_busy = true;
                Held::Pooled(Box::new(connection))
            }
            Err(EngineError::Relocated) => Held::Own(Box::new(self.pool.manager().reach().await?)),
            Err(error) => return Err(error),
        };
        // Before it begins, since this future may be dropped meanwhile.
        let transaction = Transaction { held: Some(held) };
        let patience = self.options.answer_timeout();
        let begun = timeout(patience, begin(transaction.session()?)).await;
        let begun = begun.map_err(|_| took_too_long("reading"))?;
        let (sizes, rows) = begun.map_err(|error| engine_error(&error))?;
        Ok(PostgresSnapshot {
            transaction,
            sizes,
            rows,
            patience,
        })
    }

    /// Makes the records inaccessible to every session, in one transaction.
    pub(super) async fn fence(&self) -> Result<(), EngineError> {
        let mut connection = match self.acquire().await {
            Err(EngineError::Relocated) => return self.confirm_fence().await,
            connection => connection?,
        };
        connection.is_busy = true;
        connection.session.take_warning();
        let fence = format!(
            "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '30s';
             SELECT {};
             ALTER TABLE keyproof_records RENAME TO {MOVED};
             COMMIT",
            durable(true)
        );
        let asked = connection.session.client.batch_execute(&fence);
        let Ok(fenced) = timeout(FENCE_PATIENCE, asked).await else {
            let error = self.unanswered_fence().await;
            connection.remove().session.give_up();
            return Err(error);
        };
        let is_doubtful = connection.session.take_warning();
        drop(connection.remove());
        match fenced.map_err(|error| engine_error(&error)) {
            Ok(()) if is_doubtful => Err(not_durable()),
            Err(EngineError::Relocated) => self.confirm_fence().await,
            fenced => fenced,
        }
    }

    /// Makes a fence that was found durable, since the node that set it may have been warned that a standby may not
    /// have it. A standby that has what is written now has the fence too, provided that the server that writes it has:
    /// the leader may have changed since the fence was found.
    async fn confirm_fence(&self) -> Result<(), EngineError> {
        let session = self.pool.manager().reach().await?;
        let confirm = format!(
            "BEGIN; SET LOCAL client_min_messages = 'warning';
             SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '30s';
             SELECT {};
             SELECT to_regclass('{MOVED}') IS NOT NULL;
             INSERT INTO keyproof_commits AS stored (id, applied) VALUES ('{CONFIRMED}', false)
                 ON CONFLICT (id) DO UPDATE SET applied = stored.applied;
             COMMIT",
            durable(true)
        );
        let asked = session.client.simple_query(&confirm);
        let Ok(confirmed) = timeout(FENCE_PATIENCE, asked).await else {
            let error = self.unanswered_fence().await;
            session.give_up();
            return Err(error);
        };
        let answers = confirmed.map_err(|error| engine_error(&error))?;
        if value(&answers) != Some("t") {
            return Err(EngineError::Io {
                detail: "the server has no fence: another one had it".to_owned(),
            });
        }
        if session.take_warning() {
            return Err(not_durable());
        }
        Ok(())
    }

    /// Returns the error of a fence whose answer did not come in time. Asks in another session what the fence waits for,
    /// so it must not be given up yet.
    async fn unanswered_fence(&self) -> EngineError {
        let asked = async {
            let session = self.pool.manager().reach().await?;
            let answers = session.client.simple_query(WAITS_FOR_STANDBY).await;
            let answers = answers.map_err(|error| engine_error(&error))?;
            Ok::<_, EngineError>(value(&answers) == Some("t"))
        };
        match timeout(REASON_PATIENCE, asked).await {
            Ok(Ok(true)) => EngineError::Io {
                detail: "fencing took too long: the commit waits for a standby (synchronous_standby_names)"
                    .to_owned(),
            },
            _ => took_too_long("fencing"),
        }
    }
}

async fn begin(session: &Session) -> Result<(Statement, Statement), Error> {
    let client = &session.client;
    let answers = client.simple_query(&begin_text()).await?;
    let of = |sql: &str| match value(&answers) {
        Some("t") => sql.replace("keyproof_records", MOVED),
        _ => sql.to_owned(),
    };
    let (sizes, rows) = (of(SIZES), of(ROWS));
    let sizes = client.prepare_typed(&sizes, &[Type::BYTEA, Type::INT8]);
    let sizes = sizes.await?;
    let rows = client.prepare_typed(&rows, &[Type::BYTEA, Type::BYTEA]);
    Ok((sizes, rows.await?))
}

impl PostgresSnapshot {
    async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, EngineError> {
        let session = self.transaction.session()?;
        let query = session.client.query(statement, parameters);
        timeout(self.patience, query)
            .await
            .map_err(|_| took_too_long("reading"))?
            .map_err(|error| engine_error(&error))
    }

    /// The key that the page ends with.
    async fn end(&self, after: &[u8], bytes: usize) -> Result<Option<Vec<u8>>, EngineError> {
        let parameters: [Parameter<'_>; 2] = [&Binary(after), &rows(PAGE_ROWS)];
        let sizes = self.query(&self.sizes, &parameters).await?;
        let (mut end, mut left) = (None, bytes);
        for row in &sizes {
            end = Some(row.try_get(0).map_err(|error| corrupt(&error))?);
            let size: i32 = row.try_get(1).map_err(|error| corrupt(&error))?;
            left = left.saturating_sub(usize::try_from(size).unwrap_or_default());
            if left == 0 {
                break;
            }
        }
        Ok(end)
    }
}

impl EngineSnapshot for PostgresSnapshot {
    fn page<'a>(
        &'a mut self,
        after: Option<&'a Key>,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move {
            let after = after.map(Key::as_bytes).unwrap_or_default();
            let Some(end) = self.end(after, bytes).await? else {
                return Ok(Vec::new());
            };
            let rows = self
                .query(&self.rows, &[&Binary(after), &Binary(&end)])
                .await?;
            rows.iter().map(stored).collect()
        })
    }
}
