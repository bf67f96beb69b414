//! The tasks of a CA for attestation keys: check the device's request, build the certificate's
//! extensions, and encrypt the certificate so that only the device's TPM can read it.

mod ak_certificate;
#[cfg(feature = "aws-lc-rs")]
mod envelope;
#[cfg(feature = "provision")]
mod request;

pub use ak_certificate::{AkCertificateExtension, ak_certificate_extensions};
#[cfg(feature = "aws-lc-rs")]
pub use envelope::{ActivationKey, SealedCertificate, seal_certificate};
#[cfg(feature = "provision")]
pub use request::{CertificationRequestError, check_certification_request};
