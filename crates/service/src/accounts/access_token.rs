//! Access tokens: JSON Web Tokens (RFC 7519) with the user, their generation and session, and the factor that the session has
//! presented.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use keyproof_mfa::{FactorKind, UnixMillis, VerifiedFactor};
use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    ACCESS_TOKEN_LIFETIME, Accounts, SessionError, SessionId, millis,
    records::{Owner, Role, User},
    session::INVALID,
    session_id::TokenId,
    signing_key::Signer,
};
use crate::{
    Failure, StorageError,
    access::digest_of,
    storage::{damaged, refuse},
};

/// The maximum size of a token, in bytes.
const MAX_LEN: usize = 2048;

/// The claims of a token.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The user's number as text (RFC 7519, section 4.1.2).
    sub: String,
    org: u32,
    role: Role,
    #[serde(rename = "gen")]
    pub(super) generation: u64,
    iat: u64,
    exp: u64,
    /// The application token that it was issued for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<u32>,
    /// The token's id (RFC 7519, section 4.1.7). Tokens of earlier releases lack it and all following claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<TokenId>,
    /// The user's `key_changes` when it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_changes: Option<u64>,
    /// The session's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    /// The second factor that the session has presented, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<FactorKind>,
    /// When the factor was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor_at: Option<u64>,
    /// The `kid` of the header: the key that signed the token.
    #[serde(skip)]
    pub(super) signed_with: String,
}

/// The part that all tokens of a login share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) sid: SessionId,
    /// The factor that was presented in addition to the password.
    pub(super) shown: Option<VerifiedFactor>,
}

impl Claims {
    /// Returns the login that the token comes from. A token without factor and time has presented no factor.
    pub(super) fn login(&self, owner: Owner) -> Login {
        let of_earlier_release = || SessionId::of_earlier_release(owner, self.generation);
        let shown = self.factor.zip(self.factor_at);
        Login {
            sid: self.sid.unwrap_or_else(of_earlier_release),
            shown: shown.map(|(factor, at)| VerifiedFactor {
                factor,
                at: UnixMillis::from_secs(at),
            }),
        }
    }

    /// Returns the first moment at which the token is no longer valid.
    pub(super) const fn expires_at(&self) -> Timestamp {
        Timestamp::from_secs(self.exp)
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
            .map_err(damaged)
    }
}

impl Accounts {
    /// Starts a session, with the factor that was presented in addition to the password.
    pub(super) fn begin_session(&self, shown: Option<FactorKind>, now: Timestamp) -> Login {
        Login {
            sid: SessionId::from_random(self.random()),
            shown: shown.map(|factor| VerifiedFactor {
                factor,
                at: millis(now),
            }),
        }
    }

    /// Issues an access token of this login for this user, as they were when that was decided.
    pub(super) fn access_token(
        &self,
        signer: &Signer,
        user: &User,
        login: &Login,
        application_token: Option<u32>,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, StorageError> {
        signer.sign(&Claims {
            sub: user.id.to_string(),
            org: user.organisation,
            role: user.role,
            generation: user.generation,
            iat: now.as_secs(),
            exp: now.saturating_add(ACCESS_TOKEN_LIFETIME).as_secs(),
            app: application_token,
            jti: Some(TokenId::from_random(self.random())),
            key_changes: Some(user.key_changes),
            sid: Some(login.sid),
            factor: login.shown.map(|shown| shown.factor),
            factor_at: login.shown.map(|shown| shown.at.as_secs()),
            signed_with: String::new(),
        })
    }

    /// Returns the claims of one of our tokens unless it has expired. A cached token is not verified again, so the caller must
    /// check in the store, with the other records, that its signing key is still valid.
    pub(super) async fn claims(&self, token: &str) -> Result<Arc<Claims>, Failure<SessionError>> {
        if token.len() > MAX_LEN {
            return Err(INVALID);
        }
        let now = self.clock.now();
        let text = digest_of(token);
        let known = self.verified.get(&text);
        let claims = match &known {
            Some(claims) => Arc::clone(claims),
            None => Arc::new(self.verify(token, now).await?),
        };
        if claims.expires_at() <= now {
            self.verified.forget(&text);
            return refuse(SessionError::Expired);
        }
        if known.is_none() {
            self.verified.remember(text, Arc::clone(&claims));
        }
        Ok(claims)
    }

    /// Returns the claims of a token that one of our keys has signed, whether or not it has expired.
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Failure<SessionError>> {
        let header = decode_header(token).map_err(|_| INVALID)?;
        let id = header.kid.ok_or(INVALID)?;
        let key = self.signing.verifier(&id, now).await?;
        let key = key.ok_or(INVALID)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Only this server's clock decides on expiry.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let token = decode::<Claims>(token, &key, &validation).map_err(|_| INVALID)?;
        Ok(Claims {
            signed_with: id,
            ..token.claims
        })
    }
}
