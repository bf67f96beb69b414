//! `f5.public_url`: the public address of this API.

use serde::{Deserialize, Serialize};

use super::routes::REVOCATION_LIST;
use crate::config::ServerUrl;

/// The longest address, in bytes, as certificates contain it.
const LONGEST: usize = 512;

/// The public address of this API without a path: `https://tpm.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

/// The text is not such an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not http:// or https:// and a host in ASCII, without user, query and fragment, in at most {LONGEST} bytes"
)]
pub struct PublicUrlError;

impl TryFrom<String> for PublicUrl {
    type Error = PublicUrlError;

    fn try_from(text: String) -> Result<Self, PublicUrlError> {
        let is_url = text.parse::<ServerUrl>().is_ok();
        let is_plain = text.is_ascii() && !text.contains(['{', '}']);
        if is_url && is_plain && text.len() <= LONGEST {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(PublicUrlError)
        }
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

impl PublicUrl {
    /// Returns the URL template of a category's CRL, with the placeholders `{namespace}` and `{name}`.
    pub fn revocation_list(&self) -> String {
        format!("{}{REVOCATION_LIST}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_without_its_last_slash_and_anything_else_is_refused() {
        for (text, taken) in [
            ("https://tpm.example.com", "https://tpm.example.com"),
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
            ("https://example.com/tpm/", "https://example.com/tpm"),
        ] {
            let url = PublicUrl::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(url), taken);
        }
        for text in [
            "",
            "tpm.example.com",
            "/tpm",
            "ldap://example.com",
            "https://",
            "https://example.com:",
            "https://example.com:65536",
            "https://ada@example.com",
            "https://example.com/?a",
            "https://example.com/#a",
            "https://example.com/{name}",
            "https://example.com/\u{e9}",
            "https://example.com/a b",
            &format!("https://example.com/{}", "a".repeat(LONGEST)),
        ] {
            let refused = PublicUrl::try_from(text.to_owned());
            assert_eq!(refused, Err(PublicUrlError), "{text}");
        }
    }
}
