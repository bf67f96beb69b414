//! Which of the master keys at hand seals: the one that the store names, whoever changed that.
//!
//! A batch that writes a sealed value requires the record by which the store names its keys to be in the state that this
//! process knows, and writes none under another key than that names. So from the moment at which the store names another
//! key nobody writes a value under an older one, neither a new one nor one that was read before.

use std::sync::{PoisonError, RwLock};

use zeroize::Zeroizing;

use crate::fingerprint::{Fingerprint, fingerprint_key};
use crate::seal::{MasterKeys, Prepared};
use crate::{
    Batch, Change, CommitError, Entropy, Key, KeyId, NotApplied, Sealed, Store, StoreError, Stored,
    UnsealError, Version,
};

/// The member that every sealed value has, as serde writes it.
const MARK: &[u8] = b"\"$sealed\"";

/// The keys of this process, and what it knows of the store's.
pub(crate) struct Keyring {
    keys: MasterKeys,
    named: RwLock<Named>,
}

/// What the store was last found to name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) sealing: KeyId,
    /// The state of the record that says so; none before the store was opened.
    version: Option<Version>,
}

impl Keyring {
    pub(crate) fn new(keys: MasterKeys) -> Self {
        let sealing = keys.first();
        Self {
            keys,
            named: RwLock::new(Named {
                sealing,
                version: None,
            }),
        }
    }

    pub(crate) fn keys(&self) -> &MasterKeys {
        &self.keys
    }

    pub(crate) fn named(&self) -> Named {
        *self.named.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learn(&self, found: &Stored<Fingerprint>) {
        let named = Named {
            sealing: found.record.sealing,
            version: Some(found.version),
        };
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = named;
    }

    /// The key that seals; where it is not at hand any other, for then nothing that it seals is committed.
    fn sealing(&self) -> &Prepared {
        self.keys.get_or_first(self.named().sealing)
    }

    pub(crate) fn seal(
        &self,
        entropy: &dyn Entropy,
        key: &Key,
        field: &str,
        plaintext: &[u8],
    ) -> Sealed {
        self.sealing().seal(entropy, key, field, plaintext)
    }

    pub(crate) fn open(
        &self,
        key: &Key,
        field: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.keys.open(key, field, sealed)
    }

    /// Why what needs the store's key cannot be done here, if it cannot.
    pub(crate) fn missing(&self) -> Option<StoreError> {
        let sealing = self.named().sealing;
        let given = self.keys.ids();
        (!given.contains(&sealing)).then_some(StoreError::MasterKey { sealing, given })
    }
}

impl Store {
    /// Commits, as [`Store::commit`] says.
    pub(crate) async fn commit_guarded(&self, mut batch: Batch) -> Result<(), CommitError> {
        let Some(guard) = self.guard(&mut batch)? else {
            return self.engine.commit(batch.into_changes()?).await;
        };
        let outcome = self.engine.commit(batch.into_changes()?).await;
        if outcome == Err(CommitError::Conflict { entry: guard }) {
            // Whoever tries again seals under what is named now. If that cannot be learnt, the next try ends as this one.
            let _ = self.learn().await;
        }
        outcome
    }

    /// Finds out which key seals now.
    pub(crate) async fn learn(&self) -> Result<(), StoreError> {
        if let Some(found) = self.fingerprint().await? {
            self.keyring.learn(&found);
        }
        Ok(())
    }

    /// Where the batch writes sealed values: lets all of them be under the key that seals, and adds that it is still that.
    /// Gives that entry's index.
    fn guard(&self, batch: &mut Batch) -> Result<Option<usize>, NotApplied> {
        let named = self.keyring.named();
        let mut seals = false;
        for (key, body) in batch.bodies() {
            if !body.windows(MARK.len()).any(|window| window == MARK) {
                continue;
            }
            seals = true;
            if let Some(StoreError::MasterKey { sealing, .. }) = self.keyring.missing() {
                return Err(NotApplied::MasterKey { sealing });
            }
            if let Some(resealed) = self.resealed(key, body, named.sealing)? {
                *body = resealed.into();
            }
        }
        match named.version {
            Some(version) if seals => Ok(Some(
                batch.push(&fingerprint_key(), Change::Require { at: version }),
            )),
            _ => Ok(None),
        }
    }
}
