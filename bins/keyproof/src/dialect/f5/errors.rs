//! The one table of the use cases' errors with gRPC codes and F5's error body, `{"code", "details", "message"}`.

use std::{fmt, time::Duration};

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{self as stack, Response, StackRefusal, retry_after};
use keyproof_service::{
    Failure, StorageError,
    access::{NoOperator, OutOfScope},
    device_identity::{
        ActivateError, AttestError, AuthorityError, CreateApiKeyError, CreateCategoryError,
        CreateManagerError, DeleteError, EndorsementError, Field, FieldError, FieldProblem,
        FindError, Metadata, MetadataError, PcrPolicyError, PreauthError, ProvisionError,
        ReplaceApiKeyError, ReplaceCategoryError, ReplaceManagerError, RevocationListError,
        TrustListError,
    },
};
use serde_json::json;
use tracing::error;

use crate::dialect::codes::codes;

codes! {
    /// The gRPC codes that are used here.
    u8;

    InvalidArgument = 3, BAD_REQUEST;
    DeadlineExceeded = 4, GATEWAY_TIMEOUT;
    NotFound = 5, NOT_FOUND;
    AlreadyExists = 6, CONFLICT;
    PermissionDenied = 7, FORBIDDEN;
    ResourceExhausted = 8, TOO_MANY_REQUESTS;
    /// gRPC gateways map it to 400. The contract has 409 for conflicts, and no 400.
    FailedPrecondition = 9, CONFLICT;
    Aborted = 10, CONFLICT;
    Unimplemented = 12, METHOD_NOT_ALLOWED;
    Internal = 13, INTERNAL_SERVER_ERROR;
    Unavailable = 14, SERVICE_UNAVAILABLE;
    Unauthenticated = 16, UNAUTHORIZED;
}

/// A refusal, with the content of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    message: String,
    /// The status, if it is not the code's.
    status: Option<StatusCode>,
    /// The `Retry-After` header of 429 and 503 responses.
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status: None,
            retry_after: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(
            Code::Unauthenticated,
            "a token is needed: Authorization: APIToken …; stations may use a client certificate of their category, if the server requests one",
        )
    }

    /// An invalid token was sent.
    pub(super) fn not_accepted() -> Self {
        Self::new(
            Code::Unauthenticated,
            "the token is not accepted: Authorization: APIToken … needs a known token that has not expired",
        )
    }

    /// A station presented a certificate of no category, or one that has expired, and no token.
    pub(super) fn certificate_not_accepted() -> Self {
        Self::new(
            Code::Unauthenticated,
            "the client certificate is not accepted: it is not that of a category, or it has expired; stations may use a token instead: Authorization: APIToken …",
        )
    }

    pub(super) fn method() -> Self {
        Self::new(Code::Unimplemented, "the resource has no such method")
    }

    fn rate_limited(message: String, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Code::ResourceExhausted, message)
        }
    }

    /// Nothing was changed, and the client may retry.
    fn unavailable(message: &str) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(Code::Unavailable, message)
        }
    }

    /// Returns the refusal for an invalid member of a station's request.
    fn field(field: Field, problem: impl fmt::Display) -> Self {
        Self::invalid(format!("{}: {problem}", member(field)))
    }

    fn allow_list(error: &TrustListError) -> Self {
        Self::invalid(format!("spec.tpm_allow_list, {error}"))
    }

    fn roots(error: &TrustListError) -> Self {
        Self::invalid(format!("spec.ek_root_certificates, {error}"))
    }

    fn exists(error: &impl ToString) -> Self {
        Self::new(Code::AlreadyExists, error.to_string())
    }

    fn denied(error: &impl ToString) -> Self {
        Self::new(Code::PermissionDenied, error.to_string())
    }

    /// Logs the error, and returns a refusal without details.
    fn internal(error: &dyn std::error::Error) -> Self {
        error!(%error, "internal error");
        Self::new(Code::Internal, "internal error")
    }

    /// Maps the failure to create an API key, which also rewrites its category.
    pub(super) fn new_api_key(failure: Failure<CreateApiKeyError>) -> Self {
        match failure {
            Failure::Storage(StorageError::TooLarge { .. }) => Self::invalid(
                "more than can be stored as one object: the key, or the tpm_category with its allow-list",
            ),
            other => other.into(),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let (code, status, _) = self.code.parts();
        let status = self.status.unwrap_or(status);
        let body = json!({ "code": code, "details": [], "message": self.message });
        let mut response = stack::json(status, &body);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            retry_after(headers, wait);
        }
        if self.code == Code::Unauthenticated {
            let scheme = HeaderValue::from_static("APIToken");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<StackRefusal> for Refusal {
    fn from(refusal: StackRefusal) -> Self {
        let code = match refusal {
            StackRefusal::BodyMalformed
            | StackRefusal::BodyTooLarge { .. }
            | StackRefusal::HeadMalformed(_)
            | StackRefusal::HeadTooLarge
            | StackRefusal::TargetTooLong => Code::InvalidArgument,
            StackRefusal::BodyTimedOut
            | StackRefusal::DeadlineExceeded { .. }
            | StackRefusal::HeadTimedOut => Code::DeadlineExceeded,
            StackRefusal::Draining => return Self::unavailable(&refusal.to_string()),
            StackRefusal::Internal => Code::Internal,
            StackRefusal::CodingUnknown | StackRefusal::MethodNotAllowed => Code::Unimplemented,
            StackRefusal::NotFound => Code::NotFound,
        };
        let status = match refusal {
            StackRefusal::DeadlineExceeded { .. } => code.parts().1,
            other => other.status(),
        };
        Self {
            status: Some(status),
            ..Self::new(code, refusal.to_string())
        }
    }
}

impl From<NoOperator> for Refusal {
    fn from(NoOperator: NoOperator) -> Self {
        Self::not_accepted()
    }
}

impl From<OutOfScope> for Refusal {
    fn from(refused: OutOfScope) -> Self {
        let message = format!("the token does not allow this: {refused}");
        Self::new(Code::PermissionDenied, message)
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Busy(_) => Self::unavailable("the server is busy: try again"),
            StorageError::Contended { .. } | StorageError::NotApplied(_) => {
                error!(%error, "a store operation failed");
                Self::unavailable("nothing was changed: try again")
            }
            StorageError::NotServed(_) | StorageError::Unavailable(_) => {
                error!(%error, "the store does not answer");
                Self::unavailable("the store does not answer")
            }
            StorageError::TooLarge { .. } => Self::invalid("more than can be stored as one object"),
            StorageError::OutcomeUnknown(_) => {
                error!(%error, "internal error");
                Self::new(
                    Code::Internal,
                    "it is not known whether the change was made: check before trying again",
                )
            }
            StorageError::Damaged(_) => Self::internal(&error),
        }
    }
}

impl From<AuthorityError> for Refusal {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Storage(error) => error.into(),
            AuthorityError::Expired { .. } => Self::new(Code::Aborted, error.to_string()),
            AuthorityError::Making(_) => Self::internal(&error),
        }
    }
}

/// Maps the use case's error, or the storage error.
impl<E: Into<Self>> From<Failure<E>> for Refusal {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Refused(why) => why.into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<MetadataError> for Refusal {
    fn from(error: MetadataError) -> Self {
        Self::invalid(match error {
            MetadataError::Annotation => format!("metadata.annotations: {error}"),
            MetadataError::Description { found } => format!(
                "metadata.description has {found} bytes, more than {}",
                Metadata::LONGEST_DESCRIPTION
            ),
            MetadataError::Name => {
                "metadata.name is not a DNS label (RFC 1035) in lower case".to_owned()
            }
            // The namespace comes from the path.
            MetadataError::Namespace => error.to_string(),
        })
    }
}

impl From<PcrPolicyError> for Refusal {
    fn from(error: PcrPolicyError) -> Self {
        Self::invalid(format!("spec.pcr_policy: {error}"))
    }
}

impl From<FieldError> for Refusal {
    fn from(FieldError { field, problem }: FieldError) -> Self {
        match problem {
            FieldProblem::OtherKey => Self::field(field, "it is not the key in ak_pub_key"),
            FieldProblem::WithoutValues => {
                Self::field(field, "it is compared with pcr_values, which are missing")
            }
            problem => Self::field(field, problem),
        }
    }
}

/// Returns the JSON member that contains a field.
const fn member(field: Field) -> &'static str {
    match field {
        Field::AttestationKey => "ak_pub_key",
        Field::AttestationKeyName => "ak_name",
        Field::AttestationKeyPublic => "ak_public",
        Field::CertificationRequest => "csr",
        Field::Device => "device",
        Field::EndorsementCertificate => "ek_cert",
        Field::EndorsementChain => "ek_chain",
        Field::EndorsementKey => "ek_pub_key",
        Field::EventLog => "event_log",
        Field::Nonce => "nonce",
        Field::Quote => "attest",
        Field::Registers => "pcr_selection",
        Field::RegisterValues => "pcr_values",
        Field::Signature => "signature",
    }
}

impl From<CreateManagerError> for Refusal {
    fn from(error: CreateManagerError) -> Self {
        match error {
            CreateManagerError::Authority(error) => error.into(),
            CreateManagerError::Exists => Self::exists(&error),
            CreateManagerError::Metadata(error) => error.into(),
            CreateManagerError::Roots(error) => Self::roots(&error),
        }
    }
}

impl From<CreateCategoryError> for Refusal {
    fn from(error: CreateCategoryError) -> Self {
        match error {
            CreateCategoryError::Authority(error) => error.into(),
            CreateCategoryError::Deleted | CreateCategoryError::Exists => Self::exists(&error),
            CreateCategoryError::AllowList(error) => Self::allow_list(&error),
            CreateCategoryError::AttestationKey => {
                Self::invalid("spec.ak_template is not that of an attestation key")
            }
            CreateCategoryError::Metadata(error) => error.into(),
            CreateCategoryError::PcrPolicy(error) => error.into(),
            CreateCategoryError::UnknownManager => Self::not_found(error.to_string()),
        }
    }
}

impl From<CreateApiKeyError> for Refusal {
    fn from(error: CreateApiKeyError) -> Self {
        match error {
            CreateApiKeyError::Exists => Self::exists(&error),
            CreateApiKeyError::Metadata(error) => error.into(),
            CreateApiKeyError::UnknownCategory => Self::not_found(error.to_string()),
        }
    }
}

impl From<ReplaceManagerError<Self>> for Refusal {
    fn from(error: ReplaceManagerError<Self>) -> Self {
        match error {
            ReplaceManagerError::Roots(error) => Self::roots(&error),
            ReplaceManagerError::Body(refusal) => refusal,
            ReplaceManagerError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<ReplaceCategoryError<Self>> for Refusal {
    fn from(error: ReplaceCategoryError<Self>) -> Self {
        match error {
            ReplaceCategoryError::AllowList(error) => Self::allow_list(&error),
            ReplaceCategoryError::Body(refusal) => refusal,
            ReplaceCategoryError::PcrPolicy(error) => error.into(),
            ReplaceCategoryError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<ReplaceApiKeyError<Self>> for Refusal {
    fn from(error: ReplaceApiKeyError<Self>) -> Self {
        match error {
            ReplaceApiKeyError::Revoked => Self::exists(&error),
            ReplaceApiKeyError::Body(refusal) => refusal,
            ReplaceApiKeyError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<DeleteError<Self>> for Refusal {
    fn from(error: DeleteError<Self>) -> Self {
        match error {
            DeleteError::Body(refusal) => refusal,
            DeleteError::Referred { .. } => Self::new(Code::FailedPrecondition, error.to_string()),
            DeleteError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<RevocationListError> for Refusal {
    fn from(error: RevocationListError) -> Self {
        match error {
            RevocationListError::Authority(error) => error.into(),
            // Logged once, when it is found.
            RevocationListError::TooMany => Self::new(Code::Unavailable, error.to_string()),
            RevocationListError::Unknown => Self::not_found(error.to_string()),
        }
    }
}

impl From<PreauthError> for Refusal {
    fn from(error: PreauthError) -> Self {
        match error {
            PreauthError::RateLimited { retry_after } => {
                Self::rate_limited(error.to_string(), retry_after)
            }
        }
    }
}

impl From<ProvisionError> for Refusal {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::ApiKey(why) => Self::denied(&format_args!("api_key: {why}")),
            ProvisionError::Authority(error) => error.into(),
            ProvisionError::Conflict(_) => Self::exists(&error),
            ProvisionError::Endorsement(EndorsementError::Key(why)) => {
                Self::field(Field::EndorsementKey, why)
            }
            ProvisionError::Endorsement(EndorsementError::Untrusted(_)) => Self::denied(&error),
            ProvisionError::Request(error) => error.into(),
            ProvisionError::RateLimited { retry_after } => {
                Self::rate_limited(error.to_string(), retry_after)
            }
            ProvisionError::Sealing => Self::internal(&error),
        }
    }
}

impl From<ActivateError> for Refusal {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::Conflict(_) | ActivateError::Spent => Self::exists(&error),
            ActivateError::Disabled
            | ActivateError::Expired
            | ActivateError::Forgotten
            | ActivateError::Revoked
            | ActivateError::Unproven => Self::denied(&error),
            ActivateError::ProofUnread(_) | ActivateError::Ticket => {
                Self::invalid(error.to_string())
            }
            ActivateError::TooManyKeys => Self::new(Code::FailedPrecondition, error.to_string()),
        }
    }
}

impl From<AttestError> for Refusal {
    fn from(error: AttestError) -> Self {
        match error {
            AttestError::Request(error) => error.into(),
            AttestError::UnknownCategory => Self::not_found(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyproof_service::{
        TooBusy,
        device_identity::{ApiKeyRefusal, DerTextError},
    };

    #[test]
    fn what_is_wrong_is_told_by_its_members_name() {
        let field = |field, problem| Refusal::from(FieldError { field, problem });
        let entry = || TrustListError {
            entry: 1,
            block: None,
            problem: "it is no certificate".to_owned(),
        };
        for (refusal, says) in [
            (
                field(Field::AttestationKeyPublic, FieldProblem::OtherKey),
                "ak_public: it is not the key in ak_pub_key",
            ),
            (
                field(Field::EventLog, FieldProblem::WithoutValues),
                "event_log: it is compared with pcr_values, which are missing",
            ),
            (
                field(Field::Quote, FieldProblem::Unread(DerTextError::NotBase64)),
                "attest: it is neither Base64 nor PEM",
            ),
            (
                MetadataError::Annotation.into(),
                "metadata.annotations: keys have 1 to 64 characters, values 1 to 1024",
            ),
            (
                MetadataError::Description { found: 1201 }.into(),
                "metadata.description has 1201 bytes, more than 1200",
            ),
            (
                MetadataError::Name.into(),
                "metadata.name is not a DNS label (RFC 1035) in lower case",
            ),
            (
                MetadataError::Namespace.into(),
                "the namespace is not a DNS label (RFC 1035) in lower case",
            ),
            (
                CreateManagerError::Roots(entry()).into(),
                "spec.ek_root_certificates, entry 1: it is no certificate",
            ),
            (
                CreateCategoryError::AllowList(entry()).into(),
                "spec.tpm_allow_list, entry 1: it is no certificate",
            ),
            (
                ProvisionError::ApiKey(ApiKeyRefusal::Revoked).into(),
                "api_key: the API key is revoked",
            ),
        ] {
            assert_eq!(refusal.message, says);
        }
    }

    #[test]
    fn each_code_is_in_the_documentation_and_no_other() {
        let guide = include_str!("../../../../../docs/tpms.md");
        let codes = Code::ALL.iter().map(|code| {
            let (number, status, _) = code.parts();
            [number.to_string(), status.as_str().to_owned()]
        });
        let codes: Vec<_> = codes.collect();
        assert_eq!(crate::dialect::documented_codes::<2>(guide), codes);
    }

    /// Anybody may request a CRL, so this is no error of the server each time.
    #[test]
    fn a_list_with_too_many_entries_is_unavailable() {
        let refusal = Refusal::from(RevocationListError::TooMany);
        assert_eq!(refusal.code, Code::Unavailable);
        assert!(refusal.message.contains("certificates are revoked"));
        assert_eq!(refusal.into_response().status(), 503);
    }

    #[test]
    fn what_the_store_does_is_told_without_why() {
        let failure = || "/var/lib/keyproof.db: disk I/O error".to_owned();
        for (error, code, says) in [
            (
                StorageError::Busy(TooBusy),
                Code::Unavailable,
                "the server is busy",
            ),
            (
                StorageError::Contended { tries: 3 },
                Code::Unavailable,
                "nothing was changed",
            ),
            (
                StorageError::NotApplied(failure()),
                Code::Unavailable,
                "nothing was changed",
            ),
            (
                StorageError::NotServed(failure()),
                Code::Unavailable,
                "does not answer",
            ),
            (
                StorageError::Unavailable(failure()),
                Code::Unavailable,
                "does not answer",
            ),
            (
                StorageError::OutcomeUnknown(failure()),
                Code::Internal,
                "not known whether the change was made: check",
            ),
            (
                StorageError::Damaged(failure()),
                Code::Internal,
                "internal error",
            ),
            (
                StorageError::TooLarge { found: 2, limit: 1 },
                Code::InvalidArgument,
                "more than can be stored",
            ),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, code);
            assert!(refusal.message.contains(says), "{}", refusal.message);
            assert!(!refusal.message.contains("/var"), "{}", refusal.message);
        }
    }
}
