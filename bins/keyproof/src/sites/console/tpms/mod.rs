//! *TPMs*: managers with the makers that they cover, categories, API keys, and devices with what they have attested.

mod pages;

use http::StatusCode;
use keyproof_auth::is_dns_label;
use keyproof_service::{
    Action, Failure,
    device_identity::{
        Act, Administrator, ApiKey, Category, CreateApiKeyError, DeviceError, DevicePlace,
        FindError, Keeper, Kind, LabelSelector, Manager, Metadata, NewApiKey, NotPermitted, Object,
        ReplaceApiKeyError,
    },
};
use keyproof_store::Timestamp;

use super::{
    Answered, Area, Frame, Signed, Visit,
    addressing::{confirm, query},
    render,
    words::{moment, sentence},
};
use crate::sites::{page::see_other, refusal::Refusal};
use pages::{
    AttestationRow, CategoryRow, DeviceKeyRow, DevicePage, DeviceRow, KeyMadePage, KeyPage, KeyRow,
    MakerRow, ManagerPage, ManagerRow, NamespacePage, NamespacesPage, Shown, before, link_of,
    query_of, state,
};

const HERE: &str = "/console/tpms";

/// How many rows a page has.
const ROWS: usize = 50;

impl Visit<Signed> {
    pub(super) async fn namespaces(self) -> Answered {
        let after = self.exchange.query().first("after");
        let devices = &self.service().device_identity;
        let page = devices.namespaces(self.operator(), after).await?;
        let next = page.next.as_deref();
        let page = NamespacesPage {
            frame: &self.frame_in(Area::Tpms),
            namespaces: page.namespaces,
            next: next.map(|next| query(&[("after", next)])),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn namespace(self) -> Answered {
        self.namespace_page(&self.frame_in(Area::Tpms), StatusCode::OK)
            .await
    }

    async fn namespace_page(&self, frame: &Frame, status: StatusCode) -> Answered {
        let now = self.service().now();
        let managers = self.all::<Manager>().await?;
        let categories = self.all::<Category>().await?;
        let keys = self.all::<ApiKey>().await?;
        let page = NamespacePage {
            frame,
            namespace: self.named("namespace"),
            managers: managers.into_iter().map(ManagerRow::of).collect(),
            categories: categories.into_iter().map(CategoryRow::of).collect(),
            keys: keys.into_iter().map(|key| KeyRow::of(key, now)).collect(),
        };
        render(&page, status)
    }

    /// Every object of a kind in the namespace.
    async fn all<K: Kind>(&self) -> Result<Vec<Object<K>>, Refusal> {
        let administrator = self.administrator::<K>(Act::List, "").await?;
        let devices = &self.service().device_identity;
        Ok(devices
            .list(&administrator, &LabelSelector::default())
            .await?)
    }

    pub(super) async fn make_api_key(self) -> Answered {
        let name = self.typed("name").to_owned();
        let administrator = self.administrator::<ApiKey>(Act::Create, &name).await?;
        let new = NewApiKey {
            metadata: Metadata {
                name,
                description: self.typed("description").to_owned(),
                ..Metadata::default()
            },
            category: self.typed("category").to_owned(),
            need_mtls: self.is_ticked("mtls"),
        };
        let devices = &self.service().device_identity;
        let (field, text) = match devices.create_api_key(&administrator, new).await {
            Ok(issued) => {
                let page = KeyMadePage {
                    frame: &self.frame_in(Area::Tpms),
                    namespace: self.named("namespace"),
                    name: &issued.object.metadata.name,
                    category: &issued.object.spec.category,
                    key: &issued.text,
                };
                return render(&page, StatusCode::OK);
            }
            Err(Failure::Refused(why @ CreateApiKeyError::UnknownCategory)) => ("", why),
            Err(Failure::Refused(why)) => ("name", why),
            Err(Failure::Storage(error)) => return Err(error.into()),
        };
        let text = sentence(&text.to_string());
        let frame = self.frame_with(Area::Tpms, field, text, &["name", "description"]);
        self.namespace_page(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    pub(super) async fn api_key(self) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Get, name).await?;
        let key = self.service().device_identity.find(&administrator, name);
        let key = key.await?;
        let namespace = self.named("namespace");
        let page = KeyPage {
            frame: &self.frame_in(Area::Tpms),
            namespace,
            name,
            category: &key.spec.category,
            state: state(&key.spec, self.service().now()),
            is_fresh: self.is_fresh(),
            confirm: confirm(&format!("{HERE}/{namespace}/keys/{name}")),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn revoke_api_key(self) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Replace, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let revoked = devices.revoke_api_key(&administrator, name, self.typed("reason"));
        match revoked.await {
            Ok(()) | Err(Failure::Refused(ReplaceApiKeyError::Revoked)) => {
                Ok(see_other(&format!("{HERE}/{}", self.named("namespace"))))
            }
            Err(Failure::Refused(ReplaceApiKeyError::Body(never))) => match never {},
            Err(Failure::Refused(ReplaceApiKeyError::Unknown)) => Err(Refusal::NotFound),
            Err(Failure::Storage(error)) => Err(error.into()),
        }
    }

    pub(super) async fn tpm_manager(self) -> Answered {
        let (namespace, name) = (self.named("namespace"), self.named("manager"));
        let administrator = self.administrator::<Manager>(Act::Get, name).await?;
        let devices = &self.service().device_identity;
        let manager = devices.find(&administrator, name).await?;
        let makers = devices.covered_makers(&administrator, &manager).await?;
        let target = format!("tpm_device/{namespace}/{name}");
        let keeper = self.keeper(Action::TpmDeviceShow, target).await?;
        let (vendor, serial) = (self.asked("vendor").ok(), self.asked("serial").ok());
        let after = vendor.as_deref().zip(serial.as_deref());
        let (bound, next) = devices.devices_of(&keeper, name, after, ROWS).await?;
        let page = ManagerPage {
            frame: &self.frame_in(Area::Tpms),
            namespace,
            name,
            has_bundle: manager.spec.ek_trust_bundle,
            makers: makers.into_iter().map(MakerRow::of).collect(),
            devices: bound.into_iter().map(DeviceRow::of).collect(),
            is_first: after.is_none(),
            next: next
                .map(|next| format!("{HERE}/{namespace}/managers/{name}?{}", query_of(&next))),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn tpm_device(self) -> Answered {
        let place = self.place()?;
        let keeper = self.keeper(Action::TpmDeviceShow, place.target()).await?;
        let shown = self.service().device_identity.kept_device(&keeper, &place);
        let (device, keys) = shown.await?;
        let link = link_of(&place);
        let at = self
            .exchange
            .query()
            .first("at")
            .and_then(|at| at.parse().ok());
        let at = at.map(Timestamp::from_millis);
        let history = &device.attestations;
        let chosen = history.iter().position(|verdict| Some(verdict.at) == at);
        let chosen = chosen.or(history.len().checked_sub(1));
        let rows = history.iter().enumerate().map(|(number, verdict)| {
            let before = before(history, number);
            AttestationRow::of(verdict, before, &link, Some(number) == chosen)
        });
        let mut attestations: Vec<AttestationRow> = rows.collect();
        attestations.reverse();
        let shown = chosen.and_then(|number| Some((history.get(number)?, before(history, number))));
        let page = DevicePage {
            frame: &self.frame_in(Area::Tpms),
            namespace: &place.namespace,
            manager: &place.manager,
            vendor: &place.vendor,
            serial: &place.serial,
            query: query_of(&place),
            is_left: device.is_left,
            name: &device.name,
            version: &device.version,
            bound: moment(device.bound_at),
            ek: &device.ek_name,
            keys: keys.into_iter().map(DeviceKeyRow::of).collect(),
            attestations,
            shown: shown.map(|(verdict, before)| Shown::of(verdict, before, &device)),
            is_fresh: self.is_fresh(),
            confirm: confirm(&link),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn forget_tpm_device(self) -> Answered {
        let place = self.place()?;
        let keeper = self.keeper(Action::TpmDeviceForget, place.target()).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        devices.forget_kept(&keeper, &place).await?;
        let DevicePlace {
            namespace, manager, ..
        } = place;
        Ok(see_other(&format!("{HERE}/{namespace}/managers/{manager}")))
    }

    pub(super) async fn relearn_tpm_device(self) -> Answered {
        let place = self.place()?;
        let keeper = self
            .keeper(Action::TpmDeviceRelearn, place.target())
            .await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        devices.relearn_kept(&keeper, &place).await?;
        Ok(see_other(&link_of(&place)))
    }

    /// The device that is asked for.
    fn place(&self) -> Result<DevicePlace, Refusal> {
        let (namespace, manager) = (self.named("namespace"), self.named("manager"));
        if !is_dns_label(namespace) || !is_dns_label(manager) {
            return Err(Refusal::NotFound);
        }
        Ok(DevicePlace {
            namespace: namespace.to_owned(),
            manager: manager.to_owned(),
            vendor: self.asked("vendor")?,
            serial: self.asked("serial")?,
        })
    }

    async fn administrator<K: Kind>(
        &self,
        act: Act,
        name: &str,
    ) -> Result<Administrator<K>, Refusal> {
        let namespace = self.named("namespace");
        let devices = &self.service().device_identity;
        let permitted = devices.permit(self.operator(), act, namespace, name, &self.origin);
        Ok(permitted.await?)
    }

    async fn keeper(&self, act: Action, target: String) -> Result<Keeper, Refusal> {
        let namespace = self.named("namespace");
        let devices = &self.service().device_identity;
        let permitted =
            devices.permit_keeper(self.operator(), act, namespace, target, &self.origin);
        Ok(permitted.await?)
    }
}

impl From<NotPermitted> for Refusal {
    fn from(_: NotPermitted) -> Self {
        Self::OutOfReach
    }
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Unknown => Self::NotFound,
        }
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unknown => Self::NotFound,
        }
    }
}
