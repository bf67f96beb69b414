//! What is explored, and the bounds.

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
    /// The actions before the model's clock starts, in order.
    pub(crate) opening: &'static [Opening],
    /// The operations that are available at any time, in any order.
    pub(crate) offers: &'static [Offer],
    /// The first step whose codes are known, used or not; `None` if only the present code is entered.
    pub(crate) codes_since: Option<i64>,
    /// The number of steps that each node's clock is ahead.
    pub(crate) ahead: [i64; NODES],
    /// How many operations may have an effect.
    pub(crate) operations: u8,
    /// How many commits or their answers may be lost.
    pub(crate) faults: u8,
    /// How many steps may pass.
    pub(crate) steps: i64,
    /// What must occur for the exploration to be meaningful.
    pub(crate) sights: &'static [Sight],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    Do(Offer),
    /// Passes this many steps.
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

/// The inputs for commands.
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
        let keys = || facts.phones.iter().map(|phone| phone.key);
        let devices = || facts.devices.iter().map(|device| device.number);
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
            // The choice of the challenge makes no difference.
            Self::AnswerWrong => answer(&wrong, false).pop().into_iter().collect(),
            Self::AttackByChangingThePassword => vec![Command::Attack(Attack::ChangePassword)],
            Self::AttackByMakingRecoveryCodes => vec![Command::Attack(Attack::MakeRecoveryCodes)],
            Self::AttackByMakingTokens => vec![Command::Attack(Attack::AddApplicationToken)],
            Self::AttackByRemovingTheKey => {
                let attacks = keys().map(Attack::RemoveKey);
                attacks.map(Command::Attack).collect()
            }
            Self::AttackByRevokingDevices => {
                let attacks = devices().map(Attack::RevokeDevice);
                attacks.map(Command::Attack).collect()
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
            Self::RemoveKey => keys().map(|key| Command::RemoveKey { key }).collect(),
            Self::RevokeDevice => {
                let revoke = |device| Command::RevokeDevice { device };
                devices().map(revoke).collect()
            }
            Self::Suspend => vec![Command::Suspend],
            Self::Unlock => vec![Command::Unlock],
        }
    }
}
