//! The `Authorization` header: Basic with an instance's name and password, or Bearer with a `secret-token:` (RFC 8959).

use data_encoding::BASE64;
use http::{HeaderValue, header};
use keyproof_http::{Authorization, Exchange};
use zeroize::Zeroizing;

use super::errors::{Code, Refusal};

const TOKEN_SCHEME: &str = "secret-token:";

/// The credentials of a request.
pub(super) enum Credentials {
    /// A name and a password (RFC 7617).
    Basic {
        name: String,
        password: Zeroizing<String>,
    },
    /// A token without `secret-token:`; empty, and thus invalid, if it has no such prefix.
    Bearer(Zeroizing<String>),
    /// No credentials, or an unsupported scheme.
    None,
}

impl Credentials {
    pub(super) fn of(exchange: &Exchange) -> Result<Self, Refusal> {
        let Some(value) = exchange.headers().get(header::AUTHORIZATION) else {
            return Ok(Self::None);
        };
        Self::parse(value).ok_or_else(|| {
            Refusal::from(Code::HttpHeadersMalformed).with_detail("Authorization".to_owned())
        })
    }

    /// Returns `None` if it is malformed.
    fn parse(value: &HeaderValue) -> Option<Self> {
        // taler-php sends the token from its login as the whole value.
        if let Some(token) = secret_token(value.to_str().ok()?) {
            return Some(Self::Bearer(Zeroizing::new(token.to_owned())));
        }
        let authorization = Authorization::parse(value)?;
        if authorization.scheme.is_empty() || authorization.credentials.is_empty() {
            return None;
        }
        if let Some(credentials) = authorization.of_scheme("bearer") {
            let token = secret_token(credentials).unwrap_or_default();
            return Some(Self::Bearer(Zeroizing::new(token.to_owned())));
        }
        if let Some(credentials) = authorization.of_scheme("basic") {
            let bytes = Zeroizing::new(BASE64.decode(credentials.as_bytes()).ok()?);
            let (name, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
            return Some(Self::Basic {
                name: name.to_owned(),
                password: Zeroizing::new(password.to_owned()),
            });
        }
        Some(Self::None)
    }

    /// Returns the token, if it is one.
    pub(super) fn bearer(&self) -> Option<&str> {
        match self {
            Self::Bearer(token) => Some(token),
            Self::Basic { .. } | Self::None => None,
        }
    }
}

/// Returns what follows `secret-token:`.
fn secret_token(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_at_checked(TOKEN_SCHEME.len())?;
    scheme.eq_ignore_ascii_case(TOKEN_SCHEME).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<Credentials> {
        Credentials::parse(&HeaderValue::from_str(value).unwrap())
    }

    #[test]
    fn schemes_come_in_any_case() {
        for value in [
            "Bearer secret-token:abc",
            "bearer  SECRET-TOKEN:abc ",
            "BEARER Secret-Token:abc",
            "secret-token:abc",
        ] {
            let credentials = parse(value).unwrap();
            assert_eq!(credentials.bearer(), Some("abc"), "{value}");
        }
        // default:a:b
        match parse("bAsIc ZGVmYXVsdDphOmI=") {
            Some(Credentials::Basic { name, password }) => {
                assert_eq!((&*name, &**password), ("default", "a:b"));
            }
            _ => panic!("not read as Basic"),
        }
    }

    #[test]
    fn a_bearer_without_the_prefix_is_no_token() {
        for value in ["Bearer abc", "Bearer secret-token"] {
            assert_eq!(parse(value).unwrap().bearer(), Some(""), "{value}");
        }
        assert!(matches!(parse("Digest a=b"), Some(Credentials::None)));
    }

    #[test]
    fn what_no_scheme_writes_is_malformed() {
        // nocolon; a lone 0xff
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer sécret-token:abc",
            " x",
            "Basic !",
            "Basic bm9jb2xvbg==",
            "Basic /zo=",
            "Basic ZGVmYXVsdDph",
        ] {
            let malformed = parse(value).is_none();
            assert_eq!(malformed, value != "Basic ZGVmYXVsdDph", "{value:?}");
        }
    }
}
