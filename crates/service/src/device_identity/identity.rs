//! Which device an endorsement key is of, and which attestation keys of it were shown to be in its TPM.
//!
//! A device is a vendor and a serial number within a manager; its name and version may change. It is bound to an
//! endorsement key, and the endorsement key to it, once the credential of one of its attestation keys was opened. Until
//! then nothing is known of it: whoever provisions binds nothing.

use keyproof_store::{Batch, Key, Prefix, Record, Snapshot, Store, Timestamp};
use keyproof_tpm::TpmsClockInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LearntRegister, Manager, Verdict, certified::Certified, ticket::Ticket};
use crate::{StorageError, audit::Target, slot::Slot};

/// Which device it is: a vendor and a serial number within a manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlace {
    /// Where the manager is.
    pub namespace: String,
    /// The manager's name.
    pub manager: String,
    /// The device's vendor.
    pub vendor: String,
    /// The device's serial number.
    pub serial: String,
}

/// At `tpm_device/<namespace>/<manager>/<vendor>/<serial>`: a device that is bound to an endorsement key, or was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    #[serde(flatten)]
    pub(super) place: DevicePlace,
    pub(super) name: String,
    pub(super) version: String,
    /// The Name of its endorsement key, in hex; none since it was forgotten.
    pub(super) ek: Option<String>,
    /// Drawn whenever it is forgotten, and its manager's before: what was issued to an earlier one is good no more.
    pub(super) incarnation: String,
    /// That of the manager it was bound below. To another manager of the same name it is unknown.
    #[serde(default)]
    pub(super) manager_incarnation: String,
    /// When it was bound.
    pub(super) bound_at: Timestamp,
    /// Its registers in its first accepted attestation, where those are learnt.
    #[serde(default)]
    pub(super) learnt: Option<Vec<LearntRegister>>,
    /// What its last attestations came to, the latest last.
    #[serde(default)]
    pub(super) attestations: Vec<Verdict>,
}

/// Clock and counters of a TPM, as an attestation said them (`TPMS_CLOCK_INFO`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    safe: bool,
}

impl From<TpmsClockInfo> for Seen {
    fn from(info: TpmsClockInfo) -> Self {
        let TpmsClockInfo {
            clock,
            reset_count,
            restart_count,
            safe,
        } = info;
        Self {
            clock,
            reset_count,
            restart_count,
            safe,
        }
    }
}

impl Seen {
    pub(super) const fn clock_info(&self) -> TpmsClockInfo {
        TpmsClockInfo {
            clock: self.clock,
            reset_count: self.reset_count,
            restart_count: self.restart_count,
            safe: self.safe,
        }
    }
}

impl Record for Device {
    const TYPE: &'static str = "tpm_device";
    /// 1 was bound by a provision alone, which proves nothing.
    const VERSION: u32 = 2;

    /// Its place in the store says which namespace and manager it is of; the record says so once it is bound.
    fn upgrade(from: u32, mut data: Value) -> Option<Value> {
        if from == 1 {
            let device = data.as_object_mut()?;
            for unknown in ["namespace", "manager", "incarnation"] {
                device.insert(unknown.to_owned(), "".into());
            }
            device.insert("ek".to_owned(), Value::Null);
            device.insert("bound_at".to_owned(), 0.into());
        }
        Some(data)
    }
}

/// At `tpm_endorsement_key/<namespace>/<manager>/<ek>`: which device it is bound to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) vendor: String,
    pub(super) serial: String,
    /// That of the manager it was bound below.
    #[serde(default)]
    pub(super) manager_incarnation: String,
}

impl Record for Owner {
    const TYPE: &'static str = "tpm_endorsement_key";
    /// 1 was bound by a provision alone, which proves nothing.
    const VERSION: u32 = 2;

    fn upgrade(from: u32, mut data: Value) -> Option<Value> {
        if from == 1 {
            let owner = data.as_object_mut()?;
            owner.insert("vendor".to_owned(), "".into());
            owner.insert("serial".to_owned(), "".into());
        }
        Some(data)
    }
}

impl Owner {
    /// An earlier release bound it without a proof; no device has an empty vendor or serial number.
    const fn is_nobody(&self) -> bool {
        self.vendor.is_empty() && self.serial.is_empty()
    }

    /// Whether it is bound to this device, below the same manager.
    pub(super) fn is_of(&self, device: &Device) -> bool {
        self.vendor == device.place.vendor
            && self.serial == device.place.serial
            && self.manager_incarnation == device.manager_incarnation
    }

    pub(super) fn key(namespace: &str, manager: &str, ek: &str) -> Key {
        Key::new(Self::TYPE, [namespace, manager, ek])
    }
}

/// At `tpm_attestation_key/<namespace>/<manager>/<ak>`: an attestation key that is active, for its credential was
/// opened. It counts as long as its device is in the same incarnation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ActiveKey {
    pub(super) vendor: String,
    pub(super) serial: String,
    pub(super) ek: String,
    pub(super) incarnation: String,
    /// That of the manager it was activated below.
    #[serde(default)]
    pub(super) manager_incarnation: String,
    pub(super) activated_at: Timestamp,
    /// As its last attestation said that was stored and whose clock and counters had not gone back, accepted or not.
    #[serde(default)]
    pub(super) last_seen: Option<Seen>,
}

record!(ActiveKey, "tpm_attestation_key");

impl ActiveKey {
    pub(super) fn key(namespace: &str, manager: &str, ak: &str) -> Key {
        Key::new(Self::TYPE, [namespace, manager, ak])
    }

    /// The device that it was activated for, below this manager.
    pub(super) fn device(&self, namespace: &str, manager: &str) -> DevicePlace {
        DevicePlace {
            namespace: namespace.to_owned(),
            manager: manager.to_owned(),
            vendor: self.vendor.clone(),
            serial: self.serial.clone(),
        }
    }

    /// Whether it is of this device, as that is now.
    pub(super) fn counts_for(&self, device: &Device) -> bool {
        self.vendor == device.place.vendor
            && self.serial == device.place.serial
            && self.incarnation == device.incarnation
            && device.ek.as_ref() == Some(&self.ek)
    }
}

impl DevicePlace {
    pub(super) fn key(&self) -> Key {
        Key::new(
            Device::TYPE,
            [&self.namespace, &self.manager, &self.vendor, &self.serial],
        )
    }

    /// Where the certificates of its attestation keys are that a category has issued.
    pub(super) fn certificates(&self, category: &str) -> Prefix {
        let segments = [&*self.namespace, category, &self.vendor, &self.serial];
        Prefix::new(Certified::TYPE, segments)
    }

    /// As the audit trail calls it.
    pub fn target(&self) -> Target {
        let Self {
            namespace,
            manager,
            vendor,
            serial,
        } = self.clone();
        Target::TpmDevice {
            namespace,
            manager,
            vendor,
            serial,
        }
    }
}

/// Why a device is not the one that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityConflict {
    /// The attestation key is active below another endorsement key.
    #[error("the attestation key belongs to another endorsement key")]
    AttestationKey,
    /// The endorsement key is another device's.
    #[error("the endorsement key belongs to a device of another vendor or serial number")]
    EndorsementKey,
    /// The device has another endorsement key.
    #[error("a device of this vendor and serial number has another endorsement key")]
    Device,
}

/// A device and an endorsement key that is said to be its, and what is known of either, at one moment.
pub(super) struct Identity {
    pub(super) place: DevicePlace,
    /// That of the manager there is now.
    manager_incarnation: String,
    /// The Name of the endorsement key, in hex.
    ek: String,
    device: Slot<Device>,
    owner: Slot<Owner>,
}

impl Identity {
    /// The records that it is read from.
    pub(super) fn keys(place: &DevicePlace, ek: &str) -> [Key; 2] {
        let owner = Owner::key(&place.namespace, &place.manager, ek);
        [place.key(), owner]
    }

    pub(super) fn read(
        found: &Snapshot,
        place: DevicePlace,
        ek: &str,
        manager: &Manager,
    ) -> Result<Self, StorageError> {
        let [device, owner] = Self::keys(&place, ek);
        Ok(Self {
            manager_incarnation: manager.incarnation.clone(),
            device: Slot::of(found, device)?,
            owner: Slot::of(found, owner)?,
            place,
            ek: ek.to_owned(),
        })
    }

    /// Compares the claim with what is known.
    pub(super) fn check(&self) -> Result<(), IdentityConflict> {
        if let Some(record) = self.owner.record()
            && !record.is_nobody()
            && record.manager_incarnation == self.manager_incarnation
            && (record.vendor != self.place.vendor || record.serial != self.place.serial)
        {
            return Err(IdentityConflict::EndorsementKey);
        }
        let bound_to = self.device().and_then(|device| device.ek.as_ref());
        if bound_to.is_some_and(|ek| *ek != self.ek) {
            return Err(IdentityConflict::Device);
        }
        Ok(())
    }

    /// The device, if it was ever bound below this manager.
    pub(super) fn device(&self) -> Option<&Device> {
        let device = self.device.record();
        device.filter(|device| device.manager_incarnation == self.manager_incarnation)
    }

    /// That of the device now.
    pub(super) fn incarnation(&self) -> &str {
        self.device()
            .map_or(&self.manager_incarnation, |device| &device.incarnation)
    }

    /// The device as it is once its key's credential was opened. Only for a claim without a conflict.
    pub(super) fn bound(&self, ticket: &Ticket, now: Timestamp) -> Device {
        let since = self.device().filter(|device| device.ek.is_some());
        Device {
            place: self.place.clone(),
            name: ticket.name.clone(),
            version: ticket.version.clone(),
            ek: Some(self.ek.clone()),
            incarnation: self.incarnation().to_owned(),
            manager_incarnation: self.manager_incarnation.clone(),
            bound_at: since.map_or(now, |device| device.bound_at),
            learnt: since.and_then(|device| device.learnt.clone()),
            attestations: since.map_or_else(Vec::new, |device| device.attestations.clone()),
        }
    }

    /// Adds to a batch that the device is this from now on, and the endorsement key its.
    pub(super) fn write(&self, batch: &mut Batch, device: Device) {
        let owner = Owner {
            vendor: self.place.vendor.clone(),
            serial: self.place.serial.clone(),
            manager_incarnation: self.manager_incarnation.clone(),
        };
        self.device.put(batch, Some(device), None);
        self.owner.put(batch, Some(owner), None);
    }

    /// Lets a batch go through only while what is known is known.
    pub(super) fn require(&self, batch: &mut Batch) {
        self.device.require(batch);
        self.owner.require(batch);
    }
}

/// 128 random bits in hex.
pub(super) fn draw(store: &Store) -> String {
    let mut random = [0; 16];
    store.entropy().fill(&mut random);
    data_encoding::HEXLOWER.encode(&random)
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use keyproof_store::{Stored, Version};
    use serde_json::json;
    use std::sync::Arc;

    fn upgraded<R: Record>(data: Value) -> R {
        serde_json::from_value(R::upgrade(1, data).unwrap()).unwrap()
    }

    /// As the release before wrote them, at a provision that nobody had to prove.
    #[test]
    fn what_a_provision_alone_has_bound_is_bound_no_more() {
        let of_before =
            json!({"vendor": "acme", "serial": "1", "name": "n", "version": "2", "ek": "000b00"});
        let device: Device = upgraded(of_before);
        assert_eq!((&*device.place.vendor, device.ek), ("acme", None));
        let owner: Owner = upgraded(json!({"vendor": "thief", "serial": "9"}));
        let place = testing::device("m", "1").place;
        let [of_device, of_owner] = Identity::keys(&place, "000b00");
        let mut identity = Identity {
            place,
            manager_incarnation: String::new(),
            ek: "000b00".to_owned(),
            device: Slot::unread(of_device),
            owner: Slot::unread(of_owner),
        };
        identity.owner.stored = Some(Stored {
            record: Arc::new(owner),
            version: Version::from_bytes([0; 16]),
            expires_at: None,
        });
        assert_eq!(identity.check(), Ok(()));
    }
}
