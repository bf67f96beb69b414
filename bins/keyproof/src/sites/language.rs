//! The language of a page: the one that the reader has chosen, else the browser's preferred one.

use std::time::Duration;

use http::{HeaderMap, Method, header};
use keyproof_http::{Exchange, Response};

use super::{cookies::Cookie, visit::add_cookie, visitor::Connected};

/// How long a chosen language is stored.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The language of a response, from the request's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// The language that they have chosen, now or earlier, or else the browser's preferred one.
    pub(super) language: Language,
    /// The language chosen in this request's address.
    chosen: Option<Language>,
    is_encrypted: bool,
}

impl Reader {
    pub(super) fn of(exchange: &Exchange) -> Self {
        let is_encrypted = Connected::of(exchange).is_encrypted();
        let asked = exchange.query().first("lang").and_then(Language::of);
        let headers = exchange.headers();
        let kept = Cookie::Language.value(headers, is_encrypted);
        let kept = kept.and_then(Language::of);
        Self {
            language: asked
                .or(kept)
                .unwrap_or_else(|| Language::asked_for(headers)),
            chosen: asked.filter(|_| *exchange.method() != Method::POST),
            is_encrypted,
        }
    }

    /// Stores the choice in the browser.
    pub(super) fn keep(self, response: &mut Response) {
        if let Some(language) = self.chosen {
            let cookie = Cookie::Language.set(language.tag(), Some(A_YEAR), self.is_encrypted);
            add_cookie(response, cookie);
        }
    }
}

/// A language with texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// English.
    English,
    /// German.
    German,
}

impl Language {
    const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its tag (BCP 47).
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// Returns its own name.
    const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// Returns the language of this tag, or of its prefix: `de-AT`.
    fn of(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        let mut all = Self::ALL.into_iter();
        all.find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// Returns each language as tag and name, and whether it is this one, for the foot of a page.
    pub(super) fn offered(self) -> [(&'static str, &'static str, bool); 2] {
        Self::ALL.map(|language| (language.tag(), language.own_name(), language == self))
    }

    /// Returns the browser's preferred language (RFC 9110, section 12.5.4); English if it lists none of ours.
    fn asked_for(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::English);
        let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter();
        let ranges = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        for range in ranges {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            if let Some(language) = Self::of(tag.trim())
                && let Some(weight) = weight_of(weight)
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }
}

/// Parses a weight such as `q=0.8` in thousandths; 1000 if it is absent.
pub(super) fn weight_of(text: &str) -> Option<u16> {
    let text = text.trim();
    if text.is_empty() {
        return Some(1000);
    }
    let (whole, part) = {
        let value = text
            .strip_prefix("q=")
            .or_else(|| text.strip_prefix("Q="))?;
        value.split_once('.').unwrap_or((value, ""))
    };
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    Some((whole * 1000 + part).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_one_with_the_most_weight_is_taken() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(text));
            Language::asked_for(&headers)
        };
        for german in [
            "de",
            "de-AT,en;q=0.9",
            "fr, en;q=0.2 , de;q=0.25",
            "DE;q=1.000",
        ] {
            assert_eq!(of(german), Language::German, "{german}");
        }
        for english in [
            "",
            "en",
            "fr",
            "*",
            "de;q=0",
            "en, de",
            "de;q=0.5, en;q=0.7",
            "de;x",
            "de;q=9",
        ] {
            assert_eq!(of(english), Language::English, "{english}");
        }
        assert_eq!(Language::asked_for(&HeaderMap::new()), Language::English);
    }
}
