//! Why a request gets no page of its own: the one table from what the store, the hashing of passwords, a form and the stack
//! refuse. What a site's use cases refuse, and the words for all of it, are in the site's `refusal.rs`.

use std::time::Duration;

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use keyproof_http::{Response, StackRefusal, retry_after, retry_soon};
use keyproof_service::{Failure, HashingError, StorageError};
use tracing::error;

use super::{form::FormError, page::html};

/// A page, or what stands in its place.
pub(super) type Answered = Result<Response, Refusal>;

/// What stands in the place of the page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The store, or the hashing of passwords, has too much to do.
    Busy,
    /// The store's database does not answer, or has not made the change.
    Away,
    /// Something is wrong with this server.
    Broken,
    /// The session shows no second factor, or not lately enough; with the page to come back to, if the site knows it.
    ConfirmFirst(Option<String>),
    /// A form that is not from a page of ours.
    Forged,
    /// Passwords and codes would be sent in the clear.
    Insecure,
    /// Too many requests from this address.
    Limited(Duration),
    /// What was sent is no form.
    Malformed(StatusCode),
    /// Not asked in this way.
    Method(String),
    /// Nothing is there.
    NotFound,
    /// Whoever is signed in may not.
    OutOfReach,
    /// Nobody is signed in, or no longer; with the page to come back to, if the site knows it.
    SignInFirst(Option<String>),
    /// It is not known whether it was done.
    Unsure,
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Away | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken | Self::Unsure => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ConfirmFirst(_) | Self::SignInFirst(_) => StatusCode::SEE_OTHER,
            Self::Forged | Self::Insecure | Self::OutOfReach => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed(status) => *status,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// Whether every session is as it was, for certain: this was decided before anything was committed. The store is not
    /// asked, for it may be what has failed.
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
            | Self::OutOfReach
            | Self::SignInFirst(_) => true,
        }
    }

    /// This page in the place of the one that was asked for, with what its status asks for.
    pub(super) fn answered_with(&self, page: &impl Template) -> Response {
        let mut response = html(self.status(), page.render().unwrap_or_default());
        let headers = response.headers_mut();
        match self {
            Self::Away | Self::Busy => retry_soon(headers),
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
                error!(%error, "the store does not do its part");
                Self::Away
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
                error!(%error, "a password could not be judged");
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

impl<E> From<Failure<E>> for Refusal
where
    Self: From<E>,
{
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
