//! Scopes of operators' and services' tokens: `admin`, `certificates[:SUB[/GROUP[/SERVICE]]]`, `tpm[:NAMESPACE]`
//! and `tpm-station`. Each is a place in a tree; it covers that place and everything below.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use crate::AuthError;

/// All of them, for whoever named none.
const KNOWN: &str =
    "the scopes are admin, certificates[:SUB[/GROUP[/SERVICE]]], tpm[:NAMESPACE] and tpm-station";

/// What one operation needs, or a token grants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperatorScope {
    /// `admin`: everything.
    Admin,
    /// `certificates…`: the provisioning-service certificates at and below a path.
    Certificates(CertificatePath),
    /// `tpm` (every namespace) or `tpm:NAMESPACE`: the TPM categories, managers and keys, and what stations do.
    Tpm(Option<String>),
    /// `tpm-station`: the two calls of a manufacturing station, preauth and provision.
    TpmStation,
}

/// Up to three names: subscription, resource group, service. Azure compares them without regard to case, so
/// they are kept in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificatePath(Vec<String>);

impl OperatorScope {
    /// The scope of the certificates below some of subscription, resource group and service, in this order;
    /// more than three names are cut.
    pub fn certificates<'a>(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Certificates(CertificatePath(
            path.into_iter().take(3).map(str::to_lowercase).collect(),
        ))
    }

    /// Whether a token with this scope reaches what needs `needed`.
    pub fn covers(&self, needed: &Self) -> bool {
        match (self, needed) {
            (Self::Admin, _) | (Self::Tpm(_) | Self::TpmStation, Self::TpmStation) => true,
            (Self::Certificates(own), Self::Certificates(needed)) => needed.0.starts_with(&own.0),
            (Self::Tpm(None), Self::Tpm(_)) => true,
            (Self::Tpm(own), Self::Tpm(needed)) => own == needed,
            _ => false,
        }
    }
}

impl FromStr for OperatorScope {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let (name, limit) = match text.split_once(':') {
            None => (text, None),
            Some((name, limit)) => (name, Some(limit)),
        };
        match (name, limit) {
            ("admin", None) => Ok(Self::Admin),
            ("tpm-station", None) => Ok(Self::TpmStation),
            ("tpm", None) => Ok(Self::Tpm(None)),
            ("tpm", Some(namespace)) if is_dns_label(namespace) => {
                Ok(Self::Tpm(Some(namespace.to_owned())))
            }
            ("certificates", None) => Ok(Self::certificates([])),
            ("certificates", Some(path)) if is_certificate_path(path) => {
                Ok(Self::certificates(path.split('/')))
            }
            _ => Err(AuthError::unknown_scope(text, KNOWN)),
        }
    }
}

impl fmt::Display for OperatorScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Certificates(path) if path.0.is_empty() => f.write_str("certificates"),
            Self::Certificates(path) => write!(f, "certificates:{}", path.0.join("/")),
            Self::Tpm(None) => f.write_str("tpm"),
            Self::Tpm(Some(namespace)) => write!(f, "tpm:{namespace}"),
            Self::TpmStation => f.write_str("tpm-station"),
        }
    }
}

/// Whether a text is a DNS label in lower case (RFC 1035, section 2.3.1), as the names of namespaces and of what is in them are.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// One to three names, none empty, none with blanks or control characters.
fn is_certificate_path(text: &str) -> bool {
    text.len() <= 1024
        && text.split('/').count() <= 3
        && text.split('/').all(|name| {
            !name.is_empty() && !name.chars().any(|c| c.is_control() || c.is_whitespace())
        })
}

/// The scopes of one token: at least one, sorted, none of them covered by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorScopes(Vec<OperatorScope>);

impl OperatorScopes {
    /// Makes a set of scopes.
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownScope`] if there is none: a token that allows nothing is a mistake.
    pub fn new(scopes: impl IntoIterator<Item = OperatorScope>) -> Result<Self, AuthError> {
        let mut scopes: Vec<_> = scopes.into_iter().collect();
        if scopes.is_empty() {
            return Err(AuthError::unknown_scope("", KNOWN));
        }
        scopes.sort();
        scopes.dedup();
        let all = scopes.clone();
        scopes.retain(|scope| {
            !all.iter()
                .any(|other| other != scope && other.covers(scope))
        });
        Ok(Self(scopes))
    }

    /// Reads scopes as a record or a claim gives them.
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownScope`] for the first that is none, and for an empty list.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AuthError> {
        let scopes = texts
            .into_iter()
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(scopes)
    }

    /// Whether one of them reaches what needs `needed`.
    pub fn cover(&self, needed: &OperatorScope) -> bool {
        self.0.iter().any(|scope| scope.covers(needed))
    }

    /// Whether they reach nothing that `other` does not.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.cover(scope))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &OperatorScope> {
        self.0.iter()
    }
}

impl FromStr for OperatorScopes {
    type Err = AuthError;

    /// Reads what `Display` writes: scopes with one blank between.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::parse(text.split(' '))
    }
}

impl fmt::Display for OperatorScopes {
    /// Separated by blanks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            write!(f, "{separator}{scope}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use proptest::{collection::vec as vec_of, prelude::*, sample::select};

    fn scope() -> impl Strategy<Value = OperatorScope> {
        let name = || select(vec!["alpha", "Beta", "GAMMA"]);
        prop_oneof![
            Just(OperatorScope::Admin),
            Just(OperatorScope::TpmStation),
            Just(OperatorScope::Tpm(None)),
            select(vec!["system", "default"])
                .prop_map(|ns| OperatorScope::Tpm(Some(ns.to_owned()))),
            vec_of(name(), 0..4).prop_map(OperatorScope::certificates),
        ]
    }

    fn scopes() -> impl Strategy<Value = OperatorScopes> {
        vec_of(scope(), 1..4).prop_map(|scopes| {
            let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            OperatorScopes::parse(texts.iter().map(String::as_str)).unwrap()
        })
    }

    fn parsed(text: &str) -> OperatorScope {
        text.parse().unwrap()
    }

    #[test]
    fn certificates_narrow_by_name_and_not_by_prefix() {
        let held = parsed("certificates:Sub/Group");
        assert!(held.covers(&OperatorScope::certificates(["SUB", "gROUP", "service"])));
        assert!(held.covers(&held));
        assert!(!held.covers(&OperatorScope::certificates(["sub", "group2", "service"])));
        assert!(!held.covers(&OperatorScope::certificates(["sub"])));
        assert!(parsed("certificates").covers(&held));
        assert_eq!(held.to_string(), "certificates:sub/group");
    }

    #[test]
    fn a_station_does_nothing_else() {
        for needed in ["admin", "tpm", "tpm:system", "certificates"] {
            assert!(
                !OperatorScope::TpmStation.covers(&parsed(needed)),
                "{needed}"
            );
        }
        assert!(parsed("tpm:system").covers(&OperatorScope::TpmStation));
        assert!(!parsed("tpm:system").covers(&parsed("tpm:default")));
        assert!(!parsed("tpm:system").covers(&parsed("tpm")));
        assert!(!parsed("certificates").covers(&OperatorScope::TpmStation));
    }

    #[test]
    fn malformed_scopes_are_refused() {
        for wrong in [
            "",
            "Admin",
            "admin:",
            "admin:x",
            "tpm:",
            "tpm:Upper",
            "tpm:a/b",
            "tpm:-a",
            "tpm:a-",
            "tpm-station:x",
            "certificates:",
            "certificates:a//b",
            "certificates:a/b/c/d",
            "certificates:a/",
            "certificates:a b",
            "root",
        ] {
            assert!(wrong.parse::<OperatorScope>().is_err(), "{wrong:?}");
        }
        assert!(OperatorScopes::parse([]).is_err());
    }

    #[test]
    fn covered_scopes_are_dropped() {
        let scopes = OperatorScopes::parse([
            "tpm:system",
            "certificates:a/b",
            "tpm",
            "certificates:A",
            "tpm",
        ])
        .unwrap();
        assert_eq!(scopes.to_string(), "certificates:a tpm");
        assert_eq!(
            OperatorScopes::parse(["tpm", "admin"]).unwrap().to_string(),
            "admin"
        );
    }

    proptest! {
        #[test]
        fn text_round_trips(scope in scope()) {
            prop_assert_eq!(scope.to_string().parse(), Ok(scope));
        }

        #[test]
        fn covering_is_a_partial_order(a in scope(), b in scope(), c in scope()) {
            prop_assert!(a.covers(&a));
            prop_assert!(OperatorScope::Admin.covers(&a));
            if a.covers(&b) && b.covers(&c) {
                prop_assert!(a.covers(&c));
            }
            if a.covers(&b) && b.covers(&a) {
                prop_assert_eq!(a, b);
            }
        }

        #[test]
        fn a_subset_reaches_nothing_more(a in scopes(), b in scopes(), needed in scope()) {
            if a.is_subset_of(&b) && a.cover(&needed) {
                prop_assert!(b.cover(&needed));
            }
        }

        #[test]
        fn normalising_changes_no_answer(list in vec_of(scope(), 1..5), needed in scope()) {
            let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            let scopes = OperatorScopes::parse(texts.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(scopes.cover(&needed), list.iter().any(|scope| scope.covers(&needed)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<OperatorScope>();
        }
    }
}
