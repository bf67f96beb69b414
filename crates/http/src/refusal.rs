//! The refusals of the stack, outside any application.

use http::StatusCode;

/// A refusal by the stack itself. [`Application::refuse`] converts it to the application's form.
///
/// [`Application::refuse`]: crate::Application::refuse
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackRefusal {
    /// The body is shorter than its `Content-Length`, or its chunks are malformed.
    #[error("the request's body is malformed or cut short")]
    BodyMalformed,
    /// The body was not complete within [`Limits::body_timeout`](crate::Limits::body_timeout).
    #[error("the request's body took too long")]
    BodyTimedOut,
    /// The body is longer than [`Limits::max_body_bytes`](crate::Limits::max_body_bytes), or than its route needs.
    #[error("the request's body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The limit in force, in bytes.
        limit: u64,
    },
    /// The body has a transfer coding other than `chunked`.
    #[error("no transfer coding other than chunked is supported")]
    CodingUnknown,
    /// The handler did not finish within [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    #[error(
        "the request took too long{}",
        if *.may_change { ": it is not known whether it is carried out" } else { "" }
    )]
    DeadlineExceeded {
        /// Whether the handler continues, and may still make its changes.
        may_change: bool,
    },
    /// The server is stopping, and the body is not complete.
    #[error("the server is stopping: nothing was done")]
    Draining,
    /// The head cannot be parsed, or is ambiguous.
    #[error("malformed request: {0}")]
    HeadMalformed(&'static str),
    /// The head was not complete within [`Limits::header_timeout`](crate::Limits::header_timeout).
    #[error("the request's head took too long")]
    HeadTimedOut,
    /// The head is longer than the stack accepts.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// A handler panicked.
    #[error("internal error")]
    Internal,
    /// No path has this method.
    #[error("no path has this method")]
    MethodNotAllowed,
    /// No application claims the path.
    #[error("there is nothing at this path")]
    NotFound,
    /// The request target is longer than 16 KiB.
    #[error("the request's target is too long")]
    TargetTooLong,
}

impl StackRefusal {
    /// Returns whether nothing was done, so that the same request may be sent again soon.
    pub(crate) fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::DeadlineExceeded { may_change: false } | Self::Draining
        )
    }

    /// Returns the default status. An application's contract may require another.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BodyMalformed | Self::HeadMalformed(_) => StatusCode::BAD_REQUEST,
            Self::BodyTimedOut | Self::HeadTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::DeadlineExceeded { .. } | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
        }
    }
}
