//! The users of an organisation, with their keys: one by one, and in pages.

use super::{
    Accounts, KeySummary, Session, Whose,
    records::{
        Owner, Role, SecondFactor, User, UserName, UserStatus, second_factor_key, user_key,
        user_name_key, users_of,
    },
    snapshot::decode,
    user_query::{Listing, UserQuery},
};
use crate::{Failure, StorageError};
use keyproof_store::{Prefix, Record, Timestamp};

/// Records read at once.
const PAGE: usize = 500;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Their number in the organisation.
    pub id: u32,
    /// The name they log in with.
    pub name: String,
    /// The organisation's number.
    pub organisation: u32,
    /// The organisation's name.
    pub organisation_name: String,
    /// What they may do.
    pub role: Role,
    /// Whether they may log in.
    pub status: UserStatus,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Their key, if any.
    pub key: Option<KeySummary>,
}

/// A page of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// Those of the page.
    pub users: Vec<UserView>,
    /// How many there are on all pages.
    pub total: usize,
}

/// Why there is no such user to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// There is none in the session's organisation.
    #[error("there is no such user")]
    Unknown,
}

impl Accounts {
    /// Users of the session's organisation.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn users(
        &self,
        session: &Session,
        query: &UserQuery,
    ) -> Result<UserPage, StorageError> {
        let now = self.clock.now();
        let all = users_of(session.owner.organisation);
        let mut listing = Listing::of(query.clone());
        let mut after = None;
        loop {
            let page = self.store.scan_raw(&all, after.as_ref(), PAGE, now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key().clone());
            listing = self.judging.run(move || listing.with(&page)).await??;
        }
        let mut page = listing.into_page();
        self.add_keys(&mut page.users).await?;
        Ok(page)
    }

    async fn add_keys(&self, users: &mut [UserView]) -> Result<(), StorageError> {
        let keys: Vec<_> = users
            .iter()
            .map(|user| {
                second_factor_key(Owner {
                    organisation: user.organisation,
                    user: user.id,
                })
            })
            .collect();
        let found = self.store.get_many(&keys, self.clock.now()).await?;
        for (user, raw) in users.iter_mut().zip(found) {
            let key = raw.map(|raw| raw.decode::<SecondFactor>()).transpose()?;
            user.key = key.map(|stored| KeySummary::of(&stored.record));
        }
        Ok(())
    }

    /// The user of this number.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn user(
        &self,
        session: &Session,
        id: u32,
    ) -> Result<UserView, Failure<DirectoryError>> {
        self.view_of(session.owner_of(Whose::Of(id))).await
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn user_named(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<UserView, Failure<DirectoryError>> {
        let now = self.clock.now();
        let named = self
            .store
            .get::<UserName>(&user_name_key(name), now)
            .await?;
        let owner = named
            .map(|named| named.record.owner)
            .filter(|owner| owner.organisation == session.owner.organisation);
        self.view_of(owner.ok_or(Failure::Refused(DirectoryError::Unknown))?)
            .await
    }

    async fn view_of(&self, owner: Owner) -> Result<UserView, Failure<DirectoryError>> {
        let keys = [user_key(owner), second_factor_key(owner)];
        let found = self.store.get_many(&keys, self.clock.now()).await?;
        let mut found = found.into_iter();
        let mut next = || found.next().flatten();
        let user = decode::<User>(next())?.ok_or(Failure::Refused(DirectoryError::Unknown))?;
        let key = decode::<SecondFactor>(next())?;
        Ok(view(
            user.record,
            key.map(|key| KeySummary::of(&key.record)),
        ))
    }

    /// Every record under a prefix.
    pub(super) async fn all<R: Record>(&self, prefix: &Prefix) -> Result<Vec<R>, StorageError> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .store
                .scan::<R>(prefix, after.as_ref(), PAGE, now)
                .await?;
            let Some((last, _)) = page.last() else {
                return Ok(records);
            };
            after = Some(last.clone());
            records.extend(page.into_iter().map(|(_, stored)| stored.record));
        }
    }
}

pub(super) fn view(user: User, key: Option<KeySummary>) -> UserView {
    UserView {
        id: user.id,
        name: user.name,
        organisation: user.organisation,
        organisation_name: user.organisation_name,
        role: user.role,
        status: user.status,
        created_at: user.created_at,
        key,
    }
}
