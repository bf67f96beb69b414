//! Tokens, and keys that sort by time. Records that are written together lie side by side, so that a login dirties a few pages of
//! the store instead of one for each record.

use data_encoding::HEXLOWER;
use keyproof_auth::{TOKEN_BYTES, Token, TokenDigest};
use keyproof_store::{Entropy, Key, Timestamp};
use zeroize::Zeroizing;

use crate::clock::auth_millis;

/// Draws random bytes.
pub(crate) fn draw_bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// Draws a new token, which contains its time of creation if one is given.
pub(crate) fn draw_token(entropy: &dyn Entropy, made_at: Option<Timestamp>) -> Token {
    let mut random = Zeroizing::new([0; TOKEN_BYTES]);
    entropy.fill(&mut *random);
    match made_at {
        Some(at) => Token::from_random_at(*random, auth_millis(at)),
        None => Token::from_random(*random),
    }
}

/// Returns a token's name for people and for the audit trail: the first 16 hex digits of its digest.
pub(crate) fn token_name(digest: &TokenDigest) -> String {
    let (first, _) = digest.as_bytes().split_at(8);
    HEXLOWER.encode(first)
}

/// Returns a time as a key segment that sorts chronologically.
pub(crate) fn moment(at: Timestamp) -> String {
    HEXLOWER.encode(&at.as_millis().to_be_bytes())
}

/// Returns the time of creation that a token contains.
pub(crate) fn made_at(token: &Token) -> Option<Timestamp> {
    Some(Timestamp::from_millis(token.created_at()?.as_millis()))
}

/// Returns the key of a token's record: its time and digest. The digest covers the time as well, so the time that a client sends
/// only selects where to look. Tokens of earlier releases contain no time and are stored under their digest alone.
pub(crate) fn token_key(collection: &str, tenant: &str, token: &Token) -> Key {
    token_key_of(collection, tenant, token, &token.digest())
}

/// Like [`token_key`], for a token whose digest is already computed.
pub(crate) fn token_key_of(
    collection: &str,
    tenant: &str,
    token: &Token,
    digest: &TokenDigest,
) -> Key {
    match made_at(token) {
        Some(at) => token_key_at(collection, tenant, at, digest),
        None => Key::new(collection, [tenant, &digest.to_string()]),
    }
}

/// Like [`token_key`], for a token whose time of creation is known.
pub(crate) fn token_key_at(
    collection: &str,
    tenant: &str,
    at: Timestamp,
    digest: &TokenDigest,
) -> Key {
    let moment = moment(at);
    let segments = [tenant.as_bytes(), moment.as_bytes(), digest.as_bytes()];
    Key::new(collection, segments)
}

#[cfg(test)]
mod tests {
    use keyproof_auth::UnixMillis;
    use keyproof_store::SystemEntropy;

    use super::*;

    #[test]
    fn a_drawn_token_is_a_new_one_and_says_when_it_was_made_if_it_is_to() {
        let (entropy, at) = (
            SystemEntropy::new(),
            Timestamp::from_millis(1_700_000_000_001),
        );
        let drawn = [Some(at), Some(at), None].map(|at| draw_token(&entropy, at));
        assert_eq!(drawn.each_ref().map(made_at), [Some(at), Some(at), None]);
        let names = drawn.map(|token| {
            let (name, digest) = (token_name(&token.digest()), token.digest().to_string());
            assert!(digest.starts_with(&name), "{name} of {digest}");
            name
        });
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() == 16));
    }

    #[test]
    fn keys_of_tokens_sort_by_time_and_those_of_earlier_releases_stay_where_they_were() {
        let made_at = |millis| Token::from_random_at([7; 32], UnixMillis::from_millis(millis));
        let at = |millis| token_key("c", "_", &made_at(millis));
        let keys = [
            0,
            1,
            255,
            256,
            1_700_000_000_000,
            1_700_000_000_001,
            (1 << 56) - 1,
        ]
        .map(at);
        assert!(keys.is_sorted_by(|a, b| a < b));
        let old = Token::from_random([7; 32]);
        let place = Key::new("c", ["_", &old.digest().to_string()]);
        assert_eq!(token_key("c", "_", &old), place);
    }
}
