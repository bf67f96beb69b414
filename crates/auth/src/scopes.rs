//! Scopes with names that the embedder chooses, in the notation of OAuth 2.0 (RFC 6749, section 3.3).

use alloc::{borrow::ToOwned, collections::BTreeSet, string::String};
use core::{fmt, str::FromStr};

use crate::AuthError;

/// The rules for scopes, shown with an [`AuthError::UnknownScope`].
const KNOWN: &str = "a scope has 1 to 128 visible ASCII characters, without \" and \\, and there are 1 to 64 of them with one blank between";

/// The scopes of one token: 1 to 64 distinct names, sorted.
///
/// A name has 1 to 128 visible ASCII characters other than `"` and `\`, and is case-sensitive. Names have no meaning to
/// this crate: none includes another.
///
/// ```
/// use keyproof_auth::Scopes;
///
/// let granted: Scopes = "orders:read profile".parse()?;
/// assert!(granted.contains("orders:read"));
/// assert!(!granted.contains("orders:write"));
/// let narrower: Scopes = "profile".parse()?;
/// assert!(narrower.is_subset_of(&granted)); // so a token may be exchanged for one with these
/// assert_eq!(granted.to_string(), "orders:read profile"); // the stored text
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 128;
    /// The largest number of names.
    pub const MAX: usize = 64;

    /// Creates a set of names.
    ///
    /// ```
    /// use keyproof_auth::Scopes;
    ///
    /// let granted = Scopes::new(["profile", "orders:read", "profile"])?;
    /// assert_eq!(granted.iter().collect::<Vec<_>>(), ["orders:read", "profile"]);
    /// assert!(Scopes::new(["two words"]).is_err());
    /// # Ok::<(), keyproof_auth::AuthError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownScope`] if a name is invalid, if there is no name, or if there are more than [`Self::MAX`].
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, AuthError> {
        let mut scopes = BTreeSet::new();
        for name in names {
            if !is_name(name) || scopes.len() == Self::MAX && !scopes.contains(name) {
                return Err(AuthError::unknown_scope(name, KNOWN));
            }
            scopes.insert(name.to_owned());
        }
        if scopes.is_empty() {
            return Err(AuthError::unknown_scope("", KNOWN));
        }
        Ok(Self(scopes))
    }

    /// Whether the set contains this scope.
    #[must_use = "otherwise the permission is not checked"]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether `other` contains all of these scopes.
    #[must_use = "otherwise a wider scope is not noticed"]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Iterates over the names in sorted order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A `scope-token` of RFC 6749, of bounded length.
fn is_name(text: &str) -> bool {
    (1..=Scopes::MAX_LEN).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

impl FromStr for Scopes {
    type Err = AuthError;

    /// Parses what `Display` writes, but in any order: names separated by one space. Fails as [`Scopes::new`] does.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::new(text.split(' '))
    }
}

impl fmt::Display for Scopes {
    /// Writes the names sorted, separated by one space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString, vec::Vec};

    fn scopes(text: &str) -> Result<Scopes, AuthError> {
        text.parse()
    }

    #[test]
    fn names_are_those_of_rfc_6749() {
        for name in [
            "a",
            "!",
            "~",
            "#",
            "[",
            "]",
            "orders:read",
            "https://example.org/x",
        ] {
            assert!(scopes(name).is_ok(), "{name}");
        }
        for name in [
            "", "\"", "\\", "\u{7f}", "ä", "a\tb", "a  b", " a", "a ", "a\n",
        ] {
            assert!(scopes(name).is_err(), "{name:?}");
        }
        assert!(scopes(&"x".repeat(Scopes::MAX_LEN)).is_ok());
        assert!(scopes(&"x".repeat(Scopes::MAX_LEN + 1)).is_err());
    }

    #[test]
    fn there_are_at_most_64_and_each_counts_once() {
        let names = |count: usize| (0..count).map(|n| format!("s{n:02}")).collect::<Vec<_>>();
        let most = names(Scopes::MAX).join(" ");
        assert_eq!(scopes(&most).unwrap().iter().count(), Scopes::MAX);
        assert!(scopes(&format!("{most} s00")).is_ok());
        assert!(scopes(&names(Scopes::MAX + 1).join(" ")).is_err());
        assert_eq!(scopes("b a b").unwrap().to_string(), "a b");
        // A token that allows nothing is a mistake.
        assert!(Scopes::new([]).is_err());
    }

    #[test]
    fn a_name_allows_itself_alone() {
        let (all, one) = (scopes("read write").unwrap(), scopes("read").unwrap());
        assert!(all.contains("read") && !all.contains("Read") && !all.contains("rea"));
        assert!(!all.contains("reader") && !all.contains("read:orders") && !all.contains(""));
        assert!(one.is_subset_of(&all) && !all.is_subset_of(&one) && one.is_subset_of(&one));
    }
}
