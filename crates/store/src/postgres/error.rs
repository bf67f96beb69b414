//! Interpreting the server's errors.

use std::error::Error as _;

use tokio_postgres::{
    Error,
    error::{DbError, Severity, SqlState},
};

use crate::EngineError;

/// Whether the connection is lost, or the server itself does not know the statement's outcome.
pub(super) fn is_lost(error: &Error) -> bool {
    let Some(error) = error.as_db_error() else {
        // Only the server reports that a statement failed; any other error is a failure to receive its answer.
        return true;
    };
    is_fatal(error)
        || error.code().code().starts_with("08")
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
        ]
        .contains(error.code())
}

fn is_fatal(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    }
}

/// Whether the transaction lost against another, and may succeed on another attempt.
pub(super) fn is_contention(error: &Error) -> bool {
    is_any(
        error,
        &[
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ],
    )
}

/// Whether a check of ours failed. Each check divides by the number of records that it found.
pub(super) fn is_failed_check(error: &Error) -> bool {
    is_any(error, &[SqlState::DIVISION_BY_ZERO])
}

/// Whether the statement was cancelled or timed out.
pub(super) fn is_cancelled(error: &Error) -> bool {
    is_any(error, &[SqlState::QUERY_CANCELED])
}

/// Whether two nodes created the same thing at the same time, and a unique index, possibly the catalogue's, rejected
/// one.
pub(super) fn is_duplicate(error: &Error) -> bool {
    is_any(
        error,
        &[
            SqlState::DUPLICATE_OBJECT,
            SqlState::DUPLICATE_TABLE,
            SqlState::UNIQUE_VIOLATION,
        ],
    )
}

/// Whether a table made by a migration is missing. Once the schema was checked, that means that the records were moved.
pub(super) fn is_undefined(error: &Error) -> bool {
    is_any(error, &[SqlState::UNDEFINED_TABLE])
}

/// Whether the server accepts no writes, because it is or became a standby.
pub(super) fn is_read_only(error: &Error) -> bool {
    is_any(error, &[SqlState::READ_ONLY_SQL_TRANSACTION])
}

fn is_any(error: &Error, codes: &[SqlState]) -> bool {
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether a prepared statement is missing, or exists unexpectedly: the connection has got another one's session.
fn is_pooled(error: &Error) -> bool {
    is_any(
        error,
        &[
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::DUPLICATE_PSTATEMENT,
        ],
    )
}

pub(super) fn engine_error(error: &Error) -> EngineError {
    if is_pooled(error) {
        return EngineError::TransactionPooling;
    }
    let detail = words(error);
    let Some(error) = error.as_db_error() else {
        return EngineError::Io { detail };
    };
    match error.code() {
        code if code.code() == "53100" => EngineError::Full { detail },
        code if code.code().starts_with("53") => EngineError::Busy { detail },
        &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::QUERY_CANCELED
        | &SqlState::T_R_DEADLOCK_DETECTED
        | &SqlState::T_R_SERIALIZATION_FAILURE => EngineError::Busy { detail },
        &SqlState::UNDEFINED_TABLE => EngineError::Relocated,
        &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => EngineError::Corrupt { detail },
        // Only these errors are about the server, and not about the request.
        code if is_fatal(error)
            || ["08", "57", "58"].contains(&code.code().get(..2).unwrap_or_default())
            || *code == SqlState::READ_ONLY_SQL_TRANSACTION =>
        {
            EngineError::Io { detail }
        }
        _ => EngineError::Other { detail },
    }
}

/// The server's message without its details, which may quote stored data.
pub(super) fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
