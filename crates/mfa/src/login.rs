//! Logging in: the password first, then the second factor, unless the device is trusted.

use thiserror::Error;

use crate::{
    Challenge, ChallengeInvalid, Client, Counter, Decision, DeviceId, Devices, Failure, Locked,
    Network, NewDevice, Policy, RecoveryCode, SessionId, Trusted, UnixMillis, UserRecords,
    key::Proof, lockout::Guess, totp::Wrong,
};

/// The result of the caller's password check. For a user that does not exist it is `Wrong`.
///
/// ```
/// use keyproof_mfa::Password;
///
/// # fn verify(_: &str, _: &str) -> bool { true }
/// let (typed, stored) = ("correct horse", Some("$argon2id$…")); // such as keyproof_auth's PasswordHash
/// let password = match stored {
///     Some(stored) if verify(stored, typed) => Password::Correct,
///     _ => Password::Wrong, // also if the user does not exist
/// };
/// assert_eq!(password, Password::Correct);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Password {
    /// The password is right.
    Correct,
    /// The password is wrong.
    Wrong,
}

/// The outcome of an accepted password. It is exhaustive, since only some outcomes log the user in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstFactor {
    /// The user is logged in: no key is active.
    Authenticated,
    /// The user is logged in: the device is trusted.
    AuthenticatedByDevice(DeviceId),
    /// The second factor is required; the challenge is in [`UserRecords::challenge`].
    Challenged,
}

/// The user is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Authenticated {
    /// The second factor that was accepted.
    pub factor: Factor,
    /// The device that is trusted from now on, if requested.
    pub trusted: Option<Trusted>,
}

/// A kind of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Factor {
    /// A code of the key.
    Key,
    /// A recovery code. Inform the user, and record it in an audit trail.
    RecoveryCode {
        /// How many unused codes are left.
        left: usize,
    },
}

/// Why a password was refused. All refusals are exhaustive enums, since each caller must decide how
/// to answer a new one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum PasswordRefusal {
    /// Locked: a right password is refused as well. It was not counted, except as a guess at a
    /// fingerprint, or for a trusted device that is not locked.
    #[error(transparent)]
    Locked(Locked),
    /// The password was wrong. The failure was counted.
    #[error("wrong password")]
    WrongPassword(Failure),
}

/// Why a second factor was refused.
///
/// ```
/// use keyproof_mfa::{Client, KeyKind, LoginRefusal, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
/// # use keyproof_mfa::otp::{Secret, Totp};
/// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
/// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
/// # let (hers, enrolled) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
/// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, enrolled, &policy).next;
/// # let first = phone(enrolled);
/// # let ada = ada.activate(&Proof::Typed { text: &first, secret: &secret }, hers, enrolled, &policy).next;
///
/// let now = UnixMillis::from_secs(1_800_000_060);
/// let begun = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy);
/// let wrong = Proof::Typed { text: "not a code", secret: &secret };
/// let answered = begun.next.answer_challenge(&wrong, None, None, now, &policy);
/// assert!(matches!(answered.verdict, Err(LoginRefusal::WrongCode(failure)) if failure.consecutive == 1));
/// assert!(answered.next.challenge.is_some()); // still open; committed with the counted failure
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// The challenge can no longer be answered. Nothing was checked or counted.
    #[error(transparent)]
    ChallengeInvalid(ChallengeInvalid),
    /// Locked: nothing was checked or counted.
    #[error(transparent)]
    Locked(Locked),
    /// The code was right but has been used. Not counted, so that duplicates of a successful
    /// request do not lock the user out.
    #[error("the code has been used: wait for the next one")]
    Replayed,
    /// The code was wrong. The failure was counted. The challenge stays open unless this failure
    /// locked its counter.
    #[error("wrong code")]
    WrongCode(Failure),
}

impl UserRecords {
    /// Begins a login with a password and what is known about the client.
    ///
    /// A right password is refused while the trusted device that it comes from is locked; without
    /// one, while the known address is, otherwise the name. So devices and known addresses can log
    /// in while the user is locked elsewhere. A wrong password is counted and answered as one
    /// without a fingerprint, so that it does not tell whether the fingerprint is trusted. If it is,
    /// the failure is also counted for the device.
    ///
    /// A right password that leads to a challenge resets no count. If it comes with an unknown
    /// fingerprint, that is counted as a guess at a device's fingerprint
    /// ([`Fingerprint`](crate::Fingerprint)), even while the name or address is locked.
    pub fn begin_login(
        mut self,
        password: Password,
        client: Client<'_>,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<FirstFactor, PasswordRefusal> {
        let device = self.device_of(client, now).map(Counter::Device);
        let elsewhere = self.address_or_name(client, now);
        let counter = match password {
            Password::Correct => device.unwrap_or(elsewhere),
            Password::Wrong => elsewhere,
        };
        match (password, device) {
            (Password::Correct, None) if client.fingerprint.is_some() => {
                self.count_guess(now, policy);
            }
            (Password::Wrong, Some(device)) if self.unlocked(device, now).is_ok() => {
                self.fail(device, Guess::Password, now, policy);
            }
            _ => {}
        }
        if let Err(refusal) = self.check_password(password, counter, now, policy) {
            return self.decided(Err(refusal));
        }
        let outcome = match (counter, self.active_generation()) {
            (Counter::Device(id), _) => {
                // A fingerprint is no factor, so it does not make an address known.
                self.succeed(counter, now, policy);
                FirstFactor::AuthenticatedByDevice(id)
            }
            (_, None) => {
                self.succeed(counter, now, policy);
                self.learn(client.network, now, policy);
                FirstFactor::Authenticated
            }
            (_, Some(key)) => {
                let expires_at = now.saturating_add(policy.challenge_lifetime);
                self.outlive(counter, expires_at, now, policy);
                self.challenge = Some(Challenge {
                    user: self.user,
                    key,
                    address: match counter {
                        Counter::Address(id) => Some(id),
                        Counter::Device(_) | Counter::Name | Counter::Session(_) => None,
                    },
                    locks: self.locks(counter, now).unwrap_or_default(),
                    expires_at,
                });
                FirstFactor::Challenged
            }
        };
        self.decided(Ok(outcome))
    }

    /// Answers [`UserRecords::challenge`] from `network`, and trusts a device if the answer is
    /// right.
    ///
    /// While the challenge's counter is locked, this returns [`Locked`](LoginRefusal::Locked),
    /// whatever the state of the challenge. A challenge that has ended or been answered is removed
    /// in [`Decision::next`].
    ///
    /// ```
    /// use keyproof_mfa::{Client, FirstFactor, Fingerprint, KeyKind, NewDevice, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
    /// # use keyproof_mfa::otp::{Secret, Totp};
    /// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
    /// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
    /// # let (hers, enrolled) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
    /// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, enrolled, &policy).next;
    /// # let first = phone(enrolled);
    /// # let ada = ada.activate(&Proof::Typed { text: &first, secret: &secret }, hers, enrolled, &policy).next;
    ///
    /// let now = UnixMillis::from_secs(1_800_000_060);
    /// let begun = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy);
    /// assert_eq!(begun.verdict, Ok(FirstFactor::Challenged));
    ///
    /// // She chooses to skip the code on this browser, which has drawn a fingerprint.
    /// let fingerprint = Fingerprint::new("6b0a4ea6f7d0d7ab")?;
    /// let browser = NewDevice::new(fingerprint, [7; 4]).with_name("Ada's laptop")?;
    /// let code = phone(now);
    /// let proof = Proof::Typed { text: &code, secret: &secret };
    /// let answered = begun.next.answer_challenge(&proof, Some(browser), None, now, &policy);
    /// assert!(answered.verdict.unwrap().trusted.is_some());
    ///
    /// let browser = Fingerprint::new("6b0a4ea6f7d0d7ab")?;
    /// let again = Client { fingerprint: Some(&browser), network: None };
    /// let begun = answered.next.begin_login(Password::Correct, again, now, &policy);
    /// assert!(matches!(begun.verdict, Ok(FirstFactor::AuthenticatedByDevice(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn answer_challenge(
        mut self,
        proof: &Proof<'_>,
        trust: Option<NewDevice>,
        network: Option<Network>,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<Authenticated, LoginRefusal> {
        let counter = self
            .challenge
            .map_or(Counter::Name, |challenge| challenge.counter());
        if let Err(locked) = self.unlocked(counter, now) {
            return self.decided(Err(LoginRefusal::Locked(locked)));
        }
        if let Err(over) = self.open_challenge(now) {
            self.challenge = None;
            return self.decided(Err(LoginRefusal::ChallengeInvalid(over)));
        }
        let verdict = match self.verify_proof(proof, now) {
            Ok(factor) => {
                self.challenge = None;
                self.succeed(counter, now, policy);
                if let Some(devices) = &mut self.devices {
                    devices.guesses = None;
                }
                self.learn(network, now, policy);
                let trusted = trust.and_then(|device| self.trust(device, now, policy));
                Ok(Authenticated { factor, trusted })
            }
            Err(Wrong::Replayed) => Err(LoginRefusal::Replayed),
            Err(Wrong::Code) => {
                let failure = self.fail(counter, Guess::Code, now, policy);
                Err(LoginRefusal::WrongCode(failure))
            }
        };
        self.decided(verdict)
    }

    /// Checks the password again for a user who is logged in, before an action that these records
    /// do not cover. It resets no count.
    ///
    /// ```
    /// use keyproof_mfa::{Counter, Password, PasswordRefusal, Policy, SessionId, UnixMillis, User, UserId, UserRecords};
    ///
    /// let (policy, now) = (Policy::default(), UnixMillis::from_secs(1_800_000_000));
    /// let hers = SessionId::new("drawn at random when she logged in");
    /// let mut ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// for _ in 0..3 {
    ///     assert!(ada.check_session_lockout(hers, now).is_ok()); // before the password's hash is computed
    ///     ada = ada.confirm_password(Password::Wrong, hers, now, &policy).next;
    /// }
    /// let refused = ada.confirm_password(Password::Correct, hers, now, &policy).verdict;
    /// assert!(matches!(refused, Err(PasswordRefusal::Locked(locked)) if locked.counter == Counter::Session(hers)));
    /// ```
    pub fn confirm_password(
        mut self,
        password: Password,
        session: SessionId,
        now: UnixMillis,
        policy: &Policy,
    ) -> Decision<(), PasswordRefusal> {
        let verdict = self.check_password(password, Counter::Session(session), now, policy);
        self.decided(verdict)
    }

    fn open_challenge(&self, now: UnixMillis) -> Result<(), ChallengeInvalid> {
        let challenge = self.challenge.ok_or(ChallengeInvalid::Unknown)?;
        let locks = self.locks(challenge.counter(), now);
        challenge.check(self.user, self.active_generation(), locks, now)
    }

    /// Verifies the proof and spends it: a step of the key, or a recovery code.
    pub(crate) fn verify_proof(
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

    /// Counts an unknown fingerprint that came with the right password. Without a count, somebody
    /// who has the password could try fingerprints until one replaced the code.
    fn count_guess(&mut self, now: UnixMillis, policy: &Policy) {
        if self.bound_devices().is_none() {
            return;
        }
        if let Some(devices) = &mut self.devices {
            devices.count_guess(now, policy);
        }
    }

    fn trust(&mut self, device: NewDevice, now: UnixMillis, policy: &Policy) -> Option<Trusted> {
        let key = self.active_generation()?;
        let devices = self.bound_devices().cloned();
        let mut devices = devices.unwrap_or_else(|| Devices::new(self.user, key));
        let trusted = devices.trust(device, now, policy);
        self.devices = Some(devices);
        Some(trusted)
    }

    pub(crate) fn check_password(
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
                self.witness(counter, now, policy);
                Ok(())
            }
            Password::Wrong => {
                let failure = self.fail(counter, Guess::Password, now, policy);
                Err(PasswordRefusal::WrongPassword(failure))
            }
        }
    }
}
