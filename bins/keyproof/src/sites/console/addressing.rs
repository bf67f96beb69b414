//! Addresses of pages with names from outside. These are in the query, because browsers remove `.` and `..` from paths,
//! however they are escaped.

use form_urlencoded::{Serializer, parse};
use http::Method;

use super::{Area, Visit};
use crate::sites::{form::MAX_PAGE, refusal::Refusal, visit::ELSEWHERE};

/// The page that asks for the token again.
const CONFIRM: &str = "/console/confirm";

/// The address of a download. The browser stays on its page.
const EXPORT: &str = "/console/audit/export";

/// The parameter of a page whose download was interrupted by signing in.
pub(super) const INTERRUPTED: &str = "interrupted";

/// Encodes pairs as a query. It contains only letters, digits, escapes, hyphens, full stops and underscores.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    let query = query.extend_pairs(pairs).finish();
    query.replace('+', "%20").replace('*', "%2A")
}

/// Adds pairs to the query of a page's address.
pub(super) fn with_query(page: &str, pairs: &[(&str, &str)]) -> String {
    let mark = if page.contains('?') { '&' } else { '?' };
    match pairs {
        [] => page.to_owned(),
        pairs => format!("{page}{mark}{}", query(pairs)),
    }
}

/// Returns the address of a list's next page, if there may be one.
pub(super) fn next_page(list: &str, after: Option<String>) -> Option<String> {
    after.map(|after| with_query(list, &[("after", &after)]))
}

/// Returns the address that asks for the token again, and then continues to this page.
pub(super) fn confirm(page: &str) -> String {
    with_query(CONFIRM, &[("to", within(page))])
}

/// Splits an address before its fragment, which is empty if there is none.
fn at_fragment(page: &str) -> (&str, &str) {
    page.split_at(page.find('#').unwrap_or(page.len()))
}

/// Returns the address of a page with a notice of what was just done, whose text is in `frame.rs`.
pub(super) fn with_notice(page: &str, done: &str) -> String {
    let (page, place) = at_fragment(page);
    with_query(page, &[("done", done)]) + place
}

/// Returns the page if it is an address of this site as our links have it, and short enough for a form; otherwise the
/// start page.
pub(super) fn within(page: &str) -> &str {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%/?=&@#".contains(&b);
    let path = page.split(['?', '#']).next().unwrap_or_default();
    let climbs = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    let is_ours = path.starts_with("/console/")
        && page.len() <= MAX_PAGE
        && page.bytes().all(is_plain)
        && !path.split('/').any(climbs);
    if is_ours { page } else { Area::Start.place().0 }
}

/// Returns a page to continue to, as `within` does, without a notice of success. If another site's page has led here,
/// marks the address as coming from there, because it would fill in forms.
fn continue_url(page: &str, is_ours: bool) -> String {
    let page = within(page);
    let (address, place) = at_fragment(page);
    let Some((path, pairs)) = address.split_once('?') else {
        return page.to_owned();
    };
    let is_of = |pair: &str, known: &str| parse(pair.as_bytes()).any(|(name, _)| name == known);
    let pairs = pairs.split('&').filter(|pair| !is_of(pair, "done"));
    let mut pairs: Vec<&str> = pairs.filter(|pair| !pair.is_empty()).collect();
    let mark = format!("{ELSEWHERE}=on");
    if !is_ours && !pairs.is_empty() && !pairs.iter().any(|pair| is_of(pair, ELSEWHERE)) {
        pairs.push(&mark);
    }
    let continue_url = match &*pairs {
        [] => format!("{path}{place}"),
        pairs => format!("{path}?{}{place}", pairs.join("&")),
    };
    within(&continue_url).to_owned()
}

impl<W> Visit<W> {
    /// Returns the requested page, if the browser can be sent back to it.
    pub(super) fn asked_for(&self) -> Option<String> {
        let exchange = &self.exchange;
        if ![Method::GET, Method::HEAD].contains(exchange.method()) {
            return None;
        }
        let path = format!("/{}", exchange.path().lossy_segments().join("/"));
        let mut pairs: Vec<_> = exchange.query().iter().collect();
        let page = match &*path {
            // Signing in also shows the token, so the page after the confirmation is next.
            CONFIRM => exchange.query().first("to")?.to_owned(),
            // A download is not a page: the browser would stay on the form. So the page with its link is next.
            EXPORT => {
                pairs.push((INTERRUPTED, "on"));
                with_query(Area::Audit.place().0, &pairs)
            }
            path => with_query(path, &pairs),
        };
        Some(self.continue_url(&page)).filter(|page| page != Area::Start.place().0)
    }

    /// Returns a page to continue to, from this address or form; the start page if it is not on this site.
    pub(super) fn continue_url(&self, page: &str) -> String {
        continue_url(page, self.is_addressed_by_us())
    }

    /// Returns a query parameter that must not be empty.
    pub(super) fn asked(&self, parameter: &str) -> Result<String, Refusal> {
        let text = self.exchange.query().first(parameter);
        let text = text.filter(|text| !text.is_empty());
        text.map(ToOwned::to_owned).ok_or(Refusal::NotFound)
    }

    /// Whether the query has the alternating parameter. A form that leads to a fragment of its own page adds it every
    /// other time: browsers do not load an address that differs only in the fragment, and would show the old page.
    pub(super) fn is_again(&self) -> bool {
        self.exchange.query().first("again").is_some()
    }
}

/// Whether a private key was pasted by mistake. It must not be shown.
pub(super) fn has_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_is_it_is_one_value_of_a_query() {
        let odd = "../a b&c=d#e?%2F*+\u{202e}\"<";
        let query = query(&[("id", odd), ("x", "")]);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._%=&".contains(&b);
        assert!(query.bytes().all(is_plain), "{query}");
        let read: Vec<_> = parse(query.as_bytes()).collect();
        assert_eq!(read, [("id".into(), odd.into()), ("x".into(), "".into())]);
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        let long = format!("/console/tills/default/device?id={}", "x".repeat(MAX_PAGE));
        for ours in [
            "/console/users/7",
            "/console/users/a%20b?x=1",
            "/console/tills/kiosk/device?id=..%2F#remove",
            &long[..MAX_PAGE],
        ] {
            assert_eq!(within(ours), ours);
        }
        for other in [
            "",
            "//evil.example",
            "https://evil.example",
            "/account",
            "/console/\r\nX: y",
            "/console/:\\",
            "/consoles",
            "/console/../account",
            "/console/%2E./account",
            "/console/users/./7",
            &long[..=MAX_PAGE],
        ] {
            assert_eq!(within(other), "/console", "{other:?}");
        }
        // In a query it could be longer than an address may be.
        let of_long = "/console/confirm?to=%2Fconsole";
        assert_eq!(confirm(&long[..=MAX_PAGE]), of_long);
    }

    #[test]
    fn what_a_page_elsewhere_says_is_led_on_with_a_mark() {
        for (page, of_ours, of_others) in [
            ("/console/users/7", "/console/users/7", "/console/users/7"),
            (
                "/console/users?a=%2F#b",
                "/console/users?a=%2F#b",
                "/console/users?a=%2F&elsewhere=on#b",
            ),
            (
                "/console/users?a=1&elsewhere=on",
                "/console/users?a=1&elsewhere=on",
                "/console/users?a=1&elsewhere=on",
            ),
            (
                "/console/users?done=added",
                "/console/users",
                "/console/users",
            ),
            (
                "/console/users?a=1&d%6Fne=added&done#b",
                "/console/users?a=1#b",
                "/console/users?a=1&elsewhere=on#b",
            ),
            ("//evil.example?a=1", "/console", "/console"),
        ] {
            assert_eq!(continue_url(page, true), of_ours);
            assert_eq!(continue_url(page, false), of_others);
        }
        // With the mark it is too long.
        let long = format!("/console/users?a={}", "x".repeat(MAX_PAGE - 18));
        assert_eq!(continue_url(&long, true), long);
        assert_eq!(continue_url(&long, false), "/console");
    }

    #[test]
    fn what_was_done_is_told_before_the_place_on_the_page() {
        assert_eq!(with_notice("/console/tills", "x"), "/console/tills?done=x");
        assert_eq!(with_notice("/a?b=c#d", "x"), "/a?b=c&done=x#d");
    }
}
