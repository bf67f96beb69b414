//! Why a request gets no page of its own: the one table for errors of the store, of password hashing, of forms and of
//! the HTTP stack. The refusals of a site's use cases, and all texts, are in the site's `refusal.rs`.

use std::time::Duration;

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use keyproof_http::{Response, StackRefusal, retry_after, retry_soon};
use keyproof_service::{Failure, HashingError, StorageError};
use tracing::error;

use super::{form::FormError, page::html};

/// A page, or the refusal that replaces it.
pub(super) type HandlerResult = Result<Response, Refusal>;

/// A refusal, which is shown instead of the page.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The store or the hashing of passwords is overloaded.
    Busy,
    /// The store's database does not respond, or has not made the change.
    Away,
    /// An internal error of this server.
    Broken,
    /// The session has shown no second factor, or not recently; with the page to return to, if known.
    ConfirmFirst(Option<String>),
    /// A form that does not come from our pages.
    Forged,
    /// Passwords and codes would be sent unencrypted.
    Insecure,
    /// Too many requests from this address.
    Limited(Duration),
    /// The body is not a form of the page.
    Malformed(StatusCode),
    /// The method is not allowed.
    Method(String),
    /// There is no such page.
    NotFound,
    /// The store was moved, or has a master key that this server does not have.
    NotServed,
    /// The signed-in person is not permitted.
    OutOfReach,
    /// Nobody is signed in, or no longer; with the page to return to, if known.
    SignInFirst(Option<String>),
    /// The outcome is unknown.
    Unsure,
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Away | Self::Busy | Self::NotServed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken | Self::Unsure => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ConfirmFirst(_) | Self::SignInFirst(_) => StatusCode::SEE_OTHER,
            Self::Forged | Self::Insecure | Self::OutOfReach => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed(status) => *status,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// Whether certainly no session was ended: this was decided before anything was committed. The store is not read,
    /// because it may be what failed.
    pub(super) const fn ends_no_session(&self) -> bool {
        match self {
            Self::Broken | Self::Unsure => false,
            Self::Away
            | Self::Busy
            | Self::ConfirmFirst(_)
            | Self::Forged
            | Self::Insecure
            | Self::Limited(_)
            | Self::Malformed(_)
            | Self::Method(_)
            | Self::NotFound
            | Self::NotServed
            | Self::OutOfReach
            | Self::SignInFirst(_) => true,
        }
    }

    /// Renders the page for this refusal, with the status and the headers that it requires.
    pub(super) fn answered_with(&self, page: &impl Template) -> Response {
        let mut response = html(self.status(), page.render().unwrap_or_default());
        let headers = response.headers_mut();
        match self {
            // Another server behind the same address may serve a store that was moved.
            Self::Away | Self::Busy | Self::NotServed => retry_soon(headers),
            Self::Limited(wait) => retry_after(headers, *wait),
            Self::Method(allow) => {
                if let Ok(allow) = HeaderValue::try_from(&**allow) {
                    headers.insert(header::ALLOW, allow);
                }
            }
            _ => {}
        }
        response
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Busy(_) | StorageError::Contended { .. } => Self::Busy,
            StorageError::OutcomeUnknown(_) => {
                error!(%error, "a change's outcome is unknown");
                Self::Unsure
            }
            StorageError::NotApplied(_) | StorageError::Unavailable(_) => {
                error!(%error, "a store operation failed");
                Self::Away
            }
            StorageError::NotServed(_) => {
                error!(%error, "a store operation failed");
                Self::NotServed
            }
            StorageError::Damaged(_) | StorageError::TooLarge { .. } => {
                error!(%error, "a record cannot be read or written");
                Self::Broken
            }
        }
    }
}

impl From<HashingError> for Refusal {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy | HashingError::Gone => Self::Busy,
            HashingError::Limited { retry_after } => Self::Limited(retry_after),
            HashingError::Failed(_) | HashingError::Stopped => {
                error!(%error, "a password could not be hashed");
                Self::Broken
            }
        }
    }
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        Self::Malformed(error.status())
    }
}

impl From<StackRefusal> for Refusal {
    fn from(refusal: StackRefusal) -> Self {
        match refusal {
            StackRefusal::DeadlineExceeded { may_change: true } => Self::Unsure,
            StackRefusal::DeadlineExceeded { may_change: false } | StackRefusal::Draining => {
                Self::Busy
            }
            StackRefusal::Internal => Self::Broken,
            StackRefusal::NotFound => Self::NotFound,
            StackRefusal::BodyMalformed
            | StackRefusal::BodyTimedOut
            | StackRefusal::BodyTooLarge { .. }
            | StackRefusal::CodingUnknown
            | StackRefusal::HeadMalformed(_)
            | StackRefusal::HeadTimedOut
            | StackRefusal::HeadTooLarge
            | StackRefusal::MethodNotAllowed
            | StackRefusal::TargetTooLong => Self::Malformed(refusal.status()),
        }
    }
}

impl<E: Into<Self>> From<Failure<E>> for Refusal {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Refused(error) => error.into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_committed_may_have_ended_a_session() {
        for unknown in [Refusal::Broken, Refusal::Unsure] {
            assert!(!unknown.ends_no_session(), "{unknown:?}");
        }
        let all = [
            Refusal::Away,
            Refusal::Busy,
            Refusal::Forged,
            Refusal::NotFound,
        ];
        for before in all {
            assert!(before.ends_no_session(), "{before:?}");
        }
    }
}
