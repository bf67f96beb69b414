//! Which of the given master keys seals: the one that the store names, whichever node changed it.
//!
//! A batch that writes a sealed value seals under the key that this process last read from the store's fingerprint, and
//! requires that the fingerprint is still at that version. So once the store names another key, no node writes a value
//! under an older one, whether the value is new or was read earlier.

use std::sync::{PoisonError, RwLock};

use memchr::memmem;

use crate::{
    Batch, Change, CommitError, KeyId, NotApplied, Store, StoreError, Stored, Version,
    fingerprint::{Fingerprint, fingerprint_key},
    seal::{MasterKeys, Prepared},
};

/// The member that every sealed value has, as serde writes it.
const MARK: &[u8] = b"\"$sealed\"";

/// The keys of this process, and what it last read about the store's.
pub(crate) struct Keyring {
    keys: MasterKeys,
    named: RwLock<Named>,
}

/// The key that the store's fingerprint named when it was last read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) sealing: KeyId,
    /// The fingerprint's version; `None` before the store was opened.
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

    /// The key that seals. If it was not given, returns any other; nothing sealed under that one is ever committed.
    pub(crate) fn sealing(&self) -> &Prepared {
        self.keys.get_or_first(self.named().sealing)
    }

    /// Returns an error if the store's key was not given.
    pub(crate) fn missing(&self) -> Option<StoreError> {
        let sealing = self.named().sealing;
        let is_given = self.keys.has(sealing);
        (!is_given).then(|| StoreError::MasterKey {
            sealing,
            given: self.keys.ids(),
        })
    }
}

impl Store {
    /// Commits, as [`Store::commit`] specifies.
    pub(crate) async fn commit_guarded(&self, mut batch: Batch) -> Result<(), CommitError> {
        let Some(guard) = self.guard(&mut batch)? else {
            return self.engine.commit(batch.into_changes()?).await;
        };
        let outcome = self.engine.commit(batch.into_changes()?).await;
        if outcome == Err(CommitError::Conflict { entry: guard }) {
            // The next attempt then seals under the current key. If it cannot be read, the next attempt conflicts
            // again.
            let _ = self.learn().await;
        }
        outcome
    }

    /// Reads which key seals now.
    pub(crate) async fn learn(&self) -> Result<(), StoreError> {
        if let Some(found) = self.fingerprint().await? {
            self.keyring.learn(&found);
        }
        Ok(())
    }

    /// If the batch writes sealed values: seals all of them under the current key, and adds a requirement that it is
    /// still current. Returns the index of that entry.
    fn guard(&self, batch: &mut Batch) -> Result<Option<usize>, NotApplied> {
        let named = self.keyring.named();
        let mut seals = false;
        for (key, body) in batch.bodies() {
            let Some(behind) = behind_mark(body) else {
                continue;
            };
            seals = true;
            if !self.keyring.keys().has(named.sealing) {
                let sealing = named.sealing;
                return Err(NotApplied::MasterKey { sealing });
            }
            if all_under(behind, named.sealing) {
                continue;
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

/// Returns what follows the mark of the next sealed value.
fn behind_mark(body: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(body, MARK)?;
    body.get(at + MARK.len()..)
}

/// Whether the value behind a mark and all later ones are under this key, judging by their text as serde writes it.
/// That saves parsing a body whose secrets need no change.
fn all_under(mut behind: &[u8], sealing: KeyId) -> bool {
    let sealing = sealing.to_string();
    loop {
        if !is_under(behind, sealing.as_bytes()) {
            return false;
        }
        match behind_mark(behind) {
            Some(next) => behind = next,
            None => return true,
        }
    }
}

/// Whether the text behind a mark has a field name without escapes, followed by this key.
fn is_under(behind: &[u8], sealing: &[u8]) -> bool {
    let key = || {
        let field = behind.strip_prefix(br#":{"field":""#)?;
        let mut bytes = field.iter();
        let end = bytes.position(|byte| matches!(byte, b'"' | b'\\'))?;
        field.get(end..)?.strip_prefix(br#"","key":""#)
    };
    let rest = key().and_then(|key| key.strip_prefix(sealing));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Key, MasterKey, Sealed, SystemEntropy, Timestamp, memory::MemoryEngine};

    #[test]
    fn a_body_is_not_read_if_its_text_says_that_all_is_under_the_key() {
        let entropy = SystemEntropy::new();
        let keys = [(); 2].map(|()| MasterKey::generate(&entropy));
        let place = Key::new("case", ["_"]);
        let [ours, theirs] = keys.map(|key| {
            let keyring = Keyring::new(MasterKeys::new(&key));
            let sealed = keyring.sealing().seal(&entropy, &place, "field", b"secret");
            (key.id(), serde_json::to_string(&sealed).unwrap())
        });
        let under =
            |key: KeyId, body: &str| behind_mark(body.as_bytes()).map(|it| all_under(it, key));
        let (key, mine) = &ours;
        let (_, foreign) = &theirs;
        let spaced = mine.replace("\"key\":", "\"key\": ");
        for (body, expected) in [
            (mine.clone(), Some(true)),
            (format!("[{mine},{mine}]"), Some(true)),
            (format!("[{mine},{foreign}]"), Some(false)),
            (format!("[{foreign},{mine}]"), Some(false)),
            (mine.replace("field\":\"", "field\":\"\\\""), Some(false)),
            (spaced, Some(false)),
            // Inside a JSON string, a quote is preceded by a backslash.
            (serde_json::to_string(mine).unwrap(), None),
        ] {
            assert_eq!(under(*key, &body), expected, "{body}");
        }
    }

    /// While a batch is sealed again, a read of the fingerprint that began before the switch may end, after one that
    /// began later. For a moment this process then seals under the former key again.
    #[tokio::test]
    async fn a_value_is_sealed_again_under_the_key_that_its_batch_requires() {
        let entropy = Arc::new(SystemEntropy::new());
        let [former, current] = [(); 2].map(|()| MasterKey::generate(&*entropy));
        let keys = MasterKeys::new(&former).with(&current);
        let engine = Arc::new(MemoryEngine::new());
        let store = Store::open(engine, keys, entropy, Timestamp::from_secs(1)).await;
        let store = store.unwrap();
        let place = Key::new("case", ["_"]);
        let body = serde_json::to_vec(&store.seal(&place, "field", b"secret")).unwrap();
        assert_eq!(store.sealing_key(), former.id());
        let resealed = store.resealed(&place, &body, current.id()).unwrap();
        let resealed: Sealed = serde_json::from_slice(&resealed.unwrap()).unwrap();
        assert_eq!(resealed.master_key(), current.id());
        let opened = store.unseal(&place, "field", &resealed).unwrap();
        assert_eq!(opened.as_slice(), b"secret");
    }
}
