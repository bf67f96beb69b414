//! The one table of refusals and their error responses.
//!
//! Errors about certificates have the form of Azure's `ErrorDetails`: `code`, `httpStatusCode`, `message`, `details`.
//! The code is the status followed by three more digits. Errors about authentication, permission and the API version
//! have the form of Azure Resource Manager: `{"error": {"code", "message"}}`.
//!
//! `docs/certificates.md` lists them all.

use std::fmt::Display;

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{PathError, Response, StackRefusal, retry_soon};
use keyproof_service::{
    Failure, StorageError,
    access::{BearerError, ExternalTokenError, NoOperator, OutOfScope},
    certificates::{
        DeleteError, GenerateCodeError, GetError, PutError, UploadError, VerifyError, findings,
    },
};
use keyproof_x509::{Finding as _, ProofCheck, ProofFinding, Report};
use serde::Serialize;
use serde_json::json;
use tracing::error;

use self::Shape::{Arm, Details};
use super::wire;
use crate::dialect::codes::codes;

/// The longest message, in characters. Names in a certificate may be long.
const MAX_MESSAGE: usize = 1_000;

/// The form of an error response, with its code.
enum Shape {
    /// `{"error": {"code", "message"}}`
    Arm(&'static str),
    /// `ErrorDetails`
    Details(u32),
}

codes! {
    /// The codes of refusals.
    Shape;

    BodyMalformed = Details(400_001), BAD_REQUEST, "The body is not the JSON that is expected here: {\"properties\": {\"certificate\": \"…\"}} to create or update a certificate, {\"certificate\": \"…\"} to verify it.";
    HeadOrPathMalformed = Details(400_002), BAD_REQUEST, "The request's head or path is malformed.";
    NameInvalid = Details(400_003), BAD_REQUEST, "A certificate's name has 1 to 256 characters. It contains no control character, nor do the names of its subscription, resource group and service.";
    CertificateNotDecodable = Details(400_004), BAD_REQUEST, "Send one X.509 certificate as base64 of its DER, as PEM, or as base64 of the PEM file.";
    CertificateInvalid = Details(400_005), BAD_REQUEST, "What was sent is not an X.509 certificate.";
    PrivateKeySent = Details(400_006), BAD_REQUEST, "A private key was sent. Send only the certificate, and treat that key as disclosed.";
    CertificateMissing = Details(400_007), BAD_REQUEST, "The body has no certificate, or an empty one. Tools send an empty one for a file whose extension they do not know: try .cer or .pem.";
    UnprovenNotAllowed = Details(400_008), BAD_REQUEST, "This server does not accept isVerified: true. Upload the certificate without it, generate a verification code and verify the certificate.";
    ProofIssuerOrSignature = Details(400_053), BAD_REQUEST, PROOF_FAILED;
    ProofLeafUnreadable = Details(400_054), BAD_REQUEST, PROOF_FAILED;
    ProofCodeMissing = Details(400_055), BAD_REQUEST, "The certificate has no valid verification code: none was generated, or it was used or has expired. Generate one, and issue a leaf for it.";
    ProofCodeOfAnother = Details(400_056), BAD_REQUEST, PROOF_FAILED;
    ProofCommonName = Details(400_057), BAD_REQUEST, PROOF_FAILED;
    ProofLeafValidity = Details(400_058), BAD_REQUEST, PROOF_FAILED;
    ProofCaValidity = Details(400_059), BAD_REQUEST, PROOF_FAILED;
    ProofLeafIsTheCa = Details(400_060), BAD_REQUEST, PROOF_FAILED;
    ProofCaConstraints = Details(400_061), BAD_REQUEST, PROOF_FAILED;
    ProofKey = Details(400_062), BAD_REQUEST, PROOF_FAILED;
    ProofHash = Details(400_063), BAD_REQUEST, PROOF_FAILED;
    ProofExtensions = Details(400_064), BAD_REQUEST, PROOF_FAILED;
    ProofOther = Details(400_065), BAD_REQUEST, PROOF_FAILED;
    CertificateUnknown = Details(404_001), NOT_FOUND, "There is no certificate of this name in the provisioning service.";
    PathUnknown = Details(404_002), NOT_FOUND, "There is nothing at this path: only the certificates of provisioning services are served here.";
    MethodNotAllowed = Details(405_001), METHOD_NOT_ALLOWED, "The path has no such method: see Allow.";
    TimedOut = Details(408_001), REQUEST_TIMEOUT, "The request did not arrive in time.";
    ServiceFull = Details(409_001), CONFLICT, "The provisioning service has the maximum number of certificates. Delete one first.";
    PreconditionFailed = Details(412_001), PRECONDITION_FAILED, "Invalid ETag supplied: If-Match must name the etag of the certificate's latest answer. Every change makes a new one, including generateVerificationCode.";
    TooLarge = Details(413_001), PAYLOAD_TOO_LARGE, "The body or the certificate is too large.";
    UrlTooLong = Details(414_001), URI_TOO_LONG, "The URL is too long.";
    MediaTypeUnsupported = Details(415_001), UNSUPPORTED_MEDIA_TYPE, "The body must be JSON, without a content coding: send Content-Type: application/json.";
    Raced = Details(429_001), TOO_MANY_REQUESTS, "Too many changes to the same provisioning service at once: try again.";
    Failed = Details(500_001), INTERNAL_SERVER_ERROR, "Something is wrong with this server. Read the certificate again to see whether it was changed.";
    TookTooLong = Details(503_001), SERVICE_UNAVAILABLE, "The request took too long. Read the certificate again to see whether it was changed.";
    StoreUnavailable = Details(503_002), SERVICE_UNAVAILABLE, "The server cannot store anything at the moment. Nothing was changed: try again soon.";
    TooBusy = Details(503_003), SERVICE_UNAVAILABLE, "The server is busy. Nothing was changed: try again soon.";

    VersionMissing = Arm("MissingApiVersionParameter"), BAD_REQUEST, "The api-version query parameter (?api-version=) is required for all requests.";
    VersionUnknown = Arm("InvalidApiVersionParameter"), BAD_REQUEST, "The api-version is not known here.";
    TokenMissing = Arm("AuthenticationFailed"), UNAUTHORIZED, "Authentication failed. The Authorization header must be Bearer and an access token.";
    TokenExpired = Arm("ExpiredAuthenticationToken"), UNAUTHORIZED, "The access token has expired: fetch a new one.";
    TokenInvalid = Arm("InvalidAuthenticationToken"), UNAUTHORIZED, "The access token is not valid here.";
    Forbidden = Arm("AuthorizationFailed"), FORBIDDEN, "The access token's scopes do not include this provisioning service.";
}

impl Code {
    /// Returns the code for the check that rejected a proof.
    const fn of(check: ProofCheck) -> Self {
        match check {
            ProofCheck::Issuer | ProofCheck::Signature => Self::ProofIssuerOrSignature,
            ProofCheck::Leaf => Self::ProofLeafUnreadable,
            ProofCheck::Code => Self::ProofCodeOfAnother,
            ProofCheck::CommonName => Self::ProofCommonName,
            ProofCheck::LeafValidity => Self::ProofLeafValidity,
            ProofCheck::CaValidity => Self::ProofCaValidity,
            ProofCheck::NotTheCa => Self::ProofLeafIsTheCa,
            ProofCheck::CaConstraints | ProofCheck::CaKeyUsage => Self::ProofCaConstraints,
            ProofCheck::KeyStrength => Self::ProofKey,
            ProofCheck::HashStrength => Self::ProofHash,
            ProofCheck::LeafExtensions | ProofCheck::CaExtensions => Self::ProofExtensions,
            // The present policy does not reject for the leaf's constraints, the version or the serial number.
            _ => Self::ProofOther,
        }
    }

    /// Returns the `WWW-Authenticate` challenge (RFC 6750, section 3).
    const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Forbidden => Some("Bearer realm=\"keyproof\", error=\"insufficient_scope\""),
            Self::TokenExpired | Self::TokenInvalid => {
                Some("Bearer realm=\"keyproof\", error=\"invalid_token\"")
            }
            Self::TokenMissing => Some("Bearer realm=\"keyproof\""),
            _ => None,
        }
    }
}

const PROOF_FAILED: &str = "Proof of possession failed.";

const NOT_SERVED: &str =
    "This server serves its store no more: tell its operator. Nothing was changed.";

const OUTCOME_UNKNOWN: &str =
    "It is not known whether the change was made. Read the certificate again before trying again.";

/// A refusal, from which the error response is made.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: Code,
    /// Replaces the code's message.
    message: Option<String>,
    /// The findings, one per line.
    details: String,
    /// The status, if it is not the code's.
    status: Option<StatusCode>,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self {
            code,
            message: None,
            details: String::new(),
            status: None,
        }
    }
}

impl Refusal {
    /// Appends the reason to the message.
    pub(super) fn because(self, why: &impl Display) -> Self {
        let (_, _, message) = self.code.parts();
        Self {
            message: Some(cut(format!("{message} ({why})"))),
            ..self
        }
    }

    /// Returns the refusal for a failed proof, with the code and message of the first finding that rejects it. If the
    /// leaf is readable and the code is valid, the issuer and the signature come first in a report.
    fn proof(report: &Report<ProofFinding>) -> Self {
        let finding = report.first_refusal();
        Self {
            message: finding.map(|finding| {
                let remedy = finding.remedy();
                cut(format!(
                    "{PROOF_FAILED} {}. What to do: {remedy}.",
                    capital(finding)
                ))
            }),
            details: findings(report),
            ..finding
                .map_or(Code::ProofOther, |finding| Code::of(finding.check()))
                .into()
        }
    }

    pub(super) fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ErrorDetails<'a> {
            code: u32,
            #[serde(rename = "httpStatusCode")]
            http_status_code: String,
            message: &'a str,
            details: &'a str,
        }

        let (shape, status, message) = self.code.parts();
        let status = self.status.unwrap_or(status);
        let message = self.message.as_deref().unwrap_or(message);
        let mut response = match shape {
            Arm(code) => {
                let error = json!({ "code": code, "message": message });
                wire::json(status, &json!({ "error": error }))
            }
            Details(code) => wire::json(
                status,
                &ErrorDetails {
                    code,
                    http_status_code: name_in_dotnet(status),
                    message,
                    details: &self.details,
                },
            ),
        };
        let headers = response.headers_mut();
        if let Some(challenge) = self.code.challenge() {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            retry_soon(headers);
        }
        response
    }
}

/// Returns a status as .NET's `HttpStatusCode` names it: `BadRequest`. Two names are older than those of RFC 9110.
fn name_in_dotnet(status: StatusCode) -> String {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge".to_owned(),
        StatusCode::URI_TOO_LONG => "RequestUriTooLong".to_owned(),
        _ => {
            let reason = status.canonical_reason().unwrap_or_default();
            reason.replace(' ', "")
        }
    }
}

/// Returns a finding's text with an initial capital.
fn capital(finding: &ProofFinding) -> String {
    let text = finding.to_string();
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::from(Code::HeadOrPathMalformed).because(&error)
    }
}

impl From<StackRefusal> for Refusal {
    fn from(refusal: StackRefusal) -> Self {
        let code = match refusal {
            StackRefusal::BodyMalformed => Code::BodyMalformed,
            StackRefusal::BodyTimedOut | StackRefusal::HeadTimedOut => Code::TimedOut,
            StackRefusal::BodyTooLarge { .. } => Code::TooLarge,
            StackRefusal::DeadlineExceeded { .. } => Code::TookTooLong,
            StackRefusal::Draining => Code::StoreUnavailable,
            StackRefusal::CodingUnknown
            | StackRefusal::HeadMalformed(_)
            | StackRefusal::HeadTooLarge => Code::HeadOrPathMalformed,
            StackRefusal::Internal => Code::Failed,
            StackRefusal::MethodNotAllowed => Code::MethodNotAllowed,
            StackRefusal::NotFound => Code::PathUnknown,
            StackRefusal::TargetTooLong => Code::UrlTooLong,
        };
        Self {
            status: Some(refusal.status()),
            ..Self::from(code).because(&refusal)
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        let code = match &error {
            StorageError::Busy(_) => Code::TooBusy,
            StorageError::Contended { .. } => Code::Raced,
            StorageError::Damaged(_) | StorageError::OutcomeUnknown(_) => Code::Failed,
            StorageError::NotApplied(_)
            | StorageError::NotServed(_)
            | StorageError::Unavailable(_) => Code::StoreUnavailable,
            StorageError::TooLarge { .. } => Code::TooLarge,
        };
        if matches!(code, Code::Failed | Code::StoreUnavailable) {
            error!(%error, "a store operation failed");
        }
        let message = match error {
            // The code's own message would claim that it passes.
            StorageError::NotServed(_) => Some(NOT_SERVED),
            StorageError::OutcomeUnknown(_) => Some(OUTCOME_UNKNOWN),
            _ => None,
        };
        Self {
            message: message.map(ToOwned::to_owned),
            ..code.into()
        }
    }
}

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::External(ExternalTokenError::Expired) => Code::TokenExpired.into(),
            BearerError::External(
                why @ (ExternalTokenError::Audience
                | ExternalTokenError::Issuer
                | ExternalTokenError::Key
                | ExternalTokenError::Malformed
                | ExternalTokenError::NotYetValid
                | ExternalTokenError::Signature),
            ) => Self::from(Code::TokenInvalid).because(&why),
            BearerError::Operator(NoOperator) => Code::TokenInvalid.into(),
        }
    }
}

impl From<OutOfScope> for Refusal {
    fn from(refused: OutOfScope) -> Self {
        Self::from(Code::Forbidden).because(&refused)
    }
}

/// Each use case's errors are mapped below. Storage errors are mapped in one place for all of them.
impl<E: Into<Self>> From<Failure<E>> for Refusal {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Refused(why) => why.into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

impl From<GetError> for Refusal {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Precondition => Code::PreconditionFailed.into(),
            GetError::Unknown => Code::CertificateUnknown.into(),
        }
    }
}

impl From<PutError<Self>> for Refusal {
    fn from(error: PutError<Self>) -> Self {
        match error {
            PutError::Body(refusal) => refusal,
            PutError::Full { limit } => {
                Self::from(Code::ServiceFull).because(&format_args!("it has {limit}"))
            }
            PutError::Name => Code::NameInvalid.into(),
            PutError::Precondition => Code::PreconditionFailed.into(),
            PutError::Unproven => Code::UnprovenNotAllowed.into(),
            PutError::Upload(error) => {
                let code = match &error {
                    UploadError::Base64 { .. }
                    | UploadError::Empty
                    | UploadError::NotACertificate { .. }
                    | UploadError::PemUnterminated { .. }
                    | UploadError::PemWithoutCertificate { .. } => Code::CertificateNotDecodable,
                    UploadError::PrivateKeyInUpload { .. } => Code::PrivateKeySent,
                    UploadError::TooLong { .. } => Code::TooLarge,
                    _ => Code::CertificateInvalid,
                };
                Self::from(code).because(&error)
            }
        }
    }
}

impl From<DeleteError> for Refusal {
    fn from(DeleteError::Precondition: DeleteError) -> Self {
        Code::PreconditionFailed.into()
    }
}

impl From<GenerateCodeError> for Refusal {
    fn from(error: GenerateCodeError) -> Self {
        match error {
            GenerateCodeError::Precondition => Code::PreconditionFailed.into(),
            GenerateCodeError::Unknown => Code::CertificateUnknown.into(),
        }
    }
}

impl From<VerifyError<Self>> for Refusal {
    fn from(error: VerifyError<Self>) -> Self {
        match error {
            VerifyError::Body(refusal) => refusal,
            VerifyError::NoCode => Code::ProofCodeMissing.into(),
            VerifyError::Precondition => Code::PreconditionFailed.into(),
            VerifyError::Refused(report) => Self::proof(&report),
            VerifyError::Unknown => Code::CertificateUnknown.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use keyproof_service::TooBusy;

    #[test]
    fn what_the_store_does_is_a_failure_or_a_race() {
        let failure = || "/var/lib/keyproof.db: disk I/O error".to_owned();
        for (error, code) in [
            (StorageError::Busy(TooBusy), Code::TooBusy),
            (StorageError::Contended { tries: 3 }, Code::Raced),
            (StorageError::Damaged(failure()), Code::Failed),
            (StorageError::NotApplied(failure()), Code::StoreUnavailable),
            (StorageError::NotServed(failure()), Code::StoreUnavailable),
            (StorageError::OutcomeUnknown(failure()), Code::Failed),
            (StorageError::Unavailable(failure()), Code::StoreUnavailable),
            (
                StorageError::TooLarge { found: 2, limit: 1 },
                Code::TooLarge,
            ),
        ] {
            let message = match error {
                StorageError::NotServed(_) => Some(NOT_SERVED),
                StorageError::OutcomeUnknown(_) => Some(OUTCOME_UNKNOWN),
                _ => None,
            };
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, code);
            // The error's text is left out, as it may contain file names.
            assert_eq!(refusal.message.as_deref(), message);
            assert_eq!(refusal.details, "");
        }
        for code in [Code::Raced, Code::StoreUnavailable, Code::TooBusy] {
            let again = Refusal::from(code).into_response();
            assert_eq!(again.headers()[header::RETRY_AFTER], "1");
        }
    }

    #[test]
    fn refusals_of_the_stack_keep_their_status() {
        crate::dialect::assert_refusals_of_the_stack_keep_their_status(|refusal| {
            Refusal::from(refusal).into_response()
        });
    }

    #[test]
    fn each_code_is_in_the_documentation_and_no_other() {
        let codes = Code::ALL.iter().map(|code| match code.parts().0 {
            Details(number) => number.to_string(),
            Arm(name) => name.to_owned(),
        });
        let codes: BTreeSet<String> = codes.collect();
        let page = include_str!("../../../../../docs/certificates.md");
        let mut listed = BTreeSet::new();
        for row in page.lines().filter(|line| line.starts_with('|')) {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (code, status) = (cells.next().unwrap(), cells.next().unwrap());
            if code.starts_with("code") || code.starts_with("---") {
                continue;
            }
            let code = code.trim_matches(['*', '`']);
            // A numeric code begins with its status.
            let is_number = code.starts_with(|first: char| first.is_ascii_digit());
            assert!(!is_number || status.starts_with(&code[..3]), "{row}");
            assert!(listed.insert(code.to_owned()), "{code} twice");
        }
        assert_eq!(listed, codes);
    }

    #[test]
    fn messages_are_bounded() {
        let long = Refusal::from(Code::BodyMalformed).because(&"ä".repeat(5_000));
        let message = long.message.unwrap();
        assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
        assert!(message.ends_with('…'));
    }
}
