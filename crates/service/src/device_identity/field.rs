//! Errors in a station's request: the field, as a type, and the problem.

use std::fmt;

use keyproof_tpm::{
    AttestationKeyCheck, CertificationRequestError, Check, DeviceInfoError, TpmError,
};

use super::DerTextError;

/// Bytes that a station sent, or why they cannot be decoded.
pub type Sent = Result<Vec<u8>, DerTextError>;

/// A field of a station's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The AK's SubjectPublicKeyInfo.
    AttestationKey,
    /// The AK's Name.
    AttestationKeyName,
    /// The AK's public area.
    AttestationKeyPublic,
    /// The PKCS #10 certification request.
    CertificationRequest,
    /// The device's properties.
    Device,
    /// The EK certificate.
    EndorsementCertificate,
    /// The issuers' certificates for the EK certificate.
    EndorsementChain,
    /// The EK's SubjectPublicKeyInfo.
    EndorsementKey,
    /// The event log.
    EventLog,
    /// The nonce.
    Nonce,
    /// The quote.
    Quote,
    /// The selection of PCRs to quote.
    Registers,
    /// The values of the quoted PCRs.
    RegisterValues,
    /// The quote's signature.
    Signature,
}

/// A field is malformed or has an unacceptable value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field.
    pub field: Field,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// The key is not an AK.
    #[error("{}: {detail}", .check.name())]
    Attestation {
        /// The first check that fails.
        check: AttestationKeyCheck,
        /// What fails.
        detail: String,
    },
    /// A property of the device exceeds its limits.
    #[error(transparent)]
    Device(DeviceInfoError),
    /// The AK is the EK, but must be another key.
    #[error("it is the endorsement key")]
    EndorsementKey,
    /// It is not the key whose SubjectPublicKeyInfo was sent.
    #[error("it is not the attestation key that was sent")]
    OtherKey,
    /// The field is too long.
    #[error("more than {limit} bytes")]
    Long {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Its length is not that of a Name.
    #[error("a Name over SHA-256 has 34 bytes, one over SHA-384 has 50, one over SHA-512 has 66")]
    NoName,
    /// It is not a public area for which a Name can be computed.
    #[error("it is not a TPM2B_PUBLIC or TPMT_PUBLIC with a Name")]
    NoPublicArea,
    /// These PCRs cannot be selected.
    #[error(
        "one or two banks of SHA-256, SHA-384 or SHA-512 and PCRs of 0 to 23, as in sha256:0,1,2,7"
    )]
    NoSelection,
    /// The point or modulus is not that of any key.
    #[error("no key has this point or modulus")]
    NoSuchKey,
    /// The certification request is malformed, or for another device.
    #[error(transparent)]
    Request(CertificationRequestError),
    /// It is malformed.
    #[error(transparent)]
    Tpm(TpmError),
    /// It cannot be decoded.
    #[error(transparent)]
    Unread(DerTextError),
    /// It is checked against the PCR values, which were not sent.
    #[error("it is compared with the registers' values, which are missing")]
    WithoutValues,
}

impl Field {
    /// Borrows the bytes if they were decoded.
    pub(super) fn read(self, sent: &Sent) -> Result<&[u8], FieldError> {
        let unread = |error: &DerTextError| self.wrong(FieldProblem::Unread(*error));
        sent.as_deref().map_err(unread)
    }

    /// Takes the bytes if they were decoded.
    pub(super) fn take(self, sent: Sent) -> Result<Vec<u8>, FieldError> {
        sent.map_err(|error| self.wrong(FieldProblem::Unread(error)))
    }

    pub(super) const fn wrong(self, problem: FieldProblem) -> FieldError {
        FieldError {
            field: self,
            problem,
        }
    }

    pub(super) fn malformed(self) -> impl Fn(TpmError) -> FieldError {
        move |error| self.wrong(FieldProblem::Tpm(error))
    }
}

/// For the audit trail and the log. Contracts have their own names.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttestationKey => "attestation key",
            Self::AttestationKeyName => "attestation key's Name",
            Self::AttestationKeyPublic => "attestation key's public area",
            Self::CertificationRequest => "certification request",
            Self::Device => "device",
            Self::EndorsementCertificate => "endorsement certificate",
            Self::EndorsementChain => "endorsement certificate's chain",
            Self::EndorsementKey => "endorsement key",
            Self::EventLog => "event log",
            Self::Nonce => "nonce",
            Self::Quote => "quote",
            Self::Registers => "registers",
            Self::RegisterValues => "registers' values",
            Self::Signature => "signature",
        })
    }
}
