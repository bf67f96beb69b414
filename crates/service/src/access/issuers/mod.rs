//! Tokens of external issuers: JWTs (RFC 7519) signed by an identity provider, whose claims the configuration maps to scopes.
//!
//! A token is accepted if its issuer and audience are configured, one of the issuer's keys verifies it under an algorithm of that
//! key, and it is within its validity period. Only the configuration decides what it allows: it maps a claim's values to scopes. A
//! valid token without a mapped value identifies its subject and allows nothing.

mod key_file;
mod key_set;

pub use key_file::KeyFileError;
pub use key_set::KeySet;

use std::{borrow::Cow, collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use keyproof_auth::operator::{OperatorScope, OperatorScopes};
use keyproof_store::Timestamp;
use serde_json::{Map, Value};

use super::{
    Operator, Prefetched,
    token_cache::{VerifiedTokenCache, digest_of},
};
use crate::{Principal, audit::bounded};
use key_file::{KeyFile, Keys};

/// How far an issuer's clock may be ahead, so that a token that was just issued is accepted. There is no tolerance for expiry: the
/// client fetches a new token.
const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// The value that their `aud` must be or contain.
    pub audience: String,
    /// Its keys: a JWK set (RFC 7517, section 5), read again within a second after the file changes.
    pub jwks_file: PathBuf,
    /// The claim that is mapped to scopes. Its values are a string and the string's blank-separated words, or the strings of an
    /// array.
    pub scope_claim: String,
    /// The scopes that each value of that claim allows.
    pub scopes: BTreeMap<String, OperatorScopes>,
}

/// The number of verified tokens that are cached.
const REMEMBERED: usize = 1_024;

/// The maximum size of a cached token, in bytes.
const MAX_REMEMBERED: usize = 4_096;

/// The issuers whose tokens are accepted.
pub struct Issuers {
    issuers: Vec<Issuer>,
    verified: VerifiedTokenCache<Arc<Verified>>,
}

/// A token that was verified before.
struct Verified {
    /// The issuers that were tried, by index, each with the generation of its keys. The last one accepted the token, and its
    /// current settings decide the scopes.
    asked: Vec<(usize, u64)>,
    /// The claims that are used.
    claims: Claims,
}

struct Issuer {
    settings: IssuerSettings,
    keys: Arc<KeyFile>,
}

/// The error when a token of an external issuer is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalTokenError {
    /// The token is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The issuer is not configured.
    #[error("the token's issuer is unknown")]
    Issuer,
    /// No key of the issuer fits the token's `kid` and algorithm, or several do.
    #[error("the token names no key of its issuer that fits its algorithm")]
    Key,
    /// The token is not a JWT, lacks a claim, or has a critical parameter that is not supported.
    #[error("the token is not a signed JWT with issuer, audience and expiry")]
    Malformed,
    /// The token is not yet valid.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
}

/// The claims of a token, by name.
pub type Claims = Map<String, Value>;

impl Issuers {
    /// Loads the configured issuers and their keys.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] for the first file that cannot be used.
    pub fn load(settings: Vec<IssuerSettings>) -> Result<Self, KeyFileError> {
        let issuers = settings.into_iter().map(|settings| {
            let keys = Arc::new(KeyFile::load(settings.jwks_file.clone())?);
            Ok(Issuer { settings, keys })
        });
        Ok(Self {
            issuers: issuers.collect::<Result<_, _>>()?,
            verified: VerifiedTokenCache::new(REMEMBERED),
        })
    }

    /// Returns a warning for each key in the issuers' files that cannot be used.
    pub fn warnings(&self) -> Vec<String> {
        let files = self.issuers.iter().map(|issuer| &issuer.keys);
        files.flat_map(|file| file.warnings()).collect()
    }

    /// Verifies a token and returns its bearer.
    ///
    /// # Errors
    ///
    /// [`ExternalTokenError`].
    pub async fn authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Operator, ExternalTokenError> {
        let text = digest_of(token);
        if let Some(known) = self.verified.get(&text) {
            match self.taker(&known).await {
                Some(issuer) => return issuer.operator(&known.claims, now),
                None => self.verified.forget(&text),
            }
        }
        let named = key_set::unverified_issuer(token)?;
        let mut refusal = ExternalTokenError::Issuer;
        let mut asked = Vec::new();
        let issuers = self.issuers.iter().enumerate();
        // One issuer may be configured for several audiences, each with its own keys.
        for (number, issuer) in issuers.filter(|(_, own)| own.settings.issuer == named) {
            let Keys { generation, set } = KeyFile::current(&issuer.keys).await;
            asked.push((number, generation));
            let verified = set.verify(token, &issuer.settings.issuer, &issuer.settings.audience);
            let mut claims = match verified {
                Ok(claims) => claims,
                Err(error) => {
                    // The audience is only checked once the signature is verified, so this says most.
                    if refusal != ExternalTokenError::Audience {
                        refusal = error;
                    }
                    continue;
                }
            };
            let operator = issuer.operator(&claims, now)?;
            if token.len() <= MAX_REMEMBERED {
                claims.retain(|name, _| issuer.reads_claim(name));
                self.verified
                    .remember(text, Arc::new(Verified { asked, claims }));
            }
            return Ok(operator);
        }
        Err(refusal)
    }

    /// Returns the issuer that accepted the token, if all issuers that were tried still have the same keys.
    async fn taker(&self, known: &Verified) -> Option<&Issuer> {
        let mut taker = None;
        for (number, generation) in &known.asked {
            let issuer = self.issuers.get(*number)?;
            if KeyFile::current(&issuer.keys).await.generation != *generation {
                return None;
            }
            taker = Some(issuer);
        }
        taker
    }
}

impl Issuer {
    /// Checks a verified token's validity period and returns its bearer and scopes.
    fn operator(&self, claims: &Claims, now: Timestamp) -> Result<Operator, ExternalTokenError> {
        let expires_at = check_time(claims, now)?;
        let subject = subject(claims);
        Ok(Operator {
            who: Principal::External {
                issuer: self.settings.issuer.clone(),
                subject: subject.clone(),
            },
            subject,
            scopes: self.scopes(claims),
            prefetch: Prefetched::default(),
            warrants: Vec::new(),
            expires_at,
        })
    }

    /// Whether this claim of a verified token is used.
    fn reads_claim(&self, name: &str) -> bool {
        ["exp", "nbf", "sub"].contains(&name) || self.settings.scope_claim == name
    }

    fn scopes(&self, claims: &Claims) -> Vec<OperatorScope> {
        let values: Vec<&str> = match claims.get(&self.settings.scope_claim) {
            Some(Value::String(text)) => std::iter::once(text.as_str())
                .chain(text.split_ascii_whitespace())
                .collect(),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mapped = values
            .into_iter()
            .filter_map(|value| self.settings.scopes.get(value));
        mapped.flat_map(OperatorScopes::iter).cloned().collect()
    }
}

/// Checks the validity period and returns its end, unless that is too far for a [`Timestamp`]: `exp` is required, `nbf` is
/// optional. Both are seconds, with or without a fraction.
fn check_time(claims: &Claims, now: Timestamp) -> Result<Option<Timestamp>, ExternalTokenError> {
    let seconds = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or(ExternalTokenError::Malformed),
    };
    let end = seconds("exp")?.ok_or(ExternalTokenError::Malformed)?;
    if end <= as_seconds(now) {
        return Err(ExternalTokenError::Expired);
    }
    match seconds("nbf")? {
        Some(start) if start > as_seconds(now.saturating_add(CLOCK_SKEW)) => {
            Err(ExternalTokenError::NotYetValid)
        }
        _ => Ok(timestamp_of(end)),
    }
}

fn timestamp_of(seconds: f64) -> Option<Timestamp> {
    let since_epoch = Duration::try_from_secs_f64(seconds).ok()?;
    let millis = u64::try_from(since_epoch.as_millis()).ok()?;
    Some(Timestamp::from_millis(millis))
}

fn as_seconds(at: Timestamp) -> f64 {
    Duration::from_millis(at.as_millis()).as_secs_f64()
}

/// Returns the subject in one printable line, which identifies it in the audit trail and for limits. The claim is optional (RFC 7519,
/// section 4.1.2): without it the subject is `-`.
fn subject(claims: &Claims) -> String {
    let subject = match claims.get("sub") {
        None | Some(Value::Null) => Cow::Borrowed("-"),
        Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
        Some(other) => Cow::Owned(other.to_string()),
    };
    let printable: String = subject.chars().flat_map(char::escape_debug).collect();
    bounded(&printable).into_owned()
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.settings.issuer);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
