//! Uploads: whatever people send as a certificate, down to its DER.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use der::asn1::AnyRef;
use der::{Decode, SliceReader, Tag, Tagged};

use crate::Error;
use crate::certificate::Certificate;
use crate::reader::contents;

/// Uploads of more bytes than this are refused unread. A certificate has one or two thousand, a chain seldom ten.
pub const MAX_UPLOAD_LEN: usize = 128 * 1024;

/// An upload whose outer layers are off: the DER of one certificate, not yet read.
#[derive(Clone, Debug)]
pub struct Upload<'a> {
    der: Cow<'a, [u8]>,
    encoding: Encoding,
    further_certificates: usize,
}

impl<'a> Upload<'a> {
    /// Takes the layers off an upload: DER, base64 of DER, PEM, or base64 of PEM.
    ///
    /// Tolerated: CRLF, a byte order mark (UTF-8, or UTF-16 as PowerShell writes it), text around PEM blocks, blanks anywhere in base64,
    /// missing padding. Of several certificates the first counts. A private key anywhere is refused by name.
    ///
    /// # Errors
    /// [`Error::Base64`], [`Error::Empty`], [`Error::NotACertificate`], [`Error::PemUnterminated`], [`Error::PemWithoutCertificate`],
    /// [`Error::PrivateKeyInUpload`] and [`Error::TooLong`], each with the layer that failed, and where.
    pub fn decode(input: &'a [u8]) -> Result<Self, Error> {
        if input.len() > MAX_UPLOAD_LEN {
            return Err(Error::TooLong {
                found: input.len(),
                limit: MAX_UPLOAD_LEN,
            });
        }
        if is_der(input) {
            return Self::of_der(Cow::Borrowed(input), Encoding::Der, 0);
        }
        let text = Text::new(input, Layer::Upload);
        if text.bytes.trim_ascii().is_empty() {
            return Err(Error::Empty);
        }
        if text.has_pem() {
            return text.first_certificate(Encoding::Pem);
        }
        let inner = text.base64(0, &text.bytes)?;
        if is_der(&inner) {
            return Self::of_der(Cow::Owned(inner), Encoding::Base64Der, 0);
        }
        let text = Text::new(&inner, Layer::InsideBase64);
        if text.has_pem() {
            return text.first_certificate(Encoding::Base64Pem);
        }
        Err(Error::NotACertificate {
            layer: Layer::InsideBase64,
        })
    }

    fn of_der(
        der: Cow<'a, [u8]>,
        encoding: Encoding,
        further_certificates: usize,
    ) -> Result<Self, Error> {
        match private_key_kind(&der) {
            Some(kind) => Err(Error::PrivateKeyInUpload {
                kind: kind.to_string(),
            }),
            None => Ok(Self {
                der,
                encoding,
                further_certificates,
            }),
        }
    }

    /// Reads the certificate.
    ///
    /// # Errors
    /// Those of [`Certificate::from_der`].
    pub fn certificate(&self) -> Result<Certificate<'_>, Error> {
        Certificate::from_der(&self.der)
    }

    /// The certificate's DER as received.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate's DER as received.
    #[must_use]
    pub fn into_der(self) -> Vec<u8> {
        self.der.into_owned()
    }

    /// The layers that were found.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many certificates came after the first one, and were passed over.
    #[must_use]
    pub fn further_certificates(&self) -> usize {
        self.further_certificates
    }
}

/// The layers around a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Base64 of DER.
    Base64Der,
    /// Base64 of PEM text.
    Base64Pem,
    /// DER alone.
    Der,
    /// PEM (RFC 7468).
    Pem,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64Der => "base64 of DER",
            Self::Base64Pem => "base64 of PEM",
            Self::Der => "DER",
            Self::Pem => "PEM",
        })
    }
}

/// A layer of an upload, in which offsets of errors count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// What the upload's base64 stands for.
    InsideBase64,
    /// The upload as received.
    Upload,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InsideBase64 => "inside the base64",
            Self::Upload => "the upload",
        })
    }
}

/// A SEQUENCE with a length of more than one octet, as every certificate is, or one that begins with a number, as every key does.
/// Text that begins with `0` has no such octets next.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0xFF, ..] | [0x30, _, 0x02, ..])
}

/// A layer of text, without its byte order mark.
struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    layer: Layer,
    /// How long the byte order mark was.
    mark_len: usize,
    /// How many bytes a character had.
    unit_len: usize,
}

impl<'a> Text<'a> {
    fn new(input: &'a [u8], layer: Layer) -> Self {
        let (bytes, mark_len, unit_len) = match input {
            [0xEF, 0xBB, 0xBF, text @ ..] => (Cow::Borrowed(text), 3, 1),
            [0xFF, 0xFE, text @ ..] => (from_utf16(text, u16::from_le_bytes), 2, 2),
            [0xFE, 0xFF, text @ ..] => (from_utf16(text, u16::from_be_bytes), 2, 2),
            text => (Cow::Borrowed(text), 0, 1),
        };
        Self {
            bytes,
            layer,
            mark_len,
            unit_len,
        }
    }

    /// Where a place in the text lies in the layer as received.
    fn at(&self, place: usize) -> usize {
        self.mark_len + self.unit_len * place
    }

    fn has_pem(&self) -> bool {
        find(&self.bytes, BEGIN).is_some()
    }

    /// Decodes base64 that starts at `start` of the text, passing over white space.
    fn base64(&self, start: usize, encoded: &[u8]) -> Result<Vec<u8>, Error> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        let dense: Vec<u8> = encoded
            .iter()
            .copied()
            .filter(|byte| !is_blank(byte))
            .collect();
        // Padding may be missing, but if it is there it must be right.
        let alphabet = match dense.last() {
            Some(b'=') => data_encoding::BASE64,
            _ => data_encoding::BASE64_NOPAD,
        };
        alphabet.decode(&dense).map_err(|error| {
            let within = encoded
                .iter()
                .enumerate()
                .filter(|(_, byte)| !is_blank(byte))
                .nth(error.position)
                .map_or(encoded.len(), |(place, _)| place);
            Error::Base64 {
                layer: self.layer,
                at: self.at(start + within),
            }
        })
    }

    /// Finds the first certificate among the PEM blocks, having looked at the labels of all.
    fn first_certificate(&self, encoding: Encoding) -> Result<Upload<'static>, Error> {
        if let Some(key) = self
            .blocks()
            .find(|block| block.label.ends_with(b"PRIVATE KEY"))
        {
            return Err(Error::PrivateKeyInUpload {
                kind: key.label_text(),
            });
        }
        let mut certificates = self.blocks().filter(PemBlock::is_certificate);
        let Some(first) = certificates.next() else {
            return Err(Error::PemWithoutCertificate {
                layer: self.layer,
                label: self
                    .blocks()
                    .next()
                    .map(|block| block.label_text())
                    .unwrap_or_default(),
            });
        };
        let body = first.body.ok_or(Error::PemUnterminated {
            layer: self.layer,
            at: self.at(first.begin),
        })?;
        let der = self.base64(first.body_start, body)?;
        Upload::of_der(Cow::Owned(der), encoding, certificates.count())
    }

    /// The PEM blocks, wherever they stand.
    fn blocks(&self) -> impl Iterator<Item = PemBlock<'_>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let block = PemBlock::find(&self.bytes, from)?;
            from = block.next;
            Some(block)
        })
    }
}

/// UTF-16 to bytes, one for one: everything that PEM and base64 are made of is ASCII.
fn from_utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'static, [u8]> {
    let (pairs, _) = text.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| u8::try_from(unit(*pair)).unwrap_or(b'?'))
        .collect::<Vec<u8>>()
        .into()
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// A PEM block; `body` is `None` if its END line is missing or has another label.
struct PemBlock<'a> {
    label: &'a [u8],
    begin: usize,
    body_start: usize,
    body: Option<&'a [u8]>,
    next: usize,
}

impl<'a> PemBlock<'a> {
    fn find(text: &'a [u8], from: usize) -> Option<Self> {
        let begin = from + find(text.get(from..)?, BEGIN)?;
        let label_start = begin + BEGIN.len();
        let rest = text.get(label_start..)?;
        let label = rest.get(..find(rest, DASHES)?)?;
        let body_start = label_start + label.len() + DASHES.len();
        let rest = text.get(body_start..)?;
        let body = find(rest, END)
            .and_then(|len| Some((rest.get(..len)?, rest.get(len + END.len()..)?)))
            .filter(|(_, end)| {
                end.strip_prefix(label)
                    .is_some_and(|end| end.starts_with(DASHES))
            })
            .map(|(body, _)| body);
        Some(Self {
            label,
            begin,
            body_start,
            body,
            next: body_start + body.map_or(0, <[u8]>::len),
        })
    }

    fn is_certificate(&self) -> bool {
        matches!(self.label, b"CERTIFICATE" | b"X509 CERTIFICATE")
    }

    /// The label, cut to a length that fits into a message.
    fn label_text(&self) -> alloc::string::String {
        let label = self.label.get(..64).unwrap_or(self.label);
        alloc::string::String::from_utf8_lossy(label).into_owned()
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

/// What private key some DER looks like. A certificate begins with a SEQUENCE that begins with a number or a `[0]`.
fn private_key_kind(der: &[u8]) -> Option<&'static str> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut fields = SliceReader::new(contents(&mut reader, Tag::Sequence).ok()?).ok()?;
    let first = AnyRef::decode(&mut fields).ok()?;
    let second = Tag::peek(&fields).ok()?;
    match (first.tag(), first.value(), second) {
        (Tag::Integer, [3], Tag::Sequence) => Some("PKCS#12"),
        (Tag::Integer, [0 | 1], Tag::Sequence) => Some("PKCS#8"),
        (Tag::Integer, [0 | 1], Tag::Integer) => Some("RSA PRIVATE KEY"),
        (Tag::Integer, [1], Tag::OctetString) => Some("EC PRIVATE KEY"),
        (Tag::Sequence, [0x06, ..], Tag::OctetString) => Some("ENCRYPTED PRIVATE KEY"),
        _ => None,
    }
}
