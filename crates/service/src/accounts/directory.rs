//! The users of an organisation with their keys, one at a time or in pages.

use std::{collections::BTreeMap, sync::Arc};

use keyproof_store::{Raw, Snapshot, Timestamp};

use super::{
    Accounts, KeySummary, Session, TargetUser, UnknownUser,
    records::{
        Owner, Role, SecondFactor, User, UserStatus, second_factor_key, second_factors_of,
        user_key, users_of,
    },
    user_query::{Listing, UserQuery},
};
use crate::{Failure, StorageError, audit::Subject, pages, slot::Slot};

/// The number of records read at once.
const PAGE: usize = 500;

/// Up to this number, users are processed on the reading thread, because passing them to another costs more.
pub(super) const FEW: usize = pages::PAGE;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// The number within the organisation.
    pub id: u32,
    /// The login name.
    pub name: String,
    /// The organisation's number.
    pub organisation: u32,
    /// The organisation's name.
    pub organisation_name: String,
    /// The user's role.
    pub role: Role,
    /// Whether they may log in.
    pub status: UserStatus,
    /// When the account was created.
    pub created_at: Timestamp,
    /// Their key, if any; `None` also where `shows_key` is `false`.
    pub key: Option<KeySummary>,
    /// Whether the caller may see the key: users see their own, administrators see all.
    pub shows_key: bool,
}

impl UserView {
    pub(super) fn visible_to(mut self, session: &Session) -> Self {
        if !session.may_see_key_of(self.id) {
            self.key = None;
            self.shows_key = false;
        }
        self
    }
}

/// A page of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// The users of the page.
    pub users: Vec<UserView>,
    /// The number of users on all pages.
    pub total: usize,
}

impl Accounts {
    /// Returns users of the session's organisation.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn users(
        &self,
        session: &Session,
        query: &UserQuery,
    ) -> Result<UserPage, StorageError> {
        let organisation = session.owner.organisation;
        let page = self.users_in(organisation, &session.party(), query).await?;
        let seen = page.users.into_iter().map(|user| user.visible_to(session));
        Ok(UserPage {
            users: seen.collect(),
            total: page.total,
        })
    }

    /// Returns users of the organisation with this number, for this party.
    pub(super) async fn users_in(
        &self,
        organisation: u32,
        party: &str,
        query: &UserQuery,
    ) -> Result<UserPage, StorageError> {
        let _place = self.listings.take(party).await?;
        let now = self.clock.now();
        let all = users_of(organisation);
        let mut listing = Listing::of(query.clone());
        let (mut after, mut read) = (None, 0_usize);
        loop {
            let page = self.store.scan_raw(&all, after.as_ref(), PAGE, now).await?;
            let is_short = after.is_none() && page.len() <= FEW;
            let is_last = page.len() < PAGE;
            read = read.saturating_add(page.len());
            after = page.last().map(|last| last.key().clone());
            listing = if is_short {
                listing.with(&page)?
            } else {
                self.cpu_queue.run(move || listing.with(&page)).await??
            };
            if is_last {
                break;
            }
        }
        let (users, total) = listing.into_page();
        // A list may be cached as a whole, and is read for no more than twice as many users as the page has.
        let has_most = (1..=FEW.min(users.len().saturating_mul(2))).contains(&read);
        let keys = if has_most {
            self.keys_of(organisation, now).await?
        } else {
            None
        };
        let mut keys = match keys {
            Some(keys) => keys,
            None => self.keys_of_each(&users, now).await?,
        };
        let users = users.iter();
        let users = users.map(|user| view(user, keys.remove(&user.id)));
        Ok(UserPage {
            users: users.collect(),
            total,
        })
    }

    /// Returns the keys of all users of an organisation, by the user's number; `None` if there are too many for one read.
    async fn keys_of(
        &self,
        organisation: u32,
        now: Timestamp,
    ) -> Result<Option<BTreeMap<u32, KeySummary>>, StorageError> {
        let all = second_factors_of(organisation);
        let found = self.store.scan_raw(&all, None, PAGE, now).await?;
        if found.len() == PAGE {
            return Ok(None);
        }
        Ok(Some(by_user(&found)?))
    }

    /// Returns the keys of these users, by the user's number.
    async fn keys_of_each(
        &self,
        users: &[Arc<User>],
        now: Timestamp,
    ) -> Result<BTreeMap<u32, KeySummary>, StorageError> {
        let places = users.iter().map(|user| second_factor_key(user.owner()));
        let places: Vec<_> = places.collect();
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.store.get_many(&places, now).await?;
        let found: Vec<_> = found.into_iter().flatten().collect();
        by_user(&found)
    }

    /// Returns the user of the session's organisation with this number.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`].
    pub async fn user(&self, session: &Session, id: u32) -> Result<UserView, Failure<UnknownUser>> {
        let owner = session.owner.of(TargetUser::Of(id));
        let reading = self.read([user_key(owner), second_factor_key(owner)]);
        Ok(view_of(owner, &reading.await?)?.visible_to(session))
    }

    /// Returns the user of the session's organisation with this name.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`].
    pub async fn user_named(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<UserView, Failure<UnknownUser>> {
        let beside = |owner| Some(second_factor_key(owner));
        let (reading, user) = self.read_named(name, beside).await?;
        let owner = user.as_ref().and_then(Slot::record).map(User::owner);
        let owner = owner.filter(|owner| owner.organisation == session.owner.organisation);
        let owner = owner.ok_or(Failure::Refused(UnknownUser))?;
        Ok(view_of(owner, &reading)?.visible_to(session))
    }

    /// Returns the user who has this name now, as a subject of the audit trail.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn subject_named(&self, name: &str) -> Result<Option<Subject>, StorageError> {
        let (_, user) = self.read_named(name, |_| None).await?;
        Ok(user.as_ref().and_then(Slot::record).map(User::subject))
    }
}

/// Decodes keys, by the user's number.
fn by_user(found: &[Raw]) -> Result<BTreeMap<u32, KeySummary>, StorageError> {
    let keys = found.iter().map(|raw| {
        let key = raw.decode_shared::<SecondFactor>()?.record;
        Ok((key.user, KeySummary::of(&key)))
    });
    keys.collect()
}

fn view_of(owner: Owner, reading: &Snapshot) -> Result<UserView, Failure<UnknownUser>> {
    let user: Slot<User> = Slot::of(reading, user_key(owner))?;
    let key: Slot<SecondFactor> = Slot::of(reading, second_factor_key(owner))?;
    let user = user.record();
    let user = user.ok_or(Failure::Refused(UnknownUser))?;
    Ok(view(user, key.record().map(KeySummary::of)))
}

pub(super) fn view(user: &User, key: Option<KeySummary>) -> UserView {
    UserView {
        id: user.id,
        name: user.name.clone(),
        organisation: user.organisation,
        organisation_name: user.organisation_name.clone(),
        role: user.role,
        status: user.status,
        created_at: user.created_at,
        key,
        shows_key: true,
    }
}
