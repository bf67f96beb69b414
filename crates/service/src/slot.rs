//! A place of the store, with what was read there and what becomes of it.

use std::sync::Arc;

use keyproof_store::{Batch, Key, Record, Snapshot, Store, Stored, Timestamp};

use crate::{StorageError, audit::Warrant, storage::put};

/// A record's place, and what was there.
pub(crate) struct Slot<R> {
    place: Key,
    pub(crate) stored: Option<Stored<Arc<R>>>,
}

impl<R: Record> Slot<R> {
    /// The record at this place, which was asked for.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) fn of(found: &Snapshot, place: Key) -> Result<Self, StorageError> {
        let stored = found.get_shared(&place)?;
        Ok(Self { place, stored })
    }

    /// The record at this place, which nothing else is read with.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn read(
        store: &Store,
        place: Key,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let stored = store.get_shared(&place, now).await?;
        Ok(Self { place, stored })
    }

    /// A place that was not looked at: what is decided without it leaves it as it is.
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

    /// The same, to be kept for longer.
    pub(crate) fn shared(&self) -> Option<&Arc<R>> {
        self.stored.as_ref().map(|stored| &stored.record)
    }

    pub(crate) fn into_record(self) -> Option<R> {
        self.stored
            .map(|stored| Arc::unwrap_or_clone(stored.record))
    }

    /// When it ends, if it was there and does.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.stored.as_ref()?.expires_at
    }

    /// It as what permits a request, if it was there.
    pub(crate) fn warrant(&self) -> Option<Warrant> {
        self.stored.as_ref().map(|stored| Warrant {
            place: self.place.clone(),
            version: stored.version,
        })
    }

    /// Adds that it is still as it was read, if it was there.
    pub(crate) fn require(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.require(&self.place, stored.version);
        }
    }

    /// Adds its end, if it was there.
    pub(crate) fn remove(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.remove(&self.place, stored.version);
        }
    }

    /// Adds this in its place, whether or not it differs.
    pub(crate) fn replace(&self, batch: &mut Batch, next: &R, expires_at: Option<Timestamp>) {
        match &self.stored {
            Some(stored) => batch.replace(&self.place, stored.version, next, expires_at),
            None => batch.insert(&self.place, next, expires_at),
        };
    }
}

impl<R: Record + PartialEq> Slot<R> {
    /// Adds what becomes of it: what differs is written over the version that was read, what does not has to be still the
    /// same.
    pub(crate) fn put(&self, batch: &mut Batch, next: Option<R>, expires_at: Option<Timestamp>) {
        put(batch, &self.place, self.stored.as_ref(), next, expires_at);
    }
}
