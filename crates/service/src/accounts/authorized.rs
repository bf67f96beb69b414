//! Loads the records needed for a change to a second factor, password or application token, and checks that the session may still
//! make it. The records are those of the logged-in person and of the user whose second factor they manage. Every change made in a
//! session requires the user's record as it was read here: whatever ends the session, or makes it need a factor, changes that
//! record, except the end of the access token's time, which is compared with the time of the reading.

use std::sync::Arc;

use keyproof_mfa::{FactorNeeded, UserRecords};
use keyproof_store::{Batch, Key, Snapshot, Timestamp};

use super::{
    Accounts, Manager, Person, Reason,
    account::{Account, factor_keys, records_of},
    records::{SecondFactor, User, second_factor_key, user_key},
};
use crate::{
    Action, Failure,
    slot::Slot,
    storage::{Attempt, refused, transact_permitted},
};

/// Why a session may not manage keys, devices, recovery codes, passwords and application tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// The session has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// The access token has expired meanwhile.
    #[error("the token has expired")]
    Expired,
    /// A key is active, and the session has presented no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
}

/// A user whose second factor is managed.
pub(super) struct Managed {
    pub(super) account: Account,
    pub(super) user: Arc<User>,
    /// The manager, if that is another user.
    manager: Option<Slot<User>>,
}

impl Managed {
    /// Requires the manager's record, so that a session that has ended meanwhile manages nobody.
    pub(super) fn require_manager(&self, batch: &mut Batch) {
        if let Some(manager) = &self.manager {
            manager.require(batch);
        }
    }
}

impl Accounts {
    /// Commits a person's change as [`transact_permitted`] does: if the record that permits the session is gone, the
    /// session has ended. The result is the same if that record has moved: a browser session gets a new token when a key is
    /// activated, other sessions are ended or a login is confirmed in another window. A replacement of the signing key only
    /// rewrites the former key's record, to shorten its validity. A change under the former key at that moment requires its old
    /// version, so all its attempts fail and the client must retry. Reading the new version would be correct for keys only, not for
    /// a session's record.
    pub(super) async fn transact_for<T, E, F>(
        &self,
        person: &Person,
        name: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure<E>>
    where
        E: From<SessionRefused>,
        F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
    {
        let ended = || Failure::Refused(SessionRefused::Ended.into());
        let (store, clock, origin) = (&self.store, &*self.clock, person.origin());
        transact_permitted(name, store, clock, origin, ended, attempt).await
    }

    /// Reads the account of a person who makes a change to it.
    pub(super) async fn authorized<E: From<SessionRefused>>(
        &self,
        person: &Person,
        action: Action,
    ) -> Result<(Account, User), Failure<E>> {
        let session = person.session();
        let own = self.account_of(session.name(), session.owner).await?;
        let user = require_live_session(person, own.user.record(), own.now)?.clone();
        self.require_factor(person, action, &user, &own.records())
            .await?;
        Ok((own, user))
    }

    /// Reads the record of a person who changes something else, and the records at these keys.
    pub(super) async fn authorized_with<E: From<SessionRefused>>(
        &self,
        person: &Person,
        action: Action,
        places: impl IntoIterator<Item = Key>,
    ) -> Result<(Slot<User>, User, Snapshot), Failure<E>> {
        let owner = person.session().owner;
        let own = [user_key(owner), second_factor_key(owner)];
        let reading = self.read(own.into_iter().chain(places)).await?;
        let own: Slot<User> = Slot::of(&reading, user_key(owner))?;
        let key: Slot<SecondFactor> = Slot::of(&reading, second_factor_key(owner))?;
        let user = require_live_session(person, own.record(), reading.now())?.clone();
        let records = records_of(&user, key.record());
        self.require_factor(person, action, &user, &records).await?;
        Ok((own, user, reading))
    }

    /// Reads a user's second factor for a manager who changes it (`authorized`) or only reads it. Refuses with `unknown` if the user
    /// is gone.
    pub(super) async fn managed<E: From<SessionRefused>>(
        &self,
        manager: &Manager,
        authorized: Option<Action>,
        unknown: E,
    ) -> Result<Managed, Failure<E>> {
        let (person, owner) = (manager.person(), manager.owner());
        let own = person.session().owner;
        let prefetch = person.session().prefetch(owner);
        let places = factor_keys(owner);
        let read;
        let reading = match prefetch.filter(|_| authorized.is_none()) {
            Some(prefetch) => &prefetch.reading,
            None => {
                let asking = [user_key(own), second_factor_key(own)];
                read = self.read(asking.into_iter().chain(places.clone())).await?;
                &read
            }
        };
        let asking: Slot<User> = Slot::of(reading, user_key(own))?;
        let user = require_live_session(person, asking.record(), reading.now())?;
        if let Some(action) = authorized {
            let key: Slot<SecondFactor> = Slot::of(reading, second_factor_key(own))?;
            let records = records_of(user, key.record());
            self.require_factor(person, action, user, &records).await?;
        }
        let account = Account::of_second_factor(places, reading)?;
        let user = account.user.shared().cloned();
        Ok(Managed {
            user: user.ok_or(Failure::Refused(unknown))?,
            account,
            manager: (own != owner).then_some(asking),
        })
    }

    /// Checks that the person's session has shown a second factor, if a key is active. A refusal is recorded in the audit trail.
    async fn require_factor<E: From<SessionRefused>>(
        &self,
        person: &Person,
        action: Action,
        user: &User,
        records: &UserRecords,
    ) -> Result<(), Failure<E>> {
        let auth_method = person.session().auth_method(user);
        let Err(FactorNeeded) = records.require_factor(auth_method) else {
            return Ok(());
        };
        let new_event = self.refused(action, user, Reason::FactorNeeded, person.origin());
        self.audit.refused(new_event).await;
        Err(Failure::Refused(SessionRefused::FactorNeeded.into()))
    }
}

/// Returns the person's record unless their session has ended by now.
fn require_live_session<'a, E: From<SessionRefused>>(
    person: &Person,
    user: Option<&'a User>,
    now: Timestamp,
) -> Result<&'a User, Failure<E>> {
    let session = person.session();
    if session.expires_at.is_some_and(|end| end <= now) {
        return Err(refused(SessionRefused::Expired));
    }
    let user = user.filter(|user| session.is_of(user));
    user.ok_or_else(|| refused(SessionRefused::Ended))
}
