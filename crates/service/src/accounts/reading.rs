//! Records that a use case reads in one go, from one state of the store, each with its place.

use std::sync::Arc;

use keyproof_store::{Batch, Key, Raw, ReadPlan, Record, Snapshot, Stored, Timestamp};

use super::Accounts;
use crate::{StorageError, audit::Warrant, storage::put};

/// What was read at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    /// The moment.
    pub(super) now: Timestamp,
    found: Snapshot,
}

/// A record's place, and what was there.
pub(super) struct Slot<R> {
    place: Key,
    pub(super) stored: Option<Stored<Arc<R>>>,
}

impl Accounts {
    /// Reads what is at these places.
    pub(super) async fn read(
        &self,
        places: impl IntoIterator<Item = Key>,
    ) -> Result<Reading, StorageError> {
        self.read_plan(ReadPlan::new(places)).await
    }

    /// Reads what is where a plan leads.
    pub(super) async fn read_plan(&self, plan: ReadPlan) -> Result<Reading, StorageError> {
        self.read_at(plan, self.clock.now()).await
    }

    /// The same, of a moment that the plan knows.
    pub(super) async fn read_at(
        &self,
        plan: ReadPlan,
        now: Timestamp,
    ) -> Result<Reading, StorageError> {
        let found = self.store.read(plan, now).await?;
        Ok(Reading { now, found })
    }
}

impl Reading {
    /// The record at this place, which was asked for.
    pub(super) fn slot<R: Record>(&self, place: Key) -> Result<Slot<R>, StorageError> {
        let stored = self.found.get_shared(&place)?;
        Ok(Slot { place, stored })
    }

    /// The record at this place, which was asked for, as what permits a request; nothing if there is none.
    pub(super) fn warrant(&self, place: Key) -> Result<Option<Warrant>, StorageError> {
        let version = self.found.raw(&place)?.map(Raw::version);
        Ok(version.map(|version| Warrant { place, version }))
    }
}

impl<R: Record> Slot<R> {
    /// A place that was not looked at: what is decided without it leaves it as it is.
    pub(super) const fn unread(place: Key) -> Self {
        Self {
            place,
            stored: None,
        }
    }

    pub(super) const fn place(&self) -> &Key {
        &self.place
    }

    pub(super) fn record(&self) -> Option<&R> {
        self.stored.as_ref().map(|stored| &*stored.record)
    }

    /// The same, to be kept for longer.
    pub(super) fn shared(&self) -> Option<&Arc<R>> {
        self.stored.as_ref().map(|stored| &stored.record)
    }

    pub(super) fn into_record(self) -> Option<R> {
        self.stored
            .map(|stored| Arc::unwrap_or_clone(stored.record))
    }

    /// When it ends, if it was there and does.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.stored.as_ref()?.expires_at
    }

    /// It as what permits a request, if it was there.
    pub(super) fn warrant(&self) -> Option<Warrant> {
        self.stored.as_ref().map(|stored| Warrant {
            place: self.place.clone(),
            version: stored.version,
        })
    }

    /// Adds that it is still as it was read, if it was there.
    pub(super) fn require(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.require(&self.place, stored.version);
        }
    }

    /// Adds its end, if it was there.
    pub(super) fn remove(&self, batch: &mut Batch) {
        if let Some(stored) = &self.stored {
            batch.remove(&self.place, stored.version);
        }
    }

    /// Adds this in its place, whether or not it differs.
    pub(super) fn replace(&self, batch: &mut Batch, next: &R, expires_at: Option<Timestamp>) {
        match &self.stored {
            Some(stored) => batch.replace(&self.place, stored.version, next, expires_at),
            None => batch.insert(&self.place, next, expires_at),
        };
    }
}

impl<R: Record + PartialEq> Slot<R> {
    /// Adds what becomes of it: what differs is written over the version that was read, what does not has to be still the
    /// same.
    pub(super) fn put(&self, batch: &mut Batch, next: Option<R>, expires_at: Option<Timestamp>) {
        put(batch, &self.place, self.stored.as_ref(), next, expires_at);
    }
}
