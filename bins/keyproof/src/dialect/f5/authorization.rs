//! `Authorization: APIToken …`, the scheme in any case.

use http::header;
use keyproof_http::Exchange;
use zeroize::Zeroizing;

use super::errors::Refusal;

/// The token that a request shows; `None` if it shows nothing at all.
pub(super) fn token(exchange: &Exchange) -> Result<Option<Zeroizing<String>>, Refusal> {
    match exchange.headers().get(header::AUTHORIZATION) {
        None => Ok(None),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(parse)
            .map(Some)
            .ok_or_else(Refusal::not_accepted),
    }
}

fn parse(value: &str) -> Option<Zeroizing<String>> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = scheme.eq_ignore_ascii_case("apitoken") && !token.is_empty();
    is_token.then(|| Zeroizing::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_comes_in_any_case_and_is_the_only_one() {
        for value in ["APIToken abc", "apitoken abc", "APITOKEN   abc "] {
            assert_eq!(parse(value).unwrap().as_str(), "abc", "{value}");
        }
        for value in [
            "",
            "APIToken",
            "APIToken ",
            "abc",
            "Bearer abc",
            "Basic YTpi",
            "APITokenabc",
        ] {
            assert!(parse(value).is_none(), "{value}");
        }
    }
}
