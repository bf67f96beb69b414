//! Creating, changing and removing accounts at run time: from the command line or, within an operator's scopes (`caller.rs`), in a
//! browser.

use keyproof_auth::{NewPasswordError, check_new_password, operator::AccessLevel};
use keyproof_mfa::NoKey;
use keyproof_store::Batch;
use zeroize::Zeroizing;

use super::{
    Accounts,
    account::Account,
    caller::{Caller, SeeUsersError},
    directory::{UserView, view},
    events::{new_event, owner},
    password::canonical,
    records::{
        Organisation, OrganisationName, Owner, RemovedUser, Role, User, UserName, UserStatus,
        all_users, organisation_key, organisation_name_key, removed_user_key, user_key,
        user_name_key,
    },
};
use crate::{
    Action, CommandLine, Failure, HashingError, Origin, StorageError,
    pages::Pages,
    slot::Slot,
    storage::{Attempt, refuse, transact},
};

/// The maximum length of a user's or organisation's name, in bytes.
const MAX_NAME: usize = 254;

/// The name of a contended account change in the log.
const CHANGE: &str = "accounts.change_user";

/// Appended to the detail of an audit event if application tokens end too.
const TOKENS_END: &str = ": all tokens end, application tokens too";

/// A new account.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The login name, unique across all organisations.
    pub name: String,
    /// The organisation's name; its number is drawn at first use.
    pub organisation: String,
    /// The user's role.
    pub role: Role,
}

/// The error when no account is created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddUserError {
    /// A user with this name exists.
    #[error("the user exists already")]
    Exists,
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The user's name is not allowed.
    #[error(
        "a name has 1 to 254 bytes without white space, control characters and colons, and is neither a number nor mfa, my, password, role or status"
    )]
    Name,
    /// The organisation's name is not allowed.
    #[error(
        "an organisation's name has 1 to 254 bytes without control characters and colons, and does not begin or end with a blank"
    )]
    OrganisationName,
    /// The password is not allowed.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
}

/// A change to a user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Lets a suspended user log in again.
    Activate,
    /// Ends every session and all tokens except application tokens.
    EndSessions,
    /// Removes the key with this number, pending or active, and everything that depends on it. Removing an active key ends every
    /// session and all tokens except application tokens. `None`, from whoever was shown no key, removes none.
    RemoveKey(Option<u32>),
    /// Prevents logins. Ends all the user's tokens, challenges and trusted devices. Application tokens end for good, even if the
    /// user is activated again.
    Suspend,
    /// Lifts the user's lockouts and resets the counts of failures.
    Unlock,
}

impl UserChange {
    const fn action(self) -> Action {
        match self {
            Self::Activate => Action::UserActivate,
            Self::EndSessions => Action::UserSessionsEndAll,
            Self::RemoveKey(_) => Action::MfaKeyRemove,
            Self::Suspend => Action::UserSuspend,
            Self::Unlock => Action::UserUnlock,
        }
    }
}

/// The error when an account is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeUserError {
    /// The user's key is not the one to remove.
    #[error("the user has another key")]
    AnotherKey,
    /// The user has no key to remove.
    #[error("the user has no key")]
    NoKey,
    /// The operator's scopes do not cover the user's organisation, whether or not it exists.
    #[error("the token's scopes do not reach the organisation")]
    OutOfReach,
    /// There is no user with this name or number.
    #[error("there is no such user")]
    Unknown,
}

impl From<SeeUsersError> for ChangeUserError {
    fn from(error: SeeUsersError) -> Self {
        match error {
            SeeUsersError::OutOfReach => Self::OutOfReach,
            SeeUsersError::Unknown => Self::Unknown,
        }
    }
}

/// The error when there is no user with this name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such user")]
pub struct UnknownUser;

/// The account to change, and the permission for it.
#[derive(Clone, Copy, Debug)]
pub enum AccountTarget<'a> {
    /// The user with this name, at the command line.
    Named(&'a CommandLine, &'a str),
    /// The user with this number, for an operator whose scopes cover the organisation.
    Reached {
        /// The operator.
        caller: &'a Caller,
        /// The organisation's number.
        organisation: u32,
        /// The user's number within it.
        user: u32,
    },
}

impl AccountTarget<'_> {
    const fn origin(&self) -> &Origin {
        match self {
            Self::Named(command, _) => command.origin(),
            Self::Reached { caller, .. } => caller.origin(),
        }
    }
}

/// The result of unlocking a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocking {
    /// The lockouts were lifted.
    Lifted,
    /// There were none: neither for the name or fingerprints, nor for a known address, trusted device or session.
    NoLock,
}

/// The error when an operator does not set a user's password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetUserPasswordError {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The password is not allowed.
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    /// There is no user with this name.
    #[error("there is no such user")]
    Unknown,
}

impl Accounts {
    /// Creates an account, and its organisation if it does not exist.
    ///
    /// # Errors
    ///
    /// [`AddUserError`].
    pub async fn add_user(
        &self,
        new: &NewUser,
        password: Zeroizing<String>,
        command: &CommandLine,
    ) -> Result<(), Failure<AddUserError>> {
        self.make_user(new, password, command.origin()).await
    }

    /// Creates an account. The caller must have checked the permission.
    pub(super) async fn make_user(
        &self,
        new: &NewUser,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<(), Failure<AddUserError>> {
        if !is_user_name(&new.name) {
            return refuse(AddUserError::Name);
        }
        if !is_organisation_name(&new.organisation) {
            return refuse(AddUserError::OrganisationName);
        }
        check_new_password(&password).map_err(|error| Failure::Refused(error.into()))?;
        let password = self.hash_password(password, origin).await?;
        transact("accounts.add_user", &self.store, || async {
            let name = user_name_key(&new.name);
            let organisation = organisation_name_key(&new.organisation);
            let reading = self.read([name.clone(), organisation.clone()]).await?;
            let now = reading.now();
            let name: Slot<UserName> = Slot::of(&reading, name)?;
            let organisation: Slot<OrganisationName> = Slot::of(&reading, organisation)?;
            if name.record().is_some() {
                return refuse(AddUserError::Exists);
            }
            let mut batch = self.store.batch(now);
            let organisation = self.organisation(&mut batch, &organisation, &new.organisation);
            let user = User {
                id: self.draw_number(),
                name: new.name.clone(),
                organisation,
                organisation_name: new.organisation.clone(),
                role: new.role,
                status: UserStatus::Active,
                password: password.clone(),
                generation: u32::from_be_bytes(self.random()).into(),
                incarnation: self.draw_incarnation(),
                key_changes: 0,
                activation: None,
                created_at: now,
            };
            let owner = user.owner();
            name.replace(&mut batch, &UserName { owner }, None);
            batch.insert(&user_key(owner), &user, None);
            let subject = user.subject();
            let detail = format!("{subject} in {}, role {}", new.organisation, user.role);
            let new_event = new_event(Action::UserAdd, &user, Some(detail), origin);
            self.audit.done(&mut batch, now, new_event);
            // A conflict means that the name or number is taken. The retry looks up the name again and draws another number.
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Returns a page of the accounts of all organisations: those after `after`, the last account of the page before. The page is
    /// empty at the end. Accounts of one organisation are consecutive. Their keys are not shown.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn all_users(&self, after: Option<&UserView>) -> Result<Vec<UserView>, StorageError> {
        let after = after.map(|last| {
            user_key(Owner {
                organisation: last.organisation,
                user: last.id,
            })
        });
        let mut pages = Pages::<User>::after(&self.store, all_users(), after);
        let page = pages.next(self.clock.now()).await?.unwrap_or_default();
        let users = page.into_iter().map(|(_, stored)| UserView {
            shows_key: false,
            ..view(&stored.record, None)
        });
        Ok(users.collect())
    }

    /// Removes an account with all its tokens, keys and devices. The counts for its name stay. So does the name, for readers of the
    /// audit trail, until [`forget_user`](Self::forget_user).
    ///
    /// # Errors
    ///
    /// [`UnknownUser`].
    pub async fn remove_user(
        &self,
        name: &str,
        command: &CommandLine,
    ) -> Result<(), Failure<UnknownUser>> {
        transact(CHANGE, &self.store, || async {
            let (account, user) = self.named(name, UnknownUser).await?;
            let mut batch = self.changing(&account, &user, Action::UserRemove, command.origin());
            account.erase(&mut batch);
            let subject = user.subject();
            let name = user.name;
            let removed = RemovedUser { name, subject };
            batch.insert(&removed_user_key(subject), &removed, None);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Changes an account. Returns an [`Unlocking`] for [`UserChange::Unlock`].
    ///
    /// # Errors
    ///
    /// [`ChangeUserError`].
    pub async fn change_user(
        &self,
        account_target: AccountTarget<'_>,
        change: UserChange,
    ) -> Result<Option<Unlocking>, Failure<ChangeUserError>> {
        let incarnation = self.draw_incarnation();
        transact(CHANGE, &self.store, || async {
            let (account, user) = self.account_target(account_target, change.action()).await?;
            let (records, origin) = (account.records(), account_target.origin());
            let mut unlocking = None;
            let (next, user) = match change {
                UserChange::Activate => {
                    let status = UserStatus::Active;
                    (records, User { status, ..user })
                }
                UserChange::EndSessions => (records, user.ending_sessions(None)),
                UserChange::RemoveKey(id) => {
                    let key = account.second_factor.record();
                    if key.is_some_and(|key| Some(key.id) != id) {
                        return refuse(ChangeUserError::AnotherKey);
                    }
                    let removal = self.key_removal(&account, &user, None, origin);
                    let batch =
                        removal.map_err(|NoKey| Failure::Refused(ChangeUserError::NoKey))?;
                    return Ok(Attempt::Commit(batch, Ok(None)));
                }
                UserChange::Suspend => {
                    let next = records.suspend();
                    let user = User {
                        status: UserStatus::Suspended,
                        generation: next.user.generation(),
                        incarnation,
                        ..user
                    };
                    (next, user)
                }
                UserChange::Unlock => {
                    unlocking = Some(if records.is_locked(account.at()) {
                        Unlocking::Lifted
                    } else {
                        Unlocking::NoLock
                    });
                    (records.unlock(), user)
                }
            };
            let mut batch = self.changing(&account, &user, change.action(), origin);
            account.save_user(&mut batch, next, user);
            Ok(Attempt::Commit(batch, Ok(unlocking)))
        })
        .await
    }

    /// Sets a user's password. Ends all their tokens, including application tokens, and their challenges and trusted devices.
    ///
    /// # Errors
    ///
    /// [`SetUserPasswordError`].
    pub async fn set_user_password(
        &self,
        name: &str,
        password: Zeroizing<String>,
        command: &CommandLine,
    ) -> Result<(), Failure<SetUserPasswordError>> {
        let origin = command.origin();
        check_new_password(&password).map_err(|error| Failure::Refused(error.into()))?;
        let password = self.hash_password(password, origin).await?;
        let incarnation = self.draw_incarnation();
        transact(CHANGE, &self.store, || async {
            let named = self.named(name, SetUserPasswordError::Unknown);
            let (account, user) = named.await?;
            let mut batch = self.changing(&account, &user, Action::UserSetPassword, origin);
            let next = account.records().after_password_change();
            let user = User {
                password: password.clone(),
                generation: next.user.generation(),
                incarnation,
                ..user
            };
            account.save_user(&mut batch, next, user);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Draws the incarnation that future application tokens belong to.
    fn draw_incarnation(&self) -> u64 {
        u64::from_be_bytes(self.random())
    }

    /// Creates a batch that changes an account, with the audit event.
    fn changing(&self, account: &Account, user: &User, action: Action, origin: &Origin) -> Batch {
        let also = match action {
            Action::UserRemove | Action::UserSetPassword | Action::UserSuspend => TOKENS_END,
            _ => "",
        };
        let mut batch = self.store.batch(account.now);
        let detail = format!("{}{also}", user.subject());
        let new_event = new_event(action, user, Some(detail), origin);
        self.audit.done(&mut batch, account.now, new_event);
        batch
    }

    /// Reads the account to be changed. Records in the audit trail if it is outside an operator's scopes.
    async fn account_target(
        &self,
        account_target: AccountTarget<'_>,
        action: Action,
    ) -> Result<(Account, User), Failure<ChangeUserError>> {
        match account_target {
            AccountTarget::Named(_, name) => self.named(name, ChangeUserError::Unknown).await,
            AccountTarget::Reached {
                caller,
                organisation,
                user,
            } => {
                let theirs = Owner { organisation, user };
                let reached = self.reached(caller, AccessLevel::Change, theirs).await;
                if let Err(Failure::Refused(SeeUsersError::OutOfReach)) = reached {
                    self.out_of_reach(caller, action, owner(theirs)).await;
                }
                reached.map_err(|failure| failure.map(ChangeUserError::from))
            }
        }
    }

    /// Reads the account with this name. Refuses with `unknown` if there is none.
    async fn named<E>(&self, name: &str, unknown: E) -> Result<(Account, User), Failure<E>> {
        let account = self.account(name).await?;
        let user = account.user.record().cloned();
        let user = user.ok_or(Failure::Refused(unknown))?;
        Ok((account, user))
    }

    /// Returns the number of an organisation, which is added if it is new.
    fn organisation(&self, batch: &mut Batch, named: &Slot<OrganisationName>, name: &str) -> u32 {
        if let Some(named_before) = named.record() {
            named.require(batch);
            return named_before.id;
        }
        let id = self.draw_number();
        let organisation = Organisation {
            id,
            name: name.to_owned(),
        };
        named.replace(batch, &OrganisationName { id }, None);
        batch.insert(&organisation_key(id), &organisation, None);
        id
    }

    pub(super) async fn hash_password(
        &self,
        password: Zeroizing<String>,
        origin: &Origin,
    ) -> Result<String, HashingError> {
        self.hashing
            .hash(self.turn(origin), canonical(password), self.store.entropy())
            .await
    }
}

/// Whether the name can be in a path and in an `otpauth` label without being taken for a number or another resource.
fn is_user_name(name: &str) -> bool {
    const WORDS: [&str; 5] = ["mfa", "my", "password", "role", "status"];
    (1..=MAX_NAME).contains(&name.len())
        && name
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && c != ':')
        && !is_number(name)
        && !WORDS.contains(&name)
}

/// Whether a path's segment in a user's place is a number, so that no user has it as a name.
pub fn is_number(text: &str) -> bool {
    // The standard library also parses words such as `inf` and `nan`, which are names.
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

fn is_organisation_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.trim() == name
        && name.chars().all(|c| !c.is_control() && c != ':')
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn names_are_told_from_numbers_and_words() {
        for name in [
            "ada",
            "ada@example.org",
            "Ada_Lovelace",
            "1st",
            "ä",
            "nan",
            "Inf",
            "-infinity",
        ] {
            assert!(is_user_name(name), "{name}");
        }
        let long = "a".repeat(255);
        for name in [
            "", "a b", "a:b", "a\n", "44", "44.0", "1e3", "1e999", "my", "mfa", &long,
        ] {
            assert!(!is_user_name(name), "{name}");
        }
        assert!(is_organisation_name("Example Org"));
        for name in ["", " a", "a ", "a:b", "a\u{7}"] {
            assert!(!is_organisation_name(name), "{name}");
        }
    }
}
