//! A user's trusted devices: listing and removing them.

use std::time::Duration;

use keyproof_mfa::{DeviceId, Fingerprint, NoDevice};
use keyproof_store::Timestamp;

use super::{
    Accounts, Manager, SessionRefused, account::Change, authorized::Managed, events::deed_on,
    timestamp,
};
use crate::{Action, Failure, audit::UserPart, storage::Attempt};

/// A trusted device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The number among the user's devices.
    pub id: u32,
    /// The browser, if reported.
    pub browser: Option<String>,
    /// The operating system, if reported.
    pub operating_system: Option<String>,
    /// When it became trusted.
    pub trusted_at: Timestamp,
}

/// The error when devices are not listed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveDeviceError {
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// The user has no such trusted device.
    #[error("there is no such trusted device")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// Returns how long a device stays trusted after it became so.
    pub const fn device_lifetime(&self) -> Duration {
        self.policy.device_lifetime
    }

    /// Returns a user's trusted devices, oldest first.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`], except for an unknown device.
    pub async fn devices(
        &self,
        manager: &Manager,
    ) -> Result<Vec<DeviceView>, Failure<RemoveDeviceError>> {
        let managed = self.managed(manager, None, RemoveDeviceError::UserUnknown);
        let Managed { account, .. } = managed.await?;
        let records = account.records();
        let devices = records.trusted_devices(account.at()).into_iter();
        Ok(devices
            .map(|device| DeviceView {
                id: device.id().get(),
                browser: device.browser().map(ToOwned::to_owned),
                operating_system: device.operating_system().map(ToOwned::to_owned),
                trusted_at: timestamp(device.trusted_at()),
            })
            .collect())
    }

    /// Returns the number of a user's trusted device with this fingerprint, if there is one.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`], except for an unknown device.
    pub async fn device_of(
        &self,
        manager: &Manager,
        fingerprint: &str,
    ) -> Result<Option<u32>, Failure<RemoveDeviceError>> {
        let managed = self.managed(manager, None, RemoveDeviceError::UserUnknown);
        let Managed { account, .. } = managed.await?;
        let Ok(fingerprint) = Fingerprint::new(fingerprint) else {
            return Ok(None);
        };
        let device = account.records().trusted_device(&fingerprint, account.at());
        Ok(device.map(DeviceId::get))
    }

    /// Removes a trusted device.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`].
    pub async fn remove_device(
        &self,
        manager: &Manager,
        id: u32,
    ) -> Result<(), Failure<RemoveDeviceError>> {
        let origin = manager.person().origin();
        self.transact_for(manager.person(), "accounts.remove_device", || async {
            let (act, unknown) = (Action::TrustedDeviceRemove, RemoveDeviceError::UserUnknown);
            let managed = self.managed(manager, Some(act), unknown).await?;
            let Managed { account, user, .. } = &managed;
            let records = account.records();
            let decision = records.revoke_device(DeviceId::new(id), account.at());
            decision
                .verdict
                .map_err(|NoDevice| Failure::Refused(RemoveDeviceError::Unknown))?;
            let mut batch = self.store.batch(account.now);
            managed.require_manager(&mut batch);
            let new_event = deed_on(act, user, UserPart::TrustedDevice(id), None, origin);
            self.audit.done(&mut batch, account.now, new_event);
            account.save(&mut batch, decision.next, Change::default());
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}
