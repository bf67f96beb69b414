use core::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// SHA-256 of a label and of length-prefixed parts. Different lists of parts, or different kinds of
/// value, never hash the same input.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub(crate) struct Digest(
    #[cfg_attr(feature = "serde", serde(with = "crate::stored::hex"))] [u8; 32],
);

impl Digest {
    pub(crate) fn new(label: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"keyproof-mfa/1");
        for part in [label.as_bytes()].iter().chain(parts) {
            // A slice never has more than u64::MAX bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Digest {
    /// Omits the digest, since a short fingerprint can be found from it by search.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn parts_do_not_run_together() {
        let digests = [
            Digest::new("a", &[b"bc", b""]),
            Digest::new("a", &[b"b", b"c"]),
            Digest::new("a", &[b"bc"]),
            Digest::new("ab", &[b"c"]),
            Digest::new("ab", &[b"c", b""]),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at} is another's digest");
        }
    }
    #[test]
    fn a_digest_is_not_printed() {
        let digest = Digest::new("a", &[b"b"]);
        assert_eq!(alloc::format!("{digest:?}"), "Digest([redacted])");
    }
}
