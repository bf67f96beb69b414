//! All records of one user, read at one moment, and the batch that writes what was decided.

use std::{sync::Arc, time::Duration};

use itoa::Buffer;
use keyproof_auth::Token;
use keyproof_mfa::{
    self as mfa, Client, Counter, Generation, KeyRecord, KeyStatus, Locked, Password,
    PasswordRefusal, Policy, UnixMillis, UserId, UserRecords, otp::Secret,
};
use keyproof_store::{Batch, Key, ReadPlan, Snapshot, Timestamp};
use zeroize::Zeroizing;

use super::{
    Accounts, millis,
    records::{
        AddressesRecord, ChallengeRecord, DevicesRecord, LockoutRecord, Owner, RecoveryRecord,
        SecondFactor, SessionsRecord, User, UserName, UserStatus, addresses_key, challenge_key,
        devices_key, name_keys, recovery_key, second_factor_key, sessions_key, user_key,
    },
    session_id::TokenId,
    timestamp,
};
use crate::{StorageError, derived::Derived, slot::Slot, storage::damaged};

/// An account as it was read.
pub(super) struct Account {
    /// Absent if there is no such user.
    pub(super) user: Slot<User>,
    pub(super) second_factor: Slot<SecondFactor>,
    pub(super) now: Timestamp,
    devices: Slot<DevicesRecord>,
    recovery: Slot<RecoveryRecord>,
    /// Not read if the decision counts no failures.
    counted: Option<Counted>,
    /// The challenge that a token identifies.
    challenge: Option<Slot<ChallengeRecord>>,
}

/// The counts of failures, and the name that they are counted by.
struct Counted {
    name: Slot<UserName>,
    lockout: Slot<LockoutRecord>,
    addresses: Slot<AddressesRecord>,
    sessions: Slot<SessionsRecord>,
}

/// Returns the keys of a second factor and the records that go with it, as [`Account::of_second_factor`] takes them.
pub(super) fn factor_keys(owner: Owner) -> [Key; 4] {
    [
        user_key(owner),
        second_factor_key(owner),
        devices_key(owner),
        recovery_key(owner),
    ]
}

/// Returns the keys of all records of a user except the counts for their name, as [`Account::of`] takes them.
fn account_keys(owner: Owner) -> [Key; 6] {
    let [user, second_factor, devices, recovery] = factor_keys(owner);
    let (addresses, sessions) = (addresses_key(owner), sessions_key(owner));
    [user, second_factor, devices, recovery, addresses, sessions]
}

/// Changes to the records that `keyproof-mfa` does not handle.
#[derive(Default)]
pub(super) struct Change {
    /// The new record of the user.
    pub(super) user: Option<User>,
    /// The number and secret of a new key.
    pub(super) second_factor: Option<SecondFactor>,
    /// The access token used to change the active key. It is the only one that stays valid.
    pub(super) by: Option<TokenId>,
    /// The key of the new challenge.
    pub(super) challenge: Option<Key>,
}

impl Accounts {
    /// Reads the account with this name. If there is none, reads only the counts for the name.
    pub(super) async fn account(&self, name: &str) -> Result<Account, StorageError> {
        let named = name_keys(name);
        let places = Derived::default();
        let plan = ReadPlan::new(named.clone()).then({
            let ([place, _], places) = (named.clone(), places.clone());
            move |found| {
                let named = found.get_shared::<UserName>(&place)?;
                let owner = owner_of(named.as_ref().map(|named| &*named.record));
                let places: [Key; 6] = places.of(&owner, |owner| account_keys(*owner));
                Ok(places.into())
            }
        });
        let reading = self.read_plan(plan).await?;
        let [place, _] = &named;
        let found: Slot<UserName> = Slot::of(&reading, place.clone())?;
        let owner = owner_of(found.record());
        let places = places.of(&owner, |owner| account_keys(*owner));
        Account::of(named, (owner, places), None, &reading)
    }

    /// Like [`Self::account`], for a user whose number is known.
    pub(super) async fn account_of(
        &self,
        name: &str,
        owner: Owner,
    ) -> Result<Account, StorageError> {
        let (named, places) = (name_keys(name), account_keys(owner));
        let all = named.clone().into_iter().chain(places.clone());
        let reading = self.read(all).await?;
        Account::of(named, (owner, places), None, &reading)
    }

    /// Reads the challenge with this token and its user's account; `None` if there is none.
    pub(super) async fn challenged(&self, token: &Token) -> Result<Option<Account>, StorageError> {
        fn places_of(asked: &Arc<ChallengeRecord>) -> ([Key; 2], [Key; 6]) {
            (name_keys(&asked.name), account_keys(asked.owner))
        }

        let place = challenge_key(token);
        let places = Derived::default();
        let plan = ReadPlan::new([place.clone()]).then({
            let (place, places) = (place.clone(), places.clone());
            move |found| {
                let Some(asked) = found.get_shared::<ChallengeRecord>(&place)? else {
                    return Ok(Vec::new());
                };
                let (named, places) = places.of(&asked.record, places_of);
                Ok(named.into_iter().chain(places).collect())
            }
        });
        let reading = self.read_plan(plan).await?;
        let challenge: Slot<ChallengeRecord> = Slot::of(&reading, place)?;
        let asked = challenge.stored.as_ref();
        let Some(asked) = asked.map(|stored| Arc::clone(&stored.record)) else {
            return Ok(None);
        };
        let (named, places) = places.of(&asked, places_of);
        Account::of(named, (asked.owner, places), Some(challenge), &reading).map(Some)
    }

    /// Decrypts the secret of the second factor at this key, to check codes against it.
    pub(super) fn secret(
        &self,
        place: &Key,
        second_factor: &SecondFactor,
    ) -> Result<Secret, StorageError> {
        let (field, sealed) = (SecondFactor::SECRET, &second_factor.secret);
        let bytes: Zeroizing<Vec<u8>> = self.store.unseal(place, field, sealed)?;
        Secret::from_bytes(&bytes).map_err(damaged)
    }
}

impl Account {
    /// Takes a user's records from a snapshot.
    fn of(
        [name, lockout]: [Key; 2],
        (owner, [user, second_factor, devices, recovery, addresses, sessions]): (Owner, [Key; 6]),
        challenge: Option<Slot<ChallengeRecord>>,
        reading: &Snapshot,
    ) -> Result<Self, StorageError> {
        let factor = [user, second_factor, devices, recovery];
        let mut account = Self::of_second_factor(factor, reading)?;
        let counted = Counted {
            name: Slot::of(reading, name)?,
            lockout: Slot::of(reading, lockout)?,
            addresses: Slot::of(reading, addresses)?,
            sessions: Slot::of(reading, sessions)?,
        };
        // The name may have passed to another user since it was looked up.
        let is_theirs = |named: &UserName| named.owner == owner;
        if !counted.name.record().is_some_and(is_theirs) {
            account.user.stored = None;
        }
        account.counted = Some(counted);
        account.challenge = challenge;
        Ok(account)
    }

    /// Takes a user's second factor alone, for a decision that counts no failures.
    pub(super) fn of_second_factor(
        [user, second_factor, devices, recovery]: [Key; 4],
        reading: &Snapshot,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            now: reading.now(),
            user: Slot::of(reading, user)?,
            second_factor: Slot::of(reading, second_factor)?,
            devices: Slot::of(reading, devices)?,
            recovery: Slot::of(reading, recovery)?,
            counted: None,
            challenge: None,
        })
    }

    /// Returns the user if they may log in.
    pub(super) fn active_user(&self) -> Option<&Arc<User>> {
        let user = self.user.shared();
        user.filter(|user| user.status == UserStatus::Active)
    }

    /// Returns the second factor if it is required at login.
    pub(super) fn active_key(&self) -> Option<&SecondFactor> {
        let key = self.second_factor.record();
        key.filter(|found| asked_for(Some(&found.key)).is_some())
    }

    /// Returns the records that `keyproof-mfa` decides on.
    pub(super) fn records(&self) -> UserRecords {
        let counted = self.counted.as_ref();
        let lockout = counted.and_then(|counted| Some(counted.lockout.record()?.0));
        let Some(user) = self.user.record() else {
            let mut nobody = UserRecords::new(mfa::User::new(UserId::new("", ""), 0));
            nobody.lockout = lockout;
            return nobody;
        };
        let mut records = records_of(user, self.second_factor.record());
        let challenge = self.challenge.as_ref().and_then(Slot::record);
        records.challenge = challenge.map(|record| record.challenge);
        records.devices = self.devices.record().map(|record| record.0.clone());
        records.lockout = lockout;
        records.recovery = self.recovery.record().map(|record| record.0.clone());
        if let Some(counted) = counted {
            records.addresses = counted.addresses.record().map(|record| record.0.clone());
            records.sessions = counted.sessions.record().map(|record| record.0.clone());
        }
        records
    }

    /// Returns the time of the reading.
    pub(super) const fn at(&self) -> UnixMillis {
        millis(self.now)
    }

    /// Whether fingerprints are locked in these records, but not in the account's own.
    pub(super) fn locks_fingerprints(&self, next: &UserRecords) -> bool {
        let is_locked = |records: &UserRecords| records.are_fingerprints_locked(self.at());
        is_locked(next) && !is_locked(&self.records())
    }

    /// Whether the client's trusted device is locked in these records, but not in the account's own.
    pub(super) fn locks_device(
        &self,
        next: &UserRecords,
        client: Client<'_>,
        policy: &Policy,
    ) -> bool {
        let is_locked = |records: UserRecords| {
            // No answer to a wrong password tells it.
            let probe = records.begin_login(Password::Correct, client, self.at(), policy);
            matches!(
                probe.verdict,
                Err(PasswordRefusal::Locked(Locked {
                    counter: Counter::Device(_),
                    ..
                }))
            )
        };
        is_locked(next.clone()) && !is_locked(self.records())
    }

    /// Returns how long it is until then.
    pub(super) fn wait(&self, until: UnixMillis) -> Duration {
        timestamp(until).saturating_since(self.now)
    }

    /// Returns the error of a failure: that of `locked` if the failure starts a lockout, otherwise `error`.
    pub(super) fn locked_or<E>(
        &self,
        failure: &mfa::Failure,
        error: E,
        locked: impl FnOnce(Duration) -> E,
    ) -> E {
        let until = failure.locked_until;
        until.map_or(error, |until| locked(self.wait(until)))
    }

    /// Adds what was decided to the batch. Changed records are written over the version that was read, unchanged ones are required
    /// to still have that version.
    pub(super) fn save(&self, batch: &mut Batch, next: UserRecords, change: Change) {
        let counts = next.lockout.is_some() || next.addresses.is_some() || next.sessions.is_some();
        debug_assert!(self.counted.is_some() || !counts, "it was not read");
        if let Some(counted) = &self.counted {
            let lockout = next.lockout.map(LockoutRecord);
            counted
                .lockout
                .put_until(batch, lockout, |record| record.0.expires_at());
        }
        let Some(before) = self.user.record() else {
            return;
        };
        let key = self.second_factor.record().map(|record| &record.key);
        let is_another_key = asked_for(key) != asked_for(next.key.as_ref());
        let is_joined = self.is_joined(&next);
        if change.user.is_none() && !is_another_key && !is_joined {
            self.user.require(batch);
        } else {
            let mut user = change.user.unwrap_or_else(|| before.clone());
            if is_another_key {
                user = user.ending_sessions(change.by);
            }
            if is_joined {
                self.user.replace(batch, &user, None);
            } else {
                self.user.put(batch, Some(user), None);
            }
        }
        let second_factor = next.key.and_then(|key| {
            let kept = || self.second_factor.record().cloned();
            let next = change.second_factor.or_else(kept)?;
            Some(SecondFactor { key, ..next })
        });
        self.second_factor.put(batch, second_factor, None);
        let devices = next.devices.map(DevicesRecord);
        self.devices
            .put_until(batch, devices, |record| record.0.expires_at());
        let recovery = next.recovery.map(RecoveryRecord);
        self.recovery.put(batch, recovery, None);
        if let Some(counted) = &self.counted {
            counted.name.require(batch);
            let addresses = next.addresses.map(AddressesRecord);
            counted
                .addresses
                .put_until(batch, addresses, |record| record.0.expires_at());
            let sessions = next.sessions.map(SessionsRecord);
            counted
                .sessions
                .put_until(batch, sessions, |record| record.0.expires_at());
        }
        let new_challenge = change.challenge.map(Slot::unread);
        if let Some(slot) = new_challenge.as_ref().or(self.challenge.as_ref()) {
            let challenge = next.challenge.map(|challenge| ChallengeRecord {
                owner: before.owner(),
                name: before.name.clone(),
                challenge,
            });
            slot.put_until(batch, challenge, |record| record.challenge.expires_at());
        }
    }

    /// Like [`save`](Self::save), with a new record of the user.
    pub(super) fn save_user(&self, batch: &mut Batch, next: UserRecords, user: User) {
        let change = Change {
            user: Some(user),
            ..Change::default()
        };
        self.save(batch, next, change);
    }

    /// Whether the user gets a kind of record that they did not have. The store cannot require that a record is absent without a
    /// write, so the user's record, which every decision requires, gets a new version with it.
    fn is_joined(&self, next: &UserRecords) -> bool {
        let is_counted_anew = self.counted.as_ref().is_some_and(|counted| {
            (counted.addresses.stored.is_none() && next.addresses.is_some())
                || (counted.sessions.stored.is_none() && next.sessions.is_some())
        });
        (self.second_factor.stored.is_none() && next.key.is_some())
            || (self.devices.stored.is_none() && next.devices.is_some())
            || (self.recovery.stored.is_none() && next.recovery.is_some())
            || is_counted_anew
    }

    /// Deletes the user and all their records, except the counts for their name.
    pub(super) fn erase(&self, batch: &mut Batch) {
        self.user.remove(batch);
        self.second_factor.remove(batch);
        self.devices.remove(batch);
        self.recovery.remove(batch);
        if let Some(counted) = &self.counted {
            counted.name.remove(batch);
            counted.addresses.remove(batch);
            counted.sessions.remove(batch);
        }
    }
}

/// Returns the owner of a name. For an unknown name, records are looked up just as for a known one.
pub(super) fn owner_of(named: Option<&UserName>) -> Owner {
    named.map_or(Owner::NOBODY, |named| named.owner)
}

/// Returns the records that `keyproof-mfa` decides on, with only the user's key.
pub(super) fn records_of(user: &User, second_factor: Option<&SecondFactor>) -> UserRecords {
    let (mut organisation, mut number) = (Buffer::new(), Buffer::new());
    let id = UserId::new(
        organisation.format(user.organisation),
        number.format(user.id),
    );
    let mut records = UserRecords::new(mfa::User::new(id, user.generation));
    records.key = second_factor.map(|record| record.key);
    records
}

/// Returns the generation of the key that is required at login.
fn asked_for(key: Option<&KeyRecord>) -> Option<Generation> {
    let key = key.filter(|key| matches!(key.status(), KeyStatus::Active { .. }));
    key.map(KeyRecord::generation)
}
