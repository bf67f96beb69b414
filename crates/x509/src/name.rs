//! Distinguished names: RFC 4514 text, common names, and the comparison of two names.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::char::{REPLACEMENT_CHARACTER, decode_utf16};
use core::{fmt, iter, str};

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};

use crate::Error;
use crate::oid::Oid;
use crate::reader::{contents, nested, read_whole, received};

/// commonName (RFC 4519 section 2.3).
pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Names longer than this are made to cost time, not to name anyone.
const MAX_ATTRIBUTES: usize = 100;

/// A distinguished name (RFC 5280 section 4.1.2.4) as received.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    der: &'a [u8],
    rdns: &'a [u8],
    attributes: usize,
}

impl<'a> Name<'a> {
    /// Reads a name from DER, such as the directoryName of a subjectAltName; nothing may follow it.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the offset, and [`Error::TooMany`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, Error> {
        let name = read_whole(der, "Name", |reader, _| Self::read(reader))?;
        name.check_size("Name")?;
        Ok(name)
    }

    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let (der, (rdns, attributes)) = received(reader, |reader| {
            nested(reader, Tag::Sequence, |reader| {
                received(reader, |reader| {
                    let mut attributes = 0;
                    while !reader.is_finished() {
                        attributes += count_rdn(reader)?;
                    }
                    Ok(attributes)
                })
            })
        })?;
        Ok(Self {
            der,
            rdns,
            attributes,
        })
    }

    pub(crate) fn check_size(&self, field: &'static str) -> Result<(), Error> {
        match self.attributes {
            0..=MAX_ATTRIBUTES => Ok(()),
            _ => Err(Error::TooMany {
                field,
                limit: MAX_ATTRIBUTES,
            }),
        }
    }

    /// The received DER of the whole name.
    #[must_use]
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Whether it names nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// The relative distinguished names, in the order received.
    pub fn rdns(&self) -> impl Iterator<Item = Rdn<'a>> + use<'a> {
        // `read` has seen every structure, so no error is passed over here or in `Rdn`.
        let mut reader = SliceReader::new(self.rdns).ok();
        iter::from_fn(move || contents(reader.as_mut()?, Tag::Set).ok().map(Rdn))
    }

    /// All attributes of all relative distinguished names, in the order received.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.rdns().flat_map(|rdn| rdn.attributes())
    }

    /// The values of all common names.
    pub fn common_names(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.attributes()
            .filter(|attribute| attribute.kind == COMMON_NAME)
            .map(|attribute| attribute.value)
    }

    /// The text of the last (most specific) common name; `None` if there is none, or if it has no text.
    #[must_use]
    pub fn common_name(&self) -> Option<Cow<'a, str>> {
        self.common_names().last()?.text()
    }

    /// Compares two names: byte for byte, else with letter case folded and blanks collapsed in PrintableString and UTF8String
    /// values (the spirit of RFC 5280 section 7.1, without Unicode normalisation). The order of relative distinguished names
    /// counts, that within one does not.
    #[must_use]
    pub fn compare(&self, other: &Name<'_>) -> NameMatch {
        if self.rdns == other.rdns {
            return NameMatch::Exact;
        }
        let mut ours = self.rdns();
        let mut theirs = other.rdns();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return NameMatch::Folded,
                (Some(a), Some(b)) if a.folds_to(&b) => {}
                _ => return NameMatch::Different,
            }
        }
    }
}

/// Reads one RelativeDistinguishedName, a SET OF AttributeTypeAndValue that is not empty, and counts its attributes.
fn count_rdn(reader: &mut SliceReader<'_>) -> der::Result<usize> {
    nested(reader, Tag::Set, |reader| {
        let mut attributes = 0;
        while attributes == 0 || !reader.is_finished() {
            Attribute::read(reader)?;
            attributes += 1;
        }
        Ok(attributes)
    })
}

/// How two names compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NameMatch {
    /// They are different names.
    Different,
    /// They are the same, byte for byte.
    Exact,
    /// They are the same once letter case is folded and blanks are collapsed.
    Folded,
}

impl NameMatch {
    /// Whether the names are the same, one way or the other.
    #[must_use]
    pub fn is_match(self) -> bool {
        self != Self::Different
    }
}

impl fmt::Display for Name<'_> {
    /// RFC 4514: the last relative distinguished name first; control characters are escaped too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rdns: Vec<_> = self.rdns().collect();
        for (index, rdn) in rdns.iter().rev().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            rdn.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A relative distinguished name: one attribute, seldom several.
#[derive(Clone, Copy)]
pub struct Rdn<'a>(&'a [u8]);

impl<'a> Rdn<'a> {
    /// Its attributes, in the order received.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut reader = SliceReader::new(self.0).ok();
        iter::from_fn(move || Attribute::read(reader.as_mut()?).ok())
    }

    /// Equality as sets: each value folds to as many values there as here. (`MAX_ATTRIBUTES` bounds the square.)
    fn folds_to(&self, other: &Rdn<'_>) -> bool {
        let occurrences = |rdn: &Rdn<'_>, wanted: &Attribute<'_>| {
            rdn.attributes()
                .filter(|attribute| attribute.folds_to(wanted))
                .count()
        };
        self.attributes().count() == other.attributes().count()
            && self
                .attributes()
                .all(|attribute| occurrences(self, &attribute) == occurrences(other, &attribute))
    }
}

impl fmt::Display for Rdn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attribute) in self.attributes().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            attribute.fmt(f)?;
        }
        Ok(())
    }
}

/// An attribute of a name.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its type, such as `2.5.4.3` for commonName.
    pub kind: Oid<'a>,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        reader.sequence(|reader| {
            Ok(Self {
                kind: Oid::read(reader)?,
                value: Value(AnyRef::decode(reader)?),
            })
        })
    }

    fn folds_to(&self, other: &Attribute<'_>) -> bool {
        self.kind == other.kind && self.value.folds_to(&other.value)
    }

    /// The short name that RFC 4514 section 3 or the LDAP registry gives the type.
    fn short_name(&self) -> Option<&'static str> {
        SHORT_NAMES
            .iter()
            .find(|(oid, _)| self.kind == *oid)
            .map(|(_, name)| *name)
    }
}

static SHORT_NAMES: [(ObjectIdentifier, &str); 17] = [
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (
        ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"),
        "DC",
    ),
    (
        ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"),
        "UID",
    ),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "givenName"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "initials"),
    (
        ObjectIdentifier::new_unwrap("2.5.4.44"),
        "generationQualifier",
    ),
    (ObjectIdentifier::new_unwrap("2.5.4.46"), "dnQualifier"),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"),
        "emailAddress",
    ),
];

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 4514 section 2.4: a dotted type has its value in hexadecimal, and so has a value without text.
        match (self.short_name(), self.value.text()) {
            (Some(name), Some(text)) => {
                write!(f, "{name}=")?;
                write_escaped(f, &text)
            }
            (Some(name), None) => write!(f, "{name}={}", Hexadecimal(self.value.0)),
            (None, _) => write!(f, "{}={}", self.kind, Hexadecimal(self.value.0)),
        }
    }
}

/// RFC 4514 section 2.4, and control characters besides, so that a name cannot break a log line or a terminal.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{character}")?,
            ' ' if index == 0 || index == last => f.write_str("\\ ")?,
            '#' if index == 0 => f.write_str("\\#")?,
            _ if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    write!(f, "\\{byte:02X}")?;
                }
            }
            _ => write!(f, "{character}")?,
        }
    }
    Ok(())
}

/// A value's whole encoding as `#04024869`.
struct Hexadecimal<'a>(AnyRef<'a>);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let der = self.0.to_der().map_err(|_| fmt::Error)?;
        f.write_str("#")?;
        der.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(AnyRef<'a>);

impl<'a> Value<'a> {
    /// Its text, whatever string type it has; `None` for other types and for broken encodings. TeletexString is read as
    /// Latin-1, as everyone does.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let bytes = self.0.value();
        match self.0.tag() {
            Tag::Utf8String
            | Tag::PrintableString
            | Tag::Ia5String
            | Tag::VisibleString
            | Tag::NumericString => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Tag::TeletexString if bytes.is_ascii() => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Tag::TeletexString => Some(Cow::Owned(
                bytes.iter().map(|&byte| char::from(byte)).collect(),
            )),
            Tag::BmpString => utf16_text(bytes).map(Cow::Owned),
            _ => None,
        }
    }

    fn folds_to(&self, other: &Value<'_>) -> bool {
        let foldable = |tag| matches!(tag, Tag::PrintableString | Tag::Utf8String);
        match (
            str::from_utf8(self.0.value()),
            str::from_utf8(other.0.value()),
        ) {
            (Ok(a), Ok(b)) if foldable(self.0.tag()) && foldable(other.0.tag()) => {
                folded(a).eq(folded(b))
            }
            _ => self.0 == other.0,
        }
    }
}

fn utf16_text(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text: String = decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
        .map(|unit| unit.unwrap_or(REPLACEMENT_CHARACTER))
        .collect();
    (rest.is_empty() && !text.contains(REPLACEMENT_CHARACTER)).then_some(text)
}

/// Lower case, with a blank before each word and no others.
fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    text.split_whitespace()
        .flat_map(|word| iter::once(' ').chain(word.chars().flat_map(char::to_lowercase)))
}
