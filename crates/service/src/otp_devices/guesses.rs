//! The counters of wrong passwords: for an instance's name, and for each address with a recent login. `keyproof-mfa`
//! decides on them as it does for users; an instance is a user without a second factor.

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

/// The counters as they were read with the instance.
pub(super) struct Guesses {
    lockout: Slot<LockoutRecord>,
    addresses: Slot<AddressesRecord>,
    /// When they were read.
    pub(super) now: Timestamp,
}

impl OtpDevices {
    /// Reads an instance and its counters in one snapshot. Returns `None` if there is no such instance.
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
    /// Returns the input for `keyproof-mfa`.
    pub(super) fn records(&self, instance: &str) -> UserRecords {
        let mut records = UserRecords::new(User::new(UserId::new("", instance), 0));
        records.lockout = self.lockout.record().map(|record| record.0);
        let addresses = self.addresses.record();
        records.addresses = addresses.map(|record| record.0.clone());
        records
    }

    /// Returns when the counters were read.
    pub(super) const fn at(&self) -> UnixMillis {
        millis(self.now)
    }

    /// Returns the time left until then.
    pub(super) fn wait(&self, until: UnixMillis) -> std::time::Duration {
        timestamp(until).saturating_since(self.now)
    }

    /// Adds the new counters to a batch.
    pub(super) fn save(&self, batch: &mut Batch, next: &UserRecords) {
        let lockout = next.lockout.map(LockoutRecord);
        self.lockout
            .put_until(batch, lockout, |record| record.0.expires_at());
        let addresses = next.addresses.clone().map(AddressesRecord);
        self.addresses
            .put_until(batch, addresses, |record| record.0.expires_at());
    }

    /// Adds the deletion of all counters to a batch. An attempt that is counted meanwhile makes the batch fail, as its counter
    /// would stay.
    pub(super) fn erase(&self, batch: &mut Batch) {
        self.lockout.remove_as_read(batch);
        self.addresses.remove_as_read(batch);
    }
}

/// Returns the client as `keyproof-mfa` distinguishes clients: by network.
pub(super) fn client(origin: &Origin) -> Client<'static> {
    Client {
        fingerprint: None,
        network: origin.address.map(Network::containing),
    }
}
