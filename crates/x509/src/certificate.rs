//! A certificate as received: where its fields lie, and what they say.

use alloc::vec::Vec;
use core::{
    fmt,
    hash::{Hash, Hasher},
};

use der::{
    Decode, ErrorKind, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier},
};

use crate::{
    MAX_UPLOAD_LEN, X509Error,
    algorithm::AlgorithmIdentifier,
    extension::{
        BASIC_CONSTRAINTS, BasicConstraints, Extension, KEY_USAGE, KeyUsage, MAX_EXTENSIONS,
        read_extensions,
    },
    name::Name,
    public_key::SubjectPublicKeyInfo,
    reader::{Field, contents, read_whole, received},
    thumbprint::{Sha1Thumbprint, Sha256Thumbprint},
    time::Validity,
};

/// An X.509 certificate (RFC 5280 section 4.1), read from strict DER and borrowing from it.
///
/// Reading looks at the structure alone: extensions stay unread until they are asked for, and what is merely odd (a negative
/// serial number, version 1) is a finding of [`prove`](crate::prove) instead of an error here. DEFAULT values that are
/// written out (`critical FALSE`, version 1) are tolerated, as by every verifier; anything else that is not DER is refused.
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
    serial: Serial<'a>,
    tbs_algorithm: AlgorithmIdentifier<'a>,
    issuer: Name<'a>,
    validity: Validity,
    has_early_generalized_time: bool,
    subject: Name<'a>,
    public_key: SubjectPublicKeyInfo<'a>,
    /// `None` if there is no list; an empty one is odd.
    extensions: Option<Vec<Extension<'a>>>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate from DER; nothing may follow it.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] with field and offset, [`X509Error::TooLong`], [`X509Error::TooMany`] and
    /// [`X509Error::VersionUnknown`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        let may_pad_serial = false;
        Self::read(der, may_pad_serial)
    }

    /// Reads a certificate from DER whose serial number may have octets to spare. That is not DER, but some makers of TPMs issue
    /// such certificates: [`Serial::oddity`] says so. Signatures are verified over the received bytes.
    ///
    /// # Errors
    ///
    /// Those of [`from_der`](Self::from_der).
    pub fn from_der_as_issued(der: &'a [u8]) -> Result<Self, X509Error> {
        let may_pad_serial = true;
        Self::read(der, may_pad_serial)
    }

    pub(crate) fn read(der: &'a [u8], may_pad_serial: bool) -> Result<Self, X509Error> {
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
        let (tbs, fields, algorithm, signature) = read;
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
            version: Version::from_encoded(fields.version)?,
            serial: fields.serial,
            tbs_algorithm: fields.algorithm,
            issuer: fields.issuer,
            validity: fields.validity,
            has_early_generalized_time: fields.has_early_generalized_time,
            subject: fields.subject,
            public_key: fields.public_key,
            extensions: fields.extensions,
            algorithm,
            signature,
        })
    }

    /// The received DER, whole.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// The received TBSCertificate: what the signature is over.
    pub fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The serial number.
    pub fn serial(&self) -> Serial<'a> {
        self.serial
    }

    /// The issuer's name.
    pub fn issuer(&self) -> Name<'a> {
        self.issuer
    }

    /// The subject's name.
    pub fn subject(&self) -> Name<'a> {
        self.subject
    }

    /// From when until when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The subject's public key.
    pub fn public_key(&self) -> SubjectPublicKeyInfo<'a> {
        self.public_key
    }

    /// The extensions, in order; empty if there are none.
    pub fn extensions(&self) -> &[Extension<'a>] {
        self.extensions.as_deref().unwrap_or_default()
    }

    /// Whether it has a list of extensions without one in it, against RFC 5280 section 4.1 (`SIZE (1..MAX)`).
    pub(crate) fn has_empty_extensions(&self) -> bool {
        self.extensions.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether its validity has a GeneralizedTime before 2050, against RFC 5280 section 4.1.2.5.
    pub(crate) fn has_early_generalized_time(&self) -> bool {
        self.has_early_generalized_time
    }

    /// The first extension of a kind.
    pub(crate) fn find_extension(&self, id: ObjectIdentifier) -> Option<&Extension<'a>> {
        self.extensions()
            .iter()
            .find(|extension| extension.id == id)
    }

    /// The value of the first extension of a kind.
    pub(crate) fn extension(&self, id: ObjectIdentifier) -> Option<&'a [u8]> {
        self.find_extension(id).map(|extension| extension.value)
    }

    /// The signature algorithm outside the signed part.
    pub fn algorithm(&self) -> AlgorithmIdentifier<'a> {
        self.algorithm
    }

    /// The signature algorithm inside the signed part, which RFC 5280 section 4.1.1.2 wants to be the same.
    pub fn tbs_algorithm(&self) -> AlgorithmIdentifier<'a> {
        self.tbs_algorithm
    }

    /// The signature's octets.
    pub fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// The basicConstraints extension (RFC 5280 section 4.2.1.9), if there is one; the first of several.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`], with an offset into the extension's value.
    pub fn basic_constraints(&self) -> Result<Option<BasicConstraints>, X509Error> {
        self.extension(BASIC_CONSTRAINTS)
            .map(BasicConstraints::from_der)
            .transpose()
    }

    /// The keyUsage extension (RFC 5280 section 4.2.1.3), if there is one; the first of several.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`], with an offset into the extension's value.
    pub fn key_usage(&self) -> Result<Option<KeyUsage>, X509Error> {
        self.extension(KEY_USAGE)
            .map(KeyUsage::from_der)
            .transpose()
    }

    /// Whether its key may sign revocation lists: only a keyUsage that is there is asked (RFC 5280 section 6.3.3 (f)).
    pub(crate) fn may_sign_crls(&self) -> Result<bool, X509Error> {
        Ok(self.key_usage()?.is_none_or(KeyUsage::crl_sign))
    }

    /// Whether issuer and subject are the same name. It need not be self-*signed*: that is about keys.
    pub fn is_self_issued(&self) -> bool {
        self.issuer.compare(&self.subject).is_match()
    }

    /// SHA-1 over the received DER, as Azure shows it. A label, not a proof.
    pub fn sha1_thumbprint(&self) -> Sha1Thumbprint {
        Sha1Thumbprint::of(self.der)
    }

    /// SHA-256 over the received DER.
    pub fn sha256_thumbprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of(self.der)
    }
}

/// The fields of a TBSCertificate (RFC 5280 section 4.1.2).
struct TbsFields<'a> {
    version: u8,
    serial: Serial<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    issuer: Name<'a>,
    validity: Validity,
    has_early_generalized_time: bool,
    subject: Name<'a>,
    public_key: SubjectPublicKeyInfo<'a>,
    /// `None` if there is no list; an empty one is odd.
    extensions: Option<Vec<Extension<'a>>>,
}

impl<'a> TbsFields<'a> {
    fn read(
        reader: &mut SliceReader<'a>,
        field: &mut Field,
        may_pad_serial: bool,
    ) -> der::Result<Self> {
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
            Ok(Self {
                version: version.unwrap_or(0),
                serial,
                algorithm,
                issuer,
                validity,
                has_early_generalized_time,
                subject,
                public_key,
                extensions,
            })
        })
    }
}

/// No check needs a unique identifier, so it is passed over unread.
fn skip_unique_id(reader: &mut SliceReader<'_>, number: TagNumber) -> der::Result<()> {
    let tag = number.context_specific(false);
    if !reader.is_finished() && Tag::peek(reader)? == tag {
        contents(reader, tag)?;
    }
    Ok(())
}

/// A BIT STRING of whole octets: a key or a signature. Unused bits are refused.
pub(crate) fn whole_octets<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let bits = reader.decode::<BitStringRef<'a>>()?;
    bits.as_bytes()
        .ok_or_else(|| reader.error(Tag::BitString.value_error()))
}

/// A certificate's version.
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
    /// Without extensions: what `openssl x509 -req` makes when it is given none.
    V1,
    /// With unique identifiers; hardly ever seen.
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

    /// The number as people count it: 1, 2 or 3.
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// A serial number: two's complement, most significant octet first.
///
/// ```
/// use keyproof_x509::Certificate;
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let serial = ca.serial();
/// assert_eq!(serial.to_string(), "26903AFD60BF76BBFA59CBF0B03397D0CDCE06BD");
/// assert_eq!((serial.as_bytes().len(), serial.oddity()), (20, None));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Serial<'a> {
    /// Without octets to spare, so that one number is one text wherever it is compared.
    octets: &'a [u8],
    /// Whether there were octets to spare.
    is_padded: bool,
}

impl<'a> Serial<'a> {
    /// Reads a serial number as DER has it.
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let serial = Self::read_as_issued(reader)?;
        if serial.is_padded {
            return Err(reader.error(ErrorKind::Noncanonical { tag: Tag::Integer }));
        }
        Ok(serial)
    }

    /// Reads a serial number that may have octets to spare, which is not DER (X.690 section 8.3.2).
    pub(crate) fn read_as_issued(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let any = AnyRef::decode(reader)?;
        any.tag().assert_eq(Tag::Integer)?;
        let mut octets = any.value();
        if octets.is_empty() {
            return Err(reader.error(ErrorKind::Noncanonical { tag: Tag::Integer }));
        }
        // The first nine bits are alike: the first octet says nothing.
        while let [0x00, 0x00..=0x7F, ..] | [0xFF, 0x80..=0xFF, ..] = octets {
            octets = octets.get(1..).unwrap_or_default();
        }
        Ok(Self {
            octets,
            is_padded: octets.len() < any.value().len(),
        })
    }

    /// The contents octets of the INTEGER in DER.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.octets
    }

    /// Whether it has octets to spare, which only [`Certificate::from_der_as_issued`] and revocation lists take.
    pub(crate) fn is_padded(&self) -> bool {
        self.is_padded
    }

    /// What is odd about it, if anything. RFC 5280 section 4.1.2.2 wants a positive number of at most 20 octets, and readers
    /// that cope with others.
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

/// As numbers.
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
    /// Upper-case hexadecimal octets, without the one that DER puts before a number whose first bit is set; those of a negative
    /// number as received.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match self.octets {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        octets.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// What is odd about a serial number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SerialOddity {
    /// It is below zero.
    Negative,
    /// It has octets to spare, which is not DER.
    Padded,
    /// It has more than 20 octets.
    TooLong {
        /// How many it has.
        octets: usize,
    },
    /// It is zero.
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
