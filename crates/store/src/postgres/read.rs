//! Reads: each is one statement and so sees one consistent state. It is repeated if the connection was lost.
//!
//! A reading whose keys lead to others takes one statement per round, each for all keys known so far, as in the default
//! [`Engine::read`]; the result has the state of the last one. A `REPEATABLE READ` transaction would take as many round
//! trips, end with its connection, and stay open on the server while this side decides which keys follow.
//!
//! [`Engine::read`]: crate::Engine::read

use std::{collections::HashMap, ops::RangeInclusive};

use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::{Error, SimpleQueryMessage, Statement};

use super::{
    commit::{Binary, Parameter},
    connection::{took_too_long, value},
    error::{engine_error, is_contention, is_lost},
    node::{Leased, Node},
    pooler::BACKEND,
    statements::Statements,
};
use crate::{
    EngineError, Key, Prefix, Row, Standbys, Timestamp, Version,
    sql::{end, millis, rows, start, timestamp},
};

/// The maximum number of attempts. A restarted server has closed every connection of the pool, but only the first one
/// or two are not recognised as closed.
const TRIES: usize = 3;

impl Node {
    pub(super) async fn get_many(
        &self,
        keys: &[Key],
        now: Timestamp,
    ) -> Result<Vec<Option<Row>>, EngineError> {
        let bytes: Vec<_> = keys.iter().map(|key| Binary(key.as_bytes())).collect();
        let rows = self
            .query(|statements| &statements.get, &[&bytes, &millis(now)])
            .await?;
        let rows = rows.iter().map(stored);
        let rows = rows.collect::<Result<HashMap<_, _>, _>>()?;
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    pub(super) async fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Row)>, EngineError> {
        let range = (&*start(prefix, after), &*prefix.end());
        self.range(|statements| &statements.scan, range, limit, now)
            .await
    }

    pub(super) async fn scan_back(
        &self,
        prefix: &Prefix,
        before: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Row)>, EngineError> {
        let range = (prefix.start(), &*end(prefix, before));
        self.range(|statements| &statements.scan_back, range, limit, now)
            .await
    }

    /// Returns what a scan, forwards or back, finds from the first bytes on and before the second.
    async fn range(
        &self,
        scan: impl Fn(&Statements) -> &Statement,
        (start, end): (&[u8], &[u8]),
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Row)>, EngineError> {
        let (start, end) = (Binary(start), Binary(end));
        let parameters: [Parameter<'_>; 4] = [&start, &end, &millis(now), &rows(limit)];
        let rows = self.query(scan, &parameters).await?;
        rows.iter().map(stored).collect()
    }

    pub(super) async fn expired(
        &self,
        within: &RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(Key, Version)>, EngineError> {
        let (start, end) = (millis(*within.start()), millis(*within.end()));
        let parameters: [Parameter<'_>; 3] = [&start, &end, &rows(limit)];
        let rows = self
            .query(|statements| &statements.expired, &parameters)
            .await?;
        rows.iter()
            .map(|row| Ok((key(row, 0)?, version(row, 1)?)))
            .collect()
    }

    pub(super) async fn is_empty(&self) -> Result<bool, EngineError> {
        let rows = self.query(|statements| &statements.is_empty, &[]).await?;
        match rows.first() {
            Some(row) => row.try_get(0).map_err(|error| corrupt(&error)),
            None => Err(corrupt(&"no answer")),
        }
    }

    /// A role that may not see other sessions gets the number of standbys, but not their progress.
    pub(super) async fn standbys(&self) -> Result<Standbys, EngineError> {
        const QUESTION: &str = "SELECT count(*) FROM pg_stat_replication WHERE coalesce(state, 'streaming') IN ('catchup', 'streaming'); \
             SHOW synchronous_standby_names";
        let answers = self.ask(QUESTION, "asking for standbys").await?;
        let mut values = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let (following, names) = (values.next(), values.next());
        let following = following.and_then(|count| count.parse().ok());
        match (following, names) {
            (Some(following), Some(names)) => Ok(Standbys {
                following,
                is_synchronous: !names.is_empty(),
            }),
            _ => Err(corrupt(&"no answer")),
        }
    }

    /// The time of the answer, not of the beginning of its transaction.
    pub(super) async fn server_time(&self) -> Result<Timestamp, EngineError> {
        const QUESTION: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let answers = self.ask(QUESTION, "asking for the time").await?;
        let millis = value(&answers).and_then(|millis| millis.parse().ok());
        millis
            .map(Timestamp::from_millis)
            .ok_or_else(|| corrupt(&"no time since 1970"))
    }

    /// The count from the last vacuum or analysis. A table that had none is small, and its count unknown.
    pub(super) async fn estimate(&self) -> Result<Option<u64>, EngineError> {
        const QUESTION: &str =
            "SELECT reltuples::bigint FROM pg_class WHERE oid = 'keyproof_records'::regclass";
        let answers = self.ask(QUESTION, "asking for the table's size").await?;
        // A negative count means unknown, and does not parse.
        Ok(value(&answers).and_then(|count| count.parse().ok()))
    }

    /// Returns the server's answer to read-only statements without parameters.
    async fn ask(
        &self,
        question: &str,
        asking: &str,
    ) -> Result<Vec<SimpleQueryMessage>, EngineError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = self.to_ask().await?;
            let asked = connection.session.client.simple_query(question);
            let answer = timeout(self.options.answer_timeout(), asked).await;
            match settle(connection, answer, asking)? {
                Err(error) if tries < TRIES && is_lost(&error) => {}
                answers => return answers.map_err(|error| engine_error(&error)),
            }
        }
    }

    /// Checks that the server of a pooled connection accepts writes, which a standby does not, and that the connection
    /// still has its own session.
    pub(super) async fn takes_writes(&self) -> Result<(), EngineError> {
        let question = format!("SHOW transaction_read_only; {BACKEND}");
        for _ in 0..TRIES {
            let mut connection = self.to_ask().await?;
            let asked = connection.session.client.simple_query(&question);
            let answer = timeout(self.options.answer_timeout(), asked).await;
            let is_off = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("off"));
            match answer {
                Ok(Ok(messages)) if messages.iter().any(is_off) => {
                    connection.is_asked = false;
                    if value(&messages) != connection.backend.as_deref() {
                        return Err(EngineError::TransactionPooling);
                    }
                    return Ok(());
                }
                // Another connection may reach the server that does.
                _ => drop(connection.remove()),
            }
        }
        Err(EngineError::Io {
            detail: "no server that takes writes".to_owned(),
        })
    }

    /// Checks that no client has an exclusive lock on the tables (`LOCK TABLE`, or a change of their columns), on which
    /// commits would wait in vain.
    pub(super) async fn is_unlocked(&self) -> Result<(), EngineError> {
        let connection = self.to_ask().await?;
        // Several statements sent at once are one transaction, which ends with the last one. So the lock that a commit
        // needs is taken and released, or is refused.
        let question = format!(
            "{BACKEND}; LOCK TABLE keyproof_records, keyproof_commits IN ROW EXCLUSIVE MODE NOWAIT"
        );
        let asked = connection.session.client.batch_execute(&question);
        let answer = timeout(self.options.answer_timeout(), asked).await;
        let locked = settle(connection, answer, "asking for a lock")?;
        locked.map_err(|error| engine_error(&error))
    }

    /// Returns a connection for a read. Should the read be cancelled, the next caller does not wait for its answer.
    async fn to_ask(&self) -> Result<Leased, EngineError> {
        let mut connection = self.acquire().await?;
        connection.is_asked = true;
        Ok(connection)
    }

    async fn query(
        &self,
        statement: impl Fn(&Statements) -> &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, EngineError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = self.to_ask().await?;
            let query = connection
                .session
                .client
                .query(statement(&connection.statements), parameters);
            let answer = timeout(self.options.answer_timeout(), query).await;
            match settle(connection, answer, "reading")? {
                Err(error) if tries < TRIES && (is_lost(&error) || is_contention(&error)) => {}
                rows => return rows.map_err(|error| engine_error(&error)),
            }
        }
    }
}

/// Takes a connection that cannot be used again out of the pool: one whose answer did not come in time, or that is lost.
fn settle<T>(
    mut connection: Leased,
    answer: Result<Result<T, Error>, Elapsed>,
    asking: &str,
) -> Result<Result<T, Error>, EngineError> {
    match &answer {
        Err(_) => connection.remove().session.give_up(),
        Ok(Err(error)) if is_lost(error) => drop(connection.remove()),
        Ok(_) => connection.is_asked = false,
    }
    answer.map_err(|_| took_too_long(asking))
}

/// Decodes a row with the columns key, version, body and expiry.
pub(super) fn stored(row: &tokio_postgres::Row) -> Result<(Key, Row), EngineError> {
    let body: &[u8] = row.try_get(2).map_err(|error| corrupt(&error))?;
    let expires_at: Option<i64> = row.try_get(3).map_err(|error| corrupt(&error))?;
    Ok((
        key(row, 0)?,
        Row {
            version: version(row, 1)?,
            body: body.into(),
            expires_at: expires_at.map(timestamp),
        },
    ))
}

pub(super) fn key(row: &tokio_postgres::Row, column: usize) -> Result<Key, EngineError> {
    let bytes = row.try_get(column).map_err(|error| corrupt(&error))?;
    Key::from_bytes(bytes).map_err(|error| corrupt(&error))
}

fn version(row: &tokio_postgres::Row, column: usize) -> Result<Version, EngineError> {
    let bytes: &[u8] = row.try_get(column).map_err(|error| corrupt(&error))?;
    bytes
        .try_into()
        .map(Version::from_bytes)
        .map_err(|_| corrupt(&"a version is not 16 bytes long"))
}

pub(super) fn corrupt(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Corrupt {
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::postgres::{Connector, PostgresOptions, testing};

    #[tokio::test]
    async fn nobody_waits_for_the_answer_to_a_read_that_was_cancelled() {
        let (url, _client, _server) = testing::database().await;
        let options = PostgresOptions {
            statement_timeout: Duration::from_secs(60),
            ..PostgresOptions::default()
        };
        let connector = Connector::new(&url, &options).unwrap();
        let node = Node::new(connector, &options, 2).unwrap();
        // Connecting may take longer than the read is waited for.
        drop(node.acquire().await.unwrap());
        let asked = node.ask("SELECT pg_sleep(20)", "sleeping");
        let asked = timeout(Duration::from_millis(100), asked).await;
        assert!(asked.is_err());
        assert_eq!(node.pool_figures().idle, 1);
        let read = timeout(Duration::from_secs(10), node.server_time()).await;
        assert!(read.is_ok_and(|time| time.is_ok()));
    }
}
