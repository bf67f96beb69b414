//! What is counted of guesses at an instance's password: by its name, and by each address where somebody has logged in
//! to it of late. The decision is `keyproof-mfa`'s, as for users: an instance is one without a second factor.

use keyproof_mfa::{Addresses, Client, Lockout, Network, UnixMillis, User, UserId, UserRecords};
use keyproof_store::{Batch, Key, ReadPlan, Stored, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    OtpDevices,
    records::{Instance, instance_key},
};
use crate::{
    Origin, StorageError,
    clock::{millis, timestamp},
    slot::Slot,
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
    lockout: Slot<LockoutRecord>,
    addresses: Slot<AddressesRecord>,
    now: Timestamp,
}

impl OtpDevices {
    /// An instance and what is counted against it, as they were at one moment; `None` is no such instance.
    pub(super) async fn guarded(
        &self,
        instance: &str,
        now: Timestamp,
    ) -> Result<Option<(Stored<Instance>, Guesses)>, StorageError> {
        let place = instance_key(instance);
        let [lockout, addresses] =
            ["otp_lockout", "otp_addresses"].map(|all| Key::new(all, [instance]));
        let plan = ReadPlan::new([&place, &lockout, &addresses].map(Key::clone));
        let found = self.store.read(plan, now).await?;
        let Some(stored) = found.get(&place)? else {
            return Ok(None);
        };
        let guesses = Guesses {
            lockout: Slot::of(&found, lockout)?,
            addresses: Slot::of(&found, addresses)?,
            now,
        };
        Ok(Some((stored, guesses)))
    }
}

impl Guesses {
    /// What `keyproof-mfa` decides on.
    pub(super) fn records(&self, instance: &str) -> UserRecords {
        let mut records = UserRecords::new(User::new(UserId::new("", instance), 0));
        records.lockout = self.lockout.record().map(|record| record.0);
        let addresses = self.addresses.record();
        records.addresses = addresses.map(|record| record.0.clone());
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
        let lockout = next.lockout.map(LockoutRecord);
        let kept = lockout.as_ref().map(|kept| timestamp(kept.0.expires_at()));
        self.lockout.put(batch, lockout, kept);
        let addresses = next.addresses.clone().map(AddressesRecord);
        let kept = addresses.as_ref();
        let kept = kept.map(|kept| timestamp(kept.0.expires_at()));
        self.addresses.put(batch, addresses, kept);
    }

    /// Adds the end of all that is counted.
    pub(super) fn erase(&self, batch: &mut Batch) {
        self.lockout.remove(batch);
        self.addresses.remove(batch);
    }
}

/// Who guesses.
pub(super) fn client(origin: &Origin) -> Client<'static> {
    Client {
        fingerprint: None,
        network: origin.address.map(Network::of),
    }
}
