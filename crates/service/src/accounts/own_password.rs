//! A user's own new password.

use super::{
    Accounts, Act, Person, Undecided,
    deeds::{UNJUDGED, deed, refused, wrong_password},
    password::ShownPassword,
    records::User,
    snapshot::Change,
    wait,
};
use crate::{
    Action, Failure, HashingError,
    storage::{Attempt, settle},
};
use keyproof_auth::{AuthError, check_new_password};
use keyproof_mfa::PasswordRefusal;
use std::{sync::OnceLock, time::Duration};
use zeroize::Zeroizing;

/// What the audit trail calls it, whoever sets a password.
pub(super) const SET: Action = Act::SetPassword.action();

/// What it is told beside.
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
    /// A password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// The new password cannot be one.
    #[error(transparent)]
    Password(#[from] AuthError),
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The old password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

impl Accounts {
    /// Sets a person's own password; all tokens, challenges and trusted devices of theirs end, but application tokens
    /// stay: programs go on while people change their passwords. What refused the passwords is told only of a session
    /// that may decide.
    ///
    /// # Errors
    /// [`ChangePasswordError`].
    pub async fn change_password<B: Clone>(
        &self,
        person: &Person,
        passwords: Result<PasswordChange, B>,
    ) -> Result<(), Failure<ChangePasswordError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let passwords = passwords.map(|PasswordChange { old, new }| (ShownPassword::new(old), new));
        let hash = OnceLock::new();
        settle("accounts.change_password", &self.store, || async {
            let (snapshot, user) = self.deciding(person, SET).await?;
            let (old, new) = passwords
                .as_ref()
                .map_err(|refused| Failure::Refused(ChangePasswordError::Body(refused.clone())))?;
            check_new_password(new)
                .map_err(|error| Failure::Refused(ChangePasswordError::Password(error)))?;
            let locked = |until| ChangePasswordError::Locked {
                wait: wait(until, snapshot.now),
            };
            let records = snapshot.records();
            if let Err(lock) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(SET, &user, UNJUDGED, origin);
                self.audit.refused(deed).await;
                return Err(Failure::Refused(locked(lock.until)));
            }
            let judged = old.verdict(self, Some(&user.password), origin).await?;
            let Some(judged) = judged else {
                return Ok(Attempt::Again);
            };
            let decision =
                records.confirm_password(judged, session.counter(), snapshot.at(), &self.policy);
            let mut batch = self.store.batch(snapshot.now);
            let verdict = match decision.verdict {
                Ok(()) => {
                    let Some(password) = hash.get().cloned() else {
                        let hashed = self.hash_password(new.clone(), origin).await?;
                        hash.get_or_init(|| hashed);
                        return Ok(Attempt::Again);
                    };
                    let next = decision.next.renew();
                    let renewed = User {
                        password,
                        generation: next.user.generation(),
                        ..user.clone()
                    };
                    snapshot.save_user(&mut batch, &next, renewed);
                    let detail = Some(TOKENS_STAY.to_owned());
                    let deed = deed(SET, &user, detail, origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    Ok(())
                }
                Err(refusal) => {
                    let (why, error) = match refusal {
                        PasswordRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        PasswordRefusal::WrongPassword(failure) => (
                            wrong_password(&failure),
                            failure
                                .locked_until
                                .map_or(ChangePasswordError::WrongPassword, locked),
                        ),
                    };
                    let deed = refused(SET, &user, why, origin);
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    snapshot.save(&mut batch, &decision.next, Change::default());
                    Err(error)
                }
            };
            Ok(Attempt::Commit(batch, verdict))
        })
        .await
    }
}
