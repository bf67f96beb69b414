//! The binding of devices to EKs, and the AKs that are active.
//!
//! A device is a vendor and a serial number within a manager; its name and version may change. It is bound to an EK,
//! and the EK to it, once the credential of one of its AKs was opened. Provisioning alone binds nothing.

use keyproof_store::{Batch, Key, Prefix, Record, Snapshot, Store, Timestamp};
use keyproof_tpm::TpmsClockInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LearntRegister, Manager, Verdict, certified::Certified, ticket::Ticket};
use crate::{StorageError, audit::Target, keys::draw_bytes, slot::Slot};

/// The most AKs of a device whose certificates have not expired.
pub(super) const MOST_KEYS: usize = 128;

/// The identity of a device: a vendor and a serial number within a manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlace {
    /// The manager's namespace.
    pub namespace: String,
    /// The manager's name.
    pub manager: String,
    /// The device's vendor.
    pub vendor: String,
    /// The device's serial number.
    pub serial: String,
}

/// At `tpm_device/<namespace>/<manager>/<vendor>/<serial>`: a device that is or was bound to an EK, or that was forgotten
/// before it was bound.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    #[serde(flatten)]
    pub(super) place: DevicePlace,
    pub(super) name: String,
    pub(super) version: String,
    /// The Name of its EK, in hex; `None` if it was forgotten.
    pub(super) ek: Option<String>,
    /// Redrawn whenever the device is forgotten, and at first the manager's. Anything issued to an earlier incarnation
    /// is void.
    pub(super) incarnation: String,
    /// The incarnation of the manager it was bound or forgotten below. It is not bound below a new manager of the same
    /// name.
    #[serde(default)]
    pub(super) manager_incarnation: String,
    /// When it was bound; when it was forgotten if it never was.
    pub(super) bound_at: Timestamp,
    /// The PCR values of its first accepted attestation, if they are learnt.
    #[serde(default)]
    pub(super) learnt: Option<Vec<LearntRegister>>,
    /// Its last attestations, the latest last.
    #[serde(default)]
    pub(super) attestations: Vec<Verdict>,
    /// Its active AKs, which are limited in number, except those that an earlier release activated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<CountedKey>,
}

/// An active AK of a device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountedKey {
    /// Its Name, in hex.
    name: String,
    /// When the last of its certificates expires.
    until: Timestamp,
}

/// The clock and counters of a TPM from an attestation (`TPMS_CLOCK_INFO`).
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
    /// Version 1 was bound by a provision, without proof.
    const VERSION: u32 = 2;

    /// Drops the unproven binding. Version 1 had no place in the record; it is written when the device is bound.
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

impl Device {
    /// Counts an AK that is activated with a certificate until `until`. Those whose certificates have expired are no longer
    /// counted. Returns `false`, and does not count it, if there are [`MOST_KEYS`] others.
    pub(super) fn count_key(&mut self, ak: &str, until: Timestamp, now: Timestamp) -> bool {
        self.keys.retain(|key| key.name == ak || key.until > now);
        if let Some(known) = self.keys.iter_mut().find(|key| key.name == ak) {
            known.until = known.until.max(until);
            return true;
        }
        let has_room = self.keys.len() < MOST_KEYS;
        if has_room {
            let name = ak.to_owned();
            self.keys.push(CountedKey { name, until });
        }
        has_room
    }
}

/// At `tpm_endorsement_key/<namespace>/<manager>/<ek>`: the device that this EK is bound to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) vendor: String,
    pub(super) serial: String,
    /// The incarnation of the manager it was bound below.
    #[serde(default)]
    pub(super) manager_incarnation: String,
}

impl Record for Owner {
    const TYPE: &'static str = "tpm_endorsement_key";
    /// Version 1 was bound by a provision, without proof.
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
    /// Returns whether this is an unproven binding of an earlier release. Real vendors and serial numbers are not
    /// empty.
    const fn is_nobody(&self) -> bool {
        self.vendor.is_empty() && self.serial.is_empty()
    }

    /// Returns whether it is bound to this device, below the same manager.
    pub(super) fn is_of(&self, device: &Device) -> bool {
        self.vendor == device.place.vendor
            && self.serial == device.place.serial
            && self.manager_incarnation == device.manager_incarnation
    }

    pub(super) fn key(namespace: &str, manager: &str, ek: &str) -> Key {
        Key::new(Self::TYPE, [namespace, manager, ek])
    }
}

/// At `tpm_attestation_key/<namespace>/<manager>/<ak>`: an AK that is active, as its credential was opened. It is valid
/// only for the incarnation of its device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ActiveKey {
    pub(super) vendor: String,
    pub(super) serial: String,
    pub(super) ek: String,
    pub(super) incarnation: String,
    /// The incarnation of the manager it was activated below.
    #[serde(default)]
    pub(super) manager_incarnation: String,
    pub(super) activated_at: Timestamp,
    /// The clock and counters of the last stored attestation in which they had not gone back, accepted or not.
    #[serde(default)]
    pub(super) last_seen: Option<Seen>,
}

record!(ActiveKey, "tpm_attestation_key");

impl ActiveKey {
    pub(super) fn key(namespace: &str, manager: &str, ak: &str) -> Key {
        Key::new(Self::TYPE, [namespace, manager, ak])
    }

    /// Returns the device that it was activated for.
    pub(super) fn device(&self, namespace: &str, manager: &str) -> DevicePlace {
        DevicePlace {
            namespace: namespace.to_owned(),
            manager: manager.to_owned(),
            vendor: self.vendor.clone(),
            serial: self.serial.clone(),
        }
    }

    /// Returns whether it is valid for the present incarnation of this device.
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

    /// Returns the prefix of the certificates that a category has issued for the device's AKs.
    pub(super) fn certificates(&self, category: &str) -> Prefix {
        let segments = [&*self.namespace, category, &self.vendor, &self.serial];
        Prefix::new(Certified::TYPE, segments)
    }

    /// The same for this EK of the device.
    pub(super) fn certificates_of(&self, category: &str, ek: &str) -> Prefix {
        let segments = [&*self.namespace, category, &self.vendor, &self.serial, ek];
        Prefix::new(Certified::TYPE, segments)
    }

    /// Returns the device's target in the audit trail.
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

/// How a claim contradicts the stored bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityConflict {
    /// The AK is active below another EK.
    #[error("the attestation key belongs to another endorsement key")]
    AttestationKey,
    /// The EK is bound to another device.
    #[error("the endorsement key belongs to a device of another vendor or serial number")]
    EndorsementKey,
    /// The device is bound to another EK.
    #[error("a device of this vendor and serial number has another endorsement key")]
    Device,
}

/// A claim that an EK is a device's, and the bindings of both from one snapshot.
pub(super) struct Identity {
    pub(super) place: DevicePlace,
    /// The incarnation of the present manager.
    manager_incarnation: String,
    /// The Name of the EK, in hex.
    ek: String,
    device: Slot<Device>,
    owner: Slot<Owner>,
}

impl Identity {
    /// Returns the keys of the records that it is read from.
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

    /// Checks that the claim does not contradict the bindings.
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

    /// Returns the device, if it was ever bound or forgotten below this manager.
    pub(super) fn device(&self) -> Option<&Device> {
        let device = self.device.record();
        device.filter(|device| device.manager_incarnation == self.manager_incarnation)
    }

    /// Returns the present incarnation of the device.
    pub(super) fn incarnation(&self) -> &str {
        self.device()
            .map_or(&self.manager_incarnation, |device| &device.incarnation)
    }

    /// Returns the device after its binding. The claim must have passed [`check`](Self::check).
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
            keys: since.map_or_else(Vec::new, |device| device.keys.clone()),
        }
    }

    /// Adds the binding of the device and the EK to a batch.
    pub(super) fn write(&self, batch: &mut Batch, device: Device) {
        let owner = Owner {
            vendor: self.place.vendor.clone(),
            serial: self.place.serial.clone(),
            manager_incarnation: self.manager_incarnation.clone(),
        };
        self.device.put(batch, Some(device), None);
        self.owner.put(batch, Some(owner), None);
    }

    /// Lets a batch commit only if the bindings are unchanged, and there is still none where there was none.
    pub(super) fn require(&self, batch: &mut Batch) {
        self.device.require_as_read(batch);
        self.owner.require_as_read(batch);
    }
}

/// Draws 128 random bits, in hex.
pub(super) fn draw(store: &Store) -> String {
    data_encoding::HEXLOWER.encode(&draw_bytes::<16>(store.entropy()))
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

    #[test]
    fn an_attestation_key_is_counted_until_the_last_of_its_certificates_expires() {
        let at = Timestamp::from_secs;
        let mut device = testing::device("m", "1");
        for number in 0..MOST_KEYS {
            // As if it had one from another category, too.
            for until in [20, 10] {
                assert!(device.count_key(&number.to_string(), at(until), at(0)));
            }
        }
        let stored = serde_json::to_value(&device).unwrap();
        assert!(serde_json::from_value::<Device>(stored).unwrap() == device);
        assert!(!device.count_key("new", at(30), at(19)));
        assert_eq!(device.keys.len(), MOST_KEYS);
        assert!(device.count_key("0", at(30), at(19)));
        assert!(device.count_key("new", at(30), at(20)));
        let left: Vec<&str> = device.keys.iter().map(|key| &*key.name).collect();
        assert_eq!(left, ["0", "new"]);
    }

    /// Records that the earlier release wrote at a provision, without proof.
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
