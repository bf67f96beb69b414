//! DER as text: Base64 (RFC 4648, section 4) or PEM, with any white space and after a byte order mark.

use data_encoding::BASE64;

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

/// Decodes a text to DER. PEM must have one of these labels; anything before and after its first section is ignored.
///
/// # Errors
///
/// [`DerTextError`].
pub fn decode_der(text: &str, labels: &[&str]) -> Result<Vec<u8>, DerTextError> {
    if text.contains("-----BEGIN") {
        let section = section(text).filter(|(label, _)| labels.contains(label));
        let (_, base64) = section.ok_or(DerTextError::WrongPem)?;
        return decode_base64(base64).map_err(|_| DerTextError::WrongPem);
    }
    // Some editors and shells write a byte order mark.
    decode_base64(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Returns the label and the Base64 of the first PEM section. Its lines may be indented, or joined to one.
fn section(text: &str) -> Option<(&str, &str)> {
    let (_, section) = text.split_once("-----BEGIN ")?;
    let (label, section) = section.split_once("-----")?;
    let (base64, _) = section.split_once(&format!("-----END {label}-----"))?;
    Some((label, base64))
}

fn decode_base64(text: &str) -> Result<Vec<u8>, DerTextError> {
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
    fn base64_may_be_wrapped_and_pem_must_have_the_label() {
        let labels = ["CERTIFICATE"];
        assert_eq!(decode_der(" A\tQI\r\nD \n", &labels), Ok(vec![1, 2, 3]));
        assert_eq!(decode_der("AQ==", &labels), Ok(vec![1]));
        assert_eq!(decode_der("\u{feff}AQ==\r\n", &labels), Ok(vec![1]));
        for missing in ["", " \n", "\u{feff}"] {
            assert_eq!(decode_der(missing, &labels), Err(DerTextError::Missing));
        }
        for wrong in ["AQ", "AQ=", "A-_=", "AR==", "AQ==AQ==", "é"] {
            assert_eq!(
                decode_der(wrong, &labels),
                Err(DerTextError::NotBase64),
                "{wrong}"
            );
        }
        let pem = |kind| format!("-----BEGIN {kind}-----\nAQID\n-----END {kind}-----\n");
        assert_eq!(decode_der(&pem("CERTIFICATE"), &labels), Ok(vec![1, 2, 3]));
        let whole = pem("CERTIFICATE");
        for taken in [
            format!("\u{feff}{whole}"),
            format!("Subject: CN=x\n{whole}-----BEGIN\n"),
            whole.replace('\n', "\r\n"),
            whole.replace('\n', "\n  "),
            whole.replace('\n', " "),
            whole.replace("AQID", "AQ\n\nID"),
        ] {
            assert_eq!(decode_der(&taken, &labels), Ok(vec![1, 2, 3]), "{taken:?}");
        }
        for wrong in [
            pem("PUBLIC KEY"),
            pem("PUBLIC KEY") + &whole,
            whole.replace("AQID", ""),
            whole.replace("AQID", "AQI"),
            whole.replace("AQID", "Version: 1\nAQID"),
            whole.replace("END C", "END X C"),
            whole.replace("BEGIN ", "BEGIN"),
            "-----BEGIN CERTIFICATE-----\nAQID".to_owned(),
        ] {
            assert_eq!(decode_der(&wrong, &labels), Err(DerTextError::WrongPem));
        }
        let either = ["A", "CERTIFICATE"];
        assert_eq!(decode_der(&whole, &either), Ok(vec![1, 2, 3]));
        assert_eq!(decode_der(&whole, &[]), Err(DerTextError::WrongPem));
    }
}
