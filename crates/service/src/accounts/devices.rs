//! The devices that a user trusts: listed, and trusted no more.

use std::time::Duration;

use keyproof_mfa::{DeviceId, Fingerprint, NoDevice};
use keyproof_store::Timestamp;

use super::{
    Accounts, Manager, Undecided,
    account::Change,
    deciding::Managed,
    deeds::{deed, of_user},
    timestamp,
};
use crate::{
    Action, Failure,
    audit::{Deed, UserPart},
    storage::Attempt,
};

/// A trusted device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its number among its user's.
    pub id: u32,
    /// Which browser it runs, if that was said.
    pub browser: Option<String>,
    /// Which operating system it runs, if that was said.
    pub operating_system: Option<String>,
    /// Since when it is trusted.
    pub trusted_at: Timestamp,
}

/// Why devices were neither listed nor removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveDeviceError {
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// The user trusts no such device.
    #[error("there is no such trusted device")]
    Unknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// How long a device is trusted, from when it came to be.
    pub const fn device_lifetime(&self) -> Duration {
        self.policy.device_lifetime
    }

    /// The devices that a user trusts, oldest first.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`], but for an unknown device.
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

    /// The number of the device that a user trusts and that has this fingerprint, if one has.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`], but for an unknown device.
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

    /// Ends the trust in a device.
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
        self.settle_for(manager.person(), "accounts.remove_device", || async {
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
            let deed = Deed {
                target: of_user(user.owner(), UserPart::TrustedDevice(id)),
                ..deed(act, user, None, origin)
            };
            self.audit.done(&mut batch, account.now, deed);
            account.save(&mut batch, decision.next, Change::default());
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}
