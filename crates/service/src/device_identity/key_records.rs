//! All that is known about an attestation key of a device, read in one go: whose it is, whether it is active, its
//! certificates, and what these rest on.

use std::collections::BTreeSet;

use keyproof_store::{Batch, Key, ReadPlan, Snapshot, Stored, Timestamp};

use super::{
    ApiKey, Category, DeviceIdentity, IdentityConflict, Manager, Object, PcrPolicy,
    api_keys::DeletedApiKey,
    certified::{Certified, Issued},
    identity::{ActiveKey, Device, DevicePlace, Identity},
    objects::object_key,
};
use crate::{StorageError, slot::Slot};

/// Which attestation key.
#[derive(Clone)]
pub(super) struct KeyPlace {
    pub(super) device: DevicePlace,
    pub(super) category: String,
    /// The Names of endorsement key and attestation key, in hex.
    pub(super) ek: String,
    pub(super) ak: String,
}

/// What is known about it.
pub(super) struct KeyRecords {
    place: KeyPlace,
    pub(super) identity: Identity,
    category: Stored<Object<Category>>,
    manager: Stored<Object<Manager>>,
    active: Slot<ActiveKey>,
    /// Whether the key that is active counts for the device that it was activated for, which may be another.
    is_in_use: bool,
    certified: Slot<Certified>,
    found: Snapshot,
}

/// An active key, its device, and its certificates by the category, if it has issued any.
#[derive(Clone)]
pub(super) struct KeyState {
    pub(super) device: Device,
    pub(super) active: ActiveKey,
    pub(super) certified: Option<Certified>,
}

impl KeyPlace {
    fn active(&self) -> Key {
        ActiveKey::key(&self.device.namespace, &self.device.manager, &self.ak)
    }

    fn certified(&self) -> Key {
        let DevicePlace { namespace, .. } = &self.device;
        Certified::key(namespace, &self.category, &self.device, &self.ek, &self.ak)
    }
}

impl DeviceIdentity {
    /// Reads what is known about a key, and `more`; `None` if its category or manager is not there.
    pub(super) async fn key_records(
        &self,
        place: KeyPlace,
        more: impl IntoIterator<Item = Key>,
        now: Timestamp,
    ) -> Result<Option<KeyRecords>, StorageError> {
        let (namespace, category_name) = (place.device.namespace.clone(), place.category.clone());
        let category = object_key::<Category>(&namespace, &place.category);
        let manager = object_key::<Manager>(&namespace, &place.device.manager);
        let (active, certified) = (place.active(), place.certified());
        let known = Identity::keys(&place.device, &place.ek);
        let keys = [&category, &manager, &active, &certified];
        let keys = keys.into_iter().cloned().chain(known).chain(more);
        let plan = ReadPlan::new(keys).then({
            let (active, certified) = (active.clone(), certified.clone());
            let manager_name = place.device.manager.clone();
            move |found| {
                let mut keys = Vec::new();
                if let Some(Stored { record, .. }) = found.get::<ActiveKey>(&active)? {
                    keys.push(record.device(&namespace, &manager_name).key());
                }
                if let Some(Stored { record, .. }) = found.get::<Certified>(&certified)? {
                    let all = record.all();
                    keys.extend(
                        all.flat_map(|issued| made_with(&namespace, &category_name, issued)),
                    );
                }
                Ok(keys)
            }
        });
        let found = self.store.read(plan, now).await?;
        let category = found.get::<Object<Category>>(&category)?;
        let manager = found.get::<Object<Manager>>(&manager)?;
        let (Some(category), Some(manager)) = (category, manager) else {
            return Ok(None);
        };
        let active = Slot::<ActiveKey>::of(&found, active)?;
        let its_device = match active.record() {
            None => None,
            Some(record) => {
                let its_device = record.device(&place.device.namespace, &place.device.manager);
                found.get::<Device>(&its_device.key())?
            }
        };
        let of_manager = &manager.record.spec.incarnation;
        let is_in_use = match (active.record(), &its_device) {
            (Some(record), Some(device)) => {
                record.counts_for(&device.record) && record.manager_incarnation == *of_manager
            }
            _ => false,
        };
        Ok(Some(KeyRecords {
            identity: Identity::read(
                &found,
                place.device.clone(),
                &place.ek,
                &manager.record.spec,
            )?,
            category,
            manager,
            active,
            is_in_use,
            certified: Slot::of(&found, certified)?,
            place,
            found,
        }))
    }
}

impl KeyRecords {
    /// Whether category or manager is put out of use.
    pub(super) fn is_disabled(&self) -> bool {
        self.category.record.metadata.disable || self.manager.record.metadata.disable
    }

    /// What the category asks of registers.
    pub(super) const fn pcr_policy(&self) -> &PcrPolicy {
        &self.category.record.spec.pcr_policy
    }

    /// Compares what the key is said to be with what is known, as far as that still counts: nothing removes what was known of a
    /// key whose certificates had ended before its device was forgotten.
    pub(super) fn check(&self) -> Result<(), IdentityConflict> {
        self.identity.check()?;
        match self.active.record() {
            Some(record) if self.is_in_use && record.ek != self.place.ek => {
                Err(IdentityConflict::AttestationKey)
            }
            _ => Ok(()),
        }
    }

    /// The certificates of the key that were made for the device as it is now.
    pub(super) fn certified(&self) -> Option<&Certified> {
        let certified = self.certified.record();
        certified.filter(|certified| certified.incarnation == self.identity.incarnation())
    }

    /// The key, if it is active.
    pub(super) fn state(&self) -> Option<KeyState> {
        let device = self.identity.device()?;
        let active = self.active.record();
        Some(KeyState {
            active: active.filter(|active| active.counts_for(device))?.clone(),
            device: device.clone(),
            certified: self.certified().cloned(),
        })
    }

    /// Whether the API key that a certificate was made with upholds it, or did when it was deleted.
    pub(super) fn is_upheld(&self, issued: &Issued) -> Result<bool, StorageError> {
        let mut places = made_with(&self.place.device.namespace, &self.place.category, issued);
        if let Some(place) = places.next()
            && let Some(key) = self.found.get::<Object<ApiKey>>(&place)?
            && issued.is_of(&key.record)
        {
            return Ok(key.record.spec.upholds(issued.made_at));
        }
        let Some(place) = places.next() else {
            return Ok(false);
        };
        let deleted = self.found.get::<DeletedApiKey>(&place)?;
        Ok(deleted.is_none_or(|deleted| {
            let key = deleted.record.key.spec;
            key.withdrawal_for_good(issued.made_at).is_none()
        }))
    }

    /// What was read beside it.
    pub(super) const fn found(&self) -> &Snapshot {
        &self.found
    }

    /// Adds to a batch what is to be known from now on. It goes through only while all that was read is as it was.
    pub(super) fn write(&self, batch: &mut Batch, next: KeyState) -> Result<(), StorageError> {
        Object::require(batch, &self.category);
        Object::require(batch, &self.manager);
        let certificates = self.certified.record().into_iter().flat_map(Certified::all);
        let made_with: BTreeSet<&str> = certificates.map(|issued| &*issued.api_key).collect();
        for name in made_with {
            let place = object_key::<ApiKey>(&self.place.device.namespace, name);
            if let Some(key) = self.found.get::<Object<ApiKey>>(&place)? {
                batch.require(&place, key.version);
            }
        }
        let KeyState {
            device,
            active,
            certified,
        } = next;
        self.identity.write(batch, device);
        self.active.put(batch, Some(active), None);
        if let Some(certified) = certified {
            let until = Some(certified.issued.expires_at());
            self.certified.put(batch, Some(certified), until);
        }
        Ok(())
    }
}

/// Where the API key is that a certificate was made with: as it is, and as it was when it was deleted.
pub(super) fn made_with(
    namespace: &str,
    category: &str,
    issued: &Issued,
) -> impl Iterator<Item = Key> + use<> {
    let live = object_key::<ApiKey>(namespace, &issued.api_key);
    let uid = issued.api_key_uid.as_deref();
    let deleted = uid.map(|uid| DeletedApiKey::key(namespace, category, uid));
    [live].into_iter().chain(deleted)
}
