//! Addresses of pages whose names come from outside. They are in the query: a browser takes `.` and `..` out of paths,
//! however they are written.

use form_urlencoded::{Serializer, parse};
use http::Method;

use super::{Area, Visit};
use crate::sites::{form::MAX_VALUE, refusal::Refusal, visit::ELSEWHERE};

/// Where the token is shown again.
const CONFIRM: &str = "/console/confirm";

/// The longest page with what its form has in it, in bytes: behind it there is room for the names of fields, and a place on the
/// page.
const FILLED: usize = MAX_VALUE - 128;

/// The fields that no page has in it again, and that may be left empty: what is secret, and a file or the text in its place.
/// Whoever is not told would press the button once more, and do something else.
pub(super) const UNKEPT: [&str; 2] = ["key", "file"];

/// The parameter that names a field whose text is none for an address, or has no room there.
const LOST: &str = "lost";

/// Where a file is downloaded, which leaves the browser on the page that it was on.
const EXPORT: &str = "/console/audit/export";

/// These pairs as a query, in which nothing but escapes, hyphens, full stops and low lines is beside letters and digits.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    let query = query.extend_pairs(pairs).finish();
    query.replace('+', "%20").replace('*', "%2A")
}

/// A page, with these pairs behind what its address has already.
pub(super) fn with_query(page: &str, pairs: &[(&str, &str)]) -> String {
    let mark = if page.contains('?') { '&' } else { '?' };
    match pairs {
        [] => page.to_owned(),
        pairs => format!("{page}{mark}{}", query(pairs)),
    }
}

/// Where an operator shows their token again, and is sent on from to this page.
pub(super) fn confirm(page: &str) -> String {
    with_query(CONFIRM, &[("to", page)])
}

/// The address of a page that is told what was just done, which `frame.rs` has the words for.
pub(super) fn told(page: &str, done: &str) -> String {
    let (page, place) = match page.split_once('#') {
        Some((page, place)) => (page, format!("#{place}")),
        None => (page, String::new()),
    };
    with_query(page, &[("done", done)]) + &place
}

/// A page of this site, as it stands in our links; the start if it is anything else, or longer than a form may have it.
pub(super) fn within(page: &str) -> &str {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%/?=&@#".contains(&b);
    let path = page.split(['?', '#']).next().unwrap_or_default();
    let climbs = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    let is_ours = path.starts_with("/console/")
        && page.len() <= MAX_VALUE
        && page.bytes().all(is_plain)
        && !path.split('/').any(climbs);
    if is_ours { page } else { Area::Start.place().0 }
}

/// A page to be led on to, as `within` has it. Nothing was done there yet; and what its address says is marked as said by a
/// page elsewhere, where one has led to it: it would fill in forms.
fn led_on(page: &str, is_ours: bool) -> String {
    let page = within(page);
    let (address, place) = match page.split_once('#') {
        Some((address, place)) => (address, format!("#{place}")),
        None => (page, String::new()),
    };
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
    let led_on = match &*pairs {
        [] => format!("{path}{place}"),
        pairs => format!("{path}?{}{place}", pairs.join("&")),
    };
    within(&led_on).to_owned()
}

impl<W> Visit<W> {
    /// The page that is asked for, if one can be led back to it.
    pub(super) fn asked_for(&self) -> Option<String> {
        let exchange = &self.exchange;
        if ![Method::GET, Method::HEAD].contains(exchange.method()) {
            return None;
        }
        let path = format!("/{}", exchange.path().lossy_segments().join("/"));
        let pairs: Vec<_> = exchange.query().iter().collect();
        let page = match &*path {
            // To sign in is to show the token: what it was to be shown for comes next.
            CONFIRM => exchange.query().first("to")?.to_owned(),
            // The form that was filled in is no page to stay on.
            EXPORT => with_query(Area::Audit.place().0, &pairs),
            path => with_query(path, &pairs),
        };
        Some(self.led_on(&page)).filter(|page| page != Area::Start.place().0)
    }

    /// A page that this address, or this form, says to lead on to; the start if it is none of this site.
    pub(super) fn led_on(&self, page: &str) -> String {
        led_on(page, self.is_addressed_by_us())
    }

    /// A page whose form has in these fields what was typed there, or else what the address says of them, if no page elsewhere
    /// has led here: so that whoever is led away types it once. An address is no secret, so no field of one is among them, and it
    /// has no room for what is long: of those fields it has the names. What comes first is there first.
    pub(super) fn filled_page(&self, page: &str, fields: &[&str]) -> String {
        let (mut pairs, mut lost) = (Vec::new(), Vec::new());
        for field in fields {
            let text = match self.typed(field) {
                "" => self.sent_with(field).unwrap_or_default(),
                typed => typed,
            };
            if text.is_empty() {
                if self.is_told_lost(field) {
                    lost.push((LOST, *field));
                }
                continue;
            }
            pairs.push((*field, text));
            if has_private_key(text) || with_query(page, &pairs).len() > FILLED {
                pairs.pop();
                lost.push((LOST, *field));
            }
        }
        for field in UNKEPT {
            let is_pasted = field == "file" && self.is_filled_in("text");
            if is_pasted || self.is_filled_in(field) || self.is_told_lost(field) {
                lost.push((LOST, field));
            }
        }
        pairs.extend(lost);
        with_query(page, &pairs)
    }

    /// Whether the address says of a field that what was filled in there is not kept.
    pub(super) fn is_told_lost(&self, field: &str) -> bool {
        let mut lost = self.exchange.query().all(LOST);
        self.is_addressed_by_us() && lost.any(|lost| lost == field)
    }

    /// What the query has for a parameter, which is not empty.
    pub(super) fn asked(&self, parameter: &str) -> Result<String, Refusal> {
        let text = self.exchange.query().first(parameter);
        let text = text.filter(|text| !text.is_empty());
        text.map(ToOwned::to_owned).ok_or(Refusal::NotFound)
    }

    /// Does the query say that it is asked again? A form that leads to a part of its own page says so every other time: a browser
    /// does not ask for an address that differs from its own by the fragment alone, and would show what it has.
    pub(super) fn is_again(&self) -> bool {
        self.exchange.query().first("again").is_some()
    }
}

/// Whether a private key was pasted where none belongs, which is shown to nobody.
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
        let long = format!("/console/tills/default/device?id={}", "x".repeat(1024));
        for ours in [
            "/console/users/7",
            "/console/users/a%20b?x=1",
            "/console/tills/kiosk/device?id=..%2F#remove",
            &long[..MAX_VALUE],
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
            &long[..=MAX_VALUE],
        ] {
            assert_eq!(within(other), "/console", "{other:?}");
        }
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
            assert_eq!(led_on(page, true), of_ours);
            assert_eq!(led_on(page, false), of_others);
        }
        // A form may have no longer a page to lead on to.
        let long = format!("/console/users?a={}", "x".repeat(MAX_VALUE - 18));
        assert_eq!(led_on(&long, true), long);
        assert_eq!(led_on(&long, false), "/console");
    }

    #[test]
    fn what_was_done_is_told_before_the_place_on_the_page() {
        assert_eq!(told("/console/tills", "x"), "/console/tills?done=x");
        assert_eq!(told("/a?b=c#d", "x"), "/a?b=c&done=x#d");
    }
}
