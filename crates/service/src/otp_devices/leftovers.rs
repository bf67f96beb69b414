//! Clearing away the tokens and devices that a removal or a new password left behind.
//!
//! They are dead already: nothing finds a device without its incarnation, no token passes without its generation, and
//! neither is ever drawn again. So this may stop anywhere, run anywhere, and run twice.

use super::{
    OtpDevices,
    records::{Device, Leftover, LoginToken, all_devices, all_leftovers, all_tokens},
};
use crate::StorageError;
use keyproof_store::{CommitError, Key, Timestamp, Version};

/// Records removed by one batch, and leftovers looked at in one go.
const BATCH: usize = 100;

impl OtpDevices {
    /// Clears away some of what was left behind: a bounded number of records a call. Answers how many went.
    ///
    /// # Errors
    /// [`StorageError`]; the rest stays for the next call.
    pub async fn clear_leftovers(&self) -> Result<usize, StorageError> {
        let now = self.clock.now();
        let mut cleared = 0;
        for (key, stored) in self
            .store
            .scan::<Leftover>(&all_leftovers(), None, BATCH, now)
            .await?
        {
            let mut dead = self.dead_tokens(&stored.record).await?;
            dead.extend(self.dead_devices(&stored.record).await?);
            if dead.is_empty() {
                dead.push((key, stored.version));
            }
            dead.truncate(BATCH);
            cleared += self.remove_all(&dead, now).await?;
        }
        Ok(cleared)
    }

    /// Clears away all of it, where the caller has the time. Whatever fails is logged and stays for the upkeep.
    pub(super) async fn clear_leftovers_now(&self) {
        loop {
            match self.clear_leftovers().await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what is left of an instance is not cleared away yet");
                    return;
                }
            }
        }
    }

    /// At most a batch of the tokens of a dead generation.
    async fn dead_tokens(&self, leftover: &Leftover) -> Result<Vec<(Key, Version)>, StorageError> {
        let prefix = all_tokens(&leftover.instance);
        let mut dead = Vec::new();
        let mut after = None;
        while dead.len() < BATCH {
            let page = self
                .store
                .scan::<LoginToken>(&prefix, after.as_ref(), BATCH, Timestamp::EPOCH)
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            dead.extend(
                page.into_iter()
                    .filter(|(_, token)| token.record.generation == leftover.generation)
                    .map(|(key, token)| (key, token.version)),
            );
        }
        Ok(dead)
    }

    /// At most a batch of the devices of a dead incarnation.
    async fn dead_devices(&self, leftover: &Leftover) -> Result<Vec<(Key, Version)>, StorageError> {
        let Some(incarnation) = &leftover.incarnation else {
            return Ok(Vec::new());
        };
        let prefix = all_devices(&leftover.instance, incarnation);
        let page = self
            .store
            .scan::<Device>(&prefix, None, BATCH, Timestamp::EPOCH)
            .await?;
        Ok(page
            .into_iter()
            .map(|(key, device)| (key, device.version))
            .collect())
    }

    async fn remove_all(
        &self,
        records: &[(Key, Version)],
        now: Timestamp,
    ) -> Result<usize, StorageError> {
        let mut batch = self.store.batch(now);
        for (key, version) in records {
            batch.remove(key, *version);
        }
        match self.store.commit(batch).await {
            Ok(()) => Ok(records.len()),
            // Another process is clearing the same; what it leaves is found by the next call.
            Err(CommitError::Conflict { .. }) => Ok(0),
            Err(error) => Err(StorageError::NotApplied(error.to_string())),
        }
    }
}
