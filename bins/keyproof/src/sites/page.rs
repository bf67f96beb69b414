//! A page's response: HTML with headers that restrict what the browser does with it.

use std::time::Duration;

use askama::Template;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Full;
use keyproof_http::{Response, retry_after};

use super::refusal::{HandlerResult, Refusal};

/// Allows only resources of this origin, nothing inline, and no framing.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of every response of a site. The referrer is sent to this origin only: without one, browsers would send
/// `Origin: null` with our own forms.
static ALWAYS: [(HeaderName, HeaderValue); 8] = [
    (header::CONTENT_SECURITY_POLICY, fixed(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
    (header::X_FRAME_OPTIONS, fixed("DENY")),
    (header::REFERRER_POLICY, fixed("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        fixed("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        fixed("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        fixed("camera=(), geolocation=(), microphone=()"),
    ),
    (header::VARY, fixed("Accept-Language, Cookie")),
];

/// The initial capacity for headers: those, two of its own, the request's id, and one more.
const HEADERS: usize = 12;

/// The initial capacity for a page's text, in bytes: enough for a list of fifty rows.
const ROOM: usize = 24 * 1024;

const fn fixed(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

/// Defines pages from templates. First come their visibility and the type of their frame; then each page with its
/// template and its fields. The derive is written at the call: askama looks for a template relative to the derive's
/// file, and rustc relative to the macro's call.
macro_rules! pages {
    (#[$derive:meta] $vis:vis $frame:ty; $(
        $(#[$doc:meta])* $page:ident($path:literal) { $($(#[$of:meta])* $field:ident: $type:ty,)* }
    )+) => {$(
        $(#[$doc])*
        #[$derive]
        #[template(path = $path)]
        $vis struct $page<'a> {
            $vis frame: &'a $frame,
            $($(#[$of])* $vis $field: $type,)*
        }
    )+};
}
pub(super) use pages;

/// Creates the response for a page, which is not cached.
pub(super) fn html(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Full::from(Bytes::from(reveal(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, fixed("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    response
}

/// Shows characters that hide or reorder others by their numbers, as commands do, so that no name can be read as
/// another. Attributes and `textarea` keep them: a form sends back what was typed.
fn reveal(page: String) -> String {
    if !hides(&page) {
        return page;
    }
    let mut shown = String::with_capacity(page.len());
    // The German texts have soft hyphens of their own.
    let is_german = page.contains("<html lang=\"de\"");
    let (mut tag, mut is_kept) = ("", false);
    for (at, character) in page.char_indices() {
        match character {
            // Those of texts and of attributes are escaped.
            '<' => {
                tag = page.get(at..).unwrap_or_default();
                is_kept = true;
            }
            '>' => is_kept = tag.starts_with("<textarea"),
            _ => {}
        }
        let is_ours = is_german && character == '\u{ad}';
        if is_hidden(character) && !is_kept && !is_ours {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a page has a hidden character. Most pieces of a page are ASCII, and are not decoded.
fn hides(page: &str) -> bool {
    const PIECE: usize = 256;
    let pieces = page
        .as_bytes()
        .chunks(PIECE)
        .zip((0_usize..).step_by(PIECE));
    pieces
        .filter(|(piece, _)| !piece.is_ascii())
        .flat_map(|(piece, from)| piece.iter().zip(from..))
        // No octet below these begins a character in UTF-8.
        .filter(|(octet, _)| **octet >= 0xc2)
        .filter_map(|(_, at)| page.get(at..)?.chars().next())
        .any(is_hidden)
}

/// Whether a browser may show a character without a width, or it changes the direction of others: Unicode's
/// `Default_Ignorable_Code_Point`, the directions, the separators of lines and paragraphs, and the annotation marks.
const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Renders a template as a page.
pub(super) fn render(page: &impl Template, status: StatusCode) -> HandlerResult {
    let mut text = String::with_capacity(ROOM);
    page.render_into(&mut text).map_err(|error| {
        tracing::error!(%error, "a page could not be written");
        Refusal::Broken
    })?;
    Ok(html(status, text))
}

/// Turns the response into a 429 with `Retry-After`, if nothing is checked or shown for this user for a time.
pub(super) fn limited(mut response: Response, wait: Option<Duration>) -> Response {
    if let Some(wait) = wait {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        retry_after(response.headers_mut(), wait);
    }
    response
}

/// Redirects the browser, by GET.
pub(super) fn see_other(location: &str) -> Response {
    let mut response = html(StatusCode::SEE_OTHER, String::new());
    let location = HeaderValue::try_from(location);
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Adds the headers that every response has.
pub(super) fn stamp(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in &ALWAYS {
        headers.insert(name, value.clone());
    }
    response
}

/// Splits a name or an address into pieces between which a line may break, so that no word is broken.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '_', '/', ':', '@', '-', ','])
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn what_hides_or_reorders_a_text_is_shown_in_it_and_kept_in_attributes() {
        let page = "<title>eve\u{202e}gro</title><input value=\"a\u{200b}\"><bdi>\u{feff}é</bdi>";
        assert_eq!(
            reveal(page.to_owned()),
            "<title>eve\\u{202e}gro</title><input value=\"a\u{200b}\"><bdi>\\u{feff}é</bdi>"
        );
        let field = "<textarea>\u{feff}a</textarea>\u{feff}";
        assert_eq!(
            reveal(field.to_owned()),
            "<textarea>\u{feff}a</textarea>\\u{feff}"
        );
        let usual = "<p>Müller – שלום, 東京, ¿✓?</p>";
        assert_eq!(reveal(usual.to_owned()), usual);
        for hidden in [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180e}',
            '\u{2028}',
            '\u{2029}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0061}',
        ] {
            let shown = reveal(format!("<bdi>ad{hidden}a</bdi>"));
            assert_eq!(shown, format!("<bdi>ad{}a</bdi>", hidden.escape_unicode()));
        }
        // Wherever in the page it begins.
        for before in 0..600 {
            let page = "x".repeat(before) + "\u{200b}";
            let shown = "x".repeat(before) + "\\u{200b}";
            assert_eq!(reveal(page), shown);
        }
        let german = "<html lang=\"de\"><p>Wort\u{ad}teil, a\u{180e}b</p>";
        assert_eq!(
            reveal(german.to_owned()),
            "<html lang=\"de\"><p>Wort\u{ad}teil, a\\u{180e}b</p>"
        );
    }

    /// Collects every text of these files, by path.
    fn texts(folder: &Path, end: &str, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                texts(&path, end, into);
            } else {
                // askama escapes only files that it takes for HTML.
                assert!(name.ends_with(end) || name.contains("/assets/"), "{name}");
                into.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }

    /// On a narrow screen a table is laid out as cards, and browsers may then forget what its elements are.
    #[test]
    fn every_element_of_a_table_states_its_role() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut templates = Vec::new();
        texts(&here.join("templates"), ".html", &mut templates);
        let roles: [(&str, &[&str]); 6] = [
            ("<table", &[" role=\"table\""]),
            ("<thead", &[" role=\"rowgroup\""]),
            ("<tbody", &[" role=\"rowgroup\""]),
            ("<tr", &[" role=\"row\""]),
            (
                "<th",
                &[
                    " scope=\"col\" role=\"columnheader\"",
                    " scope=\"row\" role=\"rowheader\"",
                ],
            ),
            ("<td", &[" role=\"cell\""]),
        ];
        let mut seen = 0;
        for (tag, roles) in roles {
            for (name, text) in &templates {
                let rest = text.split(tag).skip(1);
                for rest in rest.filter(|rest| rest.starts_with([' ', '>', '{'])) {
                    let has_role = roles.iter().any(|role| rest.starts_with(role));
                    assert!(has_role, "{name}: {tag}{rest}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn every_template_escapes_whatever_it_shows() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut templates, mut sources) = (Vec::new(), Vec::new());
        texts(&here.join("templates"), ".html", &mut templates);
        texts(&here.join("src/sites"), ".rs", &mut sources);
        assert!(templates.len() > 40 && sources.len() > 30);
        for (name, text) in templates {
            // Apostrophes are typographic everywhere.
            let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
            for (at, _) in text.match_indices('\'') {
                let (before, after) = text.split_at(at);
                let is_apostrophe =
                    is_letter(before.chars().next_back()) && is_letter(after.chars().nth(1));
                assert!(!is_apostrophe, "{name}: {after}");
            }
            let tags = text.split(['{', '}']);
            for tag in tags.filter(|tag| !tag.contains('<')) {
                let bare: String = tag.split_whitespace().collect();
                for open in ["|safe", "|escape", "|e(", "autoescape"] {
                    assert!(!bare.contains(open), "{open} in {name}: {tag}");
                }
            }
        }
        let unescaped = ["escape = ", ", ext = ", "HtmlSafe", "Safe("];
        for (name, text) in sources {
            let code = text.split("#[cfg(test)]").next().unwrap();
            for open in unescaped {
                assert!(!code.contains(open), "{open} in {name}");
            }
        }
    }
}
