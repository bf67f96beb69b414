//! The file's layout, and which releases can use it.
//!
//! Release N writes schema N and runs on N and N + 1, so that servers can be upgraded one by one, and downgraded. So
//! what a migration produces must still work with the exact statements of the previous release.
//!
//! | schema | layout |
//! |---|---|
//! | 1 | the records in the index of their keys (`WITHOUT ROWID`) |
//! | 2 | the same columns in a separate table, in order of insertion, with an index of the keys |
//!
//! An index whose entries are whole records is deep, and each step of a search in it reads a page with only a few of
//! them. With a separate table, records inserted together are adjacent at its end, whatever their collections.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Access, SqliteOptions, connect, engine_error, files, io_error};
use crate::{EngineError, Entropy, Migration, OpenError, SystemEntropy};

/// A new file's layout.
const CREATE: &str = "
    CREATE TABLE records (
        key        BLOB NOT NULL PRIMARY KEY,
        version    BLOB NOT NULL,
        body       BLOB NOT NULL,
        expires_at INTEGER
    ) STRICT;
    CREATE INDEX records_by_expiry ON records (expires_at, key) WHERE expires_at IS NOT NULL;
";

/// Creates the new table and fills it in key order.
const REBUILD: [&str; 3] = [
    "ALTER TABLE records RENAME TO records_of_schema_1; DROP INDEX records_by_expiry;",
    CREATE,
    "INSERT INTO records (key, version, body, expires_at)
         SELECT key, version, body, expires_at FROM records_of_schema_1 ORDER BY key;
     DROP TABLE records_of_schema_1;",
];

/// The schema that this release writes.
const SCHEMA: u32 = 2;
/// The newest schema that this release runs on.
const NEWEST: u32 = SCHEMA + 1;

/// The table's name once its records were moved to another store. A process that has the file open then finds no
/// records, and opening it fails.
pub(super) const MOVED: &str = "moved_records";
/// The schema number of a moved file. It is newer than any, so that releases that do not support moving reject it too.
const MOVED_SCHEMA: u32 = i32::MAX as u32;

/// `kprf`, in the file's header, to identify the file, also for the `file` command.
const APPLICATION_ID: i64 = 0x6B70_7266;

/// Opens the file at `path`, checks that it is a store and which schema it has, and migrates it to this release's.
///
/// Retries at least until the options' timeout while other processes lock it. To change the journal mode, SQLite needs
/// a lock that is refused at once, whatever the connection's own timeout.
pub(super) fn open(
    path: &Path,
    options: &SqliteOptions,
) -> Result<(Connection, Migration), OpenError> {
    let start = Instant::now();
    loop {
        let connection = connect(path, options, Access::ReadWrite).map_err(open_error)?;
        match prepare(path, &connection) {
            Ok(migration) => return Ok((connection, migration)),
            Err(OpenError::Engine(EngineError::Busy { .. }) | OpenError::InUse { .. })
                if start.elapsed() < options.busy_timeout => {}
            Err(error) => return Err(error),
        }
        // Two processes that wait for each other must both release the file, but at different times.
        drop(connection);
        std::thread::sleep(pause());
    }
}

/// A random pause of 5 to 30 milliseconds.
fn pause() -> Duration {
    let mut random = [0];
    SystemEntropy::new().fill(&mut random);
    Duration::from_millis(5) + Duration::from_micros(100) * u32::from(random[0])
}

/// Checks the file and migrates it to this release's schema, unless another process blocks that.
pub(super) fn prepare(path: &Path, connection: &Connection) -> Result<Migration, OpenError> {
    // Checked before anything is changed, including the journal mode.
    let found = inspect(&transaction(connection, TransactionBehavior::Deferred)?)?;
    let is_rebuilt = found == 1 && rebuild(path, connection)?;
    let mode = set_journal_mode(connection, "WAL").map_err(engine_error)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail = format!("journal mode {mode}: the file system has no shared memory for WAL");
        return Err(EngineError::Other { detail }.into());
    }
    // Checked again, since another process may be doing the same.
    let transaction = transaction(connection, TransactionBehavior::Immediate)?;
    let found = inspect(&transaction)?;
    if found == 1 {
        // The previous release has just created it.
        return Err(OpenError::InUse { found });
    }
    if found == 0 {
        transaction.execute_batch(CREATE).map_err(engine_error)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(engine_error)?;
        set_schema(&transaction)?;
    }
    transaction.commit().map_err(engine_error)?;
    Ok(Migration {
        from: if is_rebuilt { 1 } else { found },
        to: found.max(SCHEMA),
    })
}

/// Migrates schema 1 to 2, in one transaction and while no other process has the file open. Returns `false` if another
/// process did it first.
///
/// It does not use WAL mode. A rollback journal contains only overwritten pages, which are few, and the copy is written
/// once, directly to the file. If the process is killed, the partial copy is rolled back when the file is next opened,
/// by any release.
fn rebuild(path: &Path, connection: &Connection) -> Result<bool, OpenError> {
    let in_use = |error: rusqlite::Error| match engine_error(error) {
        EngineError::Busy { .. } => OpenError::InUse { found: 1 },
        error => error.into(),
    };
    // A journal that reappeared after a loss of power would roll back commits acknowledged since.
    connection
        .pragma_update(None, "synchronous", "EXTRA")
        .map_err(engine_error)?;
    // Refused while any other process has the file open.
    let mode = set_journal_mode(connection, "DELETE").map_err(in_use)?;
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Exclusive).map_err(in_use)?;
    let still: String = transaction
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(engine_error)?;
    // Another process may have opened the file in between, or have migrated it.
    if ![&mode, &still]
        .iter()
        .all(|mode| mode.eq_ignore_ascii_case("delete"))
    {
        return Err(OpenError::InUse { found: 1 });
    }
    if inspect(&transaction)? != 1 {
        return Ok(false);
    }
    find_room(path, &transaction)?;
    for step in REBUILD {
        transaction.execute_batch(step).map_err(engine_error)?;
    }
    set_schema(&transaction)?;
    transaction.commit().map_err(engine_error)?;
    Ok(true)
}

/// Checks that the disk has room for a second copy of all records. The space of the old one is free only after copying.
fn find_room(path: &Path, transaction: &Transaction<'_>) -> Result<(), OpenError> {
    let number = |name| {
        transaction
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(engine_error)
    };
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    let used = pages.saturating_mul(number("page_size")?);
    let free = files::free_room(path).map_err(|error| io_error(path, &error))?;
    check_room(used, free).map_err(OpenError::from)
}

fn check_room(used: u64, free: Option<u64>) -> Result<(), EngineError> {
    // Each key is then stored twice, and the journal takes a little.
    let needed = used.saturating_add(used / 2).saturating_add(1 << 20);
    match free {
        Some(free) if free < needed => Err(EngineError::Full {
            detail: format!(
                "its records are written anew once, for which the disk needs {needed} free bytes, and has {free}"
            ),
        }),
        _ => Ok(()),
    }
}

fn set_schema(transaction: &Transaction<'_>) -> Result<(), OpenError> {
    transaction
        .pragma_update(None, "user_version", SCHEMA)
        .map_err(|error| engine_error(error).into())
}

/// Sets the journal mode, and returns the resulting one.
fn set_journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))
}

fn transaction(
    connection: &Connection,
    behavior: TransactionBehavior,
) -> Result<Transaction<'_>, OpenError> {
    Transaction::new_unchecked(connection, behavior).map_err(open_error)
}

/// The file's schema, 0 for an empty file. Takes one transaction, since others may be creating the file.
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
        Ok(MOVED_SCHEMA) => Err(EngineError::Relocated.into()),
        Ok(schema @ 1..=NEWEST) => Ok(schema),
        other => Err(OpenError::NewerSchema {
            found: other.unwrap_or(u32::MAX),
            newest: NEWEST,
        }),
    }
}

/// Whether the records were moved to another store.
pub(super) fn is_moved(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [MOVED],
        |row| row.get(0),
    )
}

/// Moves the records away, in one transaction, so that no process can use them. If they were moved before, that is
/// durable once this returns.
pub(super) fn move_away(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if !is_moved(&transaction)? {
        transaction.execute_batch(&format!("ALTER TABLE records RENAME TO {MOVED}"))?;
    }
    // Written even if it does not change: a commit that writes nothing syncs nothing, and the process that moved them
    // may have been killed before its sync.
    transaction.pragma_update(None, "user_version", MOVED_SCHEMA)?;
    transaction.commit()
}

/// Distinguishes another program's file from a failing engine.
pub(super) fn open_error(error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign {
            detail: error.to_string(),
        },
        _ => engine_error(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite syncs the log with each commit that writes to it, and with no other.
    #[test]
    fn records_that_were_moved_before_are_moved_by_a_commit_that_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        files::create(&path).unwrap();
        let (connection, _) = open(&path, &SqliteOptions::default()).unwrap();
        let log = || std::fs::read(folder.path().join("store.db-wal")).unwrap();
        move_away(&connection).unwrap();
        assert!(is_moved(&connection).unwrap());
        let before = log();
        move_away(&connection).unwrap();
        assert!(is_moved(&connection).unwrap());
        assert_ne!(log(), before);
    }

    #[test]
    fn a_disk_without_room_for_a_copy_is_full() {
        assert_eq!(check_room(100 << 20, Some(151 << 20)), Ok(()));
        let full = check_room(100 << 20, Some((151 << 20) - 1));
        let Err(EngineError::Full { detail }) = full else {
            panic!("{full:?}")
        };
        assert!(
            detail.contains("158334976") && detail.contains("158334975"),
            "{detail}"
        );
        assert_eq!(check_room(u64::MAX, None), Ok(()));
        assert!(check_room(u64::MAX, Some(u64::MAX - 1)).is_err());
    }
}
