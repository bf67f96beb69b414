//! Pages of devices, for the console.

use keyproof_store::Stored;

use super::{
    super::records::{Device, all_devices},
    DeviceSummary,
};
use crate::{
    Listed, StorageError,
    otp_devices::{Caller, OtpDevices, Reading},
    pages::some,
};

impl OtpDevices {
    /// Lists at most `most` devices of the instance after the id `after`. They are ordered by id, except long ids,
    /// which are stored as digests.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_page(
        &self,
        caller: &Caller<Reading>,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listed<DeviceSummary, String>, StorageError> {
        let prefix = all_devices(caller.instance(), caller.incarnation());
        let after = after.map(|id| caller.place_of(id));
        let now = self.clock.now();
        let (found, is_more) =
            some::<Device>(&self.store, &prefix, after.as_ref(), most, now).await?;
        let rows = found.into_iter();
        let rows = rows.map(|(_, Stored { record, .. })| DeviceSummary::of(record));
        let rows: Vec<_> = rows.collect();
        let next = rows.last().filter(|_| is_more).map(|last| last.id.clone());
        Ok(Listed { rows, next })
    }
}
