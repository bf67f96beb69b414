//! X.509 certificates, parsed from the received bytes.

use alloc::vec::Vec;
use core::{
    fmt,
    hash::{Hash, Hasher},
};

use der::{
    Decode, ErrorKind, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier},
};
use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::{
    MAX_UPLOAD_LEN, X509Error,
    algorithm::{AlgorithmIdentifier, Scheme, verify},
    extension::{
        BASIC_CONSTRAINTS, BasicConstraints, Extension, KEY_USAGE, KeyUsage, MAX_EXTENSIONS,
        read_extensions,
    },
    name::Name,
    public_key::SubjectPublicKeyInfo,
    reader::{Field, contents, peek, read_whole, received},
    thumbprint::{Sha1Thumbprint, Sha256Thumbprint},
    time::Validity,
};

/// An X.509 certificate (RFC 5280 section 4.1), parsed from strict DER and borrowing from it.
///
/// Only the structure is parsed. Extension values are parsed when they are requested. Irregularities such as a negative serial
/// number or version 1 are not errors here but findings of [`prove`](crate::prove). Explicitly encoded DEFAULT values (`critical
/// FALSE`, version 1) are accepted, as by other verifiers, and so are the attributes of a relative distinguished name in any order;
/// everything else in the structure that is not DER is rejected.
///
/// ```
/// use keyproof_x509::{Certificate, Curve, KeyKind};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// assert!(ca.is_self_issued() && ca.basic_constraints()?.unwrap().ca && ca.key_usage()?.unwrap().key_cert_sign());
/// assert_eq!(ca.serial().to_string(), "26903AFD60BF76BBFA59CBF0B03397D0CDCE06BD");
/// assert_eq!(ca.subject().common_name().as_deref(), Some("P-256 CA"));
/// assert_eq!(ca.issuer().common_name(), ca.subject().common_name());
/// assert_eq!(ca.public_key().kind()?, KeyKind::Ec(Curve::P256));
/// assert!(ca.validity().has_begun(1_800_000_000) && !ca.validity().has_ended(1_800_000_000));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    der: &'a [u8],
    tbs: &'a [u8],
    version: Version,
    fields: TbsFields<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses a certificate from DER. No data may follow it. Verifies no signature.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] with field and offset, [`X509Error::TooLong`], [`X509Error::TooMany`] and
    /// [`X509Error::VersionUnknown`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        let may_pad_serial = false;
        Self::read(der, may_pad_serial)
    }

    /// Parses a certificate from DER whose serial number may have redundant leading octets. That is not DER, but some TPM
    /// manufacturers issue such certificates; [`Serial::oddity`] reports it. Signatures are verified over the received bytes.
    ///
    /// # Errors
    ///
    /// Those of [`from_der`](Self::from_der).
    pub fn from_der_lenient(der: &'a [u8]) -> Result<Self, X509Error> {
        let may_pad_serial = true;
        Self::read(der, may_pad_serial)
    }

    fn read(der: &'a [u8], may_pad_serial: bool) -> Result<Self, X509Error> {
        if der.len() > MAX_UPLOAD_LEN {
            return Err(X509Error::TooLong {
                found: der.len(),
                limit: MAX_UPLOAD_LEN,
            });
        }
        let read = read_whole(der, "Certificate", |reader, field| {
            reader.sequence(|reader| {
                let (tbs, fields) = received(reader, |reader| {
                    TbsFields::read(reader, field, may_pad_serial)
                })?;
                *field = "signatureAlgorithm";
                let algorithm = AlgorithmIdentifier::read(reader)?;
                *field = "signatureValue";
                let signature = whole_octets(reader)?;
                *field = "Certificate";
                Ok((tbs, fields, algorithm, signature))
            })
        })?;
        let (tbs, (version, fields), algorithm, signature) = read;
        fields.issuer.check_size("issuer")?;
        fields.subject.check_size("subject")?;
        if fields.extensions.as_ref().map_or(0, Vec::len) > MAX_EXTENSIONS {
            return Err(X509Error::TooMany {
                field: "extensions",
                limit: MAX_EXTENSIONS,
            });
        }
        Ok(Self {
            der,
            tbs,
            version: Version::from_encoded(version)?,
            fields,
            algorithm,
            signature,
        })
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns the received TBSCertificate, which the signature covers.
    pub fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the serial number.
    pub fn serial(&self) -> Serial<'a> {
        self.fields.serial
    }

    /// Returns the issuer's name.
    pub fn issuer(&self) -> Name<'a> {
        self.fields.issuer
    }

    /// Returns the subject's name.
    pub fn subject(&self) -> Name<'a> {
        self.fields.subject
    }

    /// Returns the validity period.
    pub fn validity(&self) -> Validity {
        self.fields.validity
    }

    /// Returns the subject's public key.
    pub fn public_key(&self) -> SubjectPublicKeyInfo<'a> {
        self.fields.public_key
    }

    /// Returns the extensions in order; empty if there are none.
    pub fn extensions(&self) -> &[Extension<'a>] {
        self.fields.extensions.as_deref().unwrap_or_default()
    }

    /// Returns whether there is an empty list of extensions, which RFC 5280 section 4.1 forbids (`SIZE (1..MAX)`).
    pub(crate) fn has_empty_extensions(&self) -> bool {
        self.fields.extensions.as_ref().is_some_and(Vec::is_empty)
    }

    /// Returns whether the validity has a GeneralizedTime before 2050, which RFC 5280 section 4.1.2.5 forbids.
    pub(crate) fn has_early_generalized_time(&self) -> bool {
        self.fields.has_early_generalized_time
    }

    /// Returns the first extension with this OID.
    pub(crate) fn find_extension(&self, id: ObjectIdentifier) -> Option<&Extension<'a>> {
        self.extensions()
            .iter()
            .find(|extension| extension.id == id)
    }

    /// Returns the value of the first extension with this OID.
    pub(crate) fn extension(&self, id: ObjectIdentifier) -> Option<&'a [u8]> {
        self.find_extension(id).map(|extension| extension.value)
    }

    /// Returns the signature algorithm outside the signed part.
    pub fn algorithm(&self) -> AlgorithmIdentifier<'a> {
        self.algorithm
    }

    /// Returns the signature algorithm inside the signed part, which must be the same (RFC 5280 section 4.1.1.2).
    pub fn tbs_algorithm(&self) -> AlgorithmIdentifier<'a> {
        self.fields.algorithm
    }

    /// Returns the octets of the signature.
    pub fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// Verifies the signature over the received bytes with the key of an issuer. A certificate with a valid signature may still be
    /// expired, revoked or of another issuer's name: [`path::find`](crate::path::find) validates it.
    ///
    /// ```
    /// # #[cfg(feature = "ring")] {
    /// use keyproof_x509::{Certificate, algorithms::RING};
    ///
    /// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
    /// let leaf = Certificate::from_der(include_bytes!("../tests/data/p256-leaf.der"))?;
    /// leaf.verify_signature(RING, &ca.public_key())?;
    /// assert!(leaf.verify_signature(RING, &leaf.public_key()).is_err());
    /// # }
    /// # Ok::<(), keyproof_x509::X509Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`verify`](crate::verify()).
    pub fn verify_signature(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        key: &SubjectPublicKeyInfo<'_>,
    ) -> Result<Scheme, X509Error> {
        verify(algorithms, key, &self.algorithm, self.tbs, self.signature)
    }

    /// Returns the first basicConstraints extension (RFC 5280 section 4.2.1.9), if any.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`], with an offset into the extension's value.
    pub fn basic_constraints(&self) -> Result<Option<BasicConstraints>, X509Error> {
        self.extension(BASIC_CONSTRAINTS)
            .map(BasicConstraints::from_der)
            .transpose()
    }

    /// Returns the first keyUsage extension (RFC 5280 section 4.2.1.3), if any.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`], with an offset into the extension's value.
    pub fn key_usage(&self) -> Result<Option<KeyUsage>, X509Error> {
        self.extension(KEY_USAGE)
            .map(KeyUsage::from_der)
            .transpose()
    }

    /// Returns whether the key may sign CRLs. A missing keyUsage allows it (RFC 5280 section 6.3.3 (f)).
    pub(crate) fn may_sign_crls(&self) -> Result<bool, X509Error> {
        Ok(self.key_usage()?.is_none_or(KeyUsage::crl_sign))
    }

    /// Returns whether issuer and subject are the same name. The certificate need not be self-signed, which depends on the key.
    pub fn is_self_issued(&self) -> bool {
        self.fields.issuer.compare(&self.fields.subject).is_match()
    }

    /// Returns the SHA-1 hash of the received DER, as Azure displays it. Use it only as a label.
    pub fn sha1_thumbprint(&self) -> Sha1Thumbprint {
        Sha1Thumbprint::of_der(self.der)
    }

    /// Returns the SHA-256 hash of the received DER.
    pub fn sha256_thumbprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of_der(self.der)
    }
}

/// The fields of a TBSCertificate (RFC 5280 section 4.1.2).
#[derive(Clone, Debug)]
struct TbsFields<'a> {
    serial: Serial<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    issuer: Name<'a>,
    validity: Validity,
    has_early_generalized_time: bool,
    subject: Name<'a>,
    public_key: SubjectPublicKeyInfo<'a>,
    /// `None` if absent; an empty list is an irregularity.
    extensions: Option<Vec<Extension<'a>>>,
}

impl<'a> TbsFields<'a> {
    /// Parses the version as encoded, and the other fields.
    fn read(
        reader: &mut SliceReader<'a>,
        field: &mut Field,
        may_pad_serial: bool,
    ) -> der::Result<(u8, Self)> {
        *field = "tbsCertificate";
        reader.sequence(|reader| {
            *field = "version";
            let version = reader.context_specific::<u8>(TagNumber(0), TagMode::Explicit)?;
            *field = "serialNumber";
            let serial = if may_pad_serial {
                Serial::read_as_issued(reader)?
            } else {
                Serial::read(reader)?
            };
            *field = "signature";
            let algorithm = AlgorithmIdentifier::read(reader)?;
            *field = "issuer";
            let issuer = Name::read(reader)?;
            *field = "validity";
            let (validity, has_early_generalized_time) = Validity::read(reader)?;
            *field = "subject";
            let subject = Name::read(reader)?;
            *field = "subjectPublicKeyInfo";
            let public_key = SubjectPublicKeyInfo::read(reader)?;
            *field = "issuerUniqueID";
            skip_unique_id(reader, TagNumber(1))?;
            *field = "subjectUniqueID";
            skip_unique_id(reader, TagNumber(2))?;
            *field = "extensions";
            let extensions = read_extensions(reader)?;
            *field = "tbsCertificate";
            let fields = Self {
                serial,
                algorithm,
                issuer,
                validity,
                has_early_generalized_time,
                subject,
                public_key,
                extensions,
            };
            Ok((version.unwrap_or(0), fields))
        })
    }
}

/// Skips a unique identifier, which no check needs.
fn skip_unique_id(reader: &mut SliceReader<'_>, number: TagNumber) -> der::Result<()> {
    let tag = number.context_specific(false);
    if peek(reader)? == Some(tag) {
        contents(reader, tag)?;
    }
    Ok(())
}

/// Parses a BIT STRING of whole octets, such as a key or a signature. Unused bits are rejected.
pub(crate) fn whole_octets<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let bits = reader.decode::<BitStringRef<'a>>()?;
    bits.as_bytes()
        .ok_or_else(|| reader.error(Tag::BitString.value_error()))
}

/// The version of a certificate (RFC 5280 section 4.1.2.1).
///
/// ```
/// use keyproof_x509::{Certificate, Version};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// assert_eq!((ca.version(), ca.version().number()), (Version::V3, 3));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// Without extensions, as `openssl x509 -req` creates it if no extensions are given.
    V1,
    /// With unique identifiers; rarely used.
    V2,
    /// With extensions.
    V3,
}

impl Version {
    fn from_encoded(version: u8) -> Result<Self, X509Error> {
        match version {
            0 => Ok(Self::V1),
            1 => Ok(Self::V2),
            2 => Ok(Self::V3),
            other => Err(X509Error::VersionUnknown {
                version: u16::from(other) + 1,
            }),
        }
    }

    /// Returns the version number: 1, 2 or 3.
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// A serial number in two's complement, most significant octet first (RFC 5280 section 4.1.2.2).
///
/// ```
/// use keyproof_x509::{Certificate, Serial};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let serial = ca.serial();
/// assert_eq!(serial.to_string(), "26903AFD60BF76BBFA59CBF0B03397D0CDCE06BD");
/// assert_eq!((serial.as_bytes().len(), serial.oddity()), (20, None));
/// assert_eq!(Serial::from_bytes(serial.as_bytes())?, serial); // for example from a store
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Serial<'a> {
    /// Without redundant leading octets, so that equal numbers have equal octets.
    octets: &'a [u8],
    /// Whether redundant octets were removed, which only [`Certificate::from_der_lenient`] and CRLs accept.
    is_padded: bool,
}

impl<'a> Serial<'a> {
    /// Creates a serial number from the contents octets of an INTEGER in DER, as [`as_bytes`](Self::as_bytes) returns them. If the
    /// first bit is set the number is negative: a positive one begins with a zero octet then.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] for no octets or redundant leading octets.
    pub fn from_bytes(octets: &'a [u8]) -> Result<Self, X509Error> {
        let serial = Self::of_octets(octets).filter(|serial| !serial.is_padded);
        serial.ok_or_else(|| {
            let reason = ErrorKind::Noncanonical { tag: Tag::Integer };
            X509Error::malformed("serialNumber", reason)
        })
    }

    /// Parses a serial number in DER.
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let serial = Self::read_as_issued(reader)?;
        if serial.is_padded {
            return Err(reader.error(ErrorKind::Noncanonical { tag: Tag::Integer }));
        }
        Ok(serial)
    }

    /// Parses a serial number that may have redundant leading octets, which is not DER (X.690 section 8.3.2).
    pub(crate) fn read_as_issued(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let any = AnyRef::decode(reader)?;
        any.tag().assert_eq(Tag::Integer)?;
        Self::of_octets(any.value())
            .ok_or_else(|| reader.error(ErrorKind::Noncanonical { tag: Tag::Integer }))
    }

    /// Removes redundant leading octets. Returns `None` if there are no octets.
    fn of_octets(received: &'a [u8]) -> Option<Self> {
        if received.is_empty() {
            return None;
        }
        let mut octets = received;
        // If the first nine bits are equal, the first octet is redundant.
        while let [0x00, 0x00..=0x7F, ..] | [0xFF, 0x80..=0xFF, ..] = octets {
            octets = octets.get(1..).unwrap_or_default();
        }
        Some(Self {
            octets,
            is_padded: octets.len() < received.len(),
        })
    }

    /// Returns the contents octets of the INTEGER in DER.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.octets
    }

    /// Returns what is irregular about the number, if anything. RFC 5280 section 4.1.2.2 requires a positive number of at most 20
    /// octets, and requires verifiers to handle others.
    pub fn oddity(&self) -> Option<SerialOddity> {
        match self.octets {
            _ if self.is_padded => Some(SerialOddity::Padded),
            [0] => Some(SerialOddity::Zero),
            [0x80..=0xFF, ..] => Some(SerialOddity::Negative),
            bytes if bytes.len() > 20 => Some(SerialOddity::TooLong {
                octets: bytes.len(),
            }),
            _ => None,
        }
    }
}

/// Compares as numbers.
impl PartialEq for Serial<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
    }
}

impl Eq for Serial<'_> {}

impl Hash for Serial<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.octets.hash(state);
    }
}

impl fmt::Display for Serial<'_> {
    /// Writes upper-case hexadecimal octets. Of a positive number the leading zero octet that DER adds is omitted; a negative
    /// number is written as received.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match self.octets {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        octets.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// An irregularity of a serial number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SerialOddity {
    /// The number is negative.
    Negative,
    /// It has redundant leading octets, which is not DER.
    Padded,
    /// It has more than 20 octets.
    TooLong {
        /// The number of octets.
        octets: usize,
    },
    /// The number is zero.
    Zero,
}

impl fmt::Display for SerialOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative => f.write_str("negative"),
            Self::Padded => f.write_str("written with octets to spare, which is not DER"),
            Self::TooLong { octets } => write!(f, "{octets} octets long, more than 20"),
            Self::Zero => f.write_str("zero"),
        }
    }
}
