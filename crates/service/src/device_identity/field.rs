//! What is wrong with what a station sends: the field, as a type, and the problem.

use std::fmt;

use keyproof_tpm::{AttestationKeyCheck, Check, TpmError};

use super::DerTextError;

/// Bytes that a station sent, or why they cannot be read.
pub type Sent = Result<Vec<u8>, DerTextError>;

/// A field of a station's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The attestation key's SubjectPublicKeyInfo.
    AttestationKey,
    /// The attestation key's Name.
    AttestationKeyName,
    /// The attestation key's public area.
    AttestationKeyPublic,
    /// The certification request.
    CertificationRequest,
    /// The device's properties.
    Device,
    /// The endorsement key's certificate.
    EndorsementCertificate,
    /// The certificates of those who issued it.
    EndorsementChain,
    /// The endorsement key's SubjectPublicKeyInfo.
    EndorsementKey,
    /// The event log.
    EventLog,
    /// The nonce.
    Nonce,
    /// The quote.
    Quote,
    /// Which registers are to be quoted.
    Registers,
    /// The values of the quoted registers.
    RegisterValues,
    /// The quote's signature.
    Signature,
}

/// A field that is malformed, or what it has is not what it is to be.
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
    /// The key is not an attestation key.
    #[error("{}: {detail}", .check.name())]
    Attestation {
        /// The first check that fails.
        check: AttestationKeyCheck,
        /// What fails.
        detail: String,
    },
    /// It is the endorsement key, and is to be another.
    #[error("it is the endorsement key")]
    EndorsementKey,
    /// It is not the key whose SubjectPublicKeyInfo was sent.
    #[error("it is not the attestation key that was sent")]
    OtherKey,
    /// It is longer than is read.
    #[error("more than {limit} bytes")]
    Long {
        /// The most, in bytes.
        limit: usize,
    },
    /// Its length is none of a Name.
    #[error("a Name over SHA-256 has 34 bytes, one over SHA-384 has 50, one over SHA-512 has 66")]
    NoName,
    /// It is not a public area whose Name can be computed.
    #[error("it is not a TPM2B_PUBLIC or TPMT_PUBLIC with a Name")]
    NoPublicArea,
    /// These registers cannot be asked for.
    #[error(
        "one or two banks of SHA-256, SHA-384 or SHA-512 and PCRs of 0 to 23, as in sha256:0,1,2,7"
    )]
    NoSelection,
    /// No key has this point or modulus.
    #[error("no key has this point or modulus")]
    NoSuchKey,
    /// It is not well formed.
    #[error(transparent)]
    Tpm(TpmError),
    /// It cannot be read.
    #[error(transparent)]
    Unread(DerTextError),
    /// It is compared with the values of registers, and none were sent.
    #[error("it is compared with the registers' values, which are missing")]
    WithoutValues,
}

impl Field {
    /// The bytes, if they can be read.
    pub(super) fn read(self, sent: &Sent) -> Result<&[u8], FieldError> {
        let unread = |error: &DerTextError| self.wrong(FieldProblem::Unread(*error));
        sent.as_deref().map_err(unread)
    }

    /// The bytes, if they can be read.
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

/// For the audit trail and the log: contracts have names of their own.
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
