//! Who holds an access token, asked anew for every request.

use super::{
    Accounts, SessionId, TokenError,
    access_token::Login,
    application_token::holds,
    records::{ApplicationToken, Owner, Role, User, UserStatus, application_token_key, user_key},
};
use crate::{Origin, StorageError, Who};
use keyproof_store::Stored;
use std::net::IpAddr;

/// The holder of an access token that holds.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) owner: Owner,
    pub(super) name: String,
    pub(super) generation: u64,
    role: Role,
    application_token: Option<u32>,
    login: Login,
}

/// Whose keys or devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The session's own user's.
    Mine,
    /// Those of the user of this number.
    Of(u32),
}

/// Why a bearer has no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is none of ours, or what it was issued on has ended.
    #[error("the token is not valid, or no longer")]
    Invalid,
    /// None was given.
    #[error("a token is needed")]
    Missing,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<TokenError> for SessionError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            TokenError::Invalid => Self::Invalid,
            TokenError::Storage(error) => Self::Storage(error),
        }
    }
}

impl Session {
    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user may do.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which of the user's sessions it is: the same over refreshes.
    pub const fn sid(&self) -> SessionId {
        self.login.sid
    }

    /// Did a person log in? Otherwise an application did, by its token.
    pub const fn is_person(&self) -> bool {
        self.application_token.is_none()
    }

    /// May it see and remove this user's keys and devices?
    pub fn may_manage(&self, whose: Whose) -> bool {
        self.is_person() && (self.owner_of(whose) == self.owner || self.role.administers())
    }

    /// May it change what belongs to the organisation?
    pub const fn may_change_organisation(&self) -> bool {
        self.is_person() && self.role.changes()
    }

    /// Does it hold for this user, as they are now?
    pub(super) fn is_of(&self, user: &User) -> bool {
        user.status == UserStatus::Active && user.generation == self.generation
    }

    pub(super) const fn owner_of(&self, whose: Whose) -> Owner {
        match whose {
            Whose::Mine => self.owner,
            Whose::Of(user) => Owner {
                user,
                organisation: self.owner.organisation,
            },
        }
    }

    pub(super) fn origin(&self, origin: &Origin) -> Origin {
        origin.by(Who::User {
            name: self.name.clone(),
            application_token: self.application_token,
        })
    }
}

impl Accounts {
    /// The record of a session's own user, unless the session has ended. What is done in the session's name to
    /// something else requires it as it was read here.
    pub(super) async fn actor(
        &self,
        session: &Session,
    ) -> Result<Option<Stored<User>>, StorageError> {
        let place = user_key(session.owner);
        let user = self.store.get::<User>(&place, self.clock.now()).await?;
        Ok(user.filter(|stored| session.is_of(&stored.record)))
    }

    /// Who holds this access token, from this address?
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn session(
        &self,
        token: Option<&str>,
        address: IpAddr,
    ) -> Result<Session, SessionError> {
        let claims = self.claims(token.ok_or(SessionError::Missing)?).await?;
        let owner = claims.owner().ok_or(SessionError::Invalid)?;
        let now = self.clock.now();
        let user = self.store.get::<User>(&user_key(owner), now).await;
        let Stored { record: user, .. } = user
            .map_err(StorageError::from)?
            .filter(|stored| stored.record.status == UserStatus::Active)
            .filter(|stored| stored.record.generation == claims.generation)
            .ok_or(SessionError::Invalid)?;
        if let Some(id) = claims.app {
            let key = application_token_key(owner.organisation, id);
            let token = self.store.get::<ApplicationToken>(&key, now).await;
            token
                .map_err(StorageError::from)?
                .filter(|stored| holds(&stored.record, address, now).is_ok())
                .ok_or(SessionError::Invalid)?;
        }
        Ok(Session {
            owner,
            name: user.name,
            generation: user.generation,
            role: user.role,
            application_token: claims.app,
            login: claims.login(owner),
        })
    }
}
