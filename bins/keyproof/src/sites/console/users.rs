//! Users: by organisation, and one by one. What an operator may see and change of them is `accounts/caller.rs`'s to say.

use askama::Template;
use http::StatusCode;
use keyproof_service::{
    Accounts, Failure,
    accounts::{
        AddUserAsError, AddUserError, Caller, ChangeUserError, Filter, NewUser, OrganisationView,
        Role, SeeUsersError, Sort, SortKey, Unlocking, UserChange, UserQuery, UserState,
        UserStatus, UserView,
    },
};

use super::{Answered, Area, Frame, Signed, Visit, render, words::sentence};
use crate::sites::{moment::moment, page::see_other, refusal::Refusal};

/// How many users a page has.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "console/organisations.html")]
struct Organisations<'a> {
    frame: &'a Frame,
    organisations: Vec<OrganisationView>,
    /// The query of the next page.
    next: Option<String>,
    may_add: bool,
}

#[derive(Template)]
#[template(path = "console/users.html")]
struct Users<'a> {
    frame: &'a Frame,
    organisation: OrganisationView,
    users: Vec<Row>,
    total: usize,
    page: usize,
    pages: usize,
    /// What is looked for in names, and as a query writes it.
    sought: &'a str,
    sought_in_query: String,
    may_add: bool,
}

#[derive(Template)]
#[template(path = "console/user.html")]
struct OneUser<'a> {
    frame: &'a Frame,
    user: Row,
    state: UserState,
    may_change: bool,
    has_phone: bool,
    is_fresh: bool,
    may_see_trail: bool,
}

#[derive(Template)]
#[template(path = "console/user_add.html")]
struct AddUser<'a> {
    frame: &'a Frame,
    /// Each, and whether it is chosen.
    roles: [(Role, bool); 4],
}

/// A user, as pages have them.
struct Row {
    /// Where their page is.
    path: String,
    name: String,
    role: Role,
    is_suspended: bool,
    phone: Phone,
    added: String,
}

/// What there is of a phone.
enum Phone {
    None,
    Pending,
    Active { since: String },
}

impl Row {
    fn of(user: &UserView) -> Self {
        Self {
            path: format!("/console/users/{}/{}", user.organisation, user.id),
            name: user.name.clone(),
            role: user.role,
            is_suspended: user.status == UserStatus::Suspended,
            phone: match user.key.as_ref().map(|key| key.activated_at) {
                None => Phone::None,
                Some(None) => Phone::Pending,
                Some(Some(at)) => Phone::Active { since: moment(at) },
            },
            added: moment(user.created_at),
        }
    }
}

impl Visit<Signed> {
    fn accounts(&self) -> &Accounts {
        &self.service().accounts
    }

    fn users_caller(&self) -> Caller {
        Caller::new(self.operator(), &self.origin)
    }

    /// A number in the path.
    fn number(&self, name: &str) -> Result<u32, Refusal> {
        self.named(name).parse().map_err(|_| Refusal::NotFound)
    }

    pub(super) async fn organisations(self) -> Answered {
        let caller = self.users_caller();
        let after = self.exchange.query().first("after");
        let found = self.accounts().organisations(&caller, after).await?;
        let may_add = caller.may_change_some();
        // Who reaches one organisation alone has nothing to choose.
        if let ([only], None, None) = (&*found.organisations, after, &found.after) {
            return Ok(see_other(&format!("/console/users/{}", only.id)));
        }
        let page = Organisations {
            frame: &self.frame_in(Area::Users),
            organisations: found.organisations,
            next: found.after.as_deref().map(in_query),
            may_add,
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn users(self) -> Answered {
        let caller = self.users_caller();
        let organisation = self.number("organisation")?;
        let query = self.exchange.query();
        let sought = query.first("name").unwrap_or_default().trim();
        let number = query.first("page").unwrap_or("1").parse::<usize>();
        let number = number.map_err(|_| Refusal::NotFound)?;
        let filters = match sought {
            "" => Vec::new(),
            part => vec![Filter::Name(part.to_owned())],
        };
        let by_name = Sort {
            key: SortKey::Name,
            descending: false,
        };
        let query = UserQuery::new(filters, vec![by_name], number.max(1), ROWS);
        let query = query.map_err(|_| Refusal::NotFound)?;
        let users = self.accounts().users_as(&caller, organisation, &query);
        let (organisation, found) = users.await?;
        let notice = self.says("added").then_some("The user is added.");
        let frame = Frame {
            notice,
            ..self.frame_in(Area::Users)
        };
        let page = Users {
            frame: &frame,
            may_add: caller.may_change(&organisation.name),
            organisation,
            users: found.users.iter().map(Row::of).collect(),
            total: found.total,
            page: query.page(),
            pages: found.total.div_ceil(ROWS).max(1),
            sought,
            sought_in_query: in_query(sought),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn user(self) -> Answered {
        const DONE: [(&str, &str); 6] = [
            (
                "suspended",
                "The user is suspended, and all their sessions and tokens have ended.",
            ),
            ("activated", "The user may sign in again."),
            ("unlocked", "The locks are lifted."),
            (
                "no-lock",
                "There was no lock. Failures that were counted are forgotten.",
            ),
            ("ended", "All sessions of the user have ended."),
            (
                "removed",
                "The phone's key is removed. The user signs in with the password alone until they set up another phone.",
            ),
        ];
        let notice = DONE.into_iter().find(|(name, _)| self.says(name));
        let frame = Frame {
            notice: notice.map(|(_, text)| text),
            ..self.frame_in(Area::Users)
        };
        let caller = self.users_caller();
        let (organisation, user) = (self.number("organisation")?, self.number("user")?);
        let state = self.accounts().user_as(&caller, organisation, user).await?;
        let page = OneUser {
            frame: &frame,
            may_change: caller.may_change(&state.user.organisation_name),
            user: Row::of(&state.user),
            has_phone: state
                .user
                .key
                .as_ref()
                .is_some_and(|key| key.activated_at.is_some()),
            state,
            is_fresh: self.is_fresh(),
            may_see_trail: Area::Audit.is_shown_to(self.operator()),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn change_user(self, change: UserChange) -> Answered {
        let caller = self.users_caller();
        let (organisation, user) = (self.number("organisation")?, self.number("user")?);
        if weakens(change) {
            self.confirmed()?;
        }
        let changed = self
            .accounts()
            .change_user_as(&caller, organisation, user, change);
        let done = match (change, changed.await?) {
            (UserChange::Activate, _) => "activated",
            (UserChange::EndSessions, _) => "ended",
            (UserChange::RemoveKey, _) => "removed",
            (UserChange::Suspend, _) => "suspended",
            (UserChange::Unlock, Some(Unlocking::NoLock)) => "no-lock",
            (UserChange::Unlock, _) => "unlocked",
        };
        let to = format!("/console/users/{organisation}/{user}?{done}");
        Ok(see_other(&to))
    }

    pub(super) async fn show_add_user(self) -> Answered {
        if !self.users_caller().may_change_some() {
            return Err(Refusal::OutOfReach);
        }
        let organisation = self.exchange.query().first("organisation");
        let filled = organisation.map(|name| ("organisation", name.to_owned()));
        let frame = Frame {
            filled: filled.into_iter().collect(),
            ..self.frame_in(Area::Users)
        };
        render(&AddUser::with(&frame, Role::User), StatusCode::OK)
    }

    pub(super) async fn add_user(self) -> Answered {
        // A hash is counted as it is where somebody signs in.
        self.admit()?;
        let role = self.typed("role").parse::<Role>();
        let role = role.map_err(|_| Refusal::Malformed(StatusCode::BAD_REQUEST))?;
        let new = NewUser {
            name: self.typed("name").to_owned(),
            organisation: self.typed("organisation").to_owned(),
            role,
        };
        let password = self.secret("password");
        let caller = self.users_caller();
        let added = self.accounts().add_user_as(&caller, &new, password);
        let (field, text) = match added.await {
            Ok(()) => return Ok(see_other("/console/users?added")),
            Err(Failure::Storage(error)) => return Err(error.into()),
            Err(Failure::Refused(AddUserAsError::OutOfReach)) => return Err(Refusal::OutOfReach),
            Err(Failure::Refused(AddUserAsError::Add(error))) => match error {
                AddUserError::Hashing(error) => return Err(error.into()),
                AddUserError::Exists => ("name", "There is a user of this name.".to_owned()),
                AddUserError::Name => ("name", sentence(&error.to_string())),
                AddUserError::OrganisationName => ("organisation", sentence(&error.to_string())),
                AddUserError::Password(error) => ("password", sentence(&error.to_string())),
            },
        };
        let frame = self.frame_with(Area::Users, field, text, &["organisation", "name"]);
        render(
            &AddUser::with(&frame, role),
            StatusCode::UNPROCESSABLE_ENTITY,
        )
    }
}

impl<'a> AddUser<'a> {
    fn with(frame: &'a Frame, chosen: Role) -> Self {
        Self {
            frame,
            roles: Role::ALL.map(|role| (role, role == chosen)),
        }
    }
}

/// Whether somebody gets in more easily from then on, so that the token is asked for again.
const fn weakens(change: UserChange) -> bool {
    match change {
        UserChange::Activate | UserChange::RemoveKey | UserChange::Unlock => true,
        UserChange::EndSessions | UserChange::Suspend => false,
    }
}

/// How a text stands in a query.
pub(super) fn in_query(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl From<SeeUsersError> for Refusal {
    fn from(error: SeeUsersError) -> Self {
        match error {
            SeeUsersError::OutOfReach => Self::OutOfReach,
            SeeUsersError::Unknown => Self::NotFound,
        }
    }
}

impl From<ChangeUserError> for Refusal {
    fn from(error: ChangeUserError) -> Self {
        match error {
            ChangeUserError::OutOfReach => Self::OutOfReach,
            // A key that is gone already is nothing that could be removed.
            ChangeUserError::NoKey | ChangeUserError::Unknown => Self::NotFound,
        }
    }
}
