//! The devices that a user trusts: listed, and trusted no more.

use super::{
    Accounts, Act, NotPermitted, Session, Undecided, Whose,
    deciding::Managed,
    deeds::{deed, target},
    snapshot::Change,
    timestamp,
};
use crate::{
    Failure, Origin,
    audit::Deed,
    storage::{Attempt, settle},
};
use keyproof_mfa::{DeviceId, NoDevice};
use keyproof_store::Timestamp;

/// What the audit trail calls what is done here.
const REMOVE: &str = Act::RemoveDevice.action();

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
    /// They are another user's, and that takes an administrator.
    #[error("another user's devices")]
    Forbidden,
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
    /// The devices that a user trusts, oldest first.
    ///
    /// # Errors
    /// [`RemoveDeviceError`], but for an unknown device.
    pub async fn devices(
        &self,
        session: &Session,
        whose: Whose,
        origin: &Origin,
    ) -> Result<Vec<DeviceView>, Failure<RemoveDeviceError>> {
        let permitted = self.permit(session, Act::ListDevices, whose, origin).await;
        permitted.map_err(|NotPermitted| Failure::Refused(RemoveDeviceError::Forbidden))?;
        let managed = self.managed(session, whose).await?;
        let managed = managed.ok_or(Failure::Refused(RemoveDeviceError::UserUnknown))?;
        let Managed { snapshot, .. } = managed;
        let records = snapshot.records();
        let devices = records.trusted_devices(snapshot.at()).into_iter();
        Ok(devices
            .map(|device| DeviceView {
                id: device.id().get(),
                browser: device.browser().map(ToOwned::to_owned),
                operating_system: device.operating_system().map(ToOwned::to_owned),
                trusted_at: timestamp(device.trusted_at()),
            })
            .collect())
    }

    /// Ends the trust in a device.
    ///
    /// # Errors
    /// [`RemoveDeviceError`].
    pub async fn remove_device(
        &self,
        session: &Session,
        whose: Whose,
        id: u32,
        origin: &Origin,
    ) -> Result<(), Failure<RemoveDeviceError>> {
        let origin = session.origin(origin);
        let permitted = self
            .permit(session, Act::RemoveDevice, whose, &origin)
            .await;
        permitted.map_err(|NotPermitted| Failure::Refused(RemoveDeviceError::Forbidden))?;
        settle("accounts.remove_device", &self.store, || async {
            let managed = self.managing(session, whose, REMOVE, &origin).await?;
            let managed = managed.ok_or(Failure::Refused(RemoveDeviceError::UserUnknown))?;
            let Managed { snapshot, user, .. } = &managed;
            let records = snapshot.records();
            let decision = records.revoke_device(DeviceId::new(id), snapshot.at());
            decision
                .verdict
                .map_err(|NoDevice| Failure::Refused(RemoveDeviceError::Unknown))?;
            let mut batch = self.store.batch(snapshot.now);
            managed.require_manager(&mut batch);
            let deed = Deed {
                target: format!("{}/trusted_device/{id}", target(user)),
                ..deed(REMOVE, user, None, &origin)
            };
            self.audit.done(&mut batch, snapshot.now, deed);
            snapshot.save(&mut batch, &decision.next, Change::default());
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}
