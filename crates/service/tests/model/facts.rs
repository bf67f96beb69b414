//! The knowledge of an observer who sees every commit, and the invariants on it. It is not read from the store's
//! records.

use std::sync::Arc;

use keyproof_service::audit::{Event, Outcome};
use keyproof_store::Timestamp;

use crate::{
    commands::{Attack, Command, Verdict},
    phone::{Phone, step},
    setting::{CHALLENGE_LIFETIME, LOCKOUT},
};

/// A violated invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// A code was accepted again, or an older one after a newer one.
    AcceptedTwice,
    /// A key became active, or a login succeeded, without a required code.
    CodeNotNeeded,
    /// A guess was checked after the third failure, or something else was counted as a failure.
    Miscounted,
    /// Something was accepted while the user was locked.
    NotLocked,
    /// A verdict was given although its commit did not happen.
    NotCommitted,
    /// An attacker with the password and an old token changed or bypassed an active second factor.
    Weakened,
    /// A challenge, a device or a session was accepted after its key, generation or lifetime had ended, or after a
    /// lock.
    Outlived,
}

impl Broken {
    /// The invariant's text.
    pub(crate) const fn property(self) -> &'static str {
        match self {
            Self::AcceptedTwice => "no code is accepted twice, nor an older one after a newer one",
            Self::CodeNotNeeded => "no key becomes active, and nobody gets in, without its code",
            Self::Miscounted => "three failures are judged, and nothing else is counted as one",
            Self::NotCommitted => "there is no verdict whose commit did not happen",
            Self::NotLocked => "nobody is let in, or told that they are right, while locked",
            Self::Weakened => "a password and an old token decide nothing once a key is active",
            Self::Outlived => "challenges, devices and sessions end with what they hang on",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    key: Option<KeyFacts>,
    /// Failures counted by name.
    count: Count,
    /// Failures counted by session.
    session: Count,
    /// Rises when the user is suspended or the password is changed. The session belongs to generation 0.
    generation: u8,
    suspended: bool,
    /// Whether a key was ever activated, which voids the attacker's token.
    activated: bool,
    pub(crate) challenges: Vec<ChallengeFacts>,
    pub(crate) devices: Vec<DeviceFacts>,
    recovery: Option<RecoveryFacts>,
    /// All keys whose secrets were returned, removed ones included.
    pub(crate) phones: Vec<Arc<Phone>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeyFacts {
    phone: Arc<Phone>,
    active: bool,
    /// The latest step whose code was accepted.
    spent: Option<i64>,
    /// Whether nobody received the verdict on that code.
    unheard: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Count {
    failures: u8,
    locked_until: Option<Timestamp>,
    locks: u8,
}

/// A challenge whose token was returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChallengeFacts {
    pub(crate) token: Arc<str>,
    key: u32,
    generation: u8,
    locks: u8,
    ends: Timestamp,
    answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeviceFacts {
    pub(crate) number: u32,
    key: u32,
    generation: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RecoveryFacts {
    code: Arc<str>,
    used: bool,
}

/// A commit that was applied.
pub(crate) struct Committed<'a> {
    pub(crate) command: &'a Command,
    /// The verdict that is returned if the commit is acknowledged.
    pub(crate) verdict: &'a Verdict,
    /// Its entries in the audit trail.
    pub(crate) events: &'a [Event],
    /// The time that the operation used.
    pub(crate) now: Timestamp,
    /// The time on its node's clock when it is applied. A lock may have ended since `now`.
    pub(crate) applied_at: Timestamp,
    /// Whether it is acknowledged.
    pub(crate) heard: bool,
}

impl Facts {
    pub(crate) fn recovery_code(&self) -> Option<&Arc<str>> {
        self.recovery.as_ref().map(|recovery| &recovery.code)
    }

    pub(crate) const fn has_been_activated(&self) -> bool {
        self.activated
    }

    pub(crate) const fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Returns whether the last code was spent and nobody received the verdict.
    pub(crate) fn is_unheard(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.unheard)
    }

    /// Records a commit.
    ///
    /// # Errors
    ///
    /// The invariant that it violates.
    pub(crate) fn commit(&mut self, committed: &Committed<'_>) -> Result<(), Broken> {
        if committed.command.is_by_session() && (self.suspended || self.generation > 0) {
            return Err(Broken::Outlived);
        }
        if matches!(committed.command, Command::Attack(_))
            && committed.verdict.is_yes()
            && self.activated
        {
            return Err(Broken::Weakened);
        }
        if committed.events.iter().any(is_failure) {
            self.must_be_wrong(committed)?;
            return self.counted_by(committed.command).fail(committed);
        }
        match (committed.command, committed.verdict) {
            (Command::Activate { key, code }, Verdict::Done) => {
                let held = self.key.as_ref().filter(|held| held.phone.key == *key);
                let pending = held.filter(|held| !held.active);
                pending.ok_or(Broken::CodeNotNeeded)?;
                self.session.succeed(committed)?;
                self.activated = true;
                self.spend(code, committed)
            }
            (Command::Answer { token, code, .. }, Verdict::Authenticated) => {
                self.answer(token, committed.now)?;
                self.count.succeed(committed)?;
                self.spend(code, committed)?;
                self.trust(committed.events);
                Ok(())
            }
            (Command::Enrol, Verdict::Enrolled { key, secret }) => {
                if self.active_key().is_some() {
                    return Err(Broken::CodeNotNeeded);
                }
                self.enrol(Phone::new(*key, secret), committed.heard);
                self.session.succeed(committed)
            }
            (Command::LogIn { right, device }, Verdict::Authenticated) => {
                if self.suspended || !right {
                    return Err(Broken::CodeNotNeeded);
                }
                self.get_by_without_code(*device, committed)
            }
            (Command::LogIn { .. }, Verdict::Challenged(token)) => {
                self.count.must_be_unlocked(committed)?;
                let key = self.active_key().ok_or(Broken::CodeNotNeeded)?;
                if committed.heard {
                    self.challenge(token, key, committed.now);
                }
                Ok(())
            }
            (Command::MakeRecoveryCodes, Verdict::RecoveryCodes(code)) => {
                self.recovery = Some(RecoveryFacts {
                    code: Arc::clone(code),
                    used: false,
                });
                self.session.must_be_unlocked(committed)
            }
            (Command::RemoveKey { .. }, Verdict::Done) => {
                (self.key, self.recovery) = (None, None);
                self.devices.clear();
                Ok(())
            }
            // Until the activation, the password is the only factor.
            (Command::Attack(Attack::AddApplicationToken), Verdict::Done) => Ok(()),
            (Command::Attack(Attack::ChangePassword), Verdict::Done) => {
                self.generation += 1;
                Ok(())
            }
            (Command::Attack(Attack::RemoveKey(_)), Verdict::Done) => {
                self.key = None;
                Ok(())
            }
            (Command::RevokeDevice { device }, Verdict::Done) => {
                self.devices.retain(|trusted| trusted.number != *device);
                Ok(())
            }
            (Command::Suspend, Verdict::Done) => {
                self.suspended = true;
                self.generation += 1;
                self.devices.clear();
                Ok(())
            }
            (Command::Reinstate, Verdict::Done) => {
                self.suspended = false;
                Ok(())
            }
            (Command::Unlock, Verdict::Done) => {
                self.count.clear();
                self.session.clear();
                Ok(())
            }
            // An expired challenge was removed.
            (Command::Answer { .. }, Verdict::Refused) => Ok(()),
            other => panic!("a commit for {other:?}"),
        }
    }

    /// A code that is currently shown, or was just accepted for another request, must not be counted as a failure.
    fn must_be_wrong(&self, committed: &Committed<'_>) -> Result<(), Broken> {
        let (Command::Activate { code, .. } | Command::Answer { code, .. }) = committed.command
        else {
            return Ok(());
        };
        let right = self.key.as_ref().is_some_and(|key| {
            let step_of = key.phone.step_of(code, committed.now);
            step_of.is_some_and(|of| of == step(committed.now) || key.spent == Some(of))
        });
        let of_key = match committed.command {
            Command::Activate { key, .. } => {
                Some(*key) == self.key.as_ref().map(|key| key.phone.key)
            }
            _ => true,
        };
        (!right || !of_key).then_some(()).ok_or(Broken::Miscounted)
    }

    /// Returns the counter of a guess: that of its session, or else that of the name.
    const fn counted_by(&mut self, command: &Command) -> &mut Count {
        if command.is_by_session() {
            &mut self.session
        } else {
            &mut self.count
        }
    }

    fn answer(&mut self, token: &str, now: Timestamp) -> Result<(), Broken> {
        let (key, generation, locks) = (self.active_key(), self.generation, self.count.locks);
        let mut challenges = self.challenges.iter_mut();
        let challenge = challenges.find(|challenge| *challenge.token == *token);
        let challenge = challenge.ok_or(Broken::CodeNotNeeded)?;
        let holds = !self.suspended
            && !challenge.answered
            && Some(challenge.key) == key
            && challenge.generation == generation
            && challenge.locks == locks
            && now < challenge.ends;
        challenge.answered = true;
        holds.then_some(()).ok_or(Broken::Outlived)
    }

    /// Records an accepted code.
    fn spend(&mut self, code: &str, committed: &Committed<'_>) -> Result<(), Broken> {
        if let Some(recovery) = &mut self.recovery
            && *recovery.code == *code
        {
            let used = std::mem::replace(&mut recovery.used, true);
            return (!used).then_some(()).ok_or(Broken::AcceptedTwice);
        }
        let key = self.key.as_mut().ok_or(Broken::Outlived)?;
        let step = key.phone.step_of(code, committed.now);
        let step = step.ok_or(Broken::CodeNotNeeded)?;
        if key.spent.is_some_and(|spent| step <= spent) {
            return Err(Broken::AcceptedTwice);
        }
        (key.spent, key.active, key.unheard) = (Some(step), true, !committed.heard);
        Ok(())
    }

    fn trust(&mut self, events: &[Event]) {
        let mut events = events.iter();
        let Some(added) = events.find(|event| event.action == "trusted_device.add") else {
            return;
        };
        let (_, number) = added.target.rsplit_once('/').unwrap();
        // There is only one fingerprint, so a new device replaces the old one.
        self.devices = vec![DeviceFacts {
            number: number.parse().unwrap(),
            key: self.active_key().expect("a code was accepted"),
            generation: self.generation,
        }];
    }

    fn enrol(&mut self, phone: Phone, heard: bool) {
        let phone = Arc::new(phone);
        if heard {
            self.phones.push(Arc::clone(&phone));
            self.phones.sort_by_key(|phone| phone.key);
        }
        self.key = Some(KeyFacts {
            phone,
            active: false,
            spent: None,
            unheard: false,
        });
    }

    fn get_by_without_code(
        &mut self,
        device: bool,
        committed: &Committed<'_>,
    ) -> Result<(), Broken> {
        let Some(key) = self.active_key() else {
            return self.count.succeed(committed);
        };
        let mut devices = self.devices.iter();
        let trusted =
            devices.any(|trusted| trusted.key == key && trusted.generation == self.generation);
        match (device, trusted) {
            // The failures of a trusted device are counted separately, so the user's lock does not apply to it.
            (true, true) => Ok(()),
            (true, false) => Err(Broken::Outlived),
            (false, _) => Err(Broken::CodeNotNeeded),
        }
    }

    fn challenge(&mut self, token: &Arc<str>, key: u32, now: Timestamp) {
        self.challenges.push(ChallengeFacts {
            token: Arc::clone(token),
            key,
            generation: self.generation,
            locks: self.count.locks,
            ends: now.saturating_add(CHALLENGE_LIFETIME),
            answered: false,
        });
        self.challenges.sort_by(|a, b| a.token.cmp(&b.token));
    }

    fn active_key(&self) -> Option<u32> {
        let key = self.key.as_ref().filter(|key| key.active);
        key.map(|key| key.phone.key)
    }
}

impl Count {
    fn fail(&mut self, committed: &Committed<'_>) -> Result<(), Broken> {
        if self.is_locked(committed) {
            return Err(Broken::Miscounted);
        }
        self.failures += 1;
        let is_last = self.failures == 3;
        if is_last {
            self.clear();
            self.locked_until = Some(committed.now.saturating_add(LOCKOUT));
            self.locks += 1;
        }
        match (is_last, committed.verdict) {
            (true, Verdict::Locked) | (false, Verdict::Refused | Verdict::Wrong) => Ok(()),
            _ => Err(Broken::Miscounted),
        }
    }

    fn succeed(&mut self, committed: &Committed<'_>) -> Result<(), Broken> {
        self.must_be_unlocked(committed)?;
        self.clear();
        Ok(())
    }

    fn must_be_unlocked(&self, committed: &Committed<'_>) -> Result<(), Broken> {
        let is_locked = self.is_locked(committed);
        (!is_locked).then_some(()).ok_or(Broken::NotLocked)
    }

    fn is_locked(&self, committed: &Committed<'_>) -> bool {
        let until = self.locked_until;
        until.is_some_and(|until| committed.applied_at < until)
    }

    fn clear(&mut self) {
        (self.failures, self.locked_until) = (0, None);
    }
}

impl ChallengeFacts {
    /// Returns whether the challenges differ only in their tokens.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let token = Arc::clone(&other.token);
        Self {
            token,
            ..self.clone()
        } == *other
    }
}

/// Returns whether a password or a code was wrong, and was refused.
pub(crate) fn is_failure(event: &Event) -> bool {
    event.outcome == Outcome::Refused && names_failure(event)
}

/// Returns whether an event says that a password or a code was wrong, whatever its outcome.
pub(crate) fn names_failure(event: &Event) -> bool {
    let detail = event.detail.as_deref().unwrap_or_default();
    let failures = ["CodeWrong", "PasswordWrong"];
    failures.iter().any(|failure| detail.contains(failure))
}
