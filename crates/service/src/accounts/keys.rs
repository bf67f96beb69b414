//! A user's key: enrolment, activation and removal.

use std::{fmt, time::Duration};

use keyproof_mfa::{
    ActivateRefusal, EnrolRefusal, KeyKind, KeyStatus, NoKey, PasswordRefusal, Proof,
    otp::{
        Secret,
        otpauth::{Kind, OtpauthUri},
    },
};
use keyproof_store::{Batch, Timestamp};
use zeroize::Zeroizing;

use super::{
    Accounts, Detail, Manager, PasswordRefused, Person, Reason, SessionRefused,
    account::{Account, Change},
    authorized::Managed,
    events::deed_on,
    password::shown,
    records::{SecondFactor, User, second_factor_key},
    session_id::TokenId,
    timestamp,
};
use crate::{
    Action, Failure, Origin, StorageError,
    audit::UserPart,
    storage::{Attempt, damaged, refuse, require_body},
};

/// The length of a new secret, in bytes: 160 bits, as RFC 4226, section 4, recommends.
const SECRET_BYTES: usize = 20;

/// A second factor's key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySummary {
    /// Its number.
    pub id: u32,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// Since when it is required at login; `None` while it is pending.
    pub activated_at: Option<Timestamp>,
}

impl KeySummary {
    pub(super) fn of(record: &SecondFactor) -> Self {
        Self {
            id: record.id,
            created_at: timestamp(record.key.created_at()),
            activated_at: match record.key.status() {
                KeyStatus::Pending => None,
                KeyStatus::Active { since } => Some(timestamp(since)),
            },
        }
    }
}

/// A key that was just enrolled.
pub struct EnrolledKey {
    /// The key.
    pub key: KeySummary,
    /// Its secret in Base32, which is shown only once.
    pub secret: Zeroizing<String>,
    /// The `otpauth` URI of the secret, for a QR code.
    pub uri: Zeroizing<String>,
}

impl fmt::Debug for EnrolledKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolledKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The error when no key is enrolled. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolKeyError<B> {
    /// There is an active key, which must be removed first.
    #[error("a key is active already")]
    AlreadyActive,
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The password was not accepted.
    #[error(transparent)]
    PasswordRefused(#[from] PasswordRefused),
}

/// The error when a key is not activated. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivateKeyError<B> {
    /// The key is already active.
    #[error("the key is active already")]
    AlreadyActive,
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// Too many failures: this attempt started the lockout or was not checked because of it.
    #[error("too many failures")]
    Locked {
        /// How long until the next attempt is checked.
        wait: Duration,
    },
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// The code is not one of this key.
    #[error("wrong code")]
    WrongCode,
}

/// The error when a key is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveKeyError {
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// Enrols a key, which is pending until it is activated with one of its codes. Replaces a pending key. An unreadable body is
    /// reported only if no key is active.
    ///
    /// # Errors
    ///
    /// [`EnrolKeyError`].
    pub async fn enrol_key<B: Clone>(
        &self,
        person: &Person,
        password: Result<Zeroizing<String>, B>,
    ) -> Result<EnrolledKey, Failure<EnrolKeyError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let password = password.map(shown);
        self.transact_for(person, "accounts.enrol_key", || async {
            let (account, user) = self.authorized(person, Action::MfaKeyAdd).await?;
            if account.active_key().is_some() {
                return refuse(EnrolKeyError::AlreadyActive);
            }
            let password = require_body(&password, EnrolKeyError::Body)?;
            let (action, theirs) = (Action::MfaKeyAdd, (&account, &user));
            let judged = self.password_in_session(person, action, theirs, password);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let decision = account.records().enrol(
                KeyKind::default(),
                judged,
                self.random(),
                session.counter(),
                account.at(),
                &self.policy,
            );
            let (why, error) = match (decision.verdict, decision.next.key) {
                (Ok(_), Some(key)) => {
                    let secret = Zeroizing::new(self.random::<SECRET_BYTES>());
                    let record = SecondFactor {
                        id: self.draw_number(),
                        user: user.id,
                        secret: self.store.seal(
                            &second_factor_key(user.owner()),
                            SecondFactor::SECRET,
                            secret.as_slice(),
                        ),
                        key,
                    };
                    let enrolled = enrolled(&user, &record, secret.as_slice())?;
                    let mut batch = self.store.batch(account.now);
                    let new_event =
                        deed_on(action, &user, UserPart::MfaKey(record.id), None, origin);
                    self.audit.done(&mut batch, account.now, new_event);
                    let change = Change {
                        second_factor: Some(record),
                        ..Change::default()
                    };
                    account.save(&mut batch, decision.next, change);
                    return Ok(Attempt::Commit(batch, Ok(enrolled)));
                }
                (Ok(_), None) => return Err(damaged("an enrolment without a key").into()),
                (Err(EnrolRefusal::AlreadyActive), _) => {
                    (Reason::KeyActive, EnrolKeyError::AlreadyActive)
                }
                (Err(EnrolRefusal::Locked(lock)), _) => {
                    account.password_refused(PasswordRefusal::Locked(lock))
                }
                (Err(EnrolRefusal::WrongPassword(failure)), _) => {
                    account.password_refused(PasswordRefusal::WrongPassword(failure))
                }
            };
            let new_event = self.refused(action, &user, why, origin);
            self.refuse(&account, decision.next, (why, new_event), error)
                .await
        })
        .await
    }

    /// Activates the user's own pending key with one of its codes, which cannot be used for a login again. Revokes every earlier
    /// refresh token, and every access token except the session's own. An unreadable body is reported only if the key exists and is
    /// pending.
    ///
    /// # Errors
    ///
    /// [`ActivateKeyError`].
    pub async fn activate_key<B: Clone>(
        &self,
        person: &Person,
        id: u32,
        code: Result<Zeroizing<String>, B>,
    ) -> Result<(), Failure<ActivateKeyError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        self.transact_for(person, "accounts.activate_key", || async {
            let (account, user) = self.authorized(person, Action::MfaKeyActivate).await?;
            let second_factor = account.second_factor.record();
            let second_factor = second_factor
                .filter(|found| found.id == id)
                .ok_or(Failure::Refused(ActivateKeyError::Unknown))?;
            if account.active_key().is_some() {
                return refuse(ActivateKeyError::AlreadyActive);
            }
            let code = require_body(&code, ActivateKeyError::Body)?;
            let secret = self.secret(account.second_factor.place(), second_factor)?;
            let proof = Proof::Typed {
                text: code,
                secret: &secret,
            };
            let decision =
                account
                    .records()
                    .activate(&proof, session.counter(), account.at(), &self.policy);
            let action = Action::MfaKeyActivate;
            let locked = |wait| ActivateKeyError::Locked { wait };
            let (why, error) = match decision.verdict {
                Ok(_) => {
                    let mut batch = self.store.batch(account.now);
                    let new_event = deed_on(action, &user, UserPart::MfaKey(id), None, origin);
                    self.audit.done(&mut batch, account.now, new_event);
                    let change = Change {
                        by: session.token(),
                        ..Change::default()
                    };
                    account.save(&mut batch, decision.next, change);
                    return Ok(Attempt::Commit(batch, Ok(())));
                }
                Err(ActivateRefusal::AlreadyActive) => {
                    (Reason::KeyActive, ActivateKeyError::AlreadyActive)
                }
                Err(ActivateRefusal::Locked(lock)) => {
                    (Reason::NotJudged, locked(account.wait(lock.until)))
                }
                Err(ActivateRefusal::NoKey) => (Reason::KeyUnknown, ActivateKeyError::Unknown),
                Err(ActivateRefusal::WrongCode(failure)) => (
                    Reason::wrong_code(&failure),
                    account.locked_or(&failure, ActivateKeyError::WrongCode, locked),
                ),
            };
            let new_event = self.refused(action, &user, why, origin);
            self.refuse(&account, decision.next, (why, new_event), error)
                .await
        })
        .await
    }

    /// Removes a user's key, pending or active, with every challenge, trusted device and recovery code. Removing an active key also
    /// revokes every refresh token, and all the user's access tokens except the session's own if users remove their own key.
    ///
    /// # Errors
    ///
    /// [`RemoveKeyError`].
    pub async fn remove_key(
        &self,
        manager: &Manager,
        id: u32,
    ) -> Result<(), Failure<RemoveKeyError>> {
        let origin = manager.person().origin();
        self.transact_for(manager.person(), "accounts.remove_key", || async {
            let (act, unknown) = (Action::MfaKeyRemove, RemoveKeyError::UserUnknown);
            let managed = self.managed(manager, Some(act), unknown).await?;
            let Managed { account, user, .. } = &managed;
            let key = account.second_factor.record();
            if key.is_none_or(|key| key.id != id) {
                return refuse(RemoveKeyError::Unknown);
            }
            let session = manager.person().session();
            let by = session.token().filter(|_| session.owner == manager.owner());
            let removal = self.key_removal(account, user, by, origin);
            let mut batch = removal.map_err(|NoKey| Failure::Refused(RemoveKeyError::Unknown))?;
            managed.require_manager(&mut batch);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Creates the batch that removes a user's key like [`remove_key`](Self::remove_key), with the user's access token `by` if any.
    pub(super) fn key_removal(
        &self,
        account: &Account,
        user: &User,
        by: Option<TokenId>,
        origin: &Origin,
    ) -> Result<Batch, NoKey> {
        let id = account.second_factor.record().ok_or(NoKey)?.id;
        let decision = account.records().remove_key(account.at());
        let removed = decision.verdict?;
        let detail = self.worded(&Detail::KeyRemoved {
            key: id,
            user: &user.subject().to_string(),
            devices: removed.devices,
            recovery_codes: removed.recovery_codes,
        });
        let mut batch = self.store.batch(account.now);
        let (action, part) = (Action::MfaKeyRemove, UserPart::MfaKey(id));
        let new_event = deed_on(action, user, part, detail, origin);
        self.audit.done(&mut batch, account.now, new_event);
        let change = Change {
            by,
            ..Change::default()
        };
        account.save(&mut batch, decision.next, change);
        Ok(batch)
    }
}

fn enrolled(
    user: &User,
    record: &SecondFactor,
    secret: &[u8],
) -> Result<EnrolledKey, StorageError> {
    let secret = Secret::from_bytes(secret).map_err(damaged)?;
    let text = Zeroizing::new(secret.base32().to_string());
    let issuer = Some(user.organisation_name.as_str());
    let uri = OtpauthUri::new(Kind::TOTP, issuer, &user.name, secret).map_err(damaged)?;
    Ok(EnrolledKey {
        key: KeySummary::of(record),
        secret: text,
        uri: Zeroizing::new(uri.to_string()),
    })
}
