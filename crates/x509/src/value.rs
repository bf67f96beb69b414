//! Attribute values of names: their text in any string type, and their canonical form.

use alloc::{borrow::Cow, string::String};
use core::{char::decode_utf16, fmt, str};

use der::{Decode, Length, Reader, SliceReader, Tag, Tagged, asn1::AnyRef};

use crate::reader::received;

/// UniversalString's identifier octet (X.680 section 41), which `der` does not support.
const UNIVERSAL_STRING: u8 = 0x1C;

/// An attribute value as received (RFC 5280 section 4.1.2.4).
#[derive(Clone, Copy)]
pub struct Value<'a> {
    der: &'a [u8],
    kind: StringType,
    contents: &'a [u8],
}

/// The string type of a value, which determines how it is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StringType {
    /// UTF-16, big-endian.
    Bmp,
    /// ASCII, but not a DirectoryString in RFC 5280: IA5String, NumericString or VisibleString.
    OtherAscii,
    /// Not a string.
    None,
    Printable,
    Teletex,
    /// UTF-32, big-endian.
    Universal,
    Utf8,
}

impl<'a> Value<'a> {
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let (der, (kind, contents)) = received(reader, |reader| {
            if reader.peek_byte() == Some(UNIVERSAL_STRING) {
                reader.read_byte()?;
                let length = Length::decode(reader)?;
                return Ok((StringType::Universal, reader.read_slice(length)?));
            }
            let any = AnyRef::decode(reader)?;
            let kind = match any.tag() {
                Tag::BmpString => StringType::Bmp,
                Tag::Ia5String | Tag::NumericString | Tag::VisibleString => StringType::OtherAscii,
                Tag::PrintableString => StringType::Printable,
                Tag::TeletexString => StringType::Teletex,
                Tag::Utf8String => StringType::Utf8,
                _ => StringType::None,
            };
            Ok((kind, any.value()))
        })?;
        Ok(Self {
            der,
            kind,
            contents,
        })
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns the text in any string type, or `None` for other types and invalid encodings. TeletexString is decoded as Latin-1,
    /// as in other implementations.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let as_utf8 = || str::from_utf8(self.contents).ok().map(Cow::Borrowed);
        match self.kind {
            StringType::OtherAscii | StringType::Printable | StringType::Utf8 => as_utf8(),
            StringType::Teletex if self.contents.is_ascii() => as_utf8(),
            StringType::Teletex => Some(Cow::Owned(
                self.contents.iter().map(|&byte| char::from(byte)).collect(),
            )),
            StringType::Bmp => utf16_text(self.contents).map(Cow::Owned),
            StringType::Universal => utf32_text(self.contents).map(Cow::Owned),
            StringType::None => None,
        }
    }

    /// Returns whether it has a string type of a DirectoryString (RFC 5280 appendix A.1), or is not a string.
    pub(crate) fn may_be_directory_string(&self) -> bool {
        self.kind != StringType::OtherAscii
    }

    /// Returns the canonical form, which is equal for values that match: the text with ASCII letters in lower case, surrounding
    /// whitespace removed and other whitespace collapsed, or the DER if there is no text.
    pub(crate) fn canonical(&self) -> Canonical<'a> {
        match self.text() {
            Some(text) => Canonical::Text(folded(&text)),
            None => Canonical::Other(self.der),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "Value({:?}, {text:?})", self.kind),
            None => write!(f, "Value({:02X?})", self.der),
        }
    }
}

/// The canonical form of a value.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Canonical<'a> {
    Other(&'a [u8]),
    Text(String),
}

fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split(is_blank).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.chars().map(|character| character.to_ascii_lowercase()));
    }
    folded
}

/// ASCII whitespace. Other whitespace is treated like letters.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

fn utf16_text(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    let text: Result<String, _> = decode_utf16(units).collect();
    text.ok().filter(|_| rest.is_empty())
}

fn utf32_text(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<4>();
    let text: Option<String> = units
        .iter()
        .map(|unit| char::from_u32(u32::from_be_bytes(*unit)))
        .collect();
    text.filter(|_| rest.is_empty())
}
