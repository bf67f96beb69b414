//! The records of a device's AK, read in one snapshot: its device, whether it is active, its certificates, and what
//! these depend on.

use std::collections::BTreeSet;

use keyproof_store::{Batch, Key, ReadPlan, Snapshot, Stored, Timestamp};

use super::{
    ApiKey, Category, DeviceIdentity, IdentityConflict, Manager, Object, PcrPolicy, Withdrawal,
    api_keys::DeletedApiKey,
    certified::{Certified, Issued},
    identity::{ActiveKey, Device, DevicePlace, Identity},
    objects::object_key,
};
use crate::{StorageError, slot::Slot};

/// The place of an AK.
#[derive(Clone)]
pub(super) struct KeyPlace {
    pub(super) device: DevicePlace,
    pub(super) category: String,
    /// The Names of the EK and the AK, in hex.
    pub(super) ek: String,
    pub(super) ak: String,
    /// The serial number of the certificate that a ticket is for, if there is a ticket.
    pub(super) certificate: Option<String>,
}

/// The records of an AK.
pub(super) struct KeyRecords {
    place: KeyPlace,
    pub(super) identity: Identity,
    category: Stored<Object<Category>>,
    manager: Stored<Object<Manager>>,
    active: Slot<ActiveKey>,
    /// Whether the active key is valid for the device that it was activated for, which may be another one.
    is_in_use: bool,
    certified: Slot<Certified>,
    /// The snapshot, which also contains `more`.
    pub(super) found: Snapshot,
}

/// An active AK, its device, and its certificates from the category, if any.
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
    /// Reads the records of an AK, and `more`. Returns `None` if its category or manager does not exist.
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
            let shown = place.certificate.clone();
            move |found| {
                let mut keys = Vec::new();
                if let Some(Stored { record, .. }) = found.get::<ActiveKey>(&active)? {
                    keys.push(record.device(&namespace, &manager_name).key());
                }
                if let Some(Stored { record, .. }) = found.get::<Certified>(&certified)? {
                    for issued in judged(&record, shown.as_deref()) {
                        keys.extend(issuing_api_keys(&namespace, &category_name, issued));
                    }
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
    /// Returns whether the category or the manager is disabled.
    pub(super) fn is_disabled(&self) -> bool {
        self.category.record.metadata.disable || self.manager.record.metadata.disable
    }

    /// Returns the category's PCR policy.
    pub(super) const fn pcr_policy(&self) -> &PcrPolicy {
        &self.category.record.spec.pcr_policy
    }

    /// Checks that the place does not contradict the bindings that are still valid. The record of an active key remains
    /// if its certificates had expired before its device was forgotten.
    pub(super) fn check(&self) -> Result<(), IdentityConflict> {
        self.identity.check()?;
        match self.active.record() {
            Some(record) if self.is_in_use && record.ek != self.place.ek => {
                Err(IdentityConflict::AttestationKey)
            }
            _ => Ok(()),
        }
    }

    /// Returns the AK's certificates for the present incarnation of the device.
    pub(super) fn certified(&self) -> Option<&Certified> {
        let certified = self.certified.record();
        certified.filter(|certified| certified.incarnation == self.identity.incarnation())
    }

    /// Returns the AK if it is active.
    pub(super) fn state(&self) -> Option<KeyState> {
        let device = self.identity.device()?;
        let active = self.active.record();
        Some(KeyState {
            active: active.filter(|active| active.counts_for(device))?.clone(),
            device: device.clone(),
            certified: self.certified().cloned(),
        })
    }

    /// Returns whether the API key of the proven certificate, or of the ticket's, keeps it valid, or did so when the key was
    /// deleted.
    pub(super) fn is_still_valid(&self, issued: &Issued) -> Result<bool, StorageError> {
        let place = (&*self.place.device.namespace, &*self.place.category);
        Ok(withdrawal(&self.found, place, issued)?.is_none())
    }

    /// Adds the AK's new state to a batch, which commits only if all that was read is unchanged.
    pub(super) fn write(&self, batch: &mut Batch, next: KeyState) -> Result<(), StorageError> {
        self.require_objects(batch)?;
        let KeyState {
            device,
            active,
            certified,
        } = next;
        self.identity.write(batch, device);
        self.active.put(batch, Some(active), None);
        if let Some(certified) = certified {
            self.write_certified(batch, certified);
        }
        Ok(())
    }

    /// Takes the oldest certificates whose credentials were not opened out of the AK's record, at most this many, and returns
    /// them. The batch commits only if all that was read is unchanged.
    pub(super) fn take_unproven(
        &self,
        batch: &mut Batch,
        most: usize,
    ) -> Result<Vec<Issued>, StorageError> {
        let Some(mut rest) = self.certified().cloned() else {
            return Ok(Vec::new());
        };
        let taken = rest.take_unproven(most);
        self.require_objects(batch)?;
        self.identity.require(batch);
        self.active.require_as_read(batch);
        self.write_certified(batch, rest);
        Ok(taken)
    }

    fn write_certified(&self, batch: &mut Batch, next: Certified) {
        let until = Some(next.issued.expires_at());
        self.certified.put(batch, Some(next), until);
    }

    /// Lets a batch commit only if the category, its manager and the API keys that were judged are unchanged.
    fn require_objects(&self, batch: &mut Batch) -> Result<(), StorageError> {
        Object::require(batch, &self.category);
        Object::require(batch, &self.manager);
        let shown = self.place.certificate.as_deref();
        let certified = self.certified.record().into_iter();
        let certificates = certified.flat_map(|certified| judged(certified, shown));
        let issuing_api_keys: BTreeSet<&str> =
            certificates.map(|issued| &*issued.api_key).collect();
        for name in issuing_api_keys {
            let place = object_key::<ApiKey>(&self.place.device.namespace, name);
            if let Some(key) = self.found.get::<Object<ApiKey>>(&place)? {
                batch.require(&place, key.version);
            }
        }
        Ok(())
    }
}

/// Returns the certificates that are judged: the proven one, and the one with this serial number. An AK may have more unproven
/// ones than a read has room for their API keys.
fn judged<'a>(
    certified: &'a Certified,
    shown: Option<&'a str>,
) -> impl Iterator<Item = &'a Issued> {
    certified.all().filter(move |issued| {
        certified.proven.as_ref() == Some(*issued) || shown == Some(&*issued.serial)
    })
}

/// Returns where the API key of a certificate is stored: the live key, and the deleted one.
pub(super) fn issuing_api_keys(
    namespace: &str,
    category: &str,
    issued: &Issued,
) -> impl Iterator<Item = Key> + use<> {
    let live = object_key::<ApiKey>(namespace, &issued.api_key);
    let uid = issued.api_key_uid.as_deref();
    let deleted = uid.map(|uid| DeletedApiKey::key(namespace, category, uid));
    [live].into_iter().chain(deleted)
}

/// Returns why the API key that a certificate was made with does not keep it valid; `None` if it does, or did so when the key
/// was deleted. `found` contains the records of [`issuing_api_keys`].
pub(super) fn withdrawal(
    found: &Snapshot,
    (namespace, category): (&str, &str),
    issued: &Issued,
) -> Result<Option<Withdrawal>, StorageError> {
    let made_at = issued.made_at;
    let mut places = issuing_api_keys(namespace, category, issued);
    if let Some(place) = places.next()
        && let Some(key) = found.get::<Object<ApiKey>>(&place)?
        && issued.is_of(&key.record)
    {
        return Ok(key.record.spec.withdrawal(made_at));
    }
    // Without the key's UUID its record cannot be found, so it may have revoked the certificate.
    let Some(place) = places.next() else {
        return Ok(Some(Withdrawal::Revoked { since: made_at }));
    };
    // Keys that kept all certificates valid have no record.
    let deleted = found.get::<DeletedApiKey>(&place)?;
    Ok(deleted.and_then(|deleted| deleted.record.key.spec.withdrawal_for_good(made_at)))
}
