//! The commands that a node is given and their verdicts, over the real use cases.

use std::{convert::Infallible, fmt, sync::Arc};

use keyproof_service::{
    Accounts, Action, CommandLine, Failure, Origin, Principal, StorageError,
    accounts::{
        AccountTarget, ActivateKeyError, AnswerError, EnrolKeyError, EnrolledKey, FirstStep,
        LoginError, Manager, NewApplicationToken, PasswordChange, PasswordLogin, PasswordRefused,
        Person, RecoveryCodesError, RecoveryCodesRequest, Session, TargetUser, TrustRequest,
        UserChange,
    },
};
use zeroize::Zeroizing;

pub(crate) const NAME: &str = "ada@example.org";
const FINGERPRINT: &str = "laptop";

/// No phone shows this code while the model runs.
pub(crate) const WRONG_CODE: &str = "000000";

/// The attempts of an attacker who has the password and an access token issued before the activation.
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
    /// Contains the challenge's token.
    Challenged(Arc<str>),
    Done,
    Enrolled {
        key: u32,
        secret: Arc<str>,
    },
    Locked,
    /// The store failed.
    None(StorageError),
    RecoveryCodes(Arc<str>),
    Refused,
    /// A refusal that by itself reveals that a guess was wrong.
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
    /// Returns whether the command's random output is seen again: a number, a secret or a token.
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

    /// Runs the command. `old` is the attacker's session.
    pub(crate) async fn perform(
        &self,
        accounts: &Accounts,
        session: &Session,
        old: &Session,
    ) -> Verdict {
        let origin = &origin();
        match self {
            Self::Activate { key, code } => {
                let person = person(accounts, session, Action::MfaKeyActivate).await;
                let code = sent(Zeroizing::new(code.to_string()));
                let activated = accounts.activate_key(&person, *key, code);
                verdict(activated.await, done, |refusal| match refusal {
                    ActivateKeyError::Locked { .. } => Verdict::Locked,
                    ActivateKeyError::WrongCode => Verdict::Wrong,
                    ActivateKeyError::Body(never) => match never {},
                    ActivateKeyError::AlreadyActive
                    | ActivateKeyError::SessionRefused(_)
                    | ActivateKeyError::Unknown => Verdict::Refused,
                })
            }
            Self::Answer { token, code, trust } => {
                let device = TrustRequest {
                    fingerprint: FINGERPRINT.to_owned(),
                    replacing: None,
                    browser: None,
                    name: None,
                    operating_system: None,
                };
                let trust = trust.then_some(&device);
                let answered = accounts.answer_challenge(token, code, trust, origin);
                let authenticated = |_| Verdict::Authenticated;
                verdict(answered.await, authenticated, |refusal| match refusal {
                    AnswerError::Locked { .. } => Verdict::Locked,
                    AnswerError::Device(_) | AnswerError::Refused => Verdict::Refused,
                })
            }
            Self::Attack(attack) => attack.perform(accounts, old).await,
            Self::Enrol => {
                let person = person(accounts, session, Action::MfaKeyAdd).await;
                let enrolled = accounts.enrol_key(&person, sent(password())).await;
                let shown = |enrolled: EnrolledKey| Verdict::Enrolled {
                    key: enrolled.key.id,
                    secret: enrolled.secret.as_str().into(),
                };
                verdict(enrolled, shown, |refusal| match refusal {
                    EnrolKeyError::Body(never) => match never {},
                    EnrolKeyError::PasswordRefused(why) => password_refused(why),
                    EnrolKeyError::AlreadyActive | EnrolKeyError::SessionRefused(_) => {
                        Verdict::Refused
                    }
                })
            }
            Self::LogIn { right, device } => {
                let login = PasswordLogin {
                    name: NAME.to_owned(),
                    password: if *right {
                        password()
                    } else {
                        Zeroizing::new("wrong horse".to_owned())
                    },
                    fingerprint: device.then(|| FINGERPRINT.to_owned()),
                };
                let step = |step| match step {
                    FirstStep::Authenticated(_) => Verdict::Authenticated,
                    FirstStep::Challenged(token) => Verdict::Challenged(token.as_str().into()),
                };
                let login = accounts.login(login, origin).await;
                verdict(login, step, |refusal| match refusal {
                    LoginError::Hashing(error) => panic!("{error}"),
                    LoginError::Locked { .. } => Verdict::Locked,
                    LoginError::Refused => Verdict::Refused,
                })
            }
            Self::MakeRecoveryCodes => {
                let person = person(accounts, session, Action::RecoveryCodesMake).await;
                let made = accounts.make_recovery_codes(&person, sent(by_password()));
                verdict(made.await, first_code, |refusal| match refusal {
                    RecoveryCodesError::Body(never) => match never {},
                    RecoveryCodesError::PasswordRefused(why) => password_refused(why),
                    RecoveryCodesError::WrongCode => Verdict::Wrong,
                    RecoveryCodesError::CodeNeeded
                    | RecoveryCodesError::NoActiveKey
                    | RecoveryCodesError::SessionRefused(_) => Verdict::Refused,
                })
            }
            Self::Reinstate => administered(accounts, UserChange::Activate).await,
            Self::RemoveKey { key } => {
                let manager = manager(accounts, session, Action::MfaKeyRemove).await;
                let removed = accounts.remove_key(&manager, *key);
                verdict(removed.await, done, refused)
            }
            Self::RevokeDevice { device } => {
                let manager = manager(accounts, session, Action::TrustedDeviceRemove).await;
                let removed = accounts.remove_device(&manager, *device);
                verdict(removed.await, done, refused)
            }
            Self::Suspend => administered(accounts, UserChange::Suspend).await,
            Self::Unlock => administered(accounts, UserChange::Unlock).await,
        }
    }
}

impl Attack {
    async fn perform(self, accounts: &Accounts, old: &Session) -> Verdict {
        match self {
            Self::AddApplicationToken => {
                let act = Action::ApplicationTokenAdd;
                let editor = accounts.editor(old.clone(), act, &origin()).await;
                let new = sent(NewApplicationToken::default());
                let added = accounts.add_application_token(&editor.unwrap(), new).await;
                verdict(added, done, refused)
            }
            // The new password does not matter, as the change ends all sessions.
            Self::ChangePassword => {
                let person = person(accounts, old, Action::UserSetPassword).await;
                let change = PasswordChange {
                    old: password(),
                    new: password(),
                };
                let changed = accounts.change_password(&person, sent(change));
                verdict(changed.await, done, refused)
            }
            Self::MakeRecoveryCodes => {
                let person = person(accounts, old, Action::RecoveryCodesMake).await;
                let made = accounts.make_recovery_codes(&person, sent(by_password()));
                verdict(made.await, first_code, refused)
            }
            Self::RemoveKey(key) => {
                let manager = manager(accounts, old, Action::MfaKeyRemove).await;
                verdict(accounts.remove_key(&manager, key).await, done, refused)
            }
            Self::RevokeDevice(device) => {
                let manager = manager(accounts, old, Action::TrustedDeviceRemove).await;
                let removed = accounts.remove_device(&manager, device).await;
                verdict(removed, done, refused)
            }
        }
    }
}

/// Permits the user to act on her own account in her session.
pub(crate) async fn person(accounts: &Accounts, session: &Session, act: Action) -> Person {
    let person = accounts.person(session.clone(), act, &origin()).await;
    person.unwrap()
}

/// Permits the user to act on her own second factor.
pub(crate) async fn manager(accounts: &Accounts, session: &Session, act: Action) -> Manager {
    let origin = origin();
    let manager = accounts.manager(session.clone(), act, TargetUser::Mine, &origin);
    manager.await.unwrap()
}

/// Returns a valid request body.
pub(crate) fn sent<T>(body: T) -> Result<T, Infallible> {
    Ok(body)
}

pub(crate) fn password() -> Zeroizing<String> {
    Zeroizing::new("correct horse".to_owned())
}

fn by_password() -> RecoveryCodesRequest {
    RecoveryCodesRequest {
        password: password(),
        code: None,
    }
}

fn verdict<T, E>(
    outcome: Result<T, Failure<E>>,
    yes: impl FnOnce(T) -> Verdict,
    no: impl FnOnce(E) -> Verdict,
) -> Verdict {
    match outcome {
        Ok(value) => yes(value),
        Err(Failure::Refused(refusal)) => no(refusal),
        Err(Failure::Storage(error)) => Verdict::None(error),
    }
}

fn password_refused(why: PasswordRefused) -> Verdict {
    match why {
        PasswordRefused::Hashing(error) => panic!("{error}"),
        PasswordRefused::Locked { .. } => Verdict::Locked,
        PasswordRefused::WrongPassword => Verdict::Wrong,
    }
}

fn done<T>(_: T) -> Verdict {
    Verdict::Done
}

async fn administered(accounts: &Accounts, change: UserChange) -> Verdict {
    let command = command_line();
    let changed = accounts.change_user(AccountTarget::Named(&command, NAME), change);
    verdict(changed.await, done, refused)
}

fn refused<E>(_: E) -> Verdict {
    Verdict::Refused
}

fn first_code(codes: Vec<Zeroizing<String>>) -> Verdict {
    Verdict::RecoveryCodes(codes[0].as_str().into())
}

pub(crate) fn origin() -> Origin {
    Origin::keyproof().by(Principal::Anonymous)
}

pub(crate) fn command_line() -> CommandLine {
    CommandLine::of("root".to_owned())
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
