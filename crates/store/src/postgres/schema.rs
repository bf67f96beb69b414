//! The tables, and which releases may work on them.
//!
//! As with the embedded engine, release N writes schema N and runs on N and N + 1, and a migration only adds: servers of
//! the release before go on working on what it leaves behind.
//!
//! Any number of nodes may migrate at once. Each migration first takes its row in `keyproof_schema`, whose primary key
//! makes the others wait for the outcome and then fail; they look again, and go on from what they find.

use tokio_postgres::{Client, Error};

use super::{
    connection::{durable, value},
    error::{engine_error, is_contention, is_duplicate, is_undefined, words},
};
use crate::{EngineError, Migration, OpenError};

/// Step `i` brings schema `i` to `i + 1`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE keyproof_records (
        key        BYTEA NOT NULL PRIMARY KEY,
        version    BYTEA NOT NULL,
        body       BYTEA NOT NULL,
        expires_at BIGINT
    );
    CREATE INDEX keyproof_records_by_expiry ON keyproof_records (expires_at, key) WHERE expires_at IS NOT NULL;
    CREATE TABLE keyproof_commits (
        id      BYTEA NOT NULL PRIMARY KEY,
        applied BOOLEAN NOT NULL,
        at      TIMESTAMPTZ NOT NULL DEFAULT now()
    );
"];

/// The schema that this release writes.
const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// The newest that it runs on.
const NEWEST: u32 = SCHEMA + 1;

/// More than enough for all others that migrate at the same time.
const TRIES: usize = 100;

/// Whether this release runs on the database as it is.
pub(super) async fn check(client: &Client) -> Result<(), OpenError> {
    match found(client).await? {
        SCHEMA..=NEWEST => Ok(()),
        found => Err(OpenError::OlderSchema {
            found,
            oldest: SCHEMA,
        }),
    }
}

/// Brings the database to this release's schema, unless it is there already, or one further.
pub(super) async fn migrate(client: &Client) -> Result<Migration, OpenError> {
    let failed = |error: &Error| OpenError::from(engine_error(error));
    let mut to = found(client).await?;
    // Before the first step that was ours.
    let mut from = None;
    for _ in 0..TRIES {
        let Some(migration) = MIGRATIONS.get(to as usize) else {
            let from = from.unwrap_or(to);
            return Ok(Migration { from, to });
        };
        let tried = to;
        let lost = match apply(client, tried + 1, migration).await {
            Ok(()) => {
                from.get_or_insert(tried);
                None
            }
            Err(error) => {
                client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(|error| failed(&error))?;
                if !is_duplicate(&error) && !is_contention(&error) {
                    return Err(failed(&error));
                }
                Some(error)
            }
        };
        to = found(client).await?;
        // Whoever makes a table names its schema in the same transaction.
        if let Some(error) = lost.filter(|error| to == tried && is_duplicate(error)) {
            return Err(EngineError::Corrupt {
                detail: format!(
                    "keyproof_schema does not say that schema {} is there, but some of it is: {}",
                    tried + 1,
                    words(&error)
                ),
            }
            .into());
        }
    }
    Err(EngineError::Busy {
        detail: "others migrate the database all the time".to_owned(),
    }
    .into())
}

/// One transaction, all or nothing. Two nodes that make the first table at the same time may fail for a row of the
/// system's own catalogue, which is as good as for one of ours.
///
/// Waiting for another node's migration takes as long as that does. What is set for that ends with the transaction, for a
/// pooler may give the session to others.
async fn apply(client: &Client, schema: u32, migration: &str) -> Result<(), Error> {
    client
        .batch_execute(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED;
             SET LOCAL lock_timeout = 0;
             SET LOCAL statement_timeout = 0;
             SET LOCAL client_min_messages = 'warning';
             SELECT {};
             CREATE TABLE IF NOT EXISTS keyproof_schema (version BIGINT NOT NULL PRIMARY KEY);
             INSERT INTO keyproof_schema (version) VALUES ({schema});
             {migration}
             COMMIT",
            durable(true)
        ))
        .await
}

/// The database's schema, 0 if it has none.
async fn found(client: &Client) -> Result<u32, OpenError> {
    // Prepares nothing, for a pooler may give the session to others.
    let newest = client
        .simple_query("SELECT COALESCE(max(version), 0) FROM keyproof_schema")
        .await;
    let newest = match newest {
        Err(error) if is_undefined(&error) => return Ok(0),
        Err(error) => return Err(engine_error(&error).into()),
        Ok(answers) => value(&answers).and_then(|newest| newest.parse::<i64>().ok()),
    };
    let Some(newest) = newest else {
        let detail = "keyproof_schema does not say which schema is there".to_owned();
        return Err(EngineError::Corrupt { detail }.into());
    };
    match u32::try_from(newest) {
        Ok(schema @ ..=NEWEST) => Ok(schema),
        other => Err(OpenError::NewerSchema {
            found: other.unwrap_or(u32::MAX),
            newest: NEWEST,
        }),
    }
}
