//! A browser's description of itself, so that its owner recognises it. No decision depends on it.

use http::{HeaderMap, header};

/// Browsers by their token in the header, the more specific first: most of them also name others.
const BROWSERS: [(&str, &str); 11] = [
    ("Edg/", "Microsoft Edge"),
    ("EdgA/", "Microsoft Edge"),
    ("EdgiOS/", "Microsoft Edge"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("CriOS/", "Chrome"),
    ("FxiOS/", "Firefox"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// The same for operating systems.
const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// Returns the names of the browser and the operating system, if known.
pub(super) fn names(headers: &HeaderMap) -> (Option<&'static str>, Option<&'static str>) {
    let text = headers.get(header::USER_AGENT);
    let text = text.and_then(|text| text.to_str().ok()).unwrap_or_default();
    let known = |list: &[(&str, &'static str)]| {
        let mut list = list.iter();
        list.find(|(mark, _)| text.contains(mark))
            .map(|(_, name)| *name)
    };
    (known(&BROWSERS), known(&SYSTEMS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_browser_is_what_it_is_most_of_all() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_str(text).unwrap());
            names(&headers)
        };
        let edge =
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0";
        assert_eq!(of(edge), (Some("Microsoft Edge"), Some("Windows")));
        let phone =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1";
        assert_eq!(of(phone), (Some("Safari"), Some("iOS")));
        let fox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        assert_eq!(of(fox), (Some("Firefox"), Some("Linux")));
        // On phones, some have other tokens beside those of Safari or Chrome.
        for (mark, name) in [("CriOS/142.0", "Chrome"), ("FxiOS/145.0", "Firefox")] {
            let text = format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {mark} Mobile/15E148 Safari/604.1"
            );
            assert_eq!(of(&text), (Some(name), Some("iOS")));
        }
        for (mark, name) in [
            ("EdgA/142.0", "Microsoft Edge"),
            ("SamsungBrowser/29.0", "Samsung Internet"),
        ] {
            let text =
                format!("Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0 Safari/537.36 {mark}");
            assert_eq!(of(&text), (Some(name), Some("Android")));
        }
        assert_eq!(of("curl/8.0"), (None, None));
    }
}
