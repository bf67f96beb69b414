//! Devices: operators list them and reset their learnt PCRs.

use keyproof_store::{Key, Prefix, ReadPlan, Record, Snapshot, Stored, Timestamp};

use super::{
    Category, DeviceAdministrator, DeviceIdentity, DevicePlace, Kind, LearntRegister, Manager,
    Object, Verdict, Withdrawal,
    categories::DeletedCategory,
    certified::Certified,
    identity::{ActiveKey, Device},
    key_records::{issuing_api_keys, withdrawal},
    objects::object_key,
};
use crate::{
    Action, Failure, StorageError,
    audit::NewEvent,
    pages::Pages,
    storage::{Attempt, transact},
};

/// A device that is bound to an EK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundDevice {
    /// Its manager, vendor and serial number.
    pub place: DevicePlace,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The Name of its EK, in hex.
    pub ek_name: String,
    /// When it was bound.
    pub bound_at: Timestamp,
    /// Whether its manager was deleted. The device is not bound below a new manager of the same name.
    pub is_left: bool,
    /// The PCR values learnt for it, if any.
    pub learnt: Option<Vec<LearntRegister>>,
    /// Its last attestations, at most 16, the latest last; each with its PCR values, if they are known.
    pub attestations: Vec<Verdict>,
}

/// An AK of a device, with its certificate from one category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    /// The category's name.
    pub category: String,
    /// The Name of the AK, in hex.
    pub ak_name: String,
    /// When it was activated; `None` if it is not active, or if no credential of this category was opened.
    pub active_since: Option<Timestamp>,
    /// The serial number of the certificate whose credential was opened last, or of the latest while none was opened.
    pub certificate: String,
    /// When that certificate expires.
    pub not_after: Timestamp,
    /// Why the API key that the certificate was made with does not keep it valid; `None` if it does.
    pub withdrawal: Option<Withdrawal>,
}

impl DeviceKey {
    /// Returns whether the certificate has expired, with which no attestation is accepted any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }
}

/// Why an operation on a device was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such device is bound, or it is in another namespace.
    #[error("there is no such device: none was activated, or it was forgotten")]
    Unknown,
}

/// How many of a device's keys are read at once. What changes for them fits in a batch beside
/// [`REVOKED_AT_ONCE`](super::certified::REVOKED_AT_ONCE) revocations.
pub(super) const KEYS_AT_ONCE: usize = 100;

impl DevicePlace {
    fn manager_key(&self) -> Key {
        object_key::<Manager>(&self.namespace, &self.manager)
    }

    pub(super) fn active_key(&self, ak: &str) -> Key {
        ActiveKey::key(&self.namespace, &self.manager, ak)
    }
}

impl Device {
    /// Converts it if it is bound. `managers` contains its manager if that exists.
    fn into_view(self, managers: &Snapshot) -> Result<Option<BoundDevice>, StorageError> {
        let manager = managers.get_shared::<Object<Manager>>(&self.place.manager_key())?;
        let is_current = manager
            .is_some_and(|manager| manager.record.spec.incarnation == self.manager_incarnation);
        Ok(self.ek.clone().map(|ek_name| BoundDevice {
            is_left: !is_current,
            ek_name,
            place: self.place.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            bound_at: self.bound_at,
            learnt: self.learnt.clone(),
            attestations: self.history(),
        }))
    }
}

impl DeviceIdentity {
    /// Returns a page of the bound devices of all namespaces: those after `after`, the last of the page before. Empty
    /// at the end.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices(
        &self,
        after: Option<&DevicePlace>,
    ) -> Result<Vec<BoundDevice>, StorageError> {
        let all = Prefix::collection(Device::TYPE);
        let after = after.map(DevicePlace::key);
        let mut pages = Pages::<Device>::after(&self.store, all, after);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let page = page.into_iter().map(|(_, stored)| stored.record);
            let bound = self.views_of(page.collect()).await?;
            if !bound.is_empty() {
                return Ok(bound);
            }
        }
        Ok(Vec::new())
    }

    /// Returns a bound device and its AKs.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn device(
        &self,
        device_administrator: &DeviceAdministrator,
        place: &DevicePlace,
    ) -> Result<(BoundDevice, Vec<DeviceKey>), Failure<DeviceError>> {
        device_administrator.within(place)?;
        let device = self.bound(place).await?.record;
        let mut keys = Vec::new();
        for category in self.categories_of(place).await? {
            self.keys_of(place, &category, &mut keys).await?;
        }
        let managers = self.managers_of([place]).await?;
        let bound = device.into_view(&managers)?;
        let bound = bound.ok_or(Failure::Refused(DeviceError::Unknown))?;
        Ok((bound, keys))
    }

    /// Deletes a device's learnt PCR values. Its next accepted attestation sets new ones.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn relearn_device(
        &self,
        device_administrator: &DeviceAdministrator,
        place: &DevicePlace,
    ) -> Result<(), Failure<DeviceError>> {
        device_administrator.within(place)?;
        transact("device_identity.relearn", &self.store, || async {
            let known = self.bound(place).await?;
            let now = self.clock.now();
            let mut device = known.record;
            device.learnt = None;
            let mut batch = self.store.batch(now);
            batch.replace(&place.key(), known.version, &device, None);
            let new_event = NewEvent {
                action: Action::TpmDeviceRelearn,
                target: place.target(),
                detail: None,
                origin: device_administrator.origin(),
            };
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Converts those of the devices that are bound.
    pub(super) async fn views_of(
        &self,
        devices: Vec<Device>,
    ) -> Result<Vec<BoundDevice>, StorageError> {
        let managers = self.managers_of(devices.iter().map(|device| &device.place));
        let managers = managers.await?;
        let views = devices.into_iter();
        let views = views.filter_map(|device| device.into_view(&managers).transpose());
        views.collect()
    }

    /// Reads the existing managers of some devices.
    async fn managers_of<'p>(
        &self,
        places: impl IntoIterator<Item = &'p DevicePlace>,
    ) -> Result<Snapshot, StorageError> {
        let plan = ReadPlan::new(places.into_iter().map(DevicePlace::manager_key));
        Ok(self.store.read(plan, self.clock.now()).await?)
    }

    /// Adds the AKs of a device that a category has certified. The records of a page of keys are read together.
    async fn keys_of(
        &self,
        place: &DevicePlace,
        category: &str,
        keys: &mut Vec<DeviceKey>,
    ) -> Result<(), StorageError> {
        let namespace = &*place.namespace;
        let certificates = place.certificates(category);
        let mut pages = Pages::<Certified>::of(&self.store, certificates).at_once(KEYS_AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let certified: Vec<Key> = page.into_iter().map(|(key, _)| key).collect();
            // The page is read again with what depends on it, so that each key is shown as it is at one moment.
            let plan = ReadPlan::new(certified.iter().cloned().chain([place.key()])).then({
                let (place, category) = (place.clone(), category.to_owned());
                let certified = certified.clone();
                move |found| {
                    let mut places = Vec::new();
                    for key in &certified {
                        if let Some(Stored { record, .. }) = found.get_shared::<Certified>(key)? {
                            let issued = record.decisive();
                            places.push(place.active_key(&record.ak));
                            places.extend(issuing_api_keys(&place.namespace, &category, issued));
                        }
                    }
                    Ok(places)
                }
            });
            let found = self.store.read(plan, self.clock.now()).await?;
            let device = found.get_shared::<Device>(&place.key())?;
            for key in certified {
                let Some(Stored { record, .. }) = found.get::<Certified>(&key)? else {
                    continue;
                };
                let active = found.get::<ActiveKey>(&place.active_key(&record.ak))?;
                let counts = |active: &Stored<ActiveKey>| {
                    let device = device.as_ref().map(|device| &*device.record);
                    device.is_some_and(|device| {
                        active.record.counts_for(device) && record.incarnation == device.incarnation
                    })
                };
                let active = active.filter(|active| record.proven.is_some() && counts(active));
                let decisive = record.decisive();
                keys.push(DeviceKey {
                    category: category.to_owned(),
                    active_since: active.map(|active| active.record.activated_at),
                    certificate: decisive.serial.clone(),
                    not_after: decisive.not_after,
                    withdrawal: withdrawal(&found, (namespace, category), decisive)?,
                    ak_name: record.ak,
                });
            }
        }
        Ok(())
    }

    async fn bound(&self, place: &DevicePlace) -> Result<Stored<Device>, Failure<DeviceError>> {
        let key = place.key();
        let known = self.store.get::<Device>(&key, self.clock.now());
        let known = known.await?.filter(|known| known.record.ek.is_some());
        known.ok_or(Failure::Refused(DeviceError::Unknown))
    }

    /// Returns the names of the categories that may have certified the device's AKs, including deleted ones.
    pub(super) async fn categories_of(
        &self,
        place: &DevicePlace,
    ) -> Result<Vec<String>, StorageError> {
        let name = |category: Object<Category>| {
            let is_below = category.spec.manager == place.manager;
            is_below.then_some(category.metadata.name)
        };
        let mut names = self.gather(&place.namespace, name).await?;
        let deleted = Prefix::new(DeletedCategory::TYPE, [&place.namespace]);
        let pages = Pages::<DeletedCategory>::of(&self.store, deleted).at_once(Category::AT_ONCE);
        let name = |deleted: DeletedCategory| name(deleted.category);
        names.extend(pages.collect(&*self.clock, name).await?);
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin};

    use super::{
        super::{
            ApiKey, ObjectOperation,
            key_records::KeyPlace,
            testing::{api_key, bench_with_device, certificate, device, furnish, may},
        },
        *,
    };
    use crate::testing::{START, bench, command_line};

    #[tokio::test]
    async fn a_device_with_many_keys_is_read_in_as_many_steps_as_one_with_one() {
        let (bench, place) = bench_with_device().await;
        let device_administrator = DeviceAdministrator::of_command_line(&command_line());
        let mut steps = Vec::new();
        for number in 1..4_usize {
            let ak = format!("000b0{number}");
            let certificate = certificate(&number.to_string());
            let by = ("station", "uid");
            let certified = Certified::made(certificate, START, by, ("000b", &ak), "", None);
            let mut batch = bench.store.batch(START);
            let at = Certified::key("default", "c", &place, "000b", &ak);
            batch.insert(&at, &certified, None);
            bench.store.commit(batch).await.unwrap();
            bench.faults.steps();
            let devices = &bench.service.device_identity;
            let (_, keys) = devices.device(&device_administrator, &place).await.unwrap();
            steps.push(bench.faults.steps());
            assert_eq!(keys.len(), number);
        }
        assert_eq!(steps, [steps[0]; 3]);
    }

    /// Attestations are judged by the certificate that was proven.
    #[tokio::test]
    async fn a_key_is_shown_with_its_proven_certificate_whatever_was_made_since() {
        let (bench, place) = bench_with_device().await;
        let key = api_key(&bench).await.object;
        let devices = &bench.service.device_identity;
        let made = |serial: &str, by: (&str, &str), ak: &str, earlier: Option<Certified>| {
            let certificate = certificate(serial);
            Certified::made(certificate, START, by, ("000b", ak), "", earlier)
        };
        let (own, other) = (("k", &*key.system.uid), ("other", "uid"));
        let unproven = made("1", other, "000b01", None);
        let mut proven = made("2", own, "000b02", None);
        let opened = proven.issued.clone();
        assert!(proven.prove(&opened).is_empty());
        let later = made("3", other, "000b02", Some(proven));
        // A forget that was interrupted left it.
        let mut earlier = made("4", own, "000b03", None);
        let opened = earlier.issued.clone();
        assert!(earlier.prove(&opened).is_empty());
        earlier.incarnation = "earlier".to_owned();
        let mut batch = bench.store.batch(START);
        for certified in [unproven, later, earlier] {
            let active = ActiveKey {
                vendor: place.vendor.clone(),
                serial: place.serial.clone(),
                ek: certified.ek.clone(),
                incarnation: String::new(),
                manager_incarnation: String::new(),
                activated_at: START,
                last_seen: None,
            };
            let ak = &*certified.ak;
            batch.insert(&ActiveKey::key("default", "m", ak), &active, None);
            let at = Certified::key("default", "c", &place, "000b", ak);
            batch.insert(&at, &certified, None);
        }
        bench.store.commit(batch).await.unwrap();

        let device_administrator = DeviceAdministrator::of_command_line(&command_line());
        let views = async || {
            let (_, keys) = devices.device(&device_administrator, &place).await.unwrap();
            let views = keys.into_iter().map(|key| {
                let is_withdrawn = key.withdrawal.is_some();
                (key.certificate, key.active_since, is_withdrawn)
            });
            views.collect::<Vec<_>>()
        };
        let unproven = ("1".to_owned(), None, false);
        let proven = |is_withdrawn| ("2".to_owned(), Some(START), is_withdrawn);
        let earlier = |is_withdrawn| ("4".to_owned(), None, is_withdrawn);
        let shown = [unproven.clone(), proven(false), earlier(false)];
        assert_eq!(views().await, shown);
        let changing = may::<ApiKey>(&bench, ObjectOperation::Replace, "k").await;
        let disabled = devices.disable_api_key(&changing, "k", true);
        disabled.await.unwrap();
        let shown = [unproven, proven(true), earlier(true)];
        assert_eq!(views().await, shown);
    }

    /// Whenever a later certificate is proven, and the API key of the earlier one disabled.
    #[tokio::test]
    async fn a_key_is_not_shown_with_a_certificate_of_one_moment_and_an_api_key_of_another() {
        let made = |serial: &str, by: (&str, &str), earlier: Option<Certified>| {
            let certificate = certificate(serial);
            let mut made = Certified::made(certificate, START, by, ("000b", "000b01"), "", earlier);
            let proven = made.issued.clone();
            made.prove(&proven);
            made
        };
        for reached in 1.. {
            let (bench, place) = bench_with_device().await;
            let key = api_key(&bench).await.object;
            let first = made("1", ("k", &*key.system.uid), None);
            let second = made("2", ("other", "uid"), Some(first.clone()));
            let at = Certified::key("default", "c", &place, "000b", "000b01");
            let mut batch = bench.store.batch(START);
            let version = batch.insert(&at, &first, None);
            bench.store.commit(batch).await.unwrap();
            let changing = may::<ApiKey>(&bench, ObjectOperation::Replace, "k").await;

            let devices = &bench.service.device_identity;
            let device_administrator = DeviceAdministrator::of_command_line(&command_line());
            let mut shown = pin!(devices.device(&device_administrator, &place));
            let early = bench.until_step(shown.as_mut(), reached);
            if early.await.is_some() {
                // It is read in fewer steps than this.
                assert!(reached > 3, "{reached}");
                break;
            }
            let mut batch = bench.store.batch(START);
            batch.replace(&at, version, &second, None);
            bench.store.commit(batch).await.unwrap();
            let disabled = devices.disable_api_key(&changing, "k", true);
            disabled.await.unwrap();
            let (_, keys) = shown.await.unwrap();
            assert_eq!(keys[0].withdrawal, None, "after {reached} steps");
        }
    }

    /// Pre-release builds did not store the UUID of the API key, so its record cannot be found once it is deleted.
    #[tokio::test]
    async fn a_certificate_without_its_keys_uuid_is_revoked_once_the_key_is_deleted() {
        let bench = bench().await;
        furnish(&bench).await;
        let key = api_key(&bench).await.object;
        let device = Device {
            ek: Some("000b".to_owned()),
            ..device("m", "s")
        };
        let place = device.place.clone();
        let certificate = certificate("1");
        let (by, keys) = (("k", &*key.system.uid), ("000b", "000b01"));
        let mut certified = Certified::made(certificate, START, by, keys, "", None);
        certified.issued.api_key_uid = None;
        let at = Certified::key("default", "c", &place, keys.0, keys.1);
        let mut batch = bench.store.batch(START);
        batch.insert(&place.key(), &device, None);
        batch.insert(&at, &certified, None);
        bench.store.commit(batch).await.unwrap();

        let devices = &bench.service.device_identity;
        let device_administrator = DeviceAdministrator::of_command_line(&command_line());
        // As operators see it, and as an attestation does.
        let views = async || {
            let (_, keys) = devices.device(&device_administrator, &place).await.unwrap();
            let at = KeyPlace {
                device: place.clone(),
                category: "c".to_owned(),
                ek: "000b".to_owned(),
                ak: "000b01".to_owned(),
                certificate: Some("1".to_owned()),
            };
            let known = devices.key_records(at, [], START).await.unwrap().unwrap();
            let is_valid = known.is_still_valid(&certified.issued).unwrap();
            (keys[0].withdrawal, is_valid)
        };
        assert_eq!(views().await, (None, true));
        let deleting = may::<ApiKey>(&bench, ObjectOperation::Delete, "k").await;
        let deleted = devices.delete(&deleting, "k", Ok::<_, Infallible>(()));
        deleted.await.unwrap();
        let revoked = Withdrawal::Revoked { since: START };
        assert_eq!(views().await, (Some(revoked), false));
    }
}
