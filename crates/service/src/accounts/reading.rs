//! Reads of several records from one snapshot.

use keyproof_store::{Key, ReadPlan, Snapshot};

use super::{
    Accounts,
    account::owner_of,
    records::{Owner, User, UserName, user_key, user_name_key},
};
use crate::{StorageError, slot::Slot};

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

    /// Reads the user with this name, if there is one, and the record at the key that `beside` returns. For an unknown name, as many
    /// records are read, so that the time does not tell users of one organisation the names of another.
    pub(super) async fn read_named(
        &self,
        name: &str,
        beside: impl Fn(Owner) -> Option<Key> + Send + Sync + 'static,
    ) -> Result<(Snapshot, Option<Slot<User>>), StorageError> {
        let place = user_name_key(name);
        let plan = ReadPlan::new([place.clone()]).then({
            let place = place.clone();
            move |found| {
                let named = found.get_shared::<UserName>(&place)?;
                let owner = owner_of(named.as_ref().map(|named| &*named.record));
                let keys = [Some(user_key(owner)), beside(owner)];
                Ok(keys.into_iter().flatten().collect())
            }
        });
        let reading = self.read_plan(plan).await?;
        let named = reading.get_shared::<UserName>(&place)?;
        let user = named.map(|named| user_key(named.record.owner));
        let user = user.map(|place| Slot::of(&reading, place)).transpose()?;
        Ok((reading, user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accounts::{
            records::{Role, second_factor_key},
            tests::{ADA, BOB, add},
        },
        testing::bench,
    };

    #[tokio::test]
    async fn a_name_that_is_nobodys_is_looked_up_like_one_that_is_known() {
        let bench = bench().await;
        add(&bench, ADA, Role::User).await;
        let accounts = &bench.service.accounts;
        for (name, is_known) in [(ADA, true), (BOB, false)] {
            let beside = |owner| Some(second_factor_key(owner));
            let (reading, user) = accounts.read_named(name, beside).await.unwrap();
            let user = user.as_ref().and_then(Slot::record);
            assert_eq!(user.is_some(), is_known, "{name}");
            let owner = user.map_or(Owner::NOBODY, User::owner);
            for place in [user_key(owner), second_factor_key(owner)] {
                assert!(reading.raw(&place).is_ok(), "{name}: {place}");
            }
        }
    }
}
