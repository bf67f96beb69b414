//! Group commit: many batches in one transaction, each with its own verdict.

use rusqlite::{Connection, ErrorCode, MAIN_DB, Statement, params};

use super::engine_error;
use crate::{Change, Changes, EngineError, Entry, Timestamp, sql::millis};

pub(super) enum Work {
    Batch(Changes),
    /// Takes and releases the write lock, to check that it is available and that the file can be written.
    Lock,
    /// Writes without changing anything, to check that writing works.
    Probe {
        /// The number of bytes known to have room, comparable to a group's size.
        size: u64,
    },
}

impl Work {
    /// Approximately how many bytes the log may grow; at least one, if anything is written.
    pub(super) fn size(&self) -> u64 {
        const PAGE: u64 = 4_096;
        let changes = match self {
            Self::Batch(changes) => changes,
            Self::Lock => return 0,
            Self::Probe { size } => return *size,
        };
        let entries = changes.entries().iter();
        let bytes = entries.map(|entry| entry.change.body_len());
        bytes.fold(PAGE, |sum, len| sum + PAGE + len as u64)
    }
}

/// The entry at which a batch conflicted, if it did.
pub(super) type Verdict = Option<usize>;

/// The verdict of each work of a group, or why the whole group failed.
pub(super) type Outcome = Result<Vec<Verdict>, Failure>;

/// Why a whole group failed.
pub(super) enum Failure {
    NotApplied(EngineError),
    Unknown(EngineError),
}

/// The statements of all transactions, prepared once.
pub(super) struct Transactions<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    savepoint: Statement<'c>,
    release: Statement<'c>,
    rollback_to: Statement<'c>,
    insert: Statement<'c>,
    remove: Statement<'c>,
    replace: Statement<'c>,
    require: Statement<'c>,
    reseal: Statement<'c>,
}

impl<'c> Transactions<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare(sql);
        Ok(Self {
            connection,
            // Takes the lock at once, since a later upgrade may be refused without waiting.
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            rollback: prepare("ROLLBACK")?,
            savepoint: prepare("SAVEPOINT batch")?,
            release: prepare("RELEASE batch")?,
            rollback_to: prepare("ROLLBACK TO batch")?,
            insert: prepare(
                "INSERT INTO records (key, version, body, expires_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET
                     version = excluded.version, body = excluded.body, expires_at = excluded.expires_at
                     WHERE records.expires_at <= ?5",
            )?,
            remove: prepare("DELETE FROM records WHERE key = ?1 AND version = ?2")?,
            replace: prepare(
                "UPDATE records SET version = ?3, body = ?4, expires_at = ?5
                 WHERE key = ?1 AND version = ?2 AND (expires_at IS NULL OR expires_at > ?6)",
            )?,
            require: prepare(
                "SELECT 1 FROM records
                 WHERE key = ?1 AND version = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
            )?,
            reseal: prepare(
                "UPDATE records SET body = ?3
                 WHERE key = ?1 AND version = ?2 AND (expires_at IS NULL OR expires_at > ?4)",
            )?,
        })
    }

    /// Runs one transaction for the whole group. Calls `begun` when no other process can write any more. On failure
    /// nothing is applied, and no transaction is open unless the connection is unusable.
    pub(super) fn run<'w>(
        &mut self,
        group: impl Iterator<Item = &'w Work> + Clone,
        begun: impl FnMut(),
    ) -> Outcome {
        let conflicts = self.apply(group, begun).map_err(|error| {
            self.abandon();
            Failure::NotApplied(engine_error(error))
        })?;
        if conflicts.iter().all(Option::is_some) {
            // `COMMIT` would write the pages that savepoints have restored to the log, and sync it.
            self.rollback.execute(()).map_err(|error| {
                self.abandon();
                Failure::NotApplied(engine_error(error))
            })?;
            return Ok(conflicts);
        }
        self.commit.execute(()).map_err(|error| {
            self.abandon();
            match error.sqlite_error_code() {
                // Refused before the commit frame was written to the log.
                Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull) => {
                    Failure::NotApplied(engine_error(error))
                }
                // The commit frame may be in the log, although readers do not see it. If the power fails before another
                // transaction overwrites it, recovery will find it.
                _ => Failure::Unknown(engine_error(error)),
            }
        })?;
        Ok(conflicts)
    }

    /// Applies every batch of the group in a transaction, up to `COMMIT`.
    ///
    /// In a savepoint each changed page is copied first, which costs more than the change, and few batches conflict. So
    /// savepoints are not used until a batch conflicts after it has written. Then the whole group is rolled back and
    /// redone with savepoints.
    fn apply<'w>(
        &mut self,
        group: impl Iterator<Item = &'w Work> + Clone,
        mut begun: impl FnMut(),
    ) -> rusqlite::Result<Vec<Verdict>> {
        self.begin.execute(())?;
        begun();
        let verdicts = match self.without_savepoints(group.clone())? {
            Some(verdicts) => verdicts,
            None => {
                self.rollback.execute(())?;
                self.begin.execute(())?;
                begun();
                self.with_savepoints(group)?
            }
        };
        if self.connection.is_autocommit() {
            // SQLite rolled everything back by itself.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                Some("SQLite left the transaction".to_owned()),
            ));
        }
        Ok(verdicts)
    }

    /// Returns `None` if a batch conflicts after it has written.
    fn without_savepoints<'w>(
        &mut self,
        group: impl Iterator<Item = &'w Work>,
    ) -> rusqlite::Result<Option<Vec<Verdict>>> {
        let verdicts = group.map(|work| match work {
            Work::Batch(changes) => self.apply_whole(changes),
            Work::Lock => self.check_access().map(Some),
            Work::Probe { .. } => self.probe().map(Some),
        });
        verdicts.collect()
    }

    /// Applies a whole batch. Returns `None` if it conflicts after it has written.
    fn apply_whole(&mut self, changes: &Changes) -> rusqlite::Result<Option<Verdict>> {
        let mut has_written = false;
        for entry in changes.entries() {
            if !self.apply_entry(entry, changes.now())? {
                return Ok((!has_written).then_some(Some(entry.index)));
            }
            has_written |= !matches!(entry.change, Change::Require { .. });
        }
        Ok(Some(None))
    }

    fn with_savepoints<'w>(
        &mut self,
        group: impl Iterator<Item = &'w Work>,
    ) -> rusqlite::Result<Vec<Verdict>> {
        let verdicts = group.map(|work| match work {
            Work::Batch(changes) => self.apply_or_undo(changes),
            Work::Lock => self.check_access(),
            Work::Probe { .. } => self.probe(),
        });
        verdicts.collect()
    }

    /// Applies a whole batch, or nothing of it.
    fn apply_or_undo(&mut self, changes: &Changes) -> rusqlite::Result<Verdict> {
        // A single statement is atomic by itself.
        if let [entry] = changes.entries() {
            return Ok((!self.apply_entry(entry, changes.now())?).then_some(entry.index));
        }
        self.savepoint.execute(())?;
        for entry in changes.entries() {
            if !self.apply_entry(entry, changes.now())? {
                self.rollback_to.execute(())?;
                self.release.execute(())?;
                return Ok(Some(entry.index));
            }
        }
        self.release.execute(())?;
        Ok(None)
    }

    /// Applies the entry. Returns whether the record was in the required state.
    fn apply_entry(&mut self, entry: &Entry, now: Timestamp) -> rusqlite::Result<bool> {
        let (key, now) = (entry.key.as_bytes(), millis(now));
        let changed = match &entry.change {
            Change::Insert(row) => {
                let (version, expires_at) = (row.version.as_bytes(), row.expires_at.map(millis));
                self.insert
                    .execute(params![key, version, &*row.body, expires_at, now])?
            }
            Change::Remove { at } => self.remove.execute(params![key, at.as_bytes()])?,
            Change::Replace { at, row } => {
                let (version, expires_at) = (row.version.as_bytes(), row.expires_at.map(millis));
                self.replace.execute(params![
                    key,
                    at.as_bytes(),
                    version,
                    &*row.body,
                    expires_at,
                    now
                ])?
            }
            Change::Require { at } => {
                return self.require.exists(params![key, at.as_bytes(), now]);
            }
            Change::Reseal { at, body } => {
                self.reseal
                    .execute(params![key, at.as_bytes(), &**body, now])?
            }
        };
        Ok(changed == 1)
    }

    /// Fails if the file could be opened for reading only. `BEGIN IMMEDIATE` succeeds on such a file, without a lock.
    fn check_access(&self) -> rusqlite::Result<Verdict> {
        if self.connection.is_readonly(MAIN_DB)? {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
                Some("the file can only be read".to_owned()),
            ));
        }
        Ok(None)
    }

    /// Writes the schema's number over itself, which dirties a page.
    fn probe(&self) -> rusqlite::Result<Verdict> {
        let schema: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        self.connection
            .pragma_update(None, "user_version", schema)?;
        Ok(None)
    }

    /// Ends a failed transaction. If even that fails, the connection is given up.
    fn abandon(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.rollback.execute(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{Key, Row, SystemEntropy, Version, sqlite::schema};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn database() -> (TempDir, Connection) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.db");
        let connection = Connection::open(&path).unwrap();
        schema::prepare(&path, &connection).unwrap();
        (folder, connection)
    }

    fn key(name: &str) -> Key {
        Key::new("case", [name])
    }

    fn inserts(names: &[&str], body: &[u8]) -> Work {
        let entries = names.iter().map(|name| {
            let version = Version::random(&SystemEntropy::new());
            (
                key(name),
                Change::Insert(Row {
                    version,
                    body: body.into(),
                    expires_at: None,
                }),
            )
        });
        let changes = Changes::new(entries, NOW, &SystemEntropy::new()).unwrap();
        Work::Batch(changes)
    }

    fn names(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT key FROM records ORDER BY key")
            .unwrap();
        let keys = statement
            .query_map((), |row| row.get::<_, Vec<u8>>(0))
            .unwrap();
        keys.map(|bytes| Key::from_bytes(&bytes.unwrap()).unwrap().to_string())
            .collect()
    }

    #[test]
    fn a_conflict_leaves_the_rest_of_its_group() {
        let (_folder, connection) = database();
        let mut transactions = Transactions::prepare(&connection).unwrap();
        let group = [
            inserts(&["a"], b""),
            inserts(&["b", "a", "c"], b""),
            inserts(&["a"], b""),
            inserts(&["d", "b"], b""),
        ];
        let Ok(conflicts) = transactions.run(group.iter(), || ()) else {
            panic!("nothing is wrong")
        };
        assert_eq!(conflicts, [None, Some(1), Some(0), None]);
        assert_eq!(names(&connection), ["case/a", "case/b", "case/d"]);
    }

    /// If nothing must be rolled back, the group runs once. `begun` is called for each transaction.
    #[test]
    fn a_group_is_begun_again_only_if_a_batch_that_conflicts_has_written() {
        for (group, expected, found, begins) in [
            // The entries are in key order.
            (
                [&["b", "c"][..], &["a", "d"]],
                [None, None],
                &["a", "b", "c", "d"][..],
                1,
            ),
            ([&["b", "c"], &["b", "d"]], [None, Some(0)], &["b", "c"], 1),
            ([&["b", "c"], &["a", "c"]], [None, Some(1)], &["b", "c"], 2),
        ] {
            let (_folder, connection) = database();
            let mut transactions = Transactions::prepare(&connection).unwrap();
            let group = group.map(|names| inserts(names, b""));
            let mut begun = 0;
            let Ok(verdicts) = transactions.run(group.iter(), || begun += 1) else {
                panic!("nothing is wrong")
            };
            assert_eq!(verdicts, expected);
            let found: Vec<_> = found.iter().map(|name| format!("case/{name}")).collect();
            assert_eq!((names(&connection), begun), (found, begins));
        }
    }

    #[test]
    fn a_full_disk_fails_the_whole_group_and_none_before_or_after() {
        let (_folder, connection) = database();
        let mut transactions = Transactions::prepare(&connection).unwrap();
        assert!(
            transactions
                .run([inserts(&["before"], b"")].iter(), || ())
                .is_ok()
        );
        connection.pragma_update(None, "max_page_count", 8).unwrap();
        let large = vec![0; 100_000];
        let group = [
            inserts(&["a"], b""),
            inserts(&["b", "c"], &large),
            inserts(&["d"], b""),
        ];
        let outcome = transactions.run(group.iter(), || ());
        assert!(matches!(
            outcome,
            Err(Failure::NotApplied(EngineError::Full { .. }))
        ));
        assert_eq!(names(&connection), ["case/before"]);
        assert!(
            transactions
                .run([inserts(&["after"], b"")].iter(), || ())
                .is_ok()
        );
        assert_eq!(names(&connection), ["case/after", "case/before"]);
    }

    #[test]
    fn a_transaction_that_sqlite_left_fails_the_whole_group() {
        let (_folder, connection) = database();
        let leave = "CREATE TRIGGER leave BEFORE INSERT ON records WHEN NEW.body = x'FF'
            BEGIN SELECT RAISE(ROLLBACK, 'left'); END";
        connection.execute_batch(leave).unwrap();
        let mut transactions = Transactions::prepare(&connection).unwrap();
        let group = [
            inserts(&["a"], b""),
            inserts(&["b"], b"\xFF"),
            inserts(&["c"], b""),
        ];
        assert!(matches!(
            transactions.run(group.iter(), || ()),
            Err(Failure::NotApplied(_))
        ));
        assert_eq!(names(&connection), [""; 0]);
        assert!(
            transactions
                .run([inserts(&["c"], b"")].iter(), || ())
                .is_ok()
        );
    }

    #[test]
    fn a_commit_that_fails_is_not_known() {
        let (_folder, mut connection) = database();
        let mut fail = true;
        connection
            .commit_hook(Some(move || std::mem::take(&mut fail)))
            .unwrap();
        let mut transactions = Transactions::prepare(&connection).unwrap();
        let outcome = transactions.run([inserts(&["a"], b""), inserts(&["a"], b"")].iter(), || ());
        assert!(
            matches!(outcome, Err(Failure::Unknown(_))),
            "not even the conflict is certain"
        );
        assert_eq!(names(&connection), [""; 0]);
        assert!(
            transactions
                .run([inserts(&["a"], b"")].iter(), || ())
                .is_ok()
        );
    }

    #[test]
    fn a_file_that_can_only_be_read_has_no_lock() {
        let (folder, _connection) = database();
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let reader = Connection::open_with_flags(folder.path().join("store.db"), flags).unwrap();
        let mut transactions = Transactions::prepare(&reader).unwrap();
        let outcome = transactions.run([Work::Lock].iter(), || ());
        let Err(Failure::NotApplied(EngineError::Io { detail })) = outcome else {
            panic!("there is no lock")
        };
        assert_eq!(detail, "the file can only be read");
        assert!(reader.is_autocommit(), "the transaction ended");
    }

    #[test]
    fn a_probe_writes_and_changes_nothing() {
        let (_folder, mut connection) = database();
        let pages = Arc::new(AtomicI32::new(0));
        let seen = pages.clone();
        connection
            .wal_hook(Some(move |_: &mut _, pages| {
                seen.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .unwrap();
        connection.pragma_update(None, "user_version", 2).unwrap();
        let before = pages.load(Ordering::Relaxed);
        let mut transactions = Transactions::prepare(&connection).unwrap();
        assert!(
            transactions
                .run([Work::Probe { size: 1 }].iter(), || ())
                .is_ok()
        );
        assert!(pages.load(Ordering::Relaxed) > before, "it went to the log");
        let schema: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(schema, 2);
    }

    /// The writer recognises its own commits by this.
    #[test]
    fn what_writes_nothing_does_not_call_the_hook() {
        let (_folder, mut connection) = database();
        let called = Arc::new(AtomicI32::new(0));
        let count = called.clone();
        connection
            .wal_hook(Some(move |_: &mut _, _| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }))
            .unwrap();
        let mut transactions = Transactions::prepare(&connection).unwrap();
        let mut calls = |works: &[Work]| {
            let before = called.load(Ordering::Relaxed);
            assert!(transactions.run(works.iter(), || ()).is_ok());
            called.load(Ordering::Relaxed) - before
        };
        assert_eq!(calls(&[inserts(&["a"], b"")]), 1);
        assert_eq!(calls(&[Work::Lock]), 0);
        assert_eq!(calls(&[inserts(&["a"], b"")]), 0, "it conflicts");
        assert_eq!(calls(&[inserts(&["0", "a"], b"")]), 0, "it is taken back");
        assert_eq!(calls(&[Work::Lock, inserts(&["c"], b"")]), 1);
    }
}
