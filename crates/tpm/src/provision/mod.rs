//! What a CA does that certifies attestation keys: judge what the device sends, write what its certificate
//! says, and seal the certificate so that only the device's TPM can read it.

mod ak_certificate;
#[cfg(feature = "aws-lc-rs")]
mod envelope;
#[cfg(feature = "provision")]
mod request;

pub use ak_certificate::{AkCertificateExtension, ak_certificate_extensions};
#[cfg(feature = "aws-lc-rs")]
pub use envelope::{ActivationKey, SealedCertificate, seal_certificate};
#[cfg(feature = "provision")]
pub use request::check_certification_request;
