//! A user's own new password.

use std::sync::OnceLock;

use keyproof_auth::{AuthError, check_new_password};
use zeroize::Zeroizing;

use super::{Accounts, Person, Undecided, Unproven, deeds::deed, password::shown, records::User};
use crate::{
    Action, Failure,
    storage::{Attempt, said},
};

/// What the audit event says of tokens.
const TOKENS_STAY: &str = "all tokens end but application tokens, which stay";

/// A new password in place of the old one.
pub struct PasswordChange {
    /// The one that was in force.
    pub old: Zeroizing<String>,
    /// The one that is to be.
    pub new: Zeroizing<String>,
}

/// Why a user's own new password was not set. `B` is why there were no passwords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangePasswordError<B> {
    /// The body that was sent is none.
    #[error("the body was refused")]
    Body(B),
    /// The new password cannot be one.
    #[error(transparent)]
    Password(#[from] AuthError),
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The password proves nothing.
    #[error(transparent)]
    Unproven(#[from] Unproven),
}

impl Accounts {
    /// Sets a person's own password; all tokens, challenges and trusted devices of theirs end, but application tokens
    /// stay: programs go on while people change their passwords. What refused the passwords is told only of a session
    /// that may decide.
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
            self.refuse(&account, decision.next, (why, deed), error.into())
                .await
        })
        .await
    }
}
