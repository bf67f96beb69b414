//! Reads of several records from one snapshot.

use keyproof_store::{Key, ReadPlan, Snapshot};

use super::{
    Accounts,
    records::{Owner, User, UserName, user_key, user_name_key},
};
use crate::{
    StorageError,
    slot::{Slot, next_keys},
};

impl Accounts {
    /// Reads the records at these keys.
    pub(super) async fn read(
        &self,
        places: impl IntoIterator<Item = Key>,
    ) -> Result<Snapshot, StorageError> {
        self.read_plan(ReadPlan::new(places)).await
    }

    /// Reads the records that a plan leads to.
    pub(super) async fn read_plan(&self, plan: ReadPlan) -> Result<Snapshot, StorageError> {
        Ok(self.store.read(plan, self.clock.now()).await?)
    }

    /// Reads the user with this name, if there is one, and the record at the key that `beside` returns.
    pub(super) async fn read_named(
        &self,
        name: &str,
        beside: impl Fn(Owner) -> Option<Key> + Send + Sync + 'static,
    ) -> Result<(Snapshot, Option<Slot<User>>), StorageError> {
        let place = user_name_key(name);
        let keys = move |named: &UserName| {
            let keys = [Some(user_key(named.owner)), beside(named.owner)];
            keys.into_iter().flatten().collect()
        };
        let plan = ReadPlan::new([place.clone()]).then(next_keys(place.clone(), keys));
        let reading = self.read_plan(plan).await?;
        let named = reading.get_shared::<UserName>(&place)?;
        let user = named.map(|named| user_key(named.record.owner));
        let user = user.map(|place| Slot::of(&reading, place)).transpose()?;
        Ok((reading, user))
    }
}
