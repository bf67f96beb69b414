//! Logging in: a password first, then, unless the device is trusted, the second factor.

use thiserror::Error;

use crate::key::Proof;
use crate::totp::Wrong;
use crate::{
    Challenge, ChallengeOver, Counter, Decision, DeviceId, Devices, Failure, Fingerprint, Locked,
    Lockout, NewDevice, Policy, RecoveryCode, Trusted, UnixMillis, UserRecords,
};

/// What the caller's own check of a password has found. Nobody's password is `Wrong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Password {
    /// It is the user's.
    Correct,
    /// It is not.
    Wrong,
}

/// What an accepted password leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstFactor {
    /// The user is logged in: no key is active.
    Authenticated,
    /// The user is logged in: the device is trusted.
    AuthenticatedByDevice(DeviceId),
    /// The second factor is asked for; the challenge is in [`UserRecords::challenge`].
    Challenged,
}

/// The user is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authenticated {
    /// By what, beside the password.
    pub factor: Factor,
    /// The device that is trusted from now on, if that was asked for.
    pub trusted: Option<Trusted>,
}

/// What was shown as a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Factor {
    /// A code of the key.
    Key,
    /// A recovery code. To be told to the user, and kept in an audit trail.
    RecoveryCode {
        /// How many are left.
        left: usize,
    },
}

/// Why a password got no further. Exhaustive, as all refusals are: what to answer to a new one is
/// for each caller to decide.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum PasswordRefusal {
    /// Neither judged nor counted.
    #[error(transparent)]
    Locked(Locked),
    /// Counted.
    #[error("wrong password")]
    WrongPassword(Failure),
}

/// Why a second factor was not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// The challenge cannot be answered any more: neither judged nor counted.
    #[error(transparent)]
    ChallengeOver(ChallengeOver),
    /// Neither judged nor counted.
    #[error(transparent)]
    Locked(Locked),
    /// A right code, of a step that is spent; or a used recovery code. Not counted: the twins of a
    /// request that won do not lock its user out.
    #[error("the code has been used")]
    Replayed,
    /// Counted. The challenge can still be answered, unless this failure was the last.
    #[error("wrong code")]
    WrongCode(Failure),
}

impl UserRecords {
    /// Step one: a password, perhaps with the fingerprint of a device.
    ///
    /// A trusted device's failures are counted for it alone, and it logs in although the user is
    /// locked elsewhere. A right password that leads to a challenge does not end the user's count.
    pub fn begin_login(
        mut self,
        password: Password,
        fingerprint: Option<&Fingerprint>,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<FirstFactor, PasswordRefusal> {
        let counter = self.counter(fingerprint, now);
        if let Err(refusal) = self.judge_password(password, counter, now, policy) {
            return self.decided(Err(refusal));
        }
        let outcome = match (counter, self.active_generation()) {
            (Counter::Device(id), _) => {
                self.succeed(counter, now, policy);
                FirstFactor::AuthenticatedByDevice(id)
            }
            (Counter::User, None) => {
                self.succeed(counter, now, policy);
                FirstFactor::Authenticated
            }
            (Counter::User, Some(key)) => {
                let expires_at = now.saturating_add(policy.challenge_lifetime);
                self.lockout = self.lockout.map(|lockout| lockout.outliving(expires_at));
                self.challenge = Some(Challenge {
                    user: self.user,
                    key,
                    locks: self.locks(now),
                    expires_at,
                });
                FirstFactor::Challenged
            }
        };
        self.decided(Ok(outcome))
    }

    /// Step two: the answer to [`UserRecords::challenge`]; and the device to trust if it is right.
    ///
    /// While the user is locked this says so, whatever the challenge. A challenge that is over or
    /// answered is gone from [`Decision::next`].
    pub fn answer_challenge(
        mut self,
        proof: &Proof<'_>,
        trust: Option<NewDevice>,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<Authenticated, LoginRefusal> {
        if let Err(locked) = self.unlocked(Counter::User, now) {
            return self.decided(Err(LoginRefusal::Locked(locked)));
        }
        if let Err(over) = self.open_challenge(now) {
            self.challenge = None;
            return self.decided(Err(LoginRefusal::ChallengeOver(over)));
        }
        let verdict = match self.judge_proof(proof, now) {
            Ok(factor) => {
                self.challenge = None;
                self.succeed(Counter::User, now, policy);
                let trusted = trust.and_then(|device| self.trust(device, now, policy));
                Ok(Authenticated { factor, trusted })
            }
            Err(Wrong::Replayed) => Err(LoginRefusal::Replayed),
            Err(Wrong::Code) => Err(LoginRefusal::WrongCode(self.fail(
                Counter::User,
                now,
                policy,
            ))),
        };
        self.decided(verdict)
    }

    /// Checks the password that somebody who is logged in was asked for again, before something
    /// that these records do not know of. It ends no count.
    pub fn confirm_password(
        mut self,
        password: Password,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<(), PasswordRefusal> {
        let verdict = self.judge_password(password, Counter::User, now, policy);
        self.decided(verdict)
    }

    fn open_challenge(&self, now: UnixMillis) -> Result<(), ChallengeOver> {
        self.challenge.ok_or(ChallengeOver::Unknown)?.check(
            self.user,
            self.active_generation(),
            self.locks(now),
            now,
        )
    }

    /// Spends what the proof shows: a step of the key, or a recovery code.
    pub(crate) fn judge_proof(
        &mut self,
        proof: &Proof<'_>,
        now: UnixMillis,
    ) -> Result<Factor, Wrong> {
        let key = self.active_key().ok_or(Wrong::Code)?;
        let Proof::Typed { text, .. } = proof;
        // No code of a key is as long as a recovery code.
        let Ok(code) = RecoveryCode::parse(text) else {
            self.key = Some(key.accept(proof, now)?);
            return Ok(Factor::Key);
        };
        let recovery = self
            .recovery
            .as_ref()
            .filter(|codes| codes.key == key.generation())
            .ok_or(Wrong::Code)?
            .accept(&code, now)?;
        let left = recovery.left();
        self.recovery = Some(recovery);
        Ok(Factor::RecoveryCode { left })
    }

    fn trust(&mut self, device: NewDevice, now: UnixMillis, policy: &Policy) -> Option<Trusted> {
        let key = self.active_generation()?;
        let devices = self.bound_devices().cloned();
        let mut devices = devices.unwrap_or_else(|| Devices::new(self.user, key));
        let trusted = devices.trust(device, now, policy);
        self.devices = Some(devices);
        Some(trusted)
    }

    pub(crate) fn judge_password(
        &mut self,
        password: Password,
        counter: Counter,
        now: UnixMillis,
        policy: &Policy,
    ) -> Result<(), PasswordRefusal> {
        self.unlocked(counter, now)
            .map_err(PasswordRefusal::Locked)?;
        match password {
            Password::Correct => {
                // Of a device, the record of the devices is there to conflict over.
                if counter == Counter::User {
                    self.lockout = Some(Lockout::witnessed(self.lockout, now, policy));
                }
                Ok(())
            }
            Password::Wrong => Err(PasswordRefusal::WrongPassword(
                self.fail(counter, now, policy),
            )),
        }
    }

    pub(crate) fn unlocked(&self, counter: Counter, now: UnixMillis) -> Result<(), Locked> {
        let lockout = match counter {
            Counter::User => self.lockout,
            Counter::Device(id) => self
                .bound_devices()
                .and_then(|devices| devices.live(now).find(|device| device.id == id))
                .and_then(|device| device.lockout),
        };
        match lockout.and_then(|lockout| lockout.locked_until(now)) {
            Some(until) => Err(Locked { counter, until }),
            None => Ok(()),
        }
    }

    pub(crate) fn fail(&mut self, counter: Counter, now: UnixMillis, policy: &Policy) -> Failure {
        let lockout = self.lockout_mut(counter, now);
        let (next, failure) = Lockout::failed(*lockout, counter, now, policy);
        *lockout = Some(next);
        failure
    }

    pub(crate) fn succeed(&mut self, counter: Counter, now: UnixMillis, policy: &Policy) {
        let lockout = self.lockout_mut(counter, now);
        *lockout = match counter {
            Counter::Device(_) => None,
            Counter::User => Some(Lockout::witnessed(*lockout, now, policy).cleared()),
        };
    }

    fn lockout_mut(&mut self, counter: Counter, now: UnixMillis) -> &mut Option<Lockout> {
        match (counter, &mut self.devices) {
            (Counter::Device(id), Some(devices)) => match devices.live_mut(id, now) {
                Some(device) => &mut device.lockout,
                None => &mut self.lockout,
            },
            _ => &mut self.lockout,
        }
    }

    /// How often the user's count has locked.
    fn locks(&self, now: UnixMillis) -> u64 {
        Lockout::current(self.lockout, now).map_or(0, |lockout| lockout.locks)
    }
}
