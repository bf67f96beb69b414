//! Certificate extensions: walked through whole, read only where a check needs one.

use core::iter;

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::Error;
use crate::oid::Oid;
use crate::reader::{contents, explicit, nested, read_whole};

pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Certificates with more extensions than this are made to cost time.
const MAX_EXTENSIONS: usize = 100;

/// The extensions of a certificate (RFC 5280 section 4.1.2.9), in order; empty if it has none.
#[derive(Clone, Copy, Debug)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Reads the optional `[3]` at the end of a TBSCertificate.
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let list = explicit(reader, 3, |reader| {
            let list = contents(&mut reader.clone(), Tag::Sequence)?;
            nested(reader, Tag::Sequence, |reader| {
                while !reader.is_finished() {
                    Extension::read(reader)?;
                }
                Ok(())
            })?;
            Ok(list)
        })?;
        Ok(Self(list.unwrap_or_default()))
    }

    pub(crate) fn check_size(&self) -> Result<(), Error> {
        match self.iter().nth(MAX_EXTENSIONS) {
            None => Ok(()),
            Some(_) => Err(Error::TooMany {
                field: "extensions",
                limit: MAX_EXTENSIONS,
            }),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each extension, in the order received.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        // `read` has seen every structure, so no error is passed over here.
        let mut reader = SliceReader::new(self.0).ok();
        iter::from_fn(move || Extension::read(reader.as_mut()?).ok())
    }

    /// The value of the first extension of a kind.
    pub(crate) fn find(&self, id: ObjectIdentifier) -> Option<&'a [u8]> {
        self.iter()
            .find(|extension| extension.id == id)
            .map(|extension| extension.value)
    }

    pub(crate) fn basic_constraints(&self) -> Result<Option<BasicConstraints>, Error> {
        self.find(BASIC_CONSTRAINTS)
            .map(BasicConstraints::from_der)
            .transpose()
    }

    pub(crate) fn key_usage(&self) -> Result<Option<KeyUsage>, Error> {
        self.find(KEY_USAGE).map(KeyUsage::from_der).transpose()
    }
}

/// One extension.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// Its kind.
    pub id: Oid<'a>,
    /// Whether a reader that does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value: DER that is read only if a check needs it.
    pub value: &'a [u8],
}

impl<'a> Extension<'a> {
    fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BasicConstraints {
    /// Whether the subject is a CA.
    pub ca: bool,
    /// How many intermediate CAs may follow; only CAs may say so.
    pub path_len: Option<u32>,
}

impl BasicConstraints {
    fn from_der(value: &[u8]) -> Result<Self, Error> {
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// The names of the bits, in their order.
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

    fn from_der(value: &[u8]) -> Result<Self, Error> {
        let bits = read_whole(value, "keyUsage", |reader, _| BitStringRef::decode(reader))?;
        let set = bits
            .bits()
            .take(Self::NAMES.len())
            .enumerate()
            .fold(0, |set, (index, bit)| set | u16::from(bit) << index);
        Ok(Self(set))
    }

    /// Whether the key may sign certificates.
    #[must_use]
    pub fn key_cert_sign(self) -> bool {
        self.0 & Self::KEY_CERT_SIGN != 0
    }

    /// The names of what the key may be used for.
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

/// Whether a subjectAltName value is a list of GeneralNames whose dNSNames are host names (RFC 5280 section 4.2.1.6).
///
/// No check depends on these names; the real service takes what is no host name at all, such as `CN=<code>`.
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

/// RFC 1034 section 3.5 as RFC 1123 relaxed it; a wildcard label and underscores are let pass.
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
