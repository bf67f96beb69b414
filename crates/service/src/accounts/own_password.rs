//! Changing a user's own password.

use std::sync::OnceLock;

use keyproof_auth::{AuthError, check_new_password};
use zeroize::Zeroizing;

use super::{Accounts, Person, Undecided, Unproven, deeds::deed, password::shown, records::User};
use crate::{
    Action, Failure,
    storage::{Attempt, said},
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
    Password(#[from] AuthError),
    /// The session may not decide this.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The current password was not accepted.
    #[error(transparent)]
    Unproven(#[from] Unproven),
}

impl Accounts {
    /// Sets a person's own password and ends all their tokens, challenges and trusted devices. Application tokens stay valid, so
    /// that programs continue when people change their passwords. An unreadable body is reported only to a session that may decide.
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
        self.settle_for(person, "accounts.change_password", || async {
            let (account, user) = self.deciding(person, Action::UserSetPassword).await?;
            let (old, new) = said(&passwords, ChangePasswordError::Body)?;
            check_new_password(new)
                .map_err(|error| Failure::Refused(ChangePasswordError::Password(error)))?;
            let (action, theirs) = (Action::UserSetPassword, (&account, &user));
            let judged = self.password_in_session(person, action, theirs, old);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let unhashed = |why| Failure::Refused(ChangePasswordError::Unproven(why));
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
                    let next = decision.next.renew();
                    let renewed = User {
                        password,
                        generation: next.user.generation(),
                        ..user.clone()
                    };
                    let mut batch = self.store.batch(account.now);
                    account.save_user(&mut batch, next, renewed);
                    let deed = deed(action, &user, Some(TOKENS_STAY.to_owned()), origin);
                    self.audit.done(&mut batch, account.now, deed);
                    return Ok(Attempt::Commit(batch, Ok(())));
                }
                Err(refusal) => account.unproven(refusal),
            };
            let deed = self.refused(action, &user, why, origin);
            self.refuse(&account, decision.next, (why, deed), error)
                .await
        })
        .await
    }
}
