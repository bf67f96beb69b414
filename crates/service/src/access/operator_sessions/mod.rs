//! Browser sessions of operators: a cookie stands for a token that was presented once. The store contains a digest of the cookie's
//! text and the digest of the operator's token, but neither text. Each request reads both records, so a session allows what its
//! token allows at that moment, and nothing once the token has ended.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use keyproof_auth::Token;
use keyproof_store::{Key, ReadPlan, Snapshot, Stored, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::operators::{
    Access, Operator, OperatorTokenRecord, Prefetched, operator_of, token_of, token_place,
};
use crate::{
    Action, Failure, Origin, Principal,
    audit::{NewEvent, Target, Warrant},
    keys::{draw_token, token_key},
    session_life::{Confirmed, Found, SessionLifetime, SessionRecord, session_for_change},
    slot::next_keys,
    storage::{Attempt, refuse, transact, transact_permitted},
};

/// Stored at `operator_session/_/<time>/<digest>`.
#[derive(Clone, Serialize, Deserialize)]
struct OperatorSessionRecord {
    /// The digest of the operator's token.
    token: String,
    /// The token's generation of sessions to which it belongs.
    generation: u64,
    /// When the token was last presented.
    shown_at: Timestamp,
    life: SessionLifetime,
}

record!(OperatorSessionRecord, "operator_session");

impl SessionRecord for OperatorSessionRecord {
    fn life(&self) -> SessionLifetime {
        self.life
    }

    fn with_life(self, life: SessionLifetime) -> Self {
        Self { life, ..self }
    }
}

fn place_of(token: &Token) -> Key {
    token_key("operator_session", "_", token)
}

/// A browser session of an operator.
#[derive(Debug)]
pub struct OperatorSession {
    operator: Operator,
    /// The digest of the operator's token.
    token: String,
    /// When the token was last presented.
    confirmed: Confirmed,
}

impl OperatorSession {
    /// Returns the operator and what their token allows now.
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Whether the token was presented recently enough for a change that weakens security.
    pub fn is_fresh(&self) -> bool {
        self.confirmed.is_fresh()
    }
}

/// The error when no session is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The text is not a valid operator's token.
    #[error("not a valid operator's token")]
    Unknown,
    /// The token is not the one of the session that it should confirm.
    #[error("the token of another session")]
    Another,
}

/// The error when there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is unknown or has ended")]
pub struct NoSession;

const NONE: Failure<NoSession> = Failure::Refused(NoSession);

impl Access {
    /// Starts a session for this token's operator, replacing the session `before`.
    ///
    /// # Errors
    ///
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        text: &str,
        before: Option<&str>,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<SignInError>> {
        self.begin(text, before, None, origin).await
    }

    /// Replaces this session with one that counts as fresh, after its operator has presented the token again.
    ///
    /// # Errors
    ///
    /// [`SignInError`].
    pub async fn confirm(
        &self,
        text: &str,
        before: &str,
        session: &OperatorSession,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<SignInError>> {
        self.begin(text, Some(before), Some(session), origin).await
    }

    async fn begin(
        &self,
        text: &str,
        before: Option<&str>,
        of: Option<&OperatorSession>,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<SignInError>> {
        let Ok(shown) = token_of(text) else {
            return Err(self.refuse(SignInError::Unknown, of, origin).await);
        };
        let before = before.and_then(|text| Token::parse(text).ok());
        let before = before.as_ref().map(place_of);
        let digest = shown.digest().to_string();
        let place = token_place(&digest);
        if of.is_some_and(|session| session.token != digest) {
            return Err(self.refuse(SignInError::Another, of, origin).await);
        }
        let begun = transact("access.sign_in", &self.store, || async {
            let now = self.clock.now();
            let plan = ReadPlan::new([place.clone()].into_iter().chain(before.clone()));
            let read = self.store.read(plan, now).await?;
            let Some(kept) = read.get_shared::<OperatorTokenRecord>(&place)? else {
                return refuse(SignInError::Unknown);
            };
            let session = OperatorSessionRecord {
                token: digest.clone(),
                generation: kept.record.sessions,
                shown_at: now,
                // Presenting the token again does not extend the maximum lifetime.
                life: match before.as_ref().filter(|_| of.is_some()) {
                    None => SessionLifetime::begin(now),
                    Some(before) => match read.get_shared::<OperatorSessionRecord>(before)? {
                        Some(before) => before.record.life.used_again(now),
                        None => return refuse(SignInError::Another),
                    },
                },
            };
            let operator = operator_of(&place, &kept, Prefetched::default());
            let mut batch = self.store.batch(now);
            let token = draw_token(self.store.entropy(), Some(now));
            let ends = session.life.ends_at();
            batch.insert(&place_of(&token), &session, Some(ends));
            if let Some(before) = &before
                && let Some(ended) = read.get_shared::<OperatorSessionRecord>(before)?
            {
                batch.remove(before, ended.version);
            }
            let origin = origin.by_operator(&operator);
            let new_event = NewEvent {
                action: match of {
                    None => Action::OperatorSessionBegin,
                    Some(_) => Action::OperatorSessionConfirm,
                },
                target: target(&operator),
                detail: Some(format!("by {:?}", operator.subject)),
                origin: &origin,
            };
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(token.text())))
        });
        match begun.await {
            Err(Failure::Refused(why)) => Err(self.refuse(why, of, origin).await),
            begun => begun,
        }
    }

    /// Returns the browser session with this token text and counts as a use of it. Call it for each request.
    ///
    /// # Errors
    ///
    /// [`NoSession`].
    pub async fn operator_session(
        &self,
        text: &str,
    ) -> Result<OperatorSession, Failure<NoSession>> {
        let found = self.session_at(text).await?;
        Ok(found.used(&self.store).await)
    }

    /// Like [`operator_session`](Self::operator_session), for a change. Call it after the whole request was received, because the
    /// change requires the session's record in the version read here.
    ///
    /// # Errors
    ///
    /// [`NoSession`].
    pub async fn session_for_change(
        &self,
        text: &str,
    ) -> Result<OperatorSession, Failure<NoSession>> {
        session_for_change(&self.store, || self.session_at(text)).await
    }

    /// Like [`operator_session`](Self::operator_session), for requests that a page makes by itself. They do not count as a use.
    ///
    /// # Errors
    ///
    /// [`NoSession`].
    pub async fn peek_session(&self, text: &str) -> Result<OperatorSession, Failure<NoSession>> {
        Ok(self.session_at(text).await?.session)
    }

    /// Whether the session is live by every server's clock, or only by this one's. Does not count as a use.
    ///
    /// # Errors
    ///
    /// [`NoSession`] if the session is not live.
    pub async fn session_is_live(&self, text: &str) -> Result<bool, Failure<NoSession>> {
        Ok(self.session_at(text).await?.is_live())
    }

    /// Returns the session and its record without counting a use.
    async fn session_at(
        &self,
        text: &str,
    ) -> Result<Found<OperatorSession, OperatorSessionRecord>, Failure<NoSession>> {
        let token = Token::parse(text).map_err(|_| NONE)?;
        let (now, place) = (self.clock.now(), place_of(&token));
        let (read, kept) = self.read_session(&place, now).await?;
        let mut operator = operator_in(&read, &kept.record)?;
        operator.warrants.push(Warrant {
            place: place.clone(),
            version: kept.version,
        });
        let session = OperatorSession {
            operator,
            token: kept.record.token.clone(),
            confirmed: Confirmed {
                at: kept.record.shown_at,
                read_at: now,
            },
        };
        Ok(Found {
            session,
            place,
            kept,
            read_at: now,
        })
    }

    /// Ends a session. A session that has already ended is not an error.
    ///
    /// # Errors
    ///
    /// [`StorageError`](crate::StorageError).
    pub async fn sign_out(&self, text: &str, origin: &Origin) -> Result<(), Failure<NoSession>> {
        let Ok(token) = Token::parse(text) else {
            return Ok(());
        };
        let place = place_of(&token);
        transact("access.sign_out", &self.store, || async {
            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            let (read, kept) = match self.read_session(&place, now).await {
                Err(Failure::Refused(NoSession)) => {
                    // The commit that ended it may not be durable, and the session may come back after a failover.
                    batch.require_absent(&place);
                    return Ok(Attempt::Commit(batch, Ok(())));
                }
                found => found?,
            };
            batch.remove(&place, kept.version);
            // A session that ended by itself is not recorded as an action.
            if let Ok(operator) = operator_in(&read, &kept.record) {
                let origin = origin.by_operator(&operator);
                let new_event = NewEvent {
                    action: Action::OperatorSessionEnd,
                    target: target(&operator),
                    detail: None,
                    origin: &origin,
                };
                self.audit.done(&mut batch, now, new_event);
            }
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Ends every session of this session's token, including this one.
    ///
    /// # Errors
    ///
    /// [`NoSession`].
    pub async fn sign_out_everywhere(
        &self,
        session: &OperatorSession,
        origin: &Origin,
    ) -> Result<(), Failure<NoSession>> {
        let place = token_place(&session.token);
        let (name, gone) = ("access.sign_out_everywhere", || NONE);
        let (store, clock) = (&self.store, &*self.clock);
        let origin = &origin.by_operator(&session.operator);
        transact_permitted(name, store, clock, origin, gone, || async {
            let now = self.clock.now();
            let kept = self.store.get::<OperatorTokenRecord>(&place, now).await?;
            let kept = kept.ok_or(NONE)?;
            let record = kept.record.without_sessions();
            let mut batch = self.store.batch(now);
            batch.replace(&place, kept.version, &record, kept.expires_at);
            let new_event = NewEvent {
                action: Action::OperatorSessionsEnd,
                target: target(&session.operator),
                detail: None,
                origin,
            };
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Reads a session's record together with that of its token.
    async fn read_session(
        &self,
        place: &Key,
        now: Timestamp,
    ) -> Result<(Snapshot, Stored<Arc<OperatorSessionRecord>>), Failure<NoSession>> {
        let token = |session: &OperatorSessionRecord| vec![token_place(&session.token)];
        let plan = ReadPlan::new([place.clone()]).then(next_keys(place.clone(), token));
        let read = self.store.read(plan, now).await?;
        let kept = read.get_shared(place)?.ok_or(NONE)?;
        Ok((read, kept))
    }

    async fn refuse(
        &self,
        why: SignInError,
        of: Option<&OperatorSession>,
        origin: &Origin,
    ) -> Failure<SignInError> {
        let (action, target, origin) = match of {
            None => (
                Action::OperatorSessionBegin,
                Target::OperatorToken(None),
                origin.clone(),
            ),
            Some(session) => (
                Action::OperatorSessionConfirm,
                target(&session.operator),
                origin.by(session.operator.who.clone()),
            ),
        };
        let new_event = NewEvent {
            action,
            target,
            detail: Some(why.to_string()),
            origin: &origin,
        };
        self.audit.refused(new_event).await;
        Failure::Refused(why)
    }
}

/// Returns the operator of a session, if the session and its token are valid.
fn operator_in(
    read: &Snapshot,
    session: &OperatorSessionRecord,
) -> Result<Operator, Failure<NoSession>> {
    let place = token_place(&session.token);
    let token = read.get_shared::<OperatorTokenRecord>(&place)?;
    let token = token.filter(|token| token.record.sessions == session.generation);
    let token = token.ok_or(NONE)?;
    Ok(operator_of(&place, &token, Prefetched::default()))
}

/// Returns the token of a session as an audit target.
fn target(operator: &Operator) -> Target {
    let id = match &operator.who {
        Principal::Operator { token, .. } => Some(token.clone()),
        _ => None,
    };
    Target::OperatorToken(id)
}

impl fmt::Display for OperatorSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operator.who.fmt(f)
    }
}
