//! Certificate extensions. All are enumerated, but a value is parsed only if a check needs it.

use alloc::vec::Vec;

use der::{
    Decode, Reader, SliceReader, Tag, TagNumber, Tagged,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef},
};

use crate::{
    X509Error,
    oid::Oid,
    reader::{explicit, nested, read_whole},
};

pub(crate) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.35");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
pub(crate) const CRL_DISTRIBUTION_POINTS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.31");
pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(crate) const INHIBIT_ANY_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.54");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
pub(crate) const POLICY_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.36");
pub(crate) const POLICY_MAPPINGS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.33");
pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.14");

/// The maximum number of extensions, against certificates crafted to cost time.
pub(crate) const MAX_EXTENSIONS: usize = 100;

/// Parses the optional `[3]` at the end of a TBSCertificate: the extensions in order.
pub(crate) fn read_extensions<'a>(
    reader: &mut SliceReader<'a>,
) -> der::Result<Option<Vec<Extension<'a>>>> {
    explicit(reader, 3, |reader| {
        nested(reader, Tag::Sequence, |reader| {
            let mut extensions = Vec::new();
            while !reader.is_finished() {
                extensions.push(Extension::read(reader)?);
            }
            Ok(extensions)
        })
    })
}

/// A certificate extension (RFC 5280 section 4.2).
///
/// ```
/// use keyproof_x509::Certificate;
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let first = ca.extensions()[0];
/// assert_eq!((first.id.to_string().as_str(), first.critical), ("2.5.29.19", true)); // basicConstraints
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Extension<'a> {
    /// The OID of the extension.
    pub id: Oid<'a>,
    /// Whether a verifier that does not know it must reject the certificate.
    pub critical: bool,
    /// The value in DER, which is not parsed yet.
    pub value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        reader.sequence(|reader| {
            Ok(Self {
                id: Oid::read(reader)?,
                critical: Option::<bool>::decode(reader)?.unwrap_or(false),
                value: <&OctetStringRef>::decode(reader)?.as_bytes(),
            })
        })
    }
}

/// basicConstraints (RFC 5280 section 4.2.1.9).
///
/// ```
/// use keyproof_x509::{BasicConstraints, Certificate};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// assert_eq!(ca.basic_constraints()?, Some(BasicConstraints { ca: true, path_len: None }));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BasicConstraints {
    /// Whether the subject is a CA.
    pub ca: bool,
    /// The number of intermediate CAs that may follow; only meaningful for CAs.
    pub path_len: Option<u32>,
}

impl BasicConstraints {
    pub(crate) fn from_der(value: &[u8]) -> Result<Self, X509Error> {
        read_whole(value, "basicConstraints", |reader, _| {
            reader.sequence(|reader| {
                Ok(Self {
                    ca: Option::<bool>::decode(reader)?.unwrap_or(false),
                    path_len: Option::<u32>::decode(reader)?,
                })
            })
        })
    }
}

/// keyUsage (RFC 5280 section 4.2.1.3).
///
/// ```
/// use keyproof_x509::Certificate;
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let usage = ca.key_usage()?.unwrap();
/// assert!(usage.key_cert_sign() && usage.crl_sign());
/// assert_eq!(usage.names().collect::<Vec<_>>(), ["keyCertSign", "cRLSign"]);
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// The names of the bits, in order.
    const NAMES: [&'static str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];

    /// keyCertSign is bit 5.
    const KEY_CERT_SIGN: u16 = 1 << 5;

    /// cRLSign is bit 6.
    const CRL_SIGN: u16 = 1 << 6;

    pub(crate) fn from_der(value: &[u8]) -> Result<Self, X509Error> {
        let bits = read_whole(value, "keyUsage", |reader, _| BitStringRef::decode(reader))?;
        let set = bits
            .bits()
            .take(Self::NAMES.len())
            .enumerate()
            .fold(0, |set, (index, bit)| set | u16::from(bit) << index);
        Ok(Self(set))
    }

    /// Returns whether the key may sign certificates.
    #[must_use = "the key may not be allowed to"]
    pub fn key_cert_sign(self) -> bool {
        self.0 & Self::KEY_CERT_SIGN != 0
    }

    /// Returns whether the key may sign CRLs.
    #[must_use = "the key may not be allowed to"]
    pub fn crl_sign(self) -> bool {
        self.0 & Self::CRL_SIGN != 0
    }

    /// Returns the names of the permitted key usages.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(index, _)| self.0 >> index & 1 == 1)
            .map(|(_, name)| name)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeyUsage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// Returns the keyIdentifier of an authorityKeyIdentifier (RFC 5280 section 4.2.1.1). It only helps to find the issuer's key, so
/// its other fields are not parsed, and a malformed extension is ignored.
pub(crate) fn key_identifier(value: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(value).ok()?;
    let sequence = AnyRef::decode(&mut reader).ok()?;
    let mut fields = SliceReader::new(sequence.value()).ok()?;
    let first = AnyRef::decode(&mut fields).ok()?;
    (first.tag() == TagNumber(0).context_specific(false)).then(|| first.value())
}

/// Returns whether a subjectAltName value is a list of GeneralNames whose dNSNames are host names (RFC 5280 section 4.2.1.6).
///
/// No check depends on these names. Azure's service accepts dNSNames that are not host names, such as `CN=<code>`.
pub(crate) fn alt_names_are_well_formed(value: &[u8]) -> bool {
    let dns_name = TagNumber(2).context_specific(false);
    read_whole(value, "subjectAltName", |reader, _| {
        reader.sequence(|reader| {
            let mut well_formed = true;
            while !reader.is_finished() {
                let name = AnyRef::decode(reader)?;
                well_formed &= name.tag() != dns_name || is_host_name(name.value());
            }
            Ok(well_formed)
        })
    })
    .unwrap_or(false)
}

/// RFC 1034 section 3.5 as relaxed by RFC 1123; a wildcard label and underscores are accepted.
fn is_host_name(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    let name = name.strip_prefix(b"*.").unwrap_or(name);
    name.len() <= 253 && name.split(|&byte| byte == b'.').all(is_label)
}
