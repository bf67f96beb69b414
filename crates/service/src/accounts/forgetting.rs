//! The names of removed users, which are kept for readers of the audit trail until they are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use keyproof_store::{Key, ReadPlan, Stored};

use super::{
    Accounts, UnknownUser,
    application_tokens::is_of,
    ended_tokens::shown_at_most,
    events,
    records::{
        ApplicationToken, ApplicationTokenText, RemovedUser, TextPlace, User, all_removed_users,
        application_tokens_of, removed_user_key, user_key,
    },
};
use crate::{
    Action, CommandLine, Failure, Origin, StorageError,
    audit::{Event, NewEvent},
    pages::Pages,
    slot::Slot,
    storage::{Attempt, transact},
};

/// The number of subjects looked up at once. Each takes two keys of a plan.
const SUBJECTS: usize = ReadPlan::MAX_KEYS / 2;

/// The result of forgetting a user. In either case the name is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// The account was removed now.
    Removed,
    /// There was no account: it had been removed before.
    RemovedBefore,
}

impl Accounts {
    /// Removes the account with this name, if there is one, and forgets the name of every account that had it. The audit trail then
    /// shows them as numbers, except in events of earlier releases. If interrupted, call it again to continue.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`] if nobody has or is known to have had the name.
    pub async fn forget_user(
        &self,
        name: &str,
        command: &CommandLine,
    ) -> Result<Forgetting, Failure<UnknownUser>> {
        let mut forgetting = match self.remove_user(name, command).await {
            Ok(()) => Some(Forgetting::Removed),
            Err(Failure::Refused(UnknownUser)) => None,
            Err(failure) => return Err(failure),
        };
        let mut pages = Pages::<RemovedUser>::of(&self.store, all_removed_users());
        while let Some(page) = pages.next(self.clock.now()).await? {
            let called = |(_, stored): &(Key, Stored<RemovedUser>)| stored.record.name == name;
            for (_, removed) in page.into_iter().filter(called) {
                let forgotten = self.forget_removed(&removed.record, command.origin()).await;
                forgotten.map_err(|failure| Failure::Storage(failure.without_refusal()))?;
                forgetting.get_or_insert(Forgetting::RemovedBefore);
            }
        }
        forgetting.ok_or(Failure::Refused(UnknownUser))
    }

    /// Deletes the record of the name last: as long as it exists, other traces may exist too.
    async fn forget_removed(
        &self,
        removed: &RemovedUser,
        origin: &Origin,
    ) -> Result<(), Failure<Infallible>> {
        self.forget_creator(removed).await?;
        let place = removed_user_key(removed.subject);
        transact("accounts.forget_user", &self.store, || async {
            let now = self.clock.now();
            let Some(stored) = self.store.get::<RemovedUser>(&place, now).await? else {
                return Ok(Attempt::Done(()));
            };
            let mut batch = self.store.batch(now);
            batch.remove(&place, stored.version);
            let new_event = NewEvent {
                action: Action::UserForget,
                target: events::owner(removed.subject.into()),
                detail: None,
                origin,
            };
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Removes the name from the user's application tokens, which have ended, and deletes their texts. Such a token stays listed for
    /// a while, without the name. If its text is unknown, it stays, because the text must not lead to a later token with its number.
    async fn forget_creator(&self, removed: &RemovedUser) -> Result<(), Failure<Infallible>> {
        let all = application_tokens_of(removed.subject.organisation);
        let mut pages = Pages::<ApplicationToken>::of(&self.store, all);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let theirs = |(_, stored): &(Key, Stored<ApplicationToken>)| {
                is_of(&stored.record, removed.subject.user, &removed.name)
            };
            for (place, _) in page.into_iter().filter(theirs) {
                transact("accounts.forget_creator", &self.store, || async {
                    let now = self.clock.now();
                    let found = self.store.get::<ApplicationToken>(&place, now).await?;
                    let Some(stored) = found else {
                        return Ok(Attempt::Done(()));
                    };
                    let mut batch = self.store.batch(now);
                    let mut expires_at = stored.expires_at;
                    let text_place = stored.record.text.as_ref().and_then(TextPlace::key);
                    if let Some(text_place) = &text_place {
                        expires_at = Some(shown_at_most(expires_at, now));
                        let text = self.store.get::<ApplicationTokenText>(text_place, now);
                        if let Some(text) = text.await? {
                            batch.remove(text_place, text.version);
                        }
                    }
                    let next = ApplicationToken {
                        creator_name: String::new(),
                        is_revoked: true,
                        text: stored.record.text.filter(|_| text_place.is_none()),
                        ..stored.record
                    };
                    batch.replace(&place, stored.version, &next, expires_at);
                    Ok(Attempt::Commit(batch, Ok(())))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Replaces users by their names in audit events. A forgotten user stays a number.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn name_subjects<'e>(
        &self,
        events: impl IntoIterator<Item = &'e mut Event>,
    ) -> Result<(), StorageError> {
        let events: Vec<_> = events.into_iter().collect();
        let subjects: BTreeSet<_> = events.iter().flat_map(|event| event.subjects()).collect();
        let subjects: Vec<_> = subjects.into_iter().collect();
        let mut names = BTreeMap::new();
        for some in subjects.chunks(SUBJECTS) {
            let places = some
                .iter()
                .flat_map(|subject| [user_key((*subject).into()), removed_user_key(*subject)]);
            let reading = self.read_plan(ReadPlan::new(places)).await?;
            for subject in some {
                let user = Slot::<User>::of(&reading, user_key((*subject).into()))?;
                let user = user.into_record();
                // The number may have passed to another user.
                let user = user.filter(|user| user.subject() == *subject);
                let removed = Slot::<RemovedUser>::of(&reading, removed_user_key(*subject))?;
                let removed = removed.into_record().map(|removed| removed.name);
                let name = user.map(|user| user.name).or(removed);
                names.extend(name.map(|name| (*subject, name)));
            }
        }
        for event in events {
            event.name(&names);
        }
        Ok(())
    }
}
