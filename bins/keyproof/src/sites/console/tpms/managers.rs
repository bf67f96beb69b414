//! Managers: made, and deleted; and which makers each of them trusts.

use http::StatusCode;
use keyproof_service::{
    Action, Failure, StorageError,
    device_identity::{
        Act, CreateManagerError, ListingError, Manager, Metadata, ReplaceManagerError,
        TrustedMakers,
    },
};

use super::{
    Answered, Area, FILE, Frame, HERE, Multipart, NO_FILE, Part, ROWS, Refusal, Signed, TEXT,
    TOO_LARGE, Visit, Wrong, authority, confirm, kept, metadata,
    pages::{DeviceRow, MakerRow, ManagerAddPage, ManagerPage, query_of},
    render, see_other, sentence, uploaded,
};

/// The parts of the form that makes a manager.
pub(in crate::sites::console) const MANAGER: [Part; 5] = [
    Part::Line("name"),
    Part::Line("description"),
    Part::Line("bundle"),
    FILE,
    TEXT,
];

/// The parts of the form that adds makers' CAs.
pub(in crate::sites::console) const MAKERS: [Part; 2] = [FILE, TEXT];

type Changed = Result<(), Failure<ReplaceManagerError<ListingError>>>;

impl Visit<Signed> {
    pub(in crate::sites::console) async fn show_add_tpm_manager(self) -> Answered {
        self.administrator::<Manager>(Act::List, "").await?;
        self.manager_form(&self.frame_in(Area::Tpms), StatusCode::OK)
    }

    fn manager_form(&self, frame: &Frame, status: StatusCode) -> Answered {
        let namespace = self.named("namespace");
        render(&ManagerAddPage { frame, namespace }, status)
    }

    pub(in crate::sites::console) async fn add_tpm_manager(self, form: Multipart) -> Answered {
        let name = form.text("name");
        let administrator = self.administrator::<Manager>(Act::Create, name).await?;
        let (field, text) = match self.new_manager(&form).await? {
            Err(wrong) => wrong,
            Ok((of, trusted)) => {
                let devices = &self.service().device_identity;
                match devices.create_manager(&administrator, of, trusted).await {
                    Ok(_) => return Ok(see_other(&self.manager_link(name))),
                    Err(Failure::Refused(why)) => match why {
                        CreateManagerError::Authority(why) => authority(why)?,
                        CreateManagerError::Exists => ("name", EXISTS.to_owned()),
                        CreateManagerError::Metadata(why) => metadata(&why),
                        CreateManagerError::Roots(why) => ("file", sentence(&why.to_string())),
                    },
                    Err(Failure::Storage(StorageError::TooLarge { .. })) => {
                        ("file", TOO_LARGE.to_owned())
                    }
                    Err(Failure::Storage(error)) => return Err(error.into()),
                }
            }
        };
        let frame = Frame {
            filled: ["name", "description", "bundle"]
                .map(|field| (field, form.text(field).to_owned()))
                .into(),
            ..self.frame_with(Area::Tpms, field, text, &[])
        };
        self.manager_form(&frame, StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// What the form says of a new manager.
    async fn new_manager(
        &self,
        form: &Multipart,
    ) -> Result<Result<(Metadata, TrustedMakers), Wrong>, Refusal> {
        let devices = &self.service().device_identity;
        let ek_roots = match uploaded(form) {
            None => Vec::new(),
            Some(file) => match devices.read_makers(file).await? {
                Ok(roots) => roots,
                Err(why) => return Ok(Err(("file", sentence(&why.to_string())))),
            },
        };
        let of = Metadata {
            name: form.text("name").to_owned(),
            description: form.text("description").to_owned(),
            ..Metadata::default()
        };
        let ek_trust_bundle = !form.text("bundle").is_empty();
        let trusted = TrustedMakers {
            ek_roots,
            ek_trust_bundle,
        };
        Ok(Ok((of, trusted)))
    }

    pub(in crate::sites::console) async fn tpm_manager(self) -> Answered {
        self.manager_page(&self.frame_in(Area::Tpms), StatusCode::OK)
            .await
    }

    async fn manager_page(&self, frame: &Frame, status: StatusCode) -> Answered {
        let (namespace, name) = (self.named("namespace"), self.named("manager"));
        let administrator = self.administrator::<Manager>(Act::Get, name).await?;
        let devices = &self.service().device_identity;
        let manager = devices.find(&administrator, name).await?;
        let makers = devices.covered_makers(&administrator, &manager).await?;
        let below = devices.referring(&manager).await?;
        let target = format!("tpm_device/{namespace}/{name}");
        let keeper = self.keeper(Action::TpmDeviceShow, target).await?;
        let (vendor, serial) = (self.asked("vendor").ok(), self.asked("serial").ok());
        let after = vendor.as_deref().zip(serial.as_deref());
        let (bound, next) = devices.devices_of(&keeper, name, after, ROWS).await?;
        let link = self.manager_link(name);
        let (makers, more_makers) = self.part("makers", makers, &link);
        let page = ManagerPage {
            frame,
            namespace,
            name,
            description: &manager.metadata.description,
            is_disabled: manager.metadata.disable,
            root: manager.spec.root_ca_name(),
            more_categories: below.len().saturating_sub(ROWS),
            categories: below
                .into_iter()
                .take(ROWS)
                .map(|category| category.name)
                .collect(),
            has_bundle: manager.spec.ek_trust_bundle,
            makers: makers.into_iter().map(MakerRow::of).collect(),
            more_makers,
            devices: bound.into_iter().map(DeviceRow::of).collect(),
            is_first: after.is_none(),
            next: next.map(|next| format!("{link}?{}", query_of(&next))),
            is_fresh: self.is_fresh(),
            confirm: confirm(&link),
        };
        render(&page, status)
    }

    fn manager_link(&self, name: &str) -> String {
        format!("{HERE}/{}/managers/{name}", self.named("namespace"))
    }

    pub(in crate::sites::console) async fn add_makers(self, form: Multipart) -> Answered {
        let name = self.named("manager");
        let administrator = self.administrator::<Manager>(Act::Replace, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let Some(file) = uploaded(&form) else {
            return self.manager_again(NO_FILE.to_owned()).await;
        };
        let added = devices.add_makers(&administrator, name, file).await;
        self.manager_changed(added).await
    }

    pub(in crate::sites::console) async fn remove_maker(self) -> Answered {
        let name = self.named("manager");
        let administrator = self.administrator::<Manager>(Act::Replace, name).await?;
        self.confirmed()?;
        let fingerprint = self.typed("fingerprint").parse();
        let fingerprint = fingerprint.map_err(|_| Refusal::NotFound)?;
        let devices = &self.service().device_identity;
        let removed = devices
            .remove_maker(&administrator, name, &fingerprint)
            .await;
        self.manager_changed(removed).await
    }

    pub(in crate::sites::console) async fn trust_bundle(self, is_trusted: bool) -> Answered {
        let name = self.named("manager");
        let administrator = self.administrator::<Manager>(Act::Replace, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let changed = devices
            .set_trust_bundle(&administrator, name, is_trusted)
            .await;
        self.manager_changed(changed).await
    }

    async fn manager_changed(&self, changed: Changed) -> Answered {
        let text = match changed {
            Ok(()) => return Ok(see_other(&self.manager_link(self.named("manager")))),
            Err(Failure::Refused(ReplaceManagerError::Body(ListingError::File(why)))) => {
                sentence(&why.to_string())
            }
            Err(Failure::Refused(ReplaceManagerError::Roots(why))) => sentence(&why.to_string()),
            Err(Failure::Refused(
                ReplaceManagerError::Body(ListingError::NotListed) | ReplaceManagerError::Unknown,
            )) => return Err(Refusal::NotFound),
            Err(Failure::Storage(StorageError::TooLarge { .. })) => TOO_LARGE.to_owned(),
            Err(Failure::Storage(error)) => return Err(error.into()),
        };
        self.manager_again(text).await
    }

    async fn manager_again(&self, text: String) -> Answered {
        let frame = self.frame_with(Area::Tpms, "file", text, &[]);
        self.manager_page(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    pub(in crate::sites::console) async fn delete_tpm_manager(self) -> Answered {
        let name = self.named("manager");
        let administrator = self.administrator::<Manager>(Act::Delete, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let deleted = devices.delete_manager(&administrator, name, Ok(()));
        let Some(text) = kept(deleted.await)? else {
            return Ok(see_other(&self.namespace_link()));
        };
        let frame = self.frame_with(Area::Tpms, "", text, &[]);
        self.manager_page(&frame, StatusCode::CONFLICT).await
    }
}

const EXISTS: &str = "There is a manager of this name.";
