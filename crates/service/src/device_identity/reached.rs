//! Devices as the console shows them to an operator, namespace by namespace, limited by the operator's scopes.

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Key, Prefix, Record, Segment};

use super::{
    BoundDevice, DeviceAdministrator, DeviceIdentity, DevicePlace, Manager, Object,
    identity::Device,
};
use crate::{ListPage, StorageError, access::Operator, pages::scan_page};

/// The most namespaces, or managers of one namespace, that are scanned for a page.
const READ: usize = 200;

/// The most devices of a namespace without managers that are scanned for one that is bound.
const LOOKED_AT: usize = 50;

/// Sorts after every DNS label, and after a Name in hex that it follows.
pub(super) const BEHIND: &str = "~";

impl DeviceIdentity {
    /// Lists the namespaces after `after` that have a manager or a device and that the operator's scopes cover. A page
    /// may be empty although there is a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn namespaces(
        &self,
        operator: &Operator,
        after: Option<&str>,
    ) -> Result<ListPage<String, String>, StorageError> {
        let mut rows = Vec::new();
        let mut last = after.map(ToOwned::to_owned);
        for _ in 0..READ {
            let next = self.namespace_behind(last.as_deref()).await?;
            let Some((namespace, has_manager)) = next else {
                return Ok(ListPage { rows, next: None });
            };
            let is_reached = operator.may(&OperatorScope::Tpm(Some(namespace.clone())));
            if is_reached && (has_manager || self.has_devices(&namespace).await?) {
                rows.push(namespace.clone());
            }
            last = Some(namespace);
        }
        Ok(ListPage { rows, next: last })
    }

    /// Returns the next namespace that has a manager, or devices of deleted ones; and whether it has a manager.
    async fn namespace_behind(
        &self,
        last: Option<&str>,
    ) -> Result<Option<(String, bool)>, StorageError> {
        let of_manager = self.first_behind::<Object<Manager>>(last).await?;
        let of_device = self.first_behind::<Device>(last).await?;
        let of_manager = of_manager.into_iter().map(|name| (name, true));
        let both = of_manager.chain(of_device.map(|name| (name, false)));
        // The first of two equal names, which is the manager's.
        Ok(both.min_by(|(one, _), (other, _)| one.cmp(other)))
    }

    /// Returns the next namespace that has a record of this type.
    async fn first_behind<R: Record>(
        &self,
        last: Option<&str>,
    ) -> Result<Option<String>, StorageError> {
        let all = Prefix::collection(R::TYPE);
        let behind = last.map(|namespace| Key::new(R::TYPE, [namespace, BEHIND]));
        let found = self
            .store
            .scan::<R>(&all, behind.as_ref(), 1, self.clock.now())
            .await?;
        Ok(found.first().and_then(|(key, _)| name_in(key, 1)))
    }

    /// Returns whether a device of the namespace is bound, or there are too many devices to check.
    async fn has_devices(&self, namespace: &str) -> Result<bool, StorageError> {
        let all = Prefix::new(Device::TYPE, [namespace]);
        let (devices, is_more) = self.some_devices(&all, None, LOOKED_AT).await?;
        Ok(is_more || devices.iter().any(|device| device.ek.is_some()))
    }

    /// Lists at most `most` devices of a manager after this vendor and serial number, and the start of the next page,
    /// if there may be one. A page may be empty although there is a next one, as devices that are no longer bound are
    /// skipped. Empty if the administrator has no access to the namespace.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_of(
        &self,
        device_administrator: &DeviceAdministrator,
        (namespace, manager): (&str, &str),
        after: Option<(&str, &str)>,
        most: usize,
    ) -> Result<ListPage<BoundDevice, DevicePlace>, StorageError> {
        if !device_administrator.reaches(namespace) {
            return Ok(ListPage {
                rows: Vec::new(),
                next: None,
            });
        }
        let below = Prefix::new(Device::TYPE, [namespace, manager]);
        let after = after
            .map(|(vendor, serial)| Key::new(Device::TYPE, [namespace, manager, vendor, serial]));
        let (read, is_more) = self.some_devices(&below, after.as_ref(), most).await?;
        let last = read.last().map(|device| device.place.clone());
        Ok(ListPage {
            rows: self.views_of(read).await?,
            next: last.filter(|_| is_more),
        })
    }

    /// Lists at most `most` bound devices of the namespace whose managers were deleted, after `after`, and the start of
    /// the next page, if there may be one. A page may be empty although there is a next one. If a manager of the same
    /// name was created since, the devices are listed with it ([`devices_of`](Self::devices_of)). Empty if the
    /// administrator has no access to the namespace.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_left(
        &self,
        device_administrator: &DeviceAdministrator,
        namespace: &str,
        after: Option<&DevicePlace>,
        most: usize,
    ) -> Result<ListPage<BoundDevice, DevicePlace>, StorageError> {
        if !device_administrator.reaches(namespace) {
            return Ok(ListPage {
                rows: Vec::new(),
                next: None,
            });
        }
        let all = Prefix::new(Device::TYPE, [namespace]);
        let mut behind = after.map(DevicePlace::key);
        let (mut rows, mut last) = (Vec::new(), None);
        for _ in 0..READ {
            let room = most.saturating_sub(rows.len());
            if room == 0 {
                break;
            }
            let next = self
                .store
                .scan::<Device>(&all, behind.as_ref(), 1, self.clock.now())
                .await?
                .pop();
            let next = next.and_then(|(key, stored)| Some((name_in(&key, 2)?, stored.record)));
            let Some((manager, record)) = next else {
                return Ok(ListPage { rows, next: None });
            };
            // Records of earlier releases may lack namespace and manager.
            let within = |place: DevicePlace| DevicePlace {
                namespace: namespace.to_owned(),
                manager: manager.clone(),
                ..place
            };
            if self.load::<Manager>(namespace, &manager).await?.is_some() {
                last = Some(within(record.place));
            } else {
                let below = Prefix::new(Device::TYPE, [namespace, &*manager]);
                let (read, is_more) = self.some_devices(&below, behind.as_ref(), room).await?;
                last = read.last().map(|device| within(device.place.clone()));
                rows.extend(self.views_of(read).await?);
                if is_more {
                    break;
                }
            }
            // `!` is not allowed in names, and sorts before all characters that continue a longer name.
            let past = format!("{manager}!");
            behind = Some(Key::new(Device::TYPE, [namespace, &*past]));
        }
        Ok(ListPage { rows, next: last })
    }

    /// Returns at most `most` devices below a prefix, bound or not, after a key; and whether there are more.
    async fn some_devices(
        &self,
        below: &Prefix,
        behind: Option<&Key>,
        most: usize,
    ) -> Result<(Vec<Device>, bool), StorageError> {
        let (read, is_more) =
            scan_page::<Device>(&self.store, below, behind, most, self.clock.now()).await?;
        let devices = read.into_iter().map(|(_, stored)| stored.record);
        Ok((devices.collect(), is_more))
    }
}

/// Returns a segment of a key: the name of a namespace or a manager, or the Name of an EK.
pub(super) fn name_in(key: &Key, segment: usize) -> Option<String> {
    match key.segments().nth(segment)? {
        Segment::Plain(name) => String::from_utf8(name).ok(),
        Segment::Digest(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{device, furnish},
        *,
    };
    use crate::testing::{START, bench, command_line};

    #[tokio::test]
    async fn devices_whose_managers_are_there_no_more_are_found_page_by_page() {
        let bench = bench().await;
        furnish(&bench).await;
        let mut batch = bench.store.batch(START);
        for (manager, serial, ek) in [
            ("gone", "1", Some("000b01")),
            ("gone", "2", Some("000b02")),
            // The device was forgotten.
            ("gone", "3", None),
            ("gone-2", "1", Some("000b03")),
            // This manager exists.
            ("m", "1", Some("000b04")),
            ("m", "2", Some("000b05")),
            ("m-2", "1", Some("000b06")),
            ("m2", "1", Some("000b07")),
        ] {
            let device = Device {
                ek: ek.map(ToOwned::to_owned),
                ..device(manager, serial)
            };
            batch.insert(&device.place.key(), &device, None);
        }
        bench.store.commit(batch).await.unwrap();
        let device_administrator = DeviceAdministrator::of_command_line(&command_line());
        let devices = &bench.service.device_identity;
        for most in 1..8 {
            let mut found = Vec::new();
            let mut after: Option<DevicePlace> = None;
            loop {
                let page =
                    devices.devices_left(&device_administrator, "default", after.as_ref(), most);
                let page = page.await.unwrap();
                assert!(page.rows.len() <= most);
                for device in page.rows {
                    assert!(device.is_left);
                    found.push(format!("{}/{}", device.place.manager, device.place.serial));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let left = ["gone/1", "gone/2", "gone-2/1", "m-2/1", "m2/1"];
            assert_eq!(found, left, "{most} a page");
        }
    }
}
