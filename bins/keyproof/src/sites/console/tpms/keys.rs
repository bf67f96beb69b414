//! API keys of stations: adding, showing once, disabling, revoking and deleting them.

use std::{convert::Infallible, slice};

use http::StatusCode;
use keyproof_http::Response;
use keyproof_service::{
    Failure,
    device_identity::{
        Administrator, ApiKey, Category, CreateApiKeyError, NewApiKey, ObjectOperation,
        ReplaceApiKeyError,
    },
};

use super::{
    Area, CONFIRMATION, Frame, HandlerResult, Refusal, Signed, Unfilled, Visit, Wrong,
    object::{Paged, too_large_at},
    pages::{KeyAddPage, KeyMadePage, KeyPage, state},
    render,
};

/// The error when the category's record cannot be rewritten.
const FULL: &str =
    "The record of this category is full: remove certificates from its allow-list first.";

/// The error when the key to revoke was revoked meanwhile.
const REVOKED: &str = "The API key is revoked already. Nothing is changed.";

impl Paged for ApiKey {
    const FOLDER: &'static str = "keys";

    const VARIABLE: &'static str = "key";

    const FIELDS: &'static [&'static str] = &["mtls", "category", "name", "description"];

    async fn page(visit: &Visit<Signed>, frame: Frame, status: StatusCode) -> HandlerResult {
        let name = visit.named(Self::VARIABLE);
        let administrator = visit
            .administrator::<Self>(ObjectOperation::Get, name)
            .await?;
        let devices = &visit.service().device_identity;
        let key = devices.find(&administrator, name).await?;
        let closed = devices.closed_categories(slice::from_ref(&*key)).await?;
        let (is_closed, now) = (!closed.is_empty(), visit.service().now());
        let page = KeyPage {
            frame: &frame,
            namespace: visit.named("namespace"),
            name,
            category: &key.spec.category,
            description: &key.metadata.description,
            state: state(&key, is_closed, now),
            reason: &key.spec.revoke_reason,
            needs_certificate: key.spec.need_mtls,
            is_refused_here: visit.is_refused_here(&key.spec),
            is_disabled: key.spec.is_disabled,
            is_unusable: key.metadata.disable,
            is_closed,
            is_revoked: key.is_revoked(now),
            confirm: visit.confirm_url(&visit.link_to::<Self>(name)),
        };
        render(&page, status)
    }

    async fn form(visit: &Visit<Signed>, frame: &Frame, status: StatusCode) -> HandlerResult {
        let page = KeyAddPage {
            frame,
            namespace: visit.named("namespace"),
            categories: visit.choice::<Category>().await?,
        };
        render(&page, status)
    }

    /// Adds an API key, which is shown only once.
    async fn add(visit: &Visit<Signed>, who: &Administrator<Self>) -> Result<Response, Unfilled> {
        let new = NewApiKey {
            metadata: visit.metadata(),
            category: visit.typed("category").to_owned(),
            need_mtls: visit.is_ticked("mtls"),
        };
        let devices = &visit.service().device_identity;
        let issued = devices.create_api_key(who, new).await;
        // The key's own record is small, and its category's is rewritten.
        let issued = issued.map_err(|failure| too_large_at(failure, "category", FULL))?;
        let page = KeyMadePage {
            frame: &visit.frame_in(Area::Tpms),
            namespace: visit.named("namespace"),
            name: &issued.object.metadata.name,
            category: &issued.object.spec.category,
            key: &issued.text,
            is_refused_here: visit.is_refused_here(&issued.object.spec),
        };
        Ok(render(&page, StatusCode::OK)?)
    }
}

impl Visit<Signed> {
    /// Disables it immediately, without asking for the token again.
    pub(in crate::sites::console) async fn disable_api_key(self) -> HandlerResult {
        let name = self.named(ApiKey::VARIABLE);
        let key = self
            .administrator::<ApiKey>(ObjectOperation::Replace, name)
            .await?;
        let devices = &self.service().device_identity;
        let disabled = devices.disable_api_key(&key, name, true).await;
        self.key_changed(disabled).await
    }

    pub(in crate::sites::console) async fn enable_api_key(self) -> HandlerResult {
        let (key, name) = self.weakening::<ApiKey>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        let enabled = devices.disable_api_key(&key, name, false).await;
        self.key_changed(enabled).await
    }

    pub(in crate::sites::console) async fn revoke_api_key(self) -> HandlerResult {
        let (key, name) = self.changing::<ApiKey>(ObjectOperation::Replace).await?;
        let devices = &self.service().device_identity;
        if let Err(wrong) = self.token_shown(CONFIRMATION) {
            let known = devices.find(&key, name).await?;
            // The page of a revoked key has no field for the token.
            let wrong = if known.is_revoked(self.service().now()) {
                Wrong::of_all(REVOKED)
            } else {
                wrong
            };
            return self.changed::<ApiKey>(Err(wrong), &["reason"]).await;
        }
        let revoked = devices.revoke_api_key(&key, name, self.typed("reason"));
        self.key_changed(revoked.await).await
    }

    /// Returns whether the key needs a client certificate, which no listener of this server requests.
    fn is_refused_here(&self, key: &ApiKey) -> bool {
        key.need_mtls && !self.site.server_context.requests_client_certificates
    }

    async fn key_changed(
        &self,
        changed: Result<(), Failure<ReplaceApiKeyError<Infallible>>>,
    ) -> HandlerResult {
        let changed: Result<(), Unfilled> = match changed {
            Ok(()) => Ok(()),
            Err(Failure::Refused(why)) => Err(match why {
                ReplaceApiKeyError::Body(never) => match never {},
                ReplaceApiKeyError::Revoked => Wrong::of_all(REVOKED).into(),
                ReplaceApiKeyError::Unknown => Refusal::NotFound.into(),
            }),
            Err(Failure::Storage(error)) => Err(error.into()),
        };
        self.changed::<ApiKey>(changed, &[]).await
    }
}

impl From<CreateApiKeyError> for Unfilled {
    fn from(why: CreateApiKeyError) -> Self {
        Self::Wrong(match why {
            CreateApiKeyError::UnknownCategory => {
                Wrong::at("category", "There is no category of this name.")
            }
            CreateApiKeyError::Exists => Wrong::at("name", "There is an API key of this name."),
            CreateApiKeyError::Metadata(why) => return why.into(),
        })
    }
}
