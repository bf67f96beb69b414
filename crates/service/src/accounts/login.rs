//! Logging in: a password, then perhaps a code.

use super::{
    Accounts,
    access_token::Login,
    password::canonical,
    records::{ChallengeRecord, User, challenge_key, user_key},
    signing_key::Signer,
    snapshot::{Change, Snapshot},
    wait,
};
use crate::{HashingError, Origin, PasswordVerdict, StorageError, Who, audit::Deed, storage::Race};
use keyproof_auth::{TOKEN_BYTES, Token};
use keyproof_mfa::{
    Authenticated, Client, Factor, Fingerprint, FirstFactor, LoginRefusal, MfaError, Network,
    NewDevice, Password, PasswordRefusal, Proof,
};
use keyproof_store::{Batch, Stored, Timestamp};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// A name is told to the audit trail up to so many characters: anybody may send any.
const NAME_TOLD: usize = 128;

/// What the audit trail is told of an attempt that was not judged.
pub(super) const UNJUDGED: &str = "Too many failed authentication requests";

/// What it is told of a wrong password.
pub(super) const WRONG_PASSWORD: &str = "Invalid password";

/// What it is told of the wrong password that locks.
pub(super) const LOCKING_PASSWORD: &str =
    "Invalid password. Too many failed authentication requests";

/// What it is told of a wrong code.
pub(super) const WRONG_CODE: &str = "Invalid MFA code";

/// What it is told of a code that is spent.
pub(super) const USED_CODE: &str = "MFA code used before";

/// What it is told of the wrong code that locks.
pub(super) const LOCKING_CODE: &str = "Invalid MFA code. Too many failed authentication requests";

/// What it is told of a challenge that is unknown or over.
const BAD_CHALLENGE: &str = "Invalid or expired MFA token";

/// The first step of a login.
pub struct PasswordLogin {
    /// The user's name.
    pub name: String,
    /// The password, as typed or as the SHA-1 of that in hex.
    pub password: Zeroizing<String>,
    /// What tells the client's device from others.
    pub fingerprint: Option<String>,
}

/// A device to be trusted from now on.
#[derive(Clone)]
pub struct TrustRequest {
    /// What tells it from others.
    pub fingerprint: String,
    /// Which browser it runs.
    pub browser: Option<String>,
    /// What its user calls it.
    pub name: Option<String>,
    /// Which operating system it runs.
    pub operating_system: Option<String>,
}

/// What is known of the device, quoted: it is the client's word.
impl fmt::Display for TrustRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.operating_system, &self.browser) {
            (Some(system), Some(browser)) => {
                write!(f, " (operating system {system:?}, browser {browser:?})")
            }
            (Some(system), None) => write!(f, " (operating system {system:?})"),
            (None, Some(browser)) => write!(f, " (browser {browser:?})"),
            (None, None) => Ok(()),
        }
    }
}

/// What a login gives.
pub struct Tokens {
    /// For requests; see [`ACCESS_TOKEN_LIFETIME`](super::ACCESS_TOKEN_LIFETIME).
    pub access: Zeroizing<String>,
    /// For new access tokens.
    pub refresh: Zeroizing<String>,
}

/// What an accepted password gives.
pub enum FirstStep {
    /// The user is logged in.
    Authenticated(Tokens),
    /// A code is needed beside this token, within ten minutes.
    Challenged(Zeroizing<String>),
}

/// Why a password gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// Unknown name, wrong password or suspended user.
    #[error("wrong name or password")]
    Refused,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a code, or a refresh token, gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// What is said about the device to be trusted cannot be kept.
    #[error(transparent)]
    Device(#[from] MfaError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// The token is unknown, spent or ended, or the code is wrong or used.
    #[error("wrong token or code")]
    Refused,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl fmt::Debug for FirstStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticated(_) => f.write_str("Authenticated(..)"),
            Self::Challenged(_) => f.write_str("Challenged(..)"),
        }
    }
}

impl Accounts {
    /// Judges a name and a password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(
        &self,
        login: PasswordLogin,
        origin: &Origin,
    ) -> Result<FirstStep, LoginError> {
        let signer = self.signing.signer(self.clock.now()).await?;
        let password = canonical(login.password);
        // One that no device can have is no trusted device's.
        let fingerprint = login.fingerprint.as_deref();
        let fingerprint = fingerprint.and_then(|text| Fingerprint::new(text).ok());
        let client = Client {
            fingerprint: fingerprint.as_ref(),
            network: origin.address.map(Network::of),
        };
        let mut judge = Judge::new(password);
        let mut race = Race::default();
        loop {
            let snapshot = self.snapshot(&login.name).await?;
            let records = snapshot.records();
            if let Err(locked) = records.admit(client, snapshot.at()) {
                self.audit
                    .refused(failed(&login.name, UNJUDGED, origin))
                    .await;
                let wait = wait(locked.until, snapshot.now);
                return Err(LoginError::Locked { wait });
            }
            let hash = snapshot.active_user().map(|user| user.password.clone());
            let Some(password) = judge.verdict(self, hash, origin).await? else {
                // Judging takes a while: what it rests on is read again.
                continue;
            };
            let decision = records.begin_login(password, client, snapshot.at(), &self.policy);
            let mut batch = self.store.batch(snapshot.now);
            let mut change = Change::default();
            let outcome = match (decision.verdict, snapshot.active_user()) {
                (Ok(FirstFactor::Challenged), Some(_)) => {
                    let token = self.draw_token(snapshot.now);
                    change.challenge = Some(challenge_key(&token));
                    Ok(Granted::Challenge(token))
                }
                (Ok(_), Some(user)) => {
                    // A trusted device shows no factor.
                    let login = self.begin_session(None, snapshot.now);
                    let refresh = self.add_refresh_token(&mut batch, &snapshot, &login);
                    let detail = match decision.verdict {
                        Ok(FirstFactor::AuthenticatedByDevice(device)) => {
                            format!("by password, from trusted device {}", device.get())
                        }
                        _ => "by password".to_owned(),
                    };
                    self.told_login(&mut batch, &snapshot, user, detail, origin);
                    Ok(Granted::Tokens(login, refresh))
                }
                // Nobody's password is right.
                (Ok(_), None) => Err(LoginError::Refused),
                (Err(refusal), _) => {
                    let locked = |until| LoginError::Locked {
                        wait: wait(until, snapshot.now),
                    };
                    let (reason, error) = match refusal {
                        PasswordRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        PasswordRefusal::WrongPassword(failure) => match failure.locked_until {
                            Some(until) => (LOCKING_PASSWORD, locked(until)),
                            None => (WRONG_PASSWORD, LoginError::Refused),
                        },
                    };
                    let deed = failed(&login.name, reason, origin);
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, change);
            if !race.won(self.store.commit(batch).await).await? {
                continue;
            }
            let granted = outcome?;
            if let Some(user) = snapshot.active_user() {
                judge.rehash(self, user, origin).await;
            }
            return match (granted, snapshot.active_user()) {
                (Granted::Challenge(token), _) => Ok(FirstStep::Challenged(token.text())),
                (Granted::Tokens(login, refresh), Some(user)) => Ok(FirstStep::Authenticated(
                    self.tokens(&signer, user, &login, &refresh)?,
                )),
                (Granted::Tokens(..), None) => Err(LoginError::Refused),
            };
        }
    }

    /// Judges the code that answers a challenge; a recovery code will do. If it is right the device is trusted, if
    /// one is given.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub async fn answer_challenge(
        &self,
        token: &str,
        code: &str,
        trusts: Option<&TrustRequest>,
        origin: &Origin,
    ) -> Result<Tokens, AnswerError> {
        let Ok(token) = Token::parse(token) else {
            return Err(self.refused_token(BAD_CHALLENGE, origin).await);
        };
        let trust = trusts.map(|trust| self.new_device(trust)).transpose()?;
        let signer = self.signing.signer(self.clock.now()).await?;
        let place = challenge_key(&token);
        let mut race = Race::default();
        loop {
            let now = self.clock.now();
            let found = self.store.get::<ChallengeRecord>(&place, now).await;
            let found = found.map_err(StorageError::from)?;
            let Some(Stored { record: asked, .. }) = found else {
                return Err(self.refused_token(BAD_CHALLENGE, origin).await);
            };
            let snapshot = self
                .snapshot_of(&asked.name, asked.owner, Some(&token))
                .await?;
            let (Some(user), Some(second_factor)) =
                (snapshot.active_user(), snapshot.second_factor.as_ref())
            else {
                return Err(self.refused_token(BAD_CHALLENGE, origin).await);
            };
            let secret = self.secret(asked.owner, &second_factor.record)?;
            let proof = Proof::Typed {
                text: code,
                secret: &secret,
            };
            let decision = snapshot.records().answer_challenge(
                &proof,
                trust.clone(),
                origin.address.map(Network::of),
                snapshot.at(),
                &self.policy,
            );
            let mut batch = self.store.batch(snapshot.now);
            let outcome = match decision.verdict {
                Ok(authenticated) => {
                    self.told_factor(&mut batch, &snapshot, user, &authenticated, trusts, origin);
                    let shown = Some(authenticated.factor.into());
                    let login = self.begin_session(shown, snapshot.now);
                    Ok((login, self.add_refresh_token(&mut batch, &snapshot, &login)))
                }
                Err(refusal) => {
                    let locked = |until| AnswerError::Locked {
                        wait: wait(until, snapshot.now),
                    };
                    let (reason, error) = match refusal {
                        LoginRefusal::ChallengeOver(_) => (BAD_CHALLENGE, AnswerError::Refused),
                        LoginRefusal::Replayed => (USED_CODE, AnswerError::Refused),
                        LoginRefusal::WrongCode(failure) => match failure.locked_until {
                            Some(until) => (LOCKING_CODE, locked(until)),
                            None => (WRONG_CODE, AnswerError::Refused),
                        },
                        LoginRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                    };
                    let deed = failed(&user.name, reason, origin);
                    if snapshot.is_unchanged(&decision.next) {
                        // Nothing was counted, so there is nothing to commit it with.
                        self.audit.refused(deed).await;
                        return Err(error);
                    }
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, Change::default());
            if race.won(self.store.commit(batch).await).await? {
                let (login, refresh) = outcome?;
                return Ok(self.tokens(&signer, user, &login, &refresh)?);
            }
        }
    }

    /// Tells the audit trail of a token of which nobody knows whose it was.
    pub(super) async fn refused_token(&self, reason: &str, origin: &Origin) -> AnswerError {
        self.audit.refused(failed("", reason, origin)).await;
        AnswerError::Refused
    }

    pub(super) fn draw_token(&self, now: Timestamp) -> Token {
        let random = Zeroizing::new(self.random::<TOKEN_BYTES>());
        Token::made_at(now.as_millis(), *random)
    }

    fn new_device(&self, trust: &TrustRequest) -> Result<NewDevice, MfaError> {
        let fingerprint = Fingerprint::new(&trust.fingerprint)?;
        let mut device = NewDevice::new(fingerprint, self.random());
        if let Some(browser) = &trust.browser {
            device = device.with_browser(browser)?;
        }
        if let Some(name) = &trust.name {
            device = device.with_name(name)?;
        }
        if let Some(operating_system) = &trust.operating_system {
            device = device.with_operating_system(operating_system)?;
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

    fn told_login(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        user: &User,
        detail: String,
        origin: &Origin,
    ) {
        let origin = by(user, origin);
        let deed = Deed {
            action: "user.authenticate",
            target: target(user),
            detail: Some(detail),
            origin: &origin,
        };
        self.audit.done(batch, snapshot.now, deed);
    }

    fn told_factor(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
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
        self.told_login(batch, snapshot, user, detail, origin);
        if let (Some(trusted), Some(trusts)) = (&authenticated.trusted, trusts) {
            let origin = by(user, origin);
            let deed = Deed {
                action: "trusted_device.add",
                target: format!("{}/trusted_device/{}", target(user), trusted.id.get()),
                detail: Some(format!(
                    "type 14: New trusted device registered for user {}{trusts}",
                    user.name
                )),
                origin: &origin,
            };
            self.audit.done(batch, snapshot.now, deed);
        }
    }
}

/// What the first step leads to.
enum Granted {
    Challenge(Token),
    Tokens(Login, Token),
}

/// A password, and what became of it last. Hashing is slow, so it is not done again unless there is another hash to
/// compare with.
pub(super) struct Judge {
    password: Zeroizing<String>,
    judged: Option<(Option<String>, PasswordVerdict)>,
}

impl Judge {
    pub(super) const fn new(password: Zeroizing<String>) -> Self {
        Self {
            password,
            judged: None,
        }
    }

    /// The verdict, if it was found by comparing with this hash; else compares, and the caller reads again.
    pub(super) async fn verdict(
        &mut self,
        accounts: &Accounts,
        hash: Option<String>,
        origin: &Origin,
    ) -> Result<Option<Password>, HashingError> {
        match &self.judged {
            Some((with, verdict)) if *with == hash => Ok(Some(match verdict {
                PasswordVerdict::Accepted { .. } => Password::Correct,
                PasswordVerdict::Refused => Password::Wrong,
            })),
            _ => {
                let password = self.password.clone();
                let turn = accounts.turn(origin);
                let verdict = accounts.hashing.verify(turn, hash.as_deref(), password);
                let verdict = verdict.await?;
                self.judged = Some((hash, verdict));
                Ok(None)
            }
        }
    }

    /// Stores the password under the cost in force, while it is at hand. The login does not depend on it.
    async fn rehash(self, accounts: &Accounts, user: &User, origin: &Origin) {
        let Some((_, PasswordVerdict::Accepted { needs_rehash: true })) = self.judged else {
            return;
        };
        let outcome = async {
            let entropy = accounts.store.entropy();
            let turn = accounts.turn(origin);
            let hash = accounts.hashing.hash(turn, self.password, entropy).await;
            let hash = hash.map_err(|error| error.to_string())?;
            let now = accounts.clock.now();
            let place = user_key(user.owner());
            let stored = accounts.store.get::<User>(&place, now).await;
            let stored = stored.map_err(|error| error.to_string())?;
            let Some(stored) = stored.filter(|stored| stored.record == *user) else {
                return Ok(());
            };
            let next = User {
                password: hash,
                ..stored.record
            };
            let mut batch = accounts.store.batch(now);
            batch.replace(&place, stored.version, &next, None);
            accounts
                .store
                .commit(batch)
                .await
                .map_err(|error| error.to_string())
        };
        if let Err(error) = outcome.await {
            tracing::info!(
                user = user.id,
                error,
                "the password keeps its older hash for now"
            );
        }
    }
}

/// A user in the audit trail.
pub(super) fn target(user: &User) -> String {
    format!("organisation/{}/user/{}", user.organisation, user.id)
}

/// What a user does who has just shown who they are.
pub(super) fn by(user: &User, origin: &Origin) -> Origin {
    origin.by(Who::User {
        name: user.name.clone(),
        application_token: None,
    })
}

/// A failed login; the name is empty where nobody knows whose it was.
pub(super) fn failed<'a>(name: &str, reason: &str, origin: &'a Origin) -> Deed<'a> {
    let name: String = name
        .chars()
        .take(NAME_TOLD)
        .flat_map(char::escape_debug)
        .collect();
    let by = match name.as_str() {
        "" => String::new(),
        name => format!(" from '{name}'"),
    };
    let from = origin
        .address
        .map_or_else(String::new, |address| format!(" from IP {address}"));
    Deed {
        action: "user.authenticate",
        target: format!("user_name/{name}"),
        detail: Some(format!(
            "type 6: Failed authentication request{by}, Reason: {reason}{from}"
        )),
        origin,
    }
}
