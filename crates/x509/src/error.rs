//! What can go wrong when reading uploads, certificates, codes and keys.

use alloc::string::String;
use core::fmt;

use crate::upload::Layer;

/// Why an input could not be used.
///
/// Offsets count bytes from the start of the layer that the variant names; those without a layer count from the start of
/// the DER.
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
    /// The signature algorithm and the key are of different kinds, such as an ECDSA signature and an RSA key.
    #[error("the signature algorithm {algorithm} does not belong to a key of type {key}")]
    AlgorithmMismatch {
        /// The signature algorithm, by name or dotted OID.
        algorithm: String,
        /// The key's algorithm, by name or dotted OID.
        key: String,
    },
    /// The algorithm is known, but not with these parameters.
    #[error("the parameters of {algorithm} are not usable: {reason}")]
    AlgorithmParameters {
        /// The algorithm, by name.
        algorithm: String,
        /// What is wrong with them.
        reason: ParametersProblem,
    },
    /// The algorithm is not one that this crate knows, or the table handed in does not offer it.
    #[error("the algorithm {algorithm} is not supported here")]
    AlgorithmUnsupported {
        /// The algorithm, by name or dotted OID.
        algorithm: String,
    },
    /// A character that is not Base64, or padding at the wrong place.
    #[error("{layer}: not base64 at byte {at}")]
    Base64 {
        /// The layer that was being decoded.
        layer: Layer,
        /// Where in it.
        at: usize,
    },
    /// A verification code is not 48 upper-case hexadecimal digits.
    #[error("a verification code is 48 upper-case hexadecimal digits (wrong at character {at})")]
    CodeMalformed {
        /// The first offending character, or the length if there are too few.
        at: usize,
    },
    /// A critical extension of a revocation list or of an entry of one, which is not processed.
    #[error("the revocation list has the critical extension {oid}, which is unknown here")]
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// A revocation list that leaves things unsaid which would be taken for *not revoked*.
    #[error("a revocation list of this kind is not taken: {what}")]
    CrlUnsupported {
        /// The kind, such as `delta` or `indirect`.
        what: &'static str,
    },
    /// The certificate request's subject does not carry exactly the one code.
    #[error("the request's subject must have the verification code as its one common name")]
    CsrCommonName,
    /// The upload contains nothing.
    #[error("the upload is empty")]
    Empty,
    /// The CA's keyUsage does not let it sign such a thing.
    #[error("the CA's keyUsage leaves {usage} out")]
    KeyUsageForbids {
        /// The usage.
        usage: &'static str,
    },
    /// DER that is broken, or not the structure that was expected.
    #[error("{field} at byte {at}: {reason}")]
    Malformed {
        /// The field that was being read, by its ASN.1 name.
        field: &'static str,
        /// Where in the DER.
        at: usize,
        /// What is wrong.
        reason: der::ErrorKind,
    },
    /// Text that is neither PEM nor Base64 of something usable.
    #[error("{layer}: neither DER, nor PEM, nor base64 of one of them")]
    NotACertificate {
        /// The layer in which nothing was found.
        layer: Layer,
    },
    /// A PEM block without its END line.
    #[error("{layer}: the PEM block that begins at byte {at} does not end")]
    PemUnterminated {
        /// The layer that was being decoded.
        layer: Layer,
        /// Where its BEGIN line starts.
        at: usize,
    },
    /// PEM, but no certificate in it.
    #[error("{layer}: PEM without a certificate; it holds {label:?}")]
    PemWithoutCertificate {
        /// The layer that was being decoded.
        layer: Layer,
        /// The label of the first block.
        label: String,
    },
    /// A private key in the upload. It was neither kept nor looked at.
    #[error(
        "the upload holds a private key ({kind}); send the certificate alone, and treat that key as disclosed"
    )]
    PrivateKeyInUpload {
        /// What it looks like, such as `EC PRIVATE KEY` or `PKCS#8`.
        kind: String,
    },
    /// The private key does not belong to the certificate.
    #[error("the private key is not the one of the certificate")]
    PrivateKeyMismatch,
    /// A private key that the provider does not take; why is not said, as it could tell about the key.
    #[error("the private key is not usable ({kind})")]
    PrivateKeyUnusable {
        /// The key's kind, such as `RSA`.
        kind: &'static str,
    },
    /// An elliptic-curve key whose point is compressed. RFC 5480 section 2.2 lets verifiers leave that out, and most do.
    #[error("the public key's point is compressed ({key}), which is not supported here")]
    PublicKeyCompressed {
        /// The key's algorithm.
        key: String,
    },
    /// The public key is not of the form that its algorithm asks for.
    #[error("the public key is not a well-formed {key} key")]
    PublicKeyMalformed {
        /// The key's algorithm.
        key: String,
    },
    /// The signature does not verify under the key.
    #[error("the signature ({algorithm}) does not verify under this key")]
    SignatureInvalid {
        /// The algorithm, by name.
        algorithm: &'static str,
    },
    /// The signer could not sign.
    #[error("the signer failed")]
    SigningFailed,
    /// A thumbprint is not hexadecimal digits, two for each octet of the digest.
    #[error(
        "a {kind} thumbprint is {digits} hexadecimal digits, with or without a colon after every second (wrong at character {at})"
    )]
    ThumbprintMalformed {
        /// The digest, such as `SHA-256`.
        kind: &'static str,
        /// How many digits it has.
        digits: usize,
        /// The first offending character, counted from 0, or the length if there are too few.
        at: usize,
    },
    /// A time before 1970 or after 9999.
    #[error("{seconds} seconds since 1970 is not a time that a certificate is given here")]
    TimeOutOfRange {
        /// The time, in seconds since the Unix epoch.
        seconds: i64,
    },
    /// The upload is longer than [`MAX_UPLOAD_LEN`](crate::MAX_UPLOAD_LEN).
    #[error("the upload has {found} bytes, more than {limit}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A list in the certificate is longer than any honest one.
    #[error("{field}: more than {limit} entries")]
    TooMany {
        /// The list, by its ASN.1 name.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The certificate's version is none of 1, 2 and 3.
    #[error("certificate version {version} does not exist")]
    VersionUnknown {
        /// The version's number as people count it, from 1.
        version: u16,
    },
    /// A signature over a hash for which collisions can be made.
    #[error("a signature over {hash} proves nothing")]
    WeakHash {
        /// The hash, by name.
        hash: &'static str,
    },
}

/// What is wrong with an algorithm's parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ParametersProblem {
    /// The curve is spelt out instead of named (RFC 5480 section 2.1.1 forbids it).
    ExplicitCurve,
    /// RSASSA-PSS: MGF1's hash is not the message's.
    Mgf1Hash,
    /// They are there, but the algorithm has none.
    NotAbsent,
    /// They are neither NULL nor absent.
    NotNull,
    /// RSASSA-PSS: the key's own parameters forbid the signature's (RFC 4055 section 3.3).
    PssKeyRestriction,
    /// RSASSA-PSS: they are missing or broken (RFC 4055 section 3.1).
    PssMalformed,
    /// RSASSA-PSS: the salt is neither as long as the hash nor as long as the key has room for.
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
            Self::ExplicitCurve => f.write_str("the curve is spelt out instead of named"),
            Self::Mgf1Hash => f.write_str("MGF1 uses another hash than the message"),
            Self::NotAbsent => f.write_str("they must be absent"),
            Self::NotNull => f.write_str("they must be NULL or absent"),
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
