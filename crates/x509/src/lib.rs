// The README's example is a doctest, which needs the feature `prover` and a provider.
#![cfg_attr(all(feature = "prover", feature = "ring"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "prover", feature = "ring")),
    doc = "Proof of possession of a CA's private key by a verification code; see the README."
)]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate alloc;

mod algorithm;
pub mod algorithms;
mod certificate;
mod code;
pub mod crl;
mod error;
mod extension;
mod facts;
mod name;
mod oid;
mod owned;
pub mod path;
pub mod pem_bundle;
pub mod pkcs7;
mod policy;
mod proof_check;
mod proof_finding;
mod prove;
#[cfg(feature = "prover")]
pub mod prover;
mod public_key;
mod reader;
mod report;
mod thumbprint;
mod time;
mod upload;
mod value;

pub use der::asn1::ObjectIdentifier;
/// The version of ring whose random source `prover::RingSigner` takes.
#[cfg(feature = "ring")]
pub use ring;
pub use rustls_pki_types::SignatureVerificationAlgorithm;

pub use crate::{
    algorithm::{AlgorithmIdentifier, Hash, Scheme, verify},
    certificate::{Certificate, Serial, SerialOddity, Version},
    code::{Redemption, VerificationCode},
    error::{DerProblem, ParametersProblem, X509Error},
    extension::{BasicConstraints, Extension, KeyUsage},
    facts::CertificateSummary,
    name::{Attribute, Name, NameMatch, Rdn},
    oid::Oid,
    owned::OwnedCertificate,
    policy::Policy,
    proof_check::ProofCheck,
    proof_finding::{ProofFinding, ReadExtension, Role},
    prove::prove,
    public_key::{Curve, KeyKind, RSA_MAXIMUM_BITS, RSA_MINIMUM_BITS, SubjectPublicKeyInfo},
    report::{Check, Finding, Outcome, Report, ReportRow, Severity, Strictness},
    thumbprint::{Sha1Thumbprint, Sha256Thumbprint},
    time::Validity,
    upload::{Encoding, Layer, MAX_UPLOAD_LEN, Upload},
    value::Value,
};
