//! Scopes of the tokens of keyproof's own operators, and of services that call it: `admin`, `audit`,
//! `certificates[:SUB[/GROUP[/SERVICE]]]`, `instances[:NAME]`, `status`, `tpm[:NAMESPACE]`, `tpm-station` and
//! `users[:ORGANISATION]`. Those of audit, instances, status and users also exist with `-read`. Each scope is a node of
//! a tree, and covers that node and everything below it.

use alloc::{
    borrow::{Cow, ToOwned},
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

use crate::AuthError;

/// The known scopes, shown with an [`AuthError::UnknownScope`].
const KNOWN: &str = "the scopes are admin, audit, certificates[:SUB[/GROUP[/SERVICE]]], instances[:NAME], status, tpm[:NAMESPACE], \
     tpm-station and users[:ORGANISATION]; audit, instances, status and users are also audit-read, instances-read[:NAME], \
     status-read and users-read[:ORGANISATION]";

/// The longest name of an instance or an organisation, in bytes.
const MAX_NAME: usize = 254;

/// The largest number of names in a certificate path.
const MAX_NAMES: usize = 3;

/// A scope that one operation needs, or that a token grants.
///
/// ```
/// use keyproof_auth::operator::{OperatorScope, AccessLevel};
///
/// let granted: OperatorScope = "users".parse()?;
/// let needed = OperatorScope::Users(AccessLevel::Read, Some("Acme".to_owned()));
/// assert!(granted.covers(&needed)); // it covers every organisation, and changes too
/// assert!(!needed.covers(&granted));
/// assert_eq!(needed.to_string(), "users-read:Acme");
/// assert!("user".parse::<OperatorScope>().is_err());
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OperatorScope {
    /// `admin`: everything.
    Admin,
    /// `audit`: the audit trail.
    Audit(AccessLevel),
    /// `certificates…`: the provisioning-service certificates at and below a path.
    Certificates(CertificatePath),
    /// `instances` (all) or `instances:NAME`: instances and their OTP devices.
    Instances(AccessLevel, Option<String>),
    /// `status`: the state of the server.
    Status(AccessLevel),
    /// `tpm` (every namespace) or `tpm:NAMESPACE`: TPM categories, managers and keys, and everything that stations
    /// call.
    Tpm(Option<String>),
    /// `tpm-station`: the calls of a station: preauth, provision and activate, an attestation's nonce, and the
    /// attestation.
    TpmStation,
    /// `users` (every organisation) or `users:ORGANISATION`: users and their second factors.
    Users(AccessLevel, Option<String>),
}

/// The access of a scope that also exists with `-read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessLevel {
    /// Read only, written with the suffix `-read`.
    Read,
    /// Reading and changing.
    Change,
}

impl AccessLevel {
    /// Whether this access allows what needs `needed`.
    const fn covers(self, needed: Self) -> bool {
        matches!((self, needed), (Self::Change, _) | (_, Self::Read))
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Read => "-read",
            Self::Change => "",
        }
    }
}

/// Up to three names: subscription, resource group, service. Without any it is the path of all certificates, so it has
/// no default. Azure compares the names case-insensitively, so they are stored in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificatePath(Vec<String>);

impl CertificatePath {
    fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_lowercase).collect())
    }
}

impl OperatorScope {
    /// Returns the scope of the certificates below a path: any leading part of subscription, resource group and
    /// service.
    ///
    /// ```
    /// use keyproof_auth::operator::OperatorScope;
    ///
    /// let group = OperatorScope::certificates(["My-Sub", "my-group"]);
    /// assert_eq!(group.to_string(), "certificates:my-sub/my-group");
    /// assert!(group.covers(&OperatorScope::certificates(["my-sub", "my-group", "fleet"])));
    /// assert!(!group.covers(&OperatorScope::certificates(["my-sub"])));
    /// ```
    ///
    /// A fourth name does not compile, because a scope without it would cover more than intended:
    ///
    /// ```compile_fail
    /// # use keyproof_auth::operator::OperatorScope;
    /// OperatorScope::certificates(["my-sub", "my-group", "fleet", "root-ca"]);
    /// ```
    pub fn certificates<const N: usize>(path: [&str; N]) -> Self {
        const { assert!(N <= MAX_NAMES) };
        Self::Certificates(CertificatePath::of(path))
    }

    /// Whether a token with this scope may do what needs `needed`.
    #[must_use = "otherwise the permission is not checked"]
    pub fn covers(&self, needed: &Self) -> bool {
        match (self, needed) {
            (Self::Admin, _) | (Self::Tpm(_) | Self::TpmStation, Self::TpmStation) => true,
            (Self::Certificates(own), Self::Certificates(needed)) => needed.0.starts_with(&own.0),
            (Self::Tpm(own), Self::Tpm(needed)) => is_within(own, needed),
            (Self::Audit(own), Self::Audit(needed)) | (Self::Status(own), Self::Status(needed)) => {
                own.covers(*needed)
            }
            (Self::Instances(own, name), Self::Instances(needed, of))
            | (Self::Users(own, name), Self::Users(needed, of)) => {
                own.covers(*needed) && is_within(name, of)
            }
            _ => false,
        }
    }
}

/// Whether `granted` includes `named`: it has no name, which means all, or the same name.
fn is_within(granted: &Option<String>, named: &Option<String>) -> bool {
    granted.is_none() || granted == named
}

impl FromStr for OperatorScope {
    type Err = AuthError;

    /// Parses a scope. [`UnknownScope`](AuthError::UnknownScope) for anything else.
    ///
    /// The name of an instance or organisation has 1 to 254 bytes, no white space at its ends, and neither colons nor
    /// control characters. A space in it may be written `%20`, and a percent sign is written `%25`. A namespace is a
    /// DNS label ([`is_dns_label`]). A path of certificates has one to three names without white space, and at most 1024
    /// bytes in lower case.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        let (name, limit) = match text.split_once(':') {
            None => (text, None),
            Some((name, limit)) => (name, Some(limit)),
        };
        let (name, reach) = match name.strip_suffix("-read") {
            None => (name, AccessLevel::Change),
            Some(name) => (name, AccessLevel::Read),
        };
        let unknown = || AuthError::unknown_scope(text, KNOWN);
        let named = limit.map(|limit| name_of(limit).ok_or_else(unknown));
        match (name, limit) {
            ("audit", None) => Ok(Self::Audit(reach)),
            ("status", None) => Ok(Self::Status(reach)),
            ("instances", _) => Ok(Self::Instances(reach, named.transpose()?)),
            ("users", _) => Ok(Self::Users(reach, named.transpose()?)),
            // The other scopes do not exist with the suffix.
            _ if reach == AccessLevel::Read => Err(unknown()),
            ("admin", None) => Ok(Self::Admin),
            ("tpm-station", None) => Ok(Self::TpmStation),
            ("tpm", None) => Ok(Self::Tpm(None)),
            ("tpm", Some(namespace)) if is_dns_label(namespace) => {
                Ok(Self::Tpm(Some(namespace.to_owned())))
            }
            ("certificates", None) => Ok(Self::certificates([])),
            // Checked as it is stored: a few characters take more bytes in lower case.
            ("certificates", Some(path)) if is_certificate_path(&path.to_lowercase()) => {
                Ok(Self::Certificates(CertificatePath::of(path.split('/'))))
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for OperatorScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Audit(reach) => write!(f, "audit{}", reach.suffix()),
            Self::Instances(reach, name) => write_named(f, "instances", *reach, name.as_deref()),
            Self::Status(reach) => write!(f, "status{}", reach.suffix()),
            Self::Users(reach, name) => write_named(f, "users", *reach, name.as_deref()),
            Self::Certificates(path) if path.0.is_empty() => f.write_str("certificates"),
            Self::Certificates(path) => write!(f, "certificates:{}", path.0.join("/")),
            Self::Tpm(None) => f.write_str("tpm"),
            Self::Tpm(Some(namespace)) => write!(f, "tpm:{namespace}"),
            Self::TpmStation => f.write_str("tpm-station"),
        }
    }
}

/// Decodes a name in a scope. Spaces separate the scopes in a list, so a space in a name may be written `%20`, and a
/// percent sign is written `%25`.
fn name_of(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('%');
    name.push_str(parts.next()?);
    for part in parts {
        let (character, rest) = match part.split_at_checked(2)? {
            ("20", rest) => (' ', rest),
            ("25", rest) => ('%', rest),
            _ => return None,
        };
        name.push(character);
        name.push_str(rest);
    }
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name.trim() == name
        && name.chars().all(|c| !c.is_control() && c != ':');
    is_name.then_some(name)
}

fn write_named(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    reach: AccessLevel,
    name: Option<&str>,
) -> fmt::Result {
    write!(f, "{what}{}", reach.suffix())?;
    let Some(name) = name else { return Ok(()) };
    f.write_str(":")?;
    name.split_inclusive(['%', ' ']).try_for_each(|part| {
        let written = match (part.strip_suffix('%'), part.strip_suffix(' ')) {
            (Some(part), _) => Cow::Owned(part.to_owned() + "%25"),
            (_, Some(part)) => Cow::Owned(part.to_owned() + "%20"),
            _ => Cow::Borrowed(part),
        };
        f.write_str(&written)
    })
}

/// Whether a text is a DNS label in lower case (RFC 1035, section 2.3.1), like the names of namespaces and of the
/// objects in them.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether a text is one to three names, none of them empty and none with white space or control characters.
fn is_certificate_path(text: &str) -> bool {
    text.len() <= 1024
        && text.split('/').count() <= MAX_NAMES
        && text.split('/').all(|name| {
            !name.is_empty() && !name.chars().any(|c| c.is_control() || c.is_whitespace())
        })
}

/// The scopes of one token: at least one, sorted, none of them covered by another.
///
/// ```
/// use keyproof_auth::operator::{OperatorScope, OperatorScopes};
///
/// let granted: OperatorScopes = "tpm tpm:factory audit-read".parse()?;
/// assert_eq!(granted.to_string(), "audit-read tpm"); // `tpm` covers `tpm:factory`
/// assert!(granted.cover(&OperatorScope::TpmStation));
/// assert!(!granted.cover(&OperatorScope::Admin));
/// let narrower: OperatorScopes = "tpm:factory".parse()?;
/// assert!(narrower.is_subset_of(&granted) && !granted.is_subset_of(&narrower));
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperatorScopes(Vec<OperatorScope>);

impl OperatorScopes {
    /// Creates a set of scopes.
    ///
    /// ```
    /// use keyproof_auth::operator::{OperatorScope, OperatorScopes, AccessLevel};
    ///
    /// let granted = OperatorScopes::new([OperatorScope::TpmStation, OperatorScope::Audit(AccessLevel::Read)])?;
    /// assert_eq!(granted.to_string(), "audit-read tpm-station");
    /// assert!(OperatorScopes::new([]).is_err());
    /// # Ok::<(), keyproof_auth::AuthError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownScope`] if there are no scopes, since a token that allows nothing is a mistake, and if a
    /// scope has a name that cannot be parsed again.
    pub fn new(scopes: impl IntoIterator<Item = OperatorScope>) -> Result<Self, AuthError> {
        let scopes: Vec<_> = scopes.into_iter().collect();
        for scope in &scopes {
            let text = scope.to_string();
            // The text of a name with a blank would be that of two scopes: `tpm:a admin`.
            if text.parse::<OperatorScope>().as_ref() != Ok(scope) {
                return Err(AuthError::unknown_scope(&text, KNOWN));
            }
        }
        Self::normalised(scopes)
    }

    /// Sorts valid scopes, and drops those that another one covers.
    fn normalised(mut scopes: Vec<OperatorScope>) -> Result<Self, AuthError> {
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

    /// Parses scopes from separate texts, as in a record or a claim.
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownScope`] for the first invalid scope, and for an empty list.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AuthError> {
        let scopes = texts
            .into_iter()
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?;
        Self::normalised(scopes)
    }

    /// Whether one of the scopes covers `needed`.
    #[must_use = "otherwise the permission is not checked"]
    pub fn cover(&self, needed: &OperatorScope) -> bool {
        self.0.iter().any(|scope| scope.covers(needed))
    }

    /// Whether `other` covers each of these scopes.
    #[must_use = "otherwise a wider scope is not noticed"]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.cover(scope))
    }

    /// Iterates over the scopes.
    pub fn iter(&self) -> impl Iterator<Item = &OperatorScope> {
        self.0.iter()
    }
}

impl FromStr for OperatorScopes {
    type Err = AuthError;

    /// Parses what `Display` writes: scopes separated by one space. Fails as [`OperatorScopes::parse`] does.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::parse(text.split(' '))
    }
}

impl fmt::Display for OperatorScopes {
    /// Writes the scopes separated by spaces.
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
    use alloc::vec;
    use proptest::{collection::vec as vec_of, prelude::*, sample::select};

    fn scope() -> impl Strategy<Value = OperatorScope> {
        let name = || select(vec!["alpha", "Beta", "GAMMA"]);
        prop_oneof![
            Just(OperatorScope::Admin),
            Just(OperatorScope::TpmStation),
            Just(OperatorScope::Tpm(None)),
            select(vec!["system", "default"])
                .prop_map(|ns| OperatorScope::Tpm(Some(ns.to_owned()))),
            vec_of(name(), 0..4)
                .prop_map(|path| OperatorScope::Certificates(CertificatePath::of(path))),
            reach().prop_map(OperatorScope::Audit),
            reach().prop_map(OperatorScope::Status),
            (reach(), named()).prop_map(|(reach, name)| OperatorScope::Instances(reach, name)),
            (reach(), named()).prop_map(|(reach, name)| OperatorScope::Users(reach, name)),
        ]
    }

    fn reach() -> impl Strategy<Value = AccessLevel> {
        select(vec![AccessLevel::Read, AccessLevel::Change])
    }

    fn named() -> impl Strategy<Value = Option<String>> {
        select(vec![
            None,
            Some("shop".to_owned()),
            Some("Example Org".to_owned()),
            Some("100 %, of %20".to_owned()),
        ])
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
    fn namespaces_are_dns_labels() {
        let longest = "a".repeat(63);
        for label in ["a", "a1", "a-1", "ns--0", &longest] {
            assert!(is_dns_label(label), "{label}");
            let scope = OperatorScope::Tpm(Some(label.to_owned()));
            assert_eq!(parsed(&alloc::format!("tpm:{label}")), scope);
        }
        for other in [
            "",
            "1a",
            "-a",
            "a-",
            "aB",
            "a_b",
            "a.b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_dns_label(other), "{other}");
        }
    }

    #[test]
    fn a_fourth_name_is_refused_and_not_cut() {
        assert!(
            "certificates:sub/group/fleet"
                .parse::<OperatorScope>()
                .is_ok()
        );
        let found = "certificates:sub/group/fleet/root-ca";
        assert_eq!(
            found.parse::<OperatorScope>(),
            Err(AuthError::unknown_scope(found, KNOWN))
        );
    }

    #[test]
    fn a_path_is_as_long_as_it_is_stored() {
        let of = |name: &str, times| {
            alloc::format!("certificates:{}", name.repeat(times)).parse::<OperatorScope>()
        };
        let longest = of("A", 1024).unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
        assert!(of("A", 1025).is_err());
        // U+023A has two bytes, and three in lower case: 341 of them are 1023 bytes.
        let longest = of("\u{23a}", 341).unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
        assert!(of("\u{23a}", 342).is_err());
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
    fn reading_is_not_changing_and_one_is_not_all() {
        for (held, needed) in [
            ("users", "users-read:Org"),
            ("users:Org", "users-read:Org"),
            ("users-read", "users-read:Org"),
            ("instances", "instances:shop"),
            ("audit", "audit-read"),
            ("status", "status-read"),
        ] {
            assert!(parsed(held).covers(&parsed(needed)), "{held} {needed}");
            assert!(!parsed(needed).covers(&parsed(held)), "{needed} {held}");
        }
        for (held, needed) in [
            ("users-read", "users:Org"),
            ("users:Org", "users"),
            ("users:Org", "users:org"),
            ("users", "instances"),
            ("instances", "users-read:Org"),
            ("audit", "status-read"),
            ("status", "audit-read"),
        ] {
            assert!(!parsed(held).covers(&parsed(needed)), "{held} {needed}");
        }
    }

    /// Older scopes cover no more than before the console's were added, and no newer one covers an older one.
    #[test]
    fn the_scopes_of_the_console_give_nothing_on_a_wire() {
        let old = [
            "admin",
            "certificates",
            "certificates:a",
            "tpm",
            "tpm:system",
            "tpm-station",
        ];
        for new in [
            "audit",
            "instances",
            "instances:shop",
            "status",
            "users",
            "users:Org",
        ] {
            for old in old {
                assert!(!parsed(new).covers(&parsed(old)), "{new} {old}");
                assert_eq!(
                    parsed(old).covers(&parsed(new)),
                    old == "admin",
                    "{old} {new}"
                );
            }
        }
    }

    #[test]
    fn a_name_with_a_blank_is_one_name_in_a_list() {
        let scopes: OperatorScopes = "users:Example%20Org audit-read".parse().unwrap();
        let org = OperatorScope::Users(AccessLevel::Change, Some("Example Org".to_owned()));
        assert!(scopes.cover(&org));
        assert_eq!(scopes.to_string(), "audit-read users:Example%20Org");
        assert_eq!(parsed("users:Example Org"), org);
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
            "admin-read",
            "tpm-read",
            "tpm-station-read",
            "certificates-read",
            "audit:x",
            "audit-read-read",
            "status:",
            "users:",
            "users: a",
            "users:a:b",
            "users:a%2",
            "users:a%41",
            "users:a\nb",
            "instances-read:",
        ] {
            assert!(wrong.parse::<OperatorScope>().is_err(), "{wrong:?}");
        }
        assert!(OperatorScopes::parse([]).is_err());
    }

    #[test]
    fn a_name_that_no_text_has_is_refused() {
        for wrong in [
            OperatorScope::Tpm(Some("a admin".to_owned())),
            OperatorScope::Tpm(Some("Upper".to_owned())),
            OperatorScope::certificates(["a admin"]),
            OperatorScope::certificates(["a/b"]),
            OperatorScope::certificates([""]),
            OperatorScope::Users(AccessLevel::Change, Some("a:b".to_owned())),
            OperatorScope::Instances(AccessLevel::Read, Some(String::new())),
        ] {
            let refused = AuthError::unknown_scope(&wrong.to_string(), KNOWN);
            assert_eq!(OperatorScopes::new([wrong]), Err(refused));
        }
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
        let each: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        assert_eq!(each, ["certificates:a", "tpm"]);
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
