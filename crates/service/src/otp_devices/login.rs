//! Login: an instance's password or a refreshable token gives a new token; a token gives a session.

use super::{
    OtpDevices,
    guesses::client,
    records::{Instance, LoginToken, instance_key, login_token_key},
};
use crate::{HashingError, Origin, PasswordVerdict, StorageError, Who, audit::Deed, storage::Race};
use keyproof_auth::{
    AuthError, Generation, LoginScope, Permission, TOKEN_BYTES, Token, TokenDigest, Validity,
};
use keyproof_mfa::{Password, PasswordRefusal};
use keyproof_store::{Key, Raw, Stored, Timestamp, Version};
use std::{fmt, time::Duration};
use zeroize::{Zeroize, Zeroizing};

/// How long a token holds if its request does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an expired token is remembered, to be told from one that never was.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What the audit trail is told of a wrong password.
const WRONG: &str = "wrong name or password";

/// What it is told of one that was not judged.
const UNJUDGED: &str = "too many failures";

/// The longest description that is kept, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// The holder of a token that holds, within one life of an instance.
#[derive(Clone)]
pub struct Session {
    instance: String,
    incarnation: Generation,
    generation: Generation,
    scope: LoginScope,
    token_id: String,
    token: Key,
    token_version: Version,
}

/// Whoever may be given a token: they know the password, or hold a refreshable token.
#[derive(Clone, Debug)]
pub struct Issuer(IssuerKind);

#[derive(Clone, Debug)]
enum IssuerKind {
    Password {
        instance: String,
        generation: Generation,
    },
    Token(Session),
}

/// How long a token is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the server thinks right: a day.
    Default,
    /// Until it is revoked, or the password changes.
    Forever,
    /// This long.
    For(Duration),
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// What it allows.
    pub scope: LoginScope,
    /// How long it holds.
    pub lifetime: Lifetime,
    /// For people to read; cut to 4096 bytes.
    pub description: Option<String>,
}

/// A new token.
pub struct IssuedToken {
    /// Its text, shown once, without any prefix.
    pub text: Zeroizing<String>,
    /// What it allows.
    pub scope: LoginScope,
    /// The first moment at which it no longer holds; `None` is never.
    pub valid_until: Option<Timestamp>,
}

/// Why a bearer has no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its scope does not allow this.
    #[error("the token's scope does not allow this")]
    Forbidden,
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
    /// The text is not a token.
    #[error("not a token")]
    Malformed,
    /// None was given.
    #[error("a token is needed")]
    Missing,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It was never issued for this instance, or is revoked, or ended with a password.
    #[error("the token is unknown or revoked")]
    TokenUnknown,
}

/// Why a password gives no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// It is the wrong one, or for another name, or the instance has none.
    #[error("wrong name or password")]
    Refused,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why no token was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// What the issuer showed has ended meanwhile: the token was revoked, the password changed, the instance removed.
    #[error("the token or password has ended")]
    Ended,
    /// The scope asked for is more than the issuer's own.
    #[error("the scope asked for is more than the token's own")]
    ScopeExceeded,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a token was not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// It has ended already.
    #[error("the token has ended already")]
    Ended,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Session {
    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The life of the instance that the token belongs to.
    pub(super) const fn incarnation(&self) -> &Generation {
        &self.incarnation
    }

    /// The origin of what is done in this session.
    pub(super) fn origin(&self, origin: &Origin) -> Origin {
        origin.by(Who::Instance {
            name: self.instance.clone(),
            token: Some(self.token_id.clone()),
        })
    }

    /// The instance's record, if the session's password is still the instance's.
    pub(super) fn still_in(
        &self,
        instance: Option<&Raw>,
    ) -> Result<Option<Stored<Instance>>, StorageError> {
        let instance = instance.map(Raw::decode::<Instance>).transpose()?;
        Ok(instance.filter(|stored| stored.record.generation == self.generation))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("instance", &self.instance)
            .field("scope", &self.scope)
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
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
    /// Is there such an instance?
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn has_instance(&self, name: &str) -> Result<bool, StorageError> {
        let found = self
            .store
            .get::<Instance>(&instance_key(name), self.clock.now())
            .await?;
        Ok(found.is_some())
    }

    /// Who holds this token of this instance, if they may do `needed` (`None`: anything that holds will do)?
    /// `token` is its text without any prefix. Asked anew for every request.
    ///
    /// # Errors
    /// [`SessionError`]; an unknown instance comes before anything about the token.
    pub async fn session(
        &self,
        instance: &str,
        token: Option<&str>,
        needed: Option<Permission>,
        origin: &Origin,
    ) -> Result<Session, SessionError> {
        let token = match token.map(Token::parse) {
            Some(Ok(token)) => token,
            unusable => {
                return Err(match (self.has_instance(instance).await?, unusable) {
                    (false, _) => SessionError::InstanceUnknown,
                    (true, None) => SessionError::Missing,
                    (true, Some(_)) => SessionError::Malformed,
                });
            }
        };
        let digest = token.digest();
        let keys = [instance_key(instance), login_token_key(instance, &token)];
        let now = self.clock.now();
        let records = self
            .store
            .get_many(&keys, now)
            .await
            .map_err(StorageError::from)?;
        let [instance_raw, token_raw] = records.as_slice() else {
            return Err(StorageError::Damaged("two keys, but not two answers".to_owned()).into());
        };
        let Some(instance_raw) = instance_raw else {
            return Err(SessionError::InstanceUnknown);
        };
        let Some(token_raw) = token_raw else {
            return Err(SessionError::TokenUnknown);
        };
        let instance = instance_raw
            .decode::<Instance>()
            .map_err(StorageError::from)?
            .record;
        let stored = token_raw
            .decode::<LoginToken>()
            .map_err(StorageError::from)?;
        let validity = Validity {
            generation: stored.record.generation,
            expires_at_ms: stored.record.valid_until.map(Timestamp::as_millis),
        };
        match validity.check(&instance.generation, now.as_millis()) {
            Ok(()) => {}
            Err(AuthError::Expired { .. }) => return Err(SessionError::Expired),
            Err(_) => return Err(SessionError::TokenUnknown),
        }
        let [_, token] = keys;
        let session = Session {
            instance: instance.name,
            incarnation: instance.incarnation,
            generation: instance.generation,
            scope: stored.record.scope,
            token_id: token_id(&digest),
            token,
            token_version: stored.version,
        };
        if let Some(needed) = needed.filter(|needed| !session.scope.allows(*needed)) {
            self.audit
                .refused(Deed {
                    action: "login_token.use",
                    target: format!("instance/{}", session.instance),
                    detail: Some(format!(
                        "the scope {} does not allow {needed:?}",
                        session.scope
                    )),
                    origin: &session.origin(origin),
                })
                .await;
            return Err(SessionError::Forbidden);
        }
        Ok(session)
    }

    /// Who knows the password of this instance? Its name is the user name as well.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(
        &self,
        instance: &str,
        user_name: &str,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<Issuer, LoginError> {
        let key = instance_key(instance);
        let client = client(origin);
        let mut judged: Option<(Option<String>, PasswordVerdict)> = None;
        let mut race = Race::default();
        loop {
            let now = self.clock.now();
            let found = self.guarded::<Instance>(instance, now).await?;
            let (stored, guesses) = found.ok_or(LoginError::InstanceUnknown)?;
            // There is nothing to guess, and it is no secret: so nothing is hashed either.
            let Some(hash) = stored.record.password.clone() else {
                self.audit.refused(failed(instance, WRONG, origin)).await;
                return Err(LoginError::Refused);
            };
            let records = guesses.records(instance);
            if let Err(locked) = records.admit(client, guesses.at()) {
                self.audit.refused(failed(instance, UNJUDGED, origin)).await;
                let wait = guesses.wait(locked.until);
                return Err(LoginError::Locked { wait });
            }
            // A wrong name costs what a wrong password does.
            let hash = Some(hash).filter(|_| user_name == instance);
            let verdict = match &judged {
                Some((with, verdict)) if *with == hash => *verdict,
                _ => {
                    let turn = self.turn(origin);
                    let verify = self.hashing.verify(turn, hash.as_deref(), password.clone());
                    let verdict = verify.await?;
                    judged = Some((hash, verdict));
                    // Judging takes a while: what it rests on is read again.
                    continue;
                }
            };
            let found = match verdict {
                PasswordVerdict::Accepted { .. } => Password::Correct,
                PasswordVerdict::Refused => Password::Wrong,
            };
            let decision = records.begin_login(found, client, guesses.at(), &self.policy);
            let mut batch = self.store.batch(now);
            batch.require(&key, stored.version);
            guesses.save(&mut batch, &decision.next);
            let outcome = match decision.verdict {
                Ok(_) => Ok(()),
                Err(PasswordRefusal::Locked(locked)) => Err((UNJUDGED, Some(locked.until))),
                Err(PasswordRefusal::WrongPassword(failure)) => Err((WRONG, failure.locked_until)),
            };
            if let Err((why, _)) = outcome {
                let deed = failed(instance, why, origin);
                self.audit.counted(&mut batch, now, deed).await?;
            }
            if !race.won(self.store.commit(batch).await).await? {
                continue;
            }
            return match (outcome, verdict) {
                (Ok(()), PasswordVerdict::Accepted { needs_rehash }) => {
                    let generation = stored.record.generation;
                    if needs_rehash {
                        self.rehash(&key, stored, password, origin).await;
                    }
                    Ok(Issuer(IssuerKind::Password {
                        instance: instance.to_owned(),
                        generation,
                    }))
                }
                (Err((_, Some(until))), _) => Err(LoginError::Locked {
                    wait: guesses.wait(until),
                }),
                (Ok(()) | Err((_, None)), _) => Err(LoginError::Refused),
            };
        }
    }

    /// Who may have this token exchanged?
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::Forbidden`] unless it is refreshable.
    pub async fn refresher(
        &self,
        instance: &str,
        token: Option<&str>,
        origin: &Origin,
    ) -> Result<Issuer, SessionError> {
        let needed = Some(Permission::TokenRefresh);
        let session = self.session(instance, token, needed, origin).await?;
        Ok(Issuer(IssuerKind::Token(session)))
    }

    /// Issues a token.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn issue(
        &self,
        issuer: &Issuer,
        request: &TokenRequest,
        origin: &Origin,
    ) -> Result<IssuedToken, IssueError> {
        let (instance, generation, origin) = match &issuer.0 {
            IssuerKind::Password {
                instance,
                generation,
            } => {
                let who = Who::Instance {
                    name: instance.clone(),
                    token: None,
                };
                (instance, generation, origin.by(who))
            }
            IssuerKind::Token(session) => {
                if !session.scope.may_issue(request.scope) {
                    self.audit
                        .refused(Deed {
                            action: "login_token.issue",
                            target: format!("instance/{}", session.instance),
                            detail: Some(format!(
                                "{} from a token of scope {}",
                                request.scope, session.scope
                            )),
                            origin: &session.origin(origin),
                        })
                        .await;
                    return Err(IssueError::ScopeExceeded);
                }
                (
                    &session.instance,
                    &session.generation,
                    session.origin(origin),
                )
            }
        };
        let key = instance_key(instance);
        let mut race = Race::default();
        loop {
            let now = self.clock.now();
            let stored = self
                .store
                .get::<Instance>(&key, now)
                .await
                .map_err(StorageError::from)?;
            let stored = stored
                .filter(|stored| stored.record.generation == *generation)
                .ok_or(IssueError::Ended)?;
            if let IssuerKind::Token(session) = &issuer.0 {
                let held = self
                    .store
                    .get::<LoginToken>(&session.token, now)
                    .await
                    .map_err(StorageError::from)?;
                if held.is_none_or(|held| held.version != session.token_version) {
                    return Err(IssueError::Ended);
                }
            }

            let mut random = [0; TOKEN_BYTES];
            self.store.entropy().fill(&mut random);
            let token = Token::made_at(now.as_millis(), random);
            random.zeroize();
            let digest = token.digest();
            let valid_until = match request.lifetime {
                Lifetime::Default => Some(now.saturating_add(DEFAULT_LIFETIME)),
                Lifetime::Forever => None,
                Lifetime::For(lifetime) => Some(now.saturating_add(lifetime)),
            };
            let record = LoginToken {
                generation: *generation,
                scope: request.scope,
                created_at: now,
                valid_until,
                description: request.description.as_deref().map(cut),
            };
            let mut batch = self.store.batch(now);
            batch.require(&key, stored.version);
            if let IssuerKind::Token(session) = &issuer.0 {
                batch.require(&session.token, session.token_version);
            }
            batch.insert(
                &login_token_key(instance, &token),
                &record,
                valid_until.map(|end| end.saturating_add(REMEMBERED)),
            );
            self.audit.done(
                &mut batch,
                now,
                Deed {
                    action: "login_token.issue",
                    target: format!("instance/{instance}/token/{}", token_id(&digest)),
                    detail: Some(format!("scope {}", request.scope)),
                    origin: &origin,
                },
            );
            if race.won(self.store.commit(batch).await).await? {
                return Ok(IssuedToken {
                    text: token.text(),
                    scope: request.scope,
                    valid_until,
                });
            }
        }
    }

    /// Ends the session's own token.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke(&self, session: &Session, origin: &Origin) -> Result<(), RevokeError> {
        let origin = session.origin(origin);
        let now = self.clock.now();
        let mut batch = self.store.batch(now);
        batch.remove(&session.token, session.token_version);
        self.audit.done(
            &mut batch,
            now,
            Deed {
                action: "login_token.revoke",
                target: format!("instance/{}/token/{}", session.instance, session.token_id),
                detail: None,
                origin: &origin,
            },
        );
        if Race::default().won(self.store.commit(batch).await).await? {
            Ok(())
        } else {
            // A token is never changed, so another state is none.
            Err(RevokeError::Ended)
        }
    }

    /// Stores the password under the cost in force, while it is at hand. The login does not depend on it.
    async fn rehash(
        &self,
        key: &Key,
        stored: Stored<Instance>,
        password: Zeroizing<String>,
        origin: &Origin,
    ) {
        let instance = stored.record.name.clone();
        let outcome = async {
            let hash = self
                .hashing
                .hash(self.turn(origin), password, self.store.entropy())
                .await
                .map_err(|error| error.to_string())?;
            let now = self.clock.now();
            let next = Instance {
                password: Some(hash),
                ..stored.record
            };
            let mut batch = self.store.batch(now);
            batch.replace(key, stored.version, &next, None);
            self.store
                .commit(batch)
                .await
                .map_err(|error| error.to_string())
        };
        if let Err(error) = outcome.await {
            tracing::info!(instance, error, "the password keeps its older hash for now");
        }
    }
}

/// A failed login in the audit trail.
fn failed<'a>(instance: &str, why: &str, origin: &'a Origin) -> Deed<'a> {
    Deed {
        action: "login_token.issue",
        target: format!("instance/{instance}"),
        detail: Some(why.to_owned()),
        origin,
    }
}

/// A token's name in the audit trail.
fn token_id(digest: &TokenDigest) -> String {
    digest.to_string().chars().take(16).collect()
}

/// At most so many bytes of a text, in whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_DESCRIPTION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
