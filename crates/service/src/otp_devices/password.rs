//! The password of an instance, which gives whoever knows it a token.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyproof_mfa::{Password, PasswordRefusal};
use keyproof_store::Stored;
use zeroize::Zeroizing;

use super::{
    OtpDevices,
    guesses::{Guesses, client},
    records::{Instance, instance_key},
    tokens::Issuer,
};
use crate::{
    Action, Failure, HashingError, Origin, PasswordVerdict, StorageError,
    audit::{Deed, Target},
    storage::{Attempt, refuse, settle},
};

/// What the audit trail is told of a wrong password.
const WRONG: &str = "wrong name or password";

/// What it is told of one that was not judged.
const UNJUDGED: &str = "too many failures";

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
}

/// An instance whose password may be guessed at now.
struct Guessable {
    instance: Stored<Instance>,
    hash: String,
    guesses: Guesses,
}

impl OtpDevices {
    /// Whoever knows the password of this instance. Its name is the user name as well.
    ///
    /// # Errors
    ///
    /// [`LoginError`].
    pub async fn log_in(
        &self,
        instance: &str,
        user_name: &str,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<Issuer, Failure<LoginError>> {
        // The hash that it was compared with last, and what came of it: judging is slow, so that it is done again for
        // another hash alone.
        let judged = Mutex::new(None::<(String, PasswordVerdict)>);
        let judged = || judged.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = settle("otp_devices.log_in", &self.store, || async {
            let guessable = self.guessable(instance, origin).await?;
            let verdict = judged().clone();
            let verdict = verdict.filter(|(with, _)| *with == guessable.hash);
            let Some((_, verdict)) = verdict else {
                // A wrong name costs what a wrong password does.
                let hash = Some(&*guessable.hash).filter(|_| user_name == instance);
                let turn = self.turn(origin);
                let verdict = self.hashing.verify(turn, hash, password.clone()).await?;
                *judged() = Some((guessable.hash, verdict));
                // Judging takes a while: what it rests on is read again.
                return Ok(Attempt::Again);
            };
            self.count(guessable, verdict, origin).await
        });
        let (stored, verdict) = settled.await?;
        let generation = stored.record.generation;
        if let PasswordVerdict::Accepted { needs_rehash: true } = verdict {
            self.rehash(stored, password, origin).await;
        }
        Ok(Issuer::by_password(instance, generation, origin))
    }

    /// Counts a judged password, wrong or right.
    async fn count(
        &self,
        guessable: Guessable,
        verdict: PasswordVerdict,
        origin: &Origin,
    ) -> Result<Attempt<(Stored<Instance>, PasswordVerdict), LoginError>, Failure<LoginError>> {
        let Guessable {
            instance, guesses, ..
        } = guessable;
        let name = &*instance.record.name;
        let found = match verdict {
            PasswordVerdict::Accepted { .. } => Password::Correct,
            PasswordVerdict::Refused => Password::Wrong,
        };
        let records = guesses.records(name);
        let decision = records.begin_login(found, client(origin), guesses.at(), &self.policy);
        let mut batch = self.store.batch(guesses.read_at());
        batch.require(&instance_key(name), instance.version);
        guesses.save(&mut batch, &decision.next);
        let (why, until) = match decision.verdict {
            Ok(_) => return Ok(Attempt::Commit(batch, Ok((instance, verdict)))),
            Err(PasswordRefusal::Locked(locked)) => {
                self.locks.refused();
                (UNJUDGED, Some(locked.until))
            }
            Err(PasswordRefusal::WrongPassword(failure)) => {
                if failure.locked_until.is_some() {
                    self.locks.begins(&mut batch);
                }
                (WRONG, failure.locked_until)
            }
        };
        let deed = failed(name, why, origin);
        self.audit
            .counted(&mut batch, guesses.read_at(), deed)
            .await?;
        let refusal = match until {
            Some(until) => LoginError::Locked {
                wait: guesses.wait(until),
            },
            None => LoginError::Refused,
        };
        Ok(Attempt::Commit(batch, Err(refusal)))
    }

    /// The instance, if there is a password to guess at and whoever asks may.
    async fn guessable(
        &self,
        instance: &str,
        origin: &Origin,
    ) -> Result<Guessable, Failure<LoginError>> {
        let found = self.guarded(instance, self.clock.now()).await?;
        let (stored, guesses) = found.ok_or(Failure::Refused(LoginError::InstanceUnknown))?;
        // There is nothing to guess, and it is no secret: so nothing is hashed either.
        let Some(hash) = stored.record.password.clone() else {
            self.audit.refused(failed(instance, WRONG, origin)).await;
            return refuse(LoginError::Refused);
        };
        let admitted = guesses
            .records(instance)
            .admit(client(origin), guesses.at());
        if let Err(locked) = admitted {
            self.locks.refused();
            self.audit.refused(failed(instance, UNJUDGED, origin)).await;
            let wait = guesses.wait(locked.until);
            return refuse(LoginError::Locked { wait });
        }
        Ok(Guessable {
            instance: stored,
            hash,
            guesses,
        })
    }

    /// Stores the password under the cost in force, while it is at hand. The login does not depend on it.
    async fn rehash(&self, stored: Stored<Instance>, password: Zeroizing<String>, origin: &Origin) {
        let instance = stored.record.name.clone();
        if let Err(error) = self.hash_anew(stored, password, origin).await {
            tracing::info!(instance, %error, "the password keeps its older hash for now");
        }
    }

    async fn hash_anew(
        &self,
        stored: Stored<Instance>,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<(), Failure<HashingError>> {
        let turn = self.turn(origin);
        let entropy = self.store.entropy();
        let hash = self.hashing.hash(turn, password, entropy).await?;
        let place = instance_key(&stored.record.name);
        let next = Instance {
            password: Some(hash),
            ..stored.record
        };
        let mut batch = self.store.batch(self.clock.now());
        batch.replace(&place, stored.version, &next, None);
        let committed = self.store.commit(batch).await;
        Ok(committed.map_err(StorageError::from)?)
    }
}

/// A failed login in the audit trail.
fn failed<'a>(instance: &str, why: &str, origin: &'a Origin) -> Deed<'a> {
    Deed {
        action: Action::LoginTokenIssue,
        target: Target::Instance(instance.to_owned()),
        detail: Some(why.to_owned()),
        origin,
    }
}
