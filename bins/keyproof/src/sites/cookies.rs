//! Cookies (RFC 6265): reads them from requests, and sets them in responses. Under TLS each is bound to this host by
//! its prefix (`__Host-`), so that no neighbour can plant one.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// The longest value that is read, in bytes: several times a token.
const MAX_VALUE: usize = 256;

/// A cookie of the sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// A user's session.
    Account,
    /// An operator's session.
    Console,
    /// A visitor who is signing in to `/console`. Their forms are bound to it.
    ConsoleVisit,
    /// A trusted browser's fingerprint.
    Device,
    /// The language of pages.
    Language,
    /// A visitor who is signing in to `/account`: the value that their forms are bound to, and later their challenge.
    Visit,
}

impl Cookie {
    /// Returns its name, which has the prefix under TLS.
    fn name(self, is_encrypted: bool) -> &'static str {
        let bound = match self {
            Self::Account => "__Host-keyproof-account",
            Self::Console => "__Host-keyproof-console",
            Self::ConsoleVisit => "__Host-keyproof-console-visit",
            Self::Device => "__Host-keyproof-device",
            Self::Language => "__Host-keyproof-language",
            Self::Visit => "__Host-keyproof-visit",
        };
        let bare = bound.strip_prefix("__Host-").unwrap_or(bound);
        if is_encrypted { bound } else { bare }
    }

    /// Returns the value, if it can be one of ours. Other cookies may have any bytes.
    pub(super) fn value(self, headers: &HeaderMap, is_encrypted: bool) -> Option<&str> {
        let name = self.name(is_encrypted);
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| {
            let pair = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            pair.strip_prefix(b"=")
        });
        // If there are two with this name, it is unknown which is ours.
        let value = values.next()?;
        let is_ours = |value: &[u8]| {
            (1..=MAX_VALUE).contains(&value.len())
                && value
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
        };
        (values.next().is_none() && is_ours(value))
            .then_some(value)
            .and_then(|value| str::from_utf8(value).ok())
    }

    /// Returns the header that sets it: for `lasting`, or until the browser is closed.
    pub(super) fn set(
        self,
        value: &str,
        lasting: Option<Duration>,
        is_encrypted: bool,
    ) -> Option<HeaderValue> {
        let name = self.name(is_encrypted);
        let secure = if is_encrypted { "; Secure" } else { "" };
        let lasting = lasting.map(|time| format!("; Max-Age={}", time.as_secs()));
        let lasting = lasting.unwrap_or_default();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{lasting}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns the header that deletes it.
    pub(super) fn forget(self, is_encrypted: bool) -> Option<HeaderValue> {
        self.set("", Some(Duration::ZERO), is_encrypted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_once() {
        let value = |lines: &[&'static str], is_encrypted| {
            let headers = headers(lines);
            Cookie::Account
                .value(&headers, is_encrypted)
                .map(ToOwned::to_owned)
        };
        let ours = Some("abc-_9".to_owned());
        assert_eq!(value(&["keyproof-account=abc-_9"], false), ours);
        assert_eq!(value(&["a=b; keyproof-account=abc-_9;c=d"], false), ours);
        assert_eq!(
            value(&["a=b", "__Host-keyproof-account=abc-_9"], true),
            ours
        );
        // Under TLS, the name without the prefix is ignored: anybody on the network may have set that cookie.
        assert_eq!(value(&["keyproof-account=abc"], true), None);
        assert_eq!(value(&["__Host-keyproof-account=abc"], false), None);
        for wrong in [
            "keyproof-account=",
            "keyproof-account",
            "keyproof-account=a b",
            "keyproof-account=\"a\"",
            "xkeyproof-account=a",
            "keyproof-account=a; keyproof-account=b",
        ] {
            assert_eq!(value(&[wrong], false), None, "{wrong}");
        }
    }

    #[test]
    fn what_neighbours_have_set_hides_no_cookie() {
        let value = |line: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
            let value = Cookie::Account.value(&headers, false);
            value.map(ToOwned::to_owned)
        };
        let ours = Some("abc".to_owned());
        assert_eq!(value("name=Zoë; keyproof-account=abc".as_bytes()), ours);
        assert_eq!(value(b"\xe9=\xff; keyproof-account=abc;\xfe"), ours);
        assert_eq!(value(b"keyproof-account=\xe9"), None);
        assert_eq!(value(b"keyproof-account=abc; keyproof-account=\xe9"), None);
    }

    #[test]
    fn a_cookie_is_for_this_host_and_this_site_alone() {
        let text = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(Cookie::Visit.set("x", None, true)),
            "__Host-keyproof-visit=x; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            text(Cookie::Visit.forget(false)),
            "keyproof-visit=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
