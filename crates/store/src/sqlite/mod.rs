//! The embedded engine: one SQLite file in WAL mode.
//!
//! One thread writes, a few read, and callers wait without blocking the async runtime. The writer commits all waiting
//! batches, up to 256, in one transaction, so one sync acknowledges them all. Other processes may read and write the
//! same file.
//!
//! A batch is acknowledged only after `COMMIT` has returned, which with `synchronous=FULL` is after the write-ahead log
//! was synced. It is not visible earlier either: SQLite shows readers a commit once its log is synced, and anything
//! that an earlier process left unsynced is synced when the file is opened.
//!
//! The file, its log and the log's index must stay in place. If one is renamed, deleted or replaced, commits fail
//! ([`EngineError::FileReplaced`]), since a restart would not find them.

mod cache;
mod compact;
mod files;
mod identity;
mod log_index;
mod readers;
mod schema;
mod snapshot;
mod transaction;
mod writer;

use std::{
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use self::{
    cache::Cache, identity::Identities, log_index::LogIndex, readers::Readers,
    snapshot::SqliteSnapshot, writer::Writer,
};
use crate::{
    BoxFuture, Changes, CommitError, CommitObserver, Engine, EngineError, EngineSnapshot, Key,
    Migration, OpenError, Prefix, Reading, Row, Timestamp, Version,
};

/// How a [`SqliteEngine`] shares its file.
///
/// ```
/// use std::time::Duration;
///
/// use keyproof_store::sqlite::SqliteOptions;
///
/// let mut options = SqliteOptions::default();
/// options.busy_timeout = Duration::from_secs(1);
/// assert_eq!(options.readers, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long a commit waits for another process that writes, before it fails with [`EngineError::Busy`]. 5 seconds
    /// by default.
    pub busy_timeout: Duration,
    /// The number of reading threads, each with its own connection; at least one. 2 by default.
    pub readers: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            readers: 2,
        }
    }
}

/// Records in one SQLite file.
///
/// Its futures need no particular runtime, except that of [`Engine::ready`], which needs Tokio's time. Dropping it finishes
/// the queued work, which may block; [`Engine::close`] does the same without blocking. Whoever closes the file last copies
/// the log back into it and deletes the log.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::{MasterKey, MasterKeys, Store, SystemEntropy, Timestamp};
/// use keyproof_store::sqlite::{SqliteEngine, SqliteOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let entropy = Arc::new(SystemEntropy::new());
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("store.db");
/// let mut options = SqliteOptions::default();
/// options.readers = 4;
/// let engine = SqliteEngine::open(&path, &options)?;
/// assert_eq!(engine.migration().from, 0); // there was no file
/// let store = Store::open(Arc::new(engine), keys.clone(), entropy.clone(), now).await?;
/// store.close().await;
///
/// let again = Store::open(Arc::new(SqliteEngine::open(&path, &options)?), keys, entropy, now).await?;
/// again.ready().await?;
/// # again.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SqliteEngine {
    path: PathBuf,
    options: SqliteOptions,
    migration: Migration,
    cache: Arc<Cache>,
    identities: Arc<Identities>,
    // Fields drop in order, and threads end once their queue is dropped. The writer's connection closes last: that of a
    // reader cannot copy the log into the file and delete it.
    readers: Readers,
    reading: Threads,
    writer: Writer,
    writing: Threads,
}

impl SqliteEngine {
    /// Opens the file at `path`, or creates it (mode 0600, in a directory of mode 0700). This blocks.
    ///
    /// A file of schema 1 is rewritten, while no other process has it open. This takes one transaction, so an
    /// interruption leaves either the old file or the new one. Afterwards the file is about twice as large, and half of
    /// it is free for new records.
    ///
    /// # Errors
    ///
    /// [`OpenError::Foreign`] if the file belongs to another program, [`OpenError::NewerSchema`] if a release too far
    /// ahead wrote it, [`OpenError::InUse`] if it must be rewritten and another process has it open, and
    /// [`OpenError::Engine`] if it cannot be opened or the disk has no room for it.
    pub fn open(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |error| io_error(path, &error);
        files::create(path).map_err(failed)?;
        let (connection, migration) = schema::open(path, options)?;
        // All three files exist, and stay as long as this connection.
        let identities = Arc::new(Identities::of(path).map_err(failed)?);
        files::sync_log(path).map_err(failed)?;
        let index = identity::index(path).and_then(|index| LogIndex::open(&index));
        let cache = Arc::new(Cache::new(index.map_err(failed)?));
        // The writer's connection opens before the readers' and closes after them, so that a read-only one always finds
        // the shared memory that WAL mode needs.
        let (mut writing, mut reading) = (Threads::default(), Threads::default());
        let writer = Writer::start(path, options, connection, &identities, &cache, &mut writing)?;
        let readers = Readers::start(path, options, &cache, &mut reading)?;
        identities.check()?;
        Ok(Self {
            migration,
            path: path.to_owned(),
            options: options.clone(),
            cache,
            identities,
            readers,
            reading,
            writer,
            writing,
        })
    }

    /// The cache, unless the engine is closed.
    fn cache(&self) -> Option<&Cache> {
        (!self.readers.is_closed()).then_some(&self.cache)
    }

    /// Returns a snapshot of all records in the file at `path` when they were moved to another store, once that is
    /// durable.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; [`EngineError::Other`] if the records were not moved.
    pub async fn moved(
        path: impl AsRef<Path>,
        options: &SqliteOptions,
    ) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        SqliteSnapshot::of_moved(path.as_ref(), options)
            .await
            .map(|snapshot| Box::new(snapshot) as _)
    }

    /// The schema migration that opening the file caused.
    pub fn migration(&self) -> Migration {
        self.migration
    }
}

impl Engine for SqliteEngine {
    fn get_many<'a>(
        &'a self,
        keys: &'a [Key],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, EngineError>> {
        Box::pin(async move {
            match self.cache().and_then(|cache| cache.get_many(keys, now)) {
                Some(rows) => Ok(rows),
                None => self.readers.get_many(keys.to_vec(), now).await,
            }
        })
    }

    fn read(
        &self,
        reading: Reading,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Reading, EngineError>> {
        Box::pin(async move {
            let mut reading = reading;
            match self.cache().and_then(|cache| cache.read(&mut reading, now)) {
                Some(()) => Ok(reading),
                None => {
                    reading.restart();
                    self.readers.read(reading, now).await
                }
            }
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(async move {
            let kept = self.cache();
            match kept.and_then(|cache| cache.scan(prefix, after, limit, now)) {
                Some(rows) => Ok(rows),
                None => self.readers.scan(prefix, after, limit, now).await,
            }
        })
    }

    fn scan_back<'a>(
        &'a self,
        prefix: &'a Prefix,
        before: Option<&'a Key>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<(Key, Row)>, EngineError>> {
        Box::pin(self.readers.scan_back(prefix, before, limit, now))
    }

    fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Key, Version)>, EngineError>> {
        Box::pin(self.readers.expired(within, limit))
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.writer.commit(changes))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn EngineSnapshot>, EngineError>> {
        Box::pin(async {
            self.writer.is_open()?;
            let snapshot = SqliteSnapshot::begin(&self.path, &self.options).await?;
            self.identities.check()?;
            Ok(Box::new(snapshot) as _)
        })
    }

    /// Renames the table, so that no process's statements find it.
    fn fence(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            self.writer.is_open()?;
            compact::on_a_connection(&self.path, &self.options, schema::move_away).await?;
            self.identities.check()
        })
    }

    /// Rewrites the file and empties the log. Blocks all other writers meanwhile.
    fn compact(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            self.writer.is_open()?;
            compact::on_a_connection(&self.path, &self.options, compact::compact).await?;
            self.identities.check()
        })
    }

    /// Counts an index, which is a small part of the file.
    fn estimate(&self) -> BoxFuture<'_, Result<Option<u64>, EngineError>> {
        Box::pin(async { self.readers.count().await.map(Some) })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async {
            self.readers
                .get_many(vec![Key::new("", [""])], Timestamp::EPOCH)
                .await?;
            self.identities.check()?;
            match self.writer.doubt()? {
                None => self.writer.lock(LOCKED).await,
                Some(size) => {
                    self.readers.find_room(&self.path, size).await?;
                    self.writer.probe(size).await
                }
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close();
            self.reading.ended().await;
            self.writer.close().await;
            self.writing.ended().await;
        })
    }

    fn observe(&self, observer: Arc<dyn CommitObserver>) {
        self.writer.observe(observer);
    }
}

/// How long another process may hold the write lock before the store is not ready. Ours is released after each group.
const LOCKED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Access {
    Read,
    ReadWrite,
}

/// The page cache of a reader, in KiB: the inner pages for a few hundred thousand records. It fills as pages are read,
/// and a commit by another connection clears it.
const READER_CACHE_KIB: i32 = 2_048;
/// The page cache of the writer, in KiB, which lasts across its commits. With less, a large group is written to the log
/// before its commit, in part twice.
const WRITER_CACHE_KIB: i32 = 8_192;

fn connect(path: &Path, options: &SqliteOptions, access: Access) -> rusqlite::Result<Connection> {
    // A path is a path: with a folder before it, SQLite takes no name for a URI or a database in memory.
    let path = Path::new(".").join(path);
    // Each connection stays in one thread.
    let (mode, cache) = match access {
        Access::Read => (OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB),
        Access::ReadWrite => (OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB),
    };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.pragma_update(None, "cache_size", -cache)?;
    // With memory mapping, a truncated file or a failing disk would cause a signal instead of an error, and SQLite
    // unmaps everything whenever another connection has committed.
    connection.pragma_update(None, "mmap_size", 0)?;
    // The rollback data of savepoints stays in memory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Otherwise a statement whose plan could depend on bound values is planned again at each run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// The error of the file at `path`.
fn io_error(path: &Path, error: &io::Error) -> EngineError {
    EngineError::Io {
        detail: format!("{}: {error}", path.display()),
    }
}

fn engine_error(error: rusqlite::Error) -> EngineError {
    use rusqlite::{Error, ErrorCode};

    let detail = error.to_string();
    // `records` is the only table in our statements; if it is missing, it was moved.
    if detail.contains("no such table: records") {
        return EngineError::Relocated;
    }
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..) => EngineError::Corrupt { detail },
        other => match other.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                EngineError::Busy { detail }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                EngineError::Corrupt { detail }
            }
            Some(ErrorCode::DiskFull) => EngineError::Full { detail },
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure,
            ) => EngineError::Io { detail },
            _ => EngineError::Other { detail },
        },
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    thread::Builder::new()
        .name(name.to_owned())
        // SQLite needs little stack, and so does our code: no recursion, no large locals.
        .stack_size(512 * 1024)
        .spawn(run)
        .map_err(|error| EngineError::Io {
            detail: format!("no thread: {error}"),
        })
}

/// The engine's threads, which end once their queues are closed and empty.
#[derive(Debug, Default)]
struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Each thread holds a receiver until it ends.
    alive: tokio::sync::watch::Sender<()>,
}

impl Threads {
    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        let alive = self.alive.subscribe();
        let handle = spawn(name, move || {
            run();
            drop(alive);
        });
        self.handles.push(handle?);
        Ok(())
    }

    async fn ended(&self) {
        self.alive.closed().await;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for handle in self.handles.drain(..) {
            // A thread that panicked has informed its callers by dropping their replies.
            let _ = handle.join();
        }
    }
}
