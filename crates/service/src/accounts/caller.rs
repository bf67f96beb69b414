//! Operators who manage users, and the organisations that their scopes cover.

use keyproof_auth::operator::{AccessLevel, OperatorScope};
use keyproof_store::Snapshot;
use zeroize::Zeroizing;

use super::{
    Accounts, AddUserError, KeySummary, NewUser, UserPage, UserQuery, UserView,
    account::Account,
    directory::view,
    records::{
        Organisation, OrganisationName, Owner, User, organisation_key, organisation_name_key,
        organisation_names, user_key,
    },
};
use crate::{
    Action, Failure, ListPage, Origin, StorageError,
    access::Operator,
    audit::{NewEvent, Target},
    slot::Slot,
    storage::refuse,
};

/// The number of organisations on a page.
const ORGANISATIONS: usize = 50;

/// An operator as a caller of account use cases. The value alone permits nothing: access is checked for each organisation against
/// the records read for it.
#[derive(Clone, Debug)]
pub struct Caller {
    operator: Operator,
    origin: Origin,
}

impl Caller {
    /// Creates the caller for this operator and request.
    pub fn new(operator: &Operator, origin: &Origin) -> Self {
        Self {
            operator: operator.clone(),
            origin: origin.by_operator(operator),
        }
    }

    /// Whether the operator may change the users of this organisation.
    pub fn may_change(&self, organisation: &str) -> bool {
        self.may(AccessLevel::Change, organisation)
    }

    /// Whether the operator may change the users of at least one organisation.
    pub fn may_change_some(&self) -> bool {
        self.operator.scopes().any(|scope| {
            matches!(
                scope,
                OperatorScope::Admin | OperatorScope::Users(AccessLevel::Change, _)
            )
        })
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the organisation with this number from a snapshot, if the operator's scopes cover it. Only an operator whose scopes
    /// cover all organisations learns that there is none, because others must not learn which numbers are in use.
    fn reached(
        &self,
        reach: AccessLevel,
        organisation: u32,
        reading: &Snapshot,
    ) -> Result<Organisation, Failure<SeeUsersError>> {
        // An organisation's name never changes.
        let found: Slot<Organisation> = Slot::of(reading, organisation_key(organisation))?;
        let found = found.into_record();
        let reaches = match &found {
            Some(organisation) => self.may(reach, &organisation.name),
            None => self.operator.may(&OperatorScope::Users(reach, None)),
        };
        match found {
            Some(found) if reaches => Ok(found),
            None if reaches => refuse(SeeUsersError::Unknown),
            _ => refuse(SeeUsersError::OutOfReach),
        }
    }

    fn may(&self, reach: AccessLevel, organisation: &str) -> bool {
        let needed = OperatorScope::Users(reach, Some(organisation.to_owned()));
        self.operator.may(&needed)
    }

    /// Returns the names of the only organisations that the operator may see; `None` if they may see all.
    fn named(&self) -> Option<Vec<&str>> {
        let everywhere = OperatorScope::Users(AccessLevel::Read, None);
        if self.operator.may(&everywhere) {
            return None;
        }
        let named = self.operator.scopes().filter_map(|scope| match scope {
            OperatorScope::Users(_, name) => name.as_deref(),
            _ => None,
        });
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.dedup();
        Some(named)
    }
}

/// A user as an operator sees them, without secrets.
#[derive(Clone, Debug)]
pub struct UserState {
    /// The user.
    pub user: UserView,
    /// Whether a lockout is in force: for their name, or for an address, device or session, so that guesses there are refused,
    /// or for fingerprints, so that every login needs a code.
    pub is_locked: bool,
    /// The number of trusted devices.
    pub devices: usize,
    /// The number of unused recovery codes; `None` if none were created.
    pub recovery_codes: Option<usize>,
}

/// The error when an operator may not see users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeeUsersError {
    /// The operator's scopes do not cover the organisation, whether or not it exists.
    #[error("the token's scopes do not reach the organisation")]
    OutOfReach,
    /// There is no such user, or no such organisation.
    #[error("there is no such user or organisation")]
    Unknown,
}

/// The error when an operator does not add a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddUserAsError {
    /// An error that does not depend on the caller.
    #[error(transparent)]
    Add(#[from] AddUserError),
    /// The operator's scopes do not cover the organisation.
    #[error("the token's scopes do not reach the organisation")]
    OutOfReach,
}

impl Accounts {
    /// Returns the organisations that an operator may see, by name, after `after`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn organisations(
        &self,
        caller: &Caller,
        after: Option<&str>,
    ) -> Result<ListPage<Organisation, String>, StorageError> {
        let Some(names) = caller.named() else {
            return self.all_organisations(after).await;
        };
        let names: Vec<_> = names
            .into_iter()
            .filter(|name| Some(*name) > after)
            .collect();
        let mut pages = names.chunks(ORGANISATIONS).peekable();
        // Scopes may name many organisations that do not exist, so several chunks may have to be read.
        while let Some(names) = pages.next() {
            let places = names.iter().copied().map(organisation_name_key);
            let places: Vec<_> = places.collect();
            let reading = self.read(places.iter().cloned()).await?;
            let mut ids = Vec::new();
            for place in places {
                let named: Slot<OrganisationName> = Slot::of(&reading, place)?;
                ids.extend(named.record().map(|named| named.id));
            }
            let rows = self.organisations_of(ids).await?;
            if !rows.is_empty() {
                let last = names.last().filter(|_| pages.peek().is_some());
                let next = last.map(|last| (*last).to_owned());
                return Ok(ListPage { rows, next });
            }
        }
        let rows = Vec::new();
        Ok(ListPage { rows, next: None })
    }

    async fn all_organisations(
        &self,
        after: Option<&str>,
    ) -> Result<ListPage<Organisation, String>, StorageError> {
        let (all, after) = (organisation_names(), after.map(organisation_name_key));
        let now = self.clock.now();
        let page = self
            .store
            .scan::<OrganisationName>(&all, after.as_ref(), ORGANISATIONS, now);
        let ids: Vec<_> = page
            .await?
            .into_iter()
            .map(|(_, stored)| stored.record.id)
            .collect();
        let is_over = ids.len() < ORGANISATIONS;
        let rows = self.organisations_of(ids).await?;
        Ok(ListPage::of(rows, !is_over, |last| last.name.clone()))
    }

    /// Returns those of the organisations with these numbers that exist.
    async fn organisations_of(&self, ids: Vec<u32>) -> Result<Vec<Organisation>, StorageError> {
        let places = ids.iter().map(|id| organisation_key(*id));
        let reading = self.read(places).await?;
        let mut organisations = Vec::new();
        for id in ids {
            let organisation: Slot<Organisation> = Slot::of(&reading, organisation_key(id))?;
            organisations.extend(organisation.into_record());
        }
        Ok(organisations)
    }

    /// Returns users of an organisation that an operator may see, and the organisation.
    ///
    /// # Errors
    ///
    /// [`SeeUsersError`].
    pub async fn users_as(
        &self,
        caller: &Caller,
        organisation: u32,
        query: &UserQuery,
    ) -> Result<(Organisation, UserPage), Failure<SeeUsersError>> {
        let reading = self.read([organisation_key(organisation)]).await?;
        let reached = caller.reached(AccessLevel::Read, organisation, &reading)?;
        let party = caller.origin.who.party();
        let page = self.users_in(reached.id, &party, query).await?;
        Ok((reached, page))
    }

    /// Returns the state of a user whom an operator may see.
    ///
    /// # Errors
    ///
    /// [`SeeUsersError`].
    pub async fn user_as(
        &self,
        caller: &Caller,
        organisation: u32,
        user: u32,
    ) -> Result<UserState, Failure<SeeUsersError>> {
        let owner = Owner { organisation, user };
        let (account, user) = self.reached(caller, AccessLevel::Read, owner).await?;
        let records = account.records();
        let key = account.second_factor.record();
        Ok(UserState {
            user: view(&user, key.map(KeySummary::of)),
            is_locked: records.is_locked(account.at()),
            devices: records.trusted_devices(account.at()).len(),
            recovery_codes: records
                .recovery
                .as_ref()
                .map(keyproof_mfa::RecoveryCodes::left),
        })
    }

    /// Reads the account of a user whom an operator's scopes cover.
    pub(super) async fn reached(
        &self,
        caller: &Caller,
        reach: AccessLevel,
        owner: Owner,
    ) -> Result<(Account, User), Failure<SeeUsersError>> {
        const UNKNOWN: Failure<SeeUsersError> = Failure::Refused(SeeUsersError::Unknown);
        let places = [organisation_key(owner.organisation), user_key(owner)];
        let reading = self.read(places).await?;
        caller.reached(reach, owner.organisation, &reading)?;
        let found: Slot<User> = Slot::of(&reading, user_key(owner))?;
        let found = found.into_record().ok_or(UNKNOWN)?;
        let account = self.account_of(&found.name, owner).await?;
        let user = account.user.record().cloned().ok_or(UNKNOWN)?;
        Ok((account, user))
    }

    /// Records in the audit trail that an action outside an operator's scopes was refused.
    pub(super) async fn out_of_reach(&self, caller: &Caller, action: Action, target: Target) {
        let refused = NewEvent {
            action,
            target,
            detail: Some(SeeUsersError::OutOfReach.to_string()),
            origin: caller.origin(),
        };
        self.audit.refused(refused).await;
    }

    /// Adds a user to an organisation that the operator may change.
    ///
    /// # Errors
    ///
    /// [`AddUserAsError`].
    pub async fn add_user_as(
        &self,
        caller: &Caller,
        new: &NewUser,
        password: Zeroizing<String>,
    ) -> Result<(), Failure<AddUserAsError>> {
        if !caller.may_change(&new.organisation) {
            let told = self.out_of_reach(caller, Action::UserAdd, Target::Organisation);
            told.await;
            return refuse(AddUserAsError::OutOfReach);
        }
        let added = self.make_user(new, password, caller.origin());
        added
            .await
            .map_err(|failure| failure.map(AddUserAsError::Add))
    }
}
