//! Rare operations, each on its own connection: rewriting the file, so that neither it nor its log contains removed or
//! replaced data.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Access, SqliteOptions, connect, engine_error, spawn};
use crate::EngineError;

/// Runs `work` on its own thread and connection.
pub(super) async fn on_a_connection(
    path: &Path,
    options: &SqliteOptions,
    work: fn(&Connection) -> rusqlite::Result<()>,
) -> Result<(), EngineError> {
    let (reply, answer) = oneshot::channel();
    let (path, options) = (path.to_owned(), options.clone());
    spawn("keyproof-rare", move || {
        let done = connect(&path, &options, Access::ReadWrite)
            .and_then(|connection| work(&connection))
            .map_err(engine_error);
        // There is no receiver if the caller has given up.
        let _ = reply.send(done);
    })?;
    answer.await.map_err(|_| EngineError::Closed)?
}

/// Rewrites the file; blocks all other writers meanwhile.
pub(super) fn compact(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The new file is built in a temporary file, since the store may be larger than memory.
    connection.pragma_update(None, "temp_store", "FILE")?;
    connection.execute_batch("VACUUM")?;
    // The log contains the old pages until it is emptied, which requires that no reader uses them.
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
