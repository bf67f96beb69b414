//! Base32 secrets.

use data_encoding::{BASE32, BASE32_NOPAD};
use keyproof_otp::{Base32Profile, OtpError, Secret};

use crate::position::assert_position;

/// Base32 in its three profiles: error positions are within the text, the lenient profile accepts what the strict one accepts, two
/// profiles that accept a text agree on it, the canonical spelling reads back, and data-encoding agrees with each.
pub fn base32(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let [strict, lenient, taler] = [
        Base32Profile::Strict,
        Base32Profile::Lenient,
        Base32Profile::Taler,
    ]
    .map(|profile| decode(profile, text));

    assert_eq!(strict, padded(data));
    assert_eq!(lenient, leniently(text));
    if let Some(bytes) = &strict {
        assert_eq!(lenient.as_ref(), Some(bytes));
        let padded = text.len() - text.trim_end_matches('=').len();
        assert_eq!(taler.is_some(), padded <= 2);
        if let Ok(secret) = Secret::from_bytes(bytes) {
            assert_eq!(secret.base32().to_string(), text.trim_end_matches('='));
        }
    }
    if let Some(bytes) = &lenient {
        assert!(taler.as_ref().is_none_or(|taler| taler == bytes));
        if let Ok(secret) = Secret::from_bytes(bytes) {
            let symbols = text.chars().filter(char::is_ascii_alphanumeric);
            let canonical: String = symbols.map(|symbol| symbol.to_ascii_uppercase()).collect();
            assert_eq!(secret.base32().to_string(), canonical);
        }
    }
    if let Some(bytes) = &taler {
        let symbols = text.trim_end_matches('=').len();
        assert_eq!(
            bytes.len(),
            symbols * 5 / 8,
            "left-over bits are dropped, nothing else"
        );
    }
}

/// Decodes with data-encoding: removes the ignored characters, converts to upper case, then decodes strictly, with or without
/// padding.
fn leniently(text: &str) -> Option<Vec<u8>> {
    let counts = |symbol: &u8| !symbol.is_ascii_whitespace() && *symbol != b'-';
    let symbols: Vec<u8> = text.bytes().filter(counts).collect();
    let symbols = symbols.to_ascii_uppercase();
    padded(&symbols).or_else(|| BASE32_NOPAD.decode(&symbols).ok())
}

/// Decodes a single text. data-encoding also accepts a concatenation of several, each with its padding.
fn padded(symbols: &[u8]) -> Option<Vec<u8>> {
    let first = symbols.iter().position(|symbol| *symbol == b'=');
    let (_, padding) = symbols.split_at(first.unwrap_or(symbols.len()));
    let is_one = padding.iter().all(|symbol| *symbol == b'=');
    is_one.then(|| BASE32.decode(symbols).ok())?
}

/// Decodes into a buffer of sufficient size, and checks that a buffer which is one byte shorter is rejected.
fn decode(profile: Base32Profile, text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; Base32Profile::max_decoded_len(text.len())];
    match profile.decode_to(text, &mut bytes) {
        Ok(len) => {
            if let Some(too_short) = len.checked_sub(1) {
                let mut out = vec![0; too_short];
                assert_eq!(
                    profile.decode_to(text, &mut out),
                    Err(OtpError::SecretTooLong)
                );
            }
            let inline =
                Secret::from_base32(text, profile).map(|secret| secret.as_bytes() == &bytes[..len]);
            assert_eq!(
                inline,
                match len {
                    0 => Err(OtpError::SecretEmpty),
                    1..=Secret::MAX_LEN => Ok(true),
                    _ => Err(OtpError::SecretTooLong),
                }
            );
            bytes.truncate(len);
            Some(bytes)
        }
        Err(error) => {
            assert_ne!(error, OtpError::SecretTooLong);
            assert_position(error, text);
            None
        }
    }
}
