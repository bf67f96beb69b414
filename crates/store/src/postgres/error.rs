//! What a server's errors mean for us.

use std::error::Error as _;

use tokio_postgres::{
    Error,
    error::{DbError, Severity, SqlState},
};

use crate::EngineError;

/// Whether the connection is gone, or the server itself cannot say what became of the statement.
pub(super) fn is_lost(error: &Error) -> bool {
    let Some(error) = error.as_db_error() else {
        // Nobody but the server says that a statement failed; everything else is a failure to hear from it.
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

/// Whether the transaction lost against another, and would find a clear way on another try.
pub(super) fn is_contention(error: &Error) -> bool {
    is_any(
        error,
        &[
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ],
    )
}

/// Whether one of our own checks failed, each of which divides by the number of records it found.
pub(super) fn is_failed_check(error: &Error) -> bool {
    is_any(error, &[SqlState::DIVISION_BY_ZERO])
}

/// Whether somebody, or the server's clock, ended the statement.
pub(super) fn is_cancelled(error: &Error) -> bool {
    is_any(error, &[SqlState::QUERY_CANCELED])
}

/// Whether two nodes made the same thing at the same time, and one was told so by a unique index, be it the catalogue's.
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

/// Whether something is not there that a migration makes. Once the schema was looked at, it is the records, which were moved.
pub(super) fn is_undefined(error: &Error) -> bool {
    is_any(error, &[SqlState::UNDEFINED_TABLE])
}

/// Whether the server takes no writes: it became a standby, or was one all along.
pub(super) fn is_read_only(error: &Error) -> bool {
    is_any(error, &[SqlState::READ_ONLY_SQL_TRANSACTION])
}

fn is_any(error: &Error, codes: &[SqlState]) -> bool {
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether a statement that was prepared on a connection is not there, or one that was not is: it has another's session.
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
        return EngineError::Pooled;
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
        // Of them all only these are about the server, and not about what it was asked.
        code if is_fatal(error)
            || ["08", "57", "58"].contains(&code.code().get(..2).unwrap_or_default())
            || *code == SqlState::READ_ONLY_SQL_TRANSACTION =>
        {
            EngineError::Io { detail }
        }
        _ => EngineError::Other { detail },
    }
}

/// The server's message, but none of its details, which may quote what is stored.
pub(super) fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
