//! The users of an organisation with their keys, one at a time or in pages.

use std::sync::Arc;

use keyproof_store::{Raw, Snapshot, Timestamp};

use super::{
    Accounts, KeySummary, Session, TargetUser, UnknownUser,
    records::{Owner, Role, SecondFactor, User, UserStatus, second_factor_key, user_key, users_of},
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
        let mut after = None;
        loop {
            let page = self.store.scan_raw(&all, after.as_ref(), PAGE, now).await?;
            let is_short = after.is_none() && page.len() <= FEW;
            let is_last = page.len() < PAGE;
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
        let users = self.with_keys(&users, now).await?;
        Ok(UserPage { users, total })
    }

    /// Returns these users with their keys, which are read in one go.
    async fn with_keys(
        &self,
        users: &[Arc<User>],
        now: Timestamp,
    ) -> Result<Vec<UserView>, StorageError> {
        let places: Vec<_> = users
            .iter()
            .map(|user| second_factor_key(user.owner()))
            .collect();
        let keys = if places.is_empty() {
            Vec::new()
        } else {
            self.store.get_many(&places, now).await?
        };
        let views = users.iter().zip(keys).map(|(user, key)| {
            let key = key.as_ref().map(Raw::decode_shared::<SecondFactor>);
            let key = key.transpose()?;
            let key = key.map(|key| KeySummary::of(&key.record));
            Ok(view(user, key))
        });
        views.collect()
    }

    /// Returns the user of the session's organisation with this number.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`].
    pub async fn user(&self, session: &Session, id: u32) -> Result<UserView, Failure<UnknownUser>> {
        let owner = session.owner_of(TargetUser::Of(id));
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
