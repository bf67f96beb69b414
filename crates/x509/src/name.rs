//! Distinguished names: RFC 4514 text, common names, and comparison.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::{fmt, fmt::Write, iter};

use der::{Reader, SliceReader, Tag, asn1::ObjectIdentifier};

use crate::{
    X509Error,
    oid::Oid,
    reader::{contents, nested, read_whole, received},
    value::{Canonical, Value},
};

/// commonName (RFC 4519 section 2.3).
pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// emailAddress (RFC 5280 section 4.1.2.6).
pub(crate) const EMAIL_ADDRESS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// The maximum number of attributes of a name, against names crafted to cost time.
const MAX_ATTRIBUTES: usize = 100;

/// The maximum number of attributes of a relative distinguished name, which rarely has two.
const MAX_ATTRIBUTES_OF_ONE: usize = 16;

/// A distinguished name (RFC 5280 section 4.1.2.4) as received.
///
/// ```
/// use keyproof_x509::{Certificate, NameMatch};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = Certificate::from_der(include_bytes!("../tests/data/p256-leaf.der"))?;
/// assert_eq!(leaf.issuer().compare(&ca.subject()), NameMatch::Exact);
/// assert!(!leaf.subject().compare(&ca.subject()).is_match());
/// assert_eq!(ca.subject().common_name().as_deref(), Some("P-256 CA"));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Name<'a> {
    der: &'a [u8],
    rdns: &'a [u8],
    attributes: Attributes,
}

/// The numbers of attributes of a name.
#[derive(Clone, Copy, Default)]
struct Attributes {
    all: usize,
    /// The maximum in one relative distinguished name.
    of_one: usize,
}

impl<'a> Name<'a> {
    /// Parses a name from DER, such as the directoryName of a subjectAltName. No data may follow it.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] with the offset, and [`X509Error::TooMany`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        let name = read_whole(der, "Name", |reader, _| Self::read(reader))?;
        name.check_size("Name")?;
        Ok(name)
    }

    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let (der, (rdns, attributes)) = received(reader, |reader| {
            nested(reader, Tag::Sequence, |reader| {
                received(reader, |reader| {
                    let mut attributes = Attributes::default();
                    while !reader.is_finished() {
                        let more = count_rdn(reader)?;
                        attributes.all += more;
                        attributes.of_one = attributes.of_one.max(more);
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

    pub(crate) fn check_size(&self, field: &'static str) -> Result<(), X509Error> {
        if self.attributes.all > MAX_ATTRIBUTES {
            return Err(X509Error::TooMany {
                field,
                limit: MAX_ATTRIBUTES,
            });
        }
        if self.attributes.of_one > MAX_ATTRIBUTES_OF_ONE {
            return Err(X509Error::TooMany {
                field: "RelativeDistinguishedName",
                limit: MAX_ATTRIBUTES_OF_ONE,
            });
        }
        Ok(())
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns whether the name is empty.
    pub fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// Returns the relative distinguished names, in the order received.
    pub fn rdns(&self) -> impl Iterator<Item = Rdn<'a>> + use<'a> {
        // `read` has parsed every structure, so no error is ignored here or in `Rdn`.
        let mut reader = SliceReader::new(self.rdns).ok();
        iter::from_fn(move || contents(reader.as_mut()?, Tag::Set).ok().map(Rdn))
    }

    /// Returns the attributes of all relative distinguished names, in the order received.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.rdns().flat_map(|rdn| rdn.attributes())
    }

    /// Returns the values of all common names.
    pub fn common_names(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.attributes()
            .filter(|attribute| attribute.kind == COMMON_NAME)
            .map(|attribute| attribute.value)
    }

    /// Returns the text of the last (most specific) common name, or `None` if there is none or it is not text.
    pub fn common_name(&self) -> Option<Cow<'a, str>> {
        self.common_names().last()?.text()
    }

    /// Compares two names byte for byte and, if they differ, as text. The text comparison ignores the string type, folds ASCII
    /// letter case and collapses whitespace, as in RFC 5280 section 7.1 but without Unicode case folding and normalisation. Values
    /// that are not text compare byte for byte. The order of relative distinguished names is significant; the order within one is
    /// not.
    pub fn compare(&self, other: &Name<'_>) -> NameMatch {
        if self.rdns == other.rdns {
            return NameMatch::Exact;
        }
        if self.canonical() == other.canonical() {
            NameMatch::Folded
        } else {
            NameMatch::Different
        }
    }

    /// Returns the canonical form, which is equal for names that match.
    pub(crate) fn canonical(&self) -> CanonicalName<'a> {
        CanonicalName(self.rdns().map(|rdn| rdn.canonical()).collect())
    }
}

/// Parses a RelativeDistinguishedName, a non-empty SET OF AttributeTypeAndValue, and counts its attributes.
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

/// The canonical form of a name: its relative distinguished names as sorted sets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CanonicalName<'a>(Vec<CanonicalRdn<'a>>);

type CanonicalRdn<'a> = Vec<(&'a [u8], Canonical<'a>)>;

impl CanonicalName<'_> {
    /// Returns whether the name lies within a subtree (RFC 5280 section 7.1).
    pub(crate) fn starts_with(&self, base: &CanonicalName<'_>) -> bool {
        self.0.len() >= base.0.len() && iter::zip(&self.0, &base.0).all(|(a, b)| a == b)
    }
}

/// The result of comparing two names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use = "the names may differ"]
pub enum NameMatch {
    /// The names differ.
    Different,
    /// The names are equal byte for byte.
    Exact,
    /// The names are equal after letter case is folded and whitespace is collapsed.
    Folded,
}

impl NameMatch {
    /// Returns whether the names match, exactly or folded.
    #[must_use = "the names may differ"]
    pub fn is_match(self) -> bool {
        self != Self::Different
    }
}

impl fmt::Display for Name<'_> {
    /// Writes RFC 4514 text: the last relative distinguished name first. Control characters are escaped too.
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

/// A relative distinguished name (RFC 5280 section 4.1.2.4): usually one attribute, rarely several.
#[derive(Clone, Copy)]
pub struct Rdn<'a>(&'a [u8]);

impl<'a> Rdn<'a> {
    /// Returns the attributes, in the order received.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut reader = SliceReader::new(self.0).ok();
        iter::from_fn(move || Attribute::read(reader.as_mut()?).ok())
    }

    /// Returns the canonical form, which is equal for sets that match.
    fn canonical(&self) -> CanonicalRdn<'a> {
        let attributes = self.attributes();
        let mut set: Vec<_> = attributes
            .map(|attribute| (attribute.kind.as_bytes(), attribute.value.canonical()))
            .collect();
        set.sort_unstable();
        set
    }
}

impl fmt::Debug for Rdn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rdn({self})")
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

/// An attribute of a name (RFC 5280 section 4.1.2.4).
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// The type, such as `2.5.4.3` for commonName.
    pub kind: Oid<'a>,
    /// The value.
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        reader.sequence(|reader| {
            Ok(Self {
                kind: Oid::read(reader)?,
                value: Value::read(reader)?,
            })
        })
    }

    /// Returns the short name if the value must be a DirectoryString (RFC 5280 appendix A.1) but has another string type.
    pub(crate) fn forbidden_string_type(&self) -> Option<&'static str> {
        self.short_name().filter(|name| {
            DIRECTORY_STRINGS.contains(name) && !self.value.may_be_directory_string()
        })
    }

    /// Returns the short name of the type from RFC 4514 section 3 or the LDAP registry.
    fn short_name(&self) -> Option<&'static str> {
        SHORT_NAMES
            .iter()
            .find(|(oid, _)| self.kind == *oid)
            .map(|(_, name)| *name)
    }
}

/// The attributes that must be a DirectoryString (RFC 5280 appendix A.1).
static DIRECTORY_STRINGS: [&str; 10] = [
    "CN",
    "L",
    "ST",
    "O",
    "OU",
    "SN",
    "title",
    "givenName",
    "initials",
    "generationQualifier",
];

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
    (EMAIL_ADDRESS, "emailAddress"),
];

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 4514 section 2.4: the value is hexadecimal if its type is a dotted OID or it is not text.
        match (self.short_name(), self.value.text()) {
            (Some(name), Some(text)) => {
                write!(f, "{name}=")?;
                write_escaped(f, &text)
            }
            (Some(name), None) => write!(f, "{name}={}", Hexadecimal(self.value.as_der())),
            (None, _) => write!(f, "{}={}", self.kind, Hexadecimal(self.value.as_der())),
        }
    }
}

/// Escapes as in RFC 4514 section 2.4. Control characters are escaped too, so that a name cannot corrupt a log line or a terminal.
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

/// The complete encoding of a value, as `#04024869`.
struct Hexadecimal<'a>(&'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Returns the texts of two names that differ. Where they differ, non-ASCII characters are escaped (RFC 4514 section 2.4), because
/// different characters can look the same.
pub(crate) fn told_apart(one: &Name<'_>, other: &Name<'_>) -> (String, String) {
    use alloc::string::ToString;

    let (one, other) = (one.to_string(), other.to_string());
    let alike = |(a, b): &(char, char)| a == b;
    let start: usize = iter::zip(one.chars(), other.chars())
        .take_while(alike)
        .map(|(character, _)| character.len_utf8())
        .sum();
    let rest = |text: &str| text.get(start..).unwrap_or_default().to_string();
    let (one_rest, other_rest) = (rest(&one), rest(&other));
    let end: usize = iter::zip(one_rest.chars().rev(), other_rest.chars().rev())
        .take_while(alike)
        .map(|(character, _)| character.len_utf8())
        .sum();
    (
        escaped_between(&one, start, end),
        escaped_between(&other, start, end),
    )
}

/// Escapes the non-ASCII characters of a text, except in the first `start` and the last `end` bytes.
fn escaped_between(text: &str, start: usize, end: usize) -> String {
    let end = text.len().saturating_sub(end);
    let mut escaped = String::with_capacity(text.len());
    for (place, character) in text.char_indices() {
        if character.is_ascii() || !(start..end).contains(&place) {
            escaped.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String does not fail.
            let _ = write!(escaped, "\\{byte:02X}");
        }
    }
    escaped
}
