//! What a session may do. Permissions are values that the use cases require, so that a forgotten check does not compile. A
//! [`Session`] may read, a [`Person`] may change what is their own, a [`Manager`] may see and remove a user's second factor, and an
//! [`Editor`] may change what belongs to the organisation.

use super::{Accounts, Session, TargetUser, events, records::Owner};
use crate::{Action, Origin, audit::NewEvent};

/// The session may not do this. An audit event records the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted")]
pub struct NotPermitted;

/// A logged-in person, not an application, who may change what is their own. Created by [`Accounts::person`].
#[derive(Debug)]
pub struct Person {
    session: Session,
    /// The origin with the session's authority.
    origin: Origin,
}

/// A person who may see and remove a user's second factor, as that user or as an administrator. Created by [`Accounts::manager`].
#[derive(Debug)]
pub struct Manager {
    person: Person,
    owner: Owner,
}

/// A person whose role may change what belongs to the organisation. Created by [`Accounts::editor`].
#[derive(Debug)]
pub struct Editor(Person);

impl Accounts {
    /// Permits this session's person to perform an action.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] for applications, which have neither password nor key.
    pub async fn person(
        &self,
        session: Session,
        act: Action,
        origin: &Origin,
    ) -> Result<Person, NotPermitted> {
        let owner = session.owner;
        let is_permitted = session.is_person();
        self.permit(is_permitted, session, act, owner, origin).await
    }

    /// Permits this session's person to perform an action on a user's second factor.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] for applications, and for another user's second factor unless the person is an administrator, whether or
    /// not that user exists.
    pub async fn manager(
        &self,
        session: Session,
        act: Action,
        target_user: TargetUser,
        origin: &Origin,
    ) -> Result<Manager, NotPermitted> {
        let owner = session.owner.of(target_user);
        let is_permitted = session.may_manage(owner);
        let person = self.permit(is_permitted, session, act, owner, origin);
        Ok(Manager {
            person: person.await?,
            owner,
        })
    }

    /// Permits this session's person to perform an action on what belongs to the organisation.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] for applications and observers.
    pub async fn editor(
        &self,
        session: Session,
        act: Action,
        origin: &Origin,
    ) -> Result<Editor, NotPermitted> {
        let owner = session.owner;
        let is_permitted = session.may_change_organisation();
        let person = self.permit(is_permitted, session, act, owner, origin);
        Ok(Editor(person.await?))
    }

    async fn permit(
        &self,
        is_permitted: bool,
        session: Session,
        act: Action,
        owner: Owner,
        origin: &Origin,
    ) -> Result<Person, NotPermitted> {
        let origin = session.origin(origin);
        if is_permitted {
            return Ok(Person { session, origin });
        }
        let why = if session.is_person() {
            format!("the role {} does not allow this", session.role())
        } else {
            "an application may not do this".to_owned()
        };
        self.audit
            .refused(NewEvent {
                action: act,
                target: events::owner(owner),
                detail: Some(why),
                origin: &origin,
            })
            .await;
        Err(NotPermitted)
    }
}

impl Person {
    /// The user's name.
    pub fn name(&self) -> &str {
        self.session.name()
    }

    pub(super) const fn session(&self) -> &Session {
        &self.session
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Manager {
    pub(super) const fn person(&self) -> &Person {
        &self.person
    }

    /// Returns the owner of the second factor.
    pub(super) const fn owner(&self) -> Owner {
        self.owner
    }
}

impl Editor {
    pub(super) const fn person(&self) -> &Person {
        &self.0
    }
}
