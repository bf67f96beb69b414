//! The checks of an endorsement certificate and their findings.

use alloc::{boxed::Box, string::String};
use core::fmt;

use keyproof_x509::{Finding, SerialOddity, Severity, X509Error, checks, path::Reason};

use super::{TpmAttributes, TpmSpecification};
use crate::{TpmError, algorithm::EccCurve};

checks! {
    /// The checks of an endorsement certificate (TCG EK Credential Profile for TPM Family 2.0), in
    /// the order of reports.
    #[non_exhaustive]
    pub EkCertificateCheck {
        /// `encoding`: it is a single certificate. A header and padding from NV memory are allowed.
        Encoding = "encoding", "one certificate";
        /// `version`: X.509 version 3.
        Version = "version", "version 3";
        /// `serial`: positive, with at most 20 octets; otherwise a warning.
        Serial = "serial", "it is valid";
        /// `issuer`: it is not empty.
        Issuer = "issuer", "there is one";
        /// `not-a-ca`: its basicConstraints state that it is not a CA; a warning if they are
        /// missing.
        NotACa = "not-a-ca", "it is no CA's certificate";
        /// `key-usage`: keyEncipherment for an RSA key, keyAgreement for an EC key. The usage of
        /// the other key type warns, since some manufacturers use it. Signing certificates or CRLs
        /// is not allowed.
        KeyUsage = "key-usage", "it is for encryption";
        /// `extended-key-usage`: it contains tcg-kp-EKCertificate, or is absent.
        ExtendedKeyUsage = "extended-key-usage", "tcg-kp-EKCertificate";
        /// `tpm-attributes`: the subjectAltName contains manufacturer, model and version, and is
        /// critical if the subject is empty.
        TpmAttributes = "tpm-attributes", "it names the TPM";
        /// `vendor`: the manufacturer is in the TCG's registry; otherwise a warning.
        Vendor = "vendor", "it is registered";
        /// `tpm-specification`: the subjectDirectoryAttributes state family 2.0; a warning if they
        /// state no specification.
        TpmSpecification = "tpm-specification", "family 2.0";
        /// `critical-extensions`: all of them are understood.
        CriticalExtensions = "critical-extensions", "all of them are understood";
        /// `validity`: it is within its validity period.
        Validity = "validity", "it is valid";
        /// `key`: RSA 2048, 3072 or 4096, P-256 or P-384; a warning for P-521, which has no
        /// template.
        Key = "key", "it is of an accepted type and size";
        /// `public-key`: its key is the endorsement key.
        PublicKey = "public-key", "it is the endorsement key";
        /// `chain`: it is on the allow-list, or there is a path to a root
        /// ([`keyproof_x509::path`]).
        Chain = "chain", "to a root";
    }
}

/// A finding of the check of an endorsement certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EkCertificateFinding {
    /// A finding that would reject the certificate if it were not on the allow-list.
    Allowed(Box<Self>),
    /// Its basicConstraints are malformed.
    BasicConstraintsMalformed(X509Error),
    /// It has no basicConstraints, which should state that it is not a CA.
    BasicConstraintsMissing,
    /// It has a path to a root.
    Chain {
        /// The root's subject, as RFC 4514 text.
        root: String,
        /// The number of certificates between it and the root.
        intermediates: usize,
    },
    /// It is on the allow-list and needs no path.
    ChainNotNeeded,
    /// There is no path to a root.
    ChainRefused {
        /// The certificate at which the path ends.
        certificate: String,
        /// The reason.
        reason: Reason,
    },
    /// There is a path to a root, with a warning.
    ChainWarning {
        /// The certificate that the warning applies to.
        certificate: String,
        /// The warning.
        reason: Reason,
    },
    /// The policy contains no roots.
    ChainWithoutRoots,
    /// A critical extension is not understood.
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// The given endorsement key is invalid.
    EkInvalid(TpmError),
    /// It is a single certificate.
    Encoding {
        /// The size of the header before it, in bytes.
        before: usize,
        /// The size of the padding after it, in bytes.
        after: usize,
    },
    /// It is not a certificate.
    EncodingMalformed(TpmError),
    /// It has expired.
    Expired,
    /// It has no extended key usage.
    ExtendedKeyUsageAbsent,
    /// Its extended key usage is malformed, with a description.
    ExtendedKeyUsageMalformed(String),
    /// Its extended key usage does not include endorsement certificates.
    ExtendedKeyUsageOther,
    /// It is a CA certificate.
    IsACa,
    /// Its issuer, as RFC 4514 text.
    Issuer(String),
    /// Its issuer is empty.
    IssuerEmpty,
    /// The type and size of its key.
    Key(EkKey),
    /// Its key is not the endorsement key.
    KeyMismatch,
    /// An RSA key of an unsupported size.
    KeySize {
        /// The size of its modulus in bytes.
        bytes: usize,
    },
    /// A valid key for which no credential can be made.
    KeyWithoutTemplate(EkKey),
    /// Its key cannot be parsed.
    KeyUnreadable(TpmError),
    /// Its key usage, as required.
    KeyUsage(&'static str),
    /// It lacks this key usage, required for encryption.
    KeyUsageIncomplete(&'static str),
    /// Its keyUsage is malformed.
    KeyUsageMalformed(X509Error),
    /// It has no keyUsage.
    KeyUsageMissing,
    /// It has the key usage of the other key type.
    KeyUsageMismatch {
        /// Its key usage.
        found: &'static str,
        /// The key usage of its key type.
        fitting: &'static str,
    },
    /// Its key may sign certificates or CRLs.
    KeyUsageSigning,
    /// It is not yet valid.
    NotYetValid,
    /// Its serial number.
    Serial(String),
    /// Its serial number violates the profile.
    SerialOdd(SerialOddity),
    /// The specification that the TPM implements.
    Specification(TpmSpecification),
    /// The TPM is of another family.
    SpecificationFamily(String),
    /// The specification cannot be parsed, with the reason.
    SpecificationMalformed(&'static str),
    /// It does not state which specification the TPM implements.
    SpecificationMissing,
    /// The subject is empty, and the subjectAltName is not critical.
    SubjectAltNameNotCritical,
    /// The attributes of the TPM.
    TpmAttributes(TpmAttributes),
    /// The attributes of the TPM are missing or malformed, with the reason.
    TpmAttributesMissing(&'static str),
    /// It is valid, and its validity has no end.
    NoExpiration,
    /// The manufacturer's name in the TCG's registry.
    Vendor(&'static str),
    /// The manufacturer is not in the TCG's registry.
    VendorUnregistered {
        /// Its identifier.
        manufacturer: String,
    },
    /// Its version of X.509 is too old.
    VersionOld(u8),
}

/// The type and size of an endorsement key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EkKey {
    /// An EC key on this curve.
    Ecc(EccCurve),
    /// An RSA key of this many bits.
    Rsa(usize),
}

impl fmt::Display for EkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecc(curve) => curve.fmt(f),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
        }
    }
}

impl Finding for EkCertificateFinding {
    type Check = EkCertificateCheck;

    fn check(&self) -> EkCertificateCheck {
        use EkCertificateCheck as C;

        match self {
            Self::Allowed(finding) => finding.check(),
            Self::Encoding { .. } | Self::EncodingMalformed(_) => C::Encoding,
            Self::VersionOld(_) => C::Version,
            Self::Serial(_) | Self::SerialOdd(_) => C::Serial,
            Self::Issuer(_) | Self::IssuerEmpty => C::Issuer,
            Self::BasicConstraintsMalformed(_) | Self::BasicConstraintsMissing | Self::IsACa => {
                C::NotACa
            }
            Self::KeyUsage(_)
            | Self::KeyUsageIncomplete(_)
            | Self::KeyUsageMalformed(_)
            | Self::KeyUsageMissing
            | Self::KeyUsageMismatch { .. }
            | Self::KeyUsageSigning => C::KeyUsage,
            Self::ExtendedKeyUsageAbsent
            | Self::ExtendedKeyUsageMalformed(_)
            | Self::ExtendedKeyUsageOther => C::ExtendedKeyUsage,
            Self::SubjectAltNameNotCritical
            | Self::TpmAttributes(_)
            | Self::TpmAttributesMissing(_) => C::TpmAttributes,
            Self::Vendor(_) | Self::VendorUnregistered { .. } => C::Vendor,
            Self::Specification(_)
            | Self::SpecificationFamily(_)
            | Self::SpecificationMalformed(_)
            | Self::SpecificationMissing => C::TpmSpecification,
            Self::CriticalExtensionUnknown { .. } => C::CriticalExtensions,
            Self::Expired | Self::NotYetValid | Self::NoExpiration => C::Validity,
            Self::Key(_)
            | Self::KeySize { .. }
            | Self::KeyUnreadable(_)
            | Self::KeyWithoutTemplate(_) => C::Key,
            Self::EkInvalid(_) | Self::KeyMismatch => C::PublicKey,
            Self::Chain { .. }
            | Self::ChainNotNeeded
            | Self::ChainRefused { .. }
            | Self::ChainWarning { .. }
            | Self::ChainWithoutRoots => C::Chain,
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Chain { .. }
            | Self::ChainNotNeeded
            | Self::Encoding { .. }
            | Self::ExtendedKeyUsageAbsent
            | Self::Issuer(_)
            | Self::Key(_)
            | Self::KeyUsage(_)
            | Self::Serial(_)
            | Self::Specification(_)
            | Self::TpmAttributes(_)
            | Self::NoExpiration
            | Self::Vendor(_) => Severity::Remark,

            Self::Allowed(_)
            | Self::BasicConstraintsMissing
            | Self::ChainWarning { .. }
            | Self::KeyUsageMismatch { .. }
            | Self::KeyWithoutTemplate(_)
            | Self::SerialOdd(_)
            | Self::SpecificationMissing
            | Self::VendorUnregistered { .. } => Severity::Warning,

            Self::BasicConstraintsMalformed(_)
            | Self::ChainRefused { .. }
            | Self::ChainWithoutRoots
            | Self::CriticalExtensionUnknown { .. }
            | Self::EkInvalid(_)
            | Self::EncodingMalformed(_)
            | Self::Expired
            | Self::ExtendedKeyUsageMalformed(_)
            | Self::ExtendedKeyUsageOther
            | Self::IsACa
            | Self::IssuerEmpty
            | Self::KeyMismatch
            | Self::KeySize { .. }
            | Self::KeyUnreadable(_)
            | Self::KeyUsageIncomplete(_)
            | Self::KeyUsageMalformed(_)
            | Self::KeyUsageMissing
            | Self::KeyUsageSigning
            | Self::NotYetValid
            | Self::SpecificationFamily(_)
            | Self::SpecificationMalformed(_)
            | Self::SubjectAltNameNotCritical
            | Self::TpmAttributesMissing(_)
            | Self::VersionOld(_) => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Allowed(finding) => finding.remedy(),
            Self::Chain { .. }
            | Self::ChainNotNeeded
            | Self::Encoding { .. }
            | Self::ExtendedKeyUsageAbsent
            | Self::Issuer(_)
            | Self::Key(_)
            | Self::KeyUsage(_)
            | Self::Serial(_)
            | Self::Specification(_)
            | Self::TpmAttributes(_)
            | Self::NoExpiration
            | Self::Vendor(_) => "nothing: no problem found",
            Self::ChainRefused {
                reason: Reason::Revoked { .. },
                ..
            } => "do not trust what was issued to it; ask the issuer why it was revoked",
            Self::ChainRefused { .. } | Self::ChainWithoutRoots => {
                "add the manufacturer's root, and the CAs between it and the certificate"
            }
            Self::ChainWarning { .. } => "fetch the issuers' newest CRLs, and check the clock",
            Self::EncodingMalformed(_) | Self::KeyUnreadable(_) => {
                "send the endorsement certificate as stored in the TPM's NV memory or published by its manufacturer"
            }
            Self::EkInvalid(_) | Self::KeyMismatch => {
                "send the public area of the certified key, made from its template"
            }
            Self::IsACa | Self::KeyUsageSigning => {
                "send the endorsement certificate, not its issuer's"
            }
            Self::Expired | Self::NotYetValid => "check the clock; no allow-list overrules this",
            Self::KeySize { .. } => {
                "use an endorsement key of RSA 2048, 3072 or 4096 bits, or on a curve"
            }
            Self::KeyWithoutTemplate(_) => {
                "provision the TPM with another of its endorsement keys: RSA, P-256 or P-384"
            }
            Self::CriticalExtensionUnknown { .. }
            | Self::ExtendedKeyUsageMalformed(_)
            | Self::ExtendedKeyUsageOther
            | Self::SpecificationFamily(_)
            | Self::SpecificationMalformed(_)
            | Self::SpecificationMissing
            | Self::SubjectAltNameNotCritical
            | Self::TpmAttributesMissing(_)
            | Self::VendorUnregistered { .. } => {
                "if the certificate is known from elsewhere to be genuine, put it on the allow-list"
            }
            Self::BasicConstraintsMalformed(_)
            | Self::BasicConstraintsMissing
            | Self::IssuerEmpty
            | Self::KeyUsageIncomplete(_)
            | Self::KeyUsageMalformed(_)
            | Self::KeyUsageMissing
            | Self::KeyUsageMismatch { .. }
            | Self::SerialOdd(_)
            | Self::VersionOld(_) => {
                "inform the manufacturer that the certificate violates the profile"
            }
        }
    }
}

impl fmt::Display for EkCertificateFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(finding) => write!(f, "overruled by the allow-list: {finding}"),
            Self::BasicConstraintsMalformed(error) | Self::KeyUsageMalformed(error) => error.fmt(f),
            Self::BasicConstraintsMissing => {
                f.write_str("it has no basicConstraints stating that it is not a CA")
            }
            Self::Chain {
                root,
                intermediates,
            } => write!(f, "to the root {root}, over {intermediates} intermediates"),
            Self::ChainNotNeeded => f.write_str("needs none: it is on the allow-list"),
            Self::ChainRefused {
                certificate,
                reason,
            }
            | Self::ChainWarning {
                certificate,
                reason,
            } => write!(f, "{certificate}: {reason}"),
            Self::ChainWithoutRoots => f.write_str("no roots were given"),
            Self::CriticalExtensionUnknown { oid } => {
                write!(f, "{oid} is critical, and not understood")
            }
            Self::EkInvalid(error)
            | Self::EncodingMalformed(error)
            | Self::KeyUnreadable(error) => error.fmt(f),
            Self::Encoding { before, after } => write!(
                f,
                "one certificate, after {before} bytes of header and before {after} of padding"
            ),
            Self::Expired => f.write_str("it has expired"),
            Self::ExtendedKeyUsageAbsent => f.write_str("it has none, which the profile allows"),
            Self::ExtendedKeyUsageMalformed(how) => write!(f, "it is malformed: {how}"),
            Self::ExtendedKeyUsageOther => f.write_str("it does not contain tcg-kp-EKCertificate"),
            Self::IsACa => f.write_str("it is a CA's certificate"),
            Self::Issuer(text) | Self::Serial(text) => f.write_str(text),
            Self::IssuerEmpty => f.write_str("it names no issuer"),
            Self::Key(key) => key.fmt(f),
            Self::KeyMismatch => f.write_str("the endorsement certificate is for another key"),
            Self::KeySize { bytes } => {
                write!(f, "RSA of {bytes} bytes is not 2048, 3072 or 4096 bits")
            }
            Self::KeyUsage(usage) => f.write_str(usage),
            Self::KeyUsageIncomplete(usage) => write!(f, "it lacks {usage}"),
            Self::KeyUsageMissing => f.write_str("it has no keyUsage"),
            Self::KeyUsageMismatch { found, fitting } => {
                write!(f, "{found}, but a key of its type should have {fitting}")
            }
            Self::KeyUsageSigning => f.write_str("it may sign certificates or CRLs"),
            Self::KeyWithoutTemplate(key) => {
                write!(f, "{key}, for which no credential can be made")
            }
            Self::NotYetValid => f.write_str("it is not valid yet"),
            Self::SerialOdd(oddity) => write!(f, "it is {oddity}"),
            Self::Specification(TpmSpecification {
                family,
                level,
                revision,
            }) => write!(f, "family {family}, level {level}, revision {revision}"),
            Self::SpecificationFamily(family) => write!(f, "family {family:?}, not 2.0"),
            Self::SpecificationMissing => {
                f.write_str("it does not state which specification the TPM implements")
            }
            Self::SubjectAltNameNotCritical => {
                f.write_str("the subject is empty, and the subjectAltName not critical")
            }
            Self::TpmAttributes(TpmAttributes {
                manufacturer,
                model,
                version,
                ..
            }) => write!(f, "{manufacturer}, model {model}, version {version}"),
            Self::SpecificationMalformed(why) | Self::TpmAttributesMissing(why) => f.write_str(why),
            Self::NoExpiration => f.write_str("it is valid, and never expires"),
            Self::Vendor(vendor) => f.write_str(vendor),
            Self::VendorUnregistered { manufacturer } => {
                write!(f, "{manufacturer} is not in the TCG's registry")
            }
            Self::VersionOld(version) => write!(f, "version {version}, not 3"),
        }
    }
}
