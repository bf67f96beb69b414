//! Uploaded certificates.

use keyproof_x509::{Encoding, Upload, X509Error};

/// Uploads: error positions are within the upload, and what is read from one is read from every encoding of it.
pub fn upload(data: &[u8]) {
    let upload = match Upload::decode(data) {
        Ok(upload) => upload,
        Err(X509Error::Base64 { at, .. } | X509Error::PemUnterminated { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    if let Some(pem) = upload.sole_pem() {
        let again = Upload::decode(pem).expect("a file of one certificate");
        assert_eq!(again.as_der(), upload.as_der());
        assert_eq!(again.encoding(), Encoding::Pem);
        assert_eq!(again.sole_pem(), Some(pem));
    }
    // A PEM block may contain something other than a certificate, which only parsing detects.
    if upload.certificate().is_err() {
        return;
    }
    let der = upload.as_der();
    let base64 = base64(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\r\n{base64}\r\n-----END CERTIFICATE-----\r\n");
    for (text, encoding) in [
        (der.to_vec(), Encoding::Der),
        (base64.into_bytes(), Encoding::Base64Der),
        (
            self::base64(pem.as_bytes()).into_bytes(),
            Encoding::Base64Pem,
        ),
        (pem.into_bytes(), Encoding::Pem),
    ] {
        match Upload::decode(&text) {
            Ok(again) => {
                assert_eq!(again.as_der(), der);
                assert_eq!(again.encoding(), encoding);
            }
            Err(X509Error::TooLong { .. }) => {}
            Err(error) => panic!("{encoding}: {error}"),
        }
    }
}

/// Encodes as Base64 (RFC 4648 section 4), padded, in one line.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        ALPHABET
            .get((bits & 63) as usize)
            .map_or('?', |digit| char::from(*digit))
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                digit(group >> (18 - 6 * place))
            } else {
                '='
            });
        }
    }
    text
}
