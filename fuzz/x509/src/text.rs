//! What people type or paste beside certificates: thumbprints and verification codes.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use keyproof_x509::{Sha1Thumbprint, Sha256Thumbprint, VerificationCode, X509Error};

/// An accepted text is displayed in its canonical spelling, and an error's position is within the text.
pub fn text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    thumbprint::<Sha1Thumbprint>(text, 40);
    thumbprint::<Sha256Thumbprint>(text, 64);
    match VerificationCode::parse(text) {
        Ok(code) => {
            assert_eq!(code.digits(), text);
            assert!(code.certificate().is_none() && code.expires_at().is_none());
            assert!(!format!("{code:?}").contains(text));
        }
        Err(X509Error::CodeMalformed { at }) => {
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
            assert!(at <= text.len());
            assert!(text.len() != 48 || !text.as_bytes()[at..].iter().all(is_digit));
        }
        Err(error) => panic!("{error}"),
    }
}

fn thumbprint<T>(text: &str, digits: usize)
where
    T: Debug + Display + FromStr<Err = X509Error> + PartialEq,
{
    match text.parse::<T>() {
        Ok(thumbprint) => {
            let shown = thumbprint.to_string();
            let canonical: String = text.chars().filter(|symbol| *symbol != ':').collect();
            assert_eq!(shown, canonical.to_ascii_uppercase());
            assert_eq!(shown.parse::<T>().as_ref(), Ok(&thumbprint));
            assert!(format!("{thumbprint:?}").contains(&shown));
        }
        Err(X509Error::ThumbprintMalformed {
            at, digits: wanted, ..
        }) => {
            assert_eq!(wanted, digits);
            assert!(at <= text.chars().count());
        }
        Err(error) => panic!("{error}"),
    }
}
