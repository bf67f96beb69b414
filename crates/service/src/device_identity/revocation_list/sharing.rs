//! The stored CRL, in memory while it is sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use data_encoding::BASE64;
use keyproof_store::{Key, ReadPlan, Stored};

use super::{
    super::DeviceIdentity,
    RevocationListError,
    record::{Latest, Part},
};
use crate::{
    Failure, StorageError, TooBusy,
    mutex::lock,
    storage::{damaged, refuse},
};

/// The CRLs that are in memory because a client is being sent one. All requests for a CRL share its bytes: anybody may
/// request it and then read it slowly.
#[derive(Default)]
pub(in super::super) struct SharedLists {
    /// By the category's key.
    kept: Mutex<BTreeMap<Key, Numbered>>,
    /// Held while a CRL of several parts is read, so that requests which come at once read it once.
    reading: tokio::sync::Mutex<()>,
}

/// The number of a CRL, and the CRL. A `Weak<[u8]>` would keep the bytes' memory when nobody needs them any more.
type Numbered = (u64, Weak<Vec<u8>>);

impl SharedLists {
    fn get(&self, place: &Key, number: u64) -> Option<Arc<Vec<u8>>> {
        let kept = lock(&self.kept);
        let (kept_number, list) = kept.get(place)?;
        list.upgrade().filter(|_| *kept_number == number)
    }

    fn keep(&self, place: Key, number: u64, list: &Arc<Vec<u8>>) {
        let mut kept = lock(&self.kept);
        kept.retain(|_, (_, list)| list.strong_count() > 0);
        kept.insert(place, (number, Arc::downgrade(list)));
    }
}

impl DeviceIdentity {
    /// Returns a category's current CRL, in DER (RFC 5280, section 5). No permission is needed. Callers of the same CRL
    /// share its bytes. If none is current, it is made to the end even if the returned future is dropped.
    ///
    /// # Errors
    ///
    /// [`RevocationListError`].
    pub async fn revocation_list(
        self: &Arc<Self>,
        namespace: &str,
        category: &str,
    ) -> Result<Arc<Vec<u8>>, Failure<RevocationListError>> {
        let place = Latest::key(namespace, category);
        loop {
            let now = self.clock.now();
            if let Some(Stored { record, .. }) = self.store.get::<Latest>(&place, now).await?
                && let Some(known) = record.known(now)
            {
                known.map_err(Failure::Refused)?;
                if let Some(list) = self.parts(namespace, category, &record).await? {
                    return Ok(list);
                }
                // A newer one has taken its place.
                continue;
            }
            if self.issuer(namespace, category).await?.is_none() {
                return refuse(RevocationListError::Unknown);
            }
            // It is then read like any other, as a certificate may have been withdrawn since.
            let mut making = self.make(&place, namespace, category);
            let made = making.wait_for(Option::is_some).await;
            match made.map(|made| made.clone()) {
                Ok(Some(made)) => made?,
                // The task has panicked, or the server is stopping.
                Ok(None) | Err(_) => return Err(StorageError::from(TooBusy).into()),
            }
        }
    }

    /// Reads a stored CRL, unless it is in memory. `None` if a newer one has taken its place.
    async fn parts(
        &self,
        namespace: &str,
        category: &str,
        latest: &Latest,
    ) -> Result<Option<Arc<Vec<u8>>>, StorageError> {
        let (place, number) = (Latest::key(namespace, category), latest.number);
        let _turn = match self.lists.get(&place, number) {
            Some(list) => return Ok(Some(list)),
            None if latest.parts > 1 => Some(self.lists.reading.lock().await),
            None => None,
        };
        if let Some(list) = self.lists.get(&place, number) {
            return Ok(Some(list));
        }
        let keys = latest.parts(namespace, category);
        let plan = ReadPlan::new(keys.iter().chain([&place]).cloned());
        // As of its creation, when no part had expired.
        let found = self.store.read(plan, latest.made_at).await?;
        let is_latest = |stored: &Stored<Arc<Latest>>| stored.record.number == number;
        if !found.get_shared(&place)?.as_ref().is_some_and(is_latest) {
            return Ok(None);
        }
        let lacks = || damaged(format!("CRL {number} lacks a part"));
        let mut list = Vec::new();
        for key in &keys {
            let part = found.get::<Part>(key)?.ok_or_else(lacks)?.record;
            let der = BASE64.decode(part.der.as_bytes()).map_err(|_| lacks())?;
            list.extend_from_slice(&der);
        }
        list.shrink_to_fit();
        let list = Arc::new(list);
        self.lists.keep(place, number, &list);
        Ok(Some(list))
    }
}

#[cfg(test)]
mod tests {
    use keyproof_store::{Prefix, Record};

    use super::{
        super::super::testing::{furnish, revoke},
        *,
    };
    use crate::{Clock, testing::bench};

    /// A list may have 20 MB in the store, and whoever requests one after each change has another made.
    #[tokio::test]
    async fn only_the_latest_list_is_stored() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let parts = Prefix::collection(Part::TYPE);
        devices.revocation_list("default", "c").await.unwrap();
        let place = Latest::key("default", "c");
        let now = bench.clock.now();
        let first = bench.store.get::<Latest>(&place, now).await.unwrap();
        let first = first.unwrap().record;
        for serial in 0..3 {
            revoke(&bench, serial..serial + 1).await;
            devices.revocation_list("default", "c").await.unwrap();
            assert_eq!(bench.rows(&parts).await.len(), 1);
        }
        // Who has read the first record before it was replaced reads it again.
        let replaced = devices.parts("default", "c", &first).await;
        assert_eq!(replaced, Ok(None));
    }

    #[tokio::test]
    async fn whoever_asks_for_a_list_shares_what_is_in_memory_of_it() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let ask = async || {
            bench.faults.steps();
            let list = devices.revocation_list("default", "c").await.unwrap();
            (list, bench.faults.steps())
        };
        ask().await;
        let (first, steps) = ask().await;
        assert_eq!(steps, 2, "the record and the one part");
        let (second, steps) = ask().await;
        assert_eq!(steps, 1, "the record");
        assert!(Arc::ptr_eq(&first, &second));
        // Another CRL is read anew.
        revoke(&bench, 0..1).await;
        let (third, _) = ask().await;
        let (fourth, _) = ask().await;
        assert_ne!(first, third);
        assert_eq!(third, fourth);
        drop((first, second, third, fourth));
        assert_eq!(ask().await.1, 2, "nothing is kept for nobody");
    }
}
