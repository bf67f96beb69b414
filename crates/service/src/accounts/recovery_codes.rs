//! Recovery codes for a lost phone.

use keyproof_mfa::{PasswordRefusal, Proof, RecoveryRefusal};
use zeroize::Zeroizing;

use super::{
    Accounts, PasswordRefused, Person, Reason, SessionRefused, account::Change, events::new_event,
    password::shown,
};
use crate::{
    Action, Failure,
    storage::{Attempt, require_body},
};

/// A request for recovery codes.
pub struct RecoveryCodesRequest {
    /// The user's password.
    pub password: Zeroizing<String>,
    /// A code as for a login, unless it may be left out.
    pub code: Option<Zeroizing<String>>,
}

/// The error when no recovery codes are created. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodesError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// A code is needed beside the password.
    #[error("a code is needed")]
    CodeNeeded,
    /// No key is active that recovery codes could replace.
    #[error("no key is active")]
    NoActiveKey,
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The password was not accepted.
    #[error(transparent)]
    PasswordRefused(#[from] PasswordRefused),
    /// The code is wrong or was used before.
    #[error("wrong code")]
    WrongCode,
}

impl Accounts {
    /// Creates ten recovery codes, which are shown only once. Earlier ones become invalid. This needs a code of the key or an
    /// earlier recovery code. The token that activated the key needs none, once, within five minutes. An unreadable body is
    /// reported only if a key is active.
    ///
    /// # Errors
    ///
    /// [`RecoveryCodesError`].
    pub async fn make_recovery_codes<B: Clone>(
        &self,
        person: &Person,
        request: Result<RecoveryCodesRequest, B>,
    ) -> Result<Vec<Zeroizing<String>>, Failure<RecoveryCodesError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let request =
            request.map(|RecoveryCodesRequest { password, code }| (shown(password), code));
        self.transact_for(person, "accounts.make_recovery_codes", || async {
            let (account, user) = self.authorized(person, Action::RecoveryCodesMake).await?;
            let second_factor = account
                .active_key()
                .ok_or(Failure::Refused(RecoveryCodesError::NoActiveKey))?;
            let (password, code) = require_body(&request, RecoveryCodesError::Body)?;
            let locked = |wait| PasswordRefused::Locked { wait }.into();
            let (action, theirs) = (Action::RecoveryCodesMake, (&account, &user));
            let judged = self.password_in_session(person, action, theirs, password);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let random = Zeroizing::new([(); 10].map(|()| self.random::<10>()));
            let secret = self.secret(account.second_factor.place(), second_factor)?;
            let proof = code.as_ref().map(|text| Proof::Typed {
                text,
                secret: &secret,
            });
            let decision = account.records().make_recovery_codes(
                judged,
                proof.as_ref(),
                session.asking(&user),
                &random,
                account.at(),
                &self.policy,
            );
            let (why, error) = match decision.verdict {
                Ok(codes) => {
                    let mut batch = self.store.batch(account.now);
                    let new_event = new_event(action, &user, None, origin);
                    self.audit.done(&mut batch, account.now, new_event);
                    account.save(&mut batch, decision.next, Change::default());
                    let codes = codes.iter().map(|code| Zeroizing::new(code.to_string()));
                    return Ok(Attempt::Commit(batch, Ok(codes.collect())));
                }
                Err(RecoveryRefusal::CodeNeeded) => {
                    (Reason::CodeMissing, RecoveryCodesError::CodeNeeded)
                }
                Err(RecoveryRefusal::FactorNeeded(_)) => {
                    (Reason::FactorNeeded, SessionRefused::FactorNeeded.into())
                }
                Err(RecoveryRefusal::Locked(lock)) => {
                    (Reason::NotJudged, locked(account.wait(lock.until)))
                }
                Err(RecoveryRefusal::NoActiveKey) => {
                    (Reason::NoActiveKey, RecoveryCodesError::NoActiveKey)
                }
                Err(RecoveryRefusal::Replayed) => (Reason::CodeUsed, RecoveryCodesError::WrongCode),
                Err(RecoveryRefusal::WrongCode(failure)) => (
                    Reason::wrong_code(&failure),
                    account.locked_or(&failure, RecoveryCodesError::WrongCode, locked),
                ),
                Err(RecoveryRefusal::WrongPassword(failure)) => {
                    account.password_refused(PasswordRefusal::WrongPassword(failure))
                }
            };
            let new_event = self.refused(action, &user, why, origin);
            self.refuse(&account, decision.next, (why, new_event), error)
                .await
        })
        .await
    }
}
