//! Audit events about users: changes to them, and refusals.

use std::sync::Arc;

use keyproof_mfa::UserRecords;

use super::{
    Accounts, Detail, Reason,
    account::{Account, Change},
    records::{Owner, User},
};
use crate::{
    Action, Failure, Origin, Principal,
    audit::{LoginName, NewEvent, Target, UserPart},
    storage::{Attempt, refuse},
};

/// The user whose login has failed.
#[derive(Clone, Copy)]
pub(super) enum FailedLogin<'a> {
    /// A known user.
    User(&'a User),
    /// An unknown user, with a stand-in for the name that was given.
    Unknown(&'a str),
    /// It is unknown whose login it was.
    Unattributed,
}

/// The target of failed logins without a known user.
static UNATTRIBUTED: Target = Target::LoginName(LoginName::Unrecorded);

/// Returns a user as a target, whether or not the user exists.
pub(super) fn owner(owner: Owner) -> Target {
    of_user(owner, UserPart::Account)
}

/// Returns a part of a user as a target.
pub(super) const fn of_user(Owner { organisation, user }: Owner, part: UserPart) -> Target {
    Target::OfUser {
        organisation,
        user,
        part,
    }
}

/// Returns the origin of a request by a user who has just authenticated.
pub(super) fn by(user: &User, origin: &Origin) -> Origin {
    origin.by(Principal::User {
        subject: user.subject(),
        application_token: None,
    })
}

/// Returns the audit event of an action on a user.
pub(super) fn new_event<'a>(
    action: Action,
    user: &User,
    detail: Option<String>,
    origin: &'a Origin,
) -> NewEvent<'a> {
    deed_on(action, user, UserPart::Account, detail, origin)
}

/// Returns the audit event of an action on a part of a user.
pub(super) fn deed_on<'a>(
    action: Action,
    user: &User,
    part: UserPart,
    detail: Option<String>,
    origin: &'a Origin,
) -> NewEvent<'a> {
    NewEvent {
        action,
        target: of_user(user.owner(), part),
        detail,
        origin,
    }
}

impl Accounts {
    /// Words a detail as the contract does.
    pub(super) fn worded(&self, detail: &Detail<'_>) -> Option<String> {
        Some((self.wording)(detail))
    }

    /// Returns the audit event of a refusal to a user who is logged in.
    pub(super) fn refused<'a>(
        &self,
        action: Action,
        user: &User,
        why: Reason,
        origin: &'a Origin,
    ) -> NewEvent<'a> {
        new_event(action, user, self.worded(&Detail::Refused(why)), origin)
    }

    /// Returns the audit event of a failed login.
    pub(super) fn failed<'a>(
        &self,
        whose: FailedLogin<'_>,
        why: Reason,
        origin: &'a Origin,
    ) -> NewEvent<'a> {
        let name = match whose {
            FailedLogin::User(user) => user.subject().to_string(),
            FailedLogin::Unknown(_) | FailedLogin::Unattributed => String::new(),
        };
        let detail = Detail::LoginRefused { name: &name, why };
        NewEvent {
            action: Action::UserAuthenticate,
            target: match whose {
                FailedLogin::Unknown(stand_in) => {
                    Target::LoginName(LoginName::Unknown(stand_in.to_owned()))
                }
                FailedLogin::User(user) => Target::LoginName(LoginName::Of(user.subject())),
                FailedLogin::Unattributed => UNATTRIBUTED.clone(),
            },
            detail: self.worded(&detail),
            origin,
        }
    }

    /// Refuses, and commits the counts that the refusal changes, if any.
    pub(super) async fn refuse<T, E>(
        &self,
        account: &Account,
        next: UserRecords,
        (why, new_event): (Reason, NewEvent<'_>),
        error: E,
    ) -> Result<Attempt<T, E>, Failure<E>> {
        if account.records() == next {
            if why.is_lockout() {
                self.locks.refused();
            }
            self.audit.refused(new_event).await;
            return refuse(error);
        }
        // On the heap, so that those that succeed do not make room for it.
        Box::pin(self.refuse_counted(account, next, (why, new_event), error)).await
    }

    /// Like [`refuse`](Self::refuse), but always commits, so that the time does not tell whether a count changed.
    pub(super) async fn refuse_counted<T, E>(
        &self,
        account: &Account,
        next: UserRecords,
        (why, new_event): (Reason, NewEvent<'_>),
        error: E,
    ) -> Result<Attempt<T, E>, Failure<E>> {
        let mut batch = self.store.batch(account.now);
        let now = account.now;
        if why.is_lockout() {
            let locks = Arc::clone(&self.locks);
            // Not for each commit that loses a race.
            batch.on_outcome(move |_| locks.refused());
        }
        match account.user.record() {
            Some(_) => self.audit.counted(&mut batch, now, new_event).await?,
            // Every made-up name is a separate target, so the caller's allowance for new targets applies.
            None => {
                let counted = self
                    .audit
                    .counted_within(&mut batch, now, new_event, &UNATTRIBUTED);
                counted.await?;
            }
        }
        if why.locks() || account.locks_fingerprints(&next) {
            self.locks.begins(&mut batch);
        }
        account.save(&mut batch, next, Change::default());
        Ok(Attempt::Commit(batch, Err(error)))
    }
}
