//! What is done on the side, again and again, a bounded amount at a time.

use crate::{Clock, StorageError};
use keyproof_store::{CommitError, Store};
use std::{fmt, sync::Arc};

/// Records removed by one batch.
const BATCH: usize = 200;

/// Batches in one go, so that a backlog is worked off without holding up the store's other writers.
const BATCHES: usize = 10;

/// The clean-up of a store.
pub struct Upkeep {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Upkeep {
    /// The clean-up of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Removes what has expired: at most 2000 records a call. Readers take an expired record for absent, so nobody
    /// waits for this. Answers how many went.
    ///
    /// # Errors
    /// [`StorageError`]; the rest stays for the next call.
    pub async fn remove_expired(&self) -> Result<usize, StorageError> {
        let mut removed = 0;
        for _ in 0..BATCHES {
            let now = self.clock.now();
            let expired = self.store.expired(now, BATCH).await?;
            if expired.is_empty() {
                break;
            }
            let mut batch = self.store.batch(now);
            for (key, version) in &expired {
                batch.remove(key, *version);
            }
            match self.store.commit(batch).await {
                Ok(()) => removed += expired.len(),
                // Another server is at the same work, or a record was made anew: the next call sees what is left.
                Err(CommitError::Conflict { .. }) => break,
                Err(error) => return Err(StorageError::NotApplied(error.to_string())),
            }
        }
        Ok(removed)
    }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        otp_devices::Lifetime,
        testing::{bench, origin},
    };
    use keyproof_store::{Prefix, Timestamp};
    use std::time::Duration;

    #[tokio::test]
    async fn expired_records_go_and_others_stay() {
        let bench = bench().await;
        let short = Lifetime::For(Duration::from_secs(1));
        for _ in 0..3 {
            bench.token("shop", "all", short).await;
        }
        let kept = bench.token("shop", "all", Lifetime::Forever).await;
        assert_eq!(bench.service.upkeep.remove_expired().await, Ok(0));
        bench.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
        assert_eq!(bench.service.upkeep.remove_expired().await, Ok(3));
        let tokens = Prefix::collection("login_token");
        let left = bench
            .store
            .scan_raw(&tokens, None, 10, Timestamp::EPOCH)
            .await
            .unwrap();
        assert_eq!(left.len(), 1);
        let devices = &bench.service.otp_devices;
        assert!(
            devices
                .session("shop", Some(&kept), None, &origin())
                .await
                .is_ok()
        );
    }
}
