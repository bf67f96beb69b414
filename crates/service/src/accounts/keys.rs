//! A user's key: enrolled, activated and removed.

use super::{
    Accounts, Act, NotPermitted, Session, Undecided, Whose,
    deciding::Managed,
    deeds::{UNJUDGED, deed, refused, target, wrong_code, wrong_password},
    password::ShownPassword,
    records::{SecondFactor, User, second_factor_key},
    snapshot::{Change, Snapshot},
    timestamp, wait,
};
use crate::{
    Failure, HashingError, Origin, StorageError,
    audit::Deed,
    storage::{Attempt, settle},
};
use keyproof_mfa::{
    ActivateRefusal, EnrolRefusal, KeyKind, KeyStatus, NoKey, Proof,
    otp::{
        Secret,
        otpauth::{Kind, OtpauthUri},
    },
};
use keyproof_store::Timestamp;
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// What the audit trail calls what is done here.
const ACTIVATE: &str = Act::ActivateKey.action();
const ADD: &str = Act::AddKey.action();
const REMOVE: &str = Act::RemoveKey.action();

/// The length of a new secret, in bytes: 160 bits, as RFC 4226, section 4, recommends.
const SECRET_BYTES: usize = 20;

/// A second factor's key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySummary {
    /// Its number.
    pub id: u32,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// Since when it is asked for at login; `None` while it is pending.
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

    pub(super) fn of_snapshot(snapshot: &Snapshot) -> Option<Self> {
        let second_factor = snapshot.second_factor.as_ref();
        second_factor.map(|stored| Self::of(&stored.record))
    }

    pub(super) fn active(snapshot: &Snapshot) -> Option<Self> {
        Self::of_snapshot(snapshot).filter(|key| key.activated_at.is_some())
    }
}

/// A key that was just enrolled.
pub struct EnrolledKey {
    /// The key.
    pub key: KeySummary,
    /// Its secret in Base32, shown once.
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

/// Why no key was enrolled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolKeyError {
    /// There is an active key, to be removed first.
    #[error("a key is active already")]
    AlreadyActive,
    /// The password could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

/// Why a key was not activated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivateKeyError {
    /// It is active.
    #[error("the key is active already")]
    AlreadyActive,
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// It is not a code of this key.
    #[error("wrong code")]
    WrongCode,
}

/// Why a key was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveKeyError {
    /// It is another user's, and that takes an administrator.
    #[error("another user's key")]
    Forbidden,
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// Could a key be enrolled? To be asked before what else the request says is looked at.
    ///
    /// # Errors
    /// [`EnrolKeyError::AlreadyActive`], and those of every use case.
    pub async fn check_enrolment(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<(), Failure<EnrolKeyError>> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, ADD, &origin).await?;
        match KeySummary::active(&snapshot) {
            Some(_) => Err(Failure::Refused(EnrolKeyError::AlreadyActive)),
            None => Ok(()),
        }
    }

    /// Enrols a key, which is pending until a code of it is seen. A pending one is replaced.
    ///
    /// # Errors
    /// [`EnrolKeyError`].
    pub async fn enrol_key(
        &self,
        session: &Session,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<EnrolledKey, Failure<EnrolKeyError>> {
        let origin = session.origin(origin);
        let password = ShownPassword::new(password);
        settle("accounts.enrol_key", &self.store, || async {
            let (snapshot, user) = self.deciding(session, ADD, &origin).await?;
            let locked = |until| EnrolKeyError::Locked {
                wait: wait(until, snapshot.now),
            };
            if KeySummary::active(&snapshot).is_some() {
                return Err(Failure::Refused(EnrolKeyError::AlreadyActive));
            }
            let records = snapshot.records();
            if let Err(lock) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(ADD, &user, UNJUDGED, &origin);
                self.audit.refused(deed).await;
                return Err(Failure::Refused(locked(lock.until)));
            }
            let judged = password.verdict(self, Some(&user.password), &origin);
            let Some(judged) = judged.await? else {
                return Ok(Attempt::Again);
            };
            let decision = records.enrol(
                KeyKind::default(),
                judged,
                self.random(),
                session.counter(),
                snapshot.at(),
                &self.policy,
            );
            let mut batch = self.store.batch(snapshot.now);
            let mut change = Change::default();
            let verdict = match (decision.verdict, decision.next.key) {
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
                    let deed = key_deed(ADD, &user, record.id, None, &origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    change.second_factor = Some(record);
                    Ok(enrolled)
                }
                (Ok(_), None) => return Err(damaged("an enrolment without a key").into()),
                (Err(refusal), _) => {
                    let (why, error) = match refusal {
                        EnrolRefusal::AlreadyActive => {
                            ("a key is active", EnrolKeyError::AlreadyActive)
                        }
                        EnrolRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        EnrolRefusal::WrongPassword(failure) => (
                            wrong_password(&failure),
                            failure
                                .locked_until
                                .map_or(EnrolKeyError::WrongPassword, locked),
                        ),
                    };
                    let deed = refused(ADD, &user, why, &origin);
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, change);
            Ok(Attempt::Commit(batch, verdict))
        })
        .await
    }

    /// Is this key the user's own, and pending?
    ///
    /// # Errors
    /// [`ActivateKeyError::Unknown`], [`ActivateKeyError::AlreadyActive`], and those of every use case.
    pub async fn find_pending_key(
        &self,
        session: &Session,
        id: u32,
        origin: &Origin,
    ) -> Result<(), Failure<ActivateKeyError>> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, ACTIVATE, &origin).await?;
        let summary = KeySummary::of_snapshot(&snapshot).filter(|key| key.id == id);
        let summary = summary.ok_or(Failure::Refused(ActivateKeyError::Unknown))?;
        match summary.activated_at {
            Some(_) => Err(Failure::Refused(ActivateKeyError::AlreadyActive)),
            None => Ok(()),
        }
    }

    /// Activates the user's own pending key by a code of it, which is then spent for login too. Every refresh token of
    /// before ends, and every access token but the session's own.
    ///
    /// # Errors
    /// [`ActivateKeyError`].
    pub async fn activate_key(
        &self,
        session: &Session,
        id: u32,
        code: &str,
        origin: &Origin,
    ) -> Result<(), Failure<ActivateKeyError>> {
        let origin = session.origin(origin);
        settle("accounts.activate_key", &self.store, || async {
            let (snapshot, user) = self.deciding(session, ACTIVATE, &origin).await?;
            let found = snapshot.second_factor.as_ref().map(|stored| &stored.record);
            let second_factor = found.filter(|found| found.id == id);
            let second_factor = second_factor.ok_or(Failure::Refused(ActivateKeyError::Unknown))?;
            let secret = self.secret(session.owner, second_factor)?;
            let proof = Proof::Typed {
                text: code,
                secret: &secret,
            };
            let decision =
                snapshot
                    .records()
                    .activate(&proof, session.counter(), snapshot.at(), &self.policy);
            let mut batch = self.store.batch(snapshot.now);
            let change = Change {
                activator: session.token(),
                ..Change::default()
            };
            let verdict = match decision.verdict {
                Ok(_) => {
                    let deed = key_deed(ACTIVATE, &user, id, None, &origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    Ok(())
                }
                Err(refusal) => {
                    let locked = |until| ActivateKeyError::Locked {
                        wait: wait(until, snapshot.now),
                    };
                    let (why, error) = match refusal {
                        ActivateRefusal::AlreadyActive => {
                            ("the key is active", ActivateKeyError::AlreadyActive)
                        }
                        ActivateRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        ActivateRefusal::NoKey => ("there is no key", ActivateKeyError::Unknown),
                        ActivateRefusal::WrongCode(failure) => (
                            wrong_code(&failure),
                            failure
                                .locked_until
                                .map_or(ActivateKeyError::WrongCode, locked),
                        ),
                    };
                    let deed = refused(ACTIVATE, &user, why, &origin);
                    if snapshot.is_unchanged(&decision.next) {
                        self.audit.refused(deed).await;
                        return Err(Failure::Refused(error));
                    }
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, change);
            Ok(Attempt::Commit(batch, verdict))
        })
        .await
    }

    /// Removes a user's key, and with it every challenge, trusted device, recovery code and refresh token.
    ///
    /// # Errors
    /// [`RemoveKeyError`].
    pub async fn remove_key(
        &self,
        session: &Session,
        whose: Whose,
        id: u32,
        origin: &Origin,
    ) -> Result<(), Failure<RemoveKeyError>> {
        let origin = session.origin(origin);
        let permitted = self.permit(session, Act::RemoveKey, whose, &origin).await;
        permitted.map_err(|NotPermitted| Failure::Refused(RemoveKeyError::Forbidden))?;
        settle("accounts.remove_key", &self.store, || async {
            let managed = self.managing(session, whose, REMOVE, &origin).await?;
            let managed = managed.ok_or(Failure::Refused(RemoveKeyError::UserUnknown))?;
            let Managed { snapshot, user, .. } = &managed;
            if KeySummary::of_snapshot(snapshot).is_none_or(|key| key.id != id) {
                return Err(Failure::Refused(RemoveKeyError::Unknown));
            }
            let decision = snapshot.records().remove_key(snapshot.at());
            let removed = decision
                .verdict
                .map_err(|NoKey| Failure::Refused(RemoveKeyError::Unknown))?;
            let detail = format!(
                "type 14: MFA key with Id '{id}' of Type 'Time-Based One-Time Password' deleted for user '{}' \
                 (with {} trusted devices, {} recovery codes)",
                user.name, removed.devices, removed.recovery_codes
            );
            let mut batch = self.store.batch(snapshot.now);
            managed.require_manager(&mut batch);
            let deed = key_deed(REMOVE, user, id, Some(detail), &origin);
            self.audit.done(&mut batch, snapshot.now, deed);
            snapshot.save(&mut batch, &decision.next, Change::default());
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
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

fn damaged(error: impl ToString) -> StorageError {
    StorageError::Damaged(error.to_string())
}

fn key_deed<'a>(
    action: &'static str,
    user: &User,
    id: u32,
    detail: Option<String>,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        target: format!("{}/mfa_key/{id}", target(user)),
        ..deed(action, user, detail, origin)
    }
}
