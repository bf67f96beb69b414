//! Enrolling and removing a key, and recovery codes for a lost phone.

use thiserror::Error;

use crate::{
    Counter, Decision, FactorNeeded, Failure, Locked, Password, PasswordRefusal, Policy,
    RecoveryCode, RecoveryCodes, Session, SessionId, UnixMillis, UserRecords,
    key::{Generation, KeyKind, KeyRecord, Proof},
    lockout::Guess,
    totp::Wrong,
};

/// A key was enrolled, and is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Enrolled {
    /// Whether it replaced another pending key.
    pub replaced: bool,
}

/// Why no key was enrolled.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum EnrolRefusal {
    /// A key is active and must be removed first. The password was not checked.
    #[error("a key is active already: remove it first")]
    AlreadyActive,
    /// Locked: nothing was checked or counted.
    #[error(transparent)]
    Locked(Locked),
    /// The password was wrong. The failure was counted.
    #[error("wrong password")]
    WrongPassword(Failure),
}

/// A pending key was activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activated;

/// Why a key was not activated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum ActivateRefusal {
    /// The key is active already.
    #[error("the key is active already")]
    AlreadyActive,
    /// Locked: nothing was checked or counted.
    #[error(transparent)]
    Locked(Locked),
    /// There is no key.
    #[error("there is no key: enrol one first")]
    NoKey,
    /// The code was wrong. The failure was counted.
    #[error("wrong code")]
    WrongCode(Failure),
}

/// A key was removed, with everything that depended on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyRemoved {
    /// How many trusted devices were removed.
    pub devices: usize,
    /// How many unused recovery codes were removed.
    pub recovery_codes: usize,
    /// Whether the key was active, so that logins required a code.
    pub was_active: bool,
}

/// There is no key to remove.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("there is no key")]
pub struct NoKey;

/// Why no recovery codes were made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum RecoveryRefusal {
    /// A code is required in addition to the password. Nothing was checked.
    #[error("a code is needed beside the password")]
    CodeNeeded,
    /// The session has shown no second factor. Nothing was checked.
    #[error(transparent)]
    FactorNeeded(FactorNeeded),
    /// Locked: nothing was checked or counted.
    #[error(transparent)]
    Locked(Locked),
    /// No key is active that they could replace. The password was not checked.
    #[error("no key is active: activate one first")]
    NoActiveKey,
    /// The code was right but has been used. Not counted, as at login.
    #[error("the code has been used: wait for the next one")]
    Replayed,
    /// The code was wrong. The failure was counted.
    #[error("wrong code")]
    WrongCode(Failure),
    /// The password was wrong. The failure was counted, and the code was not checked.
    #[error("wrong password")]
    WrongPassword(Failure),
}

impl UserRecords {
    /// Enrols a key, which is pending until [`activate`](Self::activate). It replaces a pending
    /// key. `random` becomes the key's [`Generation`]; the caller draws the secret separately.
    ///
    /// The password is the only factor required here, so a right one resets the session's failure
    /// count.
    ///
    /// ```
    /// use keyproof_mfa::{EnrolRefusal, KeyKind, KeyStatus, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
    /// # use keyproof_mfa::otp::{Secret, Totp};
    /// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
    /// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
    ///
    /// let (hers, now) = (SessionId::new("drawn at random when she logged in"), UnixMillis::from_secs(1_800_000_000));
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, now, &policy).next;
    /// assert_eq!(ada.key.as_ref().unwrap().status(), KeyStatus::Pending);
    ///
    /// // The key takes effect once the phone has shown that it has the secret.
    /// let code = phone(now);
    /// let activated = ada.activate(&Proof::Typed { text: &code, secret: &secret }, hers, now, &policy);
    /// assert!(activated.verdict.is_ok());
    /// let ada = activated.next;
    /// assert_eq!(ada.key.as_ref().unwrap().status(), KeyStatus::Active { since: now });
    ///
    /// let ada = ada.remove_key(now).next; // for an administrator: the phone is lost
    /// assert!(ada.key.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enrol(
        mut self,
        kind: KeyKind,
        password: Password,
        random: [u8; 16],
        session: SessionId,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<Enrolled, EnrolRefusal> {
        if self.active_key().is_some() {
            return self.decided(Err(EnrolRefusal::AlreadyActive));
        }
        let counter = Counter::Session(session);
        if let Err(refusal) = self.check_password(password, counter, now, policy) {
            return self.decided(Err(refusal.into()));
        }
        self.succeed(counter, now, policy);
        let key = KeyRecord::pending(kind, Generation::new(random), now);
        let replaced = self.key.replace(key).is_some();
        self.decided(Ok(Enrolled { replaced }))
    }

    /// Activates the pending key with one of its codes, which then cannot be used for login either.
    /// A right code resets the session's failure count.
    ///
    /// Activation forgets all known addresses. Somebody who had only the password may have added
    /// some, and each would allow separate guesses at codes. The current address becomes known
    /// again at its next login.
    pub fn activate(
        mut self,
        proof: &Proof<'_>,
        session: SessionId,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<Activated, ActivateRefusal> {
        let Some(key) = self.key else {
            return self.decided(Err(ActivateRefusal::NoKey));
        };
        if key.is_active() {
            return self.decided(Err(ActivateRefusal::AlreadyActive));
        }
        let counter = Counter::Session(session);
        if let Err(locked) = self.unlocked(counter, now) {
            return self.decided(Err(ActivateRefusal::Locked(locked)));
        }
        let verdict = match key.accept(proof, now) {
            Ok(active) => {
                self.key = Some(active);
                // No challenge for this key refers to an address yet, so their numbers may restart.
                self.addresses = None;
                self.succeed(counter, now, policy);
                Ok(Activated)
            }
            // No step of a pending key is spent, so nothing can be replayed.
            Err(Wrong::Code | Wrong::Replayed) => {
                let failure = self.fail(counter, Guess::Code, now, policy);
                Err(ActivateRefusal::WrongCode(failure))
            }
        };
        self.decided(verdict)
    }

    /// Removes the key, pending or active, and every challenge, trusted device and recovery code.
    /// The caller removes the secret in the same batch.
    ///
    /// It checks nothing. If it is the user who asks, call
    /// [`require_factor`](Self::require_factor) and [`confirm_password`](Self::confirm_password)
    /// first: otherwise a stolen session is enough to end the second factor.
    pub fn remove_key(mut self, now: UnixMillis) -> Decision<KeyRemoved, NoKey> {
        let Some(key) = self.key else {
            return self.decided(Err(NoKey));
        };
        let removed = KeyRemoved {
            devices: self.trusted_devices(now).len(),
            recovery_codes: self.recovery.as_ref().map_or(0, RecoveryCodes::left),
            was_active: key.is_active(),
        };
        self.challenge = None;
        self.devices = None;
        self.key = None;
        self.recovery = None;
        self.decided(Ok(removed))
    }

    /// Makes ten recovery codes from 800 random bits, to be shown once. Earlier codes become
    /// invalid.
    ///
    /// A recovery code logs in whoever has it, so making them requires what a login requires: the
    /// password, and a code of the key or an earlier recovery code, which is spent and counted as
    /// at login. `proof` may be `None` only if [`may_leave_code_out`](Self::may_leave_code_out)
    /// returns `true`.
    pub fn make_recovery_codes(
        mut self,
        password: Password,
        proof: Option<&Proof<'_>>,
        session: Session,
        random: &[[u8; 10]; RecoveryCodes::COUNT],
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<[RecoveryCode; RecoveryCodes::COUNT], RecoveryRefusal> {
        let Some(key) = self.active_generation() else {
            return self.decided(Err(RecoveryRefusal::NoActiveKey));
        };
        if let Err(needed) = self.require_factor(session.auth_method) {
            return self.decided(Err(RecoveryRefusal::FactorNeeded(needed)));
        }
        if proof.is_none() && !self.may_leave_code_out(session.auth_method, now) {
            return self.decided(Err(RecoveryRefusal::CodeNeeded));
        }
        let counter = Counter::Session(session.id);
        if let Err(refusal) = self.check_password(password, counter, now, policy) {
            return self.decided(Err(refusal.into()));
        }
        match proof.map(|proof| self.verify_proof(proof, now)) {
            None => {}
            Some(Ok(_)) => self.succeed(counter, now, policy),
            Some(Err(Wrong::Replayed)) => return self.decided(Err(RecoveryRefusal::Replayed)),
            Some(Err(Wrong::Code)) => {
                let failure = self.fail(counter, Guess::Code, now, policy);
                return self.decided(Err(RecoveryRefusal::WrongCode(failure)));
            }
        }
        let (record, codes) = RecoveryCodes::make(random, key, now);
        self.recovery = Some(record);
        self.decided(Ok(codes))
    }
}

impl From<PasswordRefusal> for EnrolRefusal {
    fn from(refusal: PasswordRefusal) -> Self {
        match refusal {
            PasswordRefusal::Locked(locked) => Self::Locked(locked),
            PasswordRefusal::WrongPassword(failure) => Self::WrongPassword(failure),
        }
    }
}

impl From<PasswordRefusal> for RecoveryRefusal {
    fn from(refusal: PasswordRefusal) -> Self {
        match refusal {
            PasswordRefusal::Locked(locked) => Self::Locked(locked),
            PasswordRefusal::WrongPassword(failure) => Self::WrongPassword(failure),
        }
    }
}
