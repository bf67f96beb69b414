//! One state of the file, read by its own thread as long as the snapshot exists.

use std::{path::Path, sync::mpsc, time::Duration};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    Access, SqliteOptions, connect, engine_error, files, io_error,
    readers::{key, stored},
    schema, spawn,
};
use crate::{
    BoxFuture, EngineError, EngineSnapshot, Key, Row,
    scan::{Page, SNAPSHOT_PATIENCE},
};

/// The table has another name once the records were moved.
fn page_of(table: &str) -> String {
    format!("SELECT version, body, expires_at, key FROM {table} WHERE key > ?1 ORDER BY key")
}

type Rows = Result<Vec<(Key, Row)>, EngineError>;

struct Wanted {
    after: Vec<u8>,
    bytes: usize,
    reply: oneshot::Sender<Rows>,
}

/// Fixes the state of a file, and returns the query for its pages.
type Fix = fn(&Path, &SqliteOptions) -> Result<(Connection, String), EngineError>;

/// A snapshot; its thread ends with it.
#[derive(Debug)]
pub(super) struct SqliteSnapshot {
    queue: mpsc::Sender<Wanted>,
}

impl SqliteSnapshot {
    /// Returns once the state is fixed: later commits are not in it.
    pub(super) async fn begin(path: &Path, options: &SqliteOptions) -> Result<Self, EngineError> {
        Self::of(path, options, fix, SNAPSHOT_PATIENCE).await
    }

    /// Begins a snapshot of a file whose records were moved.
    pub(super) async fn of_moved(
        path: &Path,
        options: &SqliteOptions,
    ) -> Result<Self, EngineError> {
        Self::of(path, options, fix_moved, SNAPSHOT_PATIENCE).await
    }

    /// Begins a snapshot, which ends if no page is requested for `patience`.
    async fn of(
        path: &Path,
        options: &SqliteOptions,
        fix: Fix,
        patience: Duration,
    ) -> Result<Self, EngineError> {
        let (queue, wanted) = mpsc::channel();
        let (begun, is_begun) = oneshot::channel();
        let (path, options) = (path.to_owned(), options.clone());
        spawn("keyproof-scan", move || match fix(&path, &options) {
            Ok((connection, sql)) => {
                // If the caller has given up, it requests no page either.
                let _ = begun.send(Ok(()));
                serve(connection, &sql, &wanted, patience);
            }
            Err(error) => drop(begun.send(Err(error))),
        })?;
        is_begun.await.map_err(|_| EngineError::Closed)??;
        Ok(Self { queue })
    }
}

impl EngineSnapshot for SqliteSnapshot {
    fn page<'a>(&'a mut self, after: Option<&'a Key>, bytes: usize) -> BoxFuture<'a, Rows> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let after = after.map(|key| key.as_bytes().to_vec()).unwrap_or_default();
            let wanted = Wanted {
                after,
                bytes,
                reply,
            };
            self.queue.send(wanted).map_err(|_| given_up())?;
            answer.await.map_err(|_| given_up())?
        })
    }
}

/// The error of a request after the thread has ended.
fn given_up() -> EngineError {
    EngineError::Other {
        detail: "nobody read from the snapshot for so long that it was given up".to_owned(),
    }
}

/// Returns a connection that reads the current state, and the query for its pages.
fn fix(path: &Path, options: &SqliteOptions) -> Result<(Connection, String), EngineError> {
    let (connection, is_moved) = begin(path, options).map_err(engine_error)?;
    let table = if is_moved { schema::MOVED } else { "records" };
    Ok((connection, page_of(table)))
}

/// Does the same for a file whose records were moved.
fn fix_moved(path: &Path, options: &SqliteOptions) -> Result<(Connection, String), EngineError> {
    let (connection, is_moved) = begin(path, options).map_err(engine_error)?;
    if !is_moved {
        return Err(EngineError::Other {
            detail: "its records were not moved".to_owned(),
        });
    }
    // The process that moved them may have been killed before its sync, and the records read here are treated as final.
    files::sync_log(path).map_err(|error| io_error(path, &error))?;
    Ok((connection, page_of(schema::MOVED)))
}

/// A transaction's state is fixed by its first read, which here checks whether the records were moved.
fn begin(path: &Path, options: &SqliteOptions) -> rusqlite::Result<(Connection, bool)> {
    let connection = connect(path, options, Access::Read)?;
    connection.execute_batch("BEGIN")?;
    let is_moved = schema::is_moved(&connection)?;
    Ok((connection, is_moved))
}

/// Serves pages. While the state is kept, the log grows with every commit.
fn serve(connection: Connection, sql: &str, queue: &mpsc::Receiver<Wanted>, patience: Duration) {
    while let Ok(wanted) = queue.recv_timeout(patience) {
        let page = page(&connection, sql, &wanted.after, wanted.bytes);
        let _ = wanted.reply.send(page.map_err(engine_error));
    }
    // Dropped before the queue, so that the state has really ended when callers are told so.
    drop(connection);
}

fn page(
    connection: &Connection,
    sql: &str,
    after: &[u8],
    bytes: usize,
) -> rusqlite::Result<Vec<(Key, Row)>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after])?;
    let mut page = Page::new(bytes);
    while let Some(row) = rows.next()? {
        if !page.push(key(row, 3)?, stored(row)?) {
            break;
        }
    }
    Ok(page.into_rows())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As when the target of a backup hangs.
    #[tokio::test]
    async fn a_state_that_nobody_reads_from_is_given_up_and_the_log_can_be_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let (path, options) = (folder.path().join("store.db"), SqliteOptions::default());
        files::create(&path).unwrap();
        let (writer, _) = schema::open(&path, &options).unwrap();
        let snapshot = SqliteSnapshot::of(&path, &options, fix, Duration::ZERO).await;
        let mut snapshot = snapshot.unwrap();
        writer
            .execute_batch("INSERT INTO records (key, version, body) VALUES (x'00', x'00', x'00')")
            .unwrap();
        let refused = loop {
            // A request in time is answered from before the record was added.
            match snapshot.page(None, 1).await {
                Ok(page) => assert!(page.is_empty(), "{page:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, given_up());
        let is_busy: bool = writer
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
            .unwrap();
        assert!(!is_busy, "somebody reads from the log");
        let log = folder.path().join("store.db-wal");
        assert_eq!(std::fs::metadata(log).unwrap().len(), 0);
    }
}
