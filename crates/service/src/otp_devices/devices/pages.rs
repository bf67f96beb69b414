//! Devices a page at a time, for people.

use keyproof_store::Stored;

use super::{
    super::records::{Device, all_devices},
    DeviceSummary,
};
use crate::{
    StorageError,
    otp_devices::{Caller, OtpDevices, Reading},
};

impl OtpDevices {
    /// At most so many devices of the instance behind `after`, which is the last of the page before; and whether there are
    /// more. By id, as far as ids are no longer than the store's keys have room for.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_page(
        &self,
        caller: &Caller<Reading>,
        after: Option<&str>,
        most: usize,
    ) -> Result<(Vec<DeviceSummary>, bool), StorageError> {
        let prefix = all_devices(caller.instance(), caller.incarnation());
        let after = after.map(|id| caller.place_of(id));
        let (limit, now) = (most.saturating_add(1), self.clock.now());
        let page = self
            .store
            .scan::<Device>(&prefix, after.as_ref(), limit, now)
            .await?;
        let is_more = page.len() > most;
        let devices = page.into_iter().take(most);
        let devices = devices.map(|(_, Stored { record, .. })| DeviceSummary {
            id: record.id,
            description: record.description,
        });
        Ok((devices.collect(), is_more))
    }
}
