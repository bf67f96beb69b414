use crate::{Entropy, hex::hexadecimal};

/// One state of one record: 128 random bits, drawn by the writer of that state.
///
/// A version is never reused. A record that was removed and inserted again matches none of its earlier versions, and an
/// HTTP entity tag made from a version is strong (RFC 9110, section 8.8.1).
///
/// ```
/// use keyproof_store::{SystemEntropy, Version};
///
/// let version = Version::random(&SystemEntropy::new());
/// let tag = format!("\"{version}\"");
/// assert_eq!(tag.trim_matches('"').parse::<Version>(), Ok(version));
/// assert!("W/\"1\"".parse::<Version>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// Returns a random version for a new state.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// Creates a version from stored bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

hexadecimal!(Version, 16, ParseVersionError);

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 32 lower-case hexadecimal digits")]
pub struct ParseVersionError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_exactly_32_lower_case_digits() {
        let version = Version::from_bytes(
            *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff",
        );
        assert_eq!(version.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(version.to_string().parse(), Ok(version));
        assert_eq!(format!("{version:?}"), format!("Version({version})"));
        for wrong in [
            "",
            "000102030405060708090A0B0C0D0EFF",
            "000102030405060708090a0b0c0d0ef",
            " 00102030405060708090a0b0c0d0eff",
        ] {
            assert_eq!(
                wrong.parse::<Version>(),
                Err(ParseVersionError),
                "{wrong:?}"
            );
        }
    }
}
