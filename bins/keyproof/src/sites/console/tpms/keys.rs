//! API keys of stations: made, shown once, put out of use, revoked and deleted.

use std::convert::Infallible;

use http::StatusCode;
use keyproof_service::{
    Failure,
    device_identity::{
        Act, ApiKey, Category, CreateApiKeyError, Metadata, NewApiKey, ReplaceApiKeyError,
    },
};

use super::{
    Answered, Area, Frame, HERE, Refusal, Signed, Visit, confirm, kept, metadata,
    pages::{KeyAddPage, KeyMadePage, KeyPage, state},
    render, see_other, sentence,
};

impl Visit<Signed> {
    pub(in crate::sites::console) async fn show_make_api_key(self) -> Answered {
        let category = self.exchange.query().first("category");
        let filled = category.map(|category| ("category", category.to_owned()));
        let frame = Frame {
            filled: filled.into_iter().collect(),
            ..self.frame_in(Area::Tpms)
        };
        self.key_form(&frame, StatusCode::OK).await
    }

    async fn key_form(&self, frame: &Frame, status: StatusCode) -> Answered {
        let page = KeyAddPage {
            frame,
            namespace: self.named("namespace"),
            categories: self.names::<Category>().await?,
        };
        render(&page, status)
    }

    pub(in crate::sites::console) async fn make_api_key(self) -> Answered {
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
            Err(Failure::Refused(why)) => match &why {
                CreateApiKeyError::UnknownCategory => ("category", sentence(&why.to_string())),
                CreateApiKeyError::Exists => ("name", EXISTS.to_owned()),
                CreateApiKeyError::Metadata(why) => metadata(why),
            },
            Err(Failure::Storage(error)) => return Err(error.into()),
        };
        let fields = ["name", "category", "description"];
        let frame = self.frame_with(Area::Tpms, field, text, &fields);
        self.key_form(&frame, StatusCode::UNPROCESSABLE_ENTITY)
            .await
    }

    pub(in crate::sites::console) async fn api_key(self) -> Answered {
        self.key_page(&self.frame_in(Area::Tpms), StatusCode::OK)
            .await
    }

    async fn key_page(&self, frame: &Frame, status: StatusCode) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Get, name).await?;
        let key = self.service().device_identity.find(&administrator, name);
        let key = key.await?;
        let now = self.service().now();
        let page = KeyPage {
            frame,
            namespace: self.named("namespace"),
            name,
            category: &key.spec.category,
            description: &key.metadata.description,
            state: state(&key.spec, now),
            reason: &key.spec.revoke_reason,
            needs_certificate: key.spec.need_mtls,
            is_disabled: key.spec.is_disabled,
            is_revoked: key.spec.revoked_at.is_some_and(|from| from <= now),
            is_fresh: self.is_fresh(),
            confirm: confirm(&self.key_link()),
        };
        render(&page, status)
    }

    fn key_link(&self) -> String {
        let (namespace, name) = (self.named("namespace"), self.named("name"));
        format!("{HERE}/{namespace}/keys/{name}")
    }

    /// Puts it out of use at once, which needs no token; or takes it back into use, which does.
    pub(in crate::sites::console) async fn disable_api_key(self, is_disabled: bool) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Replace, name).await?;
        if !is_disabled {
            self.confirmed()?;
        }
        let devices = &self.service().device_identity;
        let changed = devices
            .disable_api_key(&administrator, name, is_disabled)
            .await;
        self.key_changed(changed)
    }

    pub(in crate::sites::console) async fn revoke_api_key(self) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Replace, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let revoked = devices.revoke_api_key(&administrator, name, self.typed("reason"));
        self.key_changed(revoked.await)
    }

    fn key_changed(
        &self,
        changed: Result<(), Failure<ReplaceApiKeyError<Infallible>>>,
    ) -> Answered {
        match changed {
            Ok(()) | Err(Failure::Refused(ReplaceApiKeyError::Revoked)) => {
                Ok(see_other(&self.key_link()))
            }
            Err(Failure::Refused(ReplaceApiKeyError::Body(never))) => match never {},
            Err(Failure::Refused(ReplaceApiKeyError::Unknown)) => Err(Refusal::NotFound),
            Err(Failure::Storage(error)) => Err(error.into()),
        }
    }

    pub(in crate::sites::console) async fn delete_api_key(self) -> Answered {
        let name = self.named("name");
        let administrator = self.administrator::<ApiKey>(Act::Delete, name).await?;
        self.confirmed()?;
        let devices = &self.service().device_identity;
        let deleted = devices.delete_api_key(&administrator, name, Ok(()));
        let Some(text) = kept(deleted.await)? else {
            return Ok(see_other(&self.namespace_link()));
        };
        let frame = self.frame_with(Area::Tpms, "", text, &[]);
        self.key_page(&frame, StatusCode::CONFLICT).await
    }
}

const EXISTS: &str = "There is an API key of this name.";
