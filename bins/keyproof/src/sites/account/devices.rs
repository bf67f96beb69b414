//! A user's trusted devices.

use http::StatusCode;
use keyproof_service::Action;

use super::{
    HandlerResult, Signed, Visit,
    pages::{DeviceRow, Devices},
    render,
};
use crate::sites::{cookies::Cookie, page::see_other, refusal::Refusal};

impl Visit<Signed> {
    pub(super) async fn devices(self) -> HandlerResult {
        let manager = self.manager(Action::TrustedDeviceList).await?;
        let devices = self.accounts().devices(&manager).await?;
        let this = match self.cookie(Cookie::Device) {
            None => None,
            Some(fingerprint) => self.accounts().device_of(&manager, &fingerprint).await?,
        };
        let rows = devices.into_iter();
        let page = Devices {
            frame: &self.frame("/account/devices"),
            devices: rows.map(|it| DeviceRow::of(it, this, self.t())).collect(),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn revoke_device(self) -> HandlerResult {
        let id = self.named("id").parse().map_err(|_| Refusal::NotFound)?;
        let manager = self.manager(Action::TrustedDeviceRemove).await?;
        let this = match self.cookie(Cookie::Device) {
            Some(fingerprint) => self.accounts().device_of(&manager, &fingerprint).await?,
            None => None,
        };
        self.accounts().remove_device(&manager, id).await?;
        let mut response = see_other("/account/devices?revoked");
        // At the next sign-in it would be the fingerprint of no device.
        if this == Some(id) {
            self.forget(&mut response, Cookie::Device);
        }
        Ok(response)
    }
}
