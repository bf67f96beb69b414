//! Lists of certificates in PEM (RFC 7468), read so that none is left out without a word: whoever lists a root is to know
//! that it is not looked at.

use rustls_pki_types::pem::{self, PemObject, SectionKind};

/// One certificate of a bundle. Its DER is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemCertificate {
    /// Which block of PEM it is, the first being 1.
    pub block: usize,
    /// What the block holds.
    pub der: Vec<u8>,
}

/// A block of PEM that is no certificate, or seems to be one and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block}: {problem}")]
pub struct BrokenBlock {
    /// Which, the first being 1.
    pub block: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// The certificates of a bundle; none if no line of it begins or ends a block. Text may stand between them.
///
/// # Errors
/// [`BrokenBlock`]: the first block that is something else, has no beginning or no end, or is no Base64.
pub fn certificates(text: &[u8]) -> Result<Vec<PemCertificate>, BrokenBlock> {
    let mut certificates = Vec::new();
    let mut open: Option<Vec<&[u8]>> = None;
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
        match (marker, &mut open) {
            (None, None) => {}
            (None, Some(lines)) => lines.push(line),
            (Some(Marker::Begin(CERTIFICATE)), _) => open = Some(vec![line]),
            (Some(Marker::End(CERTIFICATE)), Some(lines)) => {
                lines.push(line);
                let der = decode(&lines.join(&b'\n')).map_err(|why| broken(block, &why))?;
                certificates.push(PemCertificate { block, der });
                open = None;
            }
            (Some(Marker::Begin(label) | Marker::End(label)), None) if label != CERTIFICATE => {
                return Err(broken(block, &other(label)));
            }
            (Some(Marker::Begin(_) | Marker::End(_)), None) => {
                return Err(broken(block, "it has no beginning"));
            }
            (Some(Marker::Begin(_) | Marker::End(_)), Some(_)) => {
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
        None => Ok(certificates),
    }
}

const CERTIFICATE: &[u8] = b"CERTIFICATE";
const NO_END: &str = "it has no end";

/// A line that begins or ends a block, and the label in it.
#[derive(Clone, Copy)]
enum Marker<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
    /// It was meant to, to all appearances.
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

/// The DER of one whole block.
fn decode(block: &[u8]) -> Result<Vec<u8>, String> {
    match <(SectionKind, Vec<u8>)>::from_pem_slice(block) {
        Ok((SectionKind::Certificate, der)) => Ok(der),
        Ok(_) | Err(pem::Error::NoItemsFound) => Err("it is no certificate".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn other(label: &[u8]) -> String {
    const SHOWN: usize = 40;
    let label = String::from_utf8_lossy(label);
    let shown: String = label
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    format!("it is something else than a certificate: {shown}")
}

fn broken(block: usize, problem: &str) -> BrokenBlock {
    let problem = problem.to_owned();
    BrokenBlock { block, problem }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    const WHOLE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    #[test]
    fn certificates_are_read_whatever_stands_between_them() {
        let spaced = WHOLE.replace('\n', "\r\n\t ");
        let text = format!("# Roots\nthe end\n---\nFront-End CA\n{WHOLE}\ns:CN = x\n{spaced}\n");
        let numbered = |block| PemCertificate {
            block,
            der: vec![1, 2, 3],
        };
        let read = certificates(text.as_bytes());
        assert_eq!(read, Ok(vec![numbered(1), numbered(2)]));
        let old = WHOLE.replace('\n', "\r");
        assert_eq!(certificates(old.as_bytes()), Ok(vec![numbered(1)]));
        for none in ["", "AQID", "nonsense\n", "\u{0}\u{1}"] {
            assert_eq!(certificates(none.as_bytes()), Ok(Vec::new()));
        }
    }

    #[test]
    fn no_block_is_left_out_without_a_word() {
        let labelled = |label| WHOLE.replace("CERTIFICATE", label);
        for (broken, says) in [
            (labelled("TRUSTED CERTIFICATE"), "else than a certificate"),
            (labelled("X509 CERTIFICATE"), "else than a certificate"),
            (labelled("X509 CRL"), "else than a certificate"),
            (labelled("PRIVATE KEY"), "else than a certificate"),
            (labelled("certificate"), "else than a certificate"),
            (labelled(""), "else than a certificate"),
            (WHOLE.replacen("-----B", "----B", 1), "hyphens"),
            (WHOLE.replacen("-----B", "B", 1), "hyphens"),
            (WHOLE.replacen("-----B", "\u{feff}-----B", 1), "hyphens"),
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
        let refused = certificates(WHOLE.replace("CERTIFICATE", &long).as_bytes());
        let told = refused.unwrap_err().to_string();
        assert!(told.len() < 400 && !told.contains('\u{1b}'), "{told}");
    }
}
