//! `Authorization: APIToken …`, with a case-insensitive scheme.

use http::{HeaderValue, header};
use keyproof_http::{Authorization, Exchange};
use zeroize::Zeroizing;

use super::errors::Refusal;

/// Returns the token of a request; `None` if there is no `Authorization` header.
pub(super) fn token(exchange: &Exchange) -> Result<Option<Zeroizing<String>>, Refusal> {
    match exchange.headers().get(header::AUTHORIZATION) {
        None => Ok(None),
        Some(value) => parse(value).map(Some).ok_or_else(Refusal::not_accepted),
    }
}

fn parse(value: &HeaderValue) -> Option<Zeroizing<String>> {
    let token = Authorization::parse(value)?.of_scheme("apitoken")?;
    (!token.is_empty()).then(|| Zeroizing::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_comes_in_any_case_and_is_the_only_one() {
        for value in ["APIToken abc", "apitoken abc", "APITOKEN   abc "] {
            let token = parse(&HeaderValue::from_static(value)).unwrap();
            assert_eq!(token.as_str(), "abc", "{value}");
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
            let token = parse(&HeaderValue::from_static(value));
            assert!(token.is_none(), "{value}");
        }
    }
}
