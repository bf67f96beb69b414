//! The file's layout, and which releases may work on it.
//!
//! Release N writes schema N and runs on N and N + 1, so that servers can be exchanged one by one, and gone back from. So what
//! a migration leaves behind must still serve the release before, to its very statements.
//!
//! | schema | layout |
//! |---|---|
//! | 1 | the records in the index of their keys (`WITHOUT ROWID`) |
//! | 2 | the same columns in a table of its own, in order of their insertion, beside an index of the keys |
//!
//! An index whose entries are whole records is deep, and each step of a search in it reads a page of a few of them. Beside
//! it, what is inserted at once lies at the table's end, whatever collections it is of.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Access, SqliteOptions, connect, engine_error, files};
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

/// Makes way for it, and fills it in key order.
const REBUILD: [&str; 3] = [
    "ALTER TABLE records RENAME TO records_of_schema_1; DROP INDEX records_by_expiry;",
    CREATE,
    "INSERT INTO records (key, version, body, expires_at)
         SELECT key, version, body, expires_at FROM records_of_schema_1 ORDER BY key;
     DROP TABLE records_of_schema_1;",
];

/// The schema that this release writes.
const SCHEMA: u32 = 2;
/// The newest that it runs on.
const NEWEST: u32 = SCHEMA + 1;

/// What the table is called once its records were moved to another store. Whoever has the file open then finds none, and
/// whoever opens it is told.
pub(super) const MOVED: &str = "moved_records";
/// The schema that a moved file names, newer than any: releases that know of no moving refuse it, too.
const MOVED_SCHEMA: u32 = i32::MAX as u32;

/// `kprf`, in the file's header, for the `file` command and for us.
const APPLICATION_ID: i64 = 0x6B70_7266;

/// Opens the file at `path`: checks whose it is and which schema it has, and brings it to this release's.
///
/// Waits at least the options' timeout while others have it locked: to change the journal mode SQLite asks for a lock that
/// it is refused at once, whatever the connection's own timeout.
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
        // Two that wait for the other to let go of the file must do so, and not at one time.
        drop(connection);
        std::thread::sleep(pause());
    }
}

/// From 5 to 30 milliseconds.
fn pause() -> Duration {
    let mut random = [0];
    SystemEntropy::new().fill(&mut random);
    Duration::from_millis(5) + Duration::from_micros(100) * u32::from(random[0])
}

/// Checks the file and brings it to this release's schema, if nobody is in the way.
pub(super) fn prepare(path: &Path, connection: &Connection) -> Result<Migration, OpenError> {
    // Before anything is changed, the journal mode included.
    let found = inspect(&transaction(connection, TransactionBehavior::Deferred)?)?;
    let is_rebuilt = found == 1 && rebuild(path, connection)?;
    let mode = set_journal_mode(connection, "WAL").map_err(engine_error)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail = format!("journal mode {mode}: the file system has no shared memory for WAL");
        return Err(EngineError::Other { detail }.into());
    }
    // Again, for another process may be at the same.
    let transaction = transaction(connection, TransactionBehavior::Immediate)?;
    let found = inspect(&transaction)?;
    if found == 1 {
        // The release before has just made it.
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

/// Brings schema 1 to 2, in one transaction and while nobody else has the file open. `false` if another process was faster.
///
/// Outside of WAL mode: a rollback journal takes only what is overwritten, which is little, and the copy is written once,
/// to the file. Half a copy that a process left behind is taken back by whoever opens the file next, of whatever release.
fn rebuild(path: &Path, connection: &Connection) -> Result<bool, OpenError> {
    let in_use = |error: rusqlite::Error| match engine_error(error) {
        EngineError::Busy { .. } => OpenError::InUse { found: 1 },
        error => error.into(),
    };
    // A journal that came back after the loss of power would take back what was acknowledged since.
    connection
        .pragma_update(None, "synchronous", "EXTRA")
        .map_err(engine_error)?;
    // Refused while anybody else has the file open.
    let mode = set_journal_mode(connection, "DELETE").map_err(in_use)?;
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Exclusive).map_err(in_use)?;
    let still: String = transaction
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(engine_error)?;
    // Another process may have come in between, and may have done it.
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

/// Whether the disk has room for all records once more: what they took is only free once they are copied.
fn find_room(path: &Path, transaction: &Transaction<'_>) -> Result<(), OpenError> {
    let number = |name| {
        transaction
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(engine_error)
    };
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    let used = pages.saturating_mul(number("page_size")?);
    let free = files::free_room(path).map_err(|error| EngineError::Io {
        detail: format!("{}: {error}", path.display()),
    })?;
    check_room(used, free).map_err(OpenError::from)
}

fn check_room(used: u64, free: Option<u64>) -> Result<(), EngineError> {
    // Each key is kept twice from then on; and the journal takes a little.
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

/// The mode that there is then.
fn set_journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))
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

/// Takes the records away from whoever has the file open, in one transaction. Where they were taken away before, that is durable
/// once this returns.
pub(super) fn move_away(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if !is_moved(&transaction)? {
        transaction.execute_batch(&format!("ALTER TABLE records RENAME TO {MOVED}"))?;
    }
    // Whether it differs or not: a commit that writes nothing syncs nothing, and whoever moved them may have been killed before
    // that was synced.
    transaction.pragma_update(None, "user_version", MOVED_SCHEMA)?;
    transaction.commit()
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
