//! Which of the master keys at hand seals: the one that the store names, whoever changed that.
//!
//! A batch that writes a sealed value requires the record by which the store names its keys to be in the state that this
//! process knows, and writes none under another key than that names. So from the moment at which the store names another
//! key nobody writes a value under an older one, neither a new one nor one that was read before.

use std::sync::{PoisonError, RwLock};

use memchr::memmem;

use crate::{
    Batch, Change, CommitError, KeyId, NotApplied, Store, StoreError, Stored, Version,
    fingerprint::{Fingerprint, fingerprint_key},
    seal::{MasterKeys, Prepared},
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
    pub(crate) fn sealing(&self) -> &Prepared {
        self.keys.get_or_first(self.named().sealing)
    }

    /// Why what needs the store's key cannot be done here, if it cannot.
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
            let Some(behind) = behind_mark(body) else {
                continue;
            };
            seals = true;
            if let Some(StoreError::MasterKey { sealing, .. }) = self.keyring.missing() {
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

/// What follows the next sealed value's mark.
fn behind_mark(body: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(body, MARK)?;
    body.get(at + MARK.len()..)
}

/// Whether the value behind a mark and all that follow are under this key, as far as their text tells: it does as serde writes
/// them, and so spares reading a body whose secrets stay as they are.
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

/// Whether what stands behind a mark names its field without an escape, and then this key.
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
    use super::*;
    use crate::{Key, MasterKey, SystemEntropy};

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
            // In a text a quote has a backslash before it.
            (serde_json::to_string(mine).unwrap(), None),
        ] {
            assert_eq!(under(*key, &body), expected, "{body}");
        }
    }
}
