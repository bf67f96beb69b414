//! Login to an instance by its password, for a token.

use std::time::Duration;

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
    Action, Failure, HashingError, Origin, StorageError,
    access::PresentedPassword,
    audit::{NewEvent, Target},
    storage::{Attempt, refuse, transact},
};

/// The audit detail for a wrong password.
const WRONG: &str = "wrong name or password";

/// The audit detail for a password that was not verified.
const UNJUDGED: &str = "too many failures";

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// There is no such instance.
    #[error("there is no such instance")]
    InstanceUnknown,
    /// Too many failures: this was the last one allowed, or the password was not verified.
    #[error("too many failures")]
    Locked {
        /// How long to wait before a retry.
        wait: Duration,
    },
    /// The name or the password is wrong, or the instance has no password.
    #[error("wrong name or password")]
    Refused,
}

impl OtpDevices {
    /// Logs in to an instance with its password. The user name must be the instance's name.
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
        let password = PresentedPassword::new(password);
        let settled = transact("otp_devices.log_in", &self.store, || async {
            let (stored, guesses) = self.guessable(instance, origin).await?;
            // A wrong name takes as long as a wrong password.
            let hash = stored.record.password.as_deref();
            let hash = hash.filter(|_| user_name == instance);
            let judged = password.verdict(&self.hashing, self.turn(origin), hash);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            self.count(stored, &guesses, judged, origin).await
        });
        let stored = settled.await?;
        let generation = stored.record.generation;
        self.rehash(stored, password, origin).await;
        Ok(Issuer::by_password(instance, generation, origin))
    }

    /// Counts the result of a verified password.
    async fn count(
        &self,
        instance: Stored<Instance>,
        guesses: &Guesses,
        judged: Password,
        origin: &Origin,
    ) -> Result<Attempt<Stored<Instance>, LoginError>, Failure<LoginError>> {
        let name = &*instance.record.name;
        let records = guesses.records(name);
        let decision = records.begin_login(judged, client(origin), guesses.at(), &self.policy);
        let mut batch = self.store.batch(guesses.now);
        batch.require(&instance_key(name), instance.version);
        guesses.save(&mut batch, &decision.next);
        let (why, until) = match decision.verdict {
            Ok(_) => return Ok(Attempt::Commit(batch, Ok(instance))),
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
        let new_event = failed(name, why, origin);
        self.audit
            .counted(&mut batch, guesses.now, new_event)
            .await?;
        let refusal = match until {
            Some(until) => LoginError::Locked {
                wait: guesses.wait(until),
            },
            None => LoginError::Refused,
        };
        Ok(Attempt::Commit(batch, Err(refusal)))
    }

    /// Returns the instance, which has a password, and its counters, if the client is not locked out.
    async fn guessable(
        &self,
        instance: &str,
        origin: &Origin,
    ) -> Result<(Stored<Instance>, Guesses), Failure<LoginError>> {
        let found = self.guarded(instance, self.clock.now()).await?;
        let (stored, guesses) = found.ok_or(Failure::Refused(LoginError::InstanceUnknown))?;
        // Not hashed, as there is no password to guess, and this is no secret.
        if stored.record.password.is_none() {
            self.audit.refused(failed(instance, WRONG, origin)).await;
            return refuse(LoginError::Refused);
        }
        let admitted = guesses
            .records(instance)
            .check_lockout(client(origin), guesses.at());
        if let Err(locked) = admitted {
            self.locks.refused();
            self.audit.refused(failed(instance, UNJUDGED, origin)).await;
            let wait = guesses.wait(locked.until);
            return refuse(LoginError::Locked { wait });
        }
        Ok((stored, guesses))
    }

    /// Hashes the password again if the configured cost has changed. The login succeeds even if this fails.
    async fn rehash(&self, stored: Stored<Instance>, password: PresentedPassword, origin: &Origin) {
        let instance = stored.record.name.clone();
        if let Err(error) = self.hash_anew(stored, password, origin).await {
            tracing::info!(instance, %error, "the password keeps its old hash for now");
        }
    }

    async fn hash_anew(
        &self,
        stored: Stored<Instance>,
        password: PresentedPassword,
        origin: &Origin,
    ) -> Result<(), Failure<HashingError>> {
        let (turn, entropy) = (self.turn(origin), self.store.entropy());
        let hash = password.hashed_anew(&self.hashing, turn, entropy).await?;
        if hash.is_none() {
            return Ok(());
        }
        let place = instance_key(&stored.record.name);
        let next = Instance {
            password: hash,
            ..stored.record
        };
        let mut batch = self.store.batch(self.clock.now());
        batch.replace(&place, stored.version, &next, None);
        let committed = self.store.commit(batch).await;
        Ok(committed.map_err(StorageError::from)?)
    }
}

/// Returns the audit event of a failed login.
fn failed<'a>(instance: &str, why: &str, origin: &'a Origin) -> NewEvent<'a> {
    NewEvent {
        action: Action::LoginTokenIssue,
        target: Target::Instance(instance.to_owned()),
        detail: Some(why.to_owned()),
        origin,
    }
}
