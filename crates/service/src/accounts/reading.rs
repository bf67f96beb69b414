//! Records that a use case reads in one go, from one state of the store, each with its place.

use keyproof_store::{Key, Raw, ReadPlan, Record, Snapshot, Timestamp};

use super::{
    Accounts,
    records::{Owner, User, UserName, user_key, user_name_key},
};
pub(super) use crate::slot::Slot;
use crate::{StorageError, audit::Warrant};

/// What was read at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    /// The moment.
    pub(super) now: Timestamp,
    found: Snapshot,
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

    /// Reads the user of this name, if there is one, with what is beside them.
    pub(super) async fn read_named(
        &self,
        name: &str,
        beside: impl Fn(Owner) -> Option<Key> + Send + Sync + 'static,
    ) -> Result<(Reading, Option<Slot<User>>), StorageError> {
        let place = user_name_key(name);
        let plan = ReadPlan::new([place.clone()]).then({
            let place = place.clone();
            move |found| {
                let named = found.get_shared::<UserName>(&place)?;
                let owner = named.map(|named| named.record.owner);
                let places = owner.map(|owner| [Some(user_key(owner)), beside(owner)]);
                Ok(places.into_iter().flatten().flatten().collect())
            }
        });
        let reading = self.read_plan(plan).await?;
        let named: Slot<UserName> = reading.slot(place)?;
        let user = named.record().map(|named| user_key(named.owner));
        let user = user.map(|place| reading.slot(place)).transpose()?;
        Ok((reading, user))
    }

    /// The same as [`read_plan`](Self::read_plan), of a moment that the plan knows.
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
        Slot::of(&self.found, place)
    }

    /// The record at this place, which was asked for, as what permits a request; nothing if there is none.
    pub(super) fn warrant(&self, place: Key) -> Result<Option<Warrant>, StorageError> {
        let version = self.found.raw(&place)?.map(Raw::version);
        Ok(version.map(|version| Warrant { place, version }))
    }
}
