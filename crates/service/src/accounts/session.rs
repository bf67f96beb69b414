//! The bearer of an access token, authenticated for every request.

use std::{net::IpAddr, sync::Arc};

use keyproof_mfa::AuthMethod;
use keyproof_store::{Raw, Snapshot, Timestamp};

use super::{
    Accounts, SessionId,
    access_token::Login,
    account::factor_keys,
    application_tokens::{is_of, is_valid},
    events,
    records::{
        Activation, ApplicationToken, Owner, Role, User, UserSessionRecord, UserStatus,
        application_token_key, user_key,
    },
    session_id::TokenId,
    signing_key,
};
use crate::{
    Failure, Origin, Principal,
    audit::{AuditReader, LoginName, Search, Subject, Target, Warrant},
    slot::Slot,
};

/// The bearer of a valid access token.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) owner: Owner,
    pub(super) name: String,
    subject: Subject,
    pub(super) generation: u64,
    role: Role,
    application_token: Option<u32>,
    login: Login,
    token: Option<TokenId>,
    /// The user's `key_changes` when the token was issued. Tokens of earlier releases lack it and count as older than any change.
    key_changes: Option<u64>,
    prefetch: Option<Arc<PrefetchedFactor>>,
    /// The key that signed the access token, or the record of the browser session.
    warrant: Option<Warrant>,
    /// The first moment at which the access token is no longer valid. A browser session ends with its record.
    pub(super) expires_at: Option<Timestamp>,
}

/// A user's second factor that was read in the same snapshot as the session.
#[derive(Debug)]
pub(super) struct PrefetchedFactor {
    owner: Owner,
    pub(super) reading: Snapshot,
}

/// The owner of keys or devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUser {
    /// The session's own user.
    Mine,
    /// The user with this number.
    Of(u32),
}

/// The error when a bearer has no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not one of ours, or what it depends on has ended.
    #[error("the token is not valid, or is no longer valid")]
    Invalid,
    /// No token was given.
    #[error("a token is needed")]
    Missing,
}

pub(super) const INVALID: Failure<SessionError> = Failure::Refused(SessionError::Invalid);

impl Owner {
    /// Returns the owner that `target_user` names.
    pub(super) const fn of(self, target_user: TargetUser) -> Self {
        match target_user {
            TargetUser::Mine => self,
            TargetUser::Of(user) => Self { user, ..self },
        }
    }
}

impl Session {
    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the party for shared limits.
    pub fn party(&self) -> String {
        self.who().party()
    }

    /// Returns the user's role.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the session's id, which refreshes keep.
    pub(super) const fn sid(&self) -> SessionId {
        self.login.sid
    }

    /// Returns the user as a reader of their own events in the audit trail.
    pub fn audit_reader(&self) -> AuditReader {
        AuditReader::of_user(self.subject, self.own_events())
    }

    /// Searches the audit trail for events by or about the user. Events of earlier releases contain users by name.
    fn own_events(&self) -> Search {
        let user = Principal::User {
            subject: self.subject,
            application_token: None,
        };
        let former = self.name.escape_debug().to_string();
        let names = [LoginName::Of(self.subject), LoginName::Former(former)];
        Search {
            by: vec![user.to_string(), Principal::user_named(&self.name)],
            of: vec![events::owner(self.owner).to_string()],
            // Exact matches only: targets below it may contain what strangers typed as any name.
            named: names.map(|name| Target::LoginName(name).to_string()).into(),
            ..Search::default()
        }
    }

    /// Returns the session by which failures are counted.
    pub(super) fn counter(&self) -> keyproof_mfa::SessionId {
        keyproof_mfa::SessionId::new(&self.sid().to_string())
    }

    /// Whether a person is logged in, rather than an application by its token.
    pub const fn is_person(&self) -> bool {
        self.application_token.is_none()
    }

    /// Whether the session may see and remove this user's keys and devices.
    pub(super) fn may_manage(&self, owner: Owner) -> bool {
        self.is_person() && (owner == self.owner || self.role.administers())
    }

    /// Whether the session may see the key of this user of its organisation. A key's type and dates are not secret, so an
    /// administrator's application token may see them, too.
    pub(super) const fn may_see_key_of(&self, user: u32) -> bool {
        user == self.owner.user || self.role.administers()
    }

    /// Whether the session may change what belongs to the organisation.
    pub(super) const fn may_change_organisation(&self) -> bool {
        self.is_person() && self.role.changes()
    }

    /// Whether the session may see and revoke this application token.
    pub(super) fn may_manage_token(&self, token: &ApplicationToken) -> bool {
        self.role.administers() || is_of(token, self.owner.user, &self.name)
    }

    /// Returns the session of a person logged in with a browser, with the user's current state.
    pub(super) fn of_browser(
        kept: &UserSessionRecord,
        warrant: Option<Warrant>,
        user: &User,
    ) -> Self {
        Self {
            owner: kept.owner,
            name: user.name.clone(),
            subject: user.subject(),
            generation: kept.generation,
            role: user.role,
            application_token: None,
            login: Login {
                sid: kept.sid,
                shown: kept.shown,
            },
            token: Some(kept.token),
            key_changes: Some(kept.key_changes),
            prefetch: None,
            warrant,
            expires_at: None,
        }
    }

    /// Whether the session is valid for this user in their current state. The activation or removal of a key ends persons' tokens,
    /// except the one used for it.
    pub(super) fn is_of(&self, user: &User) -> bool {
        let outlives = |activation: &Activation| {
            !self.is_person()
                || self.key_changes >= Some(activation.key_changes)
                || self.has_done(activation)
        };
        user.status == UserStatus::Active
            && user.generation == self.generation
            && user.activation.as_ref().is_none_or(outlives)
    }

    /// Returns what the session has proved for this user in their current state. A factor of an earlier key does not count.
    pub(super) fn auth_method(&self, user: &User) -> AuthMethod {
        let activation = user.activation.as_ref();
        let present = activation.filter(|activation| activation.key_changes == user.key_changes);
        if present.is_some_and(|activation| self.has_done(activation)) {
            AuthMethod::Activation
        } else if self.login.shown.is_some() && self.key_changes == Some(user.key_changes) {
            AuthMethod::Factor
        } else {
            AuthMethod::Password
        }
    }

    /// Returns the session as `keyproof-mfa` represents it.
    pub(super) fn asking(&self, user: &User) -> keyproof_mfa::Session {
        keyproof_mfa::Session {
            id: self.counter(),
            auth_method: self.auth_method(user),
        }
    }

    fn has_done(&self, activation: &Activation) -> bool {
        self.token.is_some() && self.token == activation.by
    }

    /// Returns the id of the access token, for an activation or removal made with it.
    pub(super) const fn token(&self) -> Option<TokenId> {
        self.token
    }

    /// Returns this user's second factor if it was read with the session.
    pub(super) fn prefetch(&self, owner: Owner) -> Option<&PrefetchedFactor> {
        self.prefetch
            .as_deref()
            .filter(|prefetch| prefetch.owner == owner)
    }

    pub(super) fn origin(&self, origin: &Origin) -> Origin {
        Origin {
            warrants: self.warrant.iter().cloned().collect(),
            ..origin.by(self.who())
        }
    }

    const fn who(&self) -> Principal {
        Principal::User {
            subject: self.subject,
            application_token: self.application_token,
        }
    }
}

impl Accounts {
    /// Authenticates an access token used from this address and returns its bearer.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn session(
        &self,
        token: Option<&str>,
        address: IpAddr,
    ) -> Result<Session, Failure<SessionError>> {
        self.session_with_prefetch(token, address, None).await
    }

    /// Like [`session`](Self::session), and reads the second factor to be shown in the same snapshot.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn session_with_prefetch(
        &self,
        token: Option<&str>,
        address: IpAddr,
        prefetch: Option<TargetUser>,
    ) -> Result<Session, Failure<SessionError>> {
        let token = token.ok_or(Failure::Refused(SessionError::Missing))?;
        let claims = self.claims(token).await?;
        let owner = claims.owner().ok_or(INVALID)?;
        let application = claims.app;
        let signed_with = signing_key::place(&claims.signed_with);
        let own = user_key(owner);
        let token = application.map(|id| application_token_key(owner.organisation, id));
        let prefetch = prefetch.map(|target_user| owner.of(target_user));
        let prefetch_places = prefetch.map(factor_keys);
        let places = [signed_with.clone(), own.clone()];
        let places = places.into_iter().chain(token.clone());
        let reading = self.read(places.chain(prefetch_places.into_iter().flatten()));
        let reading = reading.await?;
        // The key must still be valid, whenever it verified the token.
        let Some(version) = reading.raw(&signed_with)?.map(Raw::version) else {
            self.signing.evict(&claims.signed_with);
            return Err(INVALID);
        };
        let user: Slot<User> = Slot::of(&reading, own)?;
        let user = user.record().ok_or(INVALID)?;
        if let Some(token) = token {
            let token: Slot<ApplicationToken> = Slot::of(&reading, token)?;
            token
                .record()
                .filter(|token| is_valid(token, address, reading.now()).is_ok())
                .filter(|token| token.creator_incarnation == user.incarnation)
                .ok_or(INVALID)?;
        }
        let session = Session {
            owner,
            name: user.name.clone(),
            subject: user.subject(),
            generation: claims.generation,
            role: user.role,
            application_token: application,
            login: claims.login(owner),
            token: claims.jti,
            key_changes: claims.key_changes,
            prefetch: prefetch.map(|owner| Arc::new(PrefetchedFactor { owner, reading })),
            warrant: Some(Warrant {
                place: signed_with,
                version,
            }),
            expires_at: Some(claims.expires_at()),
        };
        if session.is_of(user) {
            Ok(session)
        } else {
            Err(INVALID)
        }
    }
}
