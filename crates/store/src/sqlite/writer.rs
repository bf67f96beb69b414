//! The thread that writes, and its group commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rusqlite::{Connection, ErrorCode, Statement, params};
use tokio::sync::{mpsc, oneshot};

use super::{Access, SqliteOptions, Threads, connect, engine_error, millis};
use crate::{Change, Changes, CommitError, EngineError, Entry, NotApplied, Row, Timestamp};

/// Batches that one transaction takes at most.
const GROUP: usize = 256;
/// Batches that wait for the writer before callers wait for room.
const QUEUE: usize = 1_024;
/// Pages in the write-ahead log from which on it is copied back into the file.
const CHECKPOINT_PAGES: i32 = 1_000;

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    /// Whether the last transaction succeeded.
    healthy: Arc<AtomicBool>,
}

enum Message {
    Close,
    Write(Work, Reply),
}

enum Work {
    Batch(Changes),
    /// Writes without changing anything, to find out whether writing works.
    Probe,
}

type Reply = oneshot::Sender<Result<(), CommitError>>;

impl Writer {
    pub(super) fn start(
        path: &Path,
        options: &SqliteOptions,
        connection: Connection,
        threads: &mut Threads,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let healthy = Arc::new(AtomicBool::new(true));
        let thread = Thread {
            path: path.to_owned(),
            options: options.clone(),
            jobs,
            healthy: healthy.clone(),
            wal_pages: Arc::default(),
        };
        threads.spawn("keyproof-write", move || thread.run(connection))?;
        Ok(Self { queue, healthy })
    }

    pub(super) async fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        self.write(Work::Batch(changes)).await
    }

    /// A failure counts until a write has succeeded, if need be the one that this makes.
    pub(super) async fn ready(&self) -> Result<(), EngineError> {
        if self.queue.is_closed() {
            return Err(EngineError::Closed);
        }
        if self.healthy.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.write(Work::Probe).await {
            Ok(()) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(
                CommitError::NotApplied(NotApplied::Engine(error)) | CommitError::Unknown(error),
            ) => Err(error),
            Err(CommitError::NotApplied(other)) => Err(EngineError::Other {
                detail: other.to_string(),
            }),
        }
    }

    pub(super) async fn close(&self) {
        // An error says that it is closed.
        let _ = self.queue.send(Message::Close).await;
    }

    async fn write(&self, work: Work) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        let closed = |_| CommitError::NotApplied(EngineError::Closed.into());
        self.queue
            .send(Message::Write(work, reply))
            .await
            .map_err(closed)?;
        // The thread answers all that it took, unless it panics: then nobody knows.
        answer
            .await
            .unwrap_or(Err(CommitError::Unknown(EngineError::Closed)))
    }
}

struct Thread {
    path: PathBuf,
    options: SqliteOptions,
    jobs: mpsc::Receiver<Message>,
    healthy: Arc<AtomicBool>,
    wal_pages: Arc<AtomicI32>,
}

/// Why a whole group failed.
enum Failure {
    NotApplied(EngineError),
    Unknown(EngineError),
}

impl Thread {
    /// Serves until the queue is closed and empty, with another connection when one broke.
    fn run(mut self, connection: Connection) {
        let mut opened = Ok(connection);
        loop {
            let served = opened.and_then(|connection| self.serve(connection));
            match served {
                Ok(Served::All) => return,
                Ok(Served::UntilBroken) => {}
                // No connection, so the next group learns why, and then another is tried.
                Err(error) => {
                    self.healthy.store(false, Ordering::Relaxed);
                    match self.next_group() {
                        None => return,
                        Some(group) => {
                            let failure = Failure::NotApplied(engine_error(error));
                            answer(group, &Err(failure));
                        }
                    }
                }
            }
            opened = connect(&self.path, &self.options, Access::ReadWrite);
        }
    }

    fn serve(&mut self, mut connection: Connection) -> rusqlite::Result<Served> {
        connection.pragma_update(None, "synchronous", "FULL")?;
        // A log that once grew large is cut when it is next begun anew.
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        let wal_pages = self.wal_pages.clone();
        // An error from here would be taken for the commit's, which it is not.
        connection.wal_hook(Some(move |_: &mut _, pages| {
            wal_pages.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let mut statements = Statements::prepare(&connection)?;
        while let Some(group) = self.next_group() {
            let outcome = statements.transact(&group);
            let failed = outcome.is_err();
            self.healthy.store(!failed, Ordering::Relaxed);
            answer(group, &outcome);
            // After the answers, which it would only delay. After a failure too: on a full disk
            // the log may then be begun anew in place.
            if failed || self.wal_pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES {
                self.wal_pages.store(0, Ordering::Relaxed);
                // The log keeps what could not be copied; the next time will do.
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
            }
            if failed && !connection.is_autocommit() {
                return Ok(Served::UntilBroken);
            }
        }
        Ok(Served::All)
    }

    /// All that waits, up to [`GROUP`]; waits for the first. `None` once closed and drained.
    fn next_group(&mut self) -> Option<Vec<(Work, Reply)>> {
        let mut messages = Vec::with_capacity(GROUP);
        loop {
            if self.jobs.blocking_recv_many(&mut messages, GROUP) == 0 {
                return None;
            }
            let mut group = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Close => self.jobs.close(),
                    Message::Write(work, reply) => group.push((work, reply)),
                }
            }
            if !group.is_empty() {
                return Some(group);
            }
        }
    }
}

enum Served {
    All,
    UntilBroken,
}

/// What became of a group: for each work the entry that conflicted, or why all of it failed.
type Outcome = Result<Vec<Option<usize>>, Failure>;

fn answer(group: Vec<(Work, Reply)>, outcome: &Outcome) {
    for (at, (_, reply)) in group.into_iter().enumerate() {
        let result = match outcome {
            Ok(conflicts) => match conflicts.get(at).copied().flatten() {
                Some(entry) => Err(CommitError::Conflict { entry }),
                None => Ok(()),
            },
            Err(Failure::NotApplied(error)) => Err(NotApplied::from(error.clone()).into()),
            Err(Failure::Unknown(error)) => Err(CommitError::Unknown(error.clone())),
        };
        // Nobody listens if the caller has given up.
        let _ = reply.send(result);
    }
}

struct Statements<'c> {
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

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare(sql);
        Ok(Self {
            connection,
            // At once, for a lock that is only asked for later may be refused without waiting.
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

    /// One transaction for the whole group. On failure none of it is there, and no transaction is
    /// open unless the connection is past help.
    fn transact(&mut self, group: &[(Work, Reply)]) -> Outcome {
        let conflicts = self.apply(group).map_err(|error| {
            self.abandon();
            Failure::NotApplied(engine_error(error))
        })?;
        self.commit.execute(()).map_err(|error| {
            self.abandon();
            match error.sqlite_error_code() {
                // Refused before the frame that commits was written to the log.
                Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull) => {
                    Failure::NotApplied(engine_error(error))
                }
                // That frame may be in the log, without readers being told of it: if the power
                // fails before another transaction has overwritten it, recovery will find it.
                _ => Failure::Unknown(engine_error(error)),
            }
        })?;
        Ok(conflicts)
    }

    /// Every batch of the group in a transaction, up to `COMMIT`.
    fn apply(&mut self, group: &[(Work, Reply)]) -> rusqlite::Result<Vec<Option<usize>>> {
        self.begin.execute(())?;
        let conflicts = group
            .iter()
            .map(|(work, _)| match work {
                Work::Batch(changes) => self.apply_batch(changes),
                Work::Probe => self.probe(),
            })
            .collect::<rusqlite::Result<_>>()?;
        if self.connection.is_autocommit() {
            // SQLite took all of it back, by itself.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                Some("SQLite left the transaction".to_owned()),
            ));
        }
        Ok(conflicts)
    }

    /// All of one batch, or the entry that conflicts and nothing.
    fn apply_batch(&mut self, changes: &Changes) -> rusqlite::Result<Option<usize>> {
        // One statement is all or nothing by itself.
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

    /// Whether the record was in the state that the entry asks for.
    fn apply_entry(&mut self, entry: &Entry, now: Timestamp) -> rusqlite::Result<bool> {
        let (key, now) = (entry.key.as_bytes(), millis(now));
        let changed = match &entry.change {
            Change::Insert(Row {
                version,
                body,
                expires_at,
            }) => {
                let expires_at = expires_at.map(millis);
                self.insert
                    .execute(params![key, version.as_bytes(), body, expires_at, now])?
            }
            Change::Remove { at } => self.remove.execute(params![key, at.as_bytes()])?,
            Change::Replace {
                at,
                row:
                    Row {
                        version,
                        body,
                        expires_at,
                    },
            } => {
                let expires_at = expires_at.map(millis);
                let (at, version) = (at.as_bytes(), version.as_bytes());
                self.replace
                    .execute(params![key, at, version, body, expires_at, now])?
            }
            Change::Require { at } => {
                return self.require.exists(params![key, at.as_bytes(), now]);
            }
            Change::Reseal { at, body } => {
                self.reseal
                    .execute(params![key, at.as_bytes(), body, now])?
            }
        };
        Ok(changed == 1)
    }

    /// Writes the schema's number over itself, which dirties a page.
    fn probe(&self) -> rusqlite::Result<Option<usize>> {
        let schema: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        self.connection
            .pragma_update(None, "user_version", schema)?;
        Ok(None)
    }

    /// Ends a transaction that failed. Should even that fail, the connection is given up.
    fn abandon(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.rollback.execute(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::schema;
    use crate::{Key, SystemEntropy, Version};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn database() -> (TempDir, Connection) {
        let folder = TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("store.db")).unwrap();
        schema::prepare(&connection).unwrap();
        (folder, connection)
    }

    fn key(name: &str) -> Key {
        Key::new("case", [name])
    }

    fn inserts(names: &[&str], body: &[u8]) -> (Work, Reply) {
        let entries = names.iter().map(|name| {
            let version = Version::draw(&SystemEntropy::new());
            (
                key(name),
                Change::Insert(Row {
                    version,
                    body: body.to_vec(),
                    expires_at: None,
                }),
            )
        });
        let changes = Changes::new(entries, NOW, &SystemEntropy::new()).unwrap();
        (Work::Batch(changes), oneshot::channel().0)
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
        let mut statements = Statements::prepare(&connection).unwrap();
        let group = [
            inserts(&["a"], b""),
            inserts(&["b", "a", "c"], b""),
            inserts(&["a"], b""),
            inserts(&["d", "b"], b""),
        ];
        let Ok(conflicts) = statements.transact(&group) else {
            panic!("nothing is wrong")
        };
        assert_eq!(conflicts, [None, Some(1), Some(0), None]);
        assert_eq!(names(&connection), ["case/a", "case/b", "case/d"]);
    }

    #[test]
    fn a_full_disk_fails_the_whole_group_and_none_before_or_after() {
        let (_folder, connection) = database();
        let mut statements = Statements::prepare(&connection).unwrap();
        assert!(statements.transact(&[inserts(&["before"], b"")]).is_ok());
        connection.pragma_update(None, "max_page_count", 8).unwrap();
        let large = vec![0; 100_000];
        let group = [
            inserts(&["a"], b""),
            inserts(&["b", "c"], &large),
            inserts(&["d"], b""),
        ];
        let outcome = statements.transact(&group);
        assert!(matches!(
            outcome,
            Err(Failure::NotApplied(EngineError::Full { .. }))
        ));
        assert_eq!(names(&connection), ["case/before"]);
        assert!(statements.transact(&[inserts(&["after"], b"")]).is_ok());
        assert_eq!(names(&connection), ["case/after", "case/before"]);
    }

    #[test]
    fn a_transaction_that_sqlite_left_fails_the_whole_group() {
        let (_folder, connection) = database();
        let leave = "CREATE TRIGGER leave BEFORE INSERT ON records WHEN NEW.body = x'FF'
            BEGIN SELECT RAISE(ROLLBACK, 'left'); END";
        connection.execute_batch(leave).unwrap();
        let mut statements = Statements::prepare(&connection).unwrap();
        let group = [
            inserts(&["a"], b""),
            inserts(&["b"], b"\xFF"),
            inserts(&["c"], b""),
        ];
        assert!(matches!(
            statements.transact(&group),
            Err(Failure::NotApplied(_))
        ));
        assert_eq!(names(&connection), [""; 0]);
        assert!(statements.transact(&[inserts(&["c"], b"")]).is_ok());
    }

    #[test]
    fn a_commit_that_fails_is_not_known() {
        let (_folder, mut connection) = database();
        let mut fail = true;
        connection
            .commit_hook(Some(move || std::mem::take(&mut fail)))
            .unwrap();
        let mut statements = Statements::prepare(&connection).unwrap();
        let outcome = statements.transact(&[inserts(&["a"], b""), inserts(&["a"], b"")]);
        assert!(
            matches!(outcome, Err(Failure::Unknown(_))),
            "not even the conflict is certain"
        );
        assert_eq!(names(&connection), [""; 0]);
        assert!(statements.transact(&[inserts(&["a"], b"")]).is_ok());
    }

    #[test]
    fn a_failure_reaches_every_caller() {
        let failed = |failure: Failure| {
            let (replies, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
            let group = replies
                .into_iter()
                .map(|reply| (Work::Probe, reply))
                .collect();
            answer(group, &Err(failure));
            answers
                .into_iter()
                .map(|mut answer| answer.try_recv().unwrap())
                .collect::<Vec<_>>()
        };
        let busy = EngineError::Busy {
            detail: "so it is".to_owned(),
        };
        let not_applied = Err(CommitError::NotApplied(busy.clone().into()));
        assert_eq!(
            failed(Failure::NotApplied(busy.clone())),
            vec![not_applied; 3]
        );
        let unknown = Err(CommitError::Unknown(busy.clone()));
        assert_eq!(failed(Failure::Unknown(busy)), vec![unknown; 3]);
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
        let mut statements = Statements::prepare(&connection).unwrap();
        assert!(
            statements
                .transact(&[(Work::Probe, oneshot::channel().0)])
                .is_ok()
        );
        assert!(pages.load(Ordering::Relaxed) > before, "it went to the log");
        let schema: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(schema, 2);
    }
}
