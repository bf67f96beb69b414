//! What is asked of a node, and how it answers: the real use cases.

use std::fmt;
use std::sync::Arc;

use keyproof_service::accounts::{
    ActivateKeyError, AnswerError, ApplicationTokenError, ChangePasswordError, ChangeUserError,
    EnrolKeyError, FirstStep, LoginError, NewApplicationToken, PasswordLogin, RecoveryCodesError,
    RemoveDeviceError, RemoveKeyError, Session, TrustRequest, Whose,
};
use keyproof_service::{Accounts, Applicant, Origin, StorageError, Who};
use zeroize::Zeroizing;

pub(crate) const NAME: &str = "ada@example.org";
pub(crate) const PASSWORD: &str = "correct horse";
const FINGERPRINT: &str = "laptop";

/// No phone shows it while the model runs.
pub(crate) const WRONG_CODE: &str = "000000";

/// What somebody tries who knows the password and has an access token of before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Attack {
    AddApplicationToken,
    ChangePassword,
    MakeRecoveryCodes,
    RemoveKey(u32),
    RevokeDevice(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Command {
    Activate {
        key: u32,
        code: Arc<str>,
    },
    Answer {
        token: Arc<str>,
        code: Arc<str>,
        trust: bool,
    },
    Attack(Attack),
    Enrol,
    LogIn {
        right: bool,
        device: bool,
    },
    MakeRecoveryCodes,
    Reinstate,
    RemoveKey {
        key: u32,
    },
    RevokeDevice {
        device: u32,
    },
    Suspend,
    Unlock,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Authenticated,
    /// With the token.
    Challenged(Arc<str>),
    Done,
    Enrolled {
        key: u32,
        secret: Arc<str>,
    },
    Locked,
    /// The store's fault.
    None(StorageError),
    RecoveryCodes(Arc<str>),
    Refused,
    /// A refusal that was judged, where the answer alone tells that.
    Wrong,
}

impl Verdict {
    pub(crate) const fn is_yes(&self) -> bool {
        match self {
            Self::Authenticated
            | Self::Challenged(_)
            | Self::Done
            | Self::Enrolled { .. }
            | Self::RecoveryCodes(_) => true,
            Self::Locked | Self::None(_) | Self::Refused | Self::Wrong => false,
        }
    }
}

impl Command {
    /// Whether what it draws at random is ever seen again: a number, a secret or a token.
    pub(crate) const fn makes_something(&self) -> bool {
        match self {
            Self::Answer { trust, .. } => *trust,
            Self::Enrol | Self::LogIn { .. } | Self::MakeRecoveryCodes => true,
            Self::Activate { .. }
            | Self::Attack(_)
            | Self::Reinstate
            | Self::RemoveKey { .. }
            | Self::RevokeDevice { .. }
            | Self::Suspend
            | Self::Unlock => false,
        }
    }

    pub(crate) const fn is_by_session(&self) -> bool {
        match self {
            Self::Activate { .. }
            | Self::Attack(_)
            | Self::Enrol
            | Self::MakeRecoveryCodes
            | Self::RemoveKey { .. }
            | Self::RevokeDevice { .. } => true,
            Self::Answer { .. }
            | Self::LogIn { .. }
            | Self::Reinstate
            | Self::Suspend
            | Self::Unlock => false,
        }
    }

    /// `old` is the attacker's.
    pub(crate) async fn perform(
        &self,
        accounts: &Accounts,
        session: &Session,
        old: &Session,
    ) -> Verdict {
        let origin = &origin();
        let password = || Zeroizing::new(PASSWORD.to_owned());
        match self {
            Self::Activate { key, code } => {
                match accounts.activate_key(session, *key, code, origin).await {
                    Ok(()) => Verdict::Done,
                    Err(ActivateKeyError::Locked { .. }) => Verdict::Locked,
                    Err(ActivateKeyError::Storage(error)) => Verdict::None(error),
                    Err(ActivateKeyError::WrongCode) => Verdict::Wrong,
                    Err(
                        ActivateKeyError::AlreadyActive
                        | ActivateKeyError::Ended
                        | ActivateKeyError::FactorNeeded
                        | ActivateKeyError::Unknown,
                    ) => Verdict::Refused,
                }
            }
            Self::Answer { token, code, trust } => {
                let device = TrustRequest {
                    fingerprint: FINGERPRINT.to_owned(),
                    browser: None,
                    name: None,
                    operating_system: None,
                };
                let trust = trust.then_some(&device);
                match accounts.answer_challenge(token, code, trust, origin).await {
                    Ok(_) => Verdict::Authenticated,
                    Err(AnswerError::Locked { .. }) => Verdict::Locked,
                    Err(AnswerError::Storage(error)) => Verdict::None(error),
                    Err(AnswerError::Device(_) | AnswerError::Refused) => Verdict::Refused,
                }
            }
            Self::Attack(attack) => attack.perform(accounts, old).await,
            Self::Enrol => match accounts.enrol_key(session, password(), origin).await {
                Ok(enrolled) => Verdict::Enrolled {
                    key: enrolled.key.id,
                    secret: enrolled.secret.as_str().into(),
                },
                Err(EnrolKeyError::Hashing(error)) => panic!("{error}"),
                Err(EnrolKeyError::Locked { .. }) => Verdict::Locked,
                Err(EnrolKeyError::Storage(error)) => Verdict::None(error),
                Err(EnrolKeyError::WrongPassword) => Verdict::Wrong,
                Err(
                    EnrolKeyError::AlreadyActive
                    | EnrolKeyError::Ended
                    | EnrolKeyError::FactorNeeded,
                ) => Verdict::Refused,
            },
            Self::LogIn { right, device } => {
                let login = PasswordLogin {
                    name: NAME.to_owned(),
                    password: match right {
                        true => password(),
                        false => Zeroizing::new("wrong horse".to_owned()),
                    },
                    fingerprint: device.then(|| FINGERPRINT.to_owned()),
                };
                match accounts.login(login, origin).await {
                    Ok(FirstStep::Authenticated(_)) => Verdict::Authenticated,
                    Ok(FirstStep::Challenged(token)) => Verdict::Challenged(token.as_str().into()),
                    Err(LoginError::Hashing(error)) => panic!("{error}"),
                    Err(LoginError::Locked { .. }) => Verdict::Locked,
                    Err(LoginError::Storage(error)) => Verdict::None(error),
                    Err(LoginError::Refused) => Verdict::Refused,
                }
            }
            Self::MakeRecoveryCodes => {
                let made = accounts.make_recovery_codes(session, password(), None, origin);
                match made.await {
                    Ok(codes) => Verdict::RecoveryCodes(codes[0].as_str().into()),
                    Err(RecoveryCodesError::Hashing(error)) => panic!("{error}"),
                    Err(RecoveryCodesError::Locked { .. }) => Verdict::Locked,
                    Err(RecoveryCodesError::Storage(error)) => Verdict::None(error),
                    Err(RecoveryCodesError::WrongCode | RecoveryCodesError::WrongPassword) => {
                        Verdict::Wrong
                    }
                    Err(
                        RecoveryCodesError::CodeNeeded
                        | RecoveryCodesError::Ended
                        | RecoveryCodesError::FactorNeeded
                        | RecoveryCodesError::NoActiveKey,
                    ) => Verdict::Refused,
                }
            }
            Self::Reinstate => changed(accounts.activate_user(NAME, origin).await),
            Self::RemoveKey { key } => {
                match accounts
                    .remove_key(session, Whose::Mine, *key, origin)
                    .await
                {
                    Ok(()) => Verdict::Done,
                    Err(RemoveKeyError::Storage(error)) => Verdict::None(error),
                    Err(
                        RemoveKeyError::Ended
                        | RemoveKeyError::FactorNeeded
                        | RemoveKeyError::Forbidden
                        | RemoveKeyError::Unknown
                        | RemoveKeyError::UserUnknown,
                    ) => Verdict::Refused,
                }
            }
            Self::RevokeDevice { device } => {
                let removed = accounts.remove_device(session, Whose::Mine, *device, origin);
                match removed.await {
                    Ok(()) => Verdict::Done,
                    Err(RemoveDeviceError::Storage(error)) => Verdict::None(error),
                    Err(
                        RemoveDeviceError::Ended
                        | RemoveDeviceError::FactorNeeded
                        | RemoveDeviceError::Forbidden
                        | RemoveDeviceError::Unknown
                        | RemoveDeviceError::UserUnknown,
                    ) => Verdict::Refused,
                }
            }
            Self::Suspend => changed(accounts.suspend_user(NAME, origin).await),
            Self::Unlock => changed(accounts.unlock_user(NAME, origin).await),
        }
    }
}

impl Attack {
    async fn perform(self, accounts: &Accounts, old: &Session) -> Verdict {
        let origin = &origin();
        let password = || Zeroizing::new(PASSWORD.to_owned());
        match self {
            Self::AddApplicationToken => {
                let new = NewApplicationToken::default();
                match accounts.add_application_token(old, new, origin).await {
                    Ok(_) => Verdict::Done,
                    Err(ApplicationTokenError::Storage(error)) => Verdict::None(error),
                    Err(_) => Verdict::Refused,
                }
            }
            // What it is changed to makes no difference: it ends all sessions.
            Self::ChangePassword => {
                let changed = accounts.change_password(old, password(), password(), origin);
                match changed.await {
                    Ok(()) => Verdict::Done,
                    Err(ChangePasswordError::Storage(error)) => Verdict::None(error),
                    Err(_) => Verdict::Refused,
                }
            }
            Self::MakeRecoveryCodes => {
                let made = accounts.make_recovery_codes(old, password(), None, origin);
                match made.await {
                    Ok(codes) => Verdict::RecoveryCodes(codes[0].as_str().into()),
                    Err(RecoveryCodesError::Storage(error)) => Verdict::None(error),
                    Err(_) => Verdict::Refused,
                }
            }
            Self::RemoveKey(key) => {
                match accounts.remove_key(old, Whose::Mine, key, origin).await {
                    Ok(()) => Verdict::Done,
                    Err(RemoveKeyError::Storage(error)) => Verdict::None(error),
                    Err(_) => Verdict::Refused,
                }
            }
            Self::RevokeDevice(device) => {
                let removed = accounts.remove_device(old, Whose::Mine, device, origin);
                match removed.await {
                    Ok(()) => Verdict::Done,
                    Err(RemoveDeviceError::Storage(error)) => Verdict::None(error),
                    Err(_) => Verdict::Refused,
                }
            }
        }
    }
}

fn changed<T>(outcome: Result<T, ChangeUserError>) -> Verdict {
    match outcome {
        Ok(_) => Verdict::Done,
        Err(ChangeUserError::Storage(error)) => Verdict::None(error),
        Err(ChangeUserError::Unknown) => Verdict::Refused,
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        who: Who::Anonymous,
        request_id: None,
        address: None,
        applicant: Applicant::default(),
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activate { key, code } => write!(f, "activate key {key} with {code}"),
            Self::Answer { token, code, trust } => {
                write!(f, "answer challenge {:.6} with {code}", token)?;
                f.write_str(if *trust { " and trust the device" } else { "" })
            }
            Self::Attack(attack) => write!(f, "attack by an old token: {attack:?}"),
            Self::Enrol => f.write_str("enrol a key"),
            Self::LogIn { right, device } => {
                let password = if *right { "the" } else { "a wrong" };
                let device = if *device { " from the device" } else { "" };
                write!(f, "log in with {password} password{device}")
            }
            Self::MakeRecoveryCodes => f.write_str("make recovery codes"),
            Self::Reinstate => f.write_str("end the suspension"),
            Self::RemoveKey { key } => write!(f, "remove key {key}"),
            Self::RevokeDevice { device } => write!(f, "trust device {device} no more"),
            Self::Suspend => f.write_str("suspend the user"),
            Self::Unlock => f.write_str("lift the lock"),
        }
    }
}
