//! Events that an exploration must have seen: one that never saw a lock proves nothing about locks.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    commands::{Command, Verdict},
    facts::{Committed, Facts, is_failure},
    operation::Stop,
    runs::Point,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Activation,
    /// An attack with an old token was refused after a key was activated.
    AttackRefused,
    /// An attack succeeded before any key was activated.
    AttackBefore,
    /// A lost commit arrived later.
    LateCommit,
    Login,
    LoginFromDevice,
    LoginByRecoveryCode,
    LostRace,
    Removal,
    Replay,
    /// A code was refused that a login had spent without an acknowledgement.
    ReplayOfUnheard,
    /// A challenge had ended.
    StaleChallenge,
    ThirdFailure,
    /// A request was refused because the user was locked.
    UnjudgedWhileLocked,
}

#[derive(Default)]
pub(crate) struct Sights([AtomicUsize; Sight::COUNT]);

impl Sight {
    const COUNT: usize = Self::UnjudgedWhileLocked as usize + 1;
}

impl Sights {
    pub(crate) fn times(&self, sight: Sight) -> usize {
        self.0[sight as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, sight: Sight) {
        self.0[sight as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records what an applied commit shows. `facts` are those before it.
    pub(crate) fn look_at_commit(&self, facts: &Facts, committed: &Committed<'_>) {
        match (committed.command, committed.verdict) {
            (Command::Activate { .. }, Verdict::Done) => self.add(Sight::Activation),
            (Command::Answer { code, .. }, Verdict::Authenticated) => {
                self.add(Sight::Login);
                if Some(code) == facts.recovery_code() {
                    self.add(Sight::LoginByRecoveryCode);
                }
            }
            (Command::Answer { .. }, Verdict::Refused)
                if !committed.events.iter().any(is_failure) =>
            {
                self.add(Sight::StaleChallenge);
            }
            (Command::LogIn { device: true, .. }, Verdict::Authenticated) => {
                self.add(Sight::LoginFromDevice);
            }
            (Command::Attack(_), Verdict::Done) => self.add(Sight::AttackBefore),
            (Command::RemoveKey { .. }, Verdict::Done) => self.add(Sight::Removal),
            (_, Verdict::Locked) => self.add(Sight::ThirdFailure),
            _ => {}
        }
    }

    /// Records what an answer without a commit shows.
    pub(crate) fn look_at_refusal(&self, facts: &Facts, point: &Point) {
        let noted = |text| {
            let mut details = point.run.noted.iter().map(|event| event.detail.as_deref());
            details.any(|detail| detail.unwrap_or_default().contains(text))
        };
        if noted("CodeUsed") {
            self.add(Sight::Replay);
            if facts.is_unheard() {
                self.add(Sight::ReplayOfUnheard);
            }
        }
        if matches!(point.operation.command, Command::Attack(_)) && facts.has_been_activated() {
            self.add(Sight::AttackRefused);
        }
        if noted("ChallengeUnknown") {
            self.add(Sight::StaleChallenge);
        }
        if matches!(point.run.stop, Stop::Says(Verdict::Locked)) {
            self.add(Sight::UnjudgedWhileLocked);
        }
    }
}
