//! The form of a certificate in a TPM's NV memory, with an optional header and padding.

use der::{Decode, Header, Reader as _, SliceReader, Tag};

use crate::{TpmError, wire::Reader};

/// `TCG_TAG_PCCLIENT_STORED_CERT` and the type of a full certificate (TCG PC Client Specific
/// Implementation Specification for Conventional BIOS, 7.3.2). A 16-bit size follows.
const STORED_CERT: [u8; 3] = [0x10, 0x01, 0x00];

/// `TCG_TAG_PCCLIENT_FULL_CERT`, which some platforms store before the certificate.
const FULL_CERT: [u8; 2] = [0x10, 0x02];

/// The content of unwritten or erased NV memory.
const PADDING: [u8; 2] = [0x00, 0xff];

/// Returns the certificate's own bytes and the size of the header before them.
pub(super) fn strip(stored: &[u8]) -> Result<(&[u8], usize), TpmError> {
    let (content, mut before) = match stored.strip_prefix(&STORED_CERT) {
        Some(_) => {
            let mut reader = Reader::new(stored);
            reader.take(STORED_CERT.len())?;
            let size = usize::from(reader.u16()?);
            let at = reader.at();
            let content = reader.take(size)?;
            check_padding(reader.at(), reader.remainder())?;
            (content, at)
        }
        None => (stored, 0),
    };
    let content = match content.strip_prefix(&FULL_CERT) {
        Some(certificate) if before > 0 => {
            before = before.saturating_add(FULL_CERT.len());
            certificate
        }
        _ => content,
    };
    let size = der_size(content).ok_or(TpmError::UnexpectedEnd { at: before })?;
    let (certificate, padding) = content
        .split_at_checked(size)
        .ok_or(TpmError::UnexpectedEnd { at: before })?;
    check_padding(before.saturating_add(size), padding)?;
    Ok((certificate, before))
}

/// Rejects padding that is not all zeros or all ones.
fn check_padding(at: usize, padding: &[u8]) -> Result<(), TpmError> {
    if is_padding(padding) {
        Ok(())
    } else {
        Err(TpmError::TrailingBytes {
            at,
            count: padding.len(),
        })
    }
}

/// Returns whether `bytes` is all zeros or all ones.
pub(super) fn is_padding(bytes: &[u8]) -> bool {
    PADDING
        .iter()
        .any(|pad| bytes.iter().all(|byte| byte == pad))
}

/// Returns the size of the SEQUENCE at the start of `content`, including its header.
pub(super) fn der_size(content: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(content).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let before = usize::try_from(reader.position()).ok()?;
    let size = usize::try_from(header.length()).ok()?;
    (header.tag() == Tag::Sequence).then(|| before.checked_add(size))?
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const CERTIFICATE: &[u8] = b"\x30\x03\x02\x01\x05";

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn header_and_padding_are_stripped() {
        let header = b"\x10\x01\x00\x00\x05";
        let header_with_tag = b"\x10\x01\x00\x00\x07\x10\x02";
        for (before, after) in [
            (&b""[..], &b""[..]),
            (b"", b"\0\0\0"),
            (b"", b"\xff\xff"),
            (header, b""),
            (header, b"\xff"),
            (header_with_tag, b""),
            (header_with_tag, b"\0"),
            (b"\x10\x01\x00\x00\x07", b"\xff\xff"),
        ] {
            let stored = joined(&[before, CERTIFICATE, after]);
            assert_eq!(
                strip(&stored),
                Ok((CERTIFICATE, before.len())),
                "{stored:02x?}"
            );
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (stored, error) in [
            (
                joined(&[CERTIFICATE, b"\0\xff"]),
                TpmError::TrailingBytes { at: 5, count: 2 },
            ),
            (
                joined(&[CERTIFICATE, b"\x30"]),
                TpmError::TrailingBytes { at: 5, count: 1 },
            ),
            (
                joined(&[CERTIFICATE, CERTIFICATE]),
                TpmError::TrailingBytes { at: 5, count: 5 },
            ),
            (
                joined(&[b"\x10\x01\x00\x00\x05", CERTIFICATE, b"\x01"]),
                TpmError::TrailingBytes { at: 10, count: 1 },
            ),
            (
                b"\x10\x01\x00\x00\x06\x30\x03\x02\x01\x05".to_vec(),
                TpmError::UnexpectedEnd { at: 5 },
            ),
            (
                b"\x10\x01\x00\x00\x04\x30\x03\x02\x01\x05".to_vec(),
                TpmError::TrailingBytes { at: 9, count: 1 },
            ),
            (
                b"\x10\x01\x00\x00".to_vec(),
                TpmError::UnexpectedEnd { at: 3 },
            ),
            // A partial certificate is rejected.
            (
                joined(&[b"\x10\x01\x01\x00\x05", CERTIFICATE]),
                TpmError::UnexpectedEnd { at: 0 },
            ),
            (
                joined(&[b"\x10\x02", CERTIFICATE]),
                TpmError::UnexpectedEnd { at: 0 },
            ),
            (CERTIFICATE[..4].to_vec(), TpmError::UnexpectedEnd { at: 0 }),
            (Vec::new(), TpmError::UnexpectedEnd { at: 0 }),
        ] {
            assert_eq!(strip(&stored), Err(error), "{stored:02x?}");
        }
    }
}
