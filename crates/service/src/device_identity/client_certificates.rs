//! The client certificates of stations. Each category has one, which its CA issues when the category is created and
//! whenever it is renewed. The earlier ones stay accepted until they expire or are ended, while stations are given the
//! new one.
//!
//! The TLS handshake proves only that the station has the private key. The certificate is then looked up by its SHA-256
//! thumbprint. It is accepted if it is valid and in the category's record, and neither the category nor its manager is
//! disabled.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    iter, mem,
    sync::{Arc, Mutex},
};

use data_encoding::BASE64;
use keyproof_store::{Batch, Key, Prefix, ReadPlan, Record, Timestamp, Version};
use keyproof_x509::{Sha256Thumbprint, Upload};
use serde::{Deserialize, Serialize};

use super::{
    Administrator, AuthorityError, Category, DeviceIdentity, Manager, Metadata, Object,
    authority::{Authority, ClientCertificate},
    objects::object_key,
};
use crate::{
    Action, Failure, StorageError,
    audit::Warrant,
    clock::APART_AT_MOST,
    mutex::lock,
    pages::{Page, Pages, transact_pages},
    slot::{Slot, next_keys},
    storage::{Attempt, damaged, refuse, refused, transact},
};

/// The limit for the CA names offered to clients, in bytes; a handshake message is at most 64 KiB. Above it no names
/// are offered, which means any CA.
const OFFERED: usize = 32 * 1024;

/// The most earlier client certificates of a category that are accepted beside the latest.
const MOST_EARLIER: usize = 4;

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

    /// Returns a certificate's thumbprint and the record of its category; `None` if the certificate cannot be parsed.
    fn of(category: &Object<Category>, certificate: &str) -> Option<(Sha256Thumbprint, Self)> {
        let upload = Upload::decode(certificate.as_bytes()).ok()?;
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

/// Why a category's client certificate was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewClientError {
    /// It could not be issued.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The latest one is not the one that the caller knows.
    #[error("the client certificate was renewed meanwhile: nothing is changed")]
    Renewed,
    /// Too many earlier ones are accepted.
    #[error("{MOST_EARLIER} earlier client certificates are still accepted: end them first")]
    TooMany,
    /// There is no category of this name.
    #[error("there is no such tpm_category")]
    Unknown,
}

/// Why a category's earlier client certificates were not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndClientsError {
    /// The latest one is not the one that the caller knows.
    #[error("the client certificate was renewed meanwhile: nothing is changed")]
    Renewed,
    /// There is no category of this name.
    #[error("there is no such tpm_category")]
    Unknown,
}

impl Category {
    /// Returns its client certificates, in PEM, the latest first.
    pub(super) fn client_certificates(&self) -> Vec<&str> {
        let latest = iter::once(&self.client_certificate);
        let all = latest.chain(&self.earlier_client_certificates);
        all.map(String::as_str).collect()
    }

    /// Returns the thumbprint of its latest client certificate; `None` if that cannot be parsed.
    pub fn client_thumbprint(&self) -> Option<Sha256Thumbprint> {
        let upload = Upload::decode(self.client_certificate.as_bytes()).ok()?;
        let certificate = upload.certificate().ok()?;
        Some(certificate.sha256_thumbprint())
    }

    /// Returns the last moment at which its latest client certificate is valid; `None` if that cannot be parsed.
    pub fn client_ends(&self) -> Option<Timestamp> {
        let upload = Upload::decode(self.client_certificate.as_bytes()).ok()?;
        let not_after = upload.certificate().ok()?.validity().not_after;
        Some(Timestamp::from_secs(u64::try_from(not_after).unwrap_or(0)))
    }

    /// Returns whether this is a client certificate of the category, and is valid now.
    pub(super) fn has_client(&self, shown: &Sha256Thumbprint, now: Timestamp) -> bool {
        let is_shown = |certificate: &str| {
            let Ok(upload) = Upload::decode(certificate.as_bytes()) else {
                return false;
            };
            upload.certificate().is_ok_and(|certificate| {
                let validity = certificate.validity();
                // A server whose clock is ahead may have issued it just now.
                let begun_by = now.saturating_add(APART_AT_MOST);
                certificate.sha256_thumbprint() == *shown
                    && validity.has_begun(begun_by.as_secs())
                    && !validity.has_ended(now.as_secs())
            })
        };
        self.client_certificates().into_iter().any(is_shown)
    }
}

/// Returns whether a client certificate has not expired.
fn is_unexpired(certificate: &str, now: Timestamp) -> bool {
    let Ok(upload) = Upload::decode(certificate.as_bytes()) else {
        return false;
    };
    let certificate = upload.certificate();
    certificate.is_ok_and(|certificate| !certificate.validity().has_ended(now.as_secs()))
}

impl DeviceIdentity {
    /// Issues another client certificate for a category's stations. The earlier ones stay accepted until they expire or
    /// are ended with [`end_earlier_clients`](Self::end_earlier_clients). Expired ones are deleted. With `latest`, only that
    /// one is renewed, so that a repeated request renews nothing.
    ///
    /// # Errors
    ///
    /// [`RenewClientError`].
    pub async fn renew_client(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        latest: Option<&Sha256Thumbprint>,
    ) -> Result<ClientCertificate, Failure<RenewClientError>> {
        transact("device_identity.renew_client", &self.store, || async {
            let now = self.clock.now();
            let stored = self
                .load::<Category>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(RenewClientError::Unknown))?;
            let (version, mut object) = (stored.version, stored.record);
            if latest.is_some() && object.spec.client_thumbprint().as_ref() != latest {
                return refuse(RenewClientError::Renewed);
            }
            let earlier = object.spec.earlier_client_certificates.iter();
            if earlier.filter(|earlier| is_unexpired(earlier, now)).count() >= MOST_EARLIER {
                return refuse(RenewClientError::TooMany);
            }
            let issued = {
                let (store, category) = (self.store.clone(), object.clone());
                self.on_cpu_queue(administrator.who(), move || {
                    Authority::issue_client(&category, &store, now)
                })
            };
            let issued = issued.await?.map_err(refused)?;
            let spec = &mut object.spec;
            let replaced = mem::replace(&mut spec.client_certificate, issued.certificate.clone());
            let earlier = mem::take(&mut spec.earlier_client_certificates);
            let earlier = iter::once(replaced).chain(earlier);
            let (accepted, expired): (Vec<_>, Vec<_>) =
                earlier.partition(|earlier| is_unexpired(earlier, now));
            let kept = accepted.len();
            spec.earlier_client_certificates = accepted;
            let detail = format!("{kept} earlier client certificates stay accepted");
            let action = Action::TpmCategoryRenewClient;
            let mut batch = self.change(administrator, action, version, &mut object, detail, now);
            let expired: Vec<&str> = expired.iter().map(String::as_str).collect();
            self.strike(&mut batch, &object, &expired, now).await?;
            self.enter_client(&mut batch, &object).await?;
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Ends all client certificates of a category except the latest, and returns how many. None of them is accepted
    /// afterwards on any server. With `latest`, only those before that one: if it was renewed meanwhile, it is the one
    /// that stations have.
    ///
    /// # Errors
    ///
    /// [`EndClientsError`].
    pub async fn end_earlier_clients(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        latest: Option<&Sha256Thumbprint>,
    ) -> Result<usize, Failure<EndClientsError>> {
        transact("device_identity.end_clients", &self.store, || async {
            let now = self.clock.now();
            let stored = self
                .load::<Category>(administrator.namespace(), name)
                .await?
                .ok_or(Failure::Refused(EndClientsError::Unknown))?;
            if latest.is_some() && stored.record.spec.client_thumbprint().as_ref() != latest {
                return refuse(EndClientsError::Renewed);
            }
            if stored.record.spec.earlier_client_certificates.is_empty() {
                // The commit that ended them may not be durable, so this result requires what it read.
                let mut batch = self.store.batch(now);
                Object::require(&mut batch, &stored);
                administrator.origin().require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(0)));
            }
            let (version, mut object) = (stored.version, stored.record);
            let ended = mem::take(&mut object.spec.earlier_client_certificates);
            let detail = format!("{} earlier client certificates", ended.len());
            let action = Action::TpmCategoryEndClients;
            let mut batch = self.change(administrator, action, version, &mut object, detail, now);
            let certificates: Vec<&str> = ended.iter().map(String::as_str).collect();
            self.strike_clients(&mut batch, &object, &certificates, now)
                .await?;
            Ok(Attempt::Commit(batch, Ok(ended.len())))
        })
        .await
    }

    /// Returns the names of the CAs that issue client certificates, each in DER, for a TLS handshake. Empty if they are
    /// too long to offer. Returns the same `Arc` until a client certificate is added or removed on any server.
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
        let all = Prefix::new(Holder::TYPE, ["_"]);
        let pages = Pages::<Holder>::of(&self.store, all);
        let name = |holder: Holder| BASE64.decode(holder.issuer.as_bytes()).ok();
        let names = pages.collect(&*self.clock, name).await?;
        let mut names: BTreeSet<Vec<u8>> = names.into_iter().collect();
        if names.iter().map(Vec::len).sum::<usize>() > OFFERED {
            names.clear();
        }
        let names: Arc<[Vec<u8>]> = names.into_iter().collect();
        // What was added meanwhile changes the version, so that the next call reads again.
        *lock(&self.authorities.0) = Some((roster.version, Arc::clone(&names)));
        Ok(names)
    }

    /// Returns the category that has this client certificate, if it is accepted. The warrant is the index record, which
    /// is deleted when the certificate is ended, and with the category. Nothing else disables a category after its
    /// creation.
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

    /// Adds a category's latest client certificate to the index.
    pub(super) async fn enter_client(
        &self,
        batch: &mut Batch,
        category: &Object<Category>,
    ) -> Result<(), StorageError> {
        let (thumbprint, holder) = Holder::of(category, &category.spec.client_certificate)
            .ok_or_else(|| damaged("a new client certificate"))?;
        batch.insert(&Holder::key(&thumbprint), &holder, None);
        self.change_roster(batch).await
    }

    /// Removes these client certificates of a category from the index.
    pub(super) async fn strike_clients(
        &self,
        batch: &mut Batch,
        category: &Object<Category>,
        certificates: &[&str],
        now: Timestamp,
    ) -> Result<(), StorageError> {
        if self.strike(batch, category, certificates, now).await? {
            self.change_roster(batch).await?;
        }
        Ok(())
    }

    /// Removes these client certificates of a category from the index, but does not rewrite the roster. Returns whether any
    /// was there.
    async fn strike(
        &self,
        batch: &mut Batch,
        category: &Object<Category>,
        certificates: &[&str],
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let mut is_changed = false;
        for certificate in certificates {
            let Some((thumbprint, _)) = Holder::of(category, certificate) else {
                continue;
            };
            let place = Holder::key(&thumbprint);
            if let Some(known) = self.store.get::<Holder>(&place, now).await? {
                batch.remove(&place, known.version);
                is_changed = true;
            }
        }
        Ok(is_changed)
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
                    let before = added;
                    for certificate in category.record.spec.client_certificates() {
                        let found = Holder::of(&category.record, certificate);
                        let Some((thumbprint, holder)) = found else {
                            continue;
                        };
                        let holder_place = Holder::key(&thumbprint);
                        let known = self.store.get::<Holder>(&holder_place, page.now).await?;
                        if known.is_none() {
                            batch.insert(&holder_place, &holder, None);
                            added += 1;
                        }
                    }
                    if added > before {
                        batch.require(place, category.version);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            ObjectOperation,
            testing::{furnish, may},
        },
        *,
    };
    use crate::testing::{START, bench, command_line, origin};

    #[tokio::test]
    async fn a_certificate_of_a_server_whose_clock_is_ahead_is_accepted_at_once() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let category = devices.load::<Category>("default", "c").await.unwrap();
        let client = category.unwrap().record.spec.client_thumbprint().unwrap();
        for (ahead, is_accepted) in [(0, true), (120, true), (121, false)] {
            let ahead = Duration::from_secs(ahead);
            bench.clock.set(START.saturating_sub(ahead));
            let station = devices.station_with_certificate(client, &origin()).await;
            assert_eq!(station.is_ok(), is_accepted, "{ahead:?}");
        }
    }

    #[tokio::test]
    async fn whoever_was_revoked_is_not_told_that_no_earlier_client_is_accepted() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let administrator = may(&bench, ObjectOperation::Replace, "c").await;
        let end = async || devices.end_earlier_clients(&administrator, "c", None).await;
        assert_eq!(end().await, Ok(0));
        let access = &bench.service.access;
        for token in access.list().await.unwrap() {
            access.revoke(&token.id, &command_line()).await.unwrap();
        }
        let ended = end().await;
        let contended = matches!(ended, Err(Failure::Storage(StorageError::Contended { .. })));
        assert!(contended, "{ended:?}");
    }
}
