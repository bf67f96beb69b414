//! What the engines on SQL databases share: how values are bound to statements and read back.

use crate::{CommitError, EngineError, Key, NotApplied, Prefix, Timestamp};

/// A timestamp never exceeds what a signed 64-bit column can store.
pub(crate) fn millis(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_millis()).unwrap_or(i64::MAX)
}

/// The moment that [`millis`] was given.
pub(crate) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}

/// The limit of a statement.
pub(crate) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Where a scan starts. The smallest bytes greater than those of `after` are the same with a zero appended.
pub(crate) fn start(prefix: &Prefix, after: Option<&Key>) -> Vec<u8> {
    let after = after.map(|key| [key.as_bytes(), &[0]].concat());
    after.unwrap_or_default().max(prefix.start().to_vec())
}

/// Where a scan backwards ends, which is before these bytes.
pub(crate) fn end(prefix: &Prefix, before: Option<&Key>) -> Vec<u8> {
    let end = prefix.end();
    before.map_or_else(
        || end.clone(),
        |before| end.clone().min(before.as_bytes().to_vec()),
    )
}

/// Returns the failure of work that cannot conflict and is within every limit.
pub(crate) fn failure_of(outcome: Result<(), CommitError>) -> Result<(), EngineError> {
    match outcome {
        Err(CommitError::NotApplied(NotApplied::Engine(error)) | CommitError::Unknown(error)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}
