//! Changing a user's own password.

use std::sync::OnceLock;

use keyproof_auth::{NewPasswordError, check_new_password};
use zeroize::Zeroizing;

use super::{
    Accounts, PasswordRefused, Person, SessionRefused, events::new_event, password::shown,
    records::User,
};
use crate::{
    Action, Failure,
    storage::{Attempt, require_body},
};

/// The detail of the audit event about tokens.
const TOKENS_STAY: &str = "all tokens end but application tokens, which stay";

/// A change from the current password to a new one.
pub struct PasswordChange {
    /// The current password.
    pub old: Zeroizing<String>,
    /// The new password.
    pub new: Zeroizing<String>,
}

/// The error when a user's own password is not changed. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangePasswordError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// The new password is not allowed.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The current password was not accepted.
    #[error(transparent)]
    PasswordRefused(#[from] PasswordRefused),
}

impl Accounts {
    /// Sets a person's own password and ends all their tokens, challenges and trusted devices. Application tokens stay valid, so
    /// that programs continue when people change their passwords. An unreadable body is reported only to a session that may
    /// change it.
    ///
    /// # Errors
    ///
    /// [`ChangePasswordError`].
    pub async fn change_password<B: Clone>(
        &self,
        person: &Person,
        passwords: Result<PasswordChange, B>,
    ) -> Result<(), Failure<ChangePasswordError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let passwords = passwords.map(|PasswordChange { old, new }| (shown(old), new));
        let hash = OnceLock::new();
        self.transact_for(person, "accounts.change_password", || async {
            let (account, user) = self.authorized(person, Action::UserSetPassword).await?;
            let (old, new) = require_body(&passwords, ChangePasswordError::Body)?;
            check_new_password(new)
                .map_err(|error| Failure::Refused(ChangePasswordError::Password(error)))?;
            let (action, theirs) = (Action::UserSetPassword, (&account, &user));
            let judged = self.password_in_session(person, action, theirs, old);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let unhashed = |why| Failure::Refused(ChangePasswordError::PasswordRefused(why));
            let records = account.records();
            let decision =
                records.confirm_password(judged, session.counter(), account.at(), &self.policy);
            let (why, error) = match decision.verdict {
                Ok(()) => {
                    let Some(password) = hash.get().cloned() else {
                        let hashed = self.hash_password(new.clone(), origin).await;
                        let hashed = hashed.map_err(|error| unhashed(error.into()))?;
                        hash.get_or_init(|| hashed);
                        return Ok(Attempt::Again);
                    };
                    let next = decision.next.after_password_change();
                    let renewed = User {
                        password,
                        generation: next.user.generation(),
                        ..user.clone()
                    };
                    let mut batch = self.store.batch(account.now);
                    account.save_user(&mut batch, next, renewed);
                    let new_event = new_event(action, &user, Some(TOKENS_STAY.to_owned()), origin);
                    self.audit.done(&mut batch, account.now, new_event);
                    return Ok(Attempt::Commit(batch, Ok(())));
                }
                Err(refusal) => account.password_refused(refusal),
            };
            let new_event = self.refused(action, &user, why, origin);
            self.refuse(&account, decision.next, (why, new_event), error)
                .await
        })
        .await
    }
}
