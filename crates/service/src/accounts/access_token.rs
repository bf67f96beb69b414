//! Access tokens: JSON Web Tokens (RFC 7519) that say whose they are, of which generation and session, and what that
//! session has shown.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use keyproof_mfa::{Shown, ShownFactor, UnixMillis};
use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    ACCESS_TOKEN_LIFETIME, Accounts, SessionError, SessionId, millis,
    records::{Owner, Role, User},
    session_id::TokenId,
    signing_key::Signer,
};
use crate::{
    Failure, StorageError,
    access::digest_of,
    storage::{damaged, refuse},
};

/// The longest text that is looked at as a token, in bytes.
const MAX_LEN: usize = 2048;

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
    /// The token itself (RFC 7519, section 4.1.7), as all that follows absent from those of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<TokenId>,
    /// The user's `key_changes` when it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_changes: Option<u64>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    /// The second factor that the session has shown, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<ShownFactor>,
    /// When it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor_at: Option<u64>,
    /// The key that it was signed with, as the header has it.
    #[serde(skip)]
    pub(super) signed_with: String,
}

/// What a login leaves in all of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) sid: SessionId,
    /// Beside the password.
    pub(super) shown: Option<Shown>,
}

impl Claims {
    fn of(
        id: TokenId,
        user: &User,
        login: &Login,
        application_token: Option<u32>,
        now: Timestamp,
    ) -> Self {
        Self {
            sub: user.id.to_string(),
            org: user.organisation,
            role: user.role,
            generation: user.generation,
            iat: now.as_secs(),
            exp: now.saturating_add(ACCESS_TOKEN_LIFETIME).as_secs(),
            app: application_token,
            jti: Some(id),
            key_changes: Some(user.key_changes),
            sid: Some(login.sid),
            factor: login.shown.map(|shown| shown.factor),
            factor_at: login.shown.map(|shown| shown.at.as_secs()),
            signed_with: String::new(),
        }
    }

    /// The login that it comes from. One that does not say what was shown, and when, has shown nothing.
    pub(super) fn login(&self, owner: Owner) -> Login {
        let of_earlier_release = || SessionId::of_earlier_release(owner, self.generation);
        let shown = self.factor.zip(self.factor_at);
        Login {
            sid: self.sid.unwrap_or_else(of_earlier_release),
            shown: shown.map(|(factor, at)| Shown {
                factor,
                at: UnixMillis::from_secs(at),
            }),
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
            .map_err(damaged)
    }
}

impl Accounts {
    /// A new session, and the factor that was shown for it beside the password.
    pub(super) fn begin_session(&self, shown: Option<ShownFactor>, now: Timestamp) -> Login {
        Login {
            sid: SessionId::from_random(self.random()),
            shown: shown.map(|factor| Shown {
                factor,
                at: millis(now),
            }),
        }
    }

    /// An access token of this login for this user, as they were when it was decided.
    pub(super) fn access_token(
        &self,
        signer: &Signer,
        user: &User,
        login: &Login,
        application_token: Option<u32>,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, StorageError> {
        let id = TokenId::from_random(self.random());
        signer.sign(&Claims::of(id, user, login, application_token, now))
    }

    /// What a token of ours says, if its time is not over. Whether the key that it was signed with is still in force is
    /// to be asked of the store with what else the token rests on: one that was verified before is not verified again.
    pub(super) async fn claims(&self, token: &str) -> Result<Arc<Claims>, Failure<SessionError>> {
        if token.len() > MAX_LEN {
            return refuse(SessionError::Invalid);
        }
        let now = self.clock.now();
        let text = digest_of(token);
        let known = self.verified.get(&text);
        let claims = match &known {
            Some(claims) => Arc::clone(claims),
            None => Arc::new(self.verify(token, now).await?),
        };
        if claims.exp <= now.as_secs() {
            self.verified.forget(&text);
            return refuse(SessionError::Expired);
        }
        if known.is_none() {
            self.verified.remember(text, Arc::clone(&claims));
        }
        Ok(claims)
    }

    /// What a token says that a key of ours has signed, whatever its time.
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Failure<SessionError>> {
        const INVALID: Failure<SessionError> = Failure::Refused(SessionError::Invalid);
        let header = decode_header(token).map_err(|_| INVALID)?;
        let id = header.kid.ok_or(INVALID)?;
        let key = self.signing.verifier(&id, now).await?;
        let key = key.ok_or(INVALID)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Time is this server's clock's to say.
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
