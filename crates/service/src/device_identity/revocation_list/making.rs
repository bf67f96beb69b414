//! How a category's CRL is made: its entries, and the task that collects, signs and stores them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use data_encoding::{BASE64, HEXLOWER};
use keyproof_store::{Batch, Key, Prefix, ReadPlan, Record, Stored, Timestamp, Version};
use tokio::sync::watch;

use super::{
    super::{
        ApiKey, Category, DeviceIdentity, Kind, Metadata,
        api_keys::{DeletedApiKey, Withdrawal},
        authority::Authority,
        categories::DeletedCategory,
        certified::{Cause, Certified, Issued, Revoked},
        objects::{Object, object_key},
    },
    LIFE, MOST, RevocationListError,
    record::{Latest, Part},
};
use crate::{
    Failure, Principal, StorageError,
    keys::moment,
    mutex::lock,
    pages::{PAGE, Page, Pages, transact_pages},
    slot::Slot,
    storage::{Attempt, damaged, refuse, refused, transact},
};

/// How many certificates are read at once. Each read waits for the store.
const AT_ONCE: usize = 1_000;

/// The bytes of a CRL in one record. As Base64 in JSON, they fit in a record.
const PART: usize = 512 * 1024;

/// The entries of a CRL to be made, by the bytes of their serial numbers.
pub(in super::super) type Entries = BTreeMap<Vec<u8>, Withdrawal>;

/// The category whose CA signs a CRL, and its record.
pub(super) struct ListIssuer {
    place: Key,
    version: Version,
    category: Object<Category>,
}

/// The CRLs that this server is making, each in a task of its own.
#[derive(Default)]
pub(in super::super) struct ListMaking {
    /// By the category's key.
    under_way: Mutex<BTreeMap<Key, Making>>,
    /// Held while a CRL is made, but not while it is stored.
    turn: tokio::sync::Mutex<()>,
}

/// Whether a CRL was made, once that has ended.
pub(super) type Making = watch::Receiver<Option<Made>>;

type Made = Result<(), Failure<RevocationListError>>;

/// The entry of a CRL that is being made, which is removed even if the task panics.
struct UnderWay {
    devices: Arc<DeviceIdentity>,
    place: Key,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.devices.list_making.under_way).remove(&self.place);
    }
}

impl DeviceIdentity {
    /// Starts to make a category's CRL, unless this server is making it already.
    pub(super) fn make(self: &Arc<Self>, place: &Key, namespace: &str, category: &str) -> Making {
        let (ended, making) = {
            let mut under_way = lock(&self.list_making.under_way);
            if let Some(making) = under_way.get(place) {
                return making.clone();
            }
            let (ended, making) = watch::channel(None);
            under_way.insert(place.clone(), making.clone());
            (ended, making)
        };
        // Without the lock: a runtime that is shutting down drops the task at once, and its entry takes the lock then.
        let entry = UnderWay {
            devices: Arc::clone(self),
            place: place.clone(),
        };
        let (namespace, category) = (namespace.to_owned(), category.to_owned());
        tokio::spawn(async move {
            let devices = &entry.devices;
            let made = devices.make_latest(&entry.place, &namespace, &category);
            let made = made.await;
            drop(entry);
            let is_too_long = matches!(made, Err(Failure::Refused(RevocationListError::TooMany)));
            if let Err(why) = &made
                && (is_too_long || ended.is_closed())
            {
                // The answers do not log the former, and nobody waits for the latter.
                tracing::warn!(namespace, category, %why, "there is no CRL of a TPM category");
            }
            ended.send_replace(Some(made));
        });
        making
    }

    /// Makes and stores a category's CRL, unless the stored one is current.
    async fn make_latest(&self, place: &Key, namespace: &str, category: &str) -> Made {
        transact("device_identity.revocation_list", &self.store, || async {
            // For each attempt anew, so that other CRLs are made between those that lose their races.
            let _turn = self.list_making.turn.lock().await;
            let now = self.clock.now();
            let slot = Slot::<Latest>::read(&self.store, place.clone(), now).await?;
            let latest = slot.record().cloned().unwrap_or_default();
            if let Some(known) = latest.known(now) {
                return known.map(Attempt::Done).map_err(Failure::Refused);
            }
            let issuer = self.issuer(namespace, category).await?;
            let issuer = issuer.ok_or(Failure::Refused(RevocationListError::Unknown))?;
            let mut batch = self.store.batch(now);
            batch.require(&issuer.place, issuer.version);
            let made = self.make_list(issuer, &latest, &mut batch, now).await;
            let (next, verdict) = match made {
                Ok(next) => (next, Ok(())),
                // Remembered, as anyone may request a CRL and reading all entries again is costly.
                Err(Failure::Refused(RevocationListError::TooMany)) => {
                    let next = Latest {
                        is_indexed: true,
                        too_many_at: Some(now),
                        ..latest
                    };
                    (next, Err(RevocationListError::TooMany))
                }
                Err(failure) => return Err(failure),
            };
            slot.replace(&mut batch, &next, None);
            Ok(Attempt::Commit(batch, verdict))
        })
        .await
    }

    /// Makes a CRL and adds it to a batch. Returns its record.
    async fn make_list(
        &self,
        issuer: ListIssuer,
        latest: &Latest,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<Latest, Failure<RevocationListError>> {
        let ListIssuer {
            place, category, ..
        } = issuer;
        let Metadata {
            namespace, name, ..
        } = category.metadata.clone();
        if !latest.is_indexed {
            self.index_earlier(&namespace, &name).await?;
        }
        let entries = self.entries(&namespace, &name).await?;
        let next = latest.number.checked_add(1);
        let next = next.ok_or_else(|| damaged("a CRL has the last number"))?;
        let made_at = latest.next_date(now);
        // A restored backup does not show which numbers were used since, so the number also follows the clock.
        let number = next.max(made_at.as_millis());
        let made = {
            let store = self.store.clone();
            self.on_cpu_queue(&Principal::Keyproof, move || {
                Authority::revocation_list(&category, &place, &store, number, made_at, &entries)
            })
        };
        let made = made.await?.map_err(refused)?;
        let mut parts = 0;
        for part in made.chunks(PART) {
            let key = Part::key(&namespace, &name, number, parts);
            let der = BASE64.encode(part);
            batch.insert(&key, &Part { der }, Some(made_at.saturating_add(LIFE)));
            parts += 1;
        }
        let before = latest.parts(&namespace, &name);
        if !before.is_empty() {
            // As of its creation, when no part had expired.
            let before = self.store.get_many(&before, latest.made_at).await?;
            for part in before.into_iter().flatten() {
                batch.remove(part.key(), part.version());
            }
        }
        Ok(Latest {
            number,
            made_at,
            parts,
            is_outdated: false,
            is_indexed: true,
            too_many_at: None,
        })
    }

    /// Returns the category that signs the CRL of this name, deleted or not.
    pub(super) async fn issuer(
        &self,
        namespace: &str,
        category: &str,
    ) -> Result<Option<ListIssuer>, StorageError> {
        let live = object_key::<Category>(namespace, category);
        let deleted = DeletedCategory::key(namespace, category);
        let plan = ReadPlan::new([live.clone(), deleted.clone()]);
        let found = self.store.read(plan, self.clock.now()).await?;
        if let Some(stored) = found.get::<Object<Category>>(&live)? {
            return Ok(Some(ListIssuer {
                place: live,
                version: stored.version,
                category: stored.record,
            }));
        }
        let stored = found.get::<DeletedCategory>(&deleted)?;
        Ok(stored.map(|stored| ListIssuer {
            place: deleted,
            version: stored.version,
            category: stored.record.category,
        }))
    }

    /// Returns whether certificates of a category may be valid. The index drops them after their expiry.
    pub(in super::super) async fn has_certificates(
        &self,
        category: &Metadata,
    ) -> Result<bool, StorageError> {
        let (namespace, name) = (&*category.namespace, &*category.name);
        let now = self.clock.now();
        let place = Latest::key(namespace, name);
        let latest = self.store.get::<Latest>(&place, now).await?;
        if !latest.is_some_and(|latest| latest.record.is_indexed) {
            self.index_earlier(namespace, name).await?;
        }
        let prefix = Prefix::new(Issued::TYPE, [namespace, name]);
        let first = self.store.scan::<Issued>(&prefix, None, 1, now).await?;
        Ok(!first.is_empty())
    }

    /// Collects the CRL's entries. Only the certificates of API keys that do not keep all of theirs valid are read.
    async fn entries(
        &self,
        namespace: &str,
        category: &str,
    ) -> Result<Entries, Failure<RevocationListError>> {
        let mut entries = Entries::new();
        // Only one page of keys is in memory at a time, as the annotations of each may take a megabyte.
        let live = Prefix::new(ApiKey::NAME, [namespace]);
        let mut pages = Pages::<Object<ApiKey>>::of(&self.store, live).at_once(ApiKey::AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                if record.spec.category == category {
                    self.withdrawn(category, record, ApiKey::withdrawal, &mut entries)
                        .await?;
                }
            }
        }
        let deleted = Prefix::new(DeletedApiKey::TYPE, [namespace, category]);
        let mut pages = Pages::<DeletedApiKey>::of(&self.store, deleted);
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                let withdrawal = ApiKey::withdrawal_for_good;
                self.withdrawn(category, &record.key, withdrawal, &mut entries)
                    .await?;
            }
        }
        self.revoked(namespace, category, &mut entries).await?;
        Ok(entries)
    }

    /// Adds the certificates that an API key does not keep valid.
    async fn withdrawn(
        &self,
        category: &str,
        key: &Object<ApiKey>,
        withdrawal: fn(&ApiKey, Timestamp) -> Option<Withdrawal>,
        entries: &mut Entries,
    ) -> Result<(), Failure<RevocationListError>> {
        let Some(from) = key.spec.withdraws_from() else {
            return Ok(());
        };
        let (namespace, name) = (&*key.metadata.namespace, &*key.metadata.name);
        let prefix = Prefix::new(Issued::TYPE, [namespace, category, name]);
        // Sorts before all certificates that were issued at that time.
        let before = Key::new(Issued::TYPE, [namespace, category, name, &moment(from)]);
        let mut pages = Pages::<Issued>::after(&self.store, prefix, Some(before)).at_once(AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                if record.is_of(key)
                    && let Some(withdrawal) = withdrawal(&key.spec, record.made_at)
                {
                    entries.insert(octets(&record.serial)?, withdrawal);
                }
            }
            if entries.len() > MOST {
                return refuse(RevocationListError::TooMany);
            }
        }
        Ok(())
    }

    /// Adds the individual revocations. They replace an entry that is only on hold.
    async fn revoked(
        &self,
        namespace: &str,
        category: &str,
        entries: &mut Entries,
    ) -> Result<(), Failure<RevocationListError>> {
        let prefix = Prefix::new(Revoked::TYPE, [namespace, category]);
        let mut pages = Pages::<Revoked>::of(&self.store, prefix).at_once(AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                let serial = octets(&record.serial)?;
                let since = record.since;
                let withdrawal = match record.why {
                    Cause::Forgotten => Withdrawal::Forgotten { since },
                    Cause::Superseded => Withdrawal::Superseded { since },
                };
                if let None | Some(Withdrawal::OnHold { .. }) = entries.get(&serial) {
                    entries.insert(serial, withdrawal);
                }
            }
            if entries.len() > MOST {
                return refuse(RevocationListError::TooMany);
            }
        }
        Ok(())
    }

    /// Adds to the index the certificates that are older than it.
    async fn index_earlier(&self, namespace: &str, category: &str) -> Result<(), StorageError> {
        let prefix = Prefix::new(Certified::TYPE, [namespace, category]);
        let name = "device_identity.index_certificates";
        let place = (&self.store, &*self.clock);
        let indexed = transact_pages(name, place, &prefix, PAGE, async |page: Page<Certified>| {
            let issued = page.records.iter();
            let issued: Vec<(Key, &Issued)> = issued
                .map(|(_, certified)| &certified.record.issued)
                .map(|issued| (issued.key(namespace, category), issued))
                .collect();
            let places: Vec<Key> = issued.iter().map(|(place, _)| place.clone()).collect();
            let known = self.store.get_many(&places, page.now).await?;
            let mut batch = self.store.batch(page.now);
            let mut added = 0;
            for ((place, issued), known) in issued.into_iter().zip(known) {
                if known.is_none() && issued.expires_at() > page.now {
                    batch.insert(&place, issued, Some(issued.expires_at()));
                    added += 1;
                }
            }
            Ok((batch, added))
        });
        let indexed = indexed.await;
        indexed.map_err(Failure::<Infallible>::without_refusal)?;
        Ok(())
    }
}

/// Decodes a serial number of the form `40:00:…`.
fn octets(serial: &str) -> Result<Vec<u8>, StorageError> {
    let hex = serial.replace(':', "");
    HEXLOWER
        .decode(hex.as_bytes())
        .map_err(|_| damaged("a serial number is not in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyproof_x509::crl::Crl;
    use tokio::{runtime::Builder, task::yield_now, time::timeout};

    use super::{
        super::{
            super::{
                AttestationKeyTemplate, NewCategory, ObjectOperation, PcrPolicy,
                testing::{api_key, furnish, may, named, revoke},
            },
            HALF_LIFE,
        },
        *,
    };
    use crate::{Clock, clock::APART_AT_MOST, testing::bench};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Long enough for any machine: it only ends a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn certificates_are_read_many_at_a_time() {
        let bench = bench().await;
        furnish(&bench).await;
        api_key(&bench).await;
        let devices = &bench.service.device_identity;
        let disabling = may::<ApiKey>(&bench, ObjectOperation::Replace, "k").await;
        let disabled = devices.disable_api_key(&disabling, "k", true);
        disabled.await.unwrap();
        // A new list, with these certificates of an earlier key of the same name.
        let steps = async |serials: std::ops::Range<usize>| {
            let now = bench.clock.now();
            let mut batch = bench.store.batch(now);
            for serial in serials {
                let issued = Issued {
                    serial: format!("40:{serial:04x}"),
                    made_at: now,
                    not_after: now.saturating_add(DAY),
                    api_key: "k".to_owned(),
                    api_key_uid: Some("another".to_owned()),
                };
                batch.insert(&issued.key("default", "c"), &issued, None);
            }
            let outdated = devices.outdate_revocation_list(&mut batch, "default", "c", now);
            outdated.await.unwrap();
            bench.store.commit(batch).await.unwrap();
            bench.faults.steps();
            devices.revocation_list("default", "c").await.unwrap();
            bench.faults.steps()
        };
        // The first list indexes earlier certificates.
        steps(0..0).await;
        let few = steps(0..0).await;
        assert_eq!(steps(0..900).await, few);
    }

    /// Otherwise one that takes longer than a request may take would start over with each request, and never be made.
    #[tokio::test]
    async fn a_list_is_made_to_the_end_though_nobody_waits_for_it() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let is_under_way = || !lock(&devices.list_making.under_way).is_empty();
        let begun = async {
            while !is_under_way() {
                yield_now().await;
            }
        };
        // A request that reaches its deadline.
        tokio::select! {
            // Both are polled before the task that makes it runs.
            biased;
            _ = devices.revocation_list("default", "c") => unreachable!("it is being made"),
            () = begun => {}
        }
        while is_under_way() {
            yield_now().await;
        }
        bench.faults.steps();
        devices.revocation_list("default", "c").await.unwrap();
        assert_eq!(bench.faults.steps(), 2, "the record and the one part");
    }

    /// Otherwise a category whose long CRL is outdated again and again while it is made would block those of all others.
    #[tokio::test]
    async fn other_lists_are_made_between_the_attempts_at_one() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let other = NewCategory {
            metadata: named("d"),
            manager: "m".to_owned(),
            allow_list: Vec::new(),
            attestation_key: AttestationKeyTemplate::default(),
            pcr_policy: PcrPolicy::default(),
        };
        let creating = may::<Category>(&bench, ObjectOperation::Create, "d").await;
        assert!(devices.create_category(&creating, other).await.is_ok());
        // The first list indexes earlier certificates.
        devices.revocation_list("default", "c").await.unwrap();
        revoke(&bench, 0..1).await;
        let meanwhile = async {
            // The first attempt loses its race.
            revoke(&bench, 1..2).await;
            devices.revocation_list("default", "d").await.unwrap();
        };
        let slow = devices.revocation_list("default", "c");
        let list = timeout(PATIENCE, bench.faults.overtake(slow, meanwhile)).await;
        let list = list.unwrap().unwrap();
        let list = Crl::from_der(&list).unwrap();
        assert_eq!(list.revocations().len(), 2);
    }

    /// The runtime then drops the task at once, and the task's entry, instead of running it.
    #[test]
    fn a_server_that_is_stopping_makes_no_list_and_does_not_wait_for_one() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let bench = runtime.block_on(async {
            let bench = bench().await;
            furnish(&bench).await;
            bench
        });
        let handle = runtime.handle().clone();
        drop(runtime);
        let _context = handle.enter();
        let devices = &bench.service.device_identity;
        let making = devices.make(&Latest::key("default", "c"), "default", "c");
        assert!(making.has_changed().is_err());
        assert!(lock(&devices.list_making.under_way).is_empty());
    }

    /// Otherwise the earlier one, which lacks a revocation, might be taken for the newer one.
    #[tokio::test]
    async fn no_list_is_dated_before_that_of_a_server_whose_clock_is_ahead() {
        let bench = bench().await;
        furnish(&bench).await;
        let ahead = bench.another_ahead(APART_AT_MOST).await;
        let [theirs, ours] = [&ahead.device_identity, &bench.service.device_identity];
        let earlier = theirs.revocation_list("default", "c").await.unwrap();
        revoke(&bench, 0..1).await;
        let later = ours.revocation_list("default", "c").await.unwrap();
        let [earlier, later] = [&earlier, &later].map(|list| Crl::from_der(list).unwrap());
        let lengths = [&earlier, &later].map(|list| list.revocations().len());
        assert_eq!(lengths, [0, 1]);
        assert!(later.is_newer_than(&earlier));
    }

    /// Otherwise a client that compares the dates would accept the certificate until then.
    #[tokio::test]
    async fn no_entry_is_dated_after_its_list_though_a_server_whose_clock_is_ahead_has_made_it() {
        let bench = bench().await;
        furnish(&bench).await;
        let key = api_key(&bench).await.object;
        let now = bench.clock.now();
        let issued = Issued {
            serial: "40:01".to_owned(),
            made_at: now,
            not_after: now.saturating_add(DAY),
            api_key: key.metadata.name,
            api_key_uid: Some(key.system.uid),
        };
        let mut batch = bench.store.batch(now);
        batch.insert(&issued.key("default", "c"), &issued, None);
        bench.store.commit(batch).await.unwrap();
        let ahead = bench.another_ahead(APART_AT_MOST).await;
        let disabling = may::<ApiKey>(&bench, ObjectOperation::Replace, "k").await;
        let disabled = ahead.device_identity.disable_api_key(&disabling, "k", true);
        disabled.await.unwrap();
        let devices = &bench.service.device_identity;
        let list = devices.revocation_list("default", "c").await.unwrap();
        let list = Crl::from_der(&list).unwrap();
        let dates: Vec<i64> = list.revocations().iter().map(|entry| entry.since).collect();
        assert_eq!(dates, [list.this_update()]);
    }

    /// Anyone may request a CRL, and all requests wait for the same lock.
    #[tokio::test]
    async fn that_there_are_too_many_for_a_list_is_found_out_once_a_change() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let ask = async || {
            bench.faults.steps();
            let list = devices.revocation_list("default", "c").await;
            (list, bench.faults.steps())
        };
        let assert_remembered = async |is_remembered: bool| {
            let (list, steps) = ask().await;
            let too_many = Failure::Refused(RevocationListError::TooMany);
            assert_eq!(list, Err(too_many));
            assert_eq!(steps == 1, is_remembered, "{steps}");
        };
        revoke(&bench, 0..MOST).await;
        assert!(ask().await.0.is_ok());
        revoke(&bench, MOST..MOST + 1).await;
        assert_remembered(false).await;
        for _ in 0..3 {
            assert_remembered(true).await;
        }
        revoke(&bench, MOST + 1..MOST + 2).await;
        assert_remembered(false).await;
        assert_remembered(true).await;
        // Entries expire in time.
        bench.clock.advance(HALF_LIFE);
        assert_remembered(false).await;
        assert_remembered(true).await;
        bench.clock.advance(DAY.saturating_mul(4));
        assert!(ask().await.0.is_ok());
        assert_eq!(ask().await.1, 2, "the record and the one part");
    }
}
