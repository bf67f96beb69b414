//! What is asked of an endorsement certificate, and what can be found.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use keyproof_x509::path::Reason;
use keyproof_x509::{Error, Finding, SerialOddity, Severity, checks};

use super::{TpmAttributes, TpmSpecification};
use crate::TpmError;
use crate::algorithm::EccCurve;

checks! {
    /// The checks of an endorsement certificate (TCG EK Credential Profile for TPM Family 2.0), in
    /// the order of reports.
    #[non_exhaustive]
    pub EkCertificateCheck {
        column = 21;
        /// `encoding`: it is one certificate, but for a header and padding of NV memory.
        Encoding = "encoding", "one certificate";
        /// `version`: X.509 version 3.
        Version = "version", "version 3";
        /// `serial`: positive, and of at most 20 octets; else a warning.
        Serial = "serial", "it is in order";
        /// `issuer`: there is one.
        Issuer = "issuer", "there is one";
        /// `not-a-ca`: its basicConstraints say that it is no CA.
        NotACa = "not-a-ca", "it is no CA's certificate";
        /// `key-usage`: keyEncipherment for RSA, keyAgreement for an EC key; the other of the two warns,
        /// as makers write it; and no signing of certificates.
        KeyUsage = "key-usage", "it is for encryption";
        /// `extended-key-usage`: tcg-kp-EKCertificate, if there is any.
        ExtendedKeyUsage = "extended-key-usage", "tcg-kp-EKCertificate";
        /// `tpm-attributes`: the subjectAltName names manufacturer, model and version, and is critical
        /// if the subject is empty.
        TpmAttributes = "tpm-attributes", "it names the TPM";
        /// `vendor`: the manufacturer is in the TCG's registry; else a warning.
        Vendor = "vendor", "it is registered";
        /// `tpm-specification`: family 2.0, by the subjectDirectoryAttributes; a warning if they do not
        /// say.
        TpmSpecification = "tpm-specification", "family 2.0";
        /// `critical-extensions`: all of them are understood.
        CriticalExtensions = "critical-extensions", "all of them are understood";
        /// `validity`: it is valid now.
        Validity = "validity", "it is valid";
        /// `key`: RSA 2048, 3072 or 4096, P-256, P-384 or P-521.
        Key = "key", "it is of a size that is taken";
        /// `public-key`: it is that of the endorsement key.
        PublicKey = "public-key", "the endorsement key's";
        /// `chain`: it is one of those allowed, or there is a path to a root
        /// ([`keyproof_x509::path`]).
        Chain = "chain", "to a root";
    }
}

/// Something that the check of an endorsement certificate found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EkCertificateFinding {
    /// What would refuse, but for an allow-list with the very certificate.
    Allowed(Box<EkCertificateFinding>),
    /// Its basicConstraints are malformed.
    BasicConstraintsMalformed(Error),
    /// It has none that say that it is no CA's.
    BasicConstraintsMissing,
    /// Where its path leads.
    Chain {
        /// The root's subject, as RFC 4514 text.
        root: String,
        /// How many certificates stand between.
        intermediates: usize,
    },
    /// It is on the allow-list, and needs no path.
    ChainNotNeeded,
    /// There is no path to a root.
    ChainRefused {
        /// Which certificate ends it.
        certificate: String,
        /// Why.
        reason: Reason,
    },
    /// There is a path, and something to warn of.
    ChainWarning {
        /// Which certificate of it is meant.
        certificate: String,
        /// What it is.
        reason: Reason,
    },
    /// No roots were given.
    ChainWithoutRoots,
    /// A critical extension that nothing here understands.
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// The endorsement key is none that can be.
    EkUnsound(TpmError),
    /// How it was stored.
    Encoding {
        /// Bytes of header before it.
        before: usize,
        /// Bytes of padding after it.
        after: usize,
    },
    /// It is no certificate.
    EncodingMalformed(TpmError),
    /// Its validity is over.
    Expired,
    /// It has no extended key usage.
    ExtendedKeyUsageAbsent,
    /// Its extended key usage is malformed, and how.
    ExtendedKeyUsageMalformed(String),
    /// It is for other uses.
    ExtendedKeyUsageOther,
    /// It is a CA's certificate.
    IsACa,
    /// Who has issued it, as RFC 4514 text.
    Issuer(String),
    /// It names no issuer.
    IssuerEmpty,
    /// Its key.
    Key(EkKey),
    /// It is of another key.
    KeyMismatch,
    /// An RSA key of a size that is not taken.
    KeySize {
        /// The bytes of its modulus.
        bytes: usize,
    },
    /// Its key cannot be read.
    KeyUnreadable(TpmError),
    /// The usage of its key.
    KeyUsage(&'static str),
    /// It lacks the usage for encryption.
    KeyUsageLacking(&'static str),
    /// Its keyUsage is malformed.
    KeyUsageMalformed(Error),
    /// It has no keyUsage.
    KeyUsageMissing,
    /// It has the usage of another type of key.
    KeyUsageOfOtherType {
        /// The usage that it has.
        found: &'static str,
        /// The usage of its type.
        fitting: &'static str,
    },
    /// Its key may sign certificates or revocation lists.
    KeyUsageSigning,
    /// Its validity has not begun.
    NotYetValid,
    /// Its serial number.
    Serial(String),
    /// Its serial number is odd.
    SerialOdd(SerialOddity),
    /// Which specification the TPM follows.
    Specification(TpmSpecification),
    /// Another family of TPMs.
    SpecificationFamily(String),
    /// The specification cannot be read, and why.
    SpecificationMalformed(&'static str),
    /// It does not say which specification the TPM follows.
    SpecificationMissing,
    /// The subject is empty, and the subjectAltName not critical.
    SubjectAltNameNotCritical,
    /// What it says of the TPM.
    TpmAttributes(TpmAttributes),
    /// It does not say enough of the TPM, and what is wrong.
    TpmAttributesMissing(&'static str),
    /// It is valid without an end.
    ValidWithoutEnd,
    /// The manufacturer, by the TCG's registry.
    Vendor(&'static str),
    /// The manufacturer is not in the TCG's registry.
    VendorUnregistered {
        /// Its identifier.
        manufacturer: String,
    },
    /// It is of an older version of X.509.
    VersionOld(u8),
}

/// An endorsement key of a size or on a curve that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkKey {
    /// On a curve.
    Ecc(EccCurve),
    /// RSA of so many bits.
    Rsa(usize),
}

impl fmt::Display for EkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EkKey::Ecc(curve) => curve.fmt(f),
            EkKey::Rsa(bits) => write!(f, "RSA {bits}"),
        }
    }
}

impl Finding for EkCertificateFinding {
    type Check = EkCertificateCheck;

    fn check(&self) -> EkCertificateCheck {
        use EkCertificateCheck as C;
        use EkCertificateFinding as F;
        match self {
            F::Allowed(finding) => finding.check(),
            F::Encoding { .. } | F::EncodingMalformed(_) => C::Encoding,
            F::VersionOld(_) => C::Version,
            F::Serial(_) | F::SerialOdd(_) => C::Serial,
            F::Issuer(_) | F::IssuerEmpty => C::Issuer,
            F::BasicConstraintsMalformed(_) | F::BasicConstraintsMissing | F::IsACa => C::NotACa,
            F::KeyUsage(_)
            | F::KeyUsageLacking(_)
            | F::KeyUsageMalformed(_)
            | F::KeyUsageMissing
            | F::KeyUsageOfOtherType { .. }
            | F::KeyUsageSigning => C::KeyUsage,
            F::ExtendedKeyUsageAbsent
            | F::ExtendedKeyUsageMalformed(_)
            | F::ExtendedKeyUsageOther => C::ExtendedKeyUsage,
            F::SubjectAltNameNotCritical | F::TpmAttributes(_) | F::TpmAttributesMissing(_) => {
                C::TpmAttributes
            }
            F::Vendor(_) | F::VendorUnregistered { .. } => C::Vendor,
            F::Specification(_)
            | F::SpecificationFamily(_)
            | F::SpecificationMalformed(_)
            | F::SpecificationMissing => C::TpmSpecification,
            F::CriticalExtensionUnknown { .. } => C::CriticalExtensions,
            F::Expired | F::NotYetValid | F::ValidWithoutEnd => C::Validity,
            F::Key(_) | F::KeySize { .. } | F::KeyUnreadable(_) => C::Key,
            F::EkUnsound(_) | F::KeyMismatch => C::PublicKey,
            F::Chain { .. }
            | F::ChainNotNeeded
            | F::ChainRefused { .. }
            | F::ChainWarning { .. }
            | F::ChainWithoutRoots => C::Chain,
        }
    }

    fn severity(&self) -> Severity {
        use EkCertificateFinding as F;
        match self {
            F::Chain { .. }
            | F::ChainNotNeeded
            | F::Encoding { .. }
            | F::ExtendedKeyUsageAbsent
            | F::Issuer(_)
            | F::Key(_)
            | F::KeyUsage(_)
            | F::Serial(_)
            | F::Specification(_)
            | F::TpmAttributes(_)
            | F::ValidWithoutEnd
            | F::Vendor(_) => Severity::Remark,

            F::Allowed(_)
            | F::BasicConstraintsMissing
            | F::ChainWarning { .. }
            | F::KeyUsageOfOtherType { .. }
            | F::SerialOdd(_)
            | F::SpecificationMissing
            | F::VendorUnregistered { .. } => Severity::Warning,

            F::BasicConstraintsMalformed(_)
            | F::ChainRefused { .. }
            | F::ChainWithoutRoots
            | F::CriticalExtensionUnknown { .. }
            | F::EkUnsound(_)
            | F::EncodingMalformed(_)
            | F::Expired
            | F::ExtendedKeyUsageMalformed(_)
            | F::ExtendedKeyUsageOther
            | F::IsACa
            | F::IssuerEmpty
            | F::KeyMismatch
            | F::KeySize { .. }
            | F::KeyUnreadable(_)
            | F::KeyUsageLacking(_)
            | F::KeyUsageMalformed(_)
            | F::KeyUsageMissing
            | F::KeyUsageSigning
            | F::NotYetValid
            | F::SpecificationFamily(_)
            | F::SpecificationMalformed(_)
            | F::SubjectAltNameNotCritical
            | F::TpmAttributesMissing(_)
            | F::VersionOld(_) => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        use EkCertificateFinding as F;
        match self {
            F::Allowed(finding) => finding.remedy(),
            F::Chain { .. }
            | F::ChainNotNeeded
            | F::Encoding { .. }
            | F::ExtendedKeyUsageAbsent
            | F::Issuer(_)
            | F::Key(_)
            | F::KeyUsage(_)
            | F::Serial(_)
            | F::Specification(_)
            | F::TpmAttributes(_)
            | F::ValidWithoutEnd
            | F::Vendor(_) => "nothing: all is well",
            F::ChainRefused { .. } | F::ChainWithoutRoots => {
                "add the manufacturer's root, and the CAs between it and the certificate"
            }
            F::ChainWarning { .. } => {
                "fetch the issuers' newest revocation lists, and check the clock"
            }
            F::EncodingMalformed(_) | F::KeyUnreadable(_) => {
                "send the endorsement certificate as the TPM's NV memory or its manufacturer has it"
            }
            F::EkUnsound(_) | F::KeyMismatch => {
                "send the public area of the very key that the certificate is of, made by its template"
            }
            F::IsACa | F::KeyUsageSigning => {
                "send the endorsement certificate, not that of the CA which has issued it"
            }
            F::Expired | F::NotYetValid => "check the clock; no allow-list overrules this",
            F::KeySize { .. } => {
                "use an endorsement key of RSA 2048, 3072 or 4096 bits, or on a curve"
            }
            F::CriticalExtensionUnknown { .. }
            | F::ExtendedKeyUsageMalformed(_)
            | F::ExtendedKeyUsageOther
            | F::SpecificationFamily(_)
            | F::SpecificationMalformed(_)
            | F::SpecificationMissing
            | F::SubjectAltNameNotCritical
            | F::TpmAttributesMissing(_)
            | F::VendorUnregistered { .. } => {
                "if the certificate is known from elsewhere to be genuine, put it on the allow-list"
            }
            F::BasicConstraintsMalformed(_)
            | F::BasicConstraintsMissing
            | F::IssuerEmpty
            | F::KeyUsageLacking(_)
            | F::KeyUsageMalformed(_)
            | F::KeyUsageMissing
            | F::KeyUsageOfOtherType { .. }
            | F::SerialOdd(_)
            | F::VersionOld(_) => {
                "tell the manufacturer that the certificate departs from the profile"
            }
        }
    }
}

impl fmt::Display for EkCertificateFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EkCertificateFinding as F;
        match self {
            F::Allowed(finding) => write!(f, "allowed all the same: {finding}"),
            F::BasicConstraintsMalformed(error) | F::KeyUsageMalformed(error) => error.fmt(f),
            F::BasicConstraintsMissing => {
                f.write_str("it has no basicConstraints to say that it is no CA's")
            }
            F::Chain {
                root,
                intermediates,
            } => write!(f, "to the root {root}, over {intermediates} intermediates"),
            F::ChainNotNeeded => f.write_str("needs none: it is one of those allowed"),
            F::ChainRefused {
                certificate,
                reason,
            }
            | F::ChainWarning {
                certificate,
                reason,
            } => write!(f, "{certificate}: {reason}"),
            F::ChainWithoutRoots => f.write_str("no roots were given"),
            F::CriticalExtensionUnknown { oid } => {
                write!(f, "{oid} is critical, and not understood")
            }
            F::EkUnsound(error) | F::EncodingMalformed(error) | F::KeyUnreadable(error) => {
                error.fmt(f)
            }
            F::Encoding { before, after } => write!(
                f,
                "one certificate, after {before} bytes of header and before {after} of padding"
            ),
            F::Expired => f.write_str("it has expired"),
            F::ExtendedKeyUsageAbsent => f.write_str("it has none, which the profile allows"),
            F::ExtendedKeyUsageMalformed(how) => write!(f, "it is malformed: {how}"),
            F::ExtendedKeyUsageOther => {
                f.write_str("it is for other uses than tcg-kp-EKCertificate")
            }
            F::IsACa => f.write_str("it is a CA's certificate"),
            F::Issuer(text) | F::Serial(text) => f.write_str(text),
            F::IssuerEmpty => f.write_str("it names no issuer"),
            F::Key(key) => key.fmt(f),
            F::KeyMismatch => f.write_str("the endorsement certificate is of another key"),
            F::KeySize { bytes } => {
                write!(f, "RSA of {bytes} bytes is not 2048, 3072 or 4096 bits")
            }
            F::KeyUsage(usage) => f.write_str(usage),
            F::KeyUsageLacking(usage) => write!(f, "it lacks {usage}"),
            F::KeyUsageMissing => f.write_str("it has no keyUsage"),
            F::KeyUsageOfOtherType { found, fitting } => {
                write!(f, "{found}, where a key of its type has {fitting}")
            }
            F::KeyUsageSigning => f.write_str("it may sign certificates or revocation lists"),
            F::NotYetValid => f.write_str("it is not valid yet"),
            F::SerialOdd(oddity) => write!(f, "it is {oddity}"),
            F::Specification(TpmSpecification {
                family,
                level,
                revision,
            }) => write!(f, "family {family}, level {level}, revision {revision}"),
            F::SpecificationFamily(family) => write!(f, "family {family:?}, not 2.0"),
            F::SpecificationMissing => {
                f.write_str("it does not say which specification the TPM follows")
            }
            F::SubjectAltNameNotCritical => {
                f.write_str("the subject is empty, and the subjectAltName not critical")
            }
            F::TpmAttributes(TpmAttributes {
                manufacturer,
                model,
                version,
                ..
            }) => write!(f, "{manufacturer}, model {model}, version {version}"),
            F::SpecificationMalformed(why) | F::TpmAttributesMissing(why) => f.write_str(why),
            F::ValidWithoutEnd => f.write_str("it is valid, without an end"),
            F::Vendor(vendor) => f.write_str(vendor),
            F::VendorUnregistered { manufacturer } => {
                write!(f, "{manufacturer} is not in the TCG's registry")
            }
            F::VersionOld(version) => write!(f, "version {version}, not 3"),
        }
    }
}
