//! DER as text: Base64 (RFC 4648, section 4) with any white space, or PEM; either after a byte order mark.

use data_encoding::BASE64;
use rustls_pki_types::pem::{PemObject, SectionKind};

/// Why a text could not be decoded to DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerTextError {
    /// The text is missing or empty.
    #[error("it is missing")]
    Missing,
    /// It is neither padded standard Base64 nor PEM.
    #[error("it is neither Base64 nor PEM")]
    NotBase64,
    /// The PEM is malformed or has another label.
    #[error("its PEM is malformed, or of something else")]
    WrongPem,
}

/// Decodes a text to DER. PEM must be of one of these kinds; anything after its first section is ignored.
///
/// # Errors
///
/// [`DerTextError`].
pub fn decode_der(text: &str, kinds: &[SectionKind]) -> Result<Vec<u8>, DerTextError> {
    // Some editors and shells write a byte order mark, with which PEM would have no first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains("-----BEGIN") {
        // Some programs use this label (RFC 7468, section 7).
        let text = text.replace(" NEW CERTIFICATE REQUEST-----", " CERTIFICATE REQUEST-----");
        let section = <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes());
        return match section {
            Ok((kind, der)) if kinds.contains(&kind) => Ok(der),
            _ => Err(DerTextError::WrongPem),
        };
    }
    let compact: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if compact.is_empty() {
        return Err(DerTextError::Missing);
    }
    // The decoder would accept several concatenated padded texts.
    let unpadded = compact.iter().position(|byte| *byte == b'=');
    let padding = unpadded.map_or(0, |end| compact.len().saturating_sub(end));
    if padding > 2 {
        return Err(DerTextError::NotBase64);
    }
    BASE64.decode(&compact).map_err(|_| DerTextError::NotBase64)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn base64_may_be_wrapped_and_pem_must_be_of_the_kind() {
        let kinds = [SectionKind::Certificate];
        assert_eq!(decode_der(" A\tQI\r\nD \n", &kinds), Ok(vec![1, 2, 3]));
        assert_eq!(decode_der("AQ==", &kinds), Ok(vec![1]));
        assert_eq!(decode_der("\u{feff}AQ==\r\n", &kinds), Ok(vec![1]));
        for missing in ["", " \n", "\u{feff}"] {
            assert_eq!(decode_der(missing, &kinds), Err(DerTextError::Missing));
        }
        for wrong in ["AQ", "AQ=", "A-_=", "AR==", "AQ==AQ==", "é"] {
            assert_eq!(
                decode_der(wrong, &kinds),
                Err(DerTextError::NotBase64),
                "{wrong}"
            );
        }
        let pem = |kind| format!("-----BEGIN {kind}-----\nAQID\n-----END {kind}-----\n");
        assert_eq!(decode_der(&pem("CERTIFICATE"), &kinds), Ok(vec![1, 2, 3]));
        let marked = format!("\u{feff}{}", pem("CERTIFICATE"));
        assert_eq!(decode_der(&marked, &kinds), Ok(vec![1, 2, 3]));
        for wrong in [
            pem("PUBLIC KEY"),
            "-----BEGIN CERTIFICATE-----\nAQID".to_owned(),
        ] {
            assert_eq!(decode_der(&wrong, &kinds), Err(DerTextError::WrongPem));
        }
        for label in ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"] {
            let request = pem(label);
            assert_eq!(decode_der(&request, &[SectionKind::Csr]), Ok(vec![1, 2, 3]));
            assert_eq!(decode_der(&request, &kinds), Err(DerTextError::WrongPem));
        }
    }
}
