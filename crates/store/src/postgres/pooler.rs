//! Detects poolers that give a connection's session to whichever connection needs one next.
//!
//! The engine relies on three properties of a session: the durability of its commits, its timeouts, and its prepared
//! statements. Behind such a pooler, these may be missing, or may affect other clients.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error, error::SqlState};

use super::{
    connection::{took_too_long, value},
    error::engine_error,
};
use crate::EngineError;

/// More than one round is needed if a pooler hands out sessions in turn instead of the last one first.
const ROUNDS: usize = 3;
/// Returns the server's process for the session.
pub(super) const BACKEND: &str = "SELECT pg_backend_pid()";

/// Checks that a connection keeps its session from one transaction to the next, while another has a transaction open.
/// Also returns whether the second connection is idle afterwards; on an error neither may be.
///
/// # Errors
///
/// [`EngineError::TransactionPooling`] if it does not keep its session; otherwise an error if a server did not answer. Each answer
/// may take `patience`.
pub(super) async fn check(
    first: &Client,
    second: &Client,
    patience: Duration,
) -> Result<bool, EngineError> {
    for _ in 0..ROUNDS {
        let before = answer(patience, backend(first)).await?;
        // Behind a pooler, this takes the session that has just become free.
        match timeout(patience, second.batch_execute("BEGIN")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(&error)),
            // There is no other session, and the first connection keeps the only one.
            Err(_) => return Ok(false),
        }
        let held = answer(patience, backend(second)).await?;
        let after = answer(patience, backend(first)).await;
        let ended = answer(patience, second.batch_execute("ROLLBACK")).await;
        let is_same = match after {
            Ok(after) => after == before,
            // The second connection has the only session, which was the first one's.
            Err(_) if held == before => false,
            Err(error) => return Err(error),
        };
        if !is_same {
            return Err(EngineError::TransactionPooling);
        }
        ended?;
    }
    Ok(true)
}

async fn backend(client: &Client) -> Result<Option<String>, Error> {
    // A transaction of its own, like every query outside of one.
    let answers = client.simple_query(BACKEND).await?;
    Ok(value(&answers).map(ToOwned::to_owned))
}

async fn answer<T>(
    patience: Duration,
    question: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    timeout(patience, question)
        .await
        .map_err(|_| took_too_long("comparing two sessions"))?
        .map_err(|error| engine_error(&error))
}

/// Only a pooler that assigns sessions per statement refuses to begin a transaction.
fn refused(error: &Error) -> EngineError {
    match error.code() {
        Some(&SqlState::PROTOCOL_VIOLATION) => EngineError::TransactionPooling,
        _ => engine_error(error),
    }
}
