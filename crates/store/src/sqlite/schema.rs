//! The file's layout, and which releases may work on it.
//!
//! Release N writes schema N and runs on N and N + 1, so that servers can be exchanged one by
//! one. So a migration only adds: what it leaves behind must still serve the release before.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::engine_error;
use crate::{EngineError, Migration, OpenError};

/// Step `i` brings schema `i` to `i + 1`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE records (
        key        BLOB NOT NULL PRIMARY KEY,
        version    BLOB NOT NULL,
        body       BLOB NOT NULL,
        expires_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX records_by_expiry ON records (expires_at, key) WHERE expires_at IS NOT NULL;
"];

/// The schema that this release writes.
const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// The newest that it runs on.
const NEWEST: u32 = SCHEMA + 1;

/// `kprf`, in the file's header, for the `file` command and for us.
const APPLICATION_ID: i64 = 0x6B70_7266;

/// Checks whose file it is and which schema it has, and brings it to this release's.
///
/// Waits at least `patience` while others have it locked: to change the journal mode SQLite asks
/// for a lock that it is refused at once, whatever the connection's own timeout.
pub(super) fn prepare(connection: &Connection, patience: Duration) -> Result<Migration, OpenError> {
    let start = Instant::now();
    loop {
        match migrate(connection) {
            Err(OpenError::Engine(EngineError::Busy { .. })) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

fn migrate(connection: &Connection) -> Result<Migration, OpenError> {
    // Before anything is changed, the journal mode included.
    inspect(&transaction(connection, TransactionBehavior::Deferred)?)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(engine_error)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail = format!("journal mode {mode}: the file system has no shared memory for WAL");
        return Err(EngineError::Other { detail }.into());
    }
    // Again, for another process may be at the same.
    let transaction = transaction(connection, TransactionBehavior::Immediate)?;
    let found = inspect(&transaction)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(migration).map_err(engine_error)?;
    }
    if found < SCHEMA {
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(engine_error)?;
        transaction
            .pragma_update(None, "user_version", SCHEMA)
            .map_err(engine_error)?;
    }
    transaction.commit().map_err(engine_error)?;
    Ok(Migration {
        from: found,
        to: found.max(SCHEMA),
    })
}

fn transaction(
    connection: &Connection,
    behavior: TransactionBehavior,
) -> Result<Transaction<'_>, OpenError> {
    Transaction::new_unchecked(connection, behavior).map_err(open_error)
}

/// The file's schema, 0 for an empty file. In one transaction, for others may be creating it.
fn inspect(transaction: &Transaction<'_>) -> Result<u32, OpenError> {
    let number = |sql| {
        transaction
            .query_row(sql, (), |row| row.get::<_, i64>(0))
            .map_err(open_error)
    };
    let application_id = number("PRAGMA application_id")?;
    let schema = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if (application_id, schema, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application_id != APPLICATION_ID {
        return Err(OpenError::Foreign {
            detail: format!("application id {application_id:#x}"),
        });
    }
    match u32::try_from(schema) {
        Ok(schema @ 1..=NEWEST) => Ok(schema),
        other => Err(OpenError::NewerSchema {
            found: other.unwrap_or(u32::MAX),
            newest: NEWEST,
        }),
    }
}

/// Tells another program's file from an engine that fails.
pub(super) fn open_error(error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign {
            detail: error.to_string(),
        },
        _ => engine_error(error).into(),
    }
}
