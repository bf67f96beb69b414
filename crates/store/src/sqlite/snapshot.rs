//! One state of the file, read by a thread of its own for as long as somebody wants it.

use std::{path::Path, thread};

use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    Access, SqliteOptions, connect, engine_error,
    readers::{key, stored},
    schema,
};
use crate::{BoxFuture, EngineError, EngineSnapshot, Key, Row, scan::Page};

/// The table is called otherwise once the records were moved.
fn page_of(table: &str) -> String {
    format!("SELECT version, body, expires_at, key FROM {table} WHERE key > ?1 ORDER BY key")
}

type Rows = Result<Vec<(Key, Row)>, EngineError>;

struct Wanted {
    after: Vec<u8>,
    bytes: usize,
    reply: oneshot::Sender<Rows>,
}

/// The thread ends with it.
#[derive(Debug)]
pub(super) struct SqliteSnapshot {
    queue: mpsc::Sender<Wanted>,
}

impl SqliteSnapshot {
    /// Answers once the state is fixed: what is committed from then on is not in it.
    pub(super) async fn begin(path: &Path, options: &SqliteOptions) -> Result<Self, EngineError> {
        Self::of(path, options, fix).await
    }

    /// Of a file whose records were moved.
    pub(super) async fn of_moved(
        path: &Path,
        options: &SqliteOptions,
    ) -> Result<Self, EngineError> {
        Self::of(path, options, |path, options| match fix(path, options)? {
            (connection, sql) if schema::is_moved(&connection)? => Ok((connection, sql)),
            _ => Err(rusqlite::Error::InvalidQuery),
        })
        .await
    }

    async fn of(
        path: &Path,
        options: &SqliteOptions,
        fix: fn(&Path, &SqliteOptions) -> rusqlite::Result<(Connection, String)>,
    ) -> Result<Self, EngineError> {
        let (queue, wanted) = mpsc::channel(1);
        let (begun, is_begun) = oneshot::channel();
        let (path, options) = (path.to_owned(), options.clone());
        thread::Builder::new()
            .name("keyproof-scan".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || match fix(&path, &options) {
                Ok((connection, sql)) => {
                    // Whoever has given up wants no page either.
                    let _ = begun.send(Ok(()));
                    serve(&connection, &sql, wanted);
                }
                Err(error) => drop(begun.send(Err(engine_error(error)))),
            })
            .map_err(|error| EngineError::Other {
                detail: format!("no thread: {error}"),
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
            self.queue
                .send(wanted)
                .await
                .map_err(|_| EngineError::Closed)?;
            answer.await.map_err(|_| EngineError::Closed)?
        })
    }
}

/// A connection whose reads are all of the state that there is now: a transaction has one from its first read on.
fn fix(path: &Path, options: &SqliteOptions) -> rusqlite::Result<(Connection, String)> {
    let connection = connect(path, options, Access::Read)?;
    connection.execute_batch("BEGIN")?;
    let table = if schema::is_moved(&connection)? {
        schema::MOVED
    } else {
        "records"
    };
    Ok((connection, page_of(table)))
}

fn serve(connection: &Connection, sql: &str, mut queue: mpsc::Receiver<Wanted>) {
    while let Some(wanted) = queue.blocking_recv() {
        let page = page(connection, sql, &wanted.after, wanted.bytes);
        let _ = wanted.reply.send(page.map_err(engine_error));
    }
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
