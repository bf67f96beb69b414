//! The common parts of managers, categories and API keys: each has a page, a form that adds one, and changes and
//! a deletion that return to the page or leave it.

use std::convert::Infallible;

use http::StatusCode;
use keyproof_service::{
    Failure, StorageError,
    device_identity::{Administrator, Category, DeleteError, Kind, Metadata, ObjectOperation},
};
use keyproof_x509::Sha256Thumbprint;

use super::{
    super::words::NO_FILE, Area, CONFIRMATION, Frame, HERE, HandlerResult, Refusal, Signed,
    Unfilled, Visit, Wrong, see_other, with_notice,
};

/// A kind of object with its pages.
pub(in crate::sites::console) trait Paged: Kind {
    /// The path segment of its pages in a namespace.
    const FOLDER: &'static str;

    /// The variable in their paths for an object's name, which is also the prefix of its notices in `frame.rs`.
    const VARIABLE: &'static str;

    /// The fields of the form that adds one. They keep their input if it is not added, and may be filled in from the
    /// address.
    const FIELDS: &'static [&'static str];

    /// Shows an object's page.
    fn page(
        visit: &Visit<Signed>,
        frame: Frame,
        status: StatusCode,
    ) -> impl Future<Output = HandlerResult> + Send;

    /// Shows the form that adds an object.
    fn form(
        visit: &Visit<Signed>,
        frame: &Frame,
        status: StatusCode,
    ) -> impl Future<Output = HandlerResult> + Send;

    /// Adds an object from the form. `who` may do that, and has shown their token recently.
    fn add(
        visit: &Visit<Signed>,
        who: &Administrator<Self>,
    ) -> impl Future<Output = Result<keyproof_http::Response, Unfilled>> + Send;
}

impl Visit<Signed> {
    pub(in crate::sites::console) async fn object<K: Paged>(self) -> HandlerResult {
        K::page(&self, self.frame_in(Area::Tpms), StatusCode::OK).await
    }

    pub(in crate::sites::console) async fn show_add<K: Paged>(self) -> HandlerResult {
        self.administrator::<K>(ObjectOperation::List, "").await?;
        let frame = self.frame_asking(Area::Tpms, K::FIELDS);
        K::form(&self, &frame, StatusCode::OK).await
    }

    pub(in crate::sites::console) async fn add<K: Paged>(self) -> HandlerResult {
        let who = self.administrator::<K>(ObjectOperation::Create, self.typed("name"));
        let who = who.await?;
        let added = match self.token_shown(CONFIRMATION) {
            Ok(()) => K::add(&self, &who).await,
            Err(wrong) => Err(wrong.into()),
        };
        match added {
            Ok(response) => Ok(response),
            Err(why) => {
                let frame = self.frame_of(Area::Tpms, why, K::FIELDS)?;
                K::form(&self, &frame, StatusCode::UNPROCESSABLE_ENTITY).await
            }
        }
    }

    pub(in crate::sites::console) async fn delete<K: Paged>(self) -> HandlerResult {
        let (administrator, name) = self.weakening::<K>(ObjectOperation::Delete).await?;
        let devices = &self.service().device_identity;
        match kept(devices.delete(&administrator, name, Ok(())).await)? {
            None => {
                let done = format!("{}-deleted", K::VARIABLE);
                Ok(see_other(&with_notice(&self.namespace_link(), &done)))
            }
            Some(wrong) => {
                let frame = self.frame_with(Area::Tpms, wrong, &[]);
                K::page(&self, frame, StatusCode::CONFLICT).await
            }
        }
    }

    /// Returns the object's name and the operator, who may change or delete it and has shown their token recently. For
    /// a form without input, since the operator is sent away to show it.
    pub(super) async fn weakening<K: Paged>(
        &self,
        act: ObjectOperation,
    ) -> Result<(Administrator<K>, &str), Refusal> {
        let (administrator, name) = self.changing::<K>(act).await?;
        self.confirmed(&self.link_to::<K>(name))?;
        Ok((administrator, name))
    }

    /// Returns the object's name and the operator, who may change or delete it.
    pub(super) async fn changing<K: Paged>(
        &self,
        act: ObjectOperation,
    ) -> Result<(Administrator<K>, &str), Refusal> {
        let name = self.named(K::VARIABLE);
        Ok((self.administrator::<K>(act, name).await?, name))
    }

    /// Redirects to the page of the changed object; or shows the page with the error and the input of these fields.
    pub(super) async fn changed<K: Paged>(
        &self,
        changed: Result<(), impl Into<Unfilled>>,
        filled: &[&'static str],
    ) -> HandlerResult {
        match changed {
            Ok(()) => {
                let page = self.link_to::<K>(self.named(K::VARIABLE));
                Ok(see_other(&with_notice(&page, "changed")))
            }
            Err(why) => {
                let frame = self.frame_of(Area::Tpms, why.into(), filled)?;
                K::page(self, frame, StatusCode::UNPROCESSABLE_ENTITY).await
            }
        }
    }

    pub(super) fn link_to<K: Paged>(&self, name: &str) -> String {
        let namespace = self.named("namespace");
        format!("{HERE}/{namespace}/{}/{name}", K::FOLDER)
    }

    /// Returns the form's metadata, which every object has.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            name: self.typed("name").to_owned(),
            description: self.typed("description").to_owned(),
            ..Metadata::default()
        }
    }

    /// Returns the chosen or pasted certificates.
    pub(super) fn certificate_file(&self) -> Result<&[u8], Wrong> {
        match self.uploaded() {
            [] => Err(Wrong::at("file", NO_FILE)),
            file => Ok(file),
        }
    }

    /// Returns the fingerprint in this field, of the certificate to change.
    pub(super) fn fingerprint(&self, field: &str) -> Result<Sha256Thumbprint, Refusal> {
        let fingerprint = self.typed(field).parse();
        fingerprint.map_err(|_| Refusal::NotFound)
    }
}

/// Each use case's errors are mapped where it is called. A record is too large only if it has a list of certificates.
impl<E: Into<Self>> From<Failure<E>> for Unfilled {
    fn from(failure: Failure<E>) -> Self {
        match failure {
            Failure::Refused(why) => why.into(),
            Failure::Storage(StorageError::TooLarge { .. }) => Wrong::at(
                "file",
                "With these, there are more certificates than fit into one record.",
            )
            .into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

/// Like the conversion, but reports a record that would be too large at this field.
pub(super) fn too_large_at<E: Into<Unfilled>>(
    failure: Failure<E>,
    field: &'static str,
    text: &'static str,
) -> Unfilled {
    match failure {
        Failure::Storage(StorageError::TooLarge { .. }) => Wrong::at(field, text).into(),
        other => other.into(),
    }
}

/// Returns why an object cannot be deleted, if so.
fn kept(deleted: Result<(), Failure<DeleteError<Infallible>>>) -> Result<Option<Wrong>, Refusal> {
    let Err(failure) = deleted else {
        return Ok(None);
    };
    match failure.refusal()? {
        DeleteError::Body(never) => match never {},
        DeleteError::Unknown => Err(Refusal::NotFound),
        DeleteError::Referred { one, count } => {
            let what = match one.kind {
                Category::NAME => "category",
                _ => "API key",
            };
            let needs = match count {
                1 => "needs it: delete that first".to_owned(),
                _ => format!(
                    "and {} more need it: delete those first",
                    count.saturating_sub(1)
                ),
            };
            let text = format!("The {what} {} {needs}.", one.name);
            Ok(Some(Wrong::of_all(text)))
        }
    }
}
