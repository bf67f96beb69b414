//! Uploads: whatever people send as a certificate, down to its DER.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use der::{Decode, SliceReader, Tag, Tagged, asn1::AnyRef};

use crate::{X509Error, certificate::Certificate, reader::contents};

/// Uploads of more bytes than this are refused unread. A certificate has one or two thousand, a chain seldom ten.
pub const MAX_UPLOAD_LEN: usize = 128 * 1024;

/// The longest PEM file that is worth keeping, in lengths of its certificate's DER. Base64 in lines of 64 characters and two marks make a
/// file of half as much again: one that is longer than this is blanks for the most part.
const MAX_SOLE_PEM_RATIO: usize = 4;

/// An upload whose outer layers are off: the DER of one certificate, not yet read.
///
/// ```
/// use keyproof_x509::{Encoding, X509Error, Upload};
///
/// let upload = Upload::decode(include_bytes!("../tests/data/p256-ca.pem"))?;
/// assert_eq!((upload.encoding(), upload.further_certificates()), (Encoding::Pem, 0));
/// let ca = upload.certificate()?;
/// assert_eq!(ca.subject().to_string(), "CN=P-256 CA,O=Keyproof Tests");
/// assert!(upload.sole_pem().is_some()); // may be handed out again as it came
///
/// // The wrong file of the two is refused by name, before it gets anywhere.
/// let key = include_bytes!("../tests/data/p256-ca.key");
/// assert!(matches!(Upload::decode(key), Err(X509Error::PrivateKeyInUpload { .. })));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upload<'a> {
    der: Cow<'a, [u8]>,
    encoding: Encoding,
    further_certificates: usize,
    sole_pem: Option<Vec<u8>>,
}

impl<'a> Upload<'a> {
    /// Takes the layers off an upload: DER, base64 of DER, PEM, or base64 of PEM.
    ///
    /// Tolerated: CRLF, a byte order mark (UTF-8, or UTF-16 as PowerShell writes it), text around PEM blocks, blanks anywhere in base64,
    /// missing padding. Of several certificates the first counts. A private key anywhere is refused by name.
    ///
    /// # Errors
    ///
    /// [`X509Error::Base64`], [`X509Error::Empty`], [`X509Error::NotACertificate`], [`X509Error::PemUnterminated`],
    /// [`X509Error::PemWithoutCertificate`], [`X509Error::PrivateKeyInUpload`] and [`X509Error::TooLong`], each with the layer
    /// that failed, and where.
    pub fn decode(input: &'a [u8]) -> Result<Self, X509Error> {
        if input.len() > MAX_UPLOAD_LEN {
            return Err(X509Error::TooLong {
                found: input.len(),
                limit: MAX_UPLOAD_LEN,
            });
        }
        if is_der(input) {
            return Self::of_der(Cow::Borrowed(input), Encoding::Der);
        }
        let text = Text::new(input, Layer::Upload);
        if text.bytes.trim_ascii().is_empty() {
            return Err(X509Error::Empty);
        }
        if let Some(pem) = Pem::read(&text.bytes) {
            return text.first_certificate(&pem, Encoding::Pem);
        }
        let inner = text.base64(0, &text.bytes)?;
        if is_der(&inner) {
            return Self::of_der(Cow::Owned(inner), Encoding::Base64Der);
        }
        let text = Text::new(&inner, Layer::InsideBase64);
        if let Some(pem) = Pem::read(&text.bytes) {
            return text.first_certificate(&pem, Encoding::Base64Pem);
        }
        Err(X509Error::NotACertificate {
            layer: Layer::InsideBase64,
        })
    }

    fn of_der(der: Cow<'a, [u8]>, encoding: Encoding) -> Result<Self, X509Error> {
        match private_key_kind(&der) {
            Some(kind) => Err(X509Error::PrivateKeyInUpload {
                kind: kind.to_string(),
            }),
            None => Ok(Self {
                der,
                encoding,
                further_certificates: 0,
                sole_pem: None,
            }),
        }
    }

    /// Reads the certificate.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_der`].
    pub fn certificate(&self) -> Result<Certificate<'_>, X509Error> {
        Certificate::from_der(&self.der)
    }

    /// The certificate's DER as received.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate's DER as received.
    ///
    /// ```
    /// use keyproof_x509::Upload;
    ///
    /// let upload = Upload::decode(include_bytes!("../tests/data/p256-ca.pem"))?;
    /// assert_eq!(upload.into_der(), include_bytes!("../tests/data/p256-ca.der"));
    /// # Ok::<(), keyproof_x509::X509Error>(())
    /// ```
    pub fn into_der(self) -> Vec<u8> {
        self.der.into_owned()
    }

    /// The PEM file as it was uploaded, its base64 taken off if it had any, if that file is one block of a certificate and
    /// nothing else but white space, of which there is little: the file has at most four times as many bytes as the DER.
    pub fn sole_pem(&self) -> Option<&[u8]> {
        self.sole_pem.as_deref()
    }

    /// The layers that were found.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many certificates came after the first one, and were passed over.
    pub fn further_certificates(&self) -> usize {
        self.further_certificates
    }
}

/// The layers around a certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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

    /// Decodes base64 that starts at `start` of the text, passing over white space.
    fn base64(&self, start: usize, encoded: &[u8]) -> Result<Vec<u8>, X509Error> {
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
            X509Error::Base64 {
                layer: self.layer,
                at: self.at(start + within),
            }
        })
    }

    /// Decodes the first certificate among the PEM blocks, having looked at the labels of all.
    fn first_certificate(
        &self,
        pem: &Pem<'_>,
        encoding: Encoding,
    ) -> Result<Upload<'static>, X509Error> {
        if let Some(kind) = &pem.private_key {
            return Err(X509Error::PrivateKeyInUpload { kind: kind.clone() });
        }
        let Some(first) = &pem.certificate else {
            return Err(X509Error::PemWithoutCertificate {
                layer: self.layer,
                label: pem.first_label.clone(),
            });
        };
        let body = first.body.ok_or(X509Error::PemUnterminated {
            layer: self.layer,
            at: self.at(first.begin),
        })?;
        let der = self.base64(first.body_start, body)?;
        let is_bare = self.mark_len == 0 && pem.blocks == 1 && first.is_all_of(&self.bytes);
        let is_short = self.bytes.len() <= der.len().saturating_mul(MAX_SOLE_PEM_RATIO);
        Ok(Upload {
            further_certificates: pem.further_certificates,
            sole_pem: (is_bare && is_short).then(|| self.bytes.to_vec()),
            ..Upload::of_der(Cow::Owned(der), encoding)?
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

/// What the PEM blocks of a text are, wherever they stand.
struct Pem<'a> {
    blocks: usize,
    certificate: Option<PemBlock<'a>>,
    first_label: String,
    further_certificates: usize,
    /// What the first private key calls itself.
    private_key: Option<String>,
}

impl<'a> Pem<'a> {
    /// `None` if none begins. In one pass: an upload may contain ten thousand beginnings without an end.
    fn read(text: &'a [u8]) -> Option<Self> {
        let mut blocks = PemBlocks::of(text);
        blocks.begins.find(text, 0)?;
        let mut pem = Self {
            blocks: 0,
            certificate: None,
            first_label: String::new(),
            further_certificates: 0,
            private_key: None,
        };
        for block in blocks {
            pem.blocks += 1;
            if pem.blocks == 1 {
                pem.first_label = block.label_text();
            }
            if pem.private_key.is_none() && block.label.ends_with(b"PRIVATE KEY") {
                pem.private_key = Some(block.label_text());
            }
            match pem.certificate {
                Some(_) if block.is_certificate() => pem.further_certificates += 1,
                None if block.is_certificate() => pem.certificate = Some(block),
                _ => {}
            }
        }
        Some(pem)
    }
}

/// A PEM block; `body` is `None` if its END line is missing or has another label.
struct PemBlock<'a> {
    label: &'a [u8],
    begin: usize,
    body_start: usize,
    body: Option<&'a [u8]>,
    end: usize,
}

impl PemBlock<'_> {
    fn is_certificate(&self) -> bool {
        matches!(self.label, b"CERTIFICATE" | b"X509 CERTIFICATE")
    }

    /// Whether there is nothing around it but white space.
    fn is_all_of(&self, text: &[u8]) -> bool {
        let around = [text.get(..self.begin), text.get(self.end..)];
        around
            .into_iter()
            .all(|part| part.is_some_and(|part| part.trim_ascii().is_empty()))
    }

    /// The label, cut to a length that fits into a message.
    fn label_text(&self) -> String {
        let label = self.label.get(..64).unwrap_or(self.label);
        String::from_utf8_lossy(label).into_owned()
    }
}

/// The blocks of a text, in order. Each of the three marks is looked for from where it was found last, so that together they
/// cost three passes over the text, whatever is in it.
struct PemBlocks<'a> {
    text: &'a [u8],
    from: usize,
    begins: Mark,
    dashes: Mark,
    ends: Mark,
}

impl<'a> PemBlocks<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            from: 0,
            begins: Mark::new(b"-----BEGIN "),
            dashes: Mark::new(b"-----"),
            ends: Mark::new(b"-----END "),
        }
    }
}

impl<'a> Iterator for PemBlocks<'a> {
    type Item = PemBlock<'a>;

    fn next(&mut self) -> Option<PemBlock<'a>> {
        let text = self.text;
        let begin = self.begins.find(text, self.from)?;
        let label_start = begin + self.begins.text.len();
        let label_end = self.dashes.find(text, label_start)?;
        let label = text.get(label_start..label_end)?;
        let body_start = label_end + self.dashes.text.len();
        let ended = self.ends.find(text, body_start).and_then(|body_end| {
            let label_again = text.get(body_end + self.ends.text.len()..)?;
            let rest = label_again.strip_prefix(label)?;
            let rest = rest.strip_prefix(self.dashes.text)?;
            Some((text.get(body_start..body_end)?, text.len() - rest.len()))
        });
        // What follows may begin within this one's END line, but not within its body.
        self.from = body_start + ended.map_or(0, |(body, _)| body.len());
        Some(PemBlock {
            label,
            begin,
            body_start,
            body: ended.map(|(body, _)| body),
            end: ended.map_or(body_start, |(_, end)| end),
        })
    }
}

/// A text that is looked for at places that only rise.
struct Mark {
    text: &'static [u8],
    /// Where it was found last: the first one at or after the place that was asked for then.
    found: Option<usize>,
    /// Up to where it was looked for.
    seen: usize,
    /// How many places were looked at.
    #[cfg(test)]
    steps: usize,
}

impl Mark {
    fn new(text: &'static [u8]) -> Self {
        Self {
            text,
            found: None,
            seen: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// The first one at or after `from`, which is never before that of the call before.
    fn find(&mut self, text: &[u8], from: usize) -> Option<usize> {
        if self.found.is_some_and(|found| found >= from) {
            return self.found;
        }
        let start = self.seen.max(from);
        let rest = text.get(start..).unwrap_or_default();
        let found = rest
            .windows(self.text.len())
            .position(|window| window == self.text);
        #[cfg(test)]
        {
            self.steps += found.map_or(rest.len(), |found| found + 1);
        }
        self.seen = found.map_or(text.len(), |found| start + found + 1);
        self.found = found.map(|found| start + found);
        self.found
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Work is counted, not timed: places at which a mark was looked for.
    #[test]
    fn pem_of_any_shape_is_read_in_one_pass() {
        for piece in [
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n-----END X-----\n",
            "-----BEGIN ",
            "-----BEGIN -----",
            "-----END CERTIFICATE-----\n",
            "-----BEGIN A-----END A-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-",
        ] {
            let text = piece.repeat(MAX_UPLOAD_LEN / piece.len());
            let mut blocks = PemBlocks::of(text.as_bytes());
            blocks.by_ref().for_each(drop);
            for mark in [&blocks.begins, &blocks.dashes, &blocks.ends] {
                assert!(
                    mark.steps <= text.len(),
                    "{piece:?}: {} steps for {} bytes",
                    mark.steps,
                    text.len()
                );
            }
        }
    }
}
