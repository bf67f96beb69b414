//! Forgetting a device: the first batch gives it a new incarnation, which invalidates everything issued before, and the
//! revocations of its certificates follow.

use keyproof_store::Timestamp;

use super::{
    DeviceAdministrator, DeviceError, DeviceIdentity, DevicePlace, Manager, Object,
    certified::Certified,
    devices::KEYS_AT_ONCE,
    identity::{Device, Owner, draw},
    leftovers::Leftover,
};
use crate::{
    Action, Failure, StorageError,
    audit::NewEvent,
    pages::Pages,
    slot::Slot,
    storage::{Attempt, refuse, transact},
};

impl DevicePlace {
    /// Returns a record of a device that was never bound below the manager of this incarnation.
    fn unbound(&self, manager_incarnation: String, now: Timestamp) -> Device {
        Device {
            place: self.clone(),
            name: String::new(),
            version: String::new(),
            ek: None,
            incarnation: manager_incarnation.clone(),
            manager_incarnation,
            bound_at: now,
            learnt: None,
            attestations: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl DeviceIdentity {
    /// Permanently removes the binding of a device and its EK. Its AKs become inactive, its certificates are revoked,
    /// and earlier tickets become void. Returns how many certificates there were. A device that was provisioned and never
    /// bound is forgotten likewise.
    ///
    /// The first batch gives the device a new incarnation, which invalidates everything issued before. The revocations
    /// follow in further batches. If they are interrupted, calling this again completes them.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn forget_device(
        &self,
        device_administrator: &DeviceAdministrator,
        place: &DevicePlace,
    ) -> Result<usize, Failure<DeviceError>> {
        device_administrator.within(place)?;
        let is_renewed = transact("device_identity.forget", &self.store, || async {
            let now = self.clock.now();
            let slot = Slot::<Device>::read(&self.store, place.key(), now).await?;
            let manager = self.load::<Manager>(&place.namespace, &place.manager);
            let manager = manager.await?;
            let of_manager = manager
                .as_ref()
                .map(|manager| &manager.record.spec.incarnation);
            // What was forgotten below an earlier manager of the same name is unknown to this one.
            let known = slot.record().filter(|known| {
                known.ek.is_some() || of_manager.is_none_or(|own| *own == known.manager_incarnation)
            });
            let ek = known.and_then(|known| known.ek.clone());
            if ek.is_none() && !self.is_certified(place, known).await? {
                return match known {
                    // Certificates of earlier incarnations may be left.
                    Some(_) => Ok(Attempt::Done(false)),
                    None => refuse(DeviceError::Unknown),
                };
            }
            let mut batch = self.store.batch(now);
            if let Some(manager) = &manager {
                Object::require(&mut batch, manager);
            }
            // No later manager has an empty incarnation.
            let unbound = || place.unbound(of_manager.cloned().unwrap_or_default(), now);
            let before = known.cloned().unwrap_or_else(unbound);
            if let Some(ek) = &ek {
                let owner = Owner::key(&place.namespace, &place.manager, ek);
                if let Some(known) = self.store.get::<Owner>(&owner, now).await?
                    && known.record.is_of(&before)
                {
                    batch.remove(&owner, known.version);
                }
            }
            // The present manager's tickets become void, although it may be a former one that bound the device.
            let manager_incarnation = of_manager.unwrap_or(&before.manager_incarnation).clone();
            let device = Device {
                ek: None,
                incarnation: draw(&self.store),
                manager_incarnation,
                learnt: None,
                attestations: Vec::new(),
                keys: Vec::new(),
                ..before
            };
            slot.replace(&mut batch, &device, None);
            let new_event = NewEvent {
                action: Action::TpmDeviceForget,
                target: place.target(),
                detail: ek.map(|ek| format!("endorsement key {ek}")),
                origin: device_administrator.origin(),
            };
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(true)))
        });
        let is_renewed = is_renewed.await?;
        let revoked = self.revoke_left(place, Leftover::Forgotten).await?;
        if is_renewed || revoked > 0 {
            Ok(revoked)
        } else {
            refuse(DeviceError::Unknown)
        }
    }

    /// Returns whether AKs of a device have certificates of its present incarnation, or any if it has no record.
    async fn is_certified(
        &self,
        place: &DevicePlace,
        known: Option<&Device>,
    ) -> Result<bool, StorageError> {
        let is_present = |certified: &Certified| {
            known.is_none_or(|device| device.incarnation == certified.incarnation)
        };
        for category in self.categories_of(place).await? {
            let certificates = place.certificates(&category);
            let mut pages = Pages::<Certified>::of(&self.store, certificates).at_once(KEYS_AT_ONCE);
            while let Some(page) = pages.next(self.clock.now()).await? {
                if page.iter().any(|(_, stored)| is_present(&stored.record)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use keyproof_store::{Prefix, Record};

    use super::{
        super::{
            certified::Revoked,
            testing::{bench_with_device, certificate},
        },
        *,
    };
    use crate::testing::{START, command_line};

    /// A batch has a limited number of entries.
    #[tokio::test]
    async fn a_device_with_more_certificates_than_fit_in_a_batch_is_forgotten() {
        let (bench, place) = bench_with_device().await;
        let mut batch = bench.store.batch(START);
        let mut serials = 0_u32..;
        // Too many of one key, and too many of several keys together.
        for (key, count) in [1_200, 300, 300, 1].into_iter().enumerate() {
            let ak = format!("000b0{key}");
            let mut certified = None;
            for serial in serials.by_ref().take(count) {
                let certificate = certificate(&format!("{serial:04x}"));
                let (by, keys) = (("station", "uid"), ("000b", &*ak));
                let made = Certified::made(certificate, START, by, keys, "", certified);
                certified = Some(made);
            }
            let at = Certified::key("default", "c", &place, "000b", &ak);
            batch.insert(&at, &certified.unwrap(), None);
        }
        bench.store.commit(batch).await.unwrap();

        let devices = &bench.service.device_identity;
        let device_administrator = DeviceAdministrator::of_command_line(&command_line());
        let forget = async || devices.forget_device(&device_administrator, &place).await;
        assert_eq!(forget().await, Ok(1_801));
        let revoked = bench.rows(&Prefix::collection(Revoked::TYPE)).await;
        assert_eq!(revoked.len(), 1_801);
        assert_eq!(bench.rows(&place.certificates("c")).await.len(), 0);
        assert_eq!(forget().await, Err(Failure::Refused(DeviceError::Unknown)));
    }
}
