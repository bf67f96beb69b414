//! The record by which a store knows its master keys, and refuses others.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    CommitError, Key, KeyId, OpenError, Record, Store, StoreError, Stored, Timestamp, fill::Filling,
};

/// Under which master keys the store's secrets are sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// The key that new secrets are sealed under.
    pub(crate) sealing: KeyId,
    /// Earlier keys, under which some secrets still are.
    pub(crate) opening: Vec<KeyId>,
    /// The key that is to seal next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<KeyId>,
}

impl Fingerprint {
    /// Those without which something does not open.
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
    static PLACE: LazyLock<Key> = LazyLock::new(|| Key::new("$store", ["master_key"]));
    PLACE.clone()
}

impl Store {
    /// Makes an empty store's fingerprint name our first key, and compares any other's with ours; false if somebody else
    /// changed it meanwhile.
    pub(crate) async fn claim(&self, now: Timestamp) -> Result<bool, OpenError> {
        let key = fingerprint_key();
        let mut batch = self.batch(now);
        match self.fingerprint_at_open().await? {
            None if self.engine.is_empty().await? => {
                let new = Fingerprint {
                    sealing: self.keyring.keys().first(),
                    opening: Vec::new(),
                    next: None,
                };
                batch.insert(&key, &new, None);
            }
            // Another node may have written it, and records, since it was looked for.
            None => match self.fingerprint_at_open().await? {
                None => return Err(OpenError::MissingFingerprint),
                Some(_) => return Ok(false),
            },
            Some(Stored { record, .. }) => {
                let (sealed, given) = (record.ids(), self.keyring.keys().ids());
                return if sealed.iter().all(|id| given.contains(id)) {
                    Ok(true)
                } else {
                    Err(OpenError::MasterKey { sealed, given })
                };
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

    /// It never expires, so any time will do.
    pub(crate) async fn fingerprint(&self) -> Result<Option<Stored<Fingerprint>>, StoreError> {
        self.get(&fingerprint_key(), Timestamp::EPOCH).await
    }
}
