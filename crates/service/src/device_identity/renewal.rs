//! The renewal of category CAs: a new certificate before the old one expires, for the same name and key. Signatures of
//! the CA verify with either certificate.

use std::sync::atomic::Ordering;

use keyproof_store::{Prefix, Stored, Timestamp};

use super::{
    AuthorityError, Category, DeviceIdentity, Kind, Manager, Metadata, Object, objects::new_event,
};
use crate::{
    Action, Failure, Origin, Principal, StorageError,
    pages::Pages,
    storage::{Attempt, transact},
};

impl DeviceIdentity {
    /// Renews the category CAs that expire within six years, and returns how many it renewed. Several servers may run
    /// this at once. A failure for one category is logged and retried the next time.
    ///
    /// # Errors
    ///
    /// [`StorageError`], if the categories cannot be read.
    pub async fn renew_authorities(&self) -> Result<usize, StorageError> {
        let all = Prefix::collection(Category::NAME);
        let mut pages = Pages::<Object<Category>>::of(&self.store, all).at_once(Category::AT_ONCE);
        let mut renewed = 0;
        let mut first: Option<Timestamp> = None;
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (_, Stored { record, .. }) in &page {
                let mut ends = record.spec.authority.ends_at();
                match self.renew_authority(&record.metadata).await {
                    Ok(Some(new)) => {
                        renewed += 1;
                        ends = new;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(
                        namespace = record.metadata.namespace,
                        category = record.metadata.name,
                        %error,
                        "the CA of a category cannot be renewed"
                    ),
                }
                first = Some(first.map_or(ends, |first| first.min(ends)));
            }
        }
        let first = first.map_or(0, Timestamp::as_millis);
        self.authorities_end.store(first, Ordering::Relaxed);
        Ok(renewed)
    }

    /// Returns when the first category CA expires, as of the end of the last
    /// [`renew_authorities`](Self::renew_authorities).
    pub(crate) fn authorities_end(&self) -> Option<Timestamp> {
        let first = self.authorities_end.load(Ordering::Relaxed);
        (first > 0).then(|| Timestamp::from_millis(first))
    }

    /// Renews the CA of a category if it is due. Returns when the new certificate expires; `None` if it was not renewed.
    async fn renew_authority(
        &self,
        of: &Metadata,
    ) -> Result<Option<Timestamp>, Failure<AuthorityError>> {
        let (namespace, name) = (&*of.namespace, &*of.name);
        transact("device_identity.renew_authority", &self.store, || async {
            let now = self.clock.now();
            let Some(category) = self.load::<Category>(namespace, name).await? else {
                return Ok(Attempt::Done(None));
            };
            let manager = self.load::<Manager>(namespace, &category.record.spec.manager);
            let Some(manager) = manager.await? else {
                return Ok(Attempt::Done(None));
            };
            let mut object = category.record;
            let (old, root) = (&object.spec.authority, &manager.record.spec.root);
            if !old.is_to_be_renewed(root, now) {
                return Ok(Attempt::Done(None));
            }
            let new = {
                let (store, old, owner) = (self.store.clone(), old.clone(), of.clone());
                let manager = manager.record.clone();
                self.on_cpu_queue(&Principal::Keyproof, move || {
                    old.renewed(&manager, &store, &owner, now)
                })
            };
            object.spec.authority = new.await?.map_err(Failure::Refused)?;
            object.system.touch(now);
            let ends = object.spec.authority.ends_at();
            let mut batch = self.store.batch(now);
            Object::require(&mut batch, &manager);
            batch.replace(&of.key::<Category>(), category.version, &object, None);
            let detail = Some(format!("the CA {:?}", object.spec.authority.name));
            let origin = Origin::keyproof();
            let new_event = new_event::<Category>(Action::TpmCategoryRenewCa, of, detail, &origin);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(Some(ends))))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::sleep;

    use super::super::testing::furnish;
    use crate::testing::bench;

    /// For example if the server starts during a failover of its database.
    #[tokio::test(start_paused = true)]
    async fn what_expires_is_looked_up_again_soon_if_the_store_did_not_answer() {
        let bench = bench().await;
        furnish(&bench).await;
        let ends = || bench.service.figures().authorities_end;
        bench.faults.fail_reads(true);
        let service = Arc::clone(&bench.service);
        let upkeep = tokio::spawn(async move { service.run_upkeep().await });
        sleep(Duration::from_secs(30)).await;
        assert_eq!(ends(), None);
        bench.faults.fail_reads(false);
        sleep(Duration::from_secs(60)).await;
        upkeep.abort();
        assert!(ends().is_some());
    }
}
