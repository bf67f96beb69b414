//! The findings of all attestation checks, with severity and remedy.

use core::fmt;

use keyproof_x509::{Check, Finding, Report, Scheme, Severity};

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
    attest::AttestType,
    device_key::DevIdKeyFinding,
    key_finding::AttestationKeyFinding,
    pcr::TpmlPcrSelection,
};

/// The report of an attestation.
pub type AttestationReport<C> = Report<AttestationFinding<C>>;

/// A finding of an attestation check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationFinding<C> {
    /// The check that found it.
    pub check: C,
    /// What was found.
    pub reason: AttestationReason,
}

/// The reasons that an attestation check can report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestationReason {
    /// The signing key is not a valid attestation key.
    AttestingKey(AttestationKeyFinding),
    /// The clock advanced.
    ClockAdvanced {
        /// The difference in milliseconds.
        by: u64,
    },
    /// The clock went backwards.
    ClockDecreased {
        /// The difference in milliseconds.
        by: u64,
    },
    /// The clock went backwards, and the TPM reports a loss of power without shutdown.
    ClockNotSafe,
    /// The digest matches the expected contents.
    ContentsByDigest,
    /// The digest does not match the expected contents.
    ContentsDigestMismatch,
    /// The contents or their offset differ from the expected ones.
    ContentsMismatch,
    /// The attestation contains a digest of the whole contents, but contents from an offset were
    /// expected.
    ContentsOffset,
    /// The creation data is inconsistent, with a description.
    CreationDataInconsistent(&'static str),
    /// The creation data is not a valid `TPMS_CREATION_DATA`.
    CreationDataMalformed(TpmError),
    /// The hash of the creation data does not match.
    CreationHashMismatch,
    /// Signatures on the key's curve are not supported.
    CurveUnsupported(EccCurve),
    /// The digest does not match the given values.
    DigestMismatch,
    /// The size of the digest does not match the hash of the signature.
    DigestSize(HashAlgorithm),
    /// The TPM's firmware version.
    Firmware(u64),
    /// The TPM has another firmware version.
    FirmwareMismatch {
        /// The expected version.
        expected: u64,
        /// The TPM's version.
        found: u64,
    },
    /// The signature's hash is not supported.
    HashUnsupported(HashAlgorithm),
    /// A weak hash is used.
    HashWeak {
        /// Where it is used.
        what: &'static str,
        /// The hash.
        hash: HashAlgorithm,
    },
    /// It certifies another NV index.
    IndexMismatch,
    /// The index was never written.
    IndexUnwritten,
    /// It does not begin with `TPM_GENERATED_VALUE`.
    MagicWrong,
    /// The policy accepts any nonce.
    NonceNotChecked,
    /// The policy's nonce is empty.
    NonceEmpty,
    /// It contains another nonce.
    NonceMismatch,
    /// The nonce is short.
    NonceShort {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The policy accepts any object.
    ObjectNotChecked,
    /// The object is an attestation key.
    ObjectAttestationKey,
    /// The object is not a child of the given parent.
    QualifiedNameMismatch,
    /// The object is not a valid attestation key.
    ObjectNotAttestationKey(AttestationKeyFinding),
    /// The object is not a valid device identity key.
    ObjectNotDevId(DevIdKeyFinding),
    /// It certifies another object.
    ObjectMismatch,
    /// The object was created with other `outsideInfo`.
    OutsideInfoMismatch,
    /// The object was not created under the given parent.
    ParentMismatch,
    /// The TPM was reset.
    Reset {
        /// The number of resets.
        times: u32,
    },
    /// The reset counter went backwards.
    ResetCountDecreased {
        /// The difference.
        by: u32,
    },
    /// The TPM was restarted.
    Restarted {
        /// The number of restarts.
        times: u32,
    },
    /// The restart counter went backwards.
    RestartCountDecreased {
        /// The difference.
        by: u32,
    },
    /// The scheme of the signature is not the key's.
    SchemeMismatch,
    /// It quotes these registers, as expected.
    Selection(TpmlPcrSelection),
    /// It quotes these registers; the policy accepts any.
    SelectionNotChecked(TpmlPcrSelection),
    /// It quotes no register.
    SelectionEmpty,
    /// It quotes other registers.
    SelectionMismatch {
        /// The expected registers.
        asked: TpmlPcrSelection,
        /// The quoted registers.
        quoted: TpmlPcrSelection,
    },
    /// The signature uses a weak hash.
    SignatureHashWeak(HashAlgorithm),
    /// The signature does not verify.
    SignatureRefused(keyproof_x509::X509Error),
    /// The signature cannot be parsed.
    SignatureUnreadable(TpmError),
    /// The signature verifies.
    SignatureVerified(Scheme),
    /// The signer's qualified name is another key's, or this key's under another parent.
    SignerMismatch,
    /// It is not a valid `TPMS_ATTEST`.
    StructureMalformed(TpmError),
    /// The ticket's hierarchy is not the parent's.
    TicketHierarchyMismatch,
    /// The ticket is not a valid `TPMT_TK_CREATION`.
    TicketMalformed(TpmError),
    /// It is the NULL ticket, which proves nothing.
    TicketNull,
    /// The ticket is of the NULL hierarchy.
    TicketOfNullHierarchy,
    /// The TPM's time.
    Time {
        /// Milliseconds since its start.
        since_start: u64,
        /// Milliseconds for which it has been powered.
        in_all: u64,
    },
    /// The clock values in head and body differ.
    ClockInfoMismatch,
    /// It is an attestation of another type.
    TypeMismatch {
        /// Its type.
        found: AttestType,
        /// The expected type, in words.
        wanted: &'static str,
    },
    /// Its type cannot be parsed.
    TypeUnreadable(TpmError),
    /// A key or hash that the check needs is not supported.
    Unsupported(TpmError),
    /// The key is invalid, or the signature cannot be one of this key.
    Unverifiable(TpmError),
    /// The registers stated for the given values are not those quoted.
    ValuesSelectionMismatch {
        /// The registers stated.
        named: TpmlPcrSelection,
        /// The quoted registers.
        quoted: TpmlPcrSelection,
    },
    /// The size of the given values does not match the selection.
    ValuesSize {
        /// The size required by the selection, in bytes.
        expected: usize,
        /// The size given, in bytes.
        found: usize,
    },
}

use AttestationReason as R;

impl<C: Check> Finding for AttestationFinding<C> {
    type Check = C;

    fn check(&self) -> C {
        self.check
    }

    fn severity(&self) -> Severity {
        match &self.reason {
            R::AttestingKey(finding) | R::ObjectNotAttestationKey(finding) => finding.severity(),
            R::ObjectNotDevId(finding) => finding.severity(),

            R::ClockAdvanced { .. }
            | R::ContentsByDigest
            | R::Firmware(_)
            | R::ObjectAttestationKey
            | R::Reset { .. }
            | R::Restarted { .. }
            | R::Selection(_)
            | R::SignatureVerified(_)
            | R::Time { .. } => Severity::Remark,

            R::ClockNotSafe
            | R::NonceNotChecked
            | R::NonceShort { .. }
            | R::ObjectNotChecked
            | R::SelectionNotChecked(_)
            | R::TicketOfNullHierarchy
            | R::ClockInfoMismatch => Severity::Warning,

            R::ClockDecreased { .. }
            | R::ContentsDigestMismatch
            | R::ContentsMismatch
            | R::ContentsOffset
            | R::CreationDataInconsistent(_)
            | R::CreationDataMalformed(_)
            | R::CreationHashMismatch
            | R::CurveUnsupported(_)
            | R::DigestMismatch
            | R::DigestSize(_)
            | R::FirmwareMismatch { .. }
            | R::HashUnsupported(_)
            | R::HashWeak { .. }
            | R::IndexMismatch
            | R::IndexUnwritten
            | R::MagicWrong
            | R::NonceEmpty
            | R::NonceMismatch
            | R::QualifiedNameMismatch
            | R::ObjectMismatch
            | R::OutsideInfoMismatch
            | R::ParentMismatch
            | R::ResetCountDecreased { .. }
            | R::RestartCountDecreased { .. }
            | R::SchemeMismatch
            | R::SelectionEmpty
            | R::SelectionMismatch { .. }
            | R::SignatureHashWeak(_)
            | R::SignatureRefused(_)
            | R::SignatureUnreadable(_)
            | R::SignerMismatch
            | R::StructureMalformed(_)
            | R::TicketHierarchyMismatch
            | R::TicketMalformed(_)
            | R::TicketNull
            | R::TypeMismatch { .. }
            | R::TypeUnreadable(_)
            | R::Unsupported(_)
            | R::Unverifiable(_)
            | R::ValuesSelectionMismatch { .. }
            | R::ValuesSize { .. } => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match &self.reason {
            R::AttestingKey(finding) | R::ObjectNotAttestationKey(finding) => finding.remedy(),
            R::ObjectNotDevId(finding) => finding.remedy(),
            R::ClockAdvanced { .. }
            | R::ContentsByDigest
            | R::Firmware(_)
            | R::ObjectAttestationKey
            | R::Reset { .. }
            | R::Restarted { .. }
            | R::Selection(_)
            | R::SignatureVerified(_)
            | R::Time { .. } => "nothing: no problem found",
            R::ClockDecreased { .. }
            | R::ResetCountDecreased { .. }
            | R::RestartCountDecreased { .. } => {
                "attest again; if the result is the same, it is another TPM, or one that was tampered with"
            }
            R::ClockNotSafe => "find out why the TPM lost its power without a shutdown",
            R::ContentsDigestMismatch | R::ContentsMismatch | R::IndexUnwritten => {
                "find out who wrote the index, or write the expected contents"
            }
            R::ContentsOffset => {
                "expect the whole contents, or have the contents certified instead of a digest"
            }
            R::CreationDataInconsistent(_)
            | R::CreationDataMalformed(_)
            | R::CreationHashMismatch
            | R::TicketHierarchyMismatch
            | R::TicketMalformed(_)
            | R::TicketNull => {
                "send creation data and ticket as TPM2_Create or TPM2_CreatePrimary returned them for this object"
            }
            R::CurveUnsupported(_) | R::HashUnsupported(_) | R::SchemeMismatch => {
                "sign with the key's own scheme, over SHA-256, SHA-384 or SHA-512, on P-256, P-384 or P-521"
            }
            R::DigestMismatch | R::ValuesSelectionMismatch { .. } | R::ValuesSize { .. } => {
                "send the values of the quoted registers in the order of the selection, read together with the quote"
            }
            R::DigestSize(_)
            | R::MagicWrong
            | R::StructureMalformed(_)
            | R::TypeMismatch { .. }
            | R::TypeUnreadable(_) => {
                "send the TPMS_ATTEST of the right command as the TPM returned it"
            }
            R::FirmwareMismatch { .. } => {
                "update the TPM's firmware, or correct the expected version"
            }
            R::HashWeak { .. } | R::SignatureHashWeak(_) => {
                "use SHA-256, SHA-384 or SHA-512 throughout"
            }
            R::IndexMismatch | R::ObjectMismatch => {
                "send the public area of the certified object or index, as the TPM returned it"
            }
            R::NonceNotChecked | R::NonceEmpty | R::NonceShort { .. } => {
                "use a random nonce of at least 16 bytes"
            }
            R::NonceMismatch => "attest again with the nonce of this request",
            R::ObjectNotChecked => "set the profile that the object must have",
            R::QualifiedNameMismatch | R::ParentMismatch => {
                "make the object below the given parent"
            }
            R::OutsideInfoMismatch => "make the object with the expected outsideInfo",
            R::SelectionNotChecked(_) => "set the registers that must be quoted",
            R::SelectionEmpty | R::SelectionMismatch { .. } => {
                "quote the registers that were asked for"
            }
            R::SignatureRefused(_) | R::SignatureUnreadable(_) | R::Unverifiable(_) => {
                "send the TPMT_SIGNATURE of this attestation, and the public area of the key that made it"
            }
            R::SignerMismatch => "attest with this key of this TPM, below the given parent",
            R::TicketOfNullHierarchy => "make the object below another hierarchy",
            R::ClockInfoMismatch => {
                "attest again; if the result is the same, do not rely on the TPM's clock"
            }
            R::Unsupported(_) => {
                "use SHA-256, SHA-384 or SHA-512, and keys as the TPM returned them"
            }
        }
    }
}

impl<C> fmt::Display for AttestationFinding<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl fmt::Display for AttestationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttestingKey(finding) | Self::ObjectNotAttestationKey(finding) => finding.fmt(f),
            Self::ObjectNotDevId(finding) => finding.fmt(f),
            Self::ClockAdvanced { by } => write!(f, "{by} ms later"),
            Self::ClockDecreased { by } => write!(f, "{by} ms earlier"),
            Self::ClockNotSafe => {
                f.write_str("set back after a shutdown that was not orderly, as the TPM reports")
            }
            Self::ContentsByDigest => f.write_str("as expected, by their digest"),
            Self::ContentsDigestMismatch => {
                f.write_str("the index has other contents, by its digest")
            }
            Self::ContentsMismatch => {
                f.write_str("the index has other contents, or they were read from another offset")
            }
            Self::ContentsOffset => {
                f.write_str("it covers the whole contents, not those from an offset")
            }
            Self::CreationDataInconsistent(how) => f.write_str(how),
            Self::CreationDataMalformed(error) => write!(f, "not a TPMS_CREATION_DATA: {error}"),
            Self::CreationHashMismatch => f.write_str("the given creation data has another hash"),
            Self::CurveUnsupported(curve) => write!(f, "{curve} is not supported"),
            Self::DigestMismatch => f.write_str("the given values have another digest"),
            Self::DigestSize(hash) => write!(f, "its size is not that of a {hash} digest"),
            Self::Firmware(found) => write!(f, "{found:#018x}"),
            Self::FirmwareMismatch { expected, found } => {
                write!(f, "{found:#018x}, not {expected:#018x}")
            }
            Self::HashUnsupported(hash) => write!(f, "{hash} is not supported"),
            Self::HashWeak { what, hash } => write!(f, "{what} uses {hash}, which is weak"),
            Self::IndexMismatch => f.write_str("it certifies an index with another public area"),
            Self::IndexUnwritten => f.write_str("it was never written, as its attributes show"),
            Self::MagicWrong => {
                f.write_str("it does not begin with TPM_GENERATED_VALUE: no TPM made it")
            }
            Self::NonceNotChecked => {
                f.write_str("no nonce was required: the attestation may be old")
            }
            Self::NonceEmpty => {
                f.write_str("an empty nonce does not prove when the attestation was made")
            }
            Self::NonceMismatch => {
                f.write_str("it does not contain the nonce: it was made for another request")
            }
            Self::NonceShort { bytes } => write!(f, "a nonce of {bytes} bytes may repeat"),
            Self::ObjectNotChecked => {
                f.write_str("any object was accepted: it may be able to leave the TPM")
            }
            Self::ObjectAttestationKey => {
                f.write_str("a restricted signing key that cannot leave its TPM")
            }
            Self::QualifiedNameMismatch => {
                f.write_str("the object is not a child of the given parent")
            }
            Self::ObjectMismatch => f.write_str("it certifies an object with another public area"),
            Self::OutsideInfoMismatch => f.write_str("the object was made with other outsideInfo"),
            Self::ParentMismatch => f.write_str("it was not made below the given parent"),
            Self::Reset { times } => write!(f, "reset {times} times since"),
            Self::ResetCountDecreased { by } => write!(f, "{by} resets fewer than before"),
            Self::Restarted { times } => write!(f, "restarted {times} times since"),
            Self::RestartCountDecreased { by } => write!(f, "{by} restarts fewer than before"),
            Self::SchemeMismatch => f.write_str("its scheme is not the key's"),
            Self::Selection(quoted) => quoted.fmt(f),
            Self::SelectionNotChecked(quoted) => write!(f, "any selection was accepted: {quoted}"),
            Self::SelectionEmpty => f.write_str("it quotes no register"),
            Self::SelectionMismatch { asked, quoted } => {
                write!(f, "it quotes {quoted}, not {asked}")
            }
            Self::SignatureHashWeak(hash) => write!(f, "a signature over {hash} proves nothing"),
            Self::SignatureRefused(error) => error.fmt(f),
            Self::SignatureUnreadable(error) => write!(f, "not a TPMT_SIGNATURE: {error}"),
            Self::SignatureVerified(scheme) => f.write_str(scheme.name()),
            Self::SignerMismatch => f.write_str(
                "the signer's qualified name does not match: another key, or another TPM",
            ),
            Self::StructureMalformed(error) => write!(f, "not a TPMS_ATTEST: {error}"),
            Self::TicketHierarchyMismatch => f.write_str("its hierarchy is not the parent's"),
            Self::TicketMalformed(error) => write!(f, "not a TPMT_TK_CREATION: {error}"),
            Self::TicketNull => f.write_str("it is the NULL ticket, which proves nothing"),
            Self::TicketOfNullHierarchy => {
                f.write_str("it is of the NULL hierarchy, which does not survive a reset")
            }
            Self::Time {
                since_start,
                in_all,
            } => write!(f, "{since_start} ms since its start, {in_all} ms in all"),
            Self::ClockInfoMismatch => f.write_str("the clock values in head and body differ"),
            Self::TypeMismatch { found, wanted } => write!(f, "{found} is not {wanted}"),
            Self::TypeUnreadable(error) | Self::Unsupported(error) | Self::Unverifiable(error) => {
                error.fmt(f)
            }
            Self::ValuesSelectionMismatch { named, quoted } => {
                write!(f, "the given values are for {named}, not for {quoted}")
            }
            Self::ValuesSize { expected, found } => write!(
                f,
                "{found} bytes of register values, not the {expected} of the selection"
            ),
        }
    }
}

/// Records the outcome of a check.
pub(super) trait Found<C> {
    fn found(&mut self, check: C, reason: AttestationReason);

    /// Records success if `holds`, and `reason` otherwise.
    fn unless(&mut self, holds: bool, check: C, reason: AttestationReason);

    /// Like [`Found::unless`], but records an error as [`AttestationReason::Unsupported`].
    fn unless_ok(&mut self, holds: Result<bool, TpmError>, check: C, reason: AttestationReason);
}

impl<C: Check> Found<C> for AttestationReport<C> {
    fn found(&mut self, check: C, reason: AttestationReason) {
        self.judged(check, AttestationFinding { check, reason });
    }

    fn unless(&mut self, holds: bool, check: C, reason: AttestationReason) {
        if holds {
            self.done(check);
        } else {
            self.found(check, reason);
        }
    }

    fn unless_ok(&mut self, holds: Result<bool, TpmError>, check: C, reason: AttestationReason) {
        match holds {
            Ok(holds) => self.unless(holds, check, reason),
            Err(error) => self.found(check, AttestationReason::Unsupported(error)),
        }
    }
}
