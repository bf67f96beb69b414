//! What the stack refuses before, around and behind an application.

use http::StatusCode;

/// A refusal by the stack itself. An application puts it in its own shape: [`Application::refuse`].
///
/// [`Application::refuse`]: crate::Application::refuse
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackRefusal {
    /// The body ended before its announced length, or its chunks are malformed.
    #[error("the request's body is malformed or cut short")]
    BodyMalformed,
    /// The body did not arrive whole within [`Limits::body_timeout`](crate::Limits::body_timeout).
    #[error("the request's body took too long")]
    BodyTimedOut,
    /// The body is longer than [`Limits::max_body_bytes`](crate::Limits::max_body_bytes), or than its route needs.
    #[error("the request's body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The limit in force, in bytes.
        limit: u64,
    },
    /// The body is coded in another way than in chunks.
    #[error("no transfer coding but chunked is understood")]
    CodingUnknown,
    /// The handler did not finish within [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    #[error(
        "the request took too long{}",
        if *.may_change { ": it is not known whether it is carried out" } else { "" }
    )]
    DeadlineExceeded {
        /// Whether it goes on, and may still change what it was to change.
        may_change: bool,
    },
    /// The server is stopping, and the body is not there yet.
    #[error("the server is stopping: nothing was done")]
    Draining,
    /// The head cannot be parsed, or is ambiguous.
    #[error("malformed request: {0}")]
    HeadMalformed(&'static str),
    /// The head did not arrive whole within [`Limits::header_timeout`](crate::Limits::header_timeout).
    #[error("the request's head took too long")]
    HeadTimedOut,
    /// The head is longer than the stack reads.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// A handler panicked.
    #[error("internal error")]
    Internal,
    /// No path here has the method.
    #[error("no path here has this method")]
    MethodNotAllowed,
    /// No application claims the path.
    #[error("there is nothing at this path")]
    NotFound,
    /// The request target is longer than 16 KiB.
    #[error("the request's target is too long")]
    TargetTooLong,
}

impl StackRefusal {
    /// Whether nothing was done, and the same request may be sent again soon.
    pub(crate) fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::DeadlineExceeded { may_change: false } | Self::Draining
        )
    }

    /// The status that says so, where an application's contract names no other.
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
