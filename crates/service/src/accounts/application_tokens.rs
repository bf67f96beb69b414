//! Application tokens: what a program shows in place of a user's password and code. It acts for its creator, from
//! certain addresses and for a time, until it is revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use keyproof_store::{Batch, Stored, Timestamp};
use zeroize::Zeroizing;

use super::{
    Accounts, Editor, Person, Session, Undecided, Whose,
    records::{
        ApplicationToken, ApplicationTokenText, Owner, TextPlace, User, application_token_key,
        application_token_text_key, application_tokens_of, user_key,
    },
};
use crate::{
    Action, Failure, Origin, StorageError,
    audit::{Deed, Target},
    pages::Pages,
    slot::Slot,
    storage::{Attempt, refuse, said},
};

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1024;

/// How many tokens a user may have, with those that have ended and are still shown.
const MOST: usize = 1_000;

/// How long one that has ended is still shown.
const SHOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewApplicationToken {
    /// For people to read.
    pub description: Option<String>,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that it is valid for.
    pub network: Option<IpNet>,
}

/// What is to become of a token.
#[derive(Clone, Debug, Default)]
pub struct ApplicationTokenChange {
    /// A new description.
    pub description: Option<String>,
    /// Revoked or not; what is revoked stays so.
    pub is_revoked: Option<bool>,
}

/// A token, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationTokenSummary {
    /// Its number in the organisation.
    pub id: u32,
    /// For people to read.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that it is valid for.
    pub network: Option<IpNet>,
    /// Whether it is revoked.
    pub is_revoked: bool,
    /// The number of the user who made it.
    pub creator: u32,
    /// That user's name.
    pub creator_name: String,
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationTokenState {
    /// Whoever made it is gone or suspended.
    CreatorGone,
    /// It is valid for other addresses only.
    Elsewhere,
    /// Its time is over.
    Expired,
    /// It is revoked.
    Revoked,
    /// There is none like it.
    Unknown,
}

/// Why no token was made. `B` is why there was nothing to make it of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddApplicationTokenError<B> {
    /// The body that was sent is none.
    #[error("the body was refused")]
    Body(B),
    /// The description is too long.
    #[error("a description has at most {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// The user has as many as they may.
    #[error(
        "a user has at most {MOST} application tokens, those that ended in the last 30 days among them"
    )]
    TooMany,
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
}

/// Why a token was not changed. `B` is why there was nothing to change it to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeApplicationTokenError<B> {
    /// The body that was sent is none.
    #[error("the body was refused")]
    Body(B),
    /// It is another's, and the role of who asks allows no more than their own, as an audit event says.
    #[error("not allowed to change this application token")]
    Forbidden,
    /// A revoked token stays revoked.
    #[error("a revoked token stays revoked")]
    Revoked,
    /// The description is too long.
    #[error("a description has at most {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// There is no such token.
    #[error("there is no such application token")]
    Unknown,
}

/// Whether a token is valid, for this address at this time.
pub(super) fn is_valid(
    token: &ApplicationToken,
    address: IpAddr,
    now: Timestamp,
) -> Result<(), ApplicationTokenState> {
    if token.is_revoked {
        Err(ApplicationTokenState::Revoked)
    } else if token.valid_until.is_some_and(|end| now >= end) {
        Err(ApplicationTokenState::Expired)
    } else if token
        .network
        .is_some_and(|network| !network.contains(&address.to_canonical()))
    {
        Err(ApplicationTokenState::Elsewhere)
    } else {
        Ok(())
    }
}

impl Accounts {
    /// Makes a token, whose text is shown this once. What refused the body is told only of a session that may decide.
    ///
    /// # Errors
    ///
    /// [`AddApplicationTokenError`].
    pub async fn add_application_token<B: Clone>(
        &self,
        editor: &Editor,
        new: Result<NewApplicationToken, B>,
    ) -> Result<Zeroizing<String>, Failure<AddApplicationTokenError<B>>> {
        let person = editor.person();
        let organisation = person.session().owner.organisation;
        // Who has how many is looked through.
        let place = self.listings.take(&person.origin().who.party()).await;
        let _place = place.map_err(StorageError::from)?;
        self.settle_for(person, "accounts.add_application_token", || async {
            let (own, creator, reading) = self
                .deciding_over(person, Action::ApplicationTokenAdd, None)
                .await?;
            let new = said(&new, AddApplicationTokenError::Body)?;
            if is_too_long(new.description.as_ref()) {
                return refuse(AddApplicationTokenError::TooLong);
            }
            let now = reading.now();
            if !self.may_have_one_more(&creator, now).await? {
                return refuse(AddApplicationTokenError::TooMany);
            }
            let (token, id) = (self.draw_token(now), self.draw_number());
            let record = ApplicationToken {
                id,
                description: new.description.clone(),
                created_at: now,
                valid_until: new.valid_until,
                network: new.network,
                is_revoked: false,
                creator: creator.id,
                creator_incarnation: creator.incarnation,
                creator_name: creator.name,
                text: TextPlace::of(&token),
            };
            let shown = |end: Timestamp| end.max(now).saturating_add(SHOWN);
            let expires_at = new.valid_until.map(shown);
            let mut batch = self.store.batch(now);
            own.require(&mut batch);
            batch.insert(
                &application_token_key(organisation, id),
                &record,
                expires_at,
            );
            // With the token itself: its number may be drawn again then.
            let text = ApplicationTokenText { organisation, id };
            batch.insert(&application_token_text_key(&token), &text, expires_at);
            let deed = deed(
                Action::ApplicationTokenAdd,
                organisation,
                id,
                person.origin(),
            );
            self.audit.done(&mut batch, now, deed);
            // A conflict is a number that is taken: another is drawn. Or the session has ended.
            Ok(Attempt::Commit(batch, Ok(token.text())))
        })
        .await
    }

    /// Whether a user may have one more token than they have. What has ended without an end of its record, as earlier releases
    /// left it, does not count.
    async fn may_have_one_more(&self, user: &User, now: Timestamp) -> Result<bool, StorageError> {
        let counts = |stored: &Stored<ApplicationToken>| {
            let token = &stored.record;
            is_of(token, user.id, &user.name)
                && (stored.expires_at.is_some()
                    || !(token.is_revoked
                        || token.valid_until.is_some_and(|end| now >= end)
                        || has_ended(token, Some(user))))
        };
        let all = application_tokens_of(user.organisation);
        let mut pages = Pages::<ApplicationToken>::of(&self.store, all);
        let mut count = 0;
        while count < MOST
            && let Some(page) = pages.next(now).await?
        {
            count += page.iter().filter(|(_, stored)| counts(stored)).count();
        }
        Ok(count < MOST)
    }

    /// Puts a token that is revoked now in its place: it is shown for a while, and goes with its text, which may never lead to
    /// another token of its number. Where the text is not known, both stay.
    pub(super) async fn put_revoked(
        &self,
        batch: &mut Batch,
        slot: &Slot<ApplicationToken>,
        revoked: &ApplicationToken,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut expires_at = slot.expires_at();
        if let Some(place) = revoked.text.as_ref().and_then(TextPlace::key) {
            let shown = now.saturating_add(SHOWN);
            let end = expires_at.map_or(shown, |end| end.min(shown));
            expires_at = Some(end);
            let text = self.store.get::<ApplicationTokenText>(&place, now).await?;
            if let Some(text) = text {
                batch.replace(&place, text.version, &text.record, expires_at);
            }
        }
        slot.replace(batch, revoked, expires_at);
        Ok(())
    }

    /// The tokens that the session may see, oldest first: administrators those of their organisation, others their own.
    /// What its creator's removal, suspension or new password by an operator has ended is revoked.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn application_tokens(
        &self,
        session: &Session,
    ) -> Result<Vec<ApplicationTokenSummary>, StorageError> {
        let all = application_tokens_of(session.owner.organisation);
        let now = self.clock.now();
        let mut tokens = Vec::new();
        let mut creators = BTreeMap::new();
        let mut pages = Pages::<ApplicationToken>::of(&self.store, all);
        while let Some(page) = pages.next(now).await? {
            let page = page.into_iter().map(|(_, stored)| stored.record);
            let page: Vec<_> = page
                .filter(|token| session.may_manage_token(token))
                .collect();
            self.add_creators(&mut creators, session, &page).await?;
            tokens.extend(page.into_iter().map(|token| {
                let creator = creators.get(&token.creator);
                summary(token, creator.and_then(Slot::record))
            }));
        }
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Reads those of the tokens' creators that are not known yet.
    async fn add_creators(
        &self,
        known: &mut BTreeMap<u32, Slot<User>>,
        session: &Session,
        tokens: &[ApplicationToken],
    ) -> Result<(), StorageError> {
        let creators = tokens.iter().map(|token| token.creator);
        let new: BTreeSet<_> = creators
            .filter(|creator| !known.contains_key(creator))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let place = |user: &u32| user_key(session.owner_of(Whose::Of(*user)));
        let reading = self.read(new.iter().map(place)).await?;
        for user in new {
            known.insert(user, Slot::of(&reading, place(&user))?);
        }
        Ok(())
    }

    /// Changes a token. What refused the body is told only of a token that is there, and that the person may change.
    ///
    /// # Errors
    ///
    /// [`ChangeApplicationTokenError`].
    pub async fn change_application_token<B: Clone>(
        &self,
        person: &Person,
        id: u32,
        change: Result<ApplicationTokenChange, B>,
    ) -> Result<(), Failure<ChangeApplicationTokenError<B>>> {
        let (session, origin) = (person.session(), person.origin());
        let organisation = session.owner.organisation;
        let place = application_token_key(organisation, id);
        self.settle_for(person, "accounts.change_application_token", || async {
            let deciding =
                self.deciding_over(person, Action::ApplicationTokenChange, [place.clone()]);
            let (own, user, reading) = deciding.await?;
            let slot: Slot<ApplicationToken> = Slot::of(&reading, place.clone())?;
            let token = slot.record();
            let is_permitted = match token {
                Some(token) => session.may_manage_token(token),
                // Observers change nothing but what is their own, whether or not it is there.
                None => session.may_change_organisation(),
            };
            if !is_permitted {
                let why = format!("not their own, and the role is {}", session.role());
                let refused = Deed {
                    detail: Some(why),
                    ..deed(Action::ApplicationTokenChange, organisation, id, origin)
                };
                self.audit.refused(refused).await;
                return refuse(ChangeApplicationTokenError::Forbidden);
            }
            let token = token.ok_or(Failure::Refused(ChangeApplicationTokenError::Unknown))?;
            let change = said(&change, ChangeApplicationTokenError::Body)?;
            if is_too_long(change.description.as_ref()) {
                return refuse(ChangeApplicationTokenError::TooLong);
            }
            if change.is_revoked == Some(false) && self.is_over(token, &user).await? {
                return refuse(ChangeApplicationTokenError::Revoked);
            }
            let revokes = !token.is_revoked && change.is_revoked == Some(true);
            let description = change.description.as_ref().or(token.description.as_ref());
            let next = ApplicationToken {
                description: description.cloned(),
                is_revoked: token.is_revoked || revokes,
                ..token.clone()
            };
            let action = if revokes {
                Action::ApplicationTokenRevoke
            } else {
                Action::ApplicationTokenChange
            };
            let mut batch = self.store.batch(reading.now());
            own.require(&mut batch);
            if revokes {
                self.put_revoked(&mut batch, &slot, &next, reading.now())
                    .await?;
            } else {
                slot.replace(&mut batch, &next, slot.expires_at());
            }
            let deed = deed(action, organisation, id, origin);
            self.audit.done(&mut batch, reading.now(), deed);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Whether it is revoked, or has ended with what an operator did to its creator. That may be this user.
    async fn is_over(&self, token: &ApplicationToken, user: &User) -> Result<bool, StorageError> {
        if token.is_revoked || token.creator == user.id {
            return Ok(token.is_revoked || has_ended(token, Some(user)));
        }
        let creator = Owner {
            organisation: user.organisation,
            user: token.creator,
        };
        let place = user_key(creator);
        let creator = self.store.get::<User>(&place, self.clock.now()).await?;
        let creator = creator.map(|stored| stored.record);
        Ok(has_ended(token, creator.as_ref()))
    }
}

/// Whether this user made it. Their number may have been another's before.
pub(super) fn is_of(token: &ApplicationToken, user: u32, name: &str) -> bool {
    token.creator == user && token.creator_name == name
}

/// Whether it has ended with what an operator did to its creator.
pub(super) fn has_ended(token: &ApplicationToken, creator: Option<&User>) -> bool {
    creator.is_none_or(|creator| creator.incarnation != token.creator_incarnation)
}

fn is_too_long(description: Option<&String>) -> bool {
    description.is_some_and(|text| text.len() > MAX_DESCRIPTION)
}

pub(super) fn deed<'a>(action: Action, organisation: u32, id: u32, origin: &'a Origin) -> Deed<'a> {
    Deed {
        action,
        target: Target::ApplicationToken { organisation, id },
        detail: None,
        origin,
    }
}

pub(super) fn summary(token: ApplicationToken, creator: Option<&User>) -> ApplicationTokenSummary {
    ApplicationTokenSummary {
        is_revoked: token.is_revoked || has_ended(&token, creator),
        id: token.id,
        description: token.description,
        created_at: token.created_at,
        valid_until: token.valid_until,
        network: token.network,
        creator: token.creator,
        creator_name: token.creator_name,
    }
}
