//! Application tokens, which a program presents instead of a user's password and code. A token acts for its creator, from certain
//! addresses and for a limited time, until it is revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use keyproof_store::{Stored, Timestamp};
use zeroize::Zeroizing;

use super::{
    Accounts, Editor, Person, Session, SessionRefused,
    ended_tokens::shown_after,
    records::{
        ApplicationToken, ApplicationTokenText, Owner, TextPlace, User, application_token_key,
        application_token_text_key, application_tokens_of, user_key,
    },
};
use crate::{
    Action, Failure, Origin, StorageError,
    audit::{NewEvent, Target},
    pages::{PAGE, Pages},
    slot::Slot,
    storage::{Attempt, refuse, require_body},
};

/// The maximum length of a description, in bytes.
const MAX_DESCRIPTION: usize = 1024;

/// The maximum number of a user's tokens, including ended ones that are still listed.
const MOST: usize = 1_000;

/// A new token.
#[derive(Clone, Debug, Default)]
pub struct NewApplicationToken {
    /// A description for people.
    pub description: Option<String>,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that may use the token.
    pub network: Option<IpNet>,
}

/// A change to a token.
#[derive(Clone, Debug, Default)]
pub struct ApplicationTokenChange {
    /// A new description.
    pub description: Option<String>,
    /// Whether to revoke the token. A revoked token stays revoked.
    pub is_revoked: Option<bool>,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationTokenSummary {
    /// The number within the organisation.
    pub id: u32,
    /// A description for people.
    pub description: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that may use the token.
    pub network: Option<IpNet>,
    /// Whether it is revoked.
    pub is_revoked: bool,
    /// The creator's number.
    pub creator: u32,
    /// The creator's name.
    pub creator_name: String,
}

/// The reason why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationTokenState {
    /// Its creator was removed or suspended.
    CreatorGone,
    /// It is not valid for this address.
    Elsewhere,
    /// It has expired.
    Expired,
    /// It is revoked.
    Revoked,
    /// There is no such token.
    Unknown,
}

/// The error when no token is created. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddApplicationTokenError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// The description is too long.
    #[error("a description has at most {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// The user has the maximum number of tokens.
    #[error(
        "a user has at most {MOST} application tokens, those that ended in the last 30 days among them"
    )]
    TooMany,
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
}

/// The error when a token is not changed. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeApplicationTokenError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// The token is another user's and the caller's role covers only their own. An audit event records this.
    #[error("not allowed to change this application token")]
    Forbidden,
    /// The token is revoked, which cannot be undone.
    #[error("a revoked token stays revoked")]
    Revoked,
    /// The description is too long.
    #[error("a description has at most {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// The session may not manage this.
    #[error(transparent)]
    SessionRefused(#[from] SessionRefused),
    /// There is no such token.
    #[error("there is no such application token")]
    Unknown,
}

/// Checks that a token is valid for this address at this time.
pub(super) fn is_valid(
    token: &ApplicationToken,
    address: IpAddr,
    now: Timestamp,
) -> Result<(), ApplicationTokenState> {
    if token.is_revoked {
        Err(ApplicationTokenState::Revoked)
    } else if token.is_expired(now) {
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
    /// Creates a token and returns its text, which is shown only once. An unreadable body is reported only to a session that may
    /// manage tokens.
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
        // The user's tokens are listed to count them.
        let place = self.listings.take(&person.origin().who.party()).await;
        let _place = place.map_err(StorageError::from)?;
        self.transact_for(person, "accounts.add_application_token", || async {
            let (own, creator, reading) = self
                .authorized_with(person, Action::ApplicationTokenAdd, None)
                .await?;
            let new = require_body(&new, AddApplicationTokenError::Body)?;
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
                creator_name: creator.name.clone(),
                text: TextPlace::of(&token),
            };
            let expires_at = new.valid_until.map(|end| shown_after(end.max(now)));
            let mut batch = self.store.batch(now);
            // Written anew, so that of two tokens counted for at the same time one is counted again.
            own.replace(&mut batch, &creator, own.expires_at());
            batch.insert(
                &application_token_key(organisation, id),
                &record,
                expires_at,
            );
            // Expires with the token, because the token's number may be drawn again afterwards.
            let text = ApplicationTokenText { organisation, id };
            batch.insert(&application_token_text_key(&token), &text, expires_at);
            let new_event = new_event(
                Action::ApplicationTokenAdd,
                organisation,
                id,
                person.origin(),
            );
            self.audit.done(&mut batch, now, new_event);
            // A conflict means that the number is taken, so another is drawn, or that the session has ended.
            Ok(Attempt::Commit(batch, Ok(token.text())))
        })
        .await
    }

    /// Whether a user may have one more token. Those that an operator ended with all of the user's are not counted, nor are ended
    /// tokens of earlier releases, whose records do not expire.
    async fn may_have_one_more(&self, user: &User, now: Timestamp) -> Result<bool, StorageError> {
        let counts = |stored: &Stored<ApplicationToken>| {
            let token = &stored.record;
            is_of(token, user.id, &user.name)
                && !has_ended(token, Some(user))
                && (stored.expires_at.is_some() || !(token.is_revoked || token.is_expired(now)))
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

    /// Returns the tokens that the session may see, oldest first. Administrators see those of their organisation, others their own.
    /// A token that ended because its creator was removed, suspended or given a new password by an operator is listed as revoked.
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
        let mut pages = Pages::<ApplicationToken>::of(&self.store, all);
        while let Some(page) = pages.next(now).await? {
            let page = page.into_iter().map(|(_, stored)| stored.record);
            tokens.extend(page.filter(|token| session.may_manage_token(token)));
        }
        // Read last: compared with an earlier state of its creator, a token would count as ended.
        let numbers = tokens.iter().map(|token| token.creator).collect();
        let organisation = session.owner.organisation;
        let creators = self.creators_of(organisation, numbers).await?;
        let tokens = tokens.into_iter().map(|token| {
            let creator = creators.get(&token.creator);
            summary(token, creator.and_then(Slot::record))
        });
        let mut tokens: Vec<_> = tokens.collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Reads the users with these numbers in an organisation, who have created tokens.
    pub(super) async fn creators_of(
        &self,
        organisation: u32,
        numbers: BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, Slot<User>>, StorageError> {
        let numbers: Vec<u32> = numbers.into_iter().collect();
        let place = |user: &u32| {
            user_key(Owner {
                organisation,
                user: *user,
            })
        };
        let mut creators = BTreeMap::new();
        for some in numbers.chunks(PAGE) {
            let reading = self.read(some.iter().map(place)).await?;
            for user in some {
                creators.insert(*user, Slot::of(&reading, place(user))?);
            }
        }
        Ok(creators)
    }

    /// Changes a token. A change to what it is already is not recorded. An unreadable body is reported only if the token exists and
    /// the person may change it.
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
        self.transact_for(person, "accounts.change_application_token", || async {
            let authorized =
                self.authorized_with(person, Action::ApplicationTokenChange, [place.clone()]);
            let (own, user, reading) = authorized.await?;
            let slot: Slot<ApplicationToken> = Slot::of(&reading, place.clone())?;
            let token = slot.record();
            let is_permitted = match token {
                Some(token) => session.may_manage_token(token),
                // Observers may change only their own tokens and must not learn whether others exist.
                None => session.may_change_organisation(),
            };
            if !is_permitted {
                let why = format!("not their own, and the role is {}", session.role());
                let refused = NewEvent {
                    detail: Some(why),
                    ..new_event(Action::ApplicationTokenChange, organisation, id, origin)
                };
                self.audit.refused(refused).await;
                return refuse(ChangeApplicationTokenError::Forbidden);
            }
            let token = token.ok_or(Failure::Refused(ChangeApplicationTokenError::Unknown))?;
            let change = require_body(&change, ChangeApplicationTokenError::Body)?;
            if is_too_long(change.description.as_ref()) {
                return refuse(ChangeApplicationTokenError::TooLong);
            }
            if change.is_revoked == Some(false) && self.is_over(token, &user).await? {
                return refuse(ChangeApplicationTokenError::Revoked);
            }
            let revokes = !token.is_revoked && change.is_revoked == Some(true);
            let describes = change.description.is_some() && change.description != token.description;
            let mut batch = self.store.batch(reading.now());
            own.require(&mut batch);
            if !revokes && !describes {
                // The commit that made it so may not be durable, so this result requires its record.
                slot.require(&mut batch);
                origin.require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(())));
            }
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
            if revokes {
                self.put_revoked(&mut batch, &slot, &next, reading.now())
                    .await?;
            } else {
                slot.replace(&mut batch, &next, slot.expires_at());
            }
            let new_event = new_event(action, organisation, id, origin);
            self.audit.done(&mut batch, reading.now(), new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Whether the token is revoked, or has ended because of an operator's change to its creator, who may be `user`.
    async fn is_over(&self, token: &ApplicationToken, user: &User) -> Result<bool, StorageError> {
        if token.is_revoked || token.creator == user.id {
            return Ok(token.is_revoked || has_ended(token, Some(user)));
        }
        let place = user_key(token.creator_in(user.organisation));
        let creator = self.store.get::<User>(&place, self.clock.now()).await?;
        let creator = creator.map(|stored| stored.record);
        Ok(has_ended(token, creator.as_ref()))
    }
}

/// Whether this user created the token. Their number may have been another user's before.
pub(super) fn is_of(token: &ApplicationToken, user: u32, name: &str) -> bool {
    token.creator == user && token.creator_name == name
}

/// Whether the token has ended because of an operator's change to its creator.
pub(super) fn has_ended(token: &ApplicationToken, creator: Option<&User>) -> bool {
    creator.is_none_or(|creator| creator.incarnation != token.creator_incarnation)
}

fn is_too_long(description: Option<&String>) -> bool {
    description.is_some_and(|text| text.len() > MAX_DESCRIPTION)
}

pub(super) fn new_event<'a>(
    action: Action,
    organisation: u32,
    id: u32,
    origin: &'a Origin,
) -> NewEvent<'a> {
    NewEvent {
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
