//! The one table of the use cases' errors with emnify's error codes and response bodies.

use std::{fmt::Display, time::Duration};

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{Response, StackRefusal, retry_after};
use keyproof_service::{
    Failure, HashingError, StorageError,
    accounts::{
        ActivateKeyError, AddApplicationTokenError, AnswerError, ApplicationLoginError,
        ChangeApplicationTokenError, ChangePasswordError, EnrolKeyError, LoginError, NotPermitted,
        PasswordRefused, RecoveryCodesError, RemoveDeviceError, RemoveKeyError, SessionError,
        SessionRefused, UnknownUser, UserQueryError,
    },
};
use serde::Serialize;
use tracing::error;

use super::{
    body::BodyError,
    path::{Id, PathUser},
    wire,
};
use crate::dialect::codes::codes;

codes! {
    /// The error codes, by their names in the contract.
    u16;

    BadRequest = 1000, BAD_REQUEST;
    Failed = 1002, INTERNAL_SERVER_ERROR;
    InvalidToken = 1102, UNAUTHORIZED;
    TokenExpired = 1103, UNAUTHORIZED;
    Forbidden = 1104, FORBIDDEN;
    TooManyRequests = 1105, TOO_MANY_REQUESTS;
    NotFound = 1201, NOT_FOUND;
    InvalidQueryCriteria = 1301, UNPROCESSABLE_ENTITY;
    InvalidSortCriteria = 1302, UNPROCESSABLE_ENTITY;
    InputValidationFailed = 1400, UNPROCESSABLE_ENTITY;
    InvalidReference = 1401, NOT_FOUND;
    Required = 1402, UNPROCESSABLE_ENTITY;
    InvalidFormat = 1403, UNPROCESSABLE_ENTITY;
    Duplicated = 1405, CONFLICT;
    NotAllowed = 1406, UNPROCESSABLE_ENTITY;
    Unavailable = 1601, SERVICE_UNAVAILABLE;
}

/// A refusal, with the content of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    /// `None` for an empty body.
    body: Option<(Code, String)>,
    /// The specific error.
    inner: Option<(Code, String)>,
    /// The `Retry-After` header.
    retry_after: Option<Duration>,
}

/// The message for an application, or for a user of another role.
const NO_PERMISSION: &str = "You do not have the necessary permissions to access this entry point. Please contact your administrator.";

/// Unlike an unavailable store, this does not pass.
const NOT_SERVED: &str =
    "Nothing was changed, because this server serves its store no more: tell its operator.";

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.parts().1,
            body: Some((code, message.into())),
            inner: None,
            retry_after: None,
        }
    }

    /// 401 without a body, for wrong credentials of any kind.
    fn wrong_credentials() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            body: None,
            inner: None,
            retry_after: None,
        }
    }

    /// The answer to a login that is locked, or has just caused the lockout.
    fn locked_out(wait: Duration) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::locked(wait)
        }
    }

    /// The answer to an authenticated request in the same case. After a 401 the client would only log in again.
    fn locked(wait: Duration) -> Self {
        Self::too_many("Too many failed authentication requests", wait)
    }

    fn too_many(message: &str, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(Code::TooManyRequests, message)
        }
    }

    /// Nothing was changed, and the client may retry.
    fn busy(message: &str) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(Code::Unavailable, message)
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    fn forbidden() -> Self {
        Self::new(Code::Forbidden, NO_PERMISSION)
    }

    /// A key is active, and the session was not authenticated with it. After a 401 the client would log in again as
    /// before.
    fn factor_needed() -> Self {
        Self::new(
            Code::Forbidden,
            "This needs a login with the second factor: log in with a code of the MFA key, or a recovery code.",
        )
    }

    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "There is nothing at this path.")
    }

    pub(super) fn method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..Self::new(Code::NotAllowed, "The resource has no such method.")
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InputValidationFailed, message)
    }

    pub(super) fn query_criteria(parameter: &str) -> Self {
        let message = format!("Invalid query criteria in parameter {parameter}");
        Self::new(Code::InvalidQueryCriteria, message)
    }

    pub(super) fn sort_criteria() -> Self {
        Self::new(
            Code::InvalidSortCriteria,
            "Invalid sort criteria in parameter sort",
        )
    }

    /// Returns the refusal for an object that does not exist.
    fn unknown(message: String) -> Self {
        Self::new(Code::InvalidReference, message)
    }

    fn no_user(path_user: PathUser) -> Self {
        match path_user {
            PathUser::User(id) => Self::unknown(format!("User with Id '{id}' not found.")),
            // The session's own user was just removed.
            PathUser::Me => Self::ended(),
        }
    }

    /// The session ended during its request.
    fn ended() -> Self {
        SessionError::Invalid.into()
    }

    /// Returns the refusal for an unverified password. `code` and `message` are used if it is wrong.
    fn password_refused(why: PasswordRefused, code: Code, message: &str, user: &str) -> Self {
        match why {
            PasswordRefused::Hashing(error) => error.into(),
            PasswordRefused::Locked { wait } => Self::locked(wait),
            PasswordRefused::WrongPassword => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                inner: Some((
                    Code::InputValidationFailed,
                    format!("Wrong Password for User '{user}'"),
                )),
                ..Self::new(code, message)
            },
        }
    }

    pub(super) fn user(UnknownUser: UnknownUser, id: impl Display) -> Self {
        Self::unknown(format!("User with id '{id}' not found"))
    }

    pub(super) fn enrolment(error: EnrolKeyError<Self>, user: &str) -> Self {
        match error {
            EnrolKeyError::AlreadyActive => Self::new(Code::Duplicated, "MFA already activated"),
            EnrolKeyError::Body(refusal) => refusal,
            EnrolKeyError::SessionRefused(why) => why.into(),
            EnrolKeyError::PasswordRefused(why) => {
                let code = Code::InputValidationFailed;
                Self::password_refused(why, code, "MFA key validation error", user)
            }
        }
    }

    pub(super) fn activation(error: ActivateKeyError<Self>, id: Id) -> Self {
        match error {
            ActivateKeyError::AlreadyActive => Self::new(Code::Duplicated, "MFA already activated"),
            ActivateKeyError::Body(refusal) => refusal,
            ActivateKeyError::Locked { wait } => Self::locked(wait),
            ActivateKeyError::SessionRefused(why) => why.into(),
            ActivateKeyError::Unknown => {
                Self::unknown(format!("MFA Key with Id '{id}' not found."))
            }
            ActivateKeyError::WrongCode => {
                Self::invalid("MFA key validation error: Code did not match!")
            }
        }
    }

    pub(super) fn removal(error: RemoveKeyError, path_user: PathUser, id: Id) -> Self {
        match error {
            RemoveKeyError::SessionRefused(why) => why.into(),
            RemoveKeyError::Unknown => Self::unknown(format!("MFA Key with id '{id}' not found")),
            RemoveKeyError::UserUnknown => Self::no_user(path_user),
        }
    }

    pub(super) fn device(error: RemoveDeviceError, path_user: PathUser, id: Id) -> Self {
        match error {
            RemoveDeviceError::SessionRefused(why) => why.into(),
            RemoveDeviceError::Unknown => {
                Self::unknown(format!("Trusted Device with Id '{id}' not found"))
            }
            RemoveDeviceError::UserUnknown => Self::no_user(path_user),
        }
    }

    pub(super) fn recovery(error: RecoveryCodesError<Self>, user: &str) -> Self {
        match error {
            RecoveryCodesError::Body(refusal) => refusal,
            RecoveryCodesError::CodeNeeded => BodyError::Required("Recovery codes", "code").into(),
            RecoveryCodesError::NoActiveKey => {
                Self::new(Code::NotAllowed, "There is no active MFA key")
            }
            RecoveryCodesError::SessionRefused(why) => why.into(),
            RecoveryCodesError::PasswordRefused(why) => {
                let code = Code::InputValidationFailed;
                Self::password_refused(why, code, "Recovery codes validation error", user)
            }
            RecoveryCodesError::WrongCode => {
                Self::invalid("Recovery codes validation error: Code did not match!")
            }
        }
    }

    pub(super) fn password(error: ChangePasswordError<Self>, user: &str) -> Self {
        match error {
            ChangePasswordError::Body(refusal) => refusal,
            ChangePasswordError::Password(error) => Self {
                inner: Some((Code::InputValidationFailed, error.to_string())),
                ..Self::invalid("Invalid new password")
            },
            ChangePasswordError::SessionRefused(why) => why.into(),
            ChangePasswordError::PasswordRefused(why) => {
                Self::password_refused(why, Code::Failed, "Invalid old password", user)
            }
        }
    }

    pub(super) fn application_token(error: ChangeApplicationTokenError<Self>, id: Id) -> Self {
        match error {
            ChangeApplicationTokenError::Body(refusal) => refusal,
            ChangeApplicationTokenError::Forbidden => Self::forbidden(),
            ChangeApplicationTokenError::Revoked => {
                Self::new(Code::NotAllowed, "Application Token is revoked.")
            }
            error @ ChangeApplicationTokenError::TooLong => Self::invalid(error.to_string()),
            ChangeApplicationTokenError::SessionRefused(why) => why.into(),
            ChangeApplicationTokenError::Unknown => {
                Self::unknown(format!("Application Token with Id '{id}' not found."))
            }
        }
    }

    pub(super) fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            #[serde(flatten)]
            error: Entry,
            #[serde(skip_serializing_if = "Option::is_none")]
            errors: Option<[Entry; 1]>,
        }

        #[derive(Serialize)]
        struct Entry {
            error_code: u16,
            error_token: &'static str,
            message: String,
        }

        let entry = |(code, message): (Code, String)| {
            let (error_code, _, error_token) = code.parts();
            Entry {
                error_code,
                error_token,
                message,
            }
        };
        let mut response = match self.body {
            Some(body) => wire::json(
                self.status,
                &Body {
                    error: entry(body),
                    errors: self.inner.map(|inner| [entry(inner)]),
                },
            ),
            None => Response::default(),
        };
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            // Required by RFC 9110, section 15.5.2.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            retry_after(headers, wait);
        }
        response
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::Incomplete
            | BodyError::NotAnObject
            | BodyError::NotJson
            | BodyError::NotOneKind
            | BodyError::Repeated
            | BodyError::Type(..) => Code::BadRequest,
            BodyError::ExpiryDate | BodyError::Network => Code::InvalidFormat,
            BodyError::Required(..) => Code::Required,
            BodyError::UnknownKeyStatus(_)
            | BodyError::UnknownKeyType(_)
            | BodyError::UnknownTokenStatus(_) => Code::InputValidationFailed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StackRefusal> for Refusal {
    fn from(refusal: StackRefusal) -> Self {
        let code = match refusal {
            StackRefusal::BodyMalformed
            | StackRefusal::BodyTimedOut
            | StackRefusal::BodyTooLarge { .. }
            | StackRefusal::CodingUnknown
            | StackRefusal::HeadMalformed(_)
            | StackRefusal::HeadTimedOut
            | StackRefusal::HeadTooLarge
            | StackRefusal::TargetTooLong => Code::BadRequest,
            StackRefusal::DeadlineExceeded { .. } => Code::Unavailable,
            StackRefusal::Draining => return Self::busy(&refusal.to_string()),
            StackRefusal::Internal => Code::Failed,
            StackRefusal::MethodNotAllowed => Code::NotAllowed,
            StackRefusal::NotFound => Code::NotFound,
        };
        Self {
            status: refusal.status(),
            ..Self::new(code, refusal.to_string())
        }
    }
}

impl<E: Into<Self>> From<Failure<E>> for Refusal {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Refused(why) => why.into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

impl From<NotPermitted> for Refusal {
    fn from(NotPermitted: NotPermitted) -> Self {
        Self::forbidden()
    }
}

impl From<SessionRefused> for Refusal {
    fn from(why: SessionRefused) -> Self {
        match why {
            SessionRefused::Ended => Self::ended(),
            SessionRefused::Expired => SessionError::Expired.into(),
            SessionRefused::FactorNeeded => Self::factor_needed(),
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Busy(_) => {
                Self::busy("Nothing was changed, because the server is busy: try again soon.")
            }
            StorageError::TooLarge { .. } => Self {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                ..Self::bad_request("The request is too large to be stored")
            },
            StorageError::Contended { .. }
            | StorageError::NotApplied(_)
            | StorageError::Unavailable(_) => {
                error!(%error, "a store operation failed");
                Self::busy("Nothing was changed: try again soon.")
            }
            StorageError::NotServed(_) => {
                error!(%error, "a store operation failed");
                // Another server behind the same address may serve it, so `Retry-After` stays.
                Self::busy(NOT_SERVED)
            }
            StorageError::OutcomeUnknown(_) => {
                error!(%error, "a store operation failed");
                Self::new(
                    Code::Failed,
                    "It is not known whether the change was made: check before trying again.",
                )
            }
            StorageError::Damaged(_) => {
                error!(%error, "a store operation failed");
                Self::new(Code::Failed, "Something is wrong with this server.")
            }
        }
    }
}

impl From<HashingError> for Refusal {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy | HashingError::Gone => {
                Self::busy("The server is busy: try again soon.")
            }
            HashingError::Limited { retry_after } => Self::too_many(
                "Too many authentication requests from this address",
                retry_after,
            ),
            HashingError::Failed(_) | HashingError::Stopped => {
                error!(%error, "a password could not be hashed");
                Self::new(Code::Failed, "Something is wrong with this server.")
            }
        }
    }
}

impl From<UserQueryError> for Refusal {
    fn from(error: UserQueryError) -> Self {
        let code = match error {
            UserQueryError::TooDeep | UserQueryError::TooManyFilters => Code::InvalidQueryCriteria,
            UserQueryError::TooManySortKeys => Code::InvalidSortCriteria,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Expired => Self::new(Code::TokenExpired, error.to_string()),
            SessionError::Invalid | SessionError::Missing => {
                Self::new(Code::InvalidToken, error.to_string())
            }
        }
    }
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Hashing(error) => error.into(),
            LoginError::Locked { wait } => Self::locked_out(wait),
            LoginError::Refused => Self::wrong_credentials(),
        }
    }
}

impl From<AnswerError> for Refusal {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Device(error) => Self::bad_request(error.to_string()),
            AnswerError::Locked { wait } => Self::locked_out(wait),
            AnswerError::Refused => Self::wrong_credentials(),
        }
    }
}

impl From<ApplicationLoginError> for Refusal {
    fn from(ApplicationLoginError::Refused: ApplicationLoginError) -> Self {
        Self::wrong_credentials()
    }
}

impl From<AddApplicationTokenError<Self>> for Refusal {
    fn from(error: AddApplicationTokenError<Self>) -> Self {
        match error {
            AddApplicationTokenError::Body(refusal) => refusal,
            error @ AddApplicationTokenError::TooLong => Self::invalid(error.to_string()),
            error @ AddApplicationTokenError::TooMany => {
                Self::new(Code::NotAllowed, error.to_string())
            }
            AddApplicationTokenError::SessionRefused(why) => why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_service::TooBusy;

    #[test]
    fn each_number_is_one_codes() {
        let numbers = Code::ALL.iter().map(|code| code.parts().0);
        assert!(numbers.is_sorted_by(|before, after| before < after));
    }

    #[test]
    fn each_code_is_in_the_documentation_and_no_other() {
        let guide = include_str!("../../../../../docs/users.md");
        let codes = Code::ALL.iter().map(|code| {
            let (number, status, _) = code.parts();
            [number.to_string(), status.as_str().to_owned()]
        });
        let codes: Vec<_> = codes.collect();
        assert_eq!(crate::dialect::documented_codes::<2>(guide), codes);
    }

    #[test]
    fn refusals_of_the_stack_keep_their_status() {
        crate::dialect::assert_refusals_of_the_stack_keep_their_status(|refusal| {
            Refusal::from(refusal).into_response()
        });
    }

    #[test]
    fn what_the_store_did_not_do_may_be_asked_again() {
        let failure = || "/var/lib/keyproof.db: disk I/O error".to_owned();
        for (error, status) in [
            (StorageError::Busy(TooBusy), 503),
            (StorageError::Contended { tries: 3 }, 503),
            (StorageError::Damaged(failure()), 500),
            (StorageError::NotApplied(failure()), 503),
            (StorageError::NotServed(failure()), 503),
            (StorageError::OutcomeUnknown(failure()), 500),
            (StorageError::TooLarge { found: 2, limit: 1 }, 413),
            (StorageError::Unavailable(failure()), 503),
        ] {
            let is_unknown = matches!(error, StorageError::OutcomeUnknown(_));
            let is_not_served = matches!(error, StorageError::NotServed(_));
            let refusal = Refusal::from(error);
            let (_, message) = refusal.body.as_ref().unwrap();
            assert_eq!(message == NOT_SERVED, is_not_served, "{message}");
            let says_so = message.starts_with("It is not known whether the change was made: check");
            assert_eq!(says_so, is_unknown, "{message}");
            // The error's text is left out, as it may contain file names.
            assert!(!message.contains("/var"), "{message}");
            assert_eq!(message.starts_with("Nothing was changed"), status == 503);
            let response = refusal.into_response();
            assert_eq!(response.status(), status);
            let again = response.headers().get(header::RETRY_AFTER);
            assert_eq!(again.is_some(), status == 503);
        }
    }
}
