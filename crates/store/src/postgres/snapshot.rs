//! One state of the database: a transaction of `REPEATABLE READ`, open on a connection of the pool for as long as somebody
//! wants it.

use deadpool::managed::Object;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};

use super::commit::{Binary, Parameter};
use super::connection::{Connector, took_too_long};
use super::error::engine_error;
use super::node::Node;
use super::read::{corrupt, stored};
use crate::scan::PAGE_ROWS;
use crate::{BoxFuture, EngineError, EngineSnapshot, Key, Row};

/// The state is fixed by the first statement that looks at it. Between two pages their reader may have other things to do,
/// such as to write to a slow disk.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
     SET LOCAL idle_in_transaction_session_timeout = '1h';
     SELECT NOT EXISTS (SELECT 1 FROM keyproof_records)";
/// How long the next records are, before they are sent: a page that is asked for by number alone could be a gigabyte.
const SIZES: &str = "SELECT key, octet_length(key) + octet_length(body) FROM keyproof_records
     WHERE key > $1 ORDER BY key LIMIT $2";
const ROWS: &str = "SELECT key, version, body, expires_at FROM keyproof_records
     WHERE key > $1 AND key <= $2 ORDER BY key";

pub(super) struct PostgresSnapshot {
    /// There until this is dropped.
    connection: Option<Object<Connector>>,
    sizes: Statement,
    rows: Statement,
    patience: std::time::Duration,
}

impl Node {
    pub(super) async fn snapshot(&self) -> Result<PostgresSnapshot, EngineError> {
        let mut connection = self.acquire().await?;
        // A transaction is open on it, so nobody else gets it.
        connection.is_busy = true;
        let client = &connection.session.client;
        let begun = async {
            client.batch_execute(BEGIN).await?;
            let sizes = client
                .prepare_typed(SIZES, &[Type::BYTEA, Type::INT8])
                .await?;
            let rows = client.prepare_typed(ROWS, &[Type::BYTEA, Type::BYTEA]);
            Ok::<_, Error>((sizes, rows.await?))
        };
        let patience = self.options.answer_timeout();
        let begun = timeout(patience, begun).await;
        let statements = begun
            .map_err(|_| took_too_long("reading"))
            .and_then(|begun| begun.map_err(|error| engine_error(&error)));
        match statements {
            Ok((sizes, rows)) => Ok(PostgresSnapshot {
                connection: Some(connection),
                sizes,
                rows,
                patience,
            }),
            Err(error) => {
                drop(Object::take(connection));
                Err(error)
            }
        }
    }
}

impl PostgresSnapshot {
    async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, EngineError> {
        let connection = self.connection.as_ref().ok_or(EngineError::Closed)?;
        let query = connection.session.client.query(statement, parameters);
        timeout(self.patience, query)
            .await
            .map_err(|_| took_too_long("reading"))?
            .map_err(|error| engine_error(&error))
    }

    /// The key that the page ends with.
    async fn end(&self, after: &[u8], bytes: usize) -> Result<Option<Vec<u8>>, EngineError> {
        let limit = i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX);
        let sizes = self.query(&self.sizes, &[&Binary(after), &limit]).await?;
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

impl Drop for PostgresSnapshot {
    fn drop(&mut self) {
        // The transaction ends with its connection, and at once: in the pool it would wait for somebody to want it.
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}
