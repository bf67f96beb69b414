//! Loads the records that a change to a second factor, a password or an application token rests on, and checks that the session
//! may still make it: those of whoever has logged in, and of the user whose second factor they manage. What is done in a
//! session's name requires the user's record as it was read here: whatever ends the session, or makes it need a factor,
//! changes that.

use std::sync::Arc;

use keyproof_mfa::{FactorNeeded, UserRecords};
use keyproof_store::{Batch, Key, Snapshot};

use super::{
    Accounts, Manager, Person, Reason,
    account::{Account, FactorPlaces, records_of},
    records::{SecondFactor, User, second_factor_key, user_key},
};
use crate::{
    Action, Failure,
    slot::Slot,
    storage::{Attempt, settle_permitted},
};

/// Why a session decides nothing over keys, devices, recovery codes, passwords and application tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It has ended meanwhile.
    #[error("the session has ended")]
    Ended,
    /// A key is active, and it has shown no second factor.
    #[error("the session has shown no second factor")]
    FactorNeeded,
}

/// A user whose second factor is managed.
pub(super) struct Managed {
    pub(super) account: Account,
    pub(super) user: Arc<User>,
    /// Whoever manages it, if it is somebody else.
    manager: Option<Slot<User>>,
}

impl Managed {
    /// A session that has ended meanwhile manages nobody any more.
    pub(super) fn require_manager(&self, batch: &mut Batch) {
        if let Some(manager) = &self.manager {
            manager.require(batch);
        }
    }
}

impl Accounts {
    /// Settles races over what a person decides, as [`settle_permitted`] does: if the record that their session rests on is
    /// gone, the session has ended. That is also the answer where the record has moved, for a browser's session goes on under
    /// another token once a key was activated, other sessions were ended or a login was confirmed in another of its windows.
    /// A record that was only written over is there: by whoever has replaced the key that signs, which shortens the time of the
    /// former. What is decided under the former at that moment requires its version, so it loses all its tries, and is asked
    /// again by its client. To read that version anew would be right for keys alone, not for a session's record.
    pub(super) async fn settle_for<T, E, F>(
        &self,
        person: &Person,
        name: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure<E>>
    where
        E: From<Undecided>,
        F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
    {
        let ended = || Failure::Refused(Undecided::Ended.into());
        let (store, clock, origin) = (&self.store, &*self.clock, person.origin());
        settle_permitted(name, store, clock, origin, ended, attempt).await
    }

    /// All that is kept of a person, for what they decide over it.
    pub(super) async fn deciding<E: From<Undecided>>(
        &self,
        person: &Person,
        action: Action,
    ) -> Result<(Account, User), Failure<E>> {
        let session = person.session();
        let own = self.account_of(session.name(), session.owner).await?;
        let user = still_theirs(person, own.user.record())?.clone();
        self.may_decide(person, action, &user, &own.records())
            .await?;
        Ok((own, user))
    }

    /// The record of a person who decides over something else, and what is at these places.
    pub(super) async fn deciding_over<E: From<Undecided>>(
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
        let user = still_theirs(person, own.record())?.clone();
        let records = records_of(&user, key.record());
        self.may_decide(person, action, &user, &records).await?;
        Ok((own, user, reading))
    }

    /// The second factor of a user, for whoever manages it and decides this over it, or only looks on; `unknown` is what
    /// refuses if the user is gone.
    pub(super) async fn managed<E: From<Undecided>>(
        &self,
        manager: &Manager,
        deciding: Option<Action>,
        unknown: E,
    ) -> Result<Managed, Failure<E>> {
        let (person, owner) = (manager.person(), manager.owner());
        let own = person.session().owner;
        let along = person.session().along(owner);
        let read;
        let (places, reading) = match along.filter(|_| deciding.is_none()) {
            Some(along) => (along.places.clone(), &along.reading),
            None => {
                let places = FactorPlaces::of(owner);
                let asking = [user_key(own), second_factor_key(own)];
                read = self.read(asking.into_iter().chain(places.all())).await?;
                (places, &read)
            }
        };
        let asking = if own == owner {
            places.user.clone()
        } else {
            user_key(own)
        };
        let asking: Slot<User> = Slot::of(reading, asking)?;
        let user = still_theirs(person, asking.record())?;
        if let Some(action) = deciding {
            let key: Slot<SecondFactor> = Slot::of(reading, second_factor_key(own))?;
            let records = records_of(user, key.record());
            self.may_decide(person, action, user, &records).await?;
        }
        let account = Account::of_second_factor(places, reading)?;
        let user = account.user.shared().cloned();
        Ok(Managed {
            user: user.ok_or(Failure::Refused(unknown))?,
            account,
            manager: (own != owner).then_some(asking),
        })
    }

    /// Whether the person's session may decide at all; if not, there is an audit event of that.
    async fn may_decide<E: From<Undecided>>(
        &self,
        person: &Person,
        action: Action,
        user: &User,
        records: &UserRecords,
    ) -> Result<(), Failure<E>> {
        let standing = person.session().standing(user);
        let Err(FactorNeeded) = records.may_decide(standing) else {
            return Ok(());
        };
        let deed = self.refused(action, user, Reason::FactorNeeded, person.origin());
        self.audit.refused(deed).await;
        Err(Failure::Refused(Undecided::FactorNeeded.into()))
    }
}

/// The person's record, unless their session has ended.
fn still_theirs<'a, E: From<Undecided>>(
    person: &Person,
    user: Option<&'a User>,
) -> Result<&'a User, Failure<E>> {
    let user = user.filter(|user| person.session().is_of(user));
    user.ok_or_else(|| Failure::Refused(Undecided::Ended.into()))
}
