#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate alloc;

mod algorithm;
mod attest;
mod attestation;
mod attributes;
mod creation;
mod credential;
mod device;
mod device_key;
mod ek_certificate;
mod error;
mod event_log;
mod kdf;
mod key_finding;
mod key_policy;
mod name;
mod nv_public;
mod pcr;
mod provision;
mod public;
mod signature;
mod spki;
#[cfg(feature = "serde")]
mod stored;
mod template;
mod wire;

pub use keyproof_x509::{
    Check, Finding, ObjectIdentifier, Outcome, Report, ReportRow, Severity,
    SignatureVerificationAlgorithm, algorithms, crl::Crl, pem_bundle,
};

pub use algorithm::{EccCurve, HashAlgorithm};
pub use attest::{
    AttestType, Attested, TPM_GENERATED, TpmsAttest, TpmsCertifyInfo, TpmsClockInfo,
    TpmsCommandAuditInfo, TpmsCreationInfo, TpmsNvCertifyInfo, TpmsNvDigestCertifyInfo,
    TpmsQuoteInfo, TpmsSessionAuditInfo, TpmsTimeAttestInfo,
};
pub use attestation::{
    AcceptedQuote, AttestationEvidence, AttestationFinding, AttestationPolicy, AttestationReason,
    AttestationReport, CertifyCheck, CertifyPolicy, CheckedAttestation, CheckedQuote,
    CreationCheck, CreationEvidence, CreationPolicy, NvCertifyCheck, NvCertifyPolicy, ObjectParent,
    QuoteCheck, QuoteEvidence, QuotePolicy, TimeCheck, TimePolicy, check_certify, check_creation,
    check_nv_certify, check_quote, check_time,
};
pub use attributes::ObjectAttributes;
pub use creation::{TpmsCreationData, TpmtTkCreation};
#[cfg(feature = "aws-lc-rs")]
pub use credential::AwsLcRs;
#[cfg(feature = "activate")]
pub use credential::{ActivationProvider, activate};
pub use credential::{
    Agreement, Credential, CredentialProvider, EncryptedSecret, TpmsIdObject, make_credential,
    make_credential_with_seed,
};
pub use device::{DeviceField, DeviceInfo, DeviceInfoError, DeviceProperties};
pub use device_key::{DevIdKeyCheck, DevIdKeyFinding, DevIdKeyPolicy, KeyProfile};
pub use ek_certificate::{
    EkCertificate, EkCertificateCheck, EkCertificateFinding, EkCertificatePolicy, EkChain, EkKey,
    TpmAttributes, TpmSpecification, check_ek_certificate,
};
pub use error::{CredentialError, ProviderError, TpmError};
pub use event_log::{
    BackedData, BootVariable, EventLog, EventLogCheck, EventLogFinding, EventLogFormat,
    EventLogPolicy, EventTrust, EventType, LogEvent, Replay, ReplayedLog, ReplayedRegister,
    SecureBoot, SecureBootState, check_event_log,
};
pub use key_finding::{AttestationKeyCheck, AttestationKeyFinding, KeyDescription};
pub use key_policy::AttestationKeyPolicy;
pub use name::{Hierarchy, Name, QualifiedName};
pub use nv_public::TpmsNvPublic;
pub use pcr::{QuotedRegisters, TpmlPcrSelection, TpmsPcrSelection};
#[cfg(feature = "aws-lc-rs")]
pub use provision::{ActivationKey, SealedCertificate, seal_certificate};
pub use provision::{AkCertificateExtension, ak_certificate_extensions};
#[cfg(feature = "provision")]
pub use provision::{CertificationRequestError, check_certification_request};
pub use public::{
    EccPublic, EccScheme, KdfAlgorithm, KdfScheme, PublicKey, RsaPublic, RsaScheme,
    SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmtPublic,
};
pub use signature::TpmtSignature;
pub use template::{AttestationTemplate, EndorsementTemplate};
pub use wire::{Buffer, Structure};
