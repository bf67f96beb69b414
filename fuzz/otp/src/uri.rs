//! `otpauth` URIs.

use keyproof_otp::{Secret, otpauth::OtpauthUri};

use crate::position::assert_position;

/// `otpauth` URIs: error positions are within the text, and what is written parses to the same.
pub fn uri(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match OtpauthUri::parse(text) {
        Ok(uri) => {
            let written = uri.to_string();
            assert_eq!(OtpauthUri::parse(&written).as_ref(), Ok(&uri), "{written}");
            assert_eq!(
                OtpauthUri::parse_strict(text).is_err(),
                uri.issuer_mismatch()
            );
            let code = match (uri.totp(), uri.hotp()) {
                (Some(totp), None) => totp.code(u64::MAX),
                (None, Some((hotp, counter))) => hotp.code(counter),
                _ => panic!("a URI is of one type"),
            };
            assert_eq!(code.digits(), uri.digits());
            assert!(!uri.secret().as_bytes().is_empty());
            let redacted = format!(
                "secret: Secret([redacted; {}])",
                uri.secret().as_bytes().len()
            );
            assert_eq!(written.parse().as_ref(), Ok(&uri));
            let issuer = uri.issuer_parameter().or(uri.label_issuer());
            assert_eq!(uri.issuer(), issuer.filter(|issuer| !issuer.is_empty()));
            made_anew(&uri);
            assert!(
                format!("{uri:?}").contains(&redacted),
                "Debug hides the secret"
            );
        }
        Err(error) => {
            assert_position(error, text);
            assert_eq!(OtpauthUri::parse_strict(text), Err(error));
        }
    }
}

/// A URI that is built from the parts of another reads back to the same, unless one part could be mistaken for another.
fn made_anew(uri: &OtpauthUri) {
    let secret = Secret::from_bytes(uri.secret().as_bytes()).expect("it was one");
    match OtpauthUri::new(uri.kind(), uri.issuer(), uri.account(), secret) {
        Ok(made) => {
            let made = made
                .with_algorithm(uri.algorithm())
                .with_digits(uri.digits());
            assert_eq!(OtpauthUri::parse_strict(&made.to_string()), Ok(made));
        }
        Err(error) => {
            let is_ambiguous =
                |name: &str| name.is_empty() || name.starts_with(' ') || name.contains(':');
            let names = [Some(uri.account()), uri.issuer()];
            assert!(names.into_iter().flatten().any(is_ambiguous), "{error}");
        }
    }
}
