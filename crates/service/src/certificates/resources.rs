//! Certificates as resources: listed, shown, uploaded and deleted.

use std::fmt;

use keyproof_store::{Batch, ReadPlan, Stored, Timestamp, Version};
use keyproof_x509::{self as x509, X509Error};

use super::{
    Caller, Certificates, Precondition, Verification,
    records::{
        Certificate, Description, Holder, ServiceNames, all_certificates, certificate_key,
        holder_key,
    },
};
use crate::{
    Action, Failure, StorageError,
    pages::{Listed, Pages, some},
    storage::{Attempt, refuse, said, settle},
};

/// The longest name, in characters, none of which is a control character.
const MAX_NAME_CHARACTERS: usize = 256;

/// A certificate, as it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateView {
    /// The subscription, as it was first written.
    pub subscription: String,
    /// The resource group, as it was first written.
    pub resource_group: String,
    /// The provisioning service, as it was first written.
    pub service: String,
    /// Its own name, as it was first written.
    pub name: String,
    /// The subject as RFC 4514 text.
    pub subject: String,
    /// The subject's last common name, bare.
    pub subject_common_name: Option<String>,
    /// The last second of its validity, since the Unix epoch; negative before 1970.
    pub not_after: i64,
    /// SHA-1 over its DER: 40 upper-case hexadecimal digits.
    pub thumbprint: String,
    /// Whether it counts as verified, and by what right.
    pub verification: Verification,
    /// Its DER.
    pub der: Vec<u8>,
    /// The PEM file that it was uploaded as, if that had this one certificate in it and nothing else.
    pub pem: Option<String>,
    /// When it was first uploaded.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its version: its entity tag.
    pub version: Version,
}

/// A certificate that is uploaded.
#[derive(Clone)]
pub struct Upload {
    /// In any encoding that [`x509::Upload`] takes.
    pub certificate: Vec<u8>,
    /// Whether it shall count as verified, without a proof; `None` leaves that as it is, if it is the same certificate.
    pub verified: Option<bool>,
}

/// Why no certificate of an upload can be worked with.
pub type UploadError = X509Error;

/// Why a certificate is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// It has another version than the caller asks for.
    #[error("the certificate has another version")]
    Precondition,
    /// There is none of this name.
    #[error("there is no such certificate")]
    Unknown,
}

/// Why a certificate was not stored. `B` is why there was no body to store it from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError<B> {
    /// The body that was sent is none.
    #[error("the body was refused")]
    Body(B),
    /// The provisioning service has as many as it may have.
    #[error("the provisioning service has {limit} certificates already")]
    Full {
        /// How many those are.
        limit: u32,
    },
    /// The name is empty or too long, or has a control character, or one of its provisioning service's names does.
    #[error(
        "a certificate's name has 1 to {MAX_NAME_CHARACTERS} characters, and no control characters; nor have the \
         subscription's, the resource group's and the service's"
    )]
    Name,
    /// There is one of this name, and it has another version than the caller asks for.
    #[error("the certificate has another version, or none was named")]
    Precondition,
    /// It is to count as verified without a proof, which is not allowed here.
    #[error("certificates are verified by proof of possession alone here")]
    Unproven,
    /// The upload is not one certificate.
    #[error(transparent)]
    Upload(UploadError),
}

/// Why a certificate was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// It has another version than the caller asks for.
    #[error("the certificate has another version, or none was named")]
    Precondition,
}

/// What a deletion found. Either way there is no such certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There was none of this name.
    Absent,
    /// It is gone.
    Deleted,
}

/// A provisioning service and one of its certificates, as they were at one moment.
struct Loaded {
    holder: Option<Stored<Holder>>,
    certificate: Option<Stored<Certificate>>,
}

impl Certificates {
    /// Every certificate of a provisioning service, by name.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list(&self, caller: &Caller) -> Result<Vec<CertificateView>, StorageError> {
        let mut pages = Pages::of(&self.store, all_certificates(caller.service()));
        let mut views = Vec::new();
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, stored) in page {
                views.push(self.show(caller, stored).await?);
            }
        }
        // Long names are stored by their digests, and so out of order.
        views.sort_by_cached_key(|view| super::fold(&view.name));
        Ok(views)
    }

    /// At most so many certificates of a provisioning service behind the one of this name, by name but for the longest names.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list_page(
        &self,
        caller: &Caller,
        after: Option<&str>,
        most: usize,
    ) -> Result<Listed<CertificateView, String>, StorageError> {
        let all = all_certificates(caller.service());
        let after = after.map(|name| certificate_key(caller.service(), name));
        let now = self.clock.now();
        let (read, is_more) = some(&self.store, &all, after.as_ref(), most, now).await?;
        let mut rows = Vec::new();
        for (_, stored) in read {
            rows.push(self.show(caller, stored).await?);
        }
        let last = rows.last().map(|view| view.name.clone());
        let next = last.filter(|_| is_more);
        Ok(Listed { rows, next })
    }

    /// One certificate. What `precondition` says is kept; it need not say anything.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub async fn get(
        &self,
        caller: &Caller,
        name: &str,
        precondition: &Precondition,
    ) -> Result<CertificateView, Failure<GetError>> {
        let stored = match &caller.certificate {
            Some(read) => read.as_ref().map(|read| Stored {
                record: Certificate::clone(&read.record),
                version: read.version,
                expires_at: read.expires_at,
            }),
            None => self.load(caller, name).await?,
        };
        let stored = stored.ok_or(Failure::Refused(GetError::Unknown))?;
        if !precondition.holds_if_said(stored.version) {
            return refuse(GetError::Precondition);
        }
        self.show(caller, stored).await.map_err(Failure::Storage)
    }

    /// Stores a certificate under a name: a new one whatever `precondition` says, in place of another only if that is met.
    ///
    /// The same certificate again keeps what was proven about it and its code, unless the upload says otherwise; another
    /// one starts anew. What refused the `body` is told only of what may be stored otherwise.
    ///
    /// # Errors
    ///
    /// [`PutError`].
    pub async fn put<B: Clone>(
        &self,
        caller: &Caller,
        name: &str,
        precondition: &Precondition,
        body: Result<Upload, B>,
    ) -> Result<CertificateView, Failure<PutError<B>>> {
        settle("certificates.put", &self.store, || async {
            let Loaded {
                holder,
                certificate,
            } = self.load_with_holder(caller, name).await?;
            if let Some(stored) = &certificate
                && !precondition.holds(stored.version)
            {
                return refuse(PutError::Precondition);
            }
            let upload = said(&body, PutError::Body)?;
            if !is_name(name) || !caller.service().spelled().into_iter().all(is_plain) {
                return refuse(PutError::Name);
            }
            let uploaded = upload.certificate.clone();
            let decoded = self.judge(caller, move || decode(&uploaded)).await?;
            let Decoded {
                der,
                pem,
                description,
            } = decoded.map_err(|error| Failure::Refused(PutError::Upload(error)))?;
            let before = certificate.as_ref().map(|stored| &stored.record);
            let same = before.filter(|before| before.der == der);
            let verification = self
                .verification(same, upload.verified)
                .map_err(Failure::Refused)?;

            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            let record = Certificate {
                place: match (before, &holder) {
                    (Some(before), _) => before.place.clone(),
                    (None, Some(holder)) => holder.record.place.clone(),
                    (None, None) => ServiceNames::of(caller.service()),
                },
                name: before.map_or_else(|| name.to_owned(), |before| before.name.clone()),
                der,
                pem,
                description: Some(description.clone()),
                verification,
                code: same
                    .filter(|_| upload.verified != Some(false))
                    .and_then(|same| same.code.clone()),
                created_at: before.map_or(now, |before| before.created_at),
                updated_at: now,
            };
            let detail = upload_detail(&record, before);
            let key = certificate_key(caller.service(), name);
            let (version, action) = match &certificate {
                Some(stored) => (
                    batch.replace(&key, stored.version, &record, None),
                    Action::CertificateUpdate,
                ),
                None => {
                    self.make_room(&mut batch, caller, holder)
                        .map_err(Failure::Refused)?;
                    (batch.insert(&key, &record, None), Action::CertificateCreate)
                }
            };
            let deed = caller.deed(action, name, detail);
            self.audit.done(&mut batch, now, deed);
            let stored = view(record, description, version);
            Ok(Attempt::Commit(batch, Ok(stored)))
        })
        .await
    }

    /// Deletes a certificate.
    ///
    /// # Errors
    ///
    /// [`DeleteError`].
    pub async fn delete(
        &self,
        caller: &Caller,
        name: &str,
        precondition: &Precondition,
    ) -> Result<Deletion, Failure<DeleteError>> {
        let key = certificate_key(caller.service(), name);
        settle("certificates.delete", &self.store, || async {
            let Loaded {
                holder,
                certificate,
            } = self.load_with_holder(caller, name).await?;
            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            let Some(certificate) = certificate else {
                // Who deleted it may never have learnt so, and it may come back with another server yet.
                batch.require_absent(&key);
                caller.origin().require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(Deletion::Absent)));
            };
            if !precondition.holds(certificate.version) {
                return refuse(DeleteError::Precondition);
            }
            let holder = holder.ok_or_else(|| {
                StorageError::Damaged(format!("{key} without its provisioning service"))
            })?;
            batch.remove(&key, certificate.version);
            leave_room(&mut batch, caller, holder);
            let detail = Some(thumbprint(&certificate.record.der));
            let deed = caller.deed(Action::CertificateDelete, name, detail);
            self.audit.done(&mut batch, now, deed);
            Ok(Attempt::Commit(batch, Ok(Deletion::Deleted)))
        })
        .await
    }

    /// A stored certificate, as it is shown. One of before is read again.
    async fn show(
        &self,
        caller: &Caller,
        mut stored: Stored<Certificate>,
    ) -> Result<CertificateView, StorageError> {
        if let Some(description) = stored.record.description.take() {
            return Ok(view(stored.record, description, stored.version));
        }
        let read = move || {
            let description = describe(&parse(&stored.record)?);
            Ok(view(stored.record, description, stored.version))
        };
        self.judge(caller, read).await?
    }

    /// Counts one more, in the batch that adds it.
    fn make_room<B>(
        &self,
        batch: &mut Batch,
        caller: &Caller,
        holder: Option<Stored<Holder>>,
    ) -> Result<(), PutError<B>> {
        let limit = self.settings.max_certificates.get();
        let key = holder_key(caller.service());
        match holder {
            None => {
                let first = Holder {
                    place: ServiceNames::of(caller.service()),
                    certificates: 1,
                };
                batch.insert(&key, &first, None);
            }
            Some(holder) if holder.record.certificates >= limit => {
                return Err(PutError::Full { limit });
            }
            Some(holder) => {
                let next = Holder {
                    certificates: holder.record.certificates.saturating_add(1),
                    ..holder.record
                };
                batch.replace(&key, holder.version, &next, None);
            }
        }
        Ok(())
    }

    /// What an upload makes of the verification; `same` is what is stored, if that is the same certificate.
    fn verification<B>(
        &self,
        same: Option<&Certificate>,
        wanted: Option<bool>,
    ) -> Result<Verification, PutError<B>> {
        let held = same.map_or(Verification::None, |same| same.verification);
        match wanted {
            None => Ok(held),
            Some(false) => Ok(Verification::None),
            // What was proven stays proven: clients send back what they were shown.
            Some(true) if held == Verification::Proven => Ok(held),
            Some(true) if self.settings.allow_unproven => Ok(Verification::Asserted),
            Some(true) => Err(PutError::Unproven),
        }
    }

    async fn load_with_holder(&self, caller: &Caller, name: &str) -> Result<Loaded, StorageError> {
        let holder = holder_key(caller.service());
        let certificate = certificate_key(caller.service(), name);
        let plan = ReadPlan::new([holder.clone(), certificate.clone()]);
        let read = self.store.read(plan, self.clock.now()).await?;
        Ok(Loaded {
            holder: read.get(&holder)?,
            certificate: read.get(&certificate)?,
        })
    }
}

/// Counts one less, in the batch that removes it.
fn leave_room(batch: &mut Batch, caller: &Caller, holder: Stored<Holder>) {
    let key = holder_key(caller.service());
    match holder.record.certificates.saturating_sub(1) {
        0 => batch.remove(&key, holder.version),
        certificates => {
            let next = Holder {
                certificates,
                ..holder.record
            };
            batch.replace(&key, holder.version, &next, None);
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARACTERS).contains(&name.chars().count()) && is_plain(name)
}

/// Lines of logs and of lists would break at a control character.
fn is_plain(name: &str) -> bool {
    !name.contains(char::is_control)
}

/// What is kept of an upload, and what it says of itself.
struct Decoded {
    der: Vec<u8>,
    pem: Option<String>,
    description: Description,
}

/// Takes the layers off an upload of a certificate.
fn decode(upload: &[u8]) -> Result<Decoded, UploadError> {
    let upload = x509::Upload::decode(upload)?;
    let description = describe(&upload.certificate()?);
    let pem = upload.sole_pem().map(<[u8]>::to_vec);
    Ok(Decoded {
        // All of it is ASCII, or it would not have been decoded.
        pem: pem.and_then(|pem| String::from_utf8(pem).ok()),
        der: upload.into_der(),
        description,
    })
}

pub(super) fn describe(certificate: &x509::Certificate<'_>) -> Description {
    let subject = certificate.subject();
    Description {
        subject: subject.to_string(),
        subject_common_name: subject.common_name().map(Into::into),
        not_after: certificate.validity().not_after,
        thumbprint: certificate.sha1_thumbprint().to_string(),
    }
}

/// A certificate, as it is shown.
pub(super) fn view(
    record: Certificate,
    description: Description,
    version: Version,
) -> CertificateView {
    CertificateView {
        subject: description.subject,
        subject_common_name: description.subject_common_name,
        not_after: description.not_after,
        thumbprint: description.thumbprint,
        subscription: record.place.subscription,
        resource_group: record.place.resource_group,
        service: record.place.service,
        name: record.name,
        verification: record.verification,
        der: record.der,
        pem: record.pem,
        created_at: record.created_at,
        updated_at: record.updated_at,
        version,
    }
}

/// Reads a stored certificate again.
pub(super) fn parse(record: &Certificate) -> Result<x509::Certificate<'_>, StorageError> {
    x509::Certificate::from_der(&record.der)
        .map_err(|error| StorageError::Damaged(format!("a stored certificate: {error}")))
}

fn thumbprint(der: &[u8]) -> String {
    format!("thumbprint {}", x509::Sha1Thumbprint::of(der))
}

/// What the audit trail says of an upload.
fn upload_detail(record: &Certificate, before: Option<&Certificate>) -> Option<String> {
    let verification = |record: &Certificate| record.verification;
    let became = match (before.map(verification), record.verification) {
        (_, Verification::Asserted) => "; verified, possession NOT proven",
        (Some(was), Verification::None) if was.is_verified() => "; no longer verified",
        _ => "",
    };
    Some(format!("{}{became}", thumbprint(&record.der)))
}

impl fmt::Debug for CertificateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateView")
            .field("name", &self.name)
            .field("thumbprint", &self.thumbprint)
            .field("verification", &self.verification)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
