//! Second-factor logins beside a model of them.

use std::num::NonZeroU16;

use keyproof_mfa::otp::{Secret, Totp};
use keyproof_mfa::{
    ActivateRefusal, Counter, DeviceId, EnrolRefusal, Factor, Failure, Fingerprint, FirstFactor,
    KeyKind, KeyStatus, LoginRefusal, NewDevice, Password, PasswordRefusal, Policy, Proof,
    RecoveryCode, RecoveryRefusal, UnixMillis, User, UserId, UserRecords,
};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const DEVICES: u16 = 3;

/// Reads the bytes as commands of three bytes each and runs them through the records and through
/// the model, which must say the same of each; every record survives being stored.
pub fn lifecycle(data: &[u8]) {
    let mut pair = Pair::new();
    for bytes in data.chunks_exact(3).take(256) {
        let &[command, first, second] = bytes else {
            return;
        };
        pair.run(command, first, second);
    }
}

/// What a command comes to, as far as the model can tell.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    AlreadyActive,
    ChallengeOver,
    Challenged,
    Device,
    Locked { until: u64 },
    NoKey,
    Nothing,
    Ok,
    Recovered { left: usize },
    Replayed,
    Wrong { consecutive: u32, locks: bool },
}

impl Said {
    fn wrong(failure: Failure) -> Self {
        Self::Wrong {
            consecutive: failure.consecutive,
            locks: failure.locked_until.is_some(),
        }
    }

    fn password<T>(verdict: Result<T, PasswordRefusal>) -> Self {
        match verdict {
            Ok(_) => Self::Ok,
            Err(PasswordRefusal::Locked(locked)) => Self::Locked {
                until: locked.until.as_millis(),
            },
            Err(PasswordRefusal::WrongPassword(failure)) => Self::wrong(failure),
        }
    }
}

/// The rules in the fewest words: no digests, no generations, one list of everything.
#[derive(Default)]
struct Model {
    now: u64,
    key: Option<Key>,
    count: Count,
    devices: Vec<Device>,
    challenges: Vec<Challenge>,
    /// Which recovery codes are used.
    recovery: Option<[bool; 10]>,
}

struct Key {
    active: bool,
    last: Option<u64>,
    drift: i64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    failures: u32,
    locked_until: u64,
    /// When a challenge from before the last lock, and the failures, are forgotten.
    kept_until: u64,
    locks: u64,
}

struct Device {
    fingerprint: u8,
    expires_at: u64,
    count: Count,
}

#[derive(Clone, Copy)]
struct Challenge {
    open: bool,
    expires_at: u64,
    locks: u64,
}

impl Count {
    fn current(&mut self, now: u64) -> &mut Self {
        if now >= self.kept_until {
            *self = Self::default();
        }
        self
    }

    fn attempt(&mut self, now: u64, right: bool) -> Said {
        if now < self.locked_until {
            let until = self.locked_until;
            return Said::Locked { until };
        }
        if right {
            return Said::Ok;
        }
        let count = self.current(now);
        count.failures += 1;
        let (consecutive, locks) = (count.failures, count.failures == 3);
        count.locked_until = 0;
        count.kept_until = now + DAY;
        if locks {
            count.failures = 0;
            count.locks += 1;
            count.locked_until = now + 5 * MINUTE;
        }
        Said::Wrong { consecutive, locks }
    }

    fn succeed(&mut self, now: u64) {
        let count = self.current(now);
        (count.failures, count.locked_until) = (0, 0);
        if count.kept_until == 0 {
            count.kept_until = now + DAY;
        }
    }
}

impl Model {
    fn active(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.active)
    }

    fn device(&mut self, fingerprint: Option<u8>) -> Option<&mut Device> {
        let now = self.now;
        let mut live = self.devices.iter_mut().filter(|d| now < d.expires_at);
        live.find(|device| Some(device.fingerprint) == fingerprint)
    }

    fn begin(&mut self, right: bool, fingerprint: Option<u8>) -> Said {
        let now = self.now;
        if let Some(device) = self.device(fingerprint) {
            return match device.count.attempt(now, right) {
                Said::Ok => {
                    device.count = Count::default();
                    Said::Device
                }
                refused => refused,
            };
        }
        match self.count.attempt(now, right) {
            Said::Ok if self.active() => {
                self.challenges.push(Challenge {
                    open: true,
                    expires_at: now + 10 * MINUTE,
                    locks: self.count.current(now).locks,
                });
                Said::Challenged
            }
            Said::Ok => {
                self.count.succeed(now);
                Said::Ok
            }
            refused => refused,
        }
    }

    /// The step that `text` is a fresh code of; or whether it was one before.
    fn judge(&mut self, totp: &Totp, text: &str) -> Result<u64, bool> {
        let Some(key) = &self.key else {
            return Err(false);
        };
        let current = (self.now / 1000 / 30) as i64;
        let is_code = |step: u64| totp.code_of_step(step).to_string() == text;
        let near = (current - 1 + key.drift..=current + 1 + key.drift).chain([current]);
        let near = near.filter_map(|step| u64::try_from(step).ok());
        let hits: Vec<u64> = near.filter(|step| is_code(*step)).collect();
        match hits.iter().copied().filter(|step| Some(*step) > key.last).max() {
            Some(step) => Ok(step),
            None => Err(!hits.is_empty() || key.last.is_some_and(is_code)),
        }
    }

    fn learn(&mut self, step: u64) {
        let current = (self.now / 1000 / 30) as i64;
        if let Some(key) = &mut self.key {
            key.active = true;
            key.last = Some(step);
            key.drift = (step as i64 - current).clamp(-2, 2);
        }
        self.count.succeed(self.now);
    }

    fn activate(&mut self, totp: &Totp, text: &str) -> Said {
        match &self.key {
            None => return Said::NoKey,
            Some(key) if key.active => return Said::AlreadyActive,
            Some(_) => {}
        }
        let judged = self.judge(totp, text);
        let said = self.count.attempt(self.now, judged.is_ok());
        if let (Said::Ok, Ok(step)) = (&said, judged) {
            self.learn(step);
        }
        said
    }

    fn answer(
        &mut self,
        challenge: Option<usize>,
        totp: &Totp,
        typed: &Typed,
        trust: Option<u8>,
    ) -> Said {
        let now = self.now;
        if now < self.count.locked_until {
            let until = self.count.locked_until;
            return Said::Locked { until };
        }
        let locks = self.count.current(now).locks;
        let Some(challenge) = challenge.and_then(|at| self.challenges.get_mut(at)) else {
            return Said::ChallengeOver;
        };
        challenge.open &= now < challenge.expires_at && challenge.locks == locks;
        if !challenge.open {
            return Said::ChallengeOver;
        }
        let said = match typed {
            Typed::Recovery(at) => match self.recovery.as_mut().and_then(|all| all.get_mut(*at)) {
                Some(used) if *used => return Said::Replayed,
                Some(used) => {
                    *used = true;
                    let left = self.recovery.into_iter().flatten().filter(|used| !used);
                    Said::Recovered { left: left.count() }
                }
                None => return self.count.attempt(now, false),
            },
            Typed::Text(text) => match self.judge(totp, text) {
                Ok(step) => {
                    self.learn(step);
                    Said::Ok
                }
                Err(true) => return Said::Replayed,
                Err(false) => return self.count.attempt(now, false),
            },
        };
        self.count.succeed(now);
        if let Some(challenge) = challenge_at(&mut self.challenges, challenge_index) {
            challenge.open = false;
        }
        said
    }
}
