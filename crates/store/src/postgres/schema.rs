//! The tables, and which releases can use them.
//!
//! As with the embedded engine, release N writes schema N and runs on N and N + 1. A migration only adds, so servers of
//! the previous release keep working afterwards.
//!
//! Any number of nodes may migrate at once. Each migration first inserts its row into `keyproof_schema`. The primary
//! key makes concurrent ones wait for the outcome and then fail; they check again, and continue from what they find.

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
/// The newest schema that this release runs on.
const NEWEST: u32 = SCHEMA + 1;

/// More than enough for all nodes that migrate at the same time.
const TRIES: usize = 100;

/// Checks that this release runs on the database's schema.
pub(super) async fn check(client: &Client) -> Result<(), OpenError> {
    match found(client).await? {
        SCHEMA..=NEWEST => Ok(()),
        found => Err(OpenError::OlderSchema {
            found,
            oldest: SCHEMA,
        }),
    }
}

/// Migrates the database to this release's schema, unless it has that one or the next already.
pub(super) async fn migrate(client: &Client) -> Result<Migration, OpenError> {
    let failed = |error: &Error| OpenError::from(engine_error(error));
    let mut to = found(client).await?;
    // The schema before the first step made here.
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
        // A table is created in the same transaction that records its schema.
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

/// Runs one migration in one transaction, all or nothing. If two nodes create the first table at the same time, one may
/// fail on a row of the system catalogue, which counts like failing on one of ours.
///
/// It waits for another node's migration as long as that takes. The settings for this end with the transaction, since a
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

/// The database's schema; 0 if it has none.
async fn found(client: &Client) -> Result<u32, OpenError> {
    // Prepares nothing, since a pooler may give the session to others.
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
