//! Which language a page is in: what its reader has chosen, else the one that their browser asks for before others.

use std::time::Duration;

use http::{HeaderMap, Method, header};
use keyproof_http::{Exchange, Response};

use super::{cookies::Cookie, visit::add_cookie, visitor::Connected};

/// How long a chosen language is kept.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The language of an answer, as the head of its request has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// What they have chosen, now or before, or else what their browser asks for.
    pub(super) language: Language,
    /// What they have chosen by this address.
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

    /// Has the browser keep what was chosen.
    pub(super) fn keep(self, response: &mut Response) {
        if let Some(language) = self.chosen {
            let cookie = Cookie::Language.set(language.tag(), Some(A_YEAR), self.is_encrypted);
            add_cookie(response, cookie);
        }
    }
}

/// A language that there are texts in.
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

    /// What it calls itself.
    const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// The one with this tag, or of which this is a kind: `de-AT`.
    fn of(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        let mut all = Self::ALL.into_iter();
        all.find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// Each, and whether it is this one: what a page offers at its foot, as tag and name.
    pub(super) fn offered(self) -> [(&'static str, &'static str, bool); 2] {
        Self::ALL.map(|language| (language.tag(), language.own_name(), language == self))
    }

    /// The one that a browser asks for before others (RFC 9110, section 12.5.4); English if it asks for none of them.
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

/// `q=0.8` in thousandths; all of them if it is left out.
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
