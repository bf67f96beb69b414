//! What is done once in years, each on a connection of its own: writing the file anew, so that nothing of what was removed or
//! replaced is left in it, nor in its log.

use std::{path::Path, thread};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Access, SqliteOptions, connect, engine_error};
use crate::EngineError;

/// On a thread and a connection of its own.
pub(super) async fn on_a_connection(
    path: &Path,
    options: &SqliteOptions,
    work: fn(&Connection) -> rusqlite::Result<()>,
) -> Result<(), EngineError> {
    let (reply, answer) = oneshot::channel();
    let (path, options) = (path.to_owned(), options.clone());
    thread::Builder::new()
        .name("keyproof-rare".to_owned())
        .spawn(move || {
            let done = connect(&path, &options, Access::ReadWrite)
                .and_then(|connection| work(&connection))
                .map_err(engine_error);
            // Nobody listens if the caller has given up.
            let _ = reply.send(done);
        })
        .map_err(|error| EngineError::Io {
            detail: format!("no thread: {error}"),
        })?;
    answer.await.map_err(|_| EngineError::Closed)?
}

/// Nobody else writes meanwhile.
pub(super) fn compact(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The new file is put together in a temporary one: memory may be less than the store is.
    connection.pragma_update(None, "temp_store", "FILE")?;
    connection.execute_batch("VACUUM")?;
    // The log has the pages of before until it is emptied, which waits for readers of them.
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| {
        row.get::<_, bool>(0)
    })?;
    if is_busy {
        Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("the log is read still".to_owned()),
        ))
    } else {
        Ok(())
    }
}
