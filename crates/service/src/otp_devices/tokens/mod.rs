//! Login tokens: issued for the password or a refreshable token, and revoked by their bearers.

use std::{fmt, time::Duration};

use keyproof_auth::{Generation, ValidityError, taler::LoginScope};
use keyproof_store::{Batch, ReadPlan, Timestamp};
use zeroize::Zeroizing;

use super::{
    OtpDevices,
    caller::{AnyToken, Caller, LiveToken, Refreshing},
    records::{Instance, LoginToken, instance_key, login_token_key},
};
use crate::{
    Action, Failure, Origin, Principal,
    audit::{NewEvent, Target},
    keys::{draw_token, token_name},
    storage::{Attempt, refuse, transact},
    text::cut,
};

/// How long a token is valid if the request does not specify it.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an expired token is kept, to distinguish it from an unknown one.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest stored description, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// A caller that may be issued a token, by the password or a refreshable token.
#[derive(Debug)]
pub struct Issuer {
    instance: String,
    generation: Generation,
    /// The refreshable token; `None` for the password.
    shown: Option<LiveToken>,
    origin: Origin,
}

/// The lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The server's default: a day.
    Default,
    /// Until it is revoked or the password changes.
    Forever,
    /// This long.
    For(Duration),
}

/// A request for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The scope.
    pub scope: LoginScope,
    /// The lifetime.
    pub lifetime: Lifetime,
    /// A description for people, cut to 4096 bytes.
    pub description: Option<String>,
}

/// A new token.
pub struct IssuedToken {
    /// The token without any prefix. It is returned only once.
    pub text: Zeroizing<String>,
    /// The scope.
    pub scope: LoginScope,
    /// When it expires; `None` is never.
    pub valid_until: Option<Timestamp>,
}

/// Why no token was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The token was revoked, the password changed, or the instance was removed since the permission was checked.
    #[error("the token or password is no longer valid")]
    Ended,
    /// The token has expired since the permission was checked.
    #[error("the token has expired")]
    Expired,
    /// The requested scope exceeds that of the issuer's token.
    #[error("the requested scope exceeds the token's own")]
    ScopeExceeded,
}

/// Why a token was not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The token was revoked or has ended already.
    #[error("the token is already revoked or expired")]
    Ended,
}

impl Issuer {
    pub(super) fn by_password(instance: &str, generation: Generation, origin: &Origin) -> Self {
        Self {
            instance: instance.to_owned(),
            generation,
            shown: None,
            origin: origin.by(Principal::Instance {
                name: instance.to_owned(),
                token: None,
            }),
        }
    }

    /// Returns the party whose share of shared resources the issuer uses.
    pub fn party(&self) -> String {
        self.origin.who.party()
    }
}

impl From<Caller<Refreshing>> for Issuer {
    fn from(caller: Caller<Refreshing>) -> Self {
        Self {
            instance: caller.instance().to_owned(),
            generation: caller.generation,
            origin: caller.origin().clone(),
            shown: caller.shown,
        }
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("scope", &self.scope)
            .field("valid_until", &self.valid_until)
            .finish_non_exhaustive()
    }
}

impl OtpDevices {
    /// Issues a token.
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub async fn issue(
        &self,
        issuer: &Issuer,
        request: &TokenRequest,
    ) -> Result<IssuedToken, Failure<IssueError>> {
        if let Some(LiveToken { scope, .. }) = &issuer.shown
            && !scope.may_issue(request.scope)
        {
            let new_event = NewEvent {
                action: Action::LoginTokenIssue,
                target: Target::Instance(issuer.instance.clone()),
                detail: Some(format!("{} from a token of scope {scope}", request.scope)),
                origin: &issuer.origin,
            };
            self.audit.refused(new_event).await;
            return refuse(IssueError::ScopeExceeded);
        }
        transact("otp_devices.issue", &self.store, || async {
            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            self.still_granted(issuer, &mut batch, now).await?;
            let token = draw_token(self.store.entropy(), Some(now));
            let digest = token.digest();
            let valid_until = match request.lifetime {
                Lifetime::Default => Some(now.saturating_add(DEFAULT_LIFETIME)),
                Lifetime::Forever => None,
                Lifetime::For(lifetime) => Some(now.saturating_add(lifetime)),
            };
            let record = LoginToken {
                generation: issuer.generation,
                scope: request.scope,
                created_at: now,
                valid_until,
                description: request.description.as_deref().map(kept),
            };
            batch.insert(
                &login_token_key(&issuer.instance, &token, &digest),
                &record,
                valid_until.map(|end| end.saturating_add(REMEMBERED)),
            );
            let new_event = NewEvent {
                action: Action::LoginTokenIssue,
                target: Target::LoginToken {
                    instance: issuer.instance.clone(),
                    id: token_name(&digest),
                },
                detail: Some(format!("scope {}", request.scope)),
                origin: &issuer.origin,
            };
            self.audit.done(&mut batch, now, new_event);
            let issued = IssuedToken {
                text: token.text(),
                scope: request.scope,
                valid_until,
            };
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Checks that the issuer's token or password is still valid, and makes the batch require it.
    async fn still_granted(
        &self,
        issuer: &Issuer,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<(), Failure<IssueError>> {
        let ended = || Failure::Refused(IssueError::Ended);
        let place = instance_key(&issuer.instance);
        let shown = issuer.shown.as_ref();
        let keys = [Some(&place), shown.map(|shown| &shown.place)];
        let plan = ReadPlan::new(keys.into_iter().flatten().cloned());
        let found = self.store.read(plan, now).await?;
        let stored = found.get::<Instance>(&place)?.ok_or_else(ended)?;
        if stored.record.generation != issuer.generation {
            return Err(ended());
        }
        batch.require(&place, stored.version);
        if let Some(LiveToken { place, version, .. }) = shown {
            let token = found.get::<LoginToken>(place)?.ok_or_else(ended)?;
            if token.version != *version {
                return Err(ended());
            }
            // The record is kept for a while after the token's expiry.
            match token.record.check(&issuer.generation, now) {
                Ok(()) => batch.require(place, *version),
                Err(ValidityError::Expired { .. }) => return refuse(IssueError::Expired),
                Err(ValidityError::Superseded) => return Err(ended()),
            }
        }
        Ok(())
    }

    /// Revokes the caller's own token.
    ///
    /// # Errors
    ///
    /// [`RevokeError`].
    pub async fn revoke(&self, caller: &Caller<AnyToken>) -> Result<(), Failure<RevokeError>> {
        let Some(shown) = &caller.shown else {
            return refuse(RevokeError::Ended);
        };
        transact("otp_devices.revoke", &self.store, || async {
            let now = self.clock.now();
            // Token records never change: the same version, or deleted.
            if self
                .store
                .get::<LoginToken>(&shown.place, now)
                .await?
                .is_none_or(|token| token.version != shown.version)
            {
                return refuse(RevokeError::Ended);
            }
            let mut batch = self.store.batch(now);
            batch.remove(&shown.place, shown.version);
            let target = Target::LoginToken {
                instance: caller.instance().to_owned(),
                id: shown.id.clone(),
            };
            let new_event = caller.new_event(Action::LoginTokenRevoke, target, None);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}

/// Cuts a description to the stored length.
fn kept(description: &str) -> String {
    cut(description, MAX_DESCRIPTION).to_owned()
}

#[cfg(test)]
mod tests;
