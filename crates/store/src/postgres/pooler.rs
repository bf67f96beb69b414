//! Poolers that give a session to whichever connection asks next, found for certain.
//!
//! What is ours of a session is how durable its commits are, how long it waits, and its prepared statements. Behind such a
//! pooler none of it is where it was left, and some of it is where others find it.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error, error::SqlState};

use super::{
    connection::{took_too_long, value},
    error::engine_error,
};
use crate::EngineError;

/// Poolers that hand their sessions out in turn, rather than the last one first, may take more than one.
const ROUNDS: usize = 3;
/// Which session of the server's answers.
pub(super) const BACKEND: &str = "SELECT pg_backend_pid()";

/// Checks that a connection keeps its session from one transaction to the next, while another has a transaction open. Also
/// tells whether the second is idle after that; on an error neither may be.
///
/// # Errors
///
/// [`EngineError::Pooled`] if it does not; otherwise that a server did not answer, for each answer within `patience`.
pub(super) async fn check(
    first: &Client,
    second: &Client,
    patience: Duration,
) -> Result<bool, EngineError> {
    for _ in 0..ROUNDS {
        let before = answer(patience, backend(first)).await?;
        // Takes the session that has just become free, if there is such a thing.
        match timeout(patience, second.batch_execute("BEGIN")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(&error)),
            // There is no other session, and the first keeps the one there is.
            Err(_) => return Ok(false),
        }
        let held = answer(patience, backend(second)).await?;
        let after = answer(patience, backend(first)).await;
        let ended = answer(patience, second.batch_execute("ROLLBACK")).await;
        let is_same = match after {
            Ok(after) => after == before,
            // The other one has the only session, which was the first one's.
            Err(_) if held == before => false,
            Err(error) => return Err(error),
        };
        if !is_same {
            return Err(EngineError::Pooled);
        }
        ended?;
    }
    Ok(true)
}

async fn backend(client: &Client) -> Result<Option<String>, Error> {
    // A transaction of its own, as every query outside of one is.
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

/// A pooler that hands sessions out for a statement lets nobody begin a transaction, and is the only one to say so.
fn refused(error: &Error) -> EngineError {
    match error.code() {
        Some(&SqlState::PROTOCOL_VIOLATION) => EngineError::Pooled,
        _ => engine_error(error),
    }
}
