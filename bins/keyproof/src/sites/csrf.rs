//! Protection against cross-site request forgery: a token in each form, known only to somebody who can read the cookie
//! or our pages; and a check of the origin that the browser reports.

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, header};
use ring::hmac;

/// The label that the keyed hash is computed over.
const LABEL: &[u8] = b"keyproof form";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the token for the forms of whoever has this cookie.
pub(super) fn token(cookie: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
    BASE64URL_NOPAD.encode(hmac::sign(&key, LABEL).as_ref())
}

/// Whether a form's token belongs to this cookie, compared in constant time.
pub(super) fn is_of(cookie: &str, token: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
    let tag = BASE64URL_NOPAD.decode(token.as_bytes());
    tag.is_ok_and(|tag| hmac::verify(&key, LABEL, &tag).is_ok())
}

/// Whether the browser reports that the request comes from a page of this origin, or reports nothing.
pub(super) fn is_same_origin(headers: &HeaderMap, is_encrypted: bool) -> bool {
    if headers
        .get(&SEC_FETCH_SITE)
        .is_some_and(|site| site != "same-origin")
    {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let scheme = if is_encrypted { "https" } else { "http" };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let ours = host.map(|host| format!("{scheme}://{host}"));
    ours.is_some_and(|ours| origin.as_bytes().eq_ignore_ascii_case(ours.as_bytes()))
}

/// Whether the browser reports that another site's page has led here. The address is then under that page's control.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    let said = headers.get(&SEC_FETCH_SITE);
    said.is_some_and(|site| site != "same-origin" && site != "none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_text_is_of_one_cookie() {
        let ours = token("cookie");
        assert!(is_of("cookie", &ours));
        assert!(!is_of("another", &ours));
        for wrong in ["", "x", &ours[1..], &format!("{ours}=")] {
            assert!(!is_of("cookie", wrong), "{wrong}");
        }
    }

    #[test]
    fn another_origin_is_told_by_either_header() {
        let from = |pairs: &[(HeaderName, &'static str)], is_encrypted| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("k.example:8443"));
            for (name, value) in pairs {
                headers.insert(name, HeaderValue::from_static(value));
            }
            is_same_origin(&headers, is_encrypted)
        };
        let origin = header::ORIGIN;
        assert!(from(&[], true));
        assert!(from(&[(origin.clone(), "https://k.example:8443")], true));
        assert!(from(&[(SEC_FETCH_SITE, "same-origin")], true));
        for wrong in [
            "null",
            "https://evil.example",
            "http://k.example:8443",
            "https://k.example",
        ] {
            assert!(!from(&[(origin.clone(), wrong)], true), "{wrong}");
            let both = [(origin.clone(), wrong), (SEC_FETCH_SITE, "same-origin")];
            assert!(!from(&both, true), "{wrong}");
        }
        for wrong in ["cross-site", "same-site", "none"] {
            assert!(!from(&[(SEC_FETCH_SITE, wrong)], true), "{wrong}");
        }
    }
}
