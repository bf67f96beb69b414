//! The record by which a store knows its master keys, and refuses others.

use serde::{Deserialize, Serialize};

use crate::fill::Filling;
use crate::{CommitError, Key, KeyId, OpenError, Record, Store, StoreError, Stored, Timestamp};

/// Under which master keys the store's secrets are sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// The key that new secrets are sealed under.
    sealing: KeyId,
    /// Earlier keys, under which some secrets still are.
    opening: Vec<KeyId>,
}

impl Fingerprint {
    fn ids(&self) -> Vec<KeyId> {
        std::iter::once(self.sealing)
            .chain(self.opening.iter().copied())
            .collect()
    }
}

impl Record for Fingerprint {
    const TYPE: &'static str = "master_key_fingerprint";
    const VERSION: u32 = 1;
}

/// `$` keeps it apart from every collection of an embedder.
pub(crate) fn fingerprint_key() -> Key {
    Key::new("$store", ["master_key"])
}

impl Store {
    /// Makes the store's fingerprint name our current key, if it names no others than ours; false
    /// if somebody else changed it meanwhile.
    pub(crate) async fn claim(&self, now: Timestamp) -> Result<bool, OpenError> {
        let key = fingerprint_key();
        let mut batch = self.batch(now);
        match self.fingerprint_at_open().await? {
            None if self.engine.is_empty().await? => {
                let new = Fingerprint {
                    sealing: self.keys.current(),
                    opening: Vec::new(),
                };
                batch.insert(&key, &new, None);
            }
            // Another node may have written it, and records, since it was looked for.
            None => match self.fingerprint_at_open().await? {
                None => return Err(OpenError::MissingFingerprint),
                Some(_) => return Ok(false),
            },
            Some(Stored {
                record, version, ..
            }) => {
                let (sealed, given) = (record.ids(), self.keys.ids());
                if !sealed.iter().all(|id| given.contains(id)) {
                    return Err(OpenError::MasterKey { sealed, given });
                }
                if sealed.contains(&self.keys.current()) {
                    return Ok(true);
                }
                let next = Fingerprint {
                    sealing: self.keys.current(),
                    opening: sealed,
                };
                batch.replace(&key, version, &next, None);
            }
        }
        match self.commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a store that is being filled, which has another record there, from one that is damaged.
    async fn fingerprint_at_open(&self) -> Result<Option<Stored<Fingerprint>>, OpenError> {
        match self.fingerprint().await {
            Err(StoreError::WrongType { found, .. }) if found == Filling::TYPE => {
                let place = fingerprint_key();
                let filling = self.get::<Filling>(&place, Timestamp::EPOCH).await;
                let filling = filling.map_err(OpenError::Fingerprint)?;
                let from = filling.map(|filling| filling.record.from);
                Err(OpenError::Unfinished {
                    from: from.unwrap_or_default(),
                })
            }
            found => found.map_err(OpenError::Fingerprint),
        }
    }

    /// Strikes all keys but the current one from `fingerprint`. It commits even if there is none to be struck: the others
    /// are thrown away now, and whoever sealed the last secret again may have failed to learn whether that lasts.
    pub(crate) async fn disclaim_older(
        &self,
        fingerprint: Stored<Fingerprint>,
    ) -> Result<(), CommitError> {
        let struck = Fingerprint {
            sealing: self.keys.current(),
            opening: Vec::new(),
        };
        let (key, at) = (fingerprint_key(), fingerprint.version);
        let mut batch = self.batch(Timestamp::EPOCH);
        if fingerprint.record.ids() == struck.ids() {
            batch.require(&key, at);
        } else {
            batch.replace(&key, at, &struck, None);
        }
        self.commit(batch).await
    }

    /// It never expires, so any time will do.
    pub(crate) async fn fingerprint(&self) -> Result<Option<Stored<Fingerprint>>, StoreError> {
        self.get(&fingerprint_key(), Timestamp::EPOCH).await
    }
}
