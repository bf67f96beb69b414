//! What is counted of guesses at an instance's password: by its name, and by each address where somebody has logged in
//! to it of late. The decision is `keyproof-mfa`'s, as for users: an instance is one without a second factor.

use keyproof_mfa::{Addresses, Client, Lockout, Network, UnixMillis, User, UserId, UserRecords};
use keyproof_store::{Batch, Key, Raw, Record, Stored, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    OtpDevices,
    records::{Instance, instance_key},
};
use crate::{
    Origin, StorageError,
    clock::{millis, timestamp},
    storage::put,
};

/// At `otp_lockout/<instance>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct LockoutRecord(Lockout);

record!(LockoutRecord, "otp_lockout");

/// At `otp_addresses/<instance>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct AddressesRecord(Addresses);

record!(AddressesRecord, "otp_addresses");

/// What was read, with the instance itself.
pub(super) struct Guesses {
    places: [Key; 2],
    lockout: Option<Stored<LockoutRecord>>,
    addresses: Option<Stored<AddressesRecord>>,
    now: Timestamp,
}

impl OtpDevices {
    /// An instance and what is counted against it, as they were at one moment; `None` is no such instance.
    pub(super) async fn guarded(
        &self,
        instance: &str,
        now: Timestamp,
    ) -> Result<Option<(Stored<Instance>, Guesses)>, StorageError> {
        let places = ["otp_lockout", "otp_addresses"].map(|all| Key::new(all, [instance]));
        let [lockout, addresses] = places.clone();
        let keys = [instance_key(instance), lockout, addresses];
        let mut found = self.store.get_many(&keys, now).await?.into_iter();
        let mut next = || found.next().flatten();
        let Some(stored) = decode(next())? else {
            return Ok(None);
        };
        let guesses = Guesses {
            lockout: decode(next())?,
            addresses: decode(next())?,
            places,
            now,
        };
        Ok(Some((stored, guesses)))
    }
}

impl Guesses {
    /// What `keyproof-mfa` decides on.
    pub(super) fn records(&self, instance: &str) -> UserRecords {
        let mut records = UserRecords::new(User::new(UserId::new("", instance), 0));
        records.lockout = self.lockout.as_ref().map(|stored| stored.record.0);
        let addresses = self.addresses.as_ref();
        records.addresses = addresses.map(|stored| stored.record.0.clone());
        records
    }

    /// The moment of the reading.
    pub(super) const fn at(&self) -> UnixMillis {
        millis(self.now)
    }

    /// The same, as the store counts.
    pub(super) const fn read_at(&self) -> Timestamp {
        self.now
    }

    /// How long it is until then.
    pub(super) fn wait(&self, until: UnixMillis) -> std::time::Duration {
        timestamp(until).saturating_since(self.now)
    }

    /// Adds what was decided.
    pub(super) fn save(&self, batch: &mut Batch, next: &UserRecords) {
        let [lockout_key, addresses_key] = &self.places;
        let lockout = next.lockout.map(LockoutRecord);
        let kept = lockout.as_ref().map(|kept| timestamp(kept.0.expires_at()));
        put(batch, lockout_key, self.lockout.as_ref(), lockout, kept);
        let addresses = next.addresses.clone().map(AddressesRecord);
        let kept = addresses.as_ref();
        let kept = kept.map(|kept| timestamp(kept.0.expires_at()));
        put(
            batch,
            addresses_key,
            self.addresses.as_ref(),
            addresses,
            kept,
        );
    }

    /// Adds the end of all that is counted.
    pub(super) fn erase(&self, batch: &mut Batch) {
        let [lockout_key, addresses_key] = &self.places;
        put(batch, lockout_key, self.lockout.as_ref(), None, None);
        put(batch, addresses_key, self.addresses.as_ref(), None, None);
    }
}

/// Who guesses.
pub(super) fn client(origin: &Origin) -> Client<'static> {
    Client {
        fingerprint: None,
        network: origin.address.map(Network::of),
    }
}

fn decode<R: Record>(raw: Option<Raw>) -> Result<Option<Stored<R>>, StorageError> {
    Ok(raw.as_ref().map(Raw::decode::<R>).transpose()?)
}
