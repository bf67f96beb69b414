//! Errors of parsing and validating uploads, certificates, CRLs, codes and keys, and of signing.

use alloc::string::String;
use core::fmt;

use crate::upload::Layer;

/// The reason why an input was rejected or an operation failed. Each function lists the variants that it returns.
///
/// Offsets count bytes from the start of the layer that the variant contains, or from the start of the DER if it contains none.
///
/// ```
/// use keyproof_x509::{X509Error, VerificationCode};
///
/// let refused = VerificationCode::parse("7d9bdff9").unwrap_err();
/// assert_eq!(refused, X509Error::CodeMalformed { at: 1 });
/// assert_eq!(refused.to_string(), "a verification code is 48 upper-case hexadecimal digits (wrong at character 1)");
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// The signature algorithm and the key do not belong together, such as an ECDSA signature and an RSA key, or PKCS#1 v1.5 and a
    /// key that is for RSASSA-PSS only.
    #[error("the signature algorithm {algorithm} does not belong to a key of type {key}")]
    AlgorithmMismatch {
        /// The signature algorithm, by name or dotted OID.
        algorithm: String,
        /// The key's algorithm, by name or dotted OID.
        key: String,
    },
    /// The algorithm is supported, but not with these parameters.
    #[error("the parameters of {algorithm} are not usable: {reason}")]
    AlgorithmParameters {
        /// The algorithm, by name.
        algorithm: String,
        /// The problem with the parameters.
        reason: ParametersProblem,
    },
    /// The algorithm is unknown to this crate or missing from the given table.
    #[error("the algorithm {algorithm} is not supported here")]
    AlgorithmUnsupported {
        /// The algorithm, by name or dotted OID.
        algorithm: String,
    },
    /// An invalid Base64 character or misplaced padding.
    #[error("{layer}: not base64 at byte {at}")]
    Base64 {
        /// The layer that was being decoded.
        layer: Layer,
        /// The offset in the layer.
        at: usize,
    },
    /// A verification code that is not 48 upper-case hexadecimal digits.
    #[error("a verification code is 48 upper-case hexadecimal digits (wrong at character {at})")]
    CodeMalformed {
        /// The index of the first wrong character, or the length if there are too few.
        at: usize,
    },
    /// An unsupported critical extension of a certificate revocation list (CRL) or of one of its entries.
    #[error("the CRL has the critical extension {oid}, which is unknown here")]
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// A CRL of an unsupported kind, whose missing entries must not be taken for *not revoked*.
    #[error("a CRL of this kind is not supported: {what}")]
    CrlUnsupported {
        /// The kind, such as `delta` or `indirect`.
        what: &'static str,
    },
    /// The subject of the certification request does not have the verification code as its only common name.
    #[error("the request's subject must have the verification code as its one common name")]
    CsrCommonName,
    /// The upload is empty.
    #[error("the upload is empty")]
    Empty,
    /// The CA's keyUsage does not allow it to sign this.
    #[error("the CA's keyUsage leaves {usage} out")]
    KeyUsageForbids {
        /// The missing key usage.
        usage: &'static str,
    },
    /// Malformed DER, or DER of another structure than expected.
    #[error("{field} at byte {at}: {reason}")]
    Malformed {
        /// The ASN.1 name of the field that was being parsed.
        field: &'static str,
        /// The offset in the DER.
        at: usize,
        /// The problem.
        reason: DerProblem,
    },
    /// Text that is neither PEM nor Base64 of an accepted encoding.
    #[error("{layer}: neither DER, nor PEM, nor base64 of one of them")]
    NotACertificate {
        /// The layer that was being decoded.
        layer: Layer,
    },
    /// A PEM block without its END line.
    #[error("{layer}: the PEM block that begins at byte {at} does not end")]
    PemUnterminated {
        /// The layer that was being decoded.
        layer: Layer,
        /// The offset of its BEGIN line.
        at: usize,
    },
    /// PEM without a certificate.
    #[error("{layer}: PEM without a certificate; it holds {label:?}")]
    PemWithoutCertificate {
        /// The layer that was being decoded.
        layer: Layer,
        /// The label of the first block.
        label: String,
    },
    /// The upload is PKCS #7 in DER, such as a `.p7b` file. [`pkcs7`](crate::pkcs7) parses these.
    #[error(
        "the upload is PKCS #7; send one certificate of it (openssl pkcs7 -inform DER -print_certs)"
    )]
    Pkcs7InUpload,
    /// The upload contains a private key, which was neither stored nor used.
    #[error(
        "the upload holds a private key ({kind}); send the certificate alone, and treat that key as disclosed"
    )]
    PrivateKeyInUpload {
        /// The kind of key, such as `EC PRIVATE KEY` or `PKCS#8`.
        kind: String,
    },
    /// The private key does not belong to the certificate.
    #[error("the private key is not the one of the certificate")]
    PrivateKeyMismatch,
    /// A private key that the crypto provider rejects. The reason is omitted because it could reveal something about the key.
    #[error("the private key is not usable ({kind})")]
    PrivateKeyUnusable {
        /// The kind of key, such as `RSA`.
        kind: &'static str,
    },
    /// An elliptic-curve key with a compressed point, which RFC 5480 section 2.2 makes optional to support.
    #[error("the public key's point is compressed ({key}), which is not supported here")]
    PublicKeyCompressed {
        /// The algorithm of the key.
        key: String,
    },
    /// The public key is malformed for its algorithm.
    #[error("the public key is not a well-formed {key} key")]
    PublicKeyMalformed {
        /// The algorithm of the key.
        key: String,
    },
    /// The signature does not verify under the key.
    #[error("the signature ({algorithm}) does not verify under this key")]
    SignatureInvalid {
        /// The algorithm, by name.
        algorithm: &'static str,
    },
    /// The signer failed to sign.
    #[error("the signer failed")]
    SigningFailed,
    /// A thumbprint that is not hexadecimal digits, two for each octet of the digest.
    #[error(
        "a {kind} thumbprint is {digits} hexadecimal digits, with or without a colon after every second (wrong at character {at})"
    )]
    ThumbprintMalformed {
        /// The digest, such as `SHA-256`.
        kind: &'static str,
        /// The number of digits that it must have.
        digits: usize,
        /// The index of the first wrong character, or the length if there are too few.
        at: usize,
    },
    /// A time before 1970 or after 9999.
    #[error("{seconds} seconds since 1970 is not within the years 1970 to 9999")]
    TimeOutOfRange {
        /// The time, in seconds since the Unix epoch.
        seconds: i64,
    },
    /// The upload or certificate is longer than [`MAX_UPLOAD_LEN`](crate::MAX_UPLOAD_LEN), or the CRL longer than
    /// [`MAX_CRL_LEN`](crate::crl::MAX_CRL_LEN).
    #[error("the input has {found} bytes, more than {limit}")]
    TooLong {
        /// The length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A list in the certificate has more entries than are accepted.
    #[error("{field}: more than {limit} entries")]
    TooMany {
        /// The ASN.1 name of the list.
        field: &'static str,
        /// The maximum number of entries.
        limit: usize,
    },
    /// The certificate's version is not 1, 2 or 3.
    #[error("certificate version {version} does not exist")]
    VersionUnknown {
        /// The version number, counted from 1.
        version: u16,
    },
    /// A signature that uses a hash for which collisions can be made.
    #[error("a signature over {hash} proves nothing")]
    WeakHash {
        /// The name of the hash.
        hash: &'static str,
    },
}

impl X509Error {
    /// Creates the error for a value that is malformed as a whole.
    pub(crate) fn malformed(field: &'static str, reason: der::ErrorKind) -> Self {
        Self::Malformed {
            field,
            at: 0,
            reason: DerProblem(reason),
        }
    }
}

/// A problem with DER. `Display` describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DerProblem(pub(crate) der::ErrorKind);

impl fmt::Display for DerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A problem with an algorithm's parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ParametersProblem {
    /// The curve is not given by name but explicitly, implicitly or not at all, which RFC 5480 section 2.1.1 forbids.
    ExplicitCurve,
    /// RSASSA-PSS: the hash of MGF1 differs from that of the message.
    Mgf1Hash,
    /// They must be absent, but are present.
    NotAbsent,
    /// They must be NULL, or absent for a signature or a hash (RFC 4055 sections 2.1 and 5).
    NotNull,
    /// RSASSA-PSS: the parameters of the key do not allow those of the signature (RFC 4055 section 3.3).
    PssKeyRestriction,
    /// RSASSA-PSS: they are missing or malformed (RFC 4055 section 3.1).
    PssMalformed,
    /// RSASSA-PSS: the salt is neither as long as the hash nor of the maximum length for the key.
    SaltLength {
        /// The salt's length in bytes.
        found: u32,
        /// The hash's length in bytes.
        expected: u32,
    },
}

impl fmt::Display for ParametersProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExplicitCurve => f.write_str("they must name the curve"),
            Self::Mgf1Hash => f.write_str("MGF1 uses another hash than the message"),
            Self::NotAbsent => f.write_str("they must be absent"),
            Self::NotNull => f.write_str("they must be NULL"),
            Self::PssKeyRestriction => f.write_str("the key is restricted to other ones"),
            Self::PssMalformed => f.write_str("they are missing or broken"),
            Self::SaltLength { found, expected } => {
                write!(
                    f,
                    "the salt has {found} bytes; it must have {expected}, as the hash, or all that the key has room for"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Certificate, OwnedCertificate, ProofFinding, Report, Upload, VerificationCode, X509Error,
        crl::Crl,
        path::{PathOptions, PathReport, TrustAnchors},
        pem_bundle::InvalidBlock,
    };

    #[test]
    fn errors_and_values_may_cross_threads() {
        fn is_error<T: core::error::Error + Send + Sync + 'static>() {}
        fn crosses<T: Send + Sync>() {}
        is_error::<X509Error>();
        is_error::<InvalidBlock>();
        crosses::<Certificate<'_>>();
        crosses::<OwnedCertificate>();
        crosses::<Upload<'_>>();
        crosses::<Crl<'_>>();
        crosses::<VerificationCode>();
        crosses::<Report<ProofFinding>>();
        crosses::<PathOptions<'_>>();
        crosses::<TrustAnchors<'_>>();
        crosses::<PathReport>();
        #[cfg(all(feature = "prover", feature = "ring"))]
        crosses::<crate::prover::RingSigner<'_>>();
        #[cfg(all(feature = "prover", feature = "aws-lc-rs"))]
        crosses::<crate::prover::AwsLcRsSigner>();
    }
}
