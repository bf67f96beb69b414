//! Certificates as resources: listing, reading, uploading and deleting them.

use std::fmt;

use keyproof_store::{Batch, ReadPlan, Stored, Timestamp, Version};
use keyproof_x509::{self as x509, X509Error};

use super::{
    Caller, Certificates, Precondition, ProvisioningService, Verification,
    records::{
        Certificate, Description, HoldingService, all_certificates, certificate_key, holder_key,
    },
};
use crate::{
    Action, Failure, StorageError,
    pages::{ListPage, Pages, scan_page},
    storage::{Attempt, damaged, refuse, require_body},
};

/// The maximum length of a name, in characters. A name must not contain control characters.
const MAX_NAME_CHARACTERS: usize = 256;

/// A certificate as clients see it.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateView {
    /// The provisioning service, as first spelled.
    pub service: ProvisioningService,
    /// The certificate's name, as first spelled.
    pub name: String,
    /// Its subject, end and thumbprint.
    pub description: Description,
    /// Whether it counts as verified, and why.
    pub verification: Verification,
    /// Its DER.
    pub der: Vec<u8>,
    /// The uploaded PEM file, if it contained only this certificate.
    pub pem: Option<String>,
    /// When it was first uploaded.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its version, which is its entity tag.
    pub version: Version,
}

/// An uploaded certificate.
#[derive(Clone)]
pub struct Upload {
    /// The certificate in any encoding that [`x509::Upload`] accepts.
    pub certificate: Vec<u8>,
    /// Whether it is to count as verified without a proof. `None` keeps the state if the certificate is the same.
    pub verified: Option<bool>,
}

/// The error when an upload contains no usable certificate.
pub type UploadError = X509Error;

/// The error when a certificate is not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// The certificate's version does not meet the precondition.
    #[error("the certificate has another version")]
    Precondition,
    /// There is no certificate with this name.
    #[error("there is no such certificate")]
    Unknown,
}

/// The error when a certificate is not stored. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// The provisioning service has the maximum number of certificates.
    #[error("the provisioning service has {limit} certificates already")]
    Full {
        /// That number.
        limit: u32,
    },
    /// The name is empty, too long or contains a control character, or one of the provisioning service's names contains one.
    #[error(
        "a certificate's name has 1 to {MAX_NAME_CHARACTERS} characters; it contains no control character, nor do the \
         names of its subscription, resource group and service"
    )]
    Name,
    /// A certificate with this name exists, and its version does not meet the precondition.
    #[error("the certificate has another version, or none was named")]
    Precondition,
    /// It is declared verified without a proof, which is not allowed here.
    #[error("certificates are verified by proof of possession alone here")]
    Unproven,
    /// The upload is not a single certificate.
    #[error(transparent)]
    Upload(UploadError),
}

/// The error when a certificate is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// The certificate's version does not meet the precondition.
    #[error("the certificate has another version, or none was named")]
    Precondition,
}

/// The result of a deletion. In either case the certificate does not exist now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There was no certificate with this name.
    Absent,
    /// It was deleted.
    Deleted,
}

impl Certificates {
    /// Returns all certificates of a provisioning service, by name.
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
        // Long names are stored as digests and therefore not in order.
        views.sort_by_cached_key(|view| super::fold(&view.name));
        Ok(views)
    }

    /// Returns at most `most` certificates of a provisioning service after the name `after`, sorted by name except for very long
    /// names.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list_page(
        &self,
        caller: &Caller,
        after: Option<&str>,
        most: usize,
    ) -> Result<ListPage<CertificateView, String>, StorageError> {
        let all = all_certificates(caller.service());
        let after = after.map(|name| certificate_key(caller.service(), name));
        let now = self.clock.now();
        let (read, is_more) = scan_page(&self.store, &all, after.as_ref(), most, now).await?;
        let mut rows = Vec::new();
        for (_, stored) in read {
            rows.push(self.show(caller, stored).await?);
        }
        Ok(ListPage::of(rows, is_more, |view| view.name.clone()))
    }

    /// Returns a certificate if its version meets the precondition. A missing precondition is accepted.
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

    /// Stores a certificate under a name. `precondition` is required to replace a certificate, and ignored for a new one.
    ///
    /// Uploading the same certificate again keeps its verification and its code, unless the upload declares otherwise. Another
    /// certificate starts anew. An unreadable `body` is reported only if the precondition is met.
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
        self.transact_for(caller, "certificates.put", || async {
            let (holder, certificate) = self.load_with_holder(caller, name).await?;
            if let Some(stored) = &certificate
                && !precondition.holds(stored.version)
            {
                return refuse(PutError::Precondition);
            }
            let upload = require_body(&body, PutError::Body)?;
            if !is_name(name) || !caller.service().spelled().into_iter().all(is_plain) {
                return refuse(PutError::Name);
            }
            let uploaded = upload.certificate.clone();
            let decoded = self.on_cpu_queue(caller, move || decode(&uploaded)).await?;
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
            caller.check_unexpired::<PutError<B>>(now)?;
            let mut batch = self.store.batch(now);
            let record = Certificate {
                place: match (before, &holder) {
                    (Some(before), _) => before.place.clone(),
                    (None, Some(holder)) => holder.record.service.clone(),
                    (None, None) => caller.service().clone(),
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
            let new_event = caller.new_event(action, name, detail);
            self.audit.done(&mut batch, now, new_event);
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
        self.transact_for(caller, "certificates.delete", || async {
            let (holder, certificate) = self.load_with_holder(caller, name).await?;
            let now = self.clock.now();
            caller.check_unexpired::<DeleteError>(now)?;
            let mut batch = self.store.batch(now);
            let Some(certificate) = certificate else {
                // The deletion may not be durable, and the certificate may reappear after a failover.
                batch.require_absent(&key);
                caller.origin().require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(Deletion::Absent)));
            };
            if !precondition.holds(certificate.version) {
                return refuse(DeleteError::Precondition);
            }
            let holder =
                holder.ok_or_else(|| damaged(format!("{key} without its provisioning service")))?;
            batch.remove(&key, certificate.version);
            leave_room(&mut batch, caller, holder);
            let detail = Some(thumbprint(&certificate.record.der));
            let new_event = caller.new_event(Action::CertificateDelete, name, detail);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(Deletion::Deleted)))
        })
        .await
    }

    /// Returns a stored certificate as clients see it. Records of earlier releases are parsed again.
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
        self.on_cpu_queue(caller, read).await?
    }

    /// Counts one more certificate in the batch that adds it.
    fn make_room<B>(
        &self,
        batch: &mut Batch,
        caller: &Caller,
        holder: Option<Stored<HoldingService>>,
    ) -> Result<(), PutError<B>> {
        let limit = self.settings.max_certificates.get();
        let key = holder_key(caller.service());
        match holder {
            None => {
                let first = HoldingService {
                    service: caller.service().clone(),
                    certificates: 1,
                };
                batch.insert(&key, &first, None);
            }
            Some(holder) if holder.record.certificates >= limit => {
                return Err(PutError::Full { limit });
            }
            Some(holder) => {
                let next = HoldingService {
                    certificates: holder.record.certificates.saturating_add(1),
                    ..holder.record
                };
                batch.replace(&key, holder.version, &next, None);
            }
        }
        Ok(())
    }

    /// Returns the verification after an upload. `same` is the stored record if it has the same certificate.
    fn verification<B>(
        &self,
        same: Option<&Certificate>,
        wanted: Option<bool>,
    ) -> Result<Verification, PutError<B>> {
        let held = same.map_or(Verification::None, |same| same.verification);
        match wanted {
            None => Ok(held),
            Some(false) => Ok(Verification::None),
            // A proof stays valid, because clients send back what they were shown.
            Some(true) if held == Verification::Proven => Ok(held),
            Some(true) if self.settings.allow_unproven => Ok(Verification::Asserted),
            Some(true) => Err(PutError::Unproven),
        }
    }

    /// Reads the records of a provisioning service and of one of its certificates from one snapshot.
    async fn load_with_holder(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(Option<Stored<HoldingService>>, Option<Stored<Certificate>>), StorageError> {
        let holder = holder_key(caller.service());
        let certificate = certificate_key(caller.service(), name);
        let plan = ReadPlan::new([holder.clone(), certificate.clone()]);
        let read = self.store.read(plan, self.clock.now()).await?;
        Ok((read.get(&holder)?, read.get(&certificate)?))
    }
}

/// Counts one certificate less in the batch that deletes it.
fn leave_room(batch: &mut Batch, caller: &Caller, holder: Stored<HoldingService>) {
    let key = holder_key(caller.service());
    match holder.record.certificates.saturating_sub(1) {
        0 => batch.remove(&key, holder.version),
        certificates => {
            let next = HoldingService {
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

/// A control character would break lines of logs and lists.
fn is_plain(name: &str) -> bool {
    !name.contains(char::is_control)
}

/// The stored parts of an upload.
struct Decoded {
    der: Vec<u8>,
    pem: Option<String>,
    description: Description,
}

/// Decodes an uploaded certificate.
fn decode(upload: &[u8]) -> Result<Decoded, UploadError> {
    let upload = x509::Upload::decode(upload)?;
    let description = describe(&upload.certificate()?);
    let pem = upload.sole_pem().map(<[u8]>::to_vec);
    Ok(Decoded {
        // Decoding has ensured that it is ASCII.
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

/// Returns a certificate as clients see it.
pub(super) fn view(
    record: Certificate,
    description: Description,
    version: Version,
) -> CertificateView {
    CertificateView {
        service: record.place,
        name: record.name,
        description,
        verification: record.verification,
        der: record.der,
        pem: record.pem,
        created_at: record.created_at,
        updated_at: record.updated_at,
        version,
    }
}

/// Parses a stored certificate.
pub(super) fn parse(record: &Certificate) -> Result<x509::Certificate<'_>, StorageError> {
    x509::Certificate::from_der(&record.der)
        .map_err(|error| damaged(format!("a stored certificate: {error}")))
}

fn thumbprint(der: &[u8]) -> String {
    format!("thumbprint {}", x509::Sha1Thumbprint::of_der(der))
}

/// Returns the detail of the audit event for an upload.
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
            .field("thumbprint", &self.description.thumbprint)
            .field("verification", &self.verification)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
