//! Preconditions on a certificate's version.

use keyproof_store::Version;

/// The content of `If-Match` or `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any version.
    Any,
    /// No header was sent.
    #[default]
    Missing,
    /// One of these versions, as spelled by the client.
    OneOf(Vec<String>),
}

impl Precondition {
    /// Returns whether the header includes this version; `false` if none was sent.
    pub fn holds(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Missing => false,
            Self::OneOf(versions) => versions.contains(&version.to_string()),
        }
    }

    /// Like [`holds`](Self::holds), but also true without a precondition, for reads.
    pub(super) fn holds_if_said(&self, version: Version) -> bool {
        *self == Self::Missing || self.holds(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_exactly_or_by_any() {
        let version = Version::from_bytes([0xab; 16]);
        let one_of = |texts: &[&str]| {
            Precondition::OneOf(texts.iter().map(|text| (*text).to_owned()).collect())
        };
        let text = "ab".repeat(16);
        assert!(Precondition::Any.holds(version));
        assert!(one_of(&["x", &text]).holds(version));
        for wrong in [
            one_of(&[]),
            one_of(&["", "*", &text.to_uppercase(), &text[1..]]),
        ] {
            assert!(!wrong.holds(version), "{wrong:?}");
            assert!(!wrong.holds_if_said(version), "{wrong:?}");
        }
        assert!(!Precondition::Missing.holds(version));
        assert!(Precondition::Missing.holds_if_said(version));
    }
}
