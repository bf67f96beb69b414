//! A user's key, the devices they trust, and their recovery codes.

use super::{
    Accounts, Act, NotPermitted, Session, Whose,
    directory::KeySummary,
    login::{
        Judge, LOCKING_CODE, LOCKING_PASSWORD, UNJUDGED, USED_CODE, WRONG_CODE, WRONG_PASSWORD,
        target,
    },
    password::canonical,
    records::{Owner, SecondFactor, User, second_factor_key, user_key},
    session::undecided,
    snapshot::{Change, Snapshot},
    wait,
};
use crate::{HashingError, Origin, StorageError, audit::Deed, storage::Race};
use keyproof_mfa::{
    ActivateRefusal, DeviceId, EnrolRefusal, KeyKind, NoDevice, NoKey, Proof, RecoveryRefusal,
    otp::{
        Secret,
        otpauth::{Kind, OtpauthUri},
    },
};
use keyproof_store::{Batch, Key, Stored, Timestamp, Version};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// What the audit trail calls what is done here.
const ACTIVATE_KEY: &str = Act::ActivateKey.action();
const ADD_KEY: &str = Act::AddKey.action();
const MAKE_CODES: &str = Act::MakeRecoveryCodes.action();
const REMOVE_DEVICE: &str = Act::RemoveDevice.action();
const REMOVE_KEY: &str = Act::RemoveKey.action();

/// The length of a new secret, in bytes: 160 bits, as RFC 4226, section 4, recommends.
const SECRET_BYTES: usize = 20;

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

/// A trusted device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its number among its user's.
    pub id: u32,
    /// Which browser it runs, if that was said.
    pub browser: Option<String>,
    /// Which operating system it runs, if that was said.
    pub operating_system: Option<String>,
    /// Since when it is trusted.
    pub trusted_at: Timestamp,
}

/// Why no key was enrolled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolKeyError {
    /// There is an active key, to be removed first.
    #[error("a key is active already")]
    AlreadyActive,
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and the session has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
    /// The password could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
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
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and the session has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// It is not a code of this key.
    #[error("wrong code")]
    WrongCode,
}

/// Why a key was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveKeyError {
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and the session has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
    /// It is another user's, and that takes an administrator.
    #[error("another user's key")]
    Forbidden,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The user has no such key.
    #[error("there is no such key")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

/// Why devices were neither listed nor removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveDeviceError {
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and the session has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
    /// They are another user's, and that takes an administrator.
    #[error("another user's devices")]
    Forbidden,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The user trusts no such device.
    #[error("there is no such trusted device")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

/// Why no recovery codes were made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodesError {
    /// A code is needed beside the password.
    #[error("a code is needed")]
    CodeNeeded,
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and the session has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
    /// The password could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// No key is active that they could stand in for.
    #[error("no key is active")]
    NoActiveKey,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The code is wrong, or used.
    #[error("wrong code")]
    WrongCode,
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
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
    ) -> Result<(), EnrolKeyError> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, ADD_KEY, &origin).await?;
        match KeySummary::active(&snapshot) {
            Some(_) => Err(EnrolKeyError::AlreadyActive),
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
    ) -> Result<EnrolledKey, EnrolKeyError> {
        let origin = session.origin(origin);
        let mut judge = Judge::new(canonical(password));
        let mut race = Race::default();
        loop {
            let (snapshot, user) = self.deciding(session, ADD_KEY, &origin).await?;
            if KeySummary::active(&snapshot).is_some() {
                return Err(EnrolKeyError::AlreadyActive);
            }
            let records = snapshot.records();
            if let Err(locked) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(ADD_KEY, &user, UNJUDGED, &origin);
                self.audit.refused(deed).await;
                let wait = wait(locked.until, snapshot.now);
                return Err(EnrolKeyError::Locked { wait });
            }
            let hash = Some(user.password.clone());
            let Some(password) = judge.verdict(self, hash, &origin).await? else {
                continue;
            };
            let decision = records.enrol(
                KeyKind::default(),
                password,
                self.random(),
                session.counter(),
                snapshot.at(),
                &self.policy,
            );
            let mut batch = self.store.batch(snapshot.now);
            let mut change = Change::default();
            let outcome = match (decision.verdict, decision.next.key) {
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
                    let deed = key_deed(ADD_KEY, &user, record.id, None, &origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    change.second_factor = Some(record);
                    Ok(enrolled)
                }
                (Ok(_), None) => return Err(damaged("an enrolment without a key").into()),
                (Err(refusal), _) => {
                    let locked = |until| EnrolKeyError::Locked {
                        wait: wait(until, snapshot.now),
                    };
                    let (why, error) = match refusal {
                        EnrolRefusal::AlreadyActive => {
                            ("a key is active", EnrolKeyError::AlreadyActive)
                        }
                        EnrolRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        EnrolRefusal::WrongPassword(failure) => match failure.locked_until {
                            Some(until) => (LOCKING_PASSWORD, locked(until)),
                            None => (WRONG_PASSWORD, EnrolKeyError::WrongPassword),
                        },
                    };
                    let deed = refused(ADD_KEY, &user, why, &origin);
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, change);
            if race.won(self.store.commit(batch).await).await? {
                return outcome;
            }
        }
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
    ) -> Result<(), ActivateKeyError> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, ACTIVATE_KEY, &origin).await?;
        let summary = KeySummary::of_snapshot(&snapshot).filter(|key| key.id == id);
        let summary = summary.ok_or(ActivateKeyError::Unknown)?;
        match summary.activated_at {
            Some(_) => Err(ActivateKeyError::AlreadyActive),
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
    ) -> Result<(), ActivateKeyError> {
        let origin = session.origin(origin);
        let mut race = Race::default();
        loop {
            let (snapshot, user) = self.deciding(session, ACTIVATE_KEY, &origin).await?;
            let found = snapshot.second_factor.as_ref().map(|stored| &stored.record);
            let second_factor = found.filter(|found| found.id == id);
            let second_factor = second_factor.ok_or(ActivateKeyError::Unknown)?;
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
            let outcome = match decision.verdict {
                Ok(_) => {
                    let deed = key_deed(ACTIVATE_KEY, &user, id, None, &origin);
                    self.audit.done(&mut batch, snapshot.now, deed);
                    Ok(())
                }
                Err(refusal) => {
                    let why = match &refusal {
                        ActivateRefusal::AlreadyActive => "the key is active",
                        ActivateRefusal::Locked(_) => UNJUDGED,
                        ActivateRefusal::NoKey => "there is no key",
                        ActivateRefusal::WrongCode(failure) => match failure.locked_until {
                            Some(_) => LOCKING_CODE,
                            None => WRONG_CODE,
                        },
                    };
                    let deed = refused(ACTIVATE_KEY, &user, why, &origin);
                    if snapshot.is_unchanged(&decision.next) {
                        self.audit.refused(deed).await;
                        return Err(not_activated(&refusal, snapshot.now));
                    }
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(not_activated(&refusal, snapshot.now))
                }
            };
            snapshot.save(&mut batch, &decision.next, change);
            if race.won(self.store.commit(batch).await).await? {
                return outcome;
            }
        }
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
    ) -> Result<(), RemoveKeyError> {
        let origin = session.origin(origin);
        let permitted = self.permit(session, Act::RemoveKey, whose, &origin).await;
        permitted.map_err(|NotPermitted| RemoveKeyError::Forbidden)?;
        let mut race = Race::default();
        loop {
            let managed = self.managing(session, whose, REMOVE_KEY, &origin).await?;
            let Managed { snapshot, user, .. } = &managed;
            if KeySummary::of_snapshot(snapshot).is_none_or(|key| key.id != id) {
                return Err(RemoveKeyError::Unknown);
            }
            let decision = snapshot.records().remove_key(snapshot.at());
            let removed = decision.verdict.map_err(|NoKey| RemoveKeyError::Unknown)?;
            let detail = format!(
                "type 14: MFA key with Id '{id}' of Type 'Time-Based One-Time Password' deleted for user '{}' \
                 (with {} trusted devices, {} recovery codes)",
                user.name, removed.devices, removed.recovery_codes
            );
            let mut batch = self.store.batch(snapshot.now);
            managed.require_manager(&mut batch);
            let deed = key_deed(REMOVE_KEY, user, id, Some(detail), &origin);
            self.audit.done(&mut batch, snapshot.now, deed);
            snapshot.save(&mut batch, &decision.next, Change::default());
            if race.won(self.store.commit(batch).await).await? {
                return Ok(());
            }
        }
    }

    /// The devices that a user trusts, oldest first.
    ///
    /// # Errors
    /// [`RemoveDeviceError`], but for an unknown device.
    pub async fn devices(
        &self,
        session: &Session,
        whose: Whose,
        origin: &Origin,
    ) -> Result<Vec<DeviceView>, RemoveDeviceError> {
        let permitted = self.permit(session, Act::ListDevices, whose, origin).await;
        permitted.map_err(|NotPermitted| RemoveDeviceError::Forbidden)?;
        let Managed { snapshot, .. } = self.managed(session, whose).await?;
        let records = snapshot.records();
        let devices = records.trusted_devices(snapshot.at()).into_iter();
        Ok(devices
            .map(|device| DeviceView {
                id: device.id().get(),
                browser: device.browser().map(ToOwned::to_owned),
                operating_system: device.operating_system().map(ToOwned::to_owned),
                trusted_at: super::timestamp(device.trusted_at()),
            })
            .collect())
    }

    /// Ends the trust in a device.
    ///
    /// # Errors
    /// [`RemoveDeviceError`].
    pub async fn remove_device(
        &self,
        session: &Session,
        whose: Whose,
        id: u32,
        origin: &Origin,
    ) -> Result<(), RemoveDeviceError> {
        let origin = session.origin(origin);
        let permitted = self
            .permit(session, Act::RemoveDevice, whose, &origin)
            .await;
        permitted.map_err(|NotPermitted| RemoveDeviceError::Forbidden)?;
        let mut race = Race::default();
        loop {
            let managed = self
                .managing(session, whose, REMOVE_DEVICE, &origin)
                .await?;
            let Managed { snapshot, user, .. } = &managed;
            let records = snapshot.records();
            let decision = records.revoke_device(DeviceId::new(id), snapshot.at());
            decision
                .verdict
                .map_err(|NoDevice| RemoveDeviceError::Unknown)?;
            let mut batch = self.store.batch(snapshot.now);
            managed.require_manager(&mut batch);
            let deed = Deed {
                action: REMOVE_DEVICE,
                target: format!("{}/trusted_device/{id}", target(user)),
                detail: None,
                origin: &origin,
            };
            self.audit.done(&mut batch, snapshot.now, deed);
            snapshot.save(&mut batch, &decision.next, Change::default());
            if race.won(self.store.commit(batch).await).await? {
                return Ok(());
            }
        }
    }

    /// Could recovery codes be made? To be asked before what else the request says is looked at.
    ///
    /// # Errors
    /// [`RecoveryCodesError::NoActiveKey`], and those of every use case.
    pub async fn check_recovery_codes(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<(), RecoveryCodesError> {
        let origin = session.origin(origin);
        let (snapshot, _) = self.deciding(session, MAKE_CODES, &origin).await?;
        match KeySummary::active(&snapshot) {
            Some(_) => Ok(()),
            None => Err(RecoveryCodesError::NoActiveKey),
        }
    }

    /// Makes ten recovery codes, shown once; those of before are good no more. It costs a code of the key, or one of
    /// those of before; but for the token that has activated the key, once, within five minutes.
    ///
    /// # Errors
    /// [`RecoveryCodesError`].
    pub async fn make_recovery_codes(
        &self,
        session: &Session,
        password: Zeroizing<String>,
        code: Option<&str>,
        origin: &Origin,
    ) -> Result<Vec<Zeroizing<String>>, RecoveryCodesError> {
        let origin = session.origin(origin);
        let mut judge = Judge::new(canonical(password));
        let mut race = Race::default();
        loop {
            let (snapshot, user) = self.deciding(session, MAKE_CODES, &origin).await?;
            if KeySummary::active(&snapshot).is_none() {
                return Err(RecoveryCodesError::NoActiveKey);
            }
            let records = snapshot.records();
            if let Err(locked) = records.admit_session(session.counter(), snapshot.at()) {
                let deed = refused(MAKE_CODES, &user, UNJUDGED, &origin);
                self.audit.refused(deed).await;
                let wait = wait(locked.until, snapshot.now);
                return Err(RecoveryCodesError::Locked { wait });
            }
            let hash = Some(user.password.clone());
            let Some(password) = judge.verdict(self, hash, &origin).await? else {
                continue;
            };
            let random = Zeroizing::new([(); 10].map(|()| self.random::<10>()));
            let second_factor = snapshot.second_factor.as_ref();
            let second_factor = second_factor.ok_or(RecoveryCodesError::NoActiveKey)?;
            let secret = self.secret(session.owner, &second_factor.record)?;
            let proof = code.map(|text| Proof::Typed {
                text,
                secret: &secret,
            });
            let decision = records.make_recovery_codes(
                password,
                proof.as_ref(),
                session.asking(&user),
                &random,
                snapshot.at(),
                &self.policy,
            );
            let mut batch = self.store.batch(snapshot.now);
            let outcome = match decision.verdict {
                Ok(codes) => {
                    let deed = Deed {
                        action: MAKE_CODES,
                        target: target(&user),
                        detail: None,
                        origin: &origin,
                    };
                    self.audit.done(&mut batch, snapshot.now, deed);
                    Ok(codes
                        .iter()
                        .map(|code| Zeroizing::new(code.to_string()))
                        .collect())
                }
                Err(refusal) => {
                    let locked = |until| RecoveryCodesError::Locked {
                        wait: wait(until, snapshot.now),
                    };
                    let (why, error) = match refusal {
                        RecoveryRefusal::CodeNeeded => {
                            ("no MFA code", RecoveryCodesError::CodeNeeded)
                        }
                        RecoveryRefusal::FactorNeeded(_) => {
                            ("no factor was shown", RecoveryCodesError::FactorNeeded)
                        }
                        RecoveryRefusal::Locked(lock) => (UNJUDGED, locked(lock.until)),
                        RecoveryRefusal::Replayed => (USED_CODE, RecoveryCodesError::WrongCode),
                        RecoveryRefusal::WrongCode(failure) => match failure.locked_until {
                            Some(until) => (LOCKING_CODE, locked(until)),
                            None => (WRONG_CODE, RecoveryCodesError::WrongCode),
                        },
                        RecoveryRefusal::NoActiveKey => {
                            ("no key is active", RecoveryCodesError::NoActiveKey)
                        }
                        RecoveryRefusal::WrongPassword(failure) => match failure.locked_until {
                            Some(until) => (LOCKING_PASSWORD, locked(until)),
                            None => (WRONG_PASSWORD, RecoveryCodesError::WrongPassword),
                        },
                    };
                    let deed = refused(MAKE_CODES, &user, why, &origin);
                    if snapshot.is_unchanged(&decision.next) {
                        self.audit.refused(deed).await;
                        return Err(error);
                    }
                    self.audit.counted(&mut batch, snapshot.now, deed).await?;
                    Err(error)
                }
            };
            snapshot.save(&mut batch, &decision.next, Change::default());
            if race.won(self.store.commit(batch).await).await? {
                return outcome;
            }
        }
    }

    /// The records of the person who has logged in, unless the session has ended; of an application none, for it has
    /// neither password nor key.
    pub(super) async fn own(
        &self,
        session: &Session,
    ) -> Result<Option<(Snapshot, User)>, StorageError> {
        let snapshot = self.snapshot_of(&session.name, session.owner, None).await?;
        let user = snapshot.user.as_ref().map(|stored| stored.record.clone());
        let user = user.filter(|user| session.is_person() && session.is_of(user));
        Ok(user.map(|user| (snapshot, user)))
    }

    /// The records of a user whose keys and devices the session may look at.
    async fn managed(&self, session: &Session, whose: Whose) -> Result<Managed, ManageError> {
        let own = self.own(session).await?.ok_or(ManageError::Ended)?;
        self.managed_by(own, session, whose).await
    }

    /// The records of a user whose keys and devices the session may decide over.
    async fn managing(
        &self,
        session: &Session,
        whose: Whose,
        action: &'static str,
        origin: &Origin,
    ) -> Result<Managed, ManageError> {
        let own = self.deciding(session, action, origin).await?;
        self.managed_by(own, session, whose).await
    }

    async fn managed_by(
        &self,
        own: (Snapshot, User),
        session: &Session,
        whose: Whose,
    ) -> Result<Managed, ManageError> {
        let owner = session.owner_of(whose);
        let (snapshot, user) = own;
        if owner == session.owner {
            return Ok(Managed {
                snapshot,
                user,
                manager: None,
            });
        }
        let manager = snapshot.user.ok_or(ManageError::Ended)?;
        let found = self.theirs(owner).await?;
        let (snapshot, user) = found.ok_or(ManageError::UserUnknown)?;
        Ok(Managed {
            snapshot,
            user,
            manager: Some((user_key(session.owner), manager.version)),
        })
    }

    /// The records of the user of this number.
    async fn theirs(&self, owner: Owner) -> Result<Option<(Snapshot, User)>, StorageError> {
        let found = self
            .store
            .get::<User>(&user_key(owner), self.clock.now())
            .await?;
        let Some(Stored { record, .. }) = found else {
            return Ok(None);
        };
        let snapshot = self.snapshot_of(&record.name, owner, None).await?;
        let user = snapshot.user.as_ref().map(|stored| stored.record.clone());
        Ok(user.map(|user| (snapshot, user)))
    }
}

/// A user whose keys and devices are managed.
struct Managed {
    snapshot: Snapshot,
    user: User,
    /// The record of whoever manages them, if it is somebody else.
    manager: Option<(Key, Version)>,
}

impl Managed {
    /// A session that has ended meanwhile manages nobody any more.
    fn require_manager(&self, batch: &mut Batch) {
        if let Some((place, version)) = &self.manager {
            batch.require(place, *version);
        }
    }
}

/// Why there is nobody to be managed.
enum ManageError {
    Ended,
    FactorNeeded,
    Storage(StorageError),
    UserUnknown,
}

impl From<StorageError> for ManageError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

undecided!(
    ActivateKeyError,
    EnrolKeyError,
    ManageError,
    RecoveryCodesError
);

impl From<ManageError> for RemoveKeyError {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Ended => Self::Ended,
            ManageError::FactorNeeded => Self::FactorNeeded,
            ManageError::Storage(error) => Self::Storage(error),
            ManageError::UserUnknown => Self::UserUnknown,
        }
    }
}

impl From<ManageError> for RemoveDeviceError {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Ended => Self::Ended,
            ManageError::FactorNeeded => Self::FactorNeeded,
            ManageError::Storage(error) => Self::Storage(error),
            ManageError::UserUnknown => Self::UserUnknown,
        }
    }
}

fn not_activated(refusal: &ActivateRefusal, now: Timestamp) -> ActivateKeyError {
    let locked = |until| ActivateKeyError::Locked {
        wait: wait(until, now),
    };
    match refusal {
        ActivateRefusal::AlreadyActive => ActivateKeyError::AlreadyActive,
        ActivateRefusal::Locked(lock) => locked(lock.until),
        ActivateRefusal::NoKey => ActivateKeyError::Unknown,
        ActivateRefusal::WrongCode(failure) => failure
            .locked_until
            .map_or(ActivateKeyError::WrongCode, locked),
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
        action,
        target: format!("{}/mfa_key/{id}", target(user)),
        detail,
        origin,
    }
}

pub(super) fn refused<'a>(
    action: &'static str,
    user: &User,
    why: &str,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        action,
        target: target(user),
        detail: Some(why.to_owned()),
        origin,
    }
}
