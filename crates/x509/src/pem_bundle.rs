//! Parses PEM files (RFC 7468) of certificates, CRLs, certification requests and public keys. An unexpected or malformed block is
//! an error, so that, for example, a listed root is never skipped silently.
//!
//! ```
//! use keyproof_x509::{Certificate, pem_bundle};
//!
//! let file = include_bytes!("../tests/data/p256-ca.pem");
//! let trusted = pem_bundle::certificates(&file.repeat(2))?;
//! assert_eq!(trusted.iter().map(|found| found.block).collect::<Vec<_>>(), [1, 2]);
//! Certificate::from_der(&trusted[0].der)?;
//!
//! let broken = pem_bundle::certificates(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
//! assert_eq!(broken.unwrap_err().block, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use rustls_pki_types::pem::{PemObject, SectionKind};

#[cfg(feature = "prover")]
use crate::X509Error;
use crate::pkcs7::Pkcs7;
#[cfg(feature = "prover")]
use crate::prover::written::unwritable;

/// A block of a bundle, or one element of a PKCS #7 block. Its DER is not parsed.
///
/// ```
/// use keyproof_x509::pem_bundle::{PemKind, certificates_and_crls};
///
/// let blocks = certificates_and_crls(include_bytes!("../tests/data/p256-ca.pem"))?;
/// assert_eq!((blocks[0].block, blocks[0].kind), (1, PemKind::Certificate));
/// assert_eq!(blocks[0].der, include_bytes!("../tests/data/p256-ca.der"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PemBlock {
    /// The number of the PEM block that contains it, counted from 1.
    pub block: usize,
    /// The kind of content.
    pub kind: PemKind,
    /// The decoded content.
    pub der: Vec<u8>,
}

/// The kind of content of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PemKind {
    /// `CERTIFICATE`.
    Certificate,
    /// `CERTIFICATE REQUEST`, or `NEW CERTIFICATE REQUEST` as some programs write it: PKCS #10.
    CertificationRequest,
    /// `X509 CRL`.
    Crl,
    /// `PUBLIC KEY`: a SubjectPublicKeyInfo.
    PublicKey,
}

impl PemKind {
    const fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::CertificationRequest => "CERTIFICATE REQUEST",
            Self::Crl => "X509 CRL",
            Self::PublicKey => "PUBLIC KEY",
        }
    }

    /// RFC 7468 section 7: the other label of requests is equivalent.
    fn has_label(self, label: &[u8]) -> bool {
        label == self.label().as_bytes()
            || (matches!(self, Self::CertificationRequest) && label == b"NEW CERTIFICATE REQUEST")
    }

    /// Encodes DER as PEM in lines of 64 characters (RFC 7468).
    ///
    /// ```
    /// use keyproof_x509::pem_bundle::{PemKind, certificates};
    ///
    /// let der = include_bytes!("../tests/data/p256-ca.der");
    /// let pem = PemKind::Certificate.to_pem(der)?;
    /// assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    /// assert_eq!(certificates(pem.as_bytes())?[0].der, der);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] if the PEM text would be too long.
    #[cfg(feature = "prover")]
    pub fn to_pem(self, der: &[u8]) -> Result<String, X509Error> {
        use der::pem::{LineEnding, encode_string};

        encode_string(self.label(), LineEnding::LF, der).map_err(|error| unwritable(error.into()))
    }
}

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::CertificationRequest => "certification request",
            Self::Crl => "CRL",
            Self::PublicKey => "public key",
        })
    }
}

/// A PEM block of another kind than requested, or a malformed one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block}: {problem}")]
pub struct InvalidBlock {
    /// The number of the block, counted from 1.
    pub block: usize,
    /// The problem with the block.
    pub problem: String,
}

/// Parses the certificates of a bundle. The result is empty if no line begins or ends a block. Text between blocks and a byte order
/// mark at the start are ignored. A PKCS #7 block, `PKCS7` or `CMS` (RFC 7468 sections 8 and 9), yields the certificates in it.
///
/// # Errors
///
/// [`InvalidBlock`] for the first block that is of another kind, contains anything else or nothing, lacks a BEGIN or END line, or is
/// not Base64.
pub fn certificates(text: &[u8]) -> Result<Vec<PemBlock>, InvalidBlock> {
    read(text, &[PemKind::Certificate])
}

/// Parses the certificates and CRLs of a bundle, as [`certificates`] does.
///
/// ```
/// use keyproof_x509::pem_bundle::{PemKind, certificates_and_crls};
///
/// let blocks = certificates_and_crls(include_bytes!("../tests/data/p256-ca.pem"))?;
/// let (lists, certificates): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.kind == PemKind::Crl);
/// assert_eq!((certificates.len(), lists.len()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As for [`certificates`].
pub fn certificates_and_crls(text: &[u8]) -> Result<Vec<PemBlock>, InvalidBlock> {
    read(text, &[PemKind::Certificate, PemKind::Crl])
}

/// Parses the certification requests of a file, as written by `openssl req -new`. The result is empty if no line begins or ends a
/// block.
///
/// ```
/// # #[cfg(all(feature = "prover", feature = "ring"))] {
/// use keyproof_x509::{algorithms::RING, pem_bundle, prover::CertificationRequest};
///
/// let file = b"-----BEGIN CERTIFICATE REQUEST-----
/// MIHQMHgCAQAwFjEUMBIGA1UEAwwLZGV2aWNlLTAwMDEwWTATBgcqhkjOPQIBBggq
/// hkjOPQMBBwNCAATt92TtbjNs3gM1RQ2/v0pukB6766D/PrTdtwWYyRBpalXIULCl
/// 1EF0+jP7FnP7f9YayAPxjITL6qmBG05E1PWnoAAwCgYIKoZIzj0EAwIDSAAwRQIh
/// AI+kEpupMI5WL5kv1/YEP+G5pMEdK1CRVFKwlWz7ylGcAiAC2wLeN5TDcRHCfHHp
/// ysmHFgXJvctpJe1tR2jrK0pQJg==
/// -----END CERTIFICATE REQUEST-----";
/// let requests = pem_bundle::certification_requests(file)?;
/// let request = CertificationRequest::from_der(&requests[0].der)?;
/// request.verify(RING)?;
/// assert_eq!(request.subject().common_name().as_deref(), Some("device-0001"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As for [`certificates`].
pub fn certification_requests(text: &[u8]) -> Result<Vec<PemBlock>, InvalidBlock> {
    read(text, &[PemKind::CertificationRequest])
}

/// Parses the public keys of a file, as written by `openssl pkey -pubout` or `tpm2_readpublic -f pem`. The result is empty if no
/// line begins or ends a block.
///
/// ```
/// use keyproof_x509::{Curve, KeyKind, SubjectPublicKeyInfo, pem_bundle};
///
/// let file = b"-----BEGIN PUBLIC KEY-----
/// MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmBpll8tXLtzFxbKLKm+ZhE83B1f5
/// btQiPDbiWZeO7bTOWu3/+mvs/h9+TfmJRDBicR2gzTuWt2HLzbgR2+zeAQ==
/// -----END PUBLIC KEY-----";
/// let keys = pem_bundle::public_keys(file)?;
/// let key = SubjectPublicKeyInfo::from_der(&keys[0].der)?;
/// assert_eq!(key.kind()?, KeyKind::Ec(Curve::P256));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As for [`certificates`]; a private key is an error too.
pub fn public_keys(text: &[u8]) -> Result<Vec<PemBlock>, InvalidBlock> {
    read(text, &[PemKind::PublicKey])
}

fn read(text: &[u8], kinds: &[PemKind]) -> Result<Vec<PemBlock>, InvalidBlock> {
    // Some editors write one, with which the first line would be no BEGIN line.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let content_of = |label: &[u8]| Content::of(label, kinds);
    let mut blocks = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut block = 0;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.trim_ascii();
        let marker = Marker::of(line);
        if matches!(marker, Some(Marker::Begin(_))) || (marker.is_some() && open.is_none()) {
            if open.is_some() {
                return Err(broken(block, NO_END));
            }
            block += 1;
        }
        match (marker, open.take()) {
            (None, None) => {}
            (None, Some(mut begun)) => {
                begun.lines.push(line);
                open = Some(begun);
            }
            (Some(Marker::Begin(label)), _) => match content_of(label) {
                Some(content) => {
                    open = Some(Open {
                        content,
                        label,
                        lines: Vec::new(),
                    });
                }
                None => return Err(broken(block, &other(label, kinds))),
            },
            (Some(Marker::End(label)), Some(begun)) if label == begun.label => {
                let der = decode(&begun.lines).map_err(|why| broken(block, &why))?;
                let read = begun.content.elements(der, kinds);
                let read = read.map_err(|why| broken(block, &why))?;
                let numbered = read.into_iter();
                blocks.extend(numbered.map(|(kind, der)| PemBlock { block, kind, der }));
            }
            (Some(Marker::End(label)), None) if content_of(label).is_none() => {
                return Err(broken(block, &other(label, kinds)));
            }
            (Some(Marker::End(_)), None) => return Err(broken(block, "it has no beginning")),
            (Some(Marker::End(_)), Some(_)) => {
                return Err(broken(block, "it ends as something else"));
            }
            (Some(Marker::Malformed), _) => {
                return Err(broken(
                    block,
                    "a line that begins or ends it is malformed: it has five hyphens on each side of its words",
                ));
            }
        }
    }
    match open {
        Some(_) => Err(broken(block, NO_END)),
        None => Ok(blocks),
    }
}

/// A block whose END line has not been reached.
struct Open<'a> {
    content: Content,
    label: &'a [u8],
    /// The lines between BEGIN and END.
    lines: Vec<&'a [u8]>,
}

/// The content of a block according to its label.
#[derive(Clone, Copy)]
enum Content {
    One(PemKind),
    /// Any number of certificates and CRLs.
    Pkcs7,
}

impl Content {
    fn of(label: &[u8], kinds: &[PemKind]) -> Option<Self> {
        if matches!(label, b"PKCS7" | b"CMS") && kinds.contains(&PemKind::Certificate) {
            return Some(Self::Pkcs7);
        }
        let kind = kinds.iter().copied().find(|kind| kind.has_label(label));
        kind.map(Self::One)
    }

    /// Returns the elements in the DER of a block. They must be of these kinds.
    fn elements(self, der: Vec<u8>, kinds: &[PemKind]) -> Result<Vec<(PemKind, Vec<u8>)>, String> {
        let Self::One(kind) = self else {
            let Pkcs7 { certificates, crls } =
                Pkcs7::from_der(&der).map_err(|error| error.to_string())?;
            if !crls.is_empty() && !kinds.contains(&PemKind::Crl) {
                return Err(alloc::format!(
                    "beside certificates it has a {}",
                    PemKind::Crl
                ));
            }
            if certificates.is_empty() && crls.is_empty() {
                return Err("it has no certificate".to_owned());
            }
            let certificates = certificates
                .into_iter()
                .map(|der| (PemKind::Certificate, der));
            let all = certificates.chain(crls.into_iter().map(|der| (PemKind::Crl, der)));
            return Ok(all.map(|(kind, der)| (kind, der.to_vec())).collect());
        };
        Ok(vec![(kind, der)])
    }
}

const NO_END: &str = "it has no end";

/// A line that begins or ends a block, with its label.
#[derive(Clone, Copy)]
enum Marker<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
    /// It looks like such a line, but is malformed.
    Malformed,
}

impl<'a> Marker<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let words = line.strip_prefix(b"-----");
        let words = words.and_then(|words| words.strip_suffix(b"-----"));
        // A label has no hyphens in a row (RFC 7468, section 3).
        if let Some(words) = words.filter(|words| !has(words, b"--")) {
            if let Some(label) = words.strip_prefix(b"BEGIN ") {
                return Some(Self::Begin(label));
            }
            if let Some(label) = words.strip_prefix(b"END ") {
                return Some(Self::End(label));
            }
        }
        let upper = line.to_ascii_uppercase();
        let begins = |word: &[u8]| {
            let [hyphen, dashed, spaced] =
                [&b"-"[..], b"--", b"-- "].map(|dashes| [dashes, word].concat());
            let words = [word, b" "].concat();
            upper.starts_with(&hyphen)
                || has(&upper, &dashed)
                || has(&upper, &spaced)
                || (upper.starts_with(&words) && upper.ends_with(b"--"))
        };
        (begins(b"BEGIN") || begins(b"END")).then_some(Self::Malformed)
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Decodes the lines of a block, whatever its label.
fn decode(lines: &[&[u8]]) -> Result<Vec<u8>, String> {
    let [begin, end] = [
        &b"-----BEGIN CERTIFICATE-----"[..],
        b"-----END CERTIFICATE-----",
    ];
    let block = [&[begin][..], lines, &[end]].concat().join(&b'\n');
    match <(SectionKind, Vec<u8>)>::from_pem_slice(&block) {
        Ok((_, der)) => Ok(der),
        Err(error) => Err(error.to_string()),
    }
}

fn other(label: &[u8], kinds: &[PemKind]) -> String {
    const SHOWN: usize = 40;
    let label = String::from_utf8_lossy(label);
    let shown: String = label
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    let wanted: Vec<_> = kinds.iter().map(ToString::to_string).collect();
    let wanted = wanted.join(" or a ");
    alloc::format!("it is something else than a {wanted}: {shown}")
}

fn broken(block: usize, problem: &str) -> InvalidBlock {
    let problem = problem.to_owned();
    InvalidBlock { block, problem }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    const WHOLE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    fn labelled(label: &str) -> String {
        WHOLE.replace("CERTIFICATE", label)
    }

    /// The content of a block like [`WHOLE`].
    fn numbered(block: usize, kind: PemKind) -> PemBlock {
        let der = vec![1, 2, 3];
        PemBlock { block, kind, der }
    }

    #[test]
    fn certificates_are_read_whatever_stands_between_them() {
        let spaced = WHOLE.replace('\n', "\r\n\t ");
        let text = format!("# Roots\nthe end\n---\nFront-End CA\n{WHOLE}\ns:CN = x\n{spaced}\n");
        let numbered = |block| numbered(block, PemKind::Certificate);
        let read = certificates(text.as_bytes());
        assert_eq!(read, Ok(vec![numbered(1), numbered(2)]));
        let old = WHOLE.replace('\n', "\r");
        assert_eq!(certificates(old.as_bytes()), Ok(vec![numbered(1)]));
        for none in ["", "AQID", "nonsense\n", "\u{0}\u{1}"] {
            assert_eq!(certificates(none.as_bytes()), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_byte_order_mark_is_ignored_at_the_start_alone() {
        let marked = format!("\u{feff}{WHOLE}");
        let read = certificates(marked.as_bytes());
        assert_eq!(read, Ok(vec![numbered(1, PemKind::Certificate)]));
        let refused = certificates(format!("{WHOLE}{marked}").as_bytes()).unwrap_err();
        assert_eq!(refused.block, 2);
    }

    #[test]
    fn public_keys_are_read_and_nothing_else_is() {
        let key = labelled("PUBLIC KEY");
        let numbered = |block| numbered(block, PemKind::PublicKey);
        let read = public_keys(format!("{key}of a TPM\n{key}").as_bytes());
        assert_eq!(read, Ok(vec![numbered(1), numbered(2)]));
        for other in [
            "CERTIFICATE",
            "CMS",
            "EC PRIVATE KEY",
            "PKCS7",
            "PRIVATE KEY",
        ] {
            let text = format!("{key}{}", labelled(other));
            let broken = public_keys(text.as_bytes()).unwrap_err();
            assert_eq!(broken.block, 2);
            assert!(
                broken.problem.contains("else than a public key"),
                "{broken}"
            );
        }
    }

    #[test]
    fn certification_requests_are_read_under_both_of_their_labels() {
        let (request, new) = (
            labelled("CERTIFICATE REQUEST"),
            labelled("NEW CERTIFICATE REQUEST"),
        );
        let numbered = |block| numbered(block, PemKind::CertificationRequest);
        let read = certification_requests(format!("{request}{new}").as_bytes());
        assert_eq!(read, Ok(vec![numbered(1), numbered(2)]));
        for other in [
            WHOLE.to_owned(),
            labelled("CMS"),
            labelled("PRIVATE KEY"),
            labelled("NEW CERTIFICATE"),
        ] {
            let broken =
                certification_requests(format!("{request}{other}").as_bytes()).unwrap_err();
            assert_eq!(broken.block, 2);
            assert!(
                broken.problem.contains("else than a certification request"),
                "{broken}"
            );
        }
        // A request is not a certificate.
        for other in [&request, &new] {
            let broken = certificates(other.as_bytes()).unwrap_err();
            assert!(
                broken.problem.contains("else than a certificate: "),
                "{broken}"
            );
        }
        let crossed = request.replace("END CERTIFICATE REQUEST", "END NEW CERTIFICATE REQUEST");
        let broken = certification_requests(crossed.as_bytes()).unwrap_err();
        assert_eq!(broken.problem, "it ends as something else");
    }

    #[cfg(feature = "prover")]
    #[test]
    fn what_is_written_as_pem_is_read_again() {
        let der: Vec<u8> = (0..=255).collect();
        for kind in [
            PemKind::Certificate,
            PemKind::CertificationRequest,
            PemKind::Crl,
            PemKind::PublicKey,
        ] {
            let text = kind.to_pem(&der).unwrap();
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            let der = der.clone();
            assert_eq!(
                read(text.as_bytes(), &[kind]),
                Ok(vec![PemBlock {
                    block: 1,
                    kind,
                    der
                }])
            );
        }
    }

    #[test]
    fn no_block_is_left_out_without_a_word() {
        for (broken, says) in [
            (labelled("TRUSTED CERTIFICATE"), "else than a certificate"),
            (labelled("X509 CERTIFICATE"), "else than a certificate"),
            (labelled("X509 CRL"), "else than a certificate"),
            (labelled("PRIVATE KEY"), "else than a certificate"),
            (labelled("certificate"), "else than a certificate"),
            (labelled(""), "else than a certificate"),
            (WHOLE.replacen("-----B", "----B", 1), "hyphens"),
            (WHOLE.replacen("-----B", "B", 1), "hyphens"),
            (WHOLE.replacen("-----B", "x-----B", 1), "hyphens"),
            (WHOLE.replacen("-----B", "----- B", 1), "hyphens"),
            (WHOLE.replacen("E-----", "E----", 1), "hyphens"),
            (WHOLE.replacen("BEGIN", "Begin", 1), "hyphens"),
            (WHOLE.replacen("-----E", "----E", 1), "hyphens"),
            (WHOLE.replacen("END", "end", 1), "hyphens"),
            (WHOLE.replacen("END C", "END X C", 1), "ends as"),
            (
                WHOLE.replacen("-----BEGIN CERTIFICATE-----\n", "", 1),
                "beginning",
            ),
            ("-----END CERTIFICATE-----\n".to_owned(), "beginning"),
            ("-----END PRIVATE KEY-----\n".to_owned(), "else than a"),
            (
                WHOLE.replacen("-----END CERTIFICATE-----\n", "", 1),
                "no end",
            ),
            (WHOLE.replacen("AQID", "A*ID", 1), "base64"),
        ] {
            for (text, block) in [
                (format!("{broken}{WHOLE}"), 1),
                (format!("{WHOLE}{broken}{WHOLE}"), 2),
                (format!("{WHOLE}{WHOLE}{broken}"), 3),
            ] {
                let refused = certificates(text.as_bytes()).unwrap_err();
                assert_eq!(refused.block, block, "{text}");
                let told = refused.to_string().to_lowercase();
                assert!(told.contains(says), "{told}: {text}");
            }
        }
    }

    #[test]
    fn what_a_label_says_is_cut_and_escaped() {
        let long = "\u{1b}[31m".repeat(100);
        let refused = certificates(labelled(&long).as_bytes());
        let told = refused.unwrap_err().to_string();
        assert!(told.len() < 400 && !told.contains('\u{1b}'), "{told}");
    }

    #[test]
    fn revocation_lists_are_read_where_they_are_asked_for() {
        let crl = labelled("X509 CRL");
        let text = format!("{crl}{WHOLE}");
        let kinds = certificates_and_crls(text.as_bytes()).map(|blocks| {
            let kinds = blocks.iter().map(|block| (block.block, block.kind));
            kinds.collect::<Vec<_>>()
        });
        assert_eq!(
            kinds,
            Ok(vec![(1, PemKind::Crl), (2, PemKind::Certificate)])
        );
        let refused = certificates(text.as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "block 1: it is something else than a certificate: X509 CRL"
        );
        let crossed = WHOLE.replace("END CERTIFICATE", "END X509 CRL");
        let refused = certificates_and_crls(crossed.as_bytes()).unwrap_err();
        assert!(refused.problem.contains("ends as"), "{refused}");
        let key = labelled("PUBLIC KEY");
        let refused = certificates_and_crls(key.as_bytes()).unwrap_err();
        assert!(refused.problem.contains("certificate or a CRL"));
    }

    #[test]
    fn a_block_of_pkcs_7_stands_for_what_is_in_it() {
        use crate::pkcs7::tests::{signed_data, tlv};

        let (one, two, list) = ([0x30, 1, 5], [0x30, 0], [0x30, 2, 5, 0]);
        let certificates_of = tlv(0xA0, &[&one, &two]);
        let lists = tlv(0xA1, &[&list]);
        let pem = |label: &str, der: &[u8]| {
            let text = data_encoding::BASE64.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let element = |block, kind, der: &[u8]| PemBlock {
            block,
            kind,
            der: der.to_vec(),
        };
        let (certificate, crl) = (PemKind::Certificate, PemKind::Crl);
        for label in ["PKCS7", "CMS"] {
            let text = format!("{}{WHOLE}", pem(label, &signed_data(&certificates_of, &[])));
            let expected = vec![
                element(1, certificate, &one),
                element(1, certificate, &two),
                element(2, certificate, &[1, 2, 3]),
            ];
            assert_eq!(certificates(text.as_bytes()), Ok(expected), "{label}");
        }
        let both = pem("PKCS7", &signed_data(&certificates_of, &lists));
        let expected = vec![
            element(1, certificate, &one),
            element(1, certificate, &two),
            element(1, crl, &list),
        ];
        assert_eq!(certificates_and_crls(both.as_bytes()), Ok(expected));
        for (text, says) in [
            (both, "it has a CRL"),
            (pem("PKCS7", &signed_data(&[], &[])), "no certificate"),
            (pem("PKCS7", &one), "contentType"),
            (pem("PKCS7", &[]), "ContentInfo"),
        ] {
            let refused = certificates(format!("{WHOLE}{text}").as_bytes()).unwrap_err();
            assert_eq!(refused.block, 2);
            assert!(refused.problem.contains(says), "{refused}");
        }
        let crossed = pem("PKCS7", &one).replace("END PKCS7", "END CMS");
        let refused = certificates(crossed.as_bytes()).unwrap_err();
        assert!(refused.problem.contains("ends as"), "{refused}");
    }
}
