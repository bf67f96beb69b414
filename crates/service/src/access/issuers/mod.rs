//! Tokens of external issuers: JWTs (RFC 7519) that an identity provider signs, and that operators have mapped to scopes.
//!
//! A token is taken if its issuer and audience are configured, one of the issuer's keys verifies it under an algorithm
//! of that key, and its time is now. What it allows is said by the configuration alone: a claim's values, each mapped
//! to scopes. A token that nothing is mapped for is somebody's, and allows nothing.

mod key_file;
mod key_set;

pub use key_file::KeyFileError;
pub use key_set::KeySet;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use keyproof_auth::operator::{OperatorScope, OperatorScopes};
use keyproof_store::Timestamp;
use serde_json::{Map, Value};

use super::{
    Operator, ReadAlong,
    remembered::{Remembered, digest_of},
};
use crate::Who;
use key_file::{KeyFile, Keys};

/// By how much an issuer's clock may be ahead: what it has just issued is good. Nothing is granted at a token's end,
/// where a client fetches a new one.
const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// The longest subject in the audit trail, in characters.
const MAX_SUBJECT: usize = 128;

/// One issuer whose tokens are taken.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The `iss` of its tokens, to the letter.
    pub issuer: String,
    /// What their `aud` has to be, or to contain.
    pub audience: String,
    /// Its keys: a JWK set (RFC 7517, section 5), read again when the file changes.
    pub jwks_file: PathBuf,
    /// The claim that says what a token allows: a string, its blank-separated words, or an array of strings.
    pub scope_claim: String,
    /// What each value of that claim allows.
    pub scopes: BTreeMap<String, OperatorScopes>,
}

/// How many verified tokens are remembered.
const REMEMBERED: usize = 1_024;

/// The longest token that is remembered, in bytes.
const MAX_REMEMBERED: usize = 4_096;

/// The issuers whose tokens are taken.
pub struct Issuers {
    issuers: Vec<Issuer>,
    verified: Remembered<Arc<Verified>>,
}

/// A token that was verified before.
struct Verified {
    /// The issuers that were asked, by their number, and the generation of the keys that each had; the last has taken
    /// the token, and the scopes that it allows are what that one's settings say now.
    asked: Vec<(usize, u64)>,
    /// Those that are looked at.
    claims: Claims,
}

struct Issuer {
    settings: IssuerSettings,
    keys: Arc<KeyFile>,
}

/// Why a token of somebody else's is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalTokenError {
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// No such issuer is configured.
    #[error("the token's issuer is not known here")]
    Issuer,
    /// Its issuer has no such key, or none for its algorithm, or it does not say which.
    #[error("the token names no key of its issuer that goes with its algorithm")]
    Key,
    /// It is no JWT, or lacks a claim, or wants something understood that is not understood here.
    #[error("the token is not a signed JWT with issuer, audience and expiry")]
    Malformed,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is not what its issuer signed.
    #[error("the token's signature does not verify")]
    Signature,
}

/// What a token says, by the name of the claim.
pub type Claims = Map<String, Value>;

impl Issuers {
    /// The issuers of a configuration, with their keys.
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
            verified: Remembered::new(REMEMBERED),
        })
    }

    /// The bearer of this token.
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
        // One issuer may be configured for several audiences.
        for (number, issuer) in issuers.filter(|(_, own)| own.settings.issuer == named) {
            let Keys { generation, set } = KeyFile::current(&issuer.keys).await;
            asked.push((number, generation));
            let mut claims =
                match set.verify(token, &issuer.settings.issuer, &issuer.settings.audience) {
                    Err(error @ ExternalTokenError::Audience) => {
                        refusal = error;
                        continue;
                    }
                    verdict => verdict?,
                };
            let operator = issuer.operator(&claims, now)?;
            if token.len() <= MAX_REMEMBERED {
                claims.retain(|name, _| issuer.looks_at(name));
                self.verified
                    .remember(text, Arc::new(Verified { asked, claims }));
            }
            return Ok(operator);
        }
        Err(refusal)
    }

    /// Whoever has taken the token, if all that were asked have the keys that they had then.
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
    /// Whose a verified token is, if its time is now, and what it allows.
    fn operator(&self, claims: &Claims, now: Timestamp) -> Result<Operator, ExternalTokenError> {
        check_time(claims, now)?;
        let subject = subject(claims);
        Ok(Operator {
            who: Who::External {
                issuer: self.settings.issuer.clone(),
                subject: subject.clone(),
            },
            subject,
            scopes: self.scopes(claims),
            along: ReadAlong::default(),
            warrants: Vec::new(),
        })
    }

    /// Whether anything is read of this claim of a verified token.
    fn looks_at(&self, name: &str) -> bool {
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

/// `exp` must be there and ahead; `nbf` need not be there. Both are seconds, with or without a fraction.
fn check_time(claims: &Claims, now: Timestamp) -> Result<(), ExternalTokenError> {
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
        _ => Ok(()),
    }
}

fn as_seconds(at: Timestamp) -> f64 {
    Duration::from_millis(at.as_millis()).as_secs_f64()
}

/// Whose token it is, in one printable line.
fn subject(claims: &Claims) -> String {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("-");
    let printable = subject.chars().take(MAX_SUBJECT);
    printable.flat_map(char::escape_debug).collect()
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.settings.issuer);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
