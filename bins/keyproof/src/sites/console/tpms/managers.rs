//! Managers: adding and deleting them, and the manufacturers that each of them trusts.

use http::StatusCode;
use keyproof_http::Response;
use keyproof_service::{
    Action,
    audit::Target,
    device_identity::{
        Administrator, CreateManagerError, ListingError, Manager, ObjectOperation,
        ReplaceManagerError, TrustedMakers,
    },
};

use super::{
    CONFIRMATION, FILE, Frame, HandlerResult, Part, ROWS, Refusal, Signed, TEXT, TOKEN, Unfilled,
    Visit, Wrong,
    object::Paged,
    pages::{DeviceRow, MakerRow, ManagerAddPage, ManagerPage, query_of},
    render, see_other, sentence, with_notice,
};

/// The parts of the form that adds a manager.
pub(in crate::sites::console) const MANAGER: [Part; 6] = [
    Part::Line("name"),
    Part::Line("description"),
    Part::Line("bundle"),
    FILE,
    TEXT,
    TOKEN,
];

/// The parts of the form that adds manufacturers' CAs.
pub(in crate::sites::console) const MAKERS: [Part; 3] = [FILE, TEXT, TOKEN];

impl Paged for Manager {
    const FOLDER: &'static str = "managers";

    const VARIABLE: &'static str = "manager";

    const FIELDS: &'static [&'static str] = &["bundle", "name", "description"];

    async fn page(visit: &Visit<Signed>, frame: Frame, status: StatusCode) -> HandlerResult {
        let (namespace, name) = (visit.named("namespace"), visit.named(Self::VARIABLE));
        let administrator = visit
            .administrator::<Self>(ObjectOperation::Get, name)
            .await?;
        let devices = &visit.service().device_identity;
        let manager = devices.find(&administrator, name).await?;
        let makers = devices.covered_makers(&administrator, &manager).await?;
        let below = devices.referring(&manager).await?;
        let target = Target::TpmDevices {
            namespace: namespace.to_owned(),
            manager: name.to_owned(),
        };
        let device_administrator = visit
            .device_administrator(Action::TpmDeviceShow, target)
            .await?;
        let (vendor, serial) = (visit.asked("vendor").ok(), visit.asked("serial").ok());
        let after = vendor.as_deref().zip(serial.as_deref());
        let bound = devices.devices_of(&device_administrator, (namespace, name), after, ROWS);
        let bound = bound.await?;
        let link = visit.link_to::<Self>(name);
        let (has_makers, has_categories) = (!makers.is_empty(), !below.is_empty());
        let (makers, more_makers) = visit.part("makers", makers, &link);
        let (categories, more_categories) = visit.part("categories", below, &link);
        let page = ManagerPage {
            frame: &frame,
            namespace,
            name,
            description: &manager.metadata.description,
            is_disabled: manager.metadata.disable,
            root: manager.spec.root_ca_name(),
            has_categories,
            categories: categories
                .into_iter()
                .map(|category| category.name)
                .collect(),
            more_categories,
            has_bundle: manager.spec.ek_trust_bundle,
            has_makers,
            makers: makers.into_iter().map(MakerRow::of).collect(),
            more_makers,
            devices: bound.rows.into_iter().map(DeviceRow::of).collect(),
            is_first: after.is_none(),
            next: bound.next.map(|next| format!("{link}?{}", query_of(&next))),
            confirm: visit.confirm_url(&link),
        };
        render(&page, status)
    }

    async fn form(visit: &Visit<Signed>, frame: &Frame, status: StatusCode) -> HandlerResult {
        let page = ManagerAddPage {
            frame,
            namespace: visit.named("namespace"),
        };
        render(&page, status)
    }

    async fn add(visit: &Visit<Signed>, who: &Administrator<Self>) -> Result<Response, Unfilled> {
        let name = visit.typed("name");
        let devices = &visit.service().device_identity;
        let ek_roots = match visit.uploaded() {
            [] => Vec::new(),
            file => devices
                .read_makers(who, file)
                .await?
                .map_err(|why| Wrong::at("file", sentence(&why)))?,
        };
        let of = visit.metadata();
        let trusted = TrustedMakers {
            ek_roots,
            ek_trust_bundle: visit.is_ticked("bundle"),
        };
        devices.create_manager(who, of, trusted).await?;
        let link = visit.link_to::<Self>(name);
        Ok(see_other(&with_notice(&link, "manager-added")))
    }
}

impl Visit<Signed> {
    pub(in crate::sites::console) async fn add_makers(self) -> HandlerResult {
        let (manager, name) = self.changing::<Manager>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let shown = self.token_shown(CONFIRMATION);
        let added = match shown.and_then(|()| self.certificate_file()) {
            Ok(file) => devices.add_makers(&manager, name, file).await,
            Err(wrong) => return self.changed::<Manager>(Err(wrong), &[]).await,
        };
        self.changed::<Manager>(added, &[]).await
    }

    pub(in crate::sites::console) async fn remove_maker(self) -> HandlerResult {
        let (manager, name) = self.weakening::<Manager>(ObjectOperation::Replace).await?;
        let fingerprint = self.fingerprint("fingerprint")?;
        let devices = &self.service().device_identity;
        let removed = devices.remove_maker(&manager, name, &fingerprint).await;
        self.changed::<Manager>(removed, &[]).await
    }

    pub(in crate::sites::console) async fn trust_bundle(self, is_trusted: bool) -> HandlerResult {
        let (manager, name) = self.weakening::<Manager>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let changed = devices.set_trust_bundle(&manager, name, is_trusted).await;
        self.changed::<Manager>(changed, &[]).await
    }
}

impl From<CreateManagerError> for Unfilled {
    fn from(why: CreateManagerError) -> Self {
        match why {
            CreateManagerError::Authority(why) => why.into(),
            CreateManagerError::Exists => {
                Wrong::at("name", "There is a manager of this name.").into()
            }
            CreateManagerError::Metadata(why) => why.into(),
            CreateManagerError::Roots(why) => Wrong::at("file", sentence(&why)).into(),
        }
    }
}

impl From<ReplaceManagerError<ListingError>> for Unfilled {
    fn from(why: ReplaceManagerError<ListingError>) -> Self {
        match why {
            ReplaceManagerError::Body(why) => why.into(),
            ReplaceManagerError::Roots(why) => Wrong::at("file", sentence(&why)).into(),
            ReplaceManagerError::Unknown => Refusal::NotFound.into(),
        }
    }
}
