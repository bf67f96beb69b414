//! Bearer tokens: high-entropy secrets that are shown once and stored as digests.

use crate::AuthError;
use alloc::string::String;
use core::fmt;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The length of a token, in bytes.
pub const TOKEN_BYTES: usize = 32;

/// A bearer token of 256 random bits. Its text is 43 characters of base64url without padding
/// (RFC 4648, section 5), which every header and URI takes as it is.
#[derive(Clone)]
pub struct Token(Zeroizing<[u8; TOKEN_BYTES]>);

impl Token {
    /// A token from bytes of a cryptographic random source.
    pub fn from_random(bytes: [u8; TOKEN_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads the text that [`Token::text`] writes, after the caller has taken off any prefix.
    ///
    /// # Errors
    /// [`AuthError::MalformedToken`] for any other text: each token has one spelling.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        // The length is checked first, so that nothing a client sends sizes an allocation.
        if text.len() != BASE64URL_NOPAD.encode_len(TOKEN_BYTES) {
            return Err(AuthError::MalformedToken);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| AuthError::MalformedToken)?;
        <[u8; TOKEN_BYTES]>::try_from(bytes.as_slice())
            .map(Self::from_random)
            .map_err(|_| AuthError::MalformedToken)
    }

    /// The text for the client, to be shown once.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(self.0.as_slice()))
    }

    /// What is stored in its place.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(*self.0).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 of a token, by which it is stored and looked up. A plain hash is enough for
/// 256 random bits: there is nothing to guess that salt or slowness would protect.
#[derive(Clone, Copy, Debug)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenDigest {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl PartialEq for TokenDigest {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};
    use proptest::prelude::*;

    #[test]
    fn only_its_own_spelling_is_read_back() {
        let text = Token::from_random([0xff; 32]).text();
        assert_eq!(text.len(), 43);
        assert!(Token::parse(&text).is_ok());
        // 43 characters hold two bits more than 32 bytes: those must be zero.
        let mut other = text[..42].to_string();
        other.push('9');
        for wrong in [
            "",
            &text[..42],
            &format!("{}=", *text),
            &other,
            &text.replace('_', "/"),
        ] {
            assert_eq!(
                Token::parse(wrong).err(),
                Some(AuthError::MalformedToken),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-4, as `printf '\0%.0s' {1..32} | sha256sum` prints it.
        assert_eq!(
            Token::from_random([0; 32]).digest().to_string(),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Token::from_random([7; 32])), "Token(..)");
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let token = Token::from_random(bytes);
            let again = Token::parse(&token.text()).unwrap();
            prop_assert_eq!(again.digest(), token.digest());
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,60}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(&*token.text(), &text);
            }
        }
    }
}
