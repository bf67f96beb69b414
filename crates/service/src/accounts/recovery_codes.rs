//! Recovery codes, for when a phone is lost.

use super::{
    Accounts, Act, KeySummary, Session, Undecided,
    deeds::{UNJUDGED, USED_CODE, deed, refused, wrong_code, wrong_password},
    password::ShownPassword,
    snapshot::Change,
    wait,
};
use crate::{
    Failure, HashingError, Origin,
    storage::{Attempt, settle},
};
use keyproof_mfa::{Proof, RecoveryRefusal};
use std::time::Duration;
use zeroize::Zeroizing;

/// What the audit trail calls what is done here.
const MAKE: &str = Act::MakeRecoveryCodes.action();

/// Why no recovery codes were made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodesError {
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
    /// Could recovery codes be made? To be asked before what else the request says is looked at.
    ///
    /// # Errors
    /// [`RecoveryCodesError::NoActiveKey`], and those of every use case.
    pub async fn check_recovery_codes(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<(), Failure<RecoveryCodesError>> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, MAKE, &origin).await?;
        match KeySummary::active(&snapshot) {
            Some(_) => Ok(()),
            None => Err(Failure::Refused(RecoveryCodesError::NoActiveKey)),
        }
    }

    /// Makes ten recovery codes, shown once; those of before are good no more. It costs a code of the key, or one of
    /// those of before; but for the token that has activated the key, once, within five minutes.
    ///
    /// # Errors
    /// [`RecoveryCodesError`].
    pub async fn make_recovery_codes(
        &self,
        session: &Session,
        password: Zeroizing<String>,
        code: Option<&str>,
        origin: &Origin,
    ) -> Result<Vec<Zeroizing<String>>, Failure<RecoveryCodesError>> {
        let origin = session.origin(origin);
        let password = ShownPassword::new(password);
        settle("accounts.make_recovery_codes", &self.store, || async {
            let (snapshot, user) = self.deciding(session, MAKE, &origin).await?;
            let locked = |until| RecoveryCodesError::Locked {
                wait: wait(until, snapshot.now),
            };
            if KeySummary::active(&snapshot).is_none() {
                return Err(Failure::Refused(RecoveryCodesError::NoActiveKey));
            }
            let records = snapshot.records();
            if let Err(lock) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(MAKE, &user, UNJUDGED, &origin);
                self.audit.refused(deed).await;
                return Err(Failure::Refused(locked(lock.until)));
            }
            let judged = password.verdict(self, Some(&user.password), &origin);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let random = Zeroizing::new([(); 10].map(|()| self.random::<10>()));
            let second_factor = snapshot.second_factor.as_ref();
            let second_factor =
                second_factor.ok_or(Failure::Refused(RecoveryCodesError::NoActiveKey))?;
            let secret = self.secret(session.owner, &second_factor.record)?;
            let proof = code.map(|text| Proof::Typed {
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
                    let deed = deed(MAKE, &user, None, &origin);
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
                    let deed = refused(MAKE, &user, why, &origin);
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
