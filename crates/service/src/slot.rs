//! A key in the store together with the record that was read there, and reads that follow from a record.

use std::sync::Arc;

use keyproof_mfa::UnixMillis;
use keyproof_store::{Batch, Key, Record, Snapshot, Store, StoreError, Stored, Timestamp, Version};

use crate::{StorageError, audit::Warrant, clock::timestamp};

/// Returns a rule for [`ReadPlan::then`](keyproof_store::ReadPlan::then): once the record at `place` is read, the keys that `next`
/// returns for it are read too.
pub(crate) fn next_keys<R: Record>(
    place: Key,
    next: impl Fn(&R) -> Vec<Key> + Send + Sync + 'static,
) -> impl Fn(&Snapshot) -> Result<Vec<Key>, StoreError> + Send + Sync + 'static {
    move |found: &Snapshot| {
        let stored = found.get_shared::<R>(&place)?;
        Ok(stored.map_or_else(Vec::new, |stored| next(&stored.record)))
    }
}

/// A record's key and the record that was read there, if any.
pub(crate) struct Slot<R> {
    place: Key,
    pub(crate) stored: Option<Stored<Arc<R>>>,
}

impl<R: Record> Slot<R> {
    /// Takes the record at this key from a snapshot that covers it.
    pub(crate) fn of(found: &Snapshot, place: Key) -> Result<Self, StorageError> {
        let stored = found.get_shared(&place)?;
        Ok(Self { place, stored })
    }

    /// Reads the record at this key alone.
    pub(crate) async fn read(
        store: &Store,
        place: Key,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let stored = store.get_shared(&place, now).await?;
        Ok(Self { place, stored })
    }

    /// A slot that was not read. A decision without it leaves its record unchanged.
    pub(crate) const fn unread(place: Key) -> Self {
        Self {
            place,
            stored: None,
        }
    }

    pub(crate) const fn place(&self) -> &Key {
        &self.place
    }

    pub(crate) fn record(&self) -> Option<&R> {
        self.stored.as_ref().map(|stored| &*stored.record)
    }

    /// Returns a shared reference that outlives the slot.
    pub(crate) fn shared(&self) -> Option<&Arc<R>> {
        self.stored.as_ref().map(|stored| &stored.record)
    }

    pub(crate) fn into_record(self) -> Option<R> {
        self.stored
            .map(|stored| Arc::unwrap_or_clone(stored.record))
    }

    /// Returns the version that was read, if the record exists.
    pub(crate) fn version(&self) -> Option<Version> {
        self.stored.as_ref().map(|stored| stored.version)
    }

    /// Returns when the record expires, if it exists and has an expiry.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.stored.as_ref()?.expires_at
    }

    /// Returns the record as the warrant of a request, if it exists.
    pub(crate) fn warrant(&self) -> Option<Warrant> {
        self.stored.as_ref().map(|stored| Warrant {
            place: self.place.clone(),
            version: stored.version,
        })
    }

    /// Requires in the batch that the record is unchanged, if it exists.
    pub(crate) fn require(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.require(&self.place, stored.version);
        }
    }

    /// Like [`require`](Self::require), and also requires that a record which did not exist still does not.
    pub(crate) fn require_as_read(&self, batch: &mut Batch) {
        match &self.stored {
            Some(_) => self.require(batch),
            None => batch.require_absent(&self.place),
        }
    }

    /// Deletes the record in the batch, if it exists.
    pub(crate) fn remove(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.remove(&self.place, stored.version);
        }
    }

    /// Like [`remove`](Self::remove), and also requires that a record which did not exist still does not.
    pub(crate) fn remove_as_read(&self, batch: &mut Batch) {
        match &self.stored {
            Some(_) => self.remove(batch),
            None => batch.require_absent(&self.place),
        }
    }

    /// Writes `next` in the batch, whether or not it differs.
    pub(crate) fn replace(&self, batch: &mut Batch, next: &R, expires_at: Option<Timestamp>) {
        match &self.stored {
            Some(stored) => batch.replace(&self.place, stored.version, next, expires_at),
            None => batch.insert(&self.place, next, expires_at),
        };
    }
}

impl<R: Record + PartialEq> Slot<R> {
    /// Adds the next state to the batch: a changed record is written over the version that was read, an unchanged one is required
    /// to still have that version.
    pub(crate) fn put(&self, batch: &mut Batch, next: Option<R>, expires_at: Option<Timestamp>) {
        match next {
            None => self.remove(batch),
            Some(next) if self.record() == Some(&next) => self.require(batch),
            Some(next) => self.replace(batch, &next, expires_at),
        }
    }

    /// Like [`put`](Self::put), for a record with an expiry of its own, as `keyproof-mfa` returns it.
    pub(crate) fn put_until(
        &self,
        batch: &mut Batch,
        next: Option<R>,
        expires_at: impl FnOnce(&R) -> UnixMillis,
    ) {
        let kept = next.as_ref().map(|record| timestamp(expires_at(record)));
        self.put(batch, next, kept);
    }
}
