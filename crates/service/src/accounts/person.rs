//! What a session may do. Permission is a value that the use cases take, so that a check which is forgotten does not
//! compile: whoever has a token may look on as a [`Session`], a [`Person`] decides over what is their own, a [`Manager`]
//! over a user's second factor, and an [`Editor`] changes what belongs to the organisation.

use super::{Accounts, Session, Whose, deeds, records::Owner};
use crate::{Action, Origin, audit::Deed};

/// The session may not do it, as an audit event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted")]
pub struct NotPermitted;

/// A person who has logged in, and no application: for what is their own. [`Accounts::person`] makes it.
#[derive(Debug)]
pub struct Person {
    session: Session,
    /// By the session's authority.
    origin: Origin,
}

/// A person who may look at and end a user's second factor: it is their own, or they are an administrator.
/// [`Accounts::manager`] makes it.
#[derive(Debug)]
pub struct Manager {
    person: Person,
    owner: Owner,
}

/// A person whose role may change what belongs to the organisation. [`Accounts::editor`] makes it.
#[derive(Debug)]
pub struct Editor(Person);

impl Accounts {
    /// The person whose session this is, to do this.
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

    /// The same, to do this to that user's second factor.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] for applications; of another user's for all but administrators, whether or not there is one.
    pub async fn manager(
        &self,
        session: Session,
        act: Action,
        whose: Whose,
        origin: &Origin,
    ) -> Result<Manager, NotPermitted> {
        let owner = session.owner_of(whose);
        let is_permitted = session.may_manage(owner);
        let person = self.permit(is_permitted, session, act, owner, origin);
        Ok(Manager {
            person: person.await?,
            owner,
        })
    }

    /// The same, to do this to what is the organisation's.
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
            .refused(Deed {
                action: act,
                target: deeds::owner(owner),
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

    /// Whose second factor.
    pub(super) const fn owner(&self) -> Owner {
        self.owner
    }
}

impl Editor {
    pub(super) const fn person(&self) -> &Person {
        &self.0
    }
}
