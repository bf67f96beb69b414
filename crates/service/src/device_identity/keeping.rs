//! What operators do with devices from afar, and how they find them: as far as their scopes reach.

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Key, Prefix, Record, Stored};

use super::{
    BoundDevice, DeviceError, DeviceIdentity, DeviceKey, DevicePlace, Kind, Manager, NotPermitted,
    identity::Device,
};
use crate::{Action, Failure, Origin, StorageError, access::Operator, audit::Target};

/// How many namespaces are looked at for a page, of which the operator may reach few.
const READ: usize = 200;

/// Sorts behind every DNS label.
const BEHIND: &str = "~";

/// An operator who may do something with the devices of a namespace. [`DeviceIdentity::permit_keeper`] alone makes it.
#[derive(Debug)]
pub struct Keeper {
    namespace: String,
    origin: Origin,
}

/// Some of the namespaces that an operator reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacesPage {
    /// They, in order.
    pub namespaces: Vec<String>,
    /// What to hand in as `after` for the next page, if there may be one.
    pub next: Option<String>,
}

impl DeviceIdentity {
    /// Whether the operator may do this with devices of this namespace; `target` is which, as the audit trail calls it.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`].
    pub async fn permit_keeper(
        &self,
        operator: &Operator,
        act: Action,
        namespace: &str,
        target: Target,
        origin: &Origin,
    ) -> Result<Keeper, NotPermitted> {
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let origin = self.check(operator, needed, act, target, origin).await?;
        let namespace = namespace.to_owned();
        Ok(Keeper { namespace, origin })
    }

    /// The namespaces that have a manager and that the operator reaches, behind `after`. A page may have none and yet a
    /// next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn namespaces(
        &self,
        operator: &Operator,
        after: Option<&str>,
    ) -> Result<NamespacesPage, StorageError> {
        let all = Prefix::collection(Manager::NAME);
        let mut page = NamespacesPage::default();
        let mut last = after.map(ToOwned::to_owned);
        for _ in 0..READ {
            let behind = last.as_ref();
            let behind = behind.map(|namespace| Key::new(Manager::NAME, [&**namespace, BEHIND]));
            let now = self.clock.now();
            let found = self
                .store
                .scan::<super::Object<Manager>>(&all, behind.as_ref(), 1, now);
            let Some((_, Stored { record, .. })) = found.await?.into_iter().next() else {
                return Ok(page);
            };
            let namespace = record.metadata.namespace;
            if operator.may(&OperatorScope::Tpm(Some(namespace.clone()))) {
                page.namespaces.push(namespace.clone());
            }
            last = Some(namespace);
        }
        page.next = last;
        Ok(page)
    }

    /// At most so many of the devices that were ever bound below a manager, behind the one with this vendor and serial
    /// number; and behind which the next page begins, if there may be one. A page may have none and yet a next one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_of(
        &self,
        keeper: &Keeper,
        manager: &str,
        after: Option<(&str, &str)>,
        most: usize,
    ) -> Result<(Vec<BoundDevice>, Option<DevicePlace>), StorageError> {
        let namespace = &*keeper.namespace;
        let prefix = Prefix::new(Device::TYPE, [namespace, manager]);
        let after = after
            .map(|(vendor, serial)| Key::new(Device::TYPE, [namespace, manager, vendor, serial]));
        let limit = most.saturating_add(1);
        let read = self
            .store
            .scan::<Device>(&prefix, after.as_ref(), limit, self.clock.now());
        let mut read: Vec<Device> = read
            .await?
            .into_iter()
            .map(|(_, stored)| stored.record)
            .collect();
        let is_more = read.len() > most;
        read.truncate(most);
        let last = read.last().map(|device| device.place.clone());
        let next = last.filter(|_| is_more);
        Ok((self.views_of(read).await?, next))
    }

    /// A device of the namespace and its attestation keys.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn kept_device(
        &self,
        keeper: &Keeper,
        place: &DevicePlace,
    ) -> Result<(BoundDevice, Vec<DeviceKey>), Failure<DeviceError>> {
        self.device(keeper.within(place)?).await
    }

    /// [`forget_device`](Self::forget_device), of the namespace.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn forget_kept(
        &self,
        keeper: &Keeper,
        place: &DevicePlace,
    ) -> Result<usize, Failure<DeviceError>> {
        self.forget_device(keeper.within(place)?, &keeper.origin)
            .await
    }

    /// [`relearn_device`](Self::relearn_device), of the namespace.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub async fn relearn_kept(
        &self,
        keeper: &Keeper,
        place: &DevicePlace,
    ) -> Result<(), Failure<DeviceError>> {
        self.relearn_device(keeper.within(place)?, &keeper.origin)
            .await
    }
}

impl Keeper {
    /// Devices of other namespaces are not there for the operator.
    fn within<'p>(&self, place: &'p DevicePlace) -> Result<&'p DevicePlace, Failure<DeviceError>> {
        if place.namespace == self.namespace {
            Ok(place)
        } else {
            Err(Failure::Refused(DeviceError::Unknown))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::origin;

    #[test]
    fn a_device_of_another_namespace_is_not_there() {
        let place = DevicePlace {
            namespace: "default".to_owned(),
            manager: "manager".to_owned(),
            vendor: "ExampleCorp".to_owned(),
            serial: "SN0001".to_owned(),
        };
        let of = |namespace: &str| Keeper {
            namespace: namespace.to_owned(),
            origin: origin(),
        };
        assert_eq!(of("default").within(&place), Ok(&place));
        let unknown = Err(Failure::Refused(DeviceError::Unknown));
        for other in ["other", "", "defaul", "default2"] {
            assert_eq!(of(other).within(&place), unknown, "{other}");
        }
    }
}
