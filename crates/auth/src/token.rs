//! Bearer tokens: high-entropy secrets that are shown once and stored as digests.

use alloc::{string::String, vec::Vec};
use core::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{AuthError, UnixMillis};

/// The number of random bytes in a token.
pub const TOKEN_BYTES: usize = 32;

/// The number of bytes of the creation time: milliseconds since 1970, for two million years.
const TIME_BYTES: usize = 7;

/// A bearer token of 256 random bits. Its text is base64url without padding (RFC 4648, section 5), which every header
/// and URI accepts unescaped: 43 characters, or 52 with a creation time.
///
/// The time lets tokens be stored in the order of creation. It is part of the text and of the digest, so a token with
/// an altered time is another token. The time is not secret, and must not be trusted before the digest has been found.
///
/// ```
/// use keyproof_auth::{Token, TokenDigest, UnixMillis};
///
/// let now = UnixMillis::from_secs(1_800_000_000);
/// let token = Token::from_random_at([9; 32], now); // 32 bytes from a random source
/// let (shown, stored) = (token.text(), token.digest().to_string());
///
/// let sent: Token = shown.parse()?;
/// assert_eq!((sent.digest(), sent.created_at()), (stored.parse::<TokenDigest>()?, Some(now)));
/// assert!(Token::parse("secret").is_err());
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone)]
pub struct Token {
    made_at: Option<[u8; TIME_BYTES]>,
    random: Zeroizing<[u8; TOKEN_BYTES]>,
}

impl Token {
    /// Creates a token without a creation time, from bytes of a cryptographic random source.
    pub fn from_random(bytes: [u8; TOKEN_BYTES]) -> Self {
        Self {
            made_at: None,
            random: Zeroizing::new(bytes),
        }
    }

    /// Creates a token with a creation time, from bytes of a cryptographic random source. The time is capped at the
    /// last millisecond below 2^56 since the Unix epoch.
    pub fn from_random_at(bytes: [u8; TOKEN_BYTES], created_at: UnixMillis) -> Self {
        let [first, time @ ..] = created_at.as_millis().to_be_bytes();
        Self {
            made_at: Some(if first == 0 {
                time
            } else {
                [u8::MAX; TIME_BYTES]
            }),
            random: Zeroizing::new(bytes),
        }
    }

    /// Parses the text that [`Token::text`] returns. The caller has removed any prefix.
    ///
    /// # Errors
    ///
    /// [`AuthError::MalformedToken`] for any other text: each token has exactly one spelling.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        // Checked first, so that a client's input never determines the size of an allocation.
        let lengths = [TOKEN_BYTES, TIME_BYTES + TOKEN_BYTES];
        if !lengths
            .map(|bytes| BASE64URL_NOPAD.encode_len(bytes))
            .contains(&text.len())
        {
            return Err(AuthError::MalformedToken);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| AuthError::MalformedToken)?;
        let (time, random) = bytes
            .split_last_chunk::<TOKEN_BYTES>()
            .ok_or(AuthError::MalformedToken)?;
        Ok(Self {
            made_at: time.try_into().ok(),
            random: Zeroizing::new(*random),
        })
    }

    /// The creation time, if the token has one.
    pub fn created_at(&self) -> Option<UnixMillis> {
        let [a, b, c, d, e, f, g] = self.made_at?;
        Some(UnixMillis::from_millis(u64::from_be_bytes([
            0, a, b, c, d, e, f, g,
        ])))
    }

    /// Returns the text for the client, to be shown once.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(&self.bytes()))
    }

    /// Returns the digest, which is stored instead of the token.
    pub fn digest(&self) -> TokenDigest {
        let mut hash = Sha256::new();
        if let Some(time) = &self.made_at {
            hash.update(time);
        }
        hash.update(self.random.as_slice());
        TokenDigest(hash.finalize().into())
    }

    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TIME_BYTES + TOKEN_BYTES));
        bytes.extend(self.made_at.iter().flatten());
        bytes.extend_from_slice(self.random.as_slice());
        bytes
    }
}

impl FromStr for Token {
    type Err = AuthError;

    /// The same as [`Token::parse`].
    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::parse(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 digest of a token, by which the token is stored and looked up. A plain hash is enough: 256 random bits
/// cannot be guessed, so a salt or a slow hash would add nothing.
///
/// ```
/// use std::collections::HashMap;
///
/// use keyproof_auth::{Token, TokenDigest};
///
/// let token = Token::from_random([9; 32]); // 32 bytes from a random source
/// let issued: HashMap<TokenDigest, &str> = HashMap::from([(token.digest(), "ada")]);
/// assert_eq!(issued.get(&token.digest()), Some(&"ada"));
/// assert_eq!(token.digest().to_string().parse(), Ok(token.digest())); // a column of text
/// assert_eq!(TokenDigest::from_bytes(*token.digest().as_bytes()), token.digest()); // or of bytes
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Creates a digest from its stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenDigest {
    /// Writes 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut text);
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for TokenDigest {
    type Err = AuthError;

    /// Parses 64 lower-case hexadecimal digits. [`MalformedDigest`](AuthError::MalformedDigest) for anything else.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        let mut digest = [0; 32];
        match HEXLOWER.decode_len(text.len()) {
            Ok(32) => HEXLOWER.decode_mut(text.as_bytes(), &mut digest),
            _ => return Err(AuthError::MalformedDigest),
        }
        .map_err(|_| AuthError::MalformedDigest)?;
        Ok(Self(digest))
    }
}

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for TokenDigest {
    /// Compares in constant time.
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

    fn malformed<const N: usize>(texts: [&str; N]) {
        for wrong in texts {
            let refused = Token::parse(wrong).err();
            assert_eq!(refused, Some(AuthError::MalformedToken), "{wrong}");
        }
    }

    #[test]
    fn only_its_own_spelling_is_read_back() {
        let text = Token::from_random([0xff; 32]).text();
        assert_eq!(text.len(), 43);
        assert!(Token::parse(&text).is_ok());
        // 43 characters have two bits more than 32 bytes; those must be zero.
        let mut other = text[..42].to_string();
        other.push('9');
        let padded = format!("{}=", *text);
        malformed(["", &text[..42], &padded, &other, &text.replace('_', "/")]);
    }

    #[test]
    fn a_token_says_when_it_was_made_and_is_another_with_another_time() {
        let made_at = |millis| Token::from_random_at([0xff; 32], UnixMillis::from_millis(millis));
        let token = made_at(0x018b_cfe5_6800);
        let text = token.text();
        assert_eq!(text.len(), 52);
        let read = Token::parse(&text).unwrap();
        assert_eq!(
            read.created_at(),
            Some(UnixMillis::from_millis(0x018b_cfe5_6800))
        );
        assert_eq!(read.digest(), token.digest());
        for other in [made_at(0x018b_cfe5_6801), Token::from_random([0xff; 32])] {
            assert_ne!(other.digest(), token.digest());
        }
        assert_eq!(Token::from_random([0xff; 32]).created_at(), None);
        // A time that is too late becomes the last one.
        assert_eq!(
            made_at(u64::MAX).created_at(),
            Some(UnixMillis::from_millis((1 << 56) - 1))
        );
        let longer = format!("{}A", *text);
        malformed([&text[..51], &text[1..], &text.replace('_', "/"), &longer]);
    }

    #[test]
    fn only_lower_case_digits_are_a_digest() {
        let text = Token::from_random([0xff; 32]).digest().to_string();
        for wrong in ["", &text[1..], &text[2..], &text.to_uppercase()] {
            let refused = wrong.parse::<TokenDigest>();
            assert_eq!(refused, Err(AuthError::MalformedDigest), "{wrong}");
        }
    }

    #[test]
    fn the_digest_is_sha_256() {
        // SHA-256 (FIPS 180-4), as printed by `printf '\0%.0s' {1..32} | sha256sum`.
        let digest = Token::from_random([0; 32]).digest();
        assert_eq!(
            digest.to_string(),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
        assert_eq!(HEXLOWER.encode(digest.as_bytes()), digest.to_string());
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Token::from_random([7; 32])), "Token(..)");
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32], time: u64) {
            for token in [Token::from_random(bytes), Token::from_random_at(bytes, UnixMillis::from_millis(time))] {
                let again = Token::parse(&token.text()).unwrap();
                prop_assert_eq!(again.digest(), token.digest());
                prop_assert_eq!(again.created_at(), token.created_at());
            }
        }

        #[test]
        fn texts_of_one_length_sort_by_time_as_bytes(a: u32, b: u32) {
            let time = |at: u32| Token::from_random_at([7; 32], UnixMillis::from_millis(at.into())).bytes();
            prop_assert_eq!(time(a).cmp(&time(b)), a.cmp(&b));
        }

        #[test]
        fn any_text_is_refused_or_read(text in "[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{52}|.{0,60}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(&*token.text(), &text);
            }
        }
    }
}
