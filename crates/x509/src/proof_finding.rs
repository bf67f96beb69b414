//! The findings of a proof of possession: their severity, check, remedy and text.

use alloc::string::String;
use core::fmt;

use crate::{
    X509Error,
    algorithm::Scheme,
    certificate::SerialOddity,
    proof_check::ProofCheck,
    report::{Finding, Severity},
    time::Moment,
    upload::Encoding,
};

/// One of the two certificates of a proof.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The certificate whose private key is to be proven.
    Ca,
    /// The verification certificate.
    Leaf,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "the CA certificate",
            Self::Leaf => "the leaf",
        })
    }
}

/// An extension whose value is parsed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ReadExtension {
    /// basicConstraints.
    BasicConstraints,
    /// keyUsage.
    KeyUsage,
    /// subjectAltName.
    SubjectAltName,
}

impl fmt::Display for ReadExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BasicConstraints => "basicConstraints",
            Self::KeyUsage => "keyUsage",
            Self::SubjectAltName => "subjectAltName",
        })
    }
}

/// A finding of a proof of possession. Its text never contains the code.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Finding, Policy, ProofCheck, ProofFinding, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// // The CA certificate is uploaded instead of the leaf.
/// let report = prove(&ca, ca.as_der(), &code, 1_800_000_000, &Policy::new(RING));
/// let found = report.findings(ProofCheck::CommonName).next().unwrap();
/// assert_eq!(*found, ProofFinding::CommonNameMismatch { characters: 8, nearly: false });
/// println!("{found}: {}", found.remedy());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProofFinding {
    /// The signature algorithm inside the signed part of the leaf differs from the one outside.
    AlgorithmsDiffer,
    /// The CA certificate has no basicConstraints.
    BasicConstraintsMissing,
    /// The CA's basicConstraints are not critical, although RFC 5280 section 4.2.1.9 requires it.
    BasicConstraintsNotCritical,
    /// The CA certificate's basicConstraints contain CA:FALSE.
    CaFalse,
    /// The code was issued for another certificate.
    CodeForAnotherCertificate,
    /// The code has expired.
    CodeExpired {
        /// When it expired, in seconds since the Unix epoch.
        expired_at: u64,
    },
    /// The code's expiry is after the year 9999, probably because it is in milliseconds.
    CodeExpiryOutOfRange {
        /// The expiry, taken as seconds since the Unix epoch.
        expires_at: u64,
    },
    /// The code was given without the certificate that it was issued for and without an expiry, so it may be another certificate's
    /// or have expired.
    CodeUnbound,
    /// The leaf's common name is not the code.
    CommonNameMismatch {
        /// The length of the common name in characters; a code has 48.
        characters: usize,
        /// Whether it differs from the code only in letter case or in surrounding whitespace.
        nearly: bool,
    },
    /// The leaf's subject has no common name.
    CommonNameMissing,
    /// The leaf's subject has several common names.
    CommonNameNotUnique {
        /// The number of common names.
        count: usize,
    },
    /// The leaf's common name is not a readable string.
    CommonNameUnreadable,
    /// A critical constraint that is not applied, such as nameConstraints.
    ConstraintNotApplied {
        /// The certificate concerned.
        role: Role,
        /// The extension's OID.
        oid: String,
    },
    /// A critical extension that is not known.
    CriticalExtensionUnknown {
        /// The certificate concerned.
        role: Role,
        /// The extension's OID.
        oid: String,
    },
    /// A GeneralizedTime before 2050 in the validity, which RFC 5280 section 4.1.2.5 forbids.
    EarlyGeneralizedTime {
        /// The certificate concerned.
        role: Role,
    },
    /// An extension that occurs more than once.
    ExtensionDuplicated {
        /// The certificate concerned.
        role: Role,
        /// The extension's OID.
        oid: String,
        /// Whether a check depends on the extension.
        needed: bool,
    },
    /// A malformed extension.
    ExtensionMalformed {
        /// The certificate concerned.
        role: Role,
        /// The extension.
        extension: ReadExtension,
    },
    /// Extensions in a certificate of version 1 or 2.
    ExtensionsBeforeV3 {
        /// The certificate concerned.
        role: Role,
    },
    /// An empty list of extensions, which RFC 5280 section 4.1 forbids.
    ExtensionsEmpty {
        /// The certificate concerned.
        role: Role,
    },
    /// The certificate has expired.
    Expired {
        /// The certificate concerned.
        role: Role,
        /// The last valid second, counted from the Unix epoch; negative before 1970.
        not_after: i64,
    },
    /// The upload contained more than one certificate; the first was used.
    FurtherCertificates {
        /// The number of further certificates.
        count: usize,
    },
    /// The leaf's issuer and the CA's subject are both empty.
    IssuerEmpty,
    /// The leaf's issuer matches the CA's subject only after letter case is folded and whitespace is collapsed.
    IssuerFolded,
    /// The leaf's issuer is not the CA's subject.
    IssuerMismatch {
        /// The leaf's issuer as RFC 4514 text. Where the two names differ, non-ASCII characters are escaped.
        issuer: String,
        /// The CA's subject in the same form.
        ca_subject: String,
    },
    /// The CA's keyUsage lacks keyCertSign.
    KeyCertSignMissing,
    /// The leaf's keyUsage asserts keyCertSign though it is not a CA, which RFC 5280 section 4.2.1.9 forbids.
    KeyCertSignWithoutCa,
    /// The RSA key's public exponent is unsound: even, below 3 or over 33 bits.
    KeyExponentUnsound {
        /// The certificate concerned.
        role: Role,
    },
    /// The size of the RSA key is not accepted.
    KeySize {
        /// The certificate concerned.
        role: Role,
        /// The key size in bits.
        bits: u32,
    },
    /// The leaf's basicConstraints contain CA:TRUE.
    LeafIsCa,
    /// The leaf is the CA certificate itself.
    LeafIsTheCa,
    /// The encoding in which the leaf was uploaded.
    LeafRead {
        /// The encoding.
        encoding: Encoding,
    },
    /// The leaf could not be parsed.
    LeafUnreadable(X509Error),
    /// The certificate is not yet valid.
    NotYetValid {
        /// The certificate concerned.
        role: Role,
        /// The first valid second, counted from the Unix epoch; negative before 1970.
        not_before: i64,
    },
    /// The leaf's basicConstraints have a path length, but no CA:TRUE.
    PathLenWithoutCa,
    /// The serial number violates RFC 5280 section 4.1.2.2.
    SerialOdd {
        /// The certificate concerned.
        role: Role,
        /// What is wrong with it.
        oddity: SerialOddity,
    },
    /// An attribute of the subject has a string type that RFC 5280 appendix A.1 forbids for it, such as a common name in an
    /// IA5String.
    StringTypeForbidden {
        /// The certificate concerned.
        role: Role,
        /// The attribute's short name, such as `CN`.
        attribute: &'static str,
    },
    /// The signature does not verify or could not be checked.
    SignatureRefused(X509Error),
    /// The signature verifies.
    SignatureVerified {
        /// The signature scheme.
        scheme: Scheme,
    },
    /// The certificate is of X.509 version 1 or 2.
    VersionOld {
        /// The certificate concerned.
        role: Role,
        /// The version number, 1 or 2.
        version: u8,
    },
    /// The signature uses a hash for which collisions can be made.
    WeakHash {
        /// The certificate concerned.
        role: Role,
        /// The name of the hash.
        hash: &'static str,
    },
}

impl Finding for ProofFinding {
    type Check = ProofCheck;

    fn severity(&self) -> Severity {
        match self {
            Self::IssuerFolded | Self::LeafRead { .. } | Self::SignatureVerified { .. } => Severity::Remark,

            Self::ExtensionMalformed { role, extension } => match (role, extension) {
                (Role::Ca, ReadExtension::BasicConstraints | ReadExtension::KeyUsage) => Severity::Refusal,
                // No check needs it.
                _ => Severity::Irregular,
            },

            Self::FurtherCertificates { .. }
            | Self::KeyExponentUnsound { role: Role::Leaf }
            | Self::KeySize { role: Role::Leaf, .. }
            // The CA's own signature proves nothing here.
            | Self::WeakHash { role: Role::Ca, .. } => Severity::Warning,

            Self::BasicConstraintsMissing
            | Self::BasicConstraintsNotCritical
            | Self::ConstraintNotApplied { .. }
            | Self::EarlyGeneralizedTime { .. }
            | Self::ExtensionDuplicated { needed: false, .. }
            | Self::ExtensionsBeforeV3 { .. }
            | Self::ExtensionsEmpty { .. }
            | Self::IssuerEmpty
            | Self::KeyCertSignWithoutCa
            | Self::LeafIsCa
            | Self::PathLenWithoutCa
            | Self::SerialOdd { .. }
            | Self::StringTypeForbidden { .. }
            | Self::VersionOld { .. } => Severity::Irregular,

            Self::AlgorithmsDiffer
            | Self::CaFalse
            | Self::CodeForAnotherCertificate
            | Self::CodeExpired { .. }
            | Self::CodeExpiryOutOfRange { .. }
            | Self::CodeUnbound
            | Self::CommonNameMismatch { .. }
            | Self::CommonNameMissing
            | Self::CommonNameNotUnique { .. }
            | Self::CommonNameUnreadable
            | Self::CriticalExtensionUnknown { .. }
            | Self::ExtensionDuplicated { needed: true, .. }
            | Self::Expired { .. }
            | Self::IssuerMismatch { .. }
            | Self::KeyCertSignMissing
            | Self::KeyExponentUnsound { role: Role::Ca }
            | Self::KeySize { role: Role::Ca, .. }
            | Self::LeafIsTheCa
            | Self::LeafUnreadable(_)
            | Self::NotYetValid { .. }
            | Self::SignatureRefused(_)
            | Self::WeakHash { role: Role::Leaf, .. } => Severity::Refusal,
        }
    }

    fn check(&self) -> ProofCheck {
        match self {
            Self::FurtherCertificates { .. } | Self::LeafRead { .. } | Self::LeafUnreadable(_) => {
                ProofCheck::Leaf
            }
            Self::CodeExpired { .. }
            | Self::CodeExpiryOutOfRange { .. }
            | Self::CodeForAnotherCertificate
            | Self::CodeUnbound => ProofCheck::Code,
            Self::IssuerEmpty
            | Self::IssuerFolded
            | Self::IssuerMismatch { .. }
            | Self::StringTypeForbidden { role: Role::Ca, .. } => ProofCheck::Issuer,
            Self::AlgorithmsDiffer | Self::SignatureRefused(_) | Self::SignatureVerified { .. } => {
                ProofCheck::Signature
            }
            Self::CommonNameMismatch { .. }
            | Self::CommonNameMissing
            | Self::CommonNameNotUnique { .. }
            | Self::CommonNameUnreadable
            | Self::StringTypeForbidden {
                role: Role::Leaf, ..
            } => ProofCheck::CommonName,
            Self::EarlyGeneralizedTime { role }
            | Self::Expired { role, .. }
            | Self::NotYetValid { role, .. } => match role {
                Role::Leaf => ProofCheck::LeafValidity,
                Role::Ca => ProofCheck::CaValidity,
            },
            Self::LeafIsTheCa => ProofCheck::NotTheCa,
            Self::BasicConstraintsMissing | Self::BasicConstraintsNotCritical | Self::CaFalse => {
                ProofCheck::CaConstraints
            }
            Self::ExtensionMalformed { role, extension } => match (role, extension) {
                (Role::Ca, ReadExtension::BasicConstraints) => ProofCheck::CaConstraints,
                (Role::Ca, ReadExtension::KeyUsage) => ProofCheck::CaKeyUsage,
                (Role::Ca, ReadExtension::SubjectAltName) => ProofCheck::CaExtensions,
                (Role::Leaf, ReadExtension::BasicConstraints) => ProofCheck::LeafConstraints,
                (Role::Leaf, _) => ProofCheck::LeafExtensions,
            },
            Self::KeyCertSignMissing => ProofCheck::CaKeyUsage,
            Self::KeyCertSignWithoutCa | Self::LeafIsCa | Self::PathLenWithoutCa => {
                ProofCheck::LeafConstraints
            }
            Self::KeyExponentUnsound { .. } | Self::KeySize { .. } => ProofCheck::KeyStrength,
            Self::WeakHash { .. } => ProofCheck::HashStrength,
            Self::ConstraintNotApplied { role, .. }
            | Self::CriticalExtensionUnknown { role, .. }
            | Self::ExtensionDuplicated { role, .. }
            | Self::ExtensionsBeforeV3 { role }
            | Self::ExtensionsEmpty { role } => match role {
                Role::Leaf => ProofCheck::LeafExtensions,
                Role::Ca => ProofCheck::CaExtensions,
            },
            Self::VersionOld { .. } => ProofCheck::Version,
            Self::SerialOdd { .. } => ProofCheck::Serial,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::CodeForAnotherCertificate | Self::CodeExpired { .. } => {
                "generate a new verification code for this certificate and make a leaf for it"
            }
            Self::CodeExpiryOutOfRange { .. } => {
                "generate a new verification code, with its expiry in seconds since 1970"
            }
            Self::CodeUnbound => {
                "store the certificate and the expiry together with the code, and give all three"
            }
            Self::CommonNameMismatch { nearly: true, .. } => {
                "copy the verification code into the subject's common name exactly as it was given, in upper case and without blanks"
            }
            Self::CommonNameMismatch { .. }
            | Self::CommonNameMissing
            | Self::CommonNameNotUnique { .. }
            | Self::CommonNameUnreadable => {
                "make the leaf with exactly one common name in its subject: the verification code that was generated last"
            }
            Self::IssuerMismatch { .. } => {
                "sign the leaf with the very certificate that was uploaded, not with another one above or below it"
            }
            Self::SignatureRefused(
                X509Error::AlgorithmParameters { .. } | X509Error::AlgorithmUnsupported { .. },
            ) => {
                "sign the leaf with RSA PKCS#1 v1.5, RSA PSS (rsa_pss_saltlen:digest for openssl), ECDSA on P-256, P-384 or P-521, each with \
                 SHA-256, SHA-384 or SHA-512, or with Ed25519"
            }
            Self::SignatureRefused(X509Error::PublicKeyCompressed { .. }) => {
                "make the CA certificate with the key's point uncompressed, as openssl does unless told otherwise"
            }
            Self::AlgorithmsDiffer | Self::SignatureRefused(_) => {
                "sign the leaf with the private key that belongs to the uploaded certificate, and upload it unchanged"
            }
            Self::Expired {
                role: Role::Leaf, ..
            }
            | Self::NotYetValid {
                role: Role::Leaf, ..
            } => {
                "make a new leaf that is valid now, and check the clock of the machine that makes it"
            }
            Self::Expired { role: Role::Ca, .. } | Self::NotYetValid { role: Role::Ca, .. } => {
                "upload a CA certificate that is valid now"
            }
            Self::LeafIsTheCa => "upload the verification leaf, not the CA certificate again",
            Self::LeafUnreadable(X509Error::PrivateKeyInUpload { .. }) => {
                "upload the certificate alone; a private key never leaves its owner"
            }
            Self::LeafUnreadable(_) => {
                "upload one X.509 certificate as PEM, as DER, or as base64 of either"
            }
            Self::BasicConstraintsMissing
            | Self::BasicConstraintsNotCritical
            | Self::CaFalse
            | Self::KeyCertSignMissing => {
                "upload a CA certificate with critical basicConstraints CA:TRUE and a keyUsage that includes keyCertSign"
            }
            Self::KeyExponentUnsound { .. } | Self::KeySize { .. } => {
                "use an RSA key of 2048 to 8192 bits, or an elliptic-curve key"
            }
            Self::WeakHash { .. } => "sign with SHA-256, SHA-384 or SHA-512",
            Self::EarlyGeneralizedTime { .. } => {
                "make the certificate with UTCTime for the years before 2050"
            }
            Self::KeyCertSignWithoutCa => "make the leaf without keyCertSign in its keyUsage",
            Self::LeafIsCa => "make the leaf without CA:TRUE",
            Self::StringTypeForbidden { .. } => {
                "make the certificate with that attribute as UTF8String or PrintableString"
            }
            Self::VersionOld { .. } | Self::ExtensionsBeforeV3 { .. } => {
                "make the certificate as X.509 version 3, with openssl for instance by giving it an extension file"
            }
            Self::ConstraintNotApplied { .. }
            | Self::CriticalExtensionUnknown { .. }
            | Self::ExtensionDuplicated { .. }
            | Self::ExtensionMalformed { .. }
            | Self::ExtensionsEmpty { .. }
            | Self::PathLenWithoutCa => {
                "make the certificate without that extension, or correct it"
            }
            Self::SerialOdd { .. } => {
                "give the certificate a positive serial number of at most 20 octets"
            }
            Self::IssuerEmpty => "give the CA a subject",
            Self::FurtherCertificates { .. } => "upload the first certificate alone",
            Self::IssuerFolded | Self::LeafRead { .. } | Self::SignatureVerified { .. } => {
                "nothing: no problem found"
            }
        }
    }
}

impl fmt::Display for ProofFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlgorithmsDiffer => f.write_str(
                "the leaf names one signature algorithm inside its signed part and another outside",
            ),
            Self::BasicConstraintsMissing => {
                f.write_str("the CA certificate has no basicConstraints")
            }
            Self::BasicConstraintsNotCritical => {
                f.write_str("the CA certificate's basicConstraints are not critical")
            }
            Self::CaFalse => f.write_str("the CA certificate says CA:FALSE"),
            Self::CodeForAnotherCertificate => {
                f.write_str("the code was issued for another certificate")
            }
            Self::CodeExpired { expired_at } => {
                write!(f, "the code expired at {}", Moment::from(*expired_at))
            }
            Self::CodeExpiryOutOfRange { expires_at } => write!(
                f,
                "the code is to expire {expires_at} s after 1970, beyond the year 9999"
            ),
            Self::CodeUnbound => f.write_str(
                "the code was given without the certificate that it was issued for, and without its expiry",
            ),
            Self::CommonNameMismatch { nearly: true, .. } => f.write_str(
                "the leaf's common name is the code but for letter case or blanks around it",
            ),
            Self::CommonNameMismatch { characters, .. } => {
                write!(
                    f,
                    "the leaf's common name is not the code (it has {characters} characters)"
                )
            }
            Self::CommonNameMissing => f.write_str("the leaf's subject has no common name"),
            Self::CommonNameNotUnique { count } => {
                write!(f, "the leaf's subject has {count} common names, not one")
            }
            Self::CommonNameUnreadable => {
                f.write_str("the leaf's common name is not a readable string")
            }
            Self::ConstraintNotApplied { role, oid } => {
                write!(
                    f,
                    "{role} has the critical constraint {oid}, which is not applied here"
                )
            }
            Self::CriticalExtensionUnknown { role, oid } => {
                write!(
                    f,
                    "{role} has the critical extension {oid}, which is unknown here"
                )
            }
            Self::EarlyGeneralizedTime { role } => {
                write!(
                    f,
                    "the validity of {role} has a GeneralizedTime before 2050"
                )
            }
            Self::ExtensionDuplicated { role, oid, .. } => {
                write!(f, "{role} has the extension {oid} more than once")
            }
            Self::ExtensionMalformed { role, extension } => {
                write!(f, "{role} has a malformed {extension}")
            }
            Self::ExtensionsBeforeV3 { role } => {
                write!(f, "{role} has extensions though its version has none")
            }
            Self::ExtensionsEmpty { role } => {
                write!(f, "{role} has a list of extensions with none in it")
            }
            Self::Expired { role, not_after } => {
                write!(f, "{role} expired at {}", Moment(*not_after))
            }
            Self::FurtherCertificates { count } => {
                let all = count.saturating_add(1);
                write!(f, "the first of the upload's {all} certificates counts")
            }
            Self::IssuerEmpty => {
                f.write_str("the leaf's issuer and the CA's subject are both empty")
            }
            Self::IssuerFolded => f.write_str(
                "the leaf's issuer is the CA's subject but for letter case, blanks or string type",
            ),
            Self::IssuerMismatch { issuer, ca_subject } => {
                write!(
                    f,
                    "the leaf's issuer is `{issuer}`, but the CA's subject is `{ca_subject}`"
                )
            }
            Self::KeyCertSignMissing => {
                f.write_str("the CA certificate's keyUsage leaves keyCertSign out")
            }
            Self::KeyCertSignWithoutCa => {
                f.write_str("the leaf's keyUsage holds keyCertSign without CA:TRUE")
            }
            Self::KeyExponentUnsound { role } => {
                write!(f, "{role} has an RSA key with an unsound exponent")
            }
            Self::KeySize { role, bits } => write!(f, "{role} has an RSA key of {bits} bits"),
            Self::LeafIsCa => f.write_str("the leaf says CA:TRUE"),
            Self::LeafIsTheCa => f.write_str("the leaf is the CA certificate itself"),
            Self::LeafRead { encoding } => write!(f, "read from {encoding}"),
            Self::LeafUnreadable(error) => error.fmt(f),
            Self::NotYetValid { role, not_before } => {
                write!(f, "{role} is valid only from {}", Moment(*not_before))
            }
            Self::PathLenWithoutCa => f.write_str("the leaf has a path length without CA:TRUE"),
            Self::SerialOdd { role, oddity } => {
                write!(f, "the serial number of {role} is {oddity}")
            }
            Self::StringTypeForbidden { role, attribute } => write!(
                f,
                "{attribute} in the subject of {role} is of a string type that it may not have, such as IA5String"
            ),
            Self::SignatureRefused(error) => error.fmt(f),
            Self::SignatureVerified { scheme } => write!(f, "{scheme} over the received bytes"),
            Self::VersionOld { role, version } => write!(f, "{role} is of X.509 version {version}"),
            Self::WeakHash { role, hash } => write!(f, "{role} is signed over {hash}"),
        }
    }
}
