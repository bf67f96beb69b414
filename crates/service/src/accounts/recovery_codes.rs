//! Recovery codes, for when a phone is lost.

use super::{
    Accounts, Act, Person, Undecided,
    deeds::{UNJUDGED, USED_CODE, deed, refused, wrong_code, wrong_password},
    password::ShownPassword,
    snapshot::Change,
    wait,
};
use crate::{
    Action, Failure, HashingError,
    storage::{Attempt, settle},
};
use keyproof_mfa::{Proof, RecoveryRefusal};
use std::time::Duration;
use zeroize::Zeroizing;

/// What the audit trail calls what is done here.
const MAKE: Action = Act::MakeRecoveryCodes.action();

/// What recovery codes cost.
pub struct RecoveryCodesRequest {
    /// The user's password.
    pub password: Zeroizing<String>,
    /// A code as a login has it, where it may not be left out.
    pub code: Option<Zeroizing<String>>,
}

/// Why no recovery codes were made. `B` is why there was no request to make them by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodesError<B> {
    /// The body that was sent is none.
    #[error("the body was refused")]
    Body(B),
    /// A code is needed beside the password.
    #[error("a code is needed")]
    CodeNeeded,
    /// The password could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// No key is active that they could stand in for.
    #[error("no key is active")]
    NoActiveKey,
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The code is wrong, or used.
    #[error("wrong code")]
    WrongCode,
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

impl Accounts {
    /// Makes ten recovery codes, shown once; those of before are good no more. It costs a code of the key, or one of
    /// those of before; but for the token that has activated the key, once, within five minutes. What refused the request
    /// is told only where a key is active.
    ///
    /// # Errors
    /// [`RecoveryCodesError`].
    pub async fn make_recovery_codes<B: Clone>(
        &self,
        person: &Person,
        request: Result<RecoveryCodesRequest, B>,
    ) -> Result<Vec<Zeroizing<String>>, Failure<RecoveryCodesError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let request = request
            .map(|RecoveryCodesRequest { password, code }| (ShownPassword::new(password), code));
        settle("accounts.make_recovery_codes", &self.store, || async {
            let (snapshot, user) = self.deciding(person, MAKE).await?;
            let locked = |until| RecoveryCodesError::Locked {
                wait: wait(until, snapshot.now),
            };
            let second_factor = snapshot
                .active_key()
                .ok_or(Failure::Refused(RecoveryCodesError::NoActiveKey))?;
            let (password, code) = request
                .as_ref()
                .map_err(|refused| Failure::Refused(RecoveryCodesError::Body(refused.clone())))?;
            let records = snapshot.records();
            if let Err(lock) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(MAKE, &user, UNJUDGED, origin);
                self.audit.refused(deed).await;
                return Err(Failure::Refused(locked(lock.until)));
            }
            let judged = password.verdict(self, Some(&user.password), origin);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let random = Zeroizing::new([(); 10].map(|()| self.random::<10>()));
            let secret = self.secret(session.owner, second_factor)?;
            let proof = code.as_ref().map(|text| Proof::Typed {
                text,
                secret: &secret,
            });
            let decision = records.make_recovery_codes(
                judged,
                proof.as_ref(),
                session.asking(&user),
                &random,
                snapshot.at(),
                &self.policy,
            );
            let mut batch = self.store.batch(snapshot.now);
            let verdict = match decision.verdict {
                Ok(codes) => {
                    let deed = deed(MAKE, &user, None, origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    Ok(codes
                        .iter()
                        .map(|code| Zeroizing::new(code.to_string()))
                        .collect())
                }
                Err(refusal) => {
                    let (why, error) = match refusal {
                        RecoveryRefusal::CodeNeeded => {
                            ("no MFA code", RecoveryCodesError::CodeNeeded)
                        }
                        RecoveryRefusal::FactorNeeded(_) => {
                            ("no factor was shown", Undecided::FactorNeeded.into())
                        }
                        RecoveryRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        RecoveryRefusal::NoActiveKey => {
                            ("no key is active", RecoveryCodesError::NoActiveKey)
                        }
                        RecoveryRefusal::Replayed => (USED_CODE, RecoveryCodesError::WrongCode),
                        RecoveryRefusal::WrongCode(failure) => (
                            wrong_code(&failure),
                            failure
                                .locked_until
                                .map_or(RecoveryCodesError::WrongCode, locked),
                        ),
                        RecoveryRefusal::WrongPassword(failure) => (
                            wrong_password(&failure),
                            failure
                                .locked_until
                                .map_or(RecoveryCodesError::WrongPassword, locked),
                        ),
                    };
                    let deed = refused(MAKE, &user, why, origin);
                    if snapshot.is_unchanged(&decision.next) {
                        self.audit.refused(deed).await;
                        return Err(Failure::Refused(error));
                    }
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, Change::default());
            Ok(Attempt::Commit(batch, verdict))
        })
        .await
    }
}
