//! A cache of tokens whose signature was verified, so that not every request verifies it again.
//!
//! Only immutable facts are cached: that these exact bytes were signed, and their content. Everything else that a token's validity
//! depends on is checked at each use.

use std::{collections::hash_map::RandomState, sync::Mutex};

use hashlink::LruCache;
use ring::digest::{SHA256, digest};

use crate::mutex::lock;

/// The SHA-256 of a token's whole text.
pub(crate) type TokenText = [u8; 32];

/// An LRU cache by the token's whole text.
pub(crate) struct VerifiedTokenCache<T>(Mutex<LruCache<TokenText, T, RandomState>>);

impl<T: Clone> VerifiedTokenCache<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self(Mutex::new(LruCache::with_hasher(most, RandomState::new())))
    }

    pub(crate) fn get(&self, token: &TokenText) -> Option<T> {
        lock(&self.0).get(token).cloned()
    }

    /// Must be called only for a verified token.
    pub(crate) fn remember(&self, token: TokenText, what: T) {
        lock(&self.0).insert(token, what);
    }

    pub(crate) fn forget(&self, token: &TokenText) {
        lock(&self.0).remove(token);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

pub(crate) fn digest_of(token: &str) -> TokenText {
    let digest = digest(&SHA256, token.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_remembered_than_there_is_room_for_and_the_least_recently_used_goes_first() {
        let tokens = VerifiedTokenCache::new(2);
        for (token, what) in [("a", 1), ("b", 2)] {
            tokens.remember(digest_of(token), what);
        }
        assert_eq!(tokens.get(&digest_of("a")), Some(1));
        tokens.remember(digest_of("c"), 3);
        assert_eq!(tokens.len(), 2);
        let left = ["a", "b", "c"].map(|token| tokens.get(&digest_of(token)));
        assert_eq!(left, [Some(1), None, Some(3)]);
        tokens.forget(&digest_of("a"));
        assert_eq!(tokens.get(&digest_of("a")), None);
    }
}
