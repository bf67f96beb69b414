//! The records of a category's CRL.

use keyproof_store::{Batch, Key, Record, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    super::{DeviceIdentity, Metadata},
    HALF_LIFE, RevocationListError,
};
use crate::{StorageError, clock::APART_AT_MOST, slot::Slot};

/// At `tpm_revocation_list/<namespace>/<category>`: the latest CRL of a category, and whether it is current.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Latest {
    /// The CRL number: greater than all earlier ones, and at least the time when it was made, in milliseconds since the
    /// Unix epoch. 0 if none was made yet.
    pub(super) number: u64,
    /// Its `thisUpdate`, in milliseconds.
    pub(super) made_at: Timestamp,
    /// The number of records that contain it.
    pub(super) parts: u32,
    /// Whether certificates were withdrawn or reinstated since.
    pub(super) is_outdated: bool,
    /// Whether the index contains the certificates that are older than the index.
    pub(super) is_indexed: bool,
    /// When the last attempt found too many entries, if nothing has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) too_many_at: Option<Timestamp>,
}

record!(Latest, "tpm_revocation_list");

impl Latest {
    pub(super) fn key(namespace: &str, category: &str) -> Key {
        Key::new(Self::TYPE, [namespace, category])
    }

    /// Returns the keys of the records that contain the CRL.
    pub(super) fn parts(&self, namespace: &str, category: &str) -> Vec<Key> {
        (0..self.parts)
            .map(|part| Part::key(namespace, category, self.number, part))
            .collect()
    }

    /// Marks the CRL as outdated.
    pub(in super::super) fn outdated(self) -> Self {
        Self {
            is_outdated: true,
            too_many_at: None,
            ..self
        }
    }

    /// Returns the date of the next CRL: now, or that of this one if a server whose clock is ahead has just dated it. Whoever
    /// has both might take the one with the later date for the newer one.
    pub(super) fn next_date(&self, now: Timestamp) -> Timestamp {
        let ahead = self.made_at.saturating_since(now);
        if ahead <= APART_AT_MOST {
            now.max(self.made_at)
        } else {
            now
        }
    }

    /// Returns the result if no CRL need be made: the stored one is current, or there are too many entries.
    pub(super) fn known(&self, now: Timestamp) -> Option<Result<(), RevocationListError>> {
        if self.too_many_at.is_some_and(|at| is_recent(at, now)) {
            return Some(Err(RevocationListError::TooMany));
        }
        let is_in_force = self.number > 0 && !self.is_outdated && is_recent(self.made_at, now);
        is_in_force.then_some(Ok(()))
    }
}

/// Returns whether `moment` is less than [`HALF_LIFE`] ago, or as far ahead as another server's clock may be. A CRL that a clock
/// further ahead has dated is not yet valid for its clients.
fn is_recent(moment: Timestamp, now: Timestamp) -> bool {
    now.saturating_since(moment) < HALF_LIFE && moment.saturating_since(now) <= APART_AT_MOST
}

/// At `tpm_revocation_list_part/<namespace>/<category>/<number>/<part>`: a part of the latest CRL.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Part {
    /// Base64 of this part of the DER.
    pub(super) der: String,
}

record!(Part, "tpm_revocation_list_part");

impl Part {
    pub(super) fn key(namespace: &str, category: &str, number: u64, part: u32) -> Key {
        let (number, part) = (format!("{number:016x}"), format!("{part:04}"));
        Key::new(Self::TYPE, [namespace, category, &number, &part])
    }
}

impl DeviceIdentity {
    /// Adds to a batch that the category's CRL is outdated.
    pub(in super::super) async fn outdate_revocation_list(
        &self,
        batch: &mut Batch,
        namespace: &str,
        category: &str,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let place = Latest::key(namespace, category);
        let slot = Slot::<Latest>::read(&self.store, place, now).await?;
        let latest = slot.record().cloned().unwrap_or_default();
        slot.replace(batch, &latest.outdated(), None);
        Ok(())
    }

    /// Adds to a batch that the CRL of this name, if there is one, is outdated because the category is deleted or
    /// created anew. The CRL numbers continue.
    pub(in super::super) async fn retire_revocation_list(
        &self,
        batch: &mut Batch,
        category: &Metadata,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let place = Latest::key(&category.namespace, &category.name);
        if let Some(known) = self.store.get::<Latest>(&place, now).await? {
            batch.replace(&place, known.version, &known.record.outdated(), None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::START;

    /// Its clients would refuse it, and it would be served until its time has come.
    #[test]
    fn a_list_of_a_clock_that_was_ahead_is_not_served_once_the_clock_is_right() {
        let list = Latest {
            number: 1,
            made_at: START,
            ..Latest::default()
        };
        let none = Latest {
            too_many_at: Some(START),
            ..Latest::default()
        };
        for (ahead, is_known) in [(0, true), (120, true), (121, false), (6 * 60 * 60, false)] {
            let now = START.saturating_sub(Duration::from_secs(ahead));
            assert_eq!(list.known(now).is_some(), is_known, "{ahead} s");
            assert_eq!(none.known(now).is_some(), is_known, "{ahead} s");
        }
    }
}
