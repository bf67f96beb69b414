//! What is explored, and how far.

use std::sync::Arc;

use crate::{
    commands::{Attack, Command, WRONG_CODE},
    contents::Port,
    facts::Facts,
    sights::Sight,
};

pub(crate) const NODES: usize = 2;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) port: Port,
    /// What is done first, one thing after the other; then the model's clock starts.
    pub(crate) opening: &'static [Opening],
    /// What may be asked for, at any time and in any order.
    pub(crate) offers: &'static [Offer],
    /// From which step on codes are known, used or not; otherwise only the present one is typed.
    pub(crate) codes_since: Option<i64>,
    /// By how many steps each node's clock is ahead.
    pub(crate) ahead: [i64; NODES],
    /// How many operations may come to something.
    pub(crate) operations: u8,
    /// How many commits may be lost, or their answers.
    pub(crate) faults: u8,
    /// How many steps may pass.
    pub(crate) steps: i64,
    /// What must be seen, for the exploration to mean anything.
    pub(crate) sights: &'static [Sight],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    Do(Offer),
    /// So many steps.
    Wait(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Activate,
    ActivateWrong,
    Answer,
    AnswerAndTrust,
    AnswerByRecoveryCode,
    AnswerWrong,
    AttackByChangingThePassword,
    AttackByMakingRecoveryCodes,
    AttackByMakingTokens,
    AttackByRemovingTheKey,
    AttackByRevokingDevices,
    Enrol,
    LogIn,
    LogInFromDevice,
    LogInWrong,
    MakeRecoveryCodes,
    Reinstate,
    RemoveKey,
    RevokeDevice,
    Suspend,
    Unlock,
}

/// What there is to ask for something with.
pub(crate) struct Hand<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) tokens: Vec<Arc<str>>,
    pub(crate) codes: Vec<Arc<str>>,
}

impl Offer {
    pub(crate) fn commands(self, hand: &Hand<'_>) -> Vec<Command> {
        let Hand {
            facts,
            tokens,
            codes,
        } = hand;
        let wrong: Arc<str> = WRONG_CODE.into();
        let answer = |code: &Arc<str>, trust| {
            let tokens = tokens.iter().map(move |token| (token, trust));
            let answers = tokens.map(|(token, trust)| Command::Answer {
                token: Arc::clone(token),
                code: Arc::clone(code),
                trust,
            });
            answers.collect::<Vec<_>>()
        };
        let activate = |code: &Arc<str>| {
            let phones = facts.phones.iter();
            let activations = phones.map(|phone| Command::Activate {
                key: phone.key,
                code: Arc::clone(code),
            });
            activations.collect::<Vec<_>>()
        };
        match self {
            Self::Activate => codes.iter().flat_map(activate).collect(),
            Self::ActivateWrong => activate(&wrong),
            Self::Answer | Self::AnswerAndTrust => {
                let trust = self == Self::AnswerAndTrust;
                codes.iter().flat_map(|code| answer(code, trust)).collect()
            }
            Self::AnswerByRecoveryCode => {
                let code = facts.recovery_code().into_iter();
                code.flat_map(|code| answer(code, false)).collect()
            }
            // It makes no difference to which of them.
            Self::AnswerWrong => answer(&wrong, false).pop().into_iter().collect(),
            Self::AttackByChangingThePassword => vec![Command::Attack(Attack::ChangePassword)],
            Self::AttackByMakingRecoveryCodes => vec![Command::Attack(Attack::MakeRecoveryCodes)],
            Self::AttackByMakingTokens => vec![Command::Attack(Attack::AddApplicationToken)],
            Self::AttackByRemovingTheKey => {
                let keys = facts.phones.iter().map(|phone| phone.key);
                keys.map(|key| Command::Attack(Attack::RemoveKey(key)))
                    .collect()
            }
            Self::AttackByRevokingDevices => {
                let devices = facts.devices.iter().map(|device| device.number);
                devices
                    .map(|device| Command::Attack(Attack::RevokeDevice(device)))
                    .collect()
            }
            Self::Enrol => vec![Command::Enrol],
            Self::LogIn | Self::LogInFromDevice | Self::LogInWrong => vec![Command::LogIn {
                right: self != Self::LogInWrong,
                device: self == Self::LogInFromDevice,
            }],
            Self::MakeRecoveryCodes => vec![Command::MakeRecoveryCodes],
            Self::Reinstate => facts
                .is_suspended()
                .then_some(Command::Reinstate)
                .into_iter()
                .collect(),
            Self::RemoveKey => {
                let keys = facts.phones.iter().map(|phone| phone.key);
                keys.map(|key| Command::RemoveKey { key }).collect()
            }
            Self::RevokeDevice => {
                let devices = facts.devices.iter().map(|device| device.number);
                devices
                    .map(|device| Command::RevokeDevice { device })
                    .collect()
            }
            Self::Suspend => vec![Command::Suspend],
            Self::Unlock => vec![Command::Unlock],
        }
    }
}
