//! Signature algorithms: derives the signature scheme from an AlgorithmIdentifier and a key.

use alloc::string::ToString;
use core::fmt;

use der::{
    Decode, Reader, SliceReader,
    asn1::{AnyRef, ObjectIdentifier},
};
use rustls_pki_types::{
    AlgorithmIdentifier as CanonicalId, SignatureVerificationAlgorithm, alg_id,
};

use crate::{
    X509Error, algorithms,
    error::ParametersProblem,
    oid::Oid,
    public_key::{Curve, KeyKind, SubjectPublicKeyInfo},
    reader::{explicit, read_whole, received},
};

/// Verifies `signature` over `message` with the key of `spki` under `algorithm`.
///
/// `algorithms` is a table such as those in [`crate::algorithms`] or of a `rustls` crypto provider. The algorithm must match the
/// type of the key, and its parameters must be exactly as [`Scheme::of`] requires.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, algorithms::RING, verify};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = Certificate::from_der(include_bytes!("../tests/data/p256-leaf.der"))?;
/// verify(RING, &ca.public_key(), &leaf.algorithm(), leaf.tbs(), leaf.signature())?;
/// assert!(verify(RING, &leaf.public_key(), &leaf.algorithm(), leaf.tbs(), leaf.signature()).is_err());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
///
/// # Errors
///
/// Those of [`Scheme::of`] and [`Scheme::verify`].
pub fn verify(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    spki: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<Scheme, X509Error> {
    let scheme = Scheme::of(algorithm, spki)?;
    scheme.verify(algorithms, spki, message, signature)?;
    Ok(scheme)
}

/// A fully specified signature scheme: key type, padding and hash.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Curve, Hash, Scheme, algorithms::RING};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let scheme = Scheme::of(&ca.algorithm(), &ca.public_key())?;
/// assert_eq!(scheme, Scheme::Ecdsa(Curve::P256, Hash::Sha256));
/// assert_eq!(scheme.name(), "ECDSA P-256 with SHA-256");
/// scheme.verify(RING, &ca.public_key(), ca.tbs(), ca.signature())?; // it is self-signed
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Scheme {
    /// ECDSA (RFC 5758 section 3.2).
    Ecdsa(Curve, Hash),
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSASSA-PKCS1-v1_5 (RFC 4055 section 5).
    RsaPkcs1(Hash),
    /// RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash (RFC 4055 section 3).
    RsaPss(Hash),
    /// RSASSA-PSS with MGF1 over the same hash and the longest possible salt for the key, which is the default of `openssl`.
    RsaPssMaxSalt(Hash),
}

impl Scheme {
    /// Returns the scheme that an algorithm identifier specifies for a key.
    ///
    /// The parameters must be NULL or absent for RSASSA-PKCS1-v1_5 (RFC 4055 section 5), and absent for ECDSA and Ed25519 (RFC 5758
    /// section 3.2, RFC 8410 section 3). For RSASSA-PSS they must be present: MGF1 with the message's hash, a salt as long as the
    /// hash or as long as possible for the key, and trailer 1.
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmMismatch`], [`X509Error::AlgorithmParameters`], [`X509Error::AlgorithmUnsupported`] and
    /// [`X509Error::WeakHash`].
    pub fn of(
        algorithm: &AlgorithmIdentifier<'_>,
        spki: &SubjectPublicKeyInfo<'_>,
    ) -> Result<Self, X509Error> {
        let mismatch = || X509Error::AlgorithmMismatch {
            algorithm: algorithm.to_string(),
            key: spki.algorithm().to_string(),
        };
        let family = algorithm
            .family()
            .ok_or_else(|| X509Error::AlgorithmUnsupported {
                algorithm: algorithm.to_string(),
            })?;
        match family {
            Family::Weak(hash) => Err(X509Error::WeakHash { hash }),
            Family::RsaPkcs1(hash) => {
                algorithm.expect_null_or_absent()?;
                match spki.kind()? {
                    KeyKind::Rsa => Ok(Self::RsaPkcs1(hash)),
                    _ => Err(mismatch()),
                }
            }
            Family::RsaPss => {
                let (hash, salt_len) = algorithm.pss()?.into_usable(algorithm)?;
                let kind = spki.kind()?;
                if !matches!(kind, KeyKind::Rsa | KeyKind::RsaPss) {
                    return Err(mismatch());
                }
                if kind == KeyKind::RsaPss && !spki.allows_pss(hash, salt_len) {
                    return Err(algorithm.parameters_error(ParametersProblem::PssKeyRestriction));
                }
                if salt_len == hash.digest_len() {
                    Ok(Self::RsaPss(hash))
                } else if Some(salt_len) == spki.longest_pss_salt(hash) {
                    Ok(Self::RsaPssMaxSalt(hash))
                } else {
                    Err(algorithm.parameters_error(ParametersProblem::SaltLength {
                        found: salt_len,
                        expected: hash.digest_len(),
                    }))
                }
            }
            Family::Ecdsa(hash) => {
                algorithm.expect_absent()?;
                match spki.kind()? {
                    KeyKind::Ec(curve) => Ok(Self::Ecdsa(curve, hash)),
                    _ => Err(mismatch()),
                }
            }
            Family::Ed25519 => {
                algorithm.expect_absent()?;
                match spki.kind()? {
                    KeyKind::Ed25519 => Ok(Self::Ed25519),
                    _ => Err(mismatch()),
                }
            }
        }
    }

    /// Verifies a signature. An ECDSA signature is the DER of Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmUnsupported`] if the scheme is not in the table or the key is of an unknown kind,
    /// [`X509Error::AlgorithmMismatch`] if the key is of another kind or not allowed for the scheme,
    /// [`X509Error::AlgorithmParameters`], [`X509Error::PublicKeyCompressed`], [`X509Error::PublicKeyMalformed`], and
    /// [`X509Error::SignatureInvalid`].
    pub fn verify(
        self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        spki: &SubjectPublicKeyInfo<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), X509Error> {
        let algorithm = algorithms
            .iter()
            .find(|offered| {
                offered.signature_alg_id() == self.signature_id()
                    && offered.public_key_alg_id() == self.key_id()
            })
            .ok_or_else(|| X509Error::AlgorithmUnsupported {
                algorithm: self.name().to_string(),
            })?;
        if !self.is_for(spki)? {
            return Err(X509Error::AlgorithmMismatch {
                algorithm: self.name().to_string(),
                key: spki.algorithm().to_string(),
            });
        }
        spki.check_key()?;
        algorithm
            .verify_signature(spki.key(), message, signature)
            .map_err(|_| X509Error::SignatureInvalid {
                algorithm: self.name(),
            })
    }

    /// Returns whether a key may be used with this scheme. The octets of an RSASSA-PSS key are those of any RSA key, so they alone do
    /// not show its restrictions (RFC 4055 section 3.3).
    fn is_for(self, spki: &SubjectPublicKeyInfo<'_>) -> Result<bool, X509Error> {
        Ok(match (self, spki.kind()?) {
            (Self::Ecdsa(curve, _), KeyKind::Ec(of_key)) => curve == of_key,
            (Self::Ed25519, KeyKind::Ed25519)
            | (Self::RsaPkcs1(_) | Self::RsaPss(_) | Self::RsaPssMaxSalt(_), KeyKind::Rsa) => true,
            (Self::RsaPss(hash), KeyKind::RsaPss) => spki.allows_pss(hash, hash.digest_len()),
            (Self::RsaPssMaxSalt(hash), KeyKind::RsaPss) => spki
                .longest_pss_salt(hash)
                .is_some_and(|salt_len| spki.allows_pss(hash, salt_len)),
            _ => false,
        })
    }

    /// Returns the signature algorithm's ID in the table: the contents of its AlgorithmIdentifier.
    pub(crate) fn signature_id(self) -> CanonicalId {
        match self {
            Self::Ecdsa(_, Hash::Sha256) => alg_id::ECDSA_SHA256,
            Self::Ecdsa(_, Hash::Sha384) => alg_id::ECDSA_SHA384,
            Self::Ecdsa(_, Hash::Sha512) => alg_id::ECDSA_SHA512,
            Self::Ed25519 => alg_id::ED25519,
            Self::RsaPkcs1(Hash::Sha256) => alg_id::RSA_PKCS1_SHA256,
            Self::RsaPkcs1(Hash::Sha384) => alg_id::RSA_PKCS1_SHA384,
            Self::RsaPkcs1(Hash::Sha512) => alg_id::RSA_PKCS1_SHA512,
            Self::RsaPss(Hash::Sha256) => alg_id::RSA_PSS_SHA256,
            Self::RsaPss(Hash::Sha384) => alg_id::RSA_PSS_SHA384,
            Self::RsaPss(Hash::Sha512) => alg_id::RSA_PSS_SHA512,
            Self::RsaPssMaxSalt(Hash::Sha256) => algorithms::RSA_PSS_SHA256_MAX_SALT_ID,
            Self::RsaPssMaxSalt(Hash::Sha384) => algorithms::RSA_PSS_SHA384_MAX_SALT_ID,
            Self::RsaPssMaxSalt(Hash::Sha512) => algorithms::RSA_PSS_SHA512_MAX_SALT_ID,
        }
    }

    /// Returns the key algorithm's ID in the table, where an RSASSA-PSS key is an RSA key.
    fn key_id(self) -> CanonicalId {
        match self {
            Self::Ecdsa(Curve::P256, _) => alg_id::ECDSA_P256,
            Self::Ecdsa(Curve::P384, _) => alg_id::ECDSA_P384,
            Self::Ecdsa(Curve::P521, _) => alg_id::ECDSA_P521,
            Self::Ed25519 => alg_id::ED25519,
            Self::RsaPkcs1(_) | Self::RsaPss(_) | Self::RsaPssMaxSalt(_) => alg_id::RSA_ENCRYPTION,
        }
    }

    /// Returns a name for people, such as `ECDSA P-256 with SHA-256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecdsa(Curve::P256, Hash::Sha256) => "ECDSA P-256 with SHA-256",
            Self::Ecdsa(Curve::P256, Hash::Sha384) => "ECDSA P-256 with SHA-384",
            Self::Ecdsa(Curve::P256, Hash::Sha512) => "ECDSA P-256 with SHA-512",
            Self::Ecdsa(Curve::P384, Hash::Sha256) => "ECDSA P-384 with SHA-256",
            Self::Ecdsa(Curve::P384, Hash::Sha384) => "ECDSA P-384 with SHA-384",
            Self::Ecdsa(Curve::P384, Hash::Sha512) => "ECDSA P-384 with SHA-512",
            Self::Ecdsa(Curve::P521, Hash::Sha256) => "ECDSA P-521 with SHA-256",
            Self::Ecdsa(Curve::P521, Hash::Sha384) => "ECDSA P-521 with SHA-384",
            Self::Ecdsa(Curve::P521, Hash::Sha512) => "ECDSA P-521 with SHA-512",
            Self::Ed25519 => "Ed25519",
            Self::RsaPkcs1(Hash::Sha256) => "RSA PKCS#1 v1.5 with SHA-256",
            Self::RsaPkcs1(Hash::Sha384) => "RSA PKCS#1 v1.5 with SHA-384",
            Self::RsaPkcs1(Hash::Sha512) => "RSA PKCS#1 v1.5 with SHA-512",
            Self::RsaPss(Hash::Sha256) => "RSA PSS with SHA-256",
            Self::RsaPss(Hash::Sha384) => "RSA PSS with SHA-384",
            Self::RsaPss(Hash::Sha512) => "RSA PSS with SHA-512",
            Self::RsaPssMaxSalt(Hash::Sha256) => "RSA PSS (longest salt) with SHA-256",
            Self::RsaPssMaxSalt(Hash::Sha384) => "RSA PSS (longest salt) with SHA-384",
            Self::RsaPssMaxSalt(Hash::Sha512) => "RSA PSS (longest salt) with SHA-512",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A hash of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the length of the digest in bytes.
    pub fn digest_len(self) -> u32 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn oid(self) -> &'static ObjectIdentifier {
        static SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
        static SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
        static SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

impl fmt::Display for Hash {
    /// Writes the name, such as `SHA-256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// An AlgorithmIdentifier (RFC 5280 section 4.1.1.2) as received.
#[derive(Clone, Copy, Debug)]
pub struct AlgorithmIdentifier<'a> {
    der: &'a [u8],
    oid: Oid<'a>,
    parameters: Option<AnyRef<'a>>,
}

impl<'a> AlgorithmIdentifier<'a> {
    /// Parses an AlgorithmIdentifier from DER. No data may follow it.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        read_whole(der, "AlgorithmIdentifier", |reader, _| Self::read(reader))
    }

    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let (der, (oid, parameters)) = received(reader, |reader| {
            reader.sequence(|reader| {
                let oid = Oid::read(reader)?;
                let has_parameters = !reader.is_finished();
                let parameters = has_parameters.then(|| AnyRef::decode(reader)).transpose()?;
                Ok((oid, parameters))
            })
        })?;
        Ok(Self {
            der,
            oid,
            parameters,
        })
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns the OID of the algorithm.
    pub fn oid(&self) -> Oid<'a> {
        self.oid
    }

    pub(crate) fn parameters(&self) -> Option<AnyRef<'a>> {
        self.parameters
    }

    /// Returns the hash of the signature algorithm if it is broken: SHA-1, MD5 or older.
    pub fn weak_hash(&self) -> Option<&'static str> {
        match self.family()? {
            Family::Weak(hash) => Some(hash),
            Family::RsaPss => match self.pss().ok()?.hash {
                PssHash::Sha1 => Some("SHA-1"),
                _ => None,
            },
            _ => None,
        }
    }

    fn known(&self) -> Option<&'static (ObjectIdentifier, &'static str, Option<Family>)> {
        KNOWN.iter().find(|(oid, ..)| self.oid == *oid)
    }

    fn family(&self) -> Option<Family> {
        self.known().and_then(|(_, _, family)| *family)
    }

    pub(crate) fn parameters_error(&self, reason: ParametersProblem) -> X509Error {
        X509Error::AlgorithmParameters {
            algorithm: self.to_string(),
            reason,
        }
    }

    pub(crate) fn expect_absent(&self) -> Result<(), X509Error> {
        match self.parameters {
            None => Ok(()),
            Some(_) => Err(self.parameters_error(ParametersProblem::NotAbsent)),
        }
    }

    /// Removes the parameters if they are NULL.
    #[cfg(feature = "prover")]
    pub(crate) fn with_null_absent(self) -> Self {
        let parameters = self.parameters.filter(|parameters| !parameters.is_null());
        Self { parameters, ..self }
    }

    fn expect_null_or_absent(&self) -> Result<(), X509Error> {
        match self.parameters {
            None => Ok(()),
            Some(parameters) if parameters.is_null() => Ok(()),
            Some(_) => Err(self.parameters_error(ParametersProblem::NotNull)),
        }
    }

    /// Returns the parameters of an RSASSA-PSS signature or key, which must be present.
    pub(crate) fn pss(&self) -> Result<PssParameters, X509Error> {
        self.parameters
            .and_then(|parameters| PssParameters::read(parameters).ok())
            .ok_or_else(|| self.parameters_error(ParametersProblem::PssMalformed))
    }
}

impl fmt::Display for AlgorithmIdentifier<'_> {
    /// Writes the name, or the dotted OID if it is unknown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, name, _)) => f.write_str(name),
            None => self.oid.fmt(f),
        }
    }
}

/// What the OID of a signature algorithm specifies.
#[derive(Clone, Copy)]
enum Family {
    Ecdsa(Hash),
    Ed25519,
    RsaPkcs1(Hash),
    RsaPss,
    Weak(&'static str),
}

pub(crate) const ID_RSA_ENCRYPTION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const ID_RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
pub(crate) const ID_EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ID_MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const ID_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// Names of algorithms (as `openssl` prints them), with the family of signature algorithms.
static KNOWN: [(ObjectIdentifier, &str, Option<Family>); 19] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
        "ecdsa-with-SHA256",
        Some(Family::Ecdsa(Hash::Sha256)),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
        "sha256WithRSAEncryption",
        Some(Family::RsaPkcs1(Hash::Sha256)),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
        "ecdsa-with-SHA384",
        Some(Family::Ecdsa(Hash::Sha384)),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"),
        "ecdsa-with-SHA512",
        Some(Family::Ecdsa(Hash::Sha512)),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"),
        "sha384WithRSAEncryption",
        Some(Family::RsaPkcs1(Hash::Sha384)),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"),
        "sha512WithRSAEncryption",
        Some(Family::RsaPkcs1(Hash::Sha512)),
    ),
    (ID_RSASSA_PSS, "rsassaPss", Some(Family::RsaPss)),
    (ID_ED25519, "Ed25519", Some(Family::Ed25519)),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
        "sha1WithRSAEncryption",
        Some(Family::Weak("SHA-1")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
        "sha1WithRSA",
        Some(Family::Weak("SHA-1")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
        "ecdsa-with-SHA1",
        Some(Family::Weak("SHA-1")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
        "dsa-with-SHA1",
        Some(Family::Weak("SHA-1")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
        "md5WithRSAEncryption",
        Some(Family::Weak("MD5")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.3"),
        "md4WithRSAEncryption",
        Some(Family::Weak("MD4")),
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"),
        "md2WithRSAEncryption",
        Some(Family::Weak("MD2")),
    ),
    (ID_RSA_ENCRYPTION, "rsaEncryption", None),
    (ID_EC_PUBLIC_KEY, "id-ecPublicKey", None),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "Ed448", None),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"),
        "dsaEncryption",
        None,
    ),
];

/// RSASSA-PSS-params (RFC 4055 section 3.1), with defaults filled in.
pub(crate) struct PssParameters {
    pub(crate) hash: PssHash,
    pub(crate) mgf1_hash: PssHash,
    pub(crate) salt_len: u32,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum PssHash {
    Other,
    Sha1,
    Sha2(Hash),
}

impl PssParameters {
    fn read(parameters: AnyRef<'_>) -> der::Result<Self> {
        parameters.sequence(|reader| {
            let hash = explicit(reader, 0, PssHash::read)?;
            let mgf1_hash = explicit(reader, 1, |reader| {
                reader.sequence(|reader| {
                    if Oid::read(reader)? != ID_MGF1 {
                        return Err(der::Tag::ObjectIdentifier.value_error().into());
                    }
                    PssHash::read(reader)
                })
            })?;
            let salt_len = explicit(reader, 2, u32::decode)?;
            match explicit(reader, 3, u8::decode)? {
                None | Some(1) => {}
                Some(_) => return Err(der::Tag::Integer.value_error().into()),
            }
            Ok(Self {
                hash: hash.unwrap_or(PssHash::Sha1),
                mgf1_hash: mgf1_hash.unwrap_or(PssHash::Sha1),
                salt_len: salt_len.unwrap_or(20),
            })
        })
    }

    /// Returns the hash and the length of the salt if signatures with these parameters are supported.
    fn into_usable(self, algorithm: &AlgorithmIdentifier<'_>) -> Result<(Hash, u32), X509Error> {
        let hash = match self.hash {
            PssHash::Sha1 => return Err(X509Error::WeakHash { hash: "SHA-1" }),
            PssHash::Other => {
                return Err(X509Error::AlgorithmUnsupported {
                    algorithm: algorithm.to_string(),
                });
            }
            PssHash::Sha2(hash) => hash,
        };
        if self.mgf1_hash != self.hash {
            return Err(algorithm.parameters_error(ParametersProblem::Mgf1Hash));
        }
        Ok((hash, self.salt_len))
    }
}

impl PssHash {
    /// Parses a hash's AlgorithmIdentifier, with parameters NULL or absent (RFC 4055 section 2.1).
    fn read(reader: &mut SliceReader<'_>) -> der::Result<Self> {
        let algorithm = AlgorithmIdentifier::read(reader)?;
        if algorithm.expect_null_or_absent().is_err() {
            return Err(der::Tag::Null.value_error().into());
        }
        if algorithm.oid == ID_SHA1 {
            return Ok(Self::Sha1);
        }
        Ok(Hash::ALL
            .into_iter()
            .find(|hash| algorithm.oid == *hash.oid())
            .map_or(Self::Other, Self::Sha2))
    }
}
