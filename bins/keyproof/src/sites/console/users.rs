//! Users, by organisation and individually. `accounts/caller.rs` decides what an operator may see and change of them.

use http::StatusCode;
use keyproof_service::{
    Accounts, Failure,
    accounts::{
        AccountTarget, AddUserAsError, AddUserError, Caller, ChangeUserError, Filter, NewUser,
        Organisation, Role, SeeUsersError, Sort, SortKey, Unlocking, UserChange, UserQuery,
        UserState, UserStatus, UserView,
    },
};

use super::{
    Area, Frame, HandlerResult, ROWS, Signed, Visit,
    addressing::{next_page, with_notice, with_query},
    render,
    session::CONFIRMATION,
    words::sentence,
};
use crate::sites::{
    entries::Wrong,
    moment::{Moment, moment},
    page::{pages, see_other},
    refusal::Refusal,
};

/// The page of the organisations. The pages of their users are below it.
const LISTS: &str = "/console/users";

/// The page of the form that adds a user.
const ADD: &str = "/console/users/add";

/// The error when the key to remove is not the one that the form's page showed.
const ANOTHER_PHONE: &str = "The user has set up another phone since this page was shown. Nothing is changed. Check again whether it is to be removed.";

pages! {
    #[derive(::askama::Template)]
    Frame;

    Organisations("console/organisations.html") {
        organisations: Vec<Organisation>,
        is_first: bool,
        /// The address of the next page.
        next: Option<String>,
        may_add: bool,
    }
    Users("console/users.html") {
        organisation: Organisation,
        users: Vec<Row<'a>>,
        total: usize,
        page: usize,
        pages: usize,
        /// Whether there are more users than all pages show.
        is_more: bool,
        /// The text sought in names, and the same as a query.
        sought: &'a str,
        query: String,
        may_add: bool,
        /// The address of the form that adds a user to the organisation.
        add: String,
    }
    OneUser("console/user.html") {
        user: Row<'a>,
        /// The page's own address.
        path: String,
        state: &'a UserState,
        may_change: bool,
        has_phone: bool,
        /// The number of the phone's key; empty if there is none.
        key: String,
        /// The address that asks for the token again, if necessary.
        confirm: Option<String>,
        may_see_trail: bool,
    }
    AddUser("console/user_add.html") {
        /// The address that the form is sent to.
        action: String,
        /// The list that the form was opened from.
        list: String,
        /// Each role, and whether it is selected.
        roles: [(Role, bool); 4],
    }
}

/// A user on a page.
struct Row<'a> {
    id: u32,
    name: &'a str,
    role: &'static str,
    is_suspended: bool,
    phone: Phone,
    added: Moment,
}

/// The state of a user's phone.
enum Phone {
    None,
    Pending,
    Active { since: Moment },
}

impl<'a> Row<'a> {
    fn of(user: &'a UserView) -> Self {
        Self {
            id: user.id,
            name: &user.name,
            role: user.role.name(),
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

/// Returns the number of pages for `total` users, and whether there are more users than these show.
fn pages_of(total: usize) -> (usize, bool) {
    const LAST: usize = UserQuery::last_page(ROWS);
    let pages = total.div_ceil(ROWS);
    (pages.clamp(1, LAST), pages > LAST)
}

impl Visit<Signed> {
    fn accounts(&self) -> &Accounts {
        &self.service().accounts
    }

    fn users_caller(&self) -> Caller {
        Caller::new(self.operator(), &self.origin)
    }

    /// Returns a number in the path.
    fn number(&self, name: &str) -> Result<u32, Refusal> {
        self.named(name).parse().map_err(|_| Refusal::NotFound)
    }

    pub(super) async fn organisations(self) -> HandlerResult {
        let caller = self.users_caller();
        let after = self.exchange.query().first("after");
        let found = self.accounts().organisations(&caller, after).await?;
        let may_add = caller.may_change_some();
        // An operator with a single organisation has nothing to choose.
        if let ([only], None, None) = (&*found.rows, after, &found.next) {
            let path = list_of(Some(only.id));
            return Ok(see_other(&match self.exchange.query().first("done") {
                Some("added") => with_notice(&path, "added"),
                _ => path,
            }));
        }
        let page = Organisations {
            frame: &self.frame_in(Area::Users),
            organisations: found.rows,
            is_first: after.is_none(),
            next: next_page(LISTS, found.next),
            may_add,
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn users(self) -> HandlerResult {
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
        let query = UserQuery::new(filters, vec![by_name], number.max(1), ROWS)
            .map_err(|_| Refusal::NotFound)?;
        let users = self.accounts().users_as(&caller, organisation, &query);
        let (organisation, found) = users.await?;
        let (pages, is_more) = pages_of(found.total);
        // There may have been more users when the address was made.
        if query.page() > pages {
            let (list, last) = (list_of(Some(organisation.id)), pages.to_string());
            let last = with_query(&list, &[("name", sought), ("page", &last)]);
            return Ok(see_other(&last));
        }
        let page = Users {
            frame: &self.frame_in(Area::Users),
            may_add: caller.may_change(&organisation.name),
            add: addition_to(&organisation),
            organisation,
            users: found.users.iter().map(Row::of).collect(),
            total: found.total,
            page: query.page(),
            pages,
            is_more,
            sought,
            query: with_query("", &[("name", sought)]),
        };
        render(&page, StatusCode::OK)
    }

    pub(super) async fn user(self) -> HandlerResult {
        let caller = self.users_caller();
        let (organisation, user) = (self.number("organisation")?, self.number("user")?);
        let state = self.accounts().user_as(&caller, organisation, user).await?;
        let frame = self.frame_in(Area::Users);
        self.user_page(&caller, &frame, &state, StatusCode::OK)
    }

    fn user_page(
        &self,
        caller: &Caller,
        frame: &Frame,
        state: &UserState,
        status: StatusCode,
    ) -> HandlerResult {
        let path = path_of(state.user.organisation, state.user.id);
        let user = Row::of(&state.user);
        let page = OneUser {
            frame,
            may_change: caller.may_change(&state.user.organisation_name),
            confirm: self.confirm_url(&path),
            path,
            has_phone: matches!(user.phone, Phone::Active { .. }),
            key: match &state.user.key {
                Some(key) => key.id.to_string(),
                None => String::new(),
            },
            user,
            state,
            may_see_trail: Area::Audit.is_shown_to(self.operator()),
        };
        render(&page, status)
    }

    pub(super) async fn remove_key(self) -> HandlerResult {
        let key = self.typed("key").parse().ok();
        self.change_user(UserChange::RemoveKey(key)).await
    }

    pub(super) async fn change_user(self, change: UserChange) -> HandlerResult {
        let caller = self.users_caller();
        let (organisation, user) = (self.number("organisation")?, self.number("user")?);
        if weakens(change) {
            self.confirmed(&path_of(organisation, user))?;
        }
        let account_target = AccountTarget::Reached {
            caller: &caller,
            organisation,
            user,
        };
        let changed = self.accounts().change_user(account_target, change).await;
        if changed == Err(Failure::Refused(ChangeUserError::AnotherKey)) {
            let state = self.accounts().user_as(&caller, organisation, user).await?;
            let frame = self.frame_with(Area::Users, Wrong::of_all(ANOTHER_PHONE), &[]);
            return self.user_page(&caller, &frame, &state, StatusCode::CONFLICT);
        }
        let done = match (change, changed?) {
            (UserChange::Activate, _) => "activated",
            (UserChange::EndSessions, _) => "ended",
            (UserChange::RemoveKey(_), _) => "removed",
            (UserChange::Suspend, _) => "suspended",
            (UserChange::Unlock, Some(Unlocking::NoLock)) => "no-lock",
            (UserChange::Unlock, _) => "unlocked",
        };
        Ok(see_other(&with_notice(&path_of(organisation, user), done)))
    }

    pub(super) async fn show_add_user(self) -> HandlerResult {
        if !self.users_caller().may_change_some() {
            return Err(Refusal::OutOfReach);
        }
        let frame = self.frame_asking(Area::Users, &["organisation"]);
        render(&self.addition(&frame, Role::User), StatusCode::OK)
    }

    pub(super) async fn add_user(self) -> HandlerResult {
        const TAKEN: &str = "There is a user of this name already, in this or another organisation. Choose another name.";
        let caller = self.users_caller();
        let role = self.typed("role").parse::<Role>();
        let role = role.map_err(|_| Refusal::Malformed(StatusCode::BAD_REQUEST))?;
        if let Err(wrong) = self.token_shown(CONFIRMATION) {
            return if caller.may_change_some() {
                self.addition_refused(wrong, role)
            } else {
                Err(Refusal::OutOfReach)
            };
        }
        let new = NewUser {
            name: self.typed("name").to_owned(),
            organisation: self.typed("organisation").to_owned(),
            role,
        };
        let password = self.secret("password");
        let added = self.accounts().add_user_as(&caller, &new, password);
        let why = match added.await {
            Ok(()) => {
                return Ok(see_other(&with_notice(
                    &list_of(self.opened_from()),
                    "added",
                )));
            }
            Err(failure) => failure.refusal()?,
        };
        let wrong = match why {
            AddUserAsError::OutOfReach => return Err(Refusal::OutOfReach),
            AddUserAsError::Add(error) => match error {
                AddUserError::Hashing(error) => return Err(error.into()),
                AddUserError::Exists => Wrong::at("name", TAKEN),
                AddUserError::Name => Wrong::at("name", sentence(&error)),
                AddUserError::OrganisationName => Wrong::at("organisation", sentence(&error)),
                AddUserError::Password(error) => Wrong::at("password", sentence(&error)),
            },
        };
        self.addition_refused(wrong, role)
    }

    /// Shows the form that adds a user with an error.
    fn addition_refused(&self, wrong: Wrong, role: Role) -> HandlerResult {
        let frame = self.frame_with(Area::Users, wrong, &["organisation", "name"]);
        let page = self.addition(&frame, role);
        render(&page, StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// Returns the organisation whose list the form was opened from, according to its address.
    fn opened_from(&self) -> Option<u32> {
        self.exchange.query().first("from")?.parse().ok()
    }

    /// Returns the form that adds a user.
    fn addition<'a>(&self, frame: &'a Frame, chosen: Role) -> AddUser<'a> {
        let from = self.opened_from();
        AddUser {
            frame,
            action: match from {
                None => ADD.to_owned(),
                Some(from) => format!("{ADD}?from={from}"),
            },
            list: list_of(from),
            roles: Role::ALL.map(|role| (role, role == chosen)),
        }
    }
}

/// Whether a change makes access easier, so that the token is asked for again.
const fn weakens(change: UserChange) -> bool {
    match change {
        UserChange::Activate | UserChange::RemoveKey(_) | UserChange::Unlock => true,
        UserChange::EndSessions | UserChange::Suspend => false,
    }
}

/// Returns the address of a user's page.
pub(super) fn path_of(organisation: u32, user: u32) -> String {
    format!("{LISTS}/{organisation}/{user}")
}

/// Returns the address of an organisation's users, or of the organisations.
fn list_of(organisation: Option<u32>) -> String {
    match organisation {
        None => LISTS.to_owned(),
        Some(organisation) => format!("{LISTS}/{organisation}"),
    }
}

/// Returns the address of the form that adds a user to an organisation and returns to its list.
fn addition_to(organisation: &Organisation) -> String {
    let Organisation { id, name } = organisation;
    with_query(ADD, &[("from", &id.to_string()), ("organisation", name)])
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
            // There is no such key to remove, or none left.
            ChangeUserError::AnotherKey | ChangeUserError::NoKey | ChangeUserError::Unknown => {
                Self::NotFound
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_offered_that_is_not_answered() {
        for (total, pages) in [
            (0, (1, false)),
            (50, (1, false)),
            (51, (2, false)),
            (10_000, (200, false)),
            (10_001, (200, true)),
            (usize::MAX, (200, true)),
        ] {
            assert_eq!(pages_of(total), pages, "{total}");
            assert!(UserQuery::new(vec![], vec![], pages.0, ROWS).is_ok());
        }
        assert!(UserQuery::new(vec![], vec![], 201, ROWS).is_err());
    }
}
