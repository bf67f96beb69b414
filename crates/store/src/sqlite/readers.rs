//! The reading threads.

use std::{
    any::Any,
    io::ErrorKind,
    iter,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::Arc,
};

use async_channel::{Receiver, Sender};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::{
    Access, SqliteOptions, Threads, cache::Cache, connect, engine_error, files, log_index::State,
};
use crate::{
    EngineError, Key, Prefix, Reading, Row, Timestamp, Version,
    sql::{end, millis, rows, start, timestamp},
};

/// Includes expired rows, which are worth caching.
const GET: &str = "SELECT version, body, expires_at FROM records WHERE key = ?1";
const SCAN: &str = "SELECT version, body, expires_at, key FROM records
    WHERE key >= ?1 AND key < ?2 AND (expires_at IS NULL OR expires_at > ?3)
    ORDER BY key LIMIT ?4";
const SCAN_BACK: &str = "SELECT version, body, expires_at, key FROM records
    WHERE key >= ?1 AND key < ?2 AND (expires_at IS NULL OR expires_at > ?3)
    ORDER BY key DESC LIMIT ?4";
const EXPIRED: &str = "SELECT key, version FROM records
    WHERE expires_at BETWEEN ?1 AND ?2 ORDER BY expires_at, key LIMIT ?3";

const COUNT: &str = "SELECT count(*) FROM records";

/// How many reads may be queued before callers wait.
const QUEUE: usize = 256;

/// The maximum number of reads from one snapshot. Grouping them saves taking a file lock to begin and to end each
/// snapshot, which takes longer than most reads.
const GROUP: usize = 16;

type Job = Box<dyn FnOnce(&Reader<'_>) + Send>;

/// A thread's connection while it handles a group.
struct Reader<'c> {
    connection: &'c Connection,
    cache: &'c Cache,
    /// The file's state before the group's snapshot was taken, if it could be determined.
    began: Option<State>,
}

#[derive(Debug)]
pub(super) struct Readers {
    queue: Sender<Job>,
}

impl Readers {
    pub(super) fn start(
        path: &Path,
        options: &SqliteOptions,
        cache: &Arc<Cache>,
        threads: &mut Threads,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = async_channel::bounded::<Job>(QUEUE);
        for _ in 0..options.readers.max(1) {
            let connection = connect(path, options, Access::Read).map_err(engine_error)?;
            // An open connection keeps the log from being deleted, but only has a lock once it has read.
            connection
                .query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
                .map_err(engine_error)?;
            let (jobs, cache) = (jobs.clone(), cache.clone());
            threads.spawn("keyproof-read", move || {
                while let Ok(first) = jobs.recv_blocking() {
                    read_together(&connection, &cache, first, &jobs);
                }
            })?;
        }
        Ok(Self { queue })
    }

    pub(super) async fn get_many(
        &self,
        keys: Vec<Key>,
        now: Timestamp,
    ) -> Result<Vec<Option<Row>>, EngineError> {
        self.run(move |reader| {
            let _snapshot = Snapshot::for_keys(reader.connection, &keys)?;
            reader.rows_of(&keys, now)
        })
        .await
    }

    /// Runs every round of the reading in one snapshot, without going back to the queue.
    pub(super) async fn read(
        &self,
        mut reading: Reading,
        now: Timestamp,
    ) -> Result<Reading, EngineError> {
        self.run(move |reader| {
            let _snapshot = if reading.is_last_round() {
                Snapshot::for_keys(reader.connection, reading.wanted())?
            } else {
                Snapshot::begin(reader.connection)?
            };
            while !reading.wanted().is_empty() {
                let rows = reader.rows_of(reading.wanted(), now)?;
                reading.found(rows);
            }
            Ok(reading)
        })
        .await
    }

    pub(super) async fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Row)>, EngineError> {
        // A scan that continues after a key does not read the whole prefix.
        let whole = after.is_none().then(|| prefix.clone());
        let (start, end) = (start(prefix, after), prefix.end());
        self.run(move |reader| {
            let found = reader.range(SCAN, (&start, &end), limit, now)?;
            if let Some(prefix) = whole
                && found.len() < limit
                && let Some(state) = reader.state()
            {
                let all = found.clone();
                reader.cache.found_all(state, prefix, all, now);
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn scan_back(
        &self,
        prefix: &Prefix,
        before: Option<&Key>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Row)>, EngineError> {
        let (start, end) = (prefix.start().to_vec(), end(prefix, before));
        self.run(move |reader| reader.range(SCAN_BACK, (&start, &end), limit, now))
            .await
    }

    pub(super) async fn expired(
        &self,
        within: RangeInclusive<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(Key, Version)>, EngineError> {
        let (start, end) = (millis(*within.start()), millis(*within.end()));
        self.run(move |reader| {
            reader
                .connection
                .prepare_cached(EXPIRED)?
                .query_map(params![start, end, rows(limit)], |row| {
                    Ok((key(row, 0)?, Version::from_bytes(row.get(1)?)))
                })?
                .collect()
        })
        .await
    }

    pub(super) async fn count(&self) -> Result<u64, EngineError> {
        let count = self
            .run(|reader| {
                reader
                    .connection
                    .query_row(COUNT, (), |row| row.get::<_, i64>(0))
            })
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Checks that the disk has room for `bytes` bytes beside the file at `path`.
    pub(super) async fn find_room(&self, path: &Path, bytes: u64) -> Result<(), EngineError> {
        let path = path.to_owned();
        // It reads no records, but may block like a read.
        let found = self
            .run(move |_| Ok(files::find_room(&path, bytes)))
            .await?;
        found.map_err(|error| {
            let detail = format!("no room for {bytes} bytes: {error}");
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => EngineError::Full { detail },
                _ => EngineError::Io { detail },
            }
        })
    }

    /// Whether the queue is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Closes the queue. Reads already queued are still done.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            if reply.is_closed() {
                return;
            }
            // A plan's rule is the caller's code. A panic in it is passed to the caller, and does not end this shared
            // thread.
            let outcome = catch_unwind(AssertUnwindSafe(|| read(reader)));
            // There is no receiver if the caller has given up.
            let _ = reply.send(outcome.map(|found| found.map_err(engine_error)));
        });
        self.queue
            .send(job)
            .await
            .map_err(|_| EngineError::Closed)?;
        let outcome: Result<_, Box<dyn Any + Send>> =
            answer.await.map_err(|_| EngineError::Closed)?;
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Does the waiting reads in one snapshot. All were requested before it begins, so no caller sees a state from before a
/// commit that it knows of.
fn read_together(connection: &Connection, cache: &Cache, first: Job, jobs: &Receiver<Job>) {
    let others: Vec<Job> = iter::from_fn(|| jobs.try_recv().ok())
        .take(GROUP - 1)
        .collect();
    let reader = Reader {
        connection,
        cache,
        began: cache.state(),
    };
    let _snapshot = if others.is_empty() {
        None
    } else {
        // If it cannot begin, each read tries its own and returns the error.
        Snapshot::begin(connection).ok().flatten()
    };
    for job in iter::once(first).chain(others) {
        job(&reader);
    }
}

impl Reader<'_> {
    /// The state that was just read, if it can be determined: if the state is the same before and after, the snapshot
    /// between has that state.
    fn state(&self) -> Option<State> {
        self.began
            .filter(|began| self.cache.state() == Some(*began))
    }

    fn rows_of(&self, keys: &[Key], now: Timestamp) -> rusqlite::Result<Vec<Option<Row>>> {
        let mut statement = self.connection.prepare_cached(GET)?;
        let rows = keys.iter().map(|key| {
            let row = statement.query_row(params![key.as_bytes()], stored);
            row.optional()
        });
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        if let Some(state) = self.state() {
            let rows = rows.iter().map(Option::as_ref);
            self.cache.found(state, iter::zip(keys, rows));
        }
        for row in &mut rows {
            row.take_if(|row| row.is_expired(now));
        }
        Ok(rows)
    }

    /// Returns what a scan, forwards or back, finds from the first bytes on and before the second.
    fn range(
        &self,
        scan: &str,
        (start, end): (&[u8], &[u8]),
        limit: usize,
        now: Timestamp,
    ) -> rusqlite::Result<Vec<(Key, Row)>> {
        self.connection
            .prepare_cached(scan)?
            .query_map(params![start, end, millis(now), rows(limit)], |row| {
                Ok((key(row, 3)?, stored(row)?))
            })?
            .collect()
    }
}

/// One state of the file, as long as this exists.
struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    /// Begins a snapshot; `None` if the group already has one.
    fn begin(connection: &'c Connection) -> rusqlite::Result<Option<Self>> {
        if !connection.is_autocommit() {
            return Ok(None);
        }
        connection.prepare_cached("BEGIN")?.execute(())?;
        Ok(Some(Self(connection)))
    }

    /// A single statement needs none.
    fn for_keys(connection: &'c Connection, keys: &[Key]) -> rusqlite::Result<Option<Self>> {
        match keys.len() {
            0 | 1 => Ok(None),
            _ => Self::begin(connection),
        }
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written. After an error, SQLite may have ended it already.
        if !self.0.is_autocommit() {
            let end = self.0.prepare_cached("ROLLBACK");
            let _ = end.and_then(|mut end| end.execute(()));
        }
    }
}

/// Decodes a row whose first columns are version, body and expiry.
pub(super) fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        version: Version::from_bytes(row.get(0)?),
        body: row.get::<_, Vec<u8>>(1)?.into(),
        expires_at: row.get::<_, Option<i64>>(2)?.map(timestamp),
    })
}

pub(super) fn key(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Key> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Key::from_bytes(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, error.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Access, SqliteOptions, connect, log_index::LogIndex, schema};
    use rusqlite::StatementStatus;
    use std::sync::mpsc;

    fn count(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM things", (), |row| row.get(0))
            .unwrap()
    }

    /// The waiting reads see one state, from after all were requested; the next group sees a later one.
    #[test]
    fn a_group_is_read_from_one_state_that_begins_once_all_of_it_was_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Connection::open(file.path()).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE things (thing)").unwrap();
        let reader = Connection::open(file.path()).unwrap();
        let cache = Cache::new(LogIndex::none());
        let (queue, jobs) = async_channel::bounded::<Job>(QUEUE);
        let (tell, told) = mpsc::channel();
        let writer = Arc::new(std::sync::Mutex::new(writer));
        for number in 0..GROUP + 1 {
            let (tell, writer) = (tell.clone(), writer.clone());
            let job: Job = Box::new(move |reader| {
                tell.send((number, count(reader.connection))).unwrap();
                let writer = writer.lock().unwrap();
                writer.execute("INSERT INTO things VALUES (1)", ()).unwrap();
            });
            queue.try_send(job).unwrap();
        }
        // Committed after all reads were requested, and before any of them runs.
        writer
            .lock()
            .unwrap()
            .execute("INSERT INTO things VALUES (1)", ())
            .unwrap();
        while let Ok(first) = jobs.try_recv() {
            read_together(&reader, &cache, first, &jobs);
            assert!(reader.is_autocommit());
        }
        drop((queue, tell));
        let found: Vec<(usize, i64)> = told.iter().collect();
        let group = i64::try_from(GROUP).unwrap();
        let mut expected: Vec<_> = (0..GROUP).map(|number| (number, 1)).collect();
        expected.push((GROUP, 1 + group));
        assert_eq!(found, expected);
    }

    #[test]
    fn reads_go_by_an_index_and_sort_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let connection = Connection::open(file.path()).unwrap();
        schema::prepare(file.path(), &connection).unwrap();
        for (sql, index) in [
            (GET, "INDEX sqlite_autoindex_records_1"),
            (SCAN, "INDEX sqlite_autoindex_records_1"),
            (SCAN_BACK, "INDEX sqlite_autoindex_records_1"),
            (EXPIRED, "INDEX records_by_expiry"),
        ] {
            let mut explain = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let nulls = vec![rusqlite::types::Null; explain.parameter_count()];
            let plan: Vec<String> = explain
                .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(plan.len(), 1, "{plan:?}");
            assert!(
                plan[0].starts_with("SEARCH") && plan[0].contains(index),
                "{plan:?}"
            );
        }
    }

    /// A statement is planned once per connection, whatever is bound to it later.
    #[test]
    fn a_statement_is_planned_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = SqliteOptions::default();
        let connection = connect(file.path(), &options, Access::ReadWrite).unwrap();
        schema::prepare(file.path(), &connection).unwrap();
        for sql in [GET, SCAN, SCAN_BACK, EXPIRED] {
            let mut statement = connection.prepare(sql).unwrap();
            for bound in 0..3 {
                let parameters = vec![bound; statement.parameter_count()];
                let parameters = rusqlite::params_from_iter(parameters);
                assert!(!statement.exists(parameters).unwrap());
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }
}
