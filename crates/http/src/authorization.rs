//! The `Authorization` field (RFC 9110, section 11.4): a scheme, a space, and credentials.

use http::HeaderValue;

/// The parts of the field. They are not validated, and may be empty.
#[derive(Clone, Copy)]
pub struct Authorization<'v> {
    /// The scheme, as sent.
    pub scheme: &'v str,
    /// The credentials, without surrounding spaces.
    pub credentials: &'v str,
}

impl<'v> Authorization<'v> {
    /// Splits the field. Returns `None` if it is not visible ASCII, or contains no space.
    pub fn parse(value: &'v HeaderValue) -> Option<Self> {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        Some(Self {
            scheme,
            credentials: credentials.trim_matches(' '),
        })
    }

    /// Returns the credentials if the scheme matches, ignoring case.
    pub fn of_scheme(self, scheme: &str) -> Option<&'v str> {
        let is_of_it = self.scheme.eq_ignore_ascii_case(scheme);
        is_of_it.then_some(self.credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_no_case_and_credentials_no_blanks_around_them() {
        for (value, credentials) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc ", Some("abc")),
            ("Bearer a b", Some("a b")),
            ("Bearer ", Some("")),
            ("Basic abc", None),
            (" Bearer abc", None),
            ("Bearerabc", None),
            ("Bearer\tabc", None),
            ("Bearer", None),
            ("", None),
        ] {
            let value = HeaderValue::from_static(value);
            let authorization = Authorization::parse(&value);
            let found = authorization.and_then(|parts| parts.of_scheme("bearer"));
            assert_eq!(found, credentials, "{value:?}");
        }
        let latin1 = HeaderValue::from_bytes(b"Bearer \xe9").unwrap();
        assert!(Authorization::parse(&latin1).is_none());
    }
}
