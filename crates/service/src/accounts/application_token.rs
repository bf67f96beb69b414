//! Application tokens: what a program shows in place of a user's password and code. It acts for its creator, from
//! certain addresses and for a time, until it is revoked.

use super::{
    Accounts, Act, NotPermitted, Session, Undecided, Whose,
    records::{
        ApplicationToken, ApplicationTokenText, Owner, User, UserStatus, application_token_key,
        application_token_text_key, application_tokens_of, user_key,
    },
};
use crate::{
    Failure, Origin, StorageError, Who,
    audit::Deed,
    storage::{Attempt, settle},
};
use ipnet::IpNet;
use keyproof_auth::Token;
use keyproof_store::{Stored, Timestamp, Version};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    net::IpAddr,
};
use zeroize::Zeroizing;

/// Tokens read at once.
const PAGE: usize = 200;

/// What the audit trail calls what is done here.
const ADD: &str = Act::AddApplicationToken.action();
const CHANGE: &str = Act::ChangeApplicationToken.action();
pub(super) const REVOKE: &str = "application_token.revoke";
const AUTHENTICATE: &str = "application.authenticate";

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1024;

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewApplicationToken {
    /// For people to read.
    pub description: Option<String>,
    /// The first moment at which it no longer holds.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that it holds for.
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
    /// The first moment at which it no longer holds.
    pub valid_until: Option<Timestamp>,
    /// The only addresses that it holds for.
    pub network: Option<IpNet>,
    /// Is it revoked?
    pub is_revoked: bool,
    /// The number of the user who made it.
    pub creator: u32,
    /// That user's name.
    pub creator_name: String,
}

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationTokenState {
    /// For other addresses only.
    #[error("IP not allowed")]
    Elsewhere,
    /// Its time is over.
    #[error("TokenStatus Expired")]
    Expired,
    /// It is revoked.
    #[error("TokenStatus Revoked")]
    Revoked,
}

/// Why a token gives nothing, or none was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationTokenError {
    /// The session may not make any.
    #[error("not allowed to make application tokens")]
    Forbidden,
    /// It is unknown, does not hold, or its creator is gone or suspended.
    #[error("the application token does not hold")]
    Refused,
    /// The description is too long.
    #[error("a description has at most {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// The session decides nothing.
    #[error(transparent)]
    Undecided(#[from] Undecided),
}

/// Why a token was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeApplicationTokenError {
    /// The session may not.
    #[error("not allowed to change application tokens")]
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

/// Does a token hold, for this address at this time?
pub(super) fn holds(
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
    /// An access token for an application token.
    ///
    /// # Errors
    /// [`ApplicationTokenError::Refused`].
    pub async fn application_login(
        &self,
        text: &str,
        address: IpAddr,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<ApplicationTokenError>> {
        settle("accounts.application_login", &self.store, || async {
            let now = self.clock.now();
            let Holder { user, id, token } = match self.holder(text, address, now).await? {
                Ok(holder) => holder,
                Err(refusal) => {
                    self.audit.refused(refusal.deed(address, origin)).await;
                    return Err(Failure::Refused(ApplicationTokenError::Refused));
                }
            };
            let signer = self.signing.signer(now).await?;
            let login = self.begin_session(None, now);
            let access = self.access_token(&signer, &user.record, &login, Some(id), now)?;
            let owner = user.record.owner();
            let origin = origin.by(Who::User {
                name: user.record.name,
                application_token: Some(id),
            });
            let mut batch = self.store.batch(now);
            batch.require(&user_key(owner), user.version);
            batch.require(&application_token_key(owner.organisation, id), token);
            let deed = deed(AUTHENTICATE, owner.organisation, id, &origin);
            self.audit.done(&mut batch, now, deed);
            Ok(Attempt::Commit(batch, Ok(access)))
        })
        .await
    }

    /// Whom a token acts for.
    async fn holder(
        &self,
        text: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Result<Holder, Refusal>, StorageError> {
        let unknown = Refusal::new(None, "TokenStatus Unknown");
        let Ok(token) = Token::parse(text) else {
            return Ok(Err(unknown));
        };
        let place = application_token_text_key(&token);
        let Some(found) = self.store.get::<ApplicationTokenText>(&place, now).await? else {
            return Ok(Err(unknown));
        };
        let ApplicationTokenText { organisation, id } = found.record;
        let place = application_token_key(organisation, id);
        let Some(token) = self.store.get::<ApplicationToken>(&place, now).await? else {
            return Ok(Err(unknown));
        };
        if let Err(state) = holds(&token.record, address, now) {
            return Ok(Err(Refusal::new(Some(id), state)));
        }
        let owner = Owner {
            organisation,
            user: token.record.creator,
        };
        let user = self.store.get::<User>(&user_key(owner), now).await?;
        let user = user.filter(|stored| stored.record.status == UserStatus::Active);
        Ok(match user {
            Some(user) if has_ended(&token.record, Some(&user.record)) => {
                Err(Refusal::new(Some(id), ApplicationTokenState::Revoked))
            }
            Some(user) => Ok(Holder {
                user,
                id,
                token: token.version,
            }),
            None => Err(Refusal::new(Some(id), "its creator is gone or suspended")),
        })
    }

    /// May the session make tokens? To be asked before what the request says is looked at.
    ///
    /// # Errors
    /// [`ApplicationTokenError::Forbidden`], [`ApplicationTokenError::FactorNeeded`], and those of every use case.
    pub async fn check_new_application_token(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<(), Failure<ApplicationTokenError>> {
        let act = Act::AddApplicationToken;
        let permitted = self.permit(session, act, Whose::Mine, origin).await;
        permitted.map_err(|NotPermitted| Failure::Refused(ApplicationTokenError::Forbidden))?;
        let origin = session.origin(origin);
        self.deciding(session, ADD, &origin).await?;
        Ok(())
    }

    /// Makes a token, whose text is shown this once.
    ///
    /// # Errors
    /// [`ApplicationTokenError::Forbidden`] for observers and applications, and all but
    /// [`ApplicationTokenError::Refused`].
    pub async fn add_application_token(
        &self,
        session: &Session,
        new: NewApplicationToken,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<ApplicationTokenError>> {
        let act = Act::AddApplicationToken;
        let permitted = self.permit(session, act, Whose::Mine, origin).await;
        permitted.map_err(|NotPermitted| Failure::Refused(ApplicationTokenError::Forbidden))?;
        if is_too_long(new.description.as_ref()) {
            return Err(Failure::Refused(ApplicationTokenError::TooLong));
        }
        let origin = session.origin(origin);
        settle("accounts.add_application_token", &self.store, || async {
            let now = self.clock.now();
            let (own, creator) = self.deciding(session, ADD, &origin).await?;
            let (token, id) = (self.draw_token(now), self.draw_number());
            let organisation = session.owner.organisation;
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
            };
            let mut batch = self.store.batch(now);
            own.require_user(&mut batch);
            batch.insert(&application_token_key(organisation, id), &record, None);
            let text = ApplicationTokenText { organisation, id };
            batch.insert(&application_token_text_key(&token), &text, None);
            self.audit
                .done(&mut batch, now, deed(ADD, organisation, id, &origin));
            // A conflict is a number that is taken: another is drawn. Or the session has ended.
            Ok(Attempt::Commit(batch, Ok(token.text())))
        })
        .await
    }

    /// The tokens that the session may see, oldest first: administrators those of their organisation, others their own.
    /// What its creator's removal, suspension or new password by an operator has ended is revoked.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn application_tokens(
        &self,
        session: &Session,
    ) -> Result<Vec<ApplicationTokenSummary>, StorageError> {
        let all = application_tokens_of(session.owner.organisation);
        let now = self.clock.now();
        let mut tokens = Vec::new();
        let mut creators = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self
                .store
                .scan::<ApplicationToken>(&all, after.as_ref(), PAGE, now)
                .await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(last.clone());
            for (_, Stored { record: token, .. }) in page {
                if !session.may_manage_token(&token) {
                    continue;
                }
                let creator = match creators.entry(token.creator) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(self.creator(session, &token).await?),
                };
                tokens.push(summary(token, creator.as_ref()));
            }
        }
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    async fn creator(
        &self,
        session: &Session,
        token: &ApplicationToken,
    ) -> Result<Option<User>, StorageError> {
        let owner = Owner {
            organisation: session.owner.organisation,
            user: token.creator,
        };
        let now = self.clock.now();
        let found = self.store.get::<User>(&user_key(owner), now).await?;
        Ok(found.map(|stored| stored.record))
    }

    /// Is there such a token, and may the session change it? To be asked before what else the request says is looked
    /// at.
    ///
    /// # Errors
    /// [`ChangeApplicationTokenError::Forbidden`], [`ChangeApplicationTokenError::FactorNeeded`],
    /// [`ChangeApplicationTokenError::Unknown`], and those of every use case.
    pub async fn find_application_token(
        &self,
        session: &Session,
        id: u32,
        origin: &Origin,
    ) -> Result<(), Failure<ChangeApplicationTokenError>> {
        let act = Act::ChangeApplicationToken;
        let permitted = self.permit(session, act, Whose::Mine, origin).await;
        permitted
            .map_err(|NotPermitted| Failure::Refused(ChangeApplicationTokenError::Forbidden))?;
        let origin = session.origin(origin);
        self.deciding(session, CHANGE, &origin).await?;
        let place = application_token_key(session.owner.organisation, id);
        let found = self.store.get::<ApplicationToken>(&place, self.clock.now());
        let refused = match found.await? {
            Some(found) => {
                self.must_manage_token(session, &found.record, &origin)
                    .await
            }
            None => Err(self.no_token(session, id, &origin).await),
        };
        refused.map_err(Failure::Refused)
    }

    /// Changes a token.
    ///
    /// # Errors
    /// [`ChangeApplicationTokenError`].
    pub async fn change_application_token(
        &self,
        session: &Session,
        id: u32,
        change: &ApplicationTokenChange,
        origin: &Origin,
    ) -> Result<(), Failure<ChangeApplicationTokenError>> {
        let act = Act::ChangeApplicationToken;
        let permitted = self.permit(session, act, Whose::Mine, origin).await;
        permitted
            .map_err(|NotPermitted| Failure::Refused(ChangeApplicationTokenError::Forbidden))?;
        if is_too_long(change.description.as_ref()) {
            return Err(Failure::Refused(ChangeApplicationTokenError::TooLong));
        }
        let origin = session.origin(origin);
        let organisation = session.owner.organisation;
        let place = application_token_key(organisation, id);
        settle("accounts.change_application_token", &self.store, || async {
            let now = self.clock.now();
            let (own, _) = self.deciding(session, CHANGE, &origin).await?;
            let Some(stored) = self.store.get::<ApplicationToken>(&place, now).await? else {
                return Err(Failure::Refused(self.no_token(session, id, &origin).await));
            };
            let mut next = stored.record;
            let permitted = self.must_manage_token(session, &next, &origin).await;
            permitted.map_err(Failure::Refused)?;
            let creator = self.creator(session, &next).await?;
            let is_over = next.is_revoked || has_ended(&next, creator.as_ref());
            if is_over && change.is_revoked == Some(false) {
                return Err(Failure::Refused(ChangeApplicationTokenError::Revoked));
            }
            let revokes = !next.is_revoked && change.is_revoked == Some(true);
            next.is_revoked |= revokes;
            if let Some(description) = &change.description {
                next.description = Some(description.clone());
            }
            let action = if revokes { REVOKE } else { CHANGE };
            let mut batch = self.store.batch(now);
            own.require_user(&mut batch);
            batch.replace(&place, stored.version, &next, None);
            self.audit
                .done(&mut batch, now, deed(action, organisation, id, &origin));
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }
}

impl Accounts {
    async fn must_manage_token(
        &self,
        session: &Session,
        token: &ApplicationToken,
        origin: &Origin,
    ) -> Result<(), ChangeApplicationTokenError> {
        match session.may_manage_token(token) {
            true => Ok(()),
            false => Err(self.forbidden_token(session, token.id, origin).await),
        }
    }

    /// Observers change nothing but what is their own, whether or not it is there.
    async fn no_token(
        &self,
        session: &Session,
        id: u32,
        origin: &Origin,
    ) -> ChangeApplicationTokenError {
        match session.may_change_organisation() {
            true => ChangeApplicationTokenError::Unknown,
            false => self.forbidden_token(session, id, origin).await,
        }
    }

    async fn forbidden_token(
        &self,
        session: &Session,
        id: u32,
        origin: &Origin,
    ) -> ChangeApplicationTokenError {
        let why = format!("not their own, and the role is {}", session.role());
        let deed = Deed {
            detail: Some(why),
            ..deed(CHANGE, session.owner.organisation, id, origin)
        };
        self.audit.refused(deed).await;
        ChangeApplicationTokenError::Forbidden
    }
}

/// Did this user make it? Their number may have been another's before.
pub(super) fn is_of(token: &ApplicationToken, user: u32, name: &str) -> bool {
    token.creator == user && token.creator_name == name
}

/// Has it ended with what an operator did to its creator?
fn has_ended(token: &ApplicationToken, creator: Option<&User>) -> bool {
    creator.is_none_or(|creator| creator.incarnation != token.creator_incarnation)
}

/// Whom a token acts for.
struct Holder {
    user: Stored<User>,
    /// The token's number.
    id: u32,
    /// As it was read.
    token: Version,
}

/// Why a text gives nothing, for the audit trail.
struct Refusal {
    id: Option<u32>,
    reason: String,
}

impl Refusal {
    fn new(id: Option<u32>, reason: impl fmt::Display) -> Self {
        Self {
            id,
            reason: reason.to_string(),
        }
    }

    fn deed(self, address: IpAddr, origin: &Origin) -> Deed<'_> {
        Deed {
            action: AUTHENTICATE,
            target: self.id.map_or("application_token".to_owned(), |id| {
                format!("application_token/{id}")
            }),
            detail: Some(format!(
                "type 7: Failed authentication request, Reason: {} from IP {address}",
                self.reason
            )),
            origin,
        }
    }
}

fn is_too_long(description: Option<&String>) -> bool {
    description.is_some_and(|text| text.len() > MAX_DESCRIPTION)
}

pub(super) fn deed<'a>(
    action: &'static str,
    organisation: u32,
    id: u32,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        action,
        target: format!("organisation/{organisation}/application_token/{id}"),
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
