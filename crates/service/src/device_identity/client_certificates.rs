//! The client certificates of stations. Each category has one, which its CA issues when the category is created.
//!
//! The TLS handshake proves only that the station has the private key. The certificate is then looked up by its SHA-256
//! thumbprint. It is accepted if it is valid and in the category's record, and neither the category nor its manager is
//! disabled.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use data_encoding::BASE64;
use keyproof_store::{Batch, Key, Prefix, ReadPlan, Record, Stored, Timestamp, Version};
use keyproof_x509::{Sha256Thumbprint, Upload};
use serde::{Deserialize, Serialize};

use super::{Category, DeviceIdentity, Manager, Metadata, Object, objects::object_key};
use crate::{
    Failure, StorageError,
    audit::Warrant,
    mutex::lock,
    pages::{Page, Pages, transact_pages},
    slot::{Slot, next_keys},
    storage::damaged,
};

/// The limit for the CA names offered to clients, in bytes; a handshake message is at most 64 KiB. Above it no names
/// are offered, which means any CA.
const OFFERED: usize = 32 * 1024;

/// At `tpm_client_certificate/_/<SHA-256>`: the category that has this client certificate.
#[derive(Clone, Serialize, Deserialize)]
struct Holder {
    namespace: String,
    category: String,
    manager: String,
    /// The issuer's name: Base64-encoded DER.
    issuer: String,
}

record!(Holder, "tpm_client_certificate");

impl Holder {
    fn key(thumbprint: &Sha256Thumbprint) -> Key {
        Key::new(Self::TYPE, ["_", &thumbprint.to_string()])
    }

    /// Returns the record of a category and its certificate's thumbprint; `None` if the certificate cannot be parsed.
    fn of(category: &Object<Category>) -> Option<(Sha256Thumbprint, Self)> {
        let upload = Upload::decode(category.spec.client_certificate.as_bytes()).ok()?;
        let certificate = upload.certificate().ok()?;
        let holder = Self {
            namespace: category.metadata.namespace.clone(),
            category: category.metadata.name.clone(),
            manager: category.spec.manager.clone(),
            issuer: BASE64.encode(certificate.issuer().as_der()),
        };
        Some((certificate.sha256_thumbprint(), holder))
    }
}

/// At `tpm_client_certificates/_`: rewritten whenever a client certificate is added or removed.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Roster {
    /// Whether the categories that are older than this index are in it.
    is_indexed: bool,
}

record!(Roster, "tpm_client_certificates");

impl Roster {
    fn key() -> Key {
        Key::new(Self::TYPE, ["_"])
    }
}

/// Names of CAs, each in DER.
type Names = Arc<[Vec<u8>]>;

/// The names read last.
#[derive(Default)]
pub(super) struct KnownAuthorities(Mutex<Option<(Version, Names)>>);

/// No category has this certificate, it is not valid, or its category or manager is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate belongs to no category or to a disabled one, or is not valid")]
pub struct CertificateNotAccepted;

impl Category {
    /// Returns whether this is the category's client certificate, and is valid now.
    pub(super) fn has_client(&self, shown: &Sha256Thumbprint, now: Timestamp) -> bool {
        let Ok(upload) = Upload::decode(self.client_certificate.as_bytes()) else {
            return false;
        };
        upload.certificate().is_ok_and(|certificate| {
            let (validity, now) = (certificate.validity(), now.as_secs());
            certificate.sha256_thumbprint() == *shown
                && validity.has_begun(now)
                && !validity.has_ended(now)
        })
    }
}

impl DeviceIdentity {
    /// Returns the names of the CAs that issue client certificates, each in DER, for a TLS handshake. Empty if they are
    /// too long to offer. Returns the same `Arc` until a category is created or deleted on any server.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn client_authorities(&self) -> Result<Arc<[Vec<u8>]>, StorageError> {
        let roster = match self.roster().await?.stored {
            Some(roster) if roster.record.is_indexed => roster,
            _ => {
                self.index_client_certificates().await?;
                let roster = self.roster().await?.stored;
                roster.ok_or_else(|| damaged("no client certificates"))?
            }
        };
        {
            let known = lock(&self.authorities.0);
            if let Some((version, names)) = &*known
                && *version == roster.version
            {
                return Ok(Arc::clone(names));
            }
        }
        let mut names = BTreeSet::new();
        let all = Prefix::new(Holder::TYPE, ["_"]);
        let mut pages = Pages::<Holder>::of(&self.store, all);
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                let name = BASE64.decode(record.issuer.as_bytes());
                names.extend(name);
            }
        }
        if names.iter().map(Vec::len).sum::<usize>() > OFFERED {
            names.clear();
        }
        let names: Arc<[Vec<u8>]> = names.into_iter().collect();
        // What was added meanwhile changes the version, so that the next call reads again.
        *lock(&self.authorities.0) = Some((roster.version, Arc::clone(&names)));
        Ok(names)
    }

    /// Returns the category that has this client certificate, if it is accepted. The warrant is the index record, which
    /// is deleted with the category. Nothing else disables a category after its creation.
    pub(super) async fn client(
        &self,
        shown: &Sha256Thumbprint,
        now: Timestamp,
    ) -> Result<Option<(Metadata, Warrant)>, StorageError> {
        let place = Holder::key(shown);
        let above = |holder: &Holder| {
            [
                object_key::<Category>(&holder.namespace, &holder.category),
                object_key::<Manager>(&holder.namespace, &holder.manager),
            ]
        };
        let keys = move |holder: &Holder| Vec::from(above(holder));
        let plan = ReadPlan::new([place.clone()]).then(next_keys(place.clone(), keys));
        let found = self.store.read(plan, now).await?;
        let Some(holder) = found.get::<Holder>(&place)? else {
            return Ok(None);
        };
        let [category, manager] = above(&holder.record);
        let (Some(category), Some(manager)) = (
            found.get::<Object<Category>>(&category)?,
            found.get::<Object<Manager>>(&manager)?,
        ) else {
            return Ok(None);
        };
        let category = category.record;
        let is_disabled = category.metadata.disable || manager.record.metadata.disable;
        let counts = !is_disabled && category.spec.has_client(shown, now);
        let version = holder.version;
        Ok(counts.then_some((category.metadata, Warrant { place, version })))
    }

    /// Adds a new category's client certificate to a batch.
    pub(super) async fn enter_client(
        &self,
        batch: &mut Batch,
        category: &Object<Category>,
    ) -> Result<(), StorageError> {
        let (thumbprint, holder) =
            Holder::of(category).ok_or_else(|| damaged("a new client certificate"))?;
        batch.insert(&Holder::key(&thumbprint), &holder, None);
        self.change_roster(batch).await
    }

    /// Removes a category's client certificate from the index.
    pub(super) async fn strike_client(
        &self,
        batch: &mut Batch,
        category: &Object<Category>,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let Some((thumbprint, _)) = Holder::of(category) else {
            return Ok(());
        };
        let place = Holder::key(&thumbprint);
        if let Some(known) = self.store.get::<Holder>(&place, now).await? {
            batch.remove(&place, known.version);
            self.change_roster(batch).await?;
        }
        Ok(())
    }

    async fn roster(&self) -> Result<Slot<Roster>, StorageError> {
        Slot::read(&self.store, Roster::key(), self.clock.now()).await
    }

    async fn change_roster(&self, batch: &mut Batch) -> Result<(), StorageError> {
        let slot = self.roster().await?;
        let same = slot.record().cloned().unwrap_or_default();
        slot.replace(batch, &same, None);
        Ok(())
    }

    /// Adds to the index the categories that are older than it.
    async fn index_client_certificates(&self) -> Result<(), StorageError> {
        let all = Prefix::collection(<Category as super::Kind>::NAME);
        let name = "device_identity.index_clients";
        let place = (&self.store, &*self.clock);
        let indexed = transact_pages(
            name,
            place,
            &all,
            <Category as super::Kind>::AT_ONCE,
            async |page: Page<Object<Category>>| {
                let mut batch = self.store.batch(page.now);
                let mut added = 0;
                for (place, category) in &page.records {
                    let Some((thumbprint, holder)) = Holder::of(&category.record) else {
                        continue;
                    };
                    let holder_place = Holder::key(&thumbprint);
                    let known = self.store.get::<Holder>(&holder_place, page.now).await?;
                    if known.is_none() {
                        batch.require(place, category.version);
                        batch.insert(&holder_place, &holder, None);
                        added += 1;
                    }
                }
                if page.is_last {
                    let indexed = Roster { is_indexed: true };
                    self.roster().await?.replace(&mut batch, &indexed, None);
                }
                Ok((batch, added))
            },
        );
        let indexed = indexed.await;
        indexed.map_err(Failure::<Infallible>::without_refusal)?;
        Ok(())
    }
}
