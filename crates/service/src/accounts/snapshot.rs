//! All that is kept of one user, as it was read at one moment, and the batch that makes of it what was decided.

use super::{
    Accounts, millis,
    records::{
        Activation, AddressesRecord, ChallengeRecord, DevicesRecord, LockoutRecord, Owner,
        RecoveryRecord, SecondFactor, SessionsRecord, User, UserName, UserStatus, addresses_key,
        challenge_key, devices_key, lockout_key, recovery_key, second_factor_key, sessions_key,
        user_key, user_name_key,
    },
    session_id::TokenId,
    timestamp,
};
use crate::{StorageError, storage::put};
use keyproof_auth::Token;
use keyproof_mfa::{
    self as mfa, Generation, KeyRecord, KeyStatus, UserId, UserRecords, otp::Secret,
};
use keyproof_store::{Batch, Key, Raw, Record, Stored, Timestamp, Version};
use zeroize::Zeroizing;

/// Where each record of a user is.
struct Places {
    name: Key,
    lockout: Key,
    user: Key,
    second_factor: Key,
    devices: Key,
    recovery: Key,
    addresses: Key,
    sessions: Key,
    challenge: Option<Key>,
}

/// What was read.
pub(super) struct Snapshot {
    /// `None` is nobody.
    pub(super) user: Option<Stored<User>>,
    pub(super) second_factor: Option<Stored<SecondFactor>>,
    pub(super) now: Timestamp,
    places: Places,
    name: Option<Stored<UserName>>,
    lockout: Option<Stored<LockoutRecord>>,
    devices: Option<Stored<DevicesRecord>>,
    recovery: Option<Stored<RecoveryRecord>>,
    addresses: Option<Stored<AddressesRecord>>,
    sessions: Option<Stored<SessionsRecord>>,
    challenge: Option<Stored<ChallengeRecord>>,
}

/// What becomes of the records that `keyproof-mfa` does not know of.
#[derive(Default)]
pub(super) struct Change {
    /// The user's record from now on.
    pub(super) user: Option<User>,
    /// A new key's number and secret.
    pub(super) second_factor: Option<SecondFactor>,
    /// The access token that activates a key.
    pub(super) activator: Option<TokenId>,
    /// Where the new challenge is kept.
    pub(super) challenge: Option<Key>,
}

impl Accounts {
    /// Reads what is kept of whoever has this name; of nobody, what is counted against it.
    pub(super) async fn snapshot(&self, name: &str) -> Result<Snapshot, StorageError> {
        let now = self.clock.now();
        let found = self
            .store
            .get::<UserName>(&user_name_key(name), now)
            .await?;
        // Nobody's records are looked for as anybody's are.
        let owner = found.map_or(Owner::NOBODY, |found| found.record.owner);
        self.snapshot_of(name, owner, None).await
    }

    /// The same, of a user whose number is known, with the challenge that a token stands for.
    pub(super) async fn snapshot_of(
        &self,
        name: &str,
        owner: Owner,
        challenge: Option<&Token>,
    ) -> Result<Snapshot, StorageError> {
        let now = self.clock.now();
        let places = Places {
            name: user_name_key(name),
            lockout: lockout_key(name),
            user: user_key(owner),
            second_factor: second_factor_key(owner),
            devices: devices_key(owner),
            recovery: recovery_key(owner),
            addresses: addresses_key(owner),
            sessions: sessions_key(owner),
            challenge: challenge.map(challenge_key),
        };
        let mut keys = vec![
            places.name.clone(),
            places.lockout.clone(),
            places.user.clone(),
            places.second_factor.clone(),
            places.devices.clone(),
            places.recovery.clone(),
            places.addresses.clone(),
            places.sessions.clone(),
        ];
        keys.extend(places.challenge.clone());
        let mut found = self.store.get_many(&keys, now).await?.into_iter();
        let mut next = || found.next().flatten();
        let mut snapshot = Snapshot {
            now,
            name: decode(next())?,
            lockout: decode(next())?,
            user: decode(next())?,
            second_factor: decode(next())?,
            devices: decode(next())?,
            recovery: decode(next())?,
            addresses: decode(next())?,
            sessions: decode(next())?,
            challenge: decode(next())?,
            places,
        };
        // The name may have become another's since it was looked up.
        let is_theirs = |named: &Stored<UserName>| named.record.owner == owner;
        if !snapshot.name.as_ref().is_some_and(is_theirs) {
            snapshot.user = None;
        }
        Ok(snapshot)
    }

    /// The second factor's secret, for codes to be compared with.
    pub(super) fn secret(
        &self,
        owner: Owner,
        second_factor: &SecondFactor,
    ) -> Result<Secret, StorageError> {
        let bytes: Zeroizing<Vec<u8>> = self.store.unseal(
            &second_factor_key(owner),
            SecondFactor::SECRET,
            &second_factor.secret,
        )?;
        Secret::from_bytes(&bytes).map_err(|error| StorageError::Damaged(error.to_string()))
    }
}

impl Snapshot {
    /// The user, if they may log in.
    pub(super) fn active_user(&self) -> Option<&User> {
        let user = self.user.as_ref().map(|stored| &stored.record);
        user.filter(|user| user.status == UserStatus::Active)
    }

    /// Adds that the user's record is still as it was read.
    pub(super) fn require_user(&self, batch: &mut Batch) {
        if let Some(user) = &self.user {
            batch.require(&self.places.user, user.version);
        }
    }

    /// What `keyproof-mfa` decides on.
    pub(super) fn records(&self) -> UserRecords {
        let Some(user) = self.user.as_ref().map(|stored| &stored.record) else {
            let mut nobody = UserRecords::new(mfa::User::new(UserId::new("", ""), 0));
            nobody.lockout = self.lockout.as_ref().map(|stored| stored.record.0);
            return nobody;
        };
        let id = UserId::new(&user.organisation.to_string(), &user.id.to_string());
        let mut records = UserRecords::new(mfa::User::new(id, user.generation));
        records.challenge = self
            .challenge
            .as_ref()
            .map(|stored| stored.record.challenge);
        records.devices = self.devices.as_ref().map(|stored| stored.record.0.clone());
        records.key = self.second_factor.as_ref().map(|stored| stored.record.key);
        records.lockout = self.lockout.as_ref().map(|stored| stored.record.0);
        records.recovery = self.recovery.as_ref().map(|stored| stored.record.0.clone());
        let addresses = self.addresses.as_ref();
        records.addresses = addresses.map(|stored| stored.record.0.clone());
        records.sessions = self.sessions.as_ref().map(|stored| stored.record.0.clone());
        records
    }

    /// The moment of the reading, as `keyproof-mfa` counts.
    pub(super) const fn at(&self) -> mfa::UnixMillis {
        millis(self.now)
    }

    /// Whether these are the records that were read: then there is nothing to commit for a refusal.
    pub(super) fn is_unchanged(&self, next: &UserRecords) -> bool {
        self.records() == *next
    }

    /// Adds what was decided: what differs is written over the version that was read, what does not has to be still
    /// the same.
    pub(super) fn save(&self, batch: &mut Batch, next: &UserRecords, change: Change) {
        if let Some(name) = &self.name
            && self.user.is_some()
        {
            batch.require(&self.places.name, name.version);
        }
        let lockout = next.lockout.map(LockoutRecord);
        let kept = lockout
            .as_ref()
            .map(|record| timestamp(record.0.expires_at()));
        put(
            batch,
            &self.places.lockout,
            self.lockout.as_ref(),
            lockout,
            kept,
        );
        let Some(user) = &self.user else {
            return;
        };
        let mut record = change.user.unwrap_or_else(|| user.record.clone());
        let owner = record.owner();
        let name = record.name.clone();
        let before = self.second_factor.as_ref().map(|stored| &stored.record.key);
        if asked_for(before) != asked_for(next.key.as_ref()) {
            record.key_changes = record.key_changes.wrapping_add(1);
            if asked_for(next.key.as_ref()).is_some() {
                record.activation = Some(Activation {
                    key_changes: record.key_changes,
                    by: change.activator,
                });
            }
        }
        if self.is_joined(next) {
            batch.replace(&self.places.user, user.version, &record, None);
        } else {
            put(batch, &self.places.user, Some(user), Some(record), None);
        }
        let second_factor = next.key.and_then(|key| {
            let kept = self
                .second_factor
                .as_ref()
                .map(|stored| stored.record.clone());
            let next = change.second_factor.or(kept)?;
            Some(SecondFactor { key, ..next })
        });
        put(
            batch,
            &self.places.second_factor,
            self.second_factor.as_ref(),
            second_factor,
            None,
        );
        let devices = next.devices.clone().map(DevicesRecord);
        let kept = devices
            .as_ref()
            .map(|record| timestamp(record.0.expires_at()));
        put(
            batch,
            &self.places.devices,
            self.devices.as_ref(),
            devices,
            kept,
        );
        let recovery = next.recovery.clone().map(RecoveryRecord);
        put(
            batch,
            &self.places.recovery,
            self.recovery.as_ref(),
            recovery,
            None,
        );
        let addresses = next.addresses.clone().map(AddressesRecord);
        let kept = addresses
            .as_ref()
            .map(|record| timestamp(record.0.expires_at()));
        put(
            batch,
            &self.places.addresses,
            self.addresses.as_ref(),
            addresses,
            kept,
        );
        let sessions = next.sessions.clone().map(SessionsRecord);
        let kept = sessions
            .as_ref()
            .map(|record| timestamp(record.0.expires_at()));
        put(
            batch,
            &self.places.sessions,
            self.sessions.as_ref(),
            sessions,
            kept,
        );
        let challenge = next.challenge.map(|challenge| ChallengeRecord {
            owner,
            name,
            challenge,
        });
        if let Some(place) = change.challenge.as_ref().or(self.places.challenge.as_ref()) {
            let kept = challenge
                .as_ref()
                .map(|record| timestamp(record.challenge.expires_at()));
            put(batch, place, self.challenge.as_ref(), challenge, kept);
        }
    }

    /// Whether a record of the user's comes where there was none. That one is absent cannot be required of a store:
    /// so the user's record, which every decision requires, changes its version with it.
    fn is_joined(&self, next: &UserRecords) -> bool {
        (self.second_factor.is_none() && next.key.is_some())
            || (self.devices.is_none() && next.devices.is_some())
            || (self.recovery.is_none() && next.recovery.is_some())
    }

    /// Adds the end of the user, and of all that is kept of them but what is counted against their name.
    pub(super) fn erase(&self, batch: &mut Batch) {
        let places = &self.places;
        let ends: [(&Key, Option<Version>); 7] = [
            (
                &places.name,
                self.name.as_ref().map(|stored| stored.version),
            ),
            (
                &places.user,
                self.user.as_ref().map(|stored| stored.version),
            ),
            (
                &places.second_factor,
                self.second_factor.as_ref().map(|stored| stored.version),
            ),
            (
                &places.devices,
                self.devices.as_ref().map(|stored| stored.version),
            ),
            (
                &places.recovery,
                self.recovery.as_ref().map(|stored| stored.version),
            ),
            (
                &places.addresses,
                self.addresses.as_ref().map(|stored| stored.version),
            ),
            (
                &places.sessions,
                self.sessions.as_ref().map(|stored| stored.version),
            ),
        ];
        for (place, version) in ends {
            if let Some(version) = version {
                batch.remove(place, version);
            }
        }
    }
}

/// Which key is asked for at login.
fn asked_for(key: Option<&KeyRecord>) -> Option<Generation> {
    let key = key.filter(|key| matches!(key.status(), KeyStatus::Active { .. }));
    key.map(KeyRecord::generation)
}

pub(super) fn decode<R: Record>(raw: Option<Raw>) -> Result<Option<Stored<R>>, StorageError> {
    Ok(raw.as_ref().map(Raw::decode::<R>).transpose()?)
}
