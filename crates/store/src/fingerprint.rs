//! The record that names a store's master keys, so that others are rejected.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    CommitError, Key, KeyId, OpenError, Record, Rotation, Store, StoreError, Stored, Timestamp,
    fill::Filling,
};

/// The master keys that the store's secrets are sealed under.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// The key that new secrets are sealed under.
    pub(crate) sealing: KeyId,
    /// Earlier keys that still seal some secrets.
    pub(crate) opening: Vec<KeyId>,
    /// The key that a rotation switches to next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<KeyId>,
}

impl Record for Fingerprint {
    const TYPE: &'static str = "master_key_fingerprint";
    const VERSION: u32 = 1;
}

/// `$` keeps it apart from an embedder's collections.
pub(crate) fn fingerprint_key() -> Key {
    static PLACE: LazyLock<Key> = LazyLock::new(|| Key::new("$store", ["master_key"]));
    PLACE.clone()
}

impl Store {
    /// Writes the fingerprint of an empty store, naming our first key, or compares an existing one with our keys.
    /// Returns `false` if it was changed concurrently.
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
            // Another node may have written it, and records, since it was read.
            None => match self.fingerprint_at_open().await? {
                None => return Err(OpenError::MissingFingerprint),
                Some(_) => return Ok(false),
            },
            Some(Stored { record, .. }) => {
                let sealed = Rotation::from(record).needed();
                let given = self.keyring.keys().ids();
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

    /// Reads the fingerprint, and reports a store that is being filled as such instead of as damaged.
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
