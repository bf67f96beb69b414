//! Operators who look after users: which organisations their scopes reach.

use keyproof_auth::operator::{OperatorScope, Reach};
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
    Action, Failure, Origin, StorageError,
    access::Operator,
    audit::{Deed, Target},
    slot::Slot,
    storage::refuse,
};

/// How many organisations a page has.
const ORGANISATIONS: usize = 50;

/// An operator, as accounts know them. By itself it permits nothing: what it reaches is asked for each organisation, with what
/// is read of that.
#[derive(Clone, Debug)]
pub struct Caller {
    operator: Operator,
    origin: Origin,
}

impl Caller {
    /// This operator, with a request that came from there.
    pub fn new(operator: &Operator, origin: &Origin) -> Self {
        Self {
            operator: operator.clone(),
            origin: origin.by_operator(operator),
        }
    }

    /// Whether they may change the users of this organisation.
    pub fn may_change(&self, organisation: &str) -> bool {
        self.may(Reach::Change, organisation)
    }

    /// Whether they may change those of some organisation, and so be asked which.
    pub fn may_change_some(&self) -> bool {
        self.operator.scopes().any(|scope| {
            matches!(
                scope,
                OperatorScope::Admin | OperatorScope::Users(Reach::Change, _)
            )
        })
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The organisation of this number, which was read, if they reach it; to be told that there is none takes reaching each one,
    /// for whoever does not is to learn neither which numbers others have.
    fn reached(
        &self,
        reach: Reach,
        organisation: u32,
        reading: &Snapshot,
    ) -> Result<OrganisationView, Failure<SeeUsersError>> {
        // An organisation's name never changes.
        let found: Slot<Organisation> = Slot::of(reading, organisation_key(organisation))?;
        let found = found.into_record();
        let reaches = match &found {
            Some(organisation) => self.may(reach, &organisation.name),
            None => self.operator.may(&OperatorScope::Users(reach, None)),
        };
        match found {
            Some(found) if reaches => Ok(OrganisationView::of(found)),
            None if reaches => refuse(SeeUsersError::Unknown),
            _ => refuse(SeeUsersError::OutOfReach),
        }
    }

    fn may(&self, reach: Reach, organisation: &str) -> bool {
        let needed = OperatorScope::Users(reach, Some(organisation.to_owned()));
        self.operator.may(&needed)
    }

    /// The only organisations that they may see, unless that is all of them.
    fn named(&self) -> Option<Vec<&str>> {
        let everywhere = OperatorScope::Users(Reach::Read, None);
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

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganisationView {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// A page of organisations, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganisationPage {
    /// Those of the page.
    pub organisations: Vec<OrganisationView>,
    /// The name after which the next page begins, if there may be one.
    pub after: Option<String>,
}

/// A user, as an operator sees them: nothing of it is secret.
#[derive(Clone, Debug)]
pub struct UserState {
    /// The user.
    pub user: UserView,
    /// Whether guesses at their password or code are not judged at present (by name, or at some address, device or session), or
    /// no device is known by its fingerprint, so that every login takes a code.
    pub is_locked: bool,
    /// How many devices they trust.
    pub devices: usize,
    /// How many recovery codes are left; none where none were made.
    pub recovery_codes: Option<usize>,
}

/// Why an operator does not see users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeeUsersError {
    /// Their scopes do not reach the organisation, whether or not there is one.
    #[error("the token's scopes do not reach the organisation")]
    OutOfReach,
    /// There is no such user, or no such organisation.
    #[error("there is no such user or organisation")]
    Unknown,
}

/// Why an operator's user is not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddUserAsError {
    /// As for everybody.
    #[error(transparent)]
    Add(#[from] AddUserError),
    /// Their scopes do not reach the organisation.
    #[error("the token's scopes do not reach the organisation")]
    OutOfReach,
}

impl Accounts {
    /// The organisations that an operator may see, by name, behind this one.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn organisations(
        &self,
        caller: &Caller,
        after: Option<&str>,
    ) -> Result<OrganisationPage, StorageError> {
        let Some(names) = caller.named() else {
            return self.all_organisations(after).await;
        };
        let names: Vec<_> = names
            .into_iter()
            .filter(|name| Some(*name) > after)
            .collect();
        let mut pages = names.chunks(ORGANISATIONS).peekable();
        let mut page = OrganisationPage::default();
        // Not every organisation that a scope names is there: those that are may be behind many that are not.
        while let Some(names) = pages.next() {
            let places = names.iter().copied().map(organisation_name_key);
            let places: Vec<_> = places.collect();
            let reading = self.read(places.iter().cloned()).await?;
            let mut ids = Vec::new();
            for place in places {
                let named: Slot<OrganisationName> = Slot::of(&reading, place)?;
                ids.extend(named.record().map(|named| named.id));
            }
            page.organisations = self.organisations_of(ids).await?;
            if !page.organisations.is_empty() {
                let last = names.last().filter(|_| pages.peek().is_some());
                page.after = last.map(|last| (*last).to_owned());
                break;
            }
        }
        Ok(page)
    }

    async fn all_organisations(
        &self,
        after: Option<&str>,
    ) -> Result<OrganisationPage, StorageError> {
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
        let organisations = self.organisations_of(ids).await?;
        let last = organisations.last().filter(|_| !is_over);
        Ok(OrganisationPage {
            after: last.map(|last| last.name.clone()),
            organisations,
        })
    }

    /// The organisations of these numbers, as far as they are there.
    async fn organisations_of(&self, ids: Vec<u32>) -> Result<Vec<OrganisationView>, StorageError> {
        let places = ids.iter().map(|id| organisation_key(*id));
        let reading = self.read(places).await?;
        let mut organisations = Vec::new();
        for id in ids {
            let organisation: Slot<Organisation> = Slot::of(&reading, organisation_key(id))?;
            organisations.extend(organisation.into_record().map(OrganisationView::of));
        }
        Ok(organisations)
    }

    /// Users of an organisation that an operator may see, and its name.
    ///
    /// # Errors
    ///
    /// [`SeeUsersError`].
    pub async fn users_as(
        &self,
        caller: &Caller,
        organisation: u32,
        query: &UserQuery,
    ) -> Result<(OrganisationView, UserPage), Failure<SeeUsersError>> {
        let reading = self.read([organisation_key(organisation)]).await?;
        let reached = caller.reached(Reach::Read, organisation, &reading)?;
        let party = caller.origin.who.party();
        let page = self.users_in(reached.id, &party, query).await?;
        Ok((reached, page))
    }

    /// A user whom an operator may see.
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
        let (account, user) = self.reached(caller, Reach::Read, owner).await?;
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

    /// All that is kept of a user whom an operator reaches.
    pub(super) async fn reached(
        &self,
        caller: &Caller,
        reach: Reach,
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

    /// Tells the audit trail that an operator was refused this on what their scopes do not reach.
    pub(super) async fn out_of_reach(&self, caller: &Caller, action: Action, target: Target) {
        let refused = Deed {
            action,
            target,
            detail: Some(SeeUsersError::OutOfReach.to_string()),
            origin: caller.origin(),
        };
        self.audit.refused(refused).await;
    }

    /// Adds a user to an organisation that an operator may change.
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

impl OrganisationView {
    fn of(organisation: Organisation) -> Self {
        Self {
            id: organisation.id,
            name: organisation.name,
        }
    }
}
