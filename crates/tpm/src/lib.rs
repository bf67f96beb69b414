#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod algorithm;
mod attest;
mod attributes;
mod creation;
mod credential;
mod device;
mod ek_certificate;
mod error;
mod kdf;
mod key_finding;
mod key_policy;
mod name;
mod pcr;
mod public;
mod quote;
mod report;
mod signature;
mod spki;
mod template;
mod wire;

pub use keyproof_x509::{
    Check, Finding, Outcome, Report, Row, Severity, SignatureVerificationAlgorithm, algorithms,
};

pub use algorithm::{EccCurve, HashAlgorithm};
pub use attest::{AttestType, Attested, TPM_GENERATED, TpmsAttest, TpmsClockInfo, TpmsQuoteInfo};
pub use attributes::ObjectAttributes;
pub use creation::TpmsCreationData;
#[cfg(feature = "aws-lc-rs")]
pub use credential::AwsLcRs;
#[cfg(feature = "activate")]
pub use credential::{ActivationProvider, activate};
pub use credential::{
    Agreement, Credential, CredentialProvider, EncryptedSecret, TpmsIdObject, make_credential,
    protect,
};
pub use device::{DeviceField, DeviceInfo};
pub use ek_certificate::{
    EkCertificate, EkCertificateCheck, EkCertificateFinding, EkCertificatePolicy, EkKey,
    TpmAttributes, TpmSpecification, check_ek_certificate,
};
pub use error::TpmError;
pub use key_finding::{AttestationKeyCheck, AttestationKeyFinding, KeyDescription};
pub use key_policy::AttestationKeyPolicy;
pub use name::{Hierarchy, Name, QualifiedName};
pub use pcr::{TpmlPcrSelection, TpmsPcrSelection};
pub use public::{
    EccPublic, EccScheme, KdfAlgorithm, KdfScheme, PublicKey, RsaPublic, RsaScheme,
    SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmtPublic,
};
pub use quote::{QuoteCheck, QuoteEvidence, QuotePolicy, check_quote};
pub use report::{Report as AttestationReport, Told};
pub use signature::TpmtSignature;
pub use template::{AttestationTemplate, EndorsementTemplate};
pub use wire::{Buffer, Structure};
