//! Browser sessions: a login whose token is in a cookie and which the store finds by the token's digest. Each step has its own
//! token: the first step has that of the challenge, and each new authentication starts a session that replaces the one before.

use keyproof_auth::Token;
use keyproof_store::{Batch, ReadPlan, Timestamp};
use zeroize::Zeroizing;

use super::{
    Accounts, AnswerError, FirstStep, LoginError, PasswordLogin, Person, Session, SessionError,
    SessionRefused, TrustRequest,
    access_token::Login,
    events::{new_event, of_user},
    login::{Granted, LoginKind},
    records::{User, UserSessionRecord, user_key, user_session_key},
    session::INVALID,
    session_id::TokenId,
};
use crate::{
    Action, Failure, Origin, StorageError,
    audit::{NewEvent, UserPart},
    session_life::{Confirmed, Found, SessionLifetime, session_for_change},
    slot::{Slot, next_keys},
    storage::{Attempt, transact},
};

/// A user's browser session.
#[derive(Debug)]
pub struct UserSession {
    session: Session,
    /// When the user last logged in completely.
    confirmed: Confirmed,
}

impl UserSession {
    /// Returns the session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the user logged in recently enough for a change that weakens the account.
    pub fn is_fresh(&self) -> bool {
        self.confirmed.is_fresh()
    }
}

impl Accounts {
    /// Verifies a name and password like [`Accounts::login`], for a browser. The new session replaces `before`.
    ///
    /// # Errors
    ///
    /// [`LoginError`].
    pub async fn sign_in(
        &self,
        login: PasswordLogin,
        before: Option<&str>,
        origin: &Origin,
    ) -> Result<FirstStep<Zeroizing<String>>, Failure<LoginError>> {
        let before = before.and_then(|text| Token::parse(text).ok());
        let login_kind = LoginKind::Browser(before.as_ref());
        let (_, granted) = self.judge_password(login, login_kind, origin).await?;
        Ok(match granted {
            Granted::Challenge(token) => FirstStep::Challenged(token.text()),
            Granted::Login(_, token) => FirstStep::Authenticated(token.text()),
        })
    }

    /// Verifies a code like [`Accounts::answer_challenge`], for a browser. Returns the token of the new session, which replaces
    /// `before`.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub async fn answer_in_browser(
        &self,
        challenge: &str,
        code: &str,
        trusts: Option<&TrustRequest>,
        before: Option<&str>,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<AnswerError>> {
        let before = before.and_then(|text| Token::parse(text).ok());
        let login_kind = LoginKind::Browser(before.as_ref());
        let answered = self.judge_answer(challenge, code, trusts, login_kind, origin);
        let (_, _, token) = answered.await?;
        Ok(token.text())
    }

    /// Returns the browser session with this token and counts as a use of it. Call it for each request.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn user_session(&self, text: &str) -> Result<UserSession, Failure<SessionError>> {
        let found = self.session_at(text).await?;
        Ok(found.used(&self.store).await)
    }

    /// Like [`user_session`](Self::user_session), for a change. Call it after the whole request was received, because the change
    /// requires the session's record in the version read here.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn session_for_change(
        &self,
        text: &str,
    ) -> Result<UserSession, Failure<SessionError>> {
        session_for_change(&self.store, || self.session_at(text)).await
    }

    /// Like [`user_session`](Self::user_session), for a page that is accessible to everybody. Does not count as a use.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn peek_session(&self, text: &str) -> Result<UserSession, Failure<SessionError>> {
        Ok(self.session_at(text).await?.session)
    }

    /// Whether the session is live by every server's clock, or only by this one's. Does not count as a use.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the session is not live.
    pub async fn session_is_live(&self, text: &str) -> Result<bool, Failure<SessionError>> {
        Ok(self.session_at(text).await?.is_live())
    }

    /// Returns the session and its record without counting a use.
    async fn session_at(
        &self,
        text: &str,
    ) -> Result<Found<UserSession, UserSessionRecord>, Failure<SessionError>> {
        let token = Token::parse(text).map_err(|_| INVALID)?;
        let place = user_session_key(&token);
        let user = |kept: &UserSessionRecord| vec![user_key(kept.owner)];
        let plan = ReadPlan::new([place.clone()]).then(next_keys(place.clone(), user));
        let reading = self.read_plan(plan).await?;
        let slot: Slot<UserSessionRecord> = Slot::of(&reading, place.clone())?;
        let warrant = slot.warrant();
        let kept = slot.stored.ok_or(INVALID)?;
        let record = &*kept.record;
        let user: Slot<User> = Slot::of(&reading, user_key(record.owner))?;
        let user = user.into_record().ok_or(INVALID)?;
        let session = Session::of_browser(record, warrant, &user);
        if !session.is_of(&user) {
            return Err(INVALID);
        }
        let confirmed = Confirmed {
            at: record.logged_in_at,
            read_at: reading.now(),
        };
        Ok(Found {
            session: UserSession { session, confirmed },
            place,
            kept,
            read_at: reading.now(),
        })
    }

    /// Ends a browser session. A session that has already ended is not an error.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn sign_out(&self, text: &str, origin: &Origin) -> Result<(), Failure<SessionError>> {
        let Ok(token) = Token::parse(text) else {
            return Ok(());
        };
        transact("accounts.sign_out", &self.store, || async {
            let found = match self.session_at(text).await {
                Err(Failure::Refused(_)) => {
                    let (place, now) = (user_session_key(&token), self.clock.now());
                    let kept = Slot::<UserSessionRecord>::read(&self.store, place, now).await?;
                    let mut batch = self.store.batch(now);
                    // The commit that ended it may not be durable, and the session may come back after a failover.
                    kept.remove_as_read(&mut batch);
                    return Ok(Attempt::Commit(batch, Ok(())));
                }
                found => found?,
            };
            let session = found.session.session;
            let mut batch = self.store.batch(found.read_at);
            batch.remove(&found.place, found.kept.version);
            let origin = session.origin(origin);
            let new_event = NewEvent {
                action: Action::UserSessionEnd,
                target: of_user(session.owner, UserPart::Session(session.sid().to_string())),
                detail: None,
                origin: &origin,
            };
            self.audit.done(&mut batch, found.read_at, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Ends all sessions and tokens of a person except this browser session, which gets a new token. Application tokens stay valid.
    ///
    /// # Errors
    ///
    /// [`SessionRefused`].
    pub async fn end_other_sessions(
        &self,
        person: &Person,
        text: &str,
    ) -> Result<Zeroizing<String>, Failure<SessionRefused>> {
        const ENDED: Failure<SessionRefused> = Failure::Refused(SessionRefused::Ended);
        let token = Token::parse(text).map_err(|_| ENDED)?;
        let place = user_session_key(&token);
        self.transact_for(person, "accounts.end_other_sessions", || async {
            let action = Action::UserSessionsEnd;
            let decided = self.authorized_with::<SessionRefused>(person, action, [place.clone()]);
            let (own, user, reading) = decided.await?;
            let kept: Slot<UserSessionRecord> = Slot::of(&reading, place.clone())?;
            let record = kept.record().ok_or(ENDED)?;
            // A session that activated the current key has presented a code of it.
            let by = user.activation.and_then(|activation| {
                let is_own = activation.by == Some(record.token);
                let is_present = activation.key_changes == user.key_changes;
                activation.by.filter(|_| is_own && is_present)
            });
            let changed = user.clone().ending_sessions(by);
            let next = UserSessionRecord {
                key_changes: changed.key_changes,
                // A factor of an earlier key does not count for the current one.
                shown: record
                    .shown
                    .filter(|_| record.key_changes == user.key_changes),
                ..record.clone()
            };
            let mut batch = self.store.batch(reading.now());
            own.replace(&mut batch, &changed, None);
            kept.remove(&mut batch);
            let token = self.draw_token(reading.now());
            let ends = next.life.ends_at();
            batch.insert(&user_session_key(&token), &next, Some(ends));
            let new_event = new_event(action, &user, None, person.origin());
            self.audit.done(&mut batch, reading.now(), new_event);
            Ok(Attempt::Commit(batch, Ok(token.text())))
        })
        .await
    }

    /// Gives a browser session a new token. The earlier token becomes invalid.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn renew_user_session(
        &self,
        text: &str,
    ) -> Result<Zeroizing<String>, Failure<SessionError>> {
        let before = Token::parse(text).map_err(|_| INVALID)?;
        let place = user_session_key(&before);
        transact("accounts.renew_user_session", &self.store, || async {
            let reading = self.read([place.clone()]).await?;
            let kept: Slot<UserSessionRecord> = Slot::of(&reading, place.clone())?;
            let record = kept.record().ok_or(INVALID)?;
            let mut batch = self.store.batch(reading.now());
            kept.remove(&mut batch);
            let token = self.draw_token(reading.now());
            let ends = record.life.ends_at();
            batch.insert(&user_session_key(&token), record, Some(ends));
            Ok(Attempt::Commit(batch, Ok(token.text())))
        })
        .await
    }

    /// Adds a browser session that replaces this one.
    pub(super) async fn add_user_session(
        &self,
        batch: &mut Batch,
        user: &User,
        login: &Login,
        before: Option<&Token>,
        now: Timestamp,
    ) -> Result<Token, StorageError> {
        let token = self.draw_token(now);
        let record = UserSessionRecord {
            owner: user.owner(),
            generation: user.generation,
            key_changes: user.key_changes,
            sid: login.sid,
            token: TokenId::from_random(self.random()),
            shown: login.shown,
            logged_in_at: now,
            life: SessionLifetime::begin(now),
        };
        let ends = record.life.ends_at();
        batch.insert(&user_session_key(&token), &record, Some(ends));
        if let Some(before) = before {
            let place = user_session_key(before);
            let kept = Slot::<UserSessionRecord>::read(&self.store, place, now).await?;
            kept.remove(batch);
        }
        Ok(token)
    }
}
