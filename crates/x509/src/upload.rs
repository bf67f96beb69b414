//! Uploads: decodes a certificate from the encodings that people send.

use alloc::{
    borrow::{Cow, ToOwned},
    string::String,
    vec::Vec,
};
use core::fmt;

use der::{Decode, SliceReader, Tag, Tagged, asn1::AnyRef};

use crate::{X509Error, certificate::Certificate, pkcs7::SIGNED_DATA, reader::contents};

/// The maximum length of an upload in bytes; longer ones are not parsed. A certificate has one or two thousand bytes, a chain
/// rarely ten thousand.
pub const MAX_UPLOAD_LEN: usize = 128 * 1024;

/// The maximum length of a stored PEM file, as a multiple of the DER length. Base64 in lines of 64 characters and the BEGIN and END
/// lines add about half; a file longer than this is mostly whitespace.
const MAX_SOLE_PEM_RATIO: usize = 4;

/// A decoded upload: the DER of one certificate, not yet parsed.
///
/// ```
/// use keyproof_x509::{Encoding, X509Error, Upload};
///
/// let upload = Upload::decode(include_bytes!("../tests/data/p256-ca.pem"))?;
/// assert_eq!((upload.encoding(), upload.further_certificates()), (Encoding::Pem, 0));
/// let ca = upload.certificate()?;
/// assert_eq!(ca.subject().to_string(), "CN=P-256 CA,O=Keyproof Tests");
/// assert!(upload.sole_pem().is_some()); // the file can be returned unchanged
///
/// // Uploading the private key instead is rejected with a specific error.
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
    /// Decodes an upload: DER, base64 of DER, PEM, or base64 of PEM.
    ///
    /// Accepted as well: CRLF, a byte order mark (UTF-8, or UTF-16 as PowerShell writes it), text around PEM blocks, whitespace
    /// anywhere in base64, and missing padding. If there are several certificates, the first is used. A private key anywhere is
    /// rejected.
    ///
    /// # Errors
    ///
    /// [`X509Error::Base64`], [`X509Error::Empty`], [`X509Error::NotACertificate`], [`X509Error::PemUnterminated`],
    /// [`X509Error::PemWithoutCertificate`], [`X509Error::Pkcs7InUpload`], [`X509Error::PrivateKeyInUpload`] and
    /// [`X509Error::TooLong`]. Decoding errors contain the layer and the offset.
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
        match mistaken(&der) {
            Some(error) => Err(error),
            None => Ok(Self {
                der,
                encoding,
                further_certificates: 0,
                sole_pem: None,
            }),
        }
    }

    /// Parses the certificate.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_der`].
    pub fn certificate(&self) -> Result<Certificate<'_>, X509Error> {
        Certificate::from_der(&self.der)
    }

    /// Returns the certificate's DER as received.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate's DER as received.
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

    /// Returns the uploaded PEM file, after decoding outer base64, if it contains one certificate block and otherwise only
    /// whitespace. The file must be at most four times as long as the DER.
    pub fn sole_pem(&self) -> Option<&[u8]> {
        self.sole_pem.as_deref()
    }

    /// Returns the encoding that was found.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the number of certificates after the first, which were ignored.
    pub fn further_certificates(&self) -> usize {
        self.further_certificates
    }
}

/// The encoding of an upload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// Base64 of DER.
    Base64Der,
    /// Base64 of PEM text.
    Base64Pem,
    /// DER.
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

/// A layer of an upload. Error offsets count from its start.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// The decoded content of the upload's base64.
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

/// Returns whether this looks like DER: a SEQUENCE with a long-form length, as in every certificate, or one that begins with an
/// INTEGER, as in every key. Text that begins with `0` does not match.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0xFF, ..] | [0x30, _, 0x02, ..])
}

/// A layer of text without its byte order mark.
struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    layer: Layer,
    /// The length of the byte order mark in bytes.
    mark_len: usize,
    /// The number of bytes of a character.
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

    /// Returns the offset in the received layer of a position in the text.
    fn at(&self, place: usize) -> usize {
        self.mark_len + self.unit_len * place
    }

    /// Decodes base64 that starts at `start` in the text, skipping whitespace.
    fn base64(&self, start: usize, encoded: &[u8]) -> Result<Vec<u8>, X509Error> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        let dense: Vec<u8> = encoded
            .iter()
            .copied()
            .filter(|byte| !is_blank(byte))
            .collect();
        // Padding is optional but must be correct if present.
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

    /// Decodes the first certificate among the PEM blocks, after the labels of all blocks were checked.
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

/// Converts UTF-16 to one byte per unit, because PEM and base64 are ASCII.
fn from_utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'static, [u8]> {
    let (pairs, _) = text.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| u8::try_from(unit(*pair)).unwrap_or(b'?'))
        .collect::<Vec<u8>>()
        .into()
}

/// A summary of the PEM blocks of a text.
#[derive(Default)]
struct Pem<'a> {
    blocks: usize,
    certificate: Option<PemBlock<'a>>,
    first_label: String,
    further_certificates: usize,
    /// The label of the first private key.
    private_key: Option<String>,
}

impl<'a> Pem<'a> {
    /// Returns `None` if no block begins. Takes one pass, because an upload may contain ten thousand BEGIN lines without an END.
    fn read(text: &'a [u8]) -> Option<Self> {
        let mut blocks = PemBlocks::of(text);
        blocks.begins.find(text, 0)?;
        let mut pem = Self::default();
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

    /// Returns whether only whitespace surrounds the block.
    fn is_all_of(&self, text: &[u8]) -> bool {
        let around = [text.get(..self.begin), text.get(self.end..)];
        around
            .into_iter()
            .all(|part| part.is_some_and(|part| part.trim_ascii().is_empty()))
    }

    /// Returns the label, truncated to fit into a message.
    fn label_text(&self) -> String {
        let label = self.label.get(..64).unwrap_or(self.label);
        String::from_utf8_lossy(label).into_owned()
    }
}

/// An iterator over the PEM blocks of a text. The search for each of the three marks continues where it was last found, so that any
/// text takes three passes at most.
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
        // The next block may begin within this one's END line, but not within its body.
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

/// A string that is searched for from positions that only increase.
struct Mark {
    text: &'static [u8],
    /// The position last found: the first at or after the position that was requested then.
    found: Option<usize>,
    /// The position up to which was searched.
    seen: usize,
    /// The number of positions compared.
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

    /// Returns the first position at or after `from`, which must not be lower than in the previous call.
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
        self.found = found.map(|found| start + found);
        self.seen = self.found.unwrap_or(text.len());
        self.found
    }
}

/// Returns the error for DER that looks like a private key or PKCS #7. A certificate begins with a SEQUENCE that begins with an
/// INTEGER or `[0]`.
fn mistaken(der: &[u8]) -> Option<X509Error> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut fields = SliceReader::new(contents(&mut reader, Tag::Sequence).ok()?).ok()?;
    let first = AnyRef::decode(&mut fields).ok()?;
    let second = Tag::peek(&fields).ok()?;
    let kind = match (first.tag(), first.value(), second) {
        (Tag::ObjectIdentifier, SIGNED_DATA, _) => return Some(X509Error::Pkcs7InUpload),
        (Tag::Integer, [3], Tag::Sequence) => "PKCS#12",
        (Tag::Integer, [0 | 1], Tag::Sequence) => "PKCS#8",
        (Tag::Integer, [0 | 1], Tag::Integer) => "RSA PRIVATE KEY",
        (Tag::Integer, [1], Tag::OctetString) => "EC PRIVATE KEY",
        (Tag::Sequence, [0x06, ..], Tag::OctetString) => "ENCRYPTED PRIVATE KEY",
        _ => return None,
    };
    Some(X509Error::PrivateKeyInUpload {
        kind: kind.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_searched_for_only_where_nobody_has_looked() {
        let (text, mut mark) = (b"ab-----cd", Mark::new(b"-----"));
        let mut find = |from| (mark.find(text, from), mark.steps);
        assert_eq!(find(0), (Some(2), 3));
        assert_eq!(find(2), (Some(2), 3));
        // The six positions after it, and then none.
        assert_eq!(find(3), (None, 9));
        assert_eq!(find(4), (None, 9));
    }

    /// Counts the positions compared instead of measuring time.
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
            let count = blocks.by_ref().take(text.len()).count();
            assert!(count < text.len(), "{piece:?}: no end after {count} blocks");
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
