//! *TPMs*: managers with their trusted manufacturers, categories, API keys, and devices with their attestations.

mod categories;
mod keys;
mod managers;
mod object;
mod pages;
mod registers;

use http::StatusCode;
use keyproof_auth::operator::is_dns_label;
use keyproof_service::{
    Action, ListPage, Timestamp,
    audit::Target,
    device_identity::{
        Administrator, ApiKey, AuthorityError, BoundDevice, Category, DeviceAdministrator,
        DeviceError, DevicePlace, FindError, Kind, Manager, MetadataError, Object, ObjectOperation,
    },
};

use super::{
    Area, Frame, HandlerResult, ROWS, Signed, Visit,
    addressing::{query, with_notice},
    render,
    session::{CONFIRMATION, REGISTERS_CONFIRMATION},
    words::sentence,
};
use crate::sites::{
    entries::{Unfilled, Wrong},
    moment::moment,
    multipart::Part,
    page::see_other,
    refusal::Refusal,
};
use pages::{
    AttestationRow, CategoryRow, Choice, DeviceKeyRow, DevicePage, DeviceRow, KeyRow, ManagerRow,
    NamespacePage, NamespacesPage, Section, Shown, link_of, query_of,
};
use registers::before;

pub(super) use categories::{ALLOWED, CATEGORY, LATEST, REGISTERS};
pub(super) use managers::{MAKERS, MANAGER};

const HERE: &str = "/console/tpms";

/// The longest file of certificates, in bytes.
pub(super) const LONGEST: usize = 256 * 1024;

/// A file of certificates.
const FILE: Part = Part::Upload("file", LONGEST);

/// The operator's token, once more.
const TOKEN: Part = Part::Line(CONFIRMATION);

/// The same file as text.
const TEXT: Part = Part::Upload("text", LONGEST);

/// The rule for the names of namespaces and objects.
const LABEL: &str = "A name has 1 to 63 lower-case letters, digits and hyphens, begins with a letter, and does not end with a hyphen.";

impl Visit<Signed> {
    pub(super) async fn namespaces(self) -> HandlerResult {
        let frame = match self.exchange.query().first("namespace") {
            None => self.frame_in(Area::Tpms),
            Some(namespace) => match namespace.trim() {
                label if is_dns_label(label) => return Ok(see_other(&format!("{HERE}/{label}"))),
                _ => {
                    let mut frame = self.frame_asking(Area::Tpms, &["namespace"]);
                    frame.entries.wrong = Some(Wrong::at("namespace", LABEL));
                    frame
                }
            },
        };
        let status = match frame.entries.wrong {
            None => StatusCode::OK,
            Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let after = self.exchange.query().first("after");
        let devices = &self.service().device_identity;
        let page = devices.namespaces(self.operator(), after).await?;
        let next = page.next.as_deref();
        let page = NamespacesPage {
            frame: &frame,
            namespaces: page.rows,
            is_first: after.is_none(),
            next: next.map(|next| query(&[("after", next)])),
        };
        render(&page, status)
    }

    pub(super) async fn namespace(self) -> HandlerResult {
        let now = self.service().now();
        let managers = self.some::<Manager>("managers").await?;
        let categories = self.some::<Category>("categories").await?;
        let keys = self.some::<ApiKey>("keys").await?;
        let devices = &self.service().device_identity;
        let closed = devices.closed_categories(&keys.rows).await?;
        let left = self.devices_left().await?;
        let page = NamespacePage {
            frame: &self.frame_in(Area::Tpms),
            namespace: self.named("namespace"),
            managers: managers.map(ManagerRow::of),
            categories: categories.map(CategoryRow::of),
            keys: keys.map(|key| {
                let is_closed = closed.contains(&key.spec.category);
                KeyRow::of(key, is_closed, now)
            }),
            left: left.map(DeviceRow::of),
        };
        render(&page, StatusCode::OK)
    }

    /// Returns the objects of a kind in the namespace that follow the one in this parameter.
    async fn some<K: Kind>(&self, parameter: &str) -> Result<Section<Object<K>>, Refusal> {
        let administrator = self.administrator::<K>(ObjectOperation::List, "").await?;
        let after = self.exchange.query().first(parameter);
        let devices = &self.service().device_identity;
        let page = devices.objects_page(&administrator, after, ROWS).await?;
        let ListPage { rows, next } = page;
        let has_any = if rows.is_empty() && after.is_some() {
            let first = devices.objects_page(&administrator, None, 1).await?;
            !first.rows.is_empty()
        } else {
            !rows.is_empty()
        };
        let link = |next: String| {
            let query = query(&[(parameter, &next)]);
            format!("{}?{query}#{parameter}", self.namespace_link())
        };
        Ok(Section {
            rows,
            more: next.map(link),
            has_any,
        })
    }

    /// Returns the namespace's devices whose managers are deleted, following the one in the address.
    async fn devices_left(&self) -> Result<Section<BoundDevice>, Refusal> {
        let target = Manager::target(self.named("namespace"), "");
        let device_administrator = self
            .device_administrator(Action::TpmDeviceShow, target)
            .await?;
        let after = self.last_left();
        let devices = &self.service().device_identity;
        let namespace = self.named("namespace");
        let page = devices.devices_left(&device_administrator, namespace, after.as_ref(), ROWS);
        let ListPage { rows, next } = page.await?;
        let link = |last: DevicePlace| {
            let query = query(&[
                ("left", &last.manager),
                ("vendor", &last.vendor),
                ("serial", &last.serial),
            ]);
            format!("{}?{query}#left", self.namespace_link())
        };
        Ok(Section {
            has_any: !rows.is_empty() || next.is_some() || after.is_some(),
            rows,
            more: next.map(link),
        })
    }

    /// Returns the device after which the page of those without a manager begins.
    fn last_left(&self) -> Option<DevicePlace> {
        Some(DevicePlace {
            namespace: self.named("namespace").to_owned(),
            manager: self.asked("left").ok()?,
            vendor: self.asked("vendor").ok()?,
            serial: self.asked("serial").ok()?,
        })
    }

    /// Returns the objects of a kind in the namespace, for a choice.
    async fn choice<K: Kind>(&self) -> Result<Choice, Refusal> {
        let administrator = self.administrator::<K>(ObjectOperation::List, "").await?;
        let devices = &self.service().device_identity;
        let page = devices.objects_page(&administrator, None, ROWS).await?;
        let names = page.rows.into_iter().map(|object| object.metadata.name);
        Ok(match page.next {
            None => Choice::Of(names.collect()),
            Some(_) => Choice::ByName,
        })
    }

    /// Returns a part of a list, from the index in this parameter on; and the address of the next part, if there is
    /// one.
    fn part<T>(&self, parameter: &str, list: Vec<T>, link: &str) -> (Vec<T>, Option<String>) {
        let asked = self.exchange.query().first(parameter);
        let from = asked.and_then(|from| from.parse().ok()).unwrap_or(0_usize);
        let end = from.saturating_add(ROWS);
        let next = (end < list.len()).then(|| format!("{link}?{parameter}={end}#{parameter}"));
        (list.into_iter().skip(from).take(ROWS).collect(), next)
    }

    pub(super) async fn tpm_device(self) -> HandlerResult {
        let place = self.place()?;
        let device_administrator = self
            .device_administrator(Action::TpmDeviceShow, place.target())
            .await?;
        let shown = self
            .service()
            .device_identity
            .device(&device_administrator, &place);
        let (device, keys) = shown.await?;
        let link = link_of(&place);
        let at = self.exchange.query().first("at");
        let at = at.and_then(|at| at.parse().ok());
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
        let now = self.service().now();
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
            keys: keys
                .into_iter()
                .map(|key| DeviceKeyRow::of(key, now))
                .collect(),
            attestations,
            shown: shown.map(|(verdict, before)| Shown::of(verdict, before, &device)),
            confirm: self.confirm_url(&link),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn forget_tpm_device(self) -> HandlerResult {
        let place = self.place()?;
        let device_administrator = self
            .device_administrator(Action::TpmDeviceForget, place.target())
            .await?;
        self.confirmed(&link_of(&place))?;
        // The device is in the list of its manager, whose page may no longer exist.
        let list = if self.has_manager(&place.manager).await? {
            self.link_to::<Manager>(&place.manager)
        } else {
            self.namespace_link()
        };
        let devices = &self.service().device_identity;
        devices.forget_device(&device_administrator, &place).await?;
        Ok(see_other(&with_notice(&list, "device-forgotten")))
    }

    /// Whether the namespace has a manager of this name.
    async fn has_manager(&self, name: &str) -> Result<bool, Refusal> {
        let administrator = self
            .administrator::<Manager>(ObjectOperation::Get, name)
            .await?;
        let devices = &self.service().device_identity;
        match devices.find(&administrator, name).await {
            Ok(_) => Ok(true),
            Err(failure) => {
                let FindError::Unknown = failure.refusal()?;
                Ok(false)
            }
        }
    }

    pub(super) async fn relearn_tpm_device(self) -> HandlerResult {
        let place = self.place()?;
        let device_administrator = self
            .device_administrator(Action::TpmDeviceRelearn, place.target())
            .await?;
        let page = link_of(&place);
        self.confirmed(&page)?;
        let devices = &self.service().device_identity;
        devices
            .relearn_device(&device_administrator, &place)
            .await?;
        Ok(see_other(&with_notice(&page, "relearning")))
    }

    fn namespace_link(&self) -> String {
        format!("{HERE}/{}", self.named("namespace"))
    }

    /// Returns the requested device.
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
        act: ObjectOperation,
        name: &str,
    ) -> Result<Administrator<K>, Refusal> {
        let namespace = self.named("namespace");
        if !is_dns_label(namespace) {
            return Err(Refusal::NotFound);
        }
        let devices = &self.service().device_identity;
        let permitted = devices.permit(self.operator(), act, namespace, name, &self.origin);
        Ok(permitted.await?)
    }

    async fn device_administrator(
        &self,
        act: Action,
        target: Target,
    ) -> Result<DeviceAdministrator, Refusal> {
        let namespace = self.named("namespace");
        let devices = &self.service().device_identity;
        let permitted = devices.permit_device_administrator(
            self.operator(),
            act,
            namespace,
            target,
            &self.origin,
        );
        Ok(permitted.await?)
    }
}

impl From<FindError> for Refusal {
    fn from(FindError::Unknown: FindError) -> Self {
        Self::NotFound
    }
}

impl From<DeviceError> for Refusal {
    fn from(DeviceError::Unknown: DeviceError) -> Self {
        Self::NotFound
    }
}

/// Errors in an object's name or description.
impl From<MetadataError> for Unfilled {
    fn from(why: MetadataError) -> Self {
        let text = sentence(&why);
        Self::Wrong(match why {
            MetadataError::Name => Wrong::at("name", LABEL),
            MetadataError::Description { .. } => Wrong::at("description", text),
            MetadataError::Annotation | MetadataError::Namespace => Wrong::of_all(text),
        })
    }
}

/// Errors in creating a CA.
impl From<AuthorityError> for Unfilled {
    fn from(why: AuthorityError) -> Self {
        match why {
            AuthorityError::Storage(error) => error.into(),
            AuthorityError::Expired { .. } => Wrong::of_all(sentence(&why)).into(),
            AuthorityError::Making(_) => {
                tracing::error!(%why, "a CA could not be created");
                Refusal::Broken.into()
            }
        }
    }
}
