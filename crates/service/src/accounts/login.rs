//! Login with a password and, if required, a code.

use std::{fmt, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_auth::Token;
use keyproof_mfa::{
    Authenticated, Client, Factor, FactorKind, Fingerprint, FirstFactor, LoginRefusal, MfaError,
    Network, NewDevice, Password, PasswordRefusal, Proof,
};
use keyproof_store::{Batch, Timestamp};
use ring::hmac;
use zeroize::Zeroizing;

use super::{
    Accounts, Detail, Reason,
    access_token::Login,
    account::{Account, Change},
    events::{FailedLogin, by, deed_on, new_event},
    password::shown,
    records::{User, challenge_key},
    signing_key::Signer,
};
use crate::{
    Action, Failure, HashingError, Origin, StorageError,
    audit::UserPart,
    keys::draw_token,
    storage::{Attempt, refuse, transact},
    text::cut,
};

/// The first step of a login.
pub struct PasswordLogin {
    /// The user's name.
    pub name: String,
    /// The password as typed, or its SHA-1 in hex.
    pub password: Zeroizing<String>,
    /// The fingerprint that identifies the client's device.
    pub fingerprint: Option<String>,
}

/// A device to be trusted from now on.
#[derive(Clone)]
pub struct TrustRequest {
    /// The fingerprint that identifies it.
    pub fingerprint: String,
    /// Its earlier fingerprint, which is no longer trusted.
    pub replacing: Option<String>,
    /// Its browser.
    pub browser: Option<String>,
    /// The name that its user gave it.
    pub name: Option<String>,
    /// Its operating system.
    pub operating_system: Option<String>,
}

/// The tokens that a login yields.
pub struct Tokens {
    /// The access token, for requests; see [`ACCESS_TOKEN_LIFETIME`](super::ACCESS_TOKEN_LIFETIME).
    pub access: Zeroizing<String>,
    /// The refresh token, for new access tokens.
    pub refresh: Zeroizing<String>,
}

/// The result of a correct password. `T` keeps the login: tokens, or the token of a browser session.
pub enum FirstStep<T = Tokens> {
    /// The user is logged in.
    Authenticated(T),
    /// A code is needed with this token, within ten minutes.
    Challenged(Zeroizing<String>),
}

/// The error of a login with a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this attempt started the lockout or came during one.
    #[error("too many failures")]
    Locked {
        /// How long until the next attempt is checked.
        wait: Duration,
    },
    /// Unknown name, wrong password or suspended user.
    #[error("wrong name or password")]
    Refused,
}

/// The error when a code or refresh token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A text about the device to be trusted cannot be stored.
    #[error(transparent)]
    Device(#[from] MfaError),
    /// Too many failures: this attempt started the lockout or was refused because of it.
    #[error("too many failures")]
    Locked {
        /// How long until the next attempt is checked.
        wait: Duration,
    },
    /// The token is unknown, used, expired or revoked, or the code is wrong or was used before.
    #[error("wrong token or code")]
    Refused,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl<T> fmt::Debug for FirstStep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticated(_) => f.write_str("Authenticated(..)"),
            Self::Challenged(_) => f.write_str("Challenged(..)"),
        }
    }
}

impl Accounts {
    /// Verifies a name and a password.
    ///
    /// # Errors
    ///
    /// [`LoginError`].
    pub async fn login(
        &self,
        login: PasswordLogin,
        origin: &Origin,
    ) -> Result<FirstStep, Failure<LoginError>> {
        let signer = self.signing.signer(self.clock.now()).await?;
        let (user, granted) = self
            .judge_password(login, LoginKind::Tokens, origin)
            .await?;
        Ok(match granted {
            Granted::Challenge(token) => FirstStep::Challenged(token.text()),
            Granted::Login(login, refresh) => {
                FirstStep::Authenticated(self.tokens(&signer, &user, &login, &refresh)?)
            }
        })
    }

    /// Like [`login`](Self::login). Adds the token or session that keeps the login to the same batch.
    pub(super) async fn judge_password(
        &self,
        login: PasswordLogin,
        login_kind: LoginKind<'_>,
        origin: &Origin,
    ) -> Result<(Arc<User>, Granted), Failure<LoginError>> {
        let PasswordLogin {
            name,
            password,
            fingerprint,
        } = login;
        let password = shown(password);
        // A malformed fingerprint belongs to no trusted device.
        let fingerprint = fingerprint.and_then(|text| Fingerprint::new(&text).ok());
        let client = Client {
            fingerprint: fingerprint.as_ref(),
            network: origin.address.map(Network::containing),
        };
        let granted = transact("accounts.login", &self.store, || async {
            let account = self.account(&name).await?;
            let locked = |wait| LoginError::Locked { wait };
            let records = account.records();
            // Made for a known name, too, so that both take the same time.
            let stand_in = self.unknown_name(&name);
            let whose = account.user.record();
            let whose = whose.map_or(FailedLogin::Unknown(&stand_in), FailedLogin::User);
            if let Err(lock) = records.check_lockout(client, account.at()) {
                let new_event = self.failed(whose, Reason::NotJudged, origin);
                self.locks.refused();
                self.audit.refused(new_event).await;
                return refuse(locked(account.wait(lock.until)));
            }
            let hash = account.active_user().map(|user| &*user.password);
            let judged = password.verdict(&self.hashing, self.turn(origin), hash);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let decision = records.begin_login(judged, client, account.at(), &self.policy);
            let mut batch = self.store.batch(account.now);
            let mut change = Change::default();
            let verdict = match (decision.verdict, account.active_user()) {
                (Ok(FirstFactor::Challenged), Some(user)) => {
                    let token = self.draw_token(account.now);
                    change.challenge = Some(challenge_key(&token));
                    if account.locks_fingerprints(&decision.next) {
                        self.locks.begins(&mut batch);
                    }
                    self.record_challenge(&mut batch, &account, user, origin)
                        .await?;
                    Ok((Arc::clone(user), Granted::Challenge(token)))
                }
                (Ok(first), Some(user)) => {
                    // A trusted device does not count as a presented factor.
                    let begun = self.begin(&mut batch, user, None, login_kind, account.now);
                    let (login, token) = begun.await?;
                    let detail = match first {
                        FirstFactor::AuthenticatedByDevice(device) => {
                            format!("by password, from trusted device {}", device.get())
                        }
                        _ => "by password".to_owned(),
                    };
                    self.record_login(&mut batch, &account, user, detail, origin);
                    Ok((Arc::clone(user), Granted::Login(login, token)))
                }
                // An unknown user has no correct password.
                (Ok(_), None) => Err(LoginError::Refused),
                (Err(refusal), _) => {
                    let (why, error) = match refusal {
                        PasswordRefusal::Locked(lock) => {
                            let why = match judged {
                                Password::Correct => Reason::RightPasswordLocked,
                                Password::Wrong => Reason::NotJudged,
                            };
                            (why, locked(account.wait(lock.until)))
                        }
                        PasswordRefusal::WrongPassword(failure) => (
                            Reason::wrong_password(&failure),
                            account.locked_or(&failure, LoginError::Refused, locked),
                        ),
                    };
                    let new_event = self.failed(whose, why, origin);
                    let refused = (why, new_event);
                    let locks_device = account.locks_device(&decision.next, client, &self.policy);
                    // While locked, a guess at a fingerprint may be counted, or a failure of a device.
                    let refused = self.refuse_counted(&account, decision.next, refused, error);
                    let mut refused = Box::pin(refused).await?;
                    if let Attempt::Commit(batch, _) = &mut refused
                        && locks_device
                    {
                        self.locks.begins(batch);
                    }
                    return Ok(refused);
                }
            };
            account.save(&mut batch, decision.next, change);
            Ok(Attempt::Commit(batch, verdict))
        });
        let (user, granted) = granted.await?;
        self.rehash(password, &user, origin).await;
        Ok((user, granted))
    }

    /// Verifies the code, or recovery code, that answers a challenge. If it is correct, the given device becomes trusted.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub async fn answer_challenge(
        &self,
        token: &str,
        code: &str,
        trusts: Option<&TrustRequest>,
        origin: &Origin,
    ) -> Result<Tokens, Failure<AnswerError>> {
        let signer = self.signing.signer(self.clock.now()).await?;
        let answered = self.judge_answer(token, code, trusts, LoginKind::Tokens, origin);
        let (user, login, refresh) = answered.await?;
        Ok(self.tokens(&signer, &user, &login, &refresh)?)
    }

    /// Like [`answer_challenge`](Self::answer_challenge). Adds the token or session that keeps the login to the same batch.
    pub(super) async fn judge_answer(
        &self,
        token: &str,
        code: &str,
        trusts: Option<&TrustRequest>,
        login_kind: LoginKind<'_>,
        origin: &Origin,
    ) -> Result<(Arc<User>, Login, Token), Failure<AnswerError>> {
        let Ok(token) = Token::parse(token) else {
            return Err(self.refused_token(Reason::ChallengeUnknown, origin).await);
        };
        let trust = trusts.map(|trust| self.new_device(trust)).transpose();
        let trust = trust.map_err(|error| Failure::Refused(AnswerError::Device(error)))?;
        transact("accounts.answer_challenge", &self.store, || async {
            let Some(account) = self.challenged(&token).await? else {
                return Err(self.refused_token(Reason::ChallengeUnknown, origin).await);
            };
            let (Some(user), Some(second_factor)) =
                (account.active_user(), account.second_factor.record())
            else {
                return Err(self.refused_token(Reason::ChallengeUnknown, origin).await);
            };
            let secret = self.secret(account.second_factor.place(), second_factor)?;
            let proof = Proof::Typed {
                text: code,
                secret: &secret,
            };
            let decision = account.records().answer_challenge(
                &proof,
                trust.clone(),
                origin.address.map(Network::containing),
                account.at(),
                &self.policy,
            );
            match decision.verdict {
                Ok(authenticated) => {
                    let mut batch = self.store.batch(account.now);
                    self.record_factor(&mut batch, &account, user, &authenticated, trusts, origin);
                    let shown = Some(authenticated.factor.into());
                    let begun = self.begin(&mut batch, user, shown, login_kind, account.now);
                    let (login, token) = begun.await?;
                    account.save(&mut batch, decision.next, Change::default());
                    Ok(Attempt::Commit(batch, Ok((Arc::clone(user), login, token))))
                }
                Err(refusal) => {
                    let locked = |wait| AnswerError::Locked { wait };
                    let (why, error) = match refusal {
                        LoginRefusal::ChallengeInvalid(_) => {
                            (Reason::ChallengeUnknown, AnswerError::Refused)
                        }
                        LoginRefusal::Locked(lock) => {
                            (Reason::NotJudged, locked(account.wait(lock.until)))
                        }
                        LoginRefusal::Replayed => (Reason::CodeUsed, AnswerError::Refused),
                        LoginRefusal::WrongCode(failure) => (
                            Reason::wrong_code(&failure),
                            account.locked_or(&failure, AnswerError::Refused, locked),
                        ),
                    };
                    let new_event = self.failed(FailedLogin::User(user), why, origin);
                    self.refuse(&account, decision.next, (why, new_event), error)
                        .await
                }
            }
        })
        .await
    }

    /// Starts a session and adds the refresh token or browser session that keeps the login.
    async fn begin(
        &self,
        batch: &mut Batch,
        user: &User,
        shown: Option<FactorKind>,
        login_kind: LoginKind<'_>,
        now: Timestamp,
    ) -> Result<(Login, Token), StorageError> {
        let login = self.begin_session(shown, now);
        let token = match login_kind {
            LoginKind::Tokens => self.add_refresh_token(batch, user, &login, now),
            LoginKind::Browser(before) => {
                let added = self.add_user_session(batch, user, &login, before, now);
                added.await?
            }
        };
        Ok((login, token))
    }

    /// Returns the stand-in for an unknown name, which may be somebody's password, in the audit trail. It is the same for the same
    /// name until this process ends, and cannot be used to guess the name.
    fn unknown_name(&self, name: &str) -> String {
        let tag = hmac::sign(&self.stand_ins, name.as_bytes());
        let short = tag.as_ref().get(..8).unwrap_or_default();
        HEXLOWER.encode(short)
    }

    /// Records a refused token with an unknown owner in the audit trail.
    pub(super) async fn refused_token(&self, why: Reason, origin: &Origin) -> Failure<AnswerError> {
        let new_event = self.failed(FailedLogin::Unattributed, why, origin);
        self.audit.refused(new_event).await;
        Failure::Refused(AnswerError::Refused)
    }

    pub(super) fn draw_token(&self, now: Timestamp) -> Token {
        draw_token(self.store.entropy(), Some(now))
    }

    /// Texts about the device are cut to the maximum length and not rejected, because only the code decides.
    fn new_device(&self, trust: &TrustRequest) -> Result<NewDevice, MfaError> {
        let fingerprint = Fingerprint::new(&trust.fingerprint)?;
        let mut device = NewDevice::new(fingerprint, self.random());
        // A malformed fingerprint belongs to no trusted device.
        if let Some(former) = &trust.replacing
            && let Ok(former) = Fingerprint::new(former)
        {
            device = device.replacing(former);
        }
        if let Some(browser) = &trust.browser {
            device = device.with_browser(kept_text(browser))?;
        }
        if let Some(name) = &trust.name {
            device = device.with_name(kept_text(name))?;
        }
        if let Some(operating_system) = &trust.operating_system {
            device = device.with_operating_system(kept_text(operating_system))?;
        }
        Ok(device)
    }

    fn tokens(
        &self,
        signer: &Signer,
        user: &User,
        login: &Login,
        refresh: &Token,
    ) -> Result<Tokens, StorageError> {
        Ok(Tokens {
            access: self.access_token(signer, user, login, None, self.clock.now())?,
            refresh: refresh.text(),
        })
    }

    fn record_login(
        &self,
        batch: &mut Batch,
        account: &Account,
        user: &User,
        detail: String,
        origin: &Origin,
    ) {
        let origin = by(user, origin);
        let new_event = new_event(Action::UserAuthenticate, user, Some(detail), &origin);
        self.audit.done(batch, account.now, new_event);
    }

    /// A client that stops here knows the password, so the user must be able to see this step although it led to nothing.
    async fn record_challenge(
        &self,
        batch: &mut Batch,
        account: &Account,
        user: &User,
        origin: &Origin,
    ) -> Result<(), StorageError> {
        let origin = by(user, origin);
        let detail = "the password was right, and a code is asked for".to_owned();
        let new_event = new_event(Action::UserChallenge, user, Some(detail), &origin);
        self.audit.begun(batch, account.now, new_event).await
    }

    fn record_factor(
        &self,
        batch: &mut Batch,
        account: &Account,
        user: &User,
        authenticated: &Authenticated,
        trusts: Option<&TrustRequest>,
        origin: &Origin,
    ) {
        let detail = match authenticated.factor {
            Factor::RecoveryCode { left } => {
                format!("by password and recovery code, of which {left} are left")
            }
            _ => "by password and MFA code".to_owned(),
        };
        self.record_login(batch, account, user, detail, origin);
        if let (Some(trusted), Some(trusts)) = (&authenticated.trusted, trusts) {
            let origin = by(user, origin);
            let part = UserPart::TrustedDevice(trusted.id.get());
            let detail = self.worded(&Detail::DeviceTrusted {
                user: &user.subject().to_string(),
                operating_system: trusts.operating_system.as_deref().map(kept_text),
                browser: trusts.browser.as_deref().map(kept_text),
            });
            let new_event = deed_on(Action::TrustedDeviceAdd, user, part, detail, &origin);
            self.audit.done(batch, account.now, new_event);
        }
    }
}

/// Cuts a text about a device to the maximum length.
fn kept_text(text: &str) -> &str {
    cut(text, NewDevice::MAX_TEXT_LEN)
}

/// The result of the first step.
pub(super) enum Granted {
    /// The token of the challenge.
    Challenge(Token),
    /// The login, and the token that keeps it.
    Login(Login, Token),
}

/// How a login is kept.
#[derive(Clone, Copy)]
pub(super) enum LoginKind<'a> {
    /// A browser session, which replaces this one.
    Browser(Option<&'a Token>),
    /// A refresh token.
    Tokens,
}
