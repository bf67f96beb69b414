//! Access tokens: JSON Web Tokens (RFC 7519) that say whose they are, and of which generation.

use super::{
    ACCESS_TOKEN_LIFETIME, Accounts,
    records::{Owner, Role, User},
    signing_key::Signer,
};
use crate::StorageError;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest text that is looked at as a token, in bytes.
const MAX_LEN: usize = 2048;

/// Why a text is not a token that holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is none of ours.
    #[error("not a token of this server")]
    Invalid,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The user's number, as a text (RFC 7519, section 4.1.2).
    sub: String,
    org: u32,
    role: Role,
    #[serde(rename = "gen")]
    pub(super) generation: u64,
    iat: u64,
    exp: u64,
    /// The application token that it was made for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<u32>,
}

impl Claims {
    pub(super) fn of(user: &User, application_token: Option<u32>, now: Timestamp) -> Self {
        Self {
            sub: user.id.to_string(),
            org: user.organisation,
            role: user.role,
            generation: user.generation,
            iat: now.as_secs(),
            exp: now.saturating_add(ACCESS_TOKEN_LIFETIME).as_secs(),
            app: application_token,
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        Some(Owner {
            organisation: self.org,
            user: self.sub.parse().ok()?,
        })
    }
}

impl Signer {
    pub(super) fn sign(&self, claims: &Claims) -> Result<Zeroizing<String>, StorageError> {
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, claims, &self.key)
            .map(Zeroizing::new)
            .map_err(|error| StorageError::Damaged(error.to_string()))
    }
}

impl Accounts {
    /// What a token of ours says, if its time is not over.
    pub(super) async fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_LEN {
            return Err(TokenError::Invalid);
        }
        let now = self.clock.now();
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let id = header.kid.ok_or(TokenError::Invalid)?;
        let key = self.signing.verifier(&id, now).await?;
        let key = key.ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Time is this server's clock's to say, below.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(token, &key, &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        if claims.exp <= now.as_secs() {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}
