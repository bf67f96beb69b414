//! The one table of the use cases' errors with Taler's error codes (of GANA's registry) and response bodies.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use keyproof_auth::ValidityError;
use keyproof_http::{Response, StackRefusal, retry_after, retry_soon};
use keyproof_service::{
    Failure, HashingError, StorageError, TooBusy,
    otp_devices::{
        AddDeviceError, ChangeDeviceError, IssueError, LoginError, NotPermitted, RemoveDeviceError,
        RevokeError, ShowDeviceError,
    },
};
use serde::Serialize;
use tracing::error;

use super::{
    body::Fields,
    wire::{self, DEVICE_CHANGE, DEVICE_DETAILS},
};
use crate::dialect::codes::codes;

codes! {
    /// The error codes, by their names in the registry.
    u16;

    Timeout = 11, REQUEST_TIMEOUT, "The request did not arrive in time.";
    TokenPermissionInsufficient = 16, FORBIDDEN, "The scope of the token does not allow this.";
    MethodInvalid = 20, METHOD_NOT_ALLOWED, "The resource has no such method: see Allow.";
    EndpointUnknown = 21, NOT_FOUND, "There is nothing at this path.";
    JsonInvalid = 22, BAD_REQUEST, "The body is not the JSON that is expected here.";
    HttpHeadersMalformed = 23, BAD_REQUEST, "The request's head is malformed.";
    ParameterMalformed = 26, BAD_REQUEST, "The parameter that detail names is malformed.";
    CompressionInvalid = 28, BAD_REQUEST, "The body cannot be decompressed: gzip and deflate are supported.";
    PathSegmentMalformed = 29, BAD_REQUEST, "A segment of the path is not percent-encoded UTF-8.";
    UriTooLong = 31, URI_TOO_LONG, "The URI is too long.";
    UploadExceedsLimit = 32, PAYLOAD_TOO_LARGE, "The body is too large.";
    TokenUnknown = 41, UNAUTHORIZED, "The token is unknown here: log in again.";
    TokenExpired = 42, UNAUTHORIZED, "The token has expired: log in again.";
    TokenMalformed = 43, UNAUTHORIZED, "The text after Bearer is not a token.";
    DbStoreFailed = 52, INTERNAL_SERVER_ERROR, "The change could not be stored.";
    DbFetchFailed = 53, INTERNAL_SERVER_ERROR, "The store does not answer.";
    DbCommitFailed = 54, INTERNAL_SERVER_ERROR, "The change could not be committed.";
    DbSoftFailure = 55, INTERNAL_SERVER_ERROR, "Too many changes to the same thing at once: try again.";
    InternalInvariantFailure = 60, INTERNAL_SERVER_ERROR, "Something is wrong with this server.";
    OsResourceAllocationFailure = 77, SERVICE_UNAVAILABLE, "The server is busy: try again soon.";
    InstanceUnknown = 2000, NOT_FOUND, "There is no such instance.";
    MerchantUnauthorized = 2015, UNAUTHORIZED, "A token or the instance's password is needed.";
    DeviceUnknown = 2021, NOT_FOUND, "There is no OTP device of this id.";
    TooManyAttempts = 2127, TOO_MANY_REQUESTS, "There were too many attempts: see Retry-After.";
    DeviceExists = 2851, CONFLICT, "There is an OTP device of this id, with other details.";
    DeviceChangeConflict = 2852, CONFLICT, "The algorithm of an OTP device cannot be changed, or others kept changing the device.";
}

const NOT_SERVED: &str = "This server serves its store no more: tell its operator.";

const OUTCOME_UNKNOWN: &str =
    "It is not known whether the change was made: check before trying again.";

/// A refusal, with the content of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    /// The hint, if it is not the code's.
    hint: Option<&'static str>,
    detail: Option<String>,
    /// The invalid member of the body, and its index in the specification.
    field: Option<(String, usize)>,
    /// The status, if it is not the registry's.
    status: Option<StatusCode>,
    /// The `Retry-After` header, if the status does not imply one.
    retry_after: Option<Duration>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self {
            code,
            hint: None,
            detail: None,
            field: None,
            status: None,
            retry_after: None,
        }
    }
}

impl Refusal {
    #[cfg(test)]
    pub(super) const fn code(&self) -> Code {
        self.code
    }

    pub(super) fn with_detail(self, detail: String) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// Returns the refusal for a malformed parameter.
    pub(super) fn parameter(name: &'static str) -> Self {
        Self::from(Code::ParameterMalformed).with_detail(name.to_owned())
    }

    /// Returns the refusal for a missing or malformed member, or for the whole body if there is no name.
    pub(super) fn field(name: Option<&str>, line: usize) -> Self {
        Self {
            field: Some((name.unwrap_or("<no field>").to_owned(), line)),
            ..Code::JsonInvalid.into()
        }
    }

    /// Returns the refusal for a member that the use case rejected.
    fn field_of(fields: Fields, name: &str, why: &impl ToString) -> Self {
        Self::field(Some(name), fields.line(name)).with_detail(why.to_string())
    }

    /// Returns the refusal for a token that has ended since the permission was checked.
    fn ended(why: ValidityError) -> Self {
        match why {
            ValidityError::Expired { .. } => Code::TokenExpired,
            ValidityError::Superseded => Code::TokenUnknown,
        }
        .into()
    }

    /// Returns the refusal for a password that could not be verified.
    fn hashing(error: &HashingError) -> Self {
        match error {
            HashingError::Busy | HashingError::Gone => Code::OsResourceAllocationFailure.into(),
            HashingError::Limited { retry_after } => Self::limited(
                "Too many requests from this address: see Retry-After.",
                *retry_after,
            ),
            HashingError::Failed(_) | HashingError::Stopped => {
                error!(%error, "a password could not be hashed");
                Code::InternalInvariantFailure.into()
            }
        }
    }

    /// Returns the refusal for an exceeded rate limit. Of the merchant's codes in the registry, only this one has the
    /// right status; its own text is about codes sent to phones.
    fn limited(hint: &'static str, retry_after: Duration) -> Self {
        Self {
            hint: Some(hint),
            retry_after: Some(retry_after),
            ..Code::TooManyAttempts.into()
        }
    }

    /// Returns the refusal for an operation that only reads.
    pub(super) fn reading(error: StorageError) -> Self {
        // Nothing is stored, so no change can fail or conflict.
        Self::storage(error, Code::DbFetchFailed, Code::DbFetchFailed)
    }

    /// Returns the refusal for an operation that makes a change.
    fn changing(error: StorageError) -> Self {
        Self::storage(error, Code::DbStoreFailed, Code::DbSoftFailure)
    }

    /// Maps a storage error: to `failed` if a change was not or may not have been made, to `raced` if it kept
    /// conflicting with others.
    fn storage(error: StorageError, failed: Code, raced: Code) -> Self {
        let code = match &error {
            StorageError::Busy(_) | StorageError::NotServed(_) => Code::OsResourceAllocationFailure,
            StorageError::Contended { .. } => raced,
            StorageError::Damaged(_) => Code::InternalInvariantFailure,
            StorageError::NotApplied(_) | StorageError::OutcomeUnknown(_) => failed,
            StorageError::TooLarge { .. } => Code::UploadExceedsLimit,
            StorageError::Unavailable(_) => Code::DbFetchFailed,
        };
        if code.parts().1.is_server_error() {
            error!(%error, "a store operation failed");
        }
        let hint = match error {
            // The code's own hint would claim that it passes.
            StorageError::NotServed(_) => Some(NOT_SERVED),
            // The code's own hint would claim that the change was not made.
            StorageError::OutcomeUnknown(_) => Some(OUTCOME_UNKNOWN),
            _ => None,
        };
        Self {
            hint,
            ..code.into()
        }
    }

    pub(super) fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ErrorDetail {
            code: u16,
            hint: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            line: Option<usize>,
        }

        let (code, status, hint) = self.code.parts();
        let status = self.status.unwrap_or(status);
        let hint = self.hint.unwrap_or(hint);
        let (field, line) = self.field.unzip();
        let mut response = wire::json(
            status,
            &ErrorDetail {
                code,
                hint,
                detail: self.detail,
                field,
                line,
            },
        );
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // Required by RFC 9110, section 15.5.2.
            let challenge = HeaderValue::from_static("Bearer, Basic realm=\"merchant instance\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            retry_soon(headers);
        }
        if let Some(wait) = self.retry_after {
            retry_after(headers, wait);
        }
        response
    }
}

impl From<TooBusy> for Refusal {
    fn from(_: TooBusy) -> Self {
        Code::OsResourceAllocationFailure.into()
    }
}

impl From<StackRefusal> for Refusal {
    fn from(refusal: StackRefusal) -> Self {
        let code = match refusal {
            StackRefusal::BodyMalformed => Code::JsonInvalid,
            StackRefusal::BodyTimedOut | StackRefusal::HeadTimedOut => Code::Timeout,
            StackRefusal::BodyTooLarge { .. } => Code::UploadExceedsLimit,
            StackRefusal::CodingUnknown => Code::HttpHeadersMalformed,
            StackRefusal::DeadlineExceeded { .. } | StackRefusal::Draining => {
                Code::OsResourceAllocationFailure
            }
            StackRefusal::HeadMalformed(_) | StackRefusal::HeadTooLarge => {
                Code::HttpHeadersMalformed
            }
            StackRefusal::Internal => Code::InternalInvariantFailure,
            StackRefusal::MethodNotAllowed => Code::MethodInvalid,
            StackRefusal::NotFound => Code::EndpointUnknown,
            StackRefusal::TargetTooLong => Code::UriTooLong,
        };
        let may_change = refusal == StackRefusal::DeadlineExceeded { may_change: true };
        Self {
            hint: may_change.then_some(OUTCOME_UNKNOWN),
            // The hint of an unknown path has the same words.
            detail: (refusal != StackRefusal::NotFound).then(|| refusal.to_string()),
            status: Some(refusal.status()),
            ..code.into()
        }
    }
}

impl From<Failure<NotPermitted>> for Refusal {
    fn from(failure: Failure<NotPermitted>) -> Self {
        match failure {
            Failure::Storage(error) => Self::reading(error),
            Failure::Refused(why) => match why {
                NotPermitted::Expired => Code::TokenExpired,
                NotPermitted::Forbidden => Code::TokenPermissionInsufficient,
                NotPermitted::InstanceUnknown => Code::InstanceUnknown,
                NotPermitted::Malformed => Code::TokenMalformed,
                NotPermitted::Missing => Code::MerchantUnauthorized,
                NotPermitted::TokenUnknown => Code::TokenUnknown,
            }
            .into(),
        }
    }
}

impl From<Failure<LoginError>> for Refusal {
    fn from(failure: Failure<LoginError>) -> Self {
        match failure {
            Failure::Storage(error) => Self::changing(error),
            Failure::Refused(LoginError::Hashing(error)) => Self::hashing(&error),
            Failure::Refused(LoginError::InstanceUnknown) => Code::InstanceUnknown.into(),
            Failure::Refused(LoginError::Locked { wait }) => {
                Self::limited("Too many wrong passwords: see Retry-After.", wait)
            }
            Failure::Refused(LoginError::Refused) => Code::MerchantUnauthorized.into(),
        }
    }
}

impl From<Failure<IssueError>> for Refusal {
    fn from(failure: Failure<IssueError>) -> Self {
        match failure {
            Failure::Storage(error) => Self::changing(error),
            Failure::Refused(IssueError::Ended) => Code::TokenUnknown.into(),
            Failure::Refused(IssueError::Expired) => Code::TokenExpired.into(),
            Failure::Refused(IssueError::ScopeExceeded) => Code::TokenPermissionInsufficient.into(),
        }
    }
}

impl From<Failure<RevokeError>> for Refusal {
    fn from(failure: Failure<RevokeError>) -> Self {
        match failure {
            Failure::Storage(error) => Self::changing(error),
            Failure::Refused(RevokeError::Ended) => Code::TokenUnknown.into(),
        }
    }
}

impl From<Failure<AddDeviceError>> for Refusal {
    fn from(failure: Failure<AddDeviceError>) -> Self {
        match failure {
            Failure::Storage(error) => {
                Self::storage(error, Code::DbCommitFailed, Code::DbSoftFailure)
            }
            Failure::Refused(why) => match why {
                AddDeviceError::Conflict => Code::DeviceExists.into(),
                AddDeviceError::Description => {
                    Self::field_of(DEVICE_DETAILS, "otp_device_description", &why)
                }
                AddDeviceError::Ended(why) => Self::ended(why),
                AddDeviceError::Id => Self::field_of(DEVICE_DETAILS, "otp_device_id", &why),
                AddDeviceError::Key(_) => Self::field_of(DEVICE_DETAILS, "otp_key", &why),
            },
        }
    }
}

impl From<Failure<ShowDeviceError<Self>>> for Refusal {
    fn from(failure: Failure<ShowDeviceError<Self>>) -> Self {
        match failure {
            Failure::Storage(error) => Self::reading(error),
            Failure::Refused(ShowDeviceError::Moment(refusal)) => refusal,
            Failure::Refused(ShowDeviceError::Unknown) => Code::DeviceUnknown.into(),
        }
    }
}

impl From<Failure<ChangeDeviceError<Self>>> for Refusal {
    fn from(failure: Failure<ChangeDeviceError<Self>>) -> Self {
        match failure {
            Failure::Storage(error) => {
                Self::storage(error, Code::DbStoreFailed, Code::DeviceChangeConflict)
            }
            Failure::Refused(why) => match why {
                ChangeDeviceError::Algorithm => Code::DeviceChangeConflict.into(),
                ChangeDeviceError::Body(refusal) => refusal,
                ChangeDeviceError::Description => {
                    Self::field_of(DEVICE_CHANGE, "otp_device_description", &why)
                }
                ChangeDeviceError::Ended(why) => Self::ended(why),
                ChangeDeviceError::Key(error) => Self::field_of(DEVICE_CHANGE, "otp_key", &error),
                ChangeDeviceError::Unknown => Code::DeviceUnknown.into(),
            },
        }
    }
}

impl From<Failure<RemoveDeviceError>> for Refusal {
    fn from(failure: Failure<RemoveDeviceError>) -> Self {
        match failure {
            Failure::Storage(error) => Self::changing(error),
            Failure::Refused(RemoveDeviceError::Ended(why)) => Self::ended(why),
            Failure::Refused(RemoveDeviceError::Unknown) => Code::DeviceUnknown.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use keyproof_auth::UnixMillis;
    use serde_json::Value;

    #[test]
    fn each_code_is_in_the_documentation_and_no_other() {
        let page = include_str!("../../../../../docs/tills.md");
        let codes = Code::ALL.iter().map(|code| {
            let (number, status, text) = code.parts();
            let text = text.trim_end_matches('.');
            let (first, rest) = text.split_at(1);
            let text = format!("{}{rest}", first.to_lowercase());
            [number.to_string(), status.as_str().to_owned(), text]
        });
        let codes: Vec<_> = codes.collect();
        assert_eq!(crate::dialect::documented_codes::<3>(page), codes);
    }

    #[test]
    fn what_the_store_does_has_the_code_that_its_operation_documents() {
        let failure = || "on purpose".to_owned();
        let code = |refusal: Refusal| refusal.code.parts().0;
        let of_all = |error: StorageError| {
            [
                code(Failure::<AddDeviceError>::Storage(error.clone()).into()),
                code(Failure::<ChangeDeviceError<Refusal>>::Storage(error.clone()).into()),
                code(Failure::<RemoveDeviceError>::Storage(error.clone()).into()),
                code(Failure::<IssueError>::Storage(error.clone()).into()),
                code(Failure::<ShowDeviceError<Refusal>>::Storage(error).into()),
            ]
        };
        assert_eq!(of_all(StorageError::Unavailable(failure())), [53; 5]);
        assert_eq!(of_all(StorageError::NotServed(failure())), [77; 5]);
        assert_eq!(of_all(StorageError::Damaged(failure())), [60; 5]);
        assert_eq!(
            of_all(StorageError::NotApplied(failure())),
            [54, 52, 52, 52, 53]
        );
        assert_eq!(
            of_all(StorageError::OutcomeUnknown(failure())),
            [54, 52, 52, 52, 53]
        );
        assert_eq!(
            of_all(StorageError::Contended { tries: 3 }),
            [55, 2852, 55, 55, 53]
        );
        assert_eq!(
            of_all(StorageError::TooLarge { found: 2, limit: 1 }),
            [32; 5]
        );
    }

    #[test]
    fn a_token_that_ends_after_its_permission_has_the_code_of_one_that_ended_before() {
        let at = UnixMillis::from_secs(1_700_000_000);
        for (why, code) in [
            (ValidityError::Expired { at }, Code::TokenExpired),
            (ValidityError::Superseded, Code::TokenUnknown),
        ] {
            let added = Failure::Refused(AddDeviceError::Ended(why));
            let changed = Failure::Refused(ChangeDeviceError::<Refusal>::Ended(why));
            let removed = Failure::Refused(RemoveDeviceError::Ended(why));
            let all: [Refusal; 3] = [added.into(), changed.into(), removed.into()];
            assert_eq!(all, [code; 3].map(Refusal::from), "{why}");
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_told_as_such_under_the_same_code() {
        let hint = async |error: StorageError| {
            let response = Refusal::from(Failure::<AddDeviceError>::Storage(error)).into_response();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["code"], 54);
            body["hint"].clone()
        };
        let failure = || "on purpose".to_owned();
        let unknown = hint(StorageError::OutcomeUnknown(failure())).await;
        assert_eq!(unknown, OUTCOME_UNKNOWN);
        let not_applied = hint(StorageError::NotApplied(failure())).await;
        assert_eq!(not_applied, "The change could not be committed.");
    }

    #[test]
    fn a_busy_server_says_when_to_come_back_and_a_broken_one_nothing_of_why() {
        let busy = Refusal::from(Failure::Refused(LoginError::Hashing(HashingError::Busy)))
            .into_response();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        let too_busy = Refusal::from(Failure::<AddDeviceError>::Storage(TooBusy.into()));
        assert_eq!(too_busy, Code::OsResourceAllocationFailure.into());
        let elsewhere = Refusal::reading(StorageError::NotServed("it was moved".to_owned()));
        assert_eq!(
            (elsewhere.hint, &elsewhere.detail),
            (Some(NOT_SERVED), &None)
        );
        let elsewhere = elsewhere.into_response();
        assert_eq!(elsewhere.status(), StatusCode::SERVICE_UNAVAILABLE);
        let error = StorageError::Unavailable("/var/lib/keyproof.db: disk I/O error".to_owned());
        let broken = Refusal::reading(error);
        assert_eq!((broken.detail, broken.field), (None, None));
    }

    #[test]
    fn refusals_of_the_stack_keep_their_status() {
        crate::dialect::assert_refusals_of_the_stack_keep_their_status(|refusal| {
            Refusal::from(refusal).into_response()
        });
    }
}
