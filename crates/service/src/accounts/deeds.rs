//! Audit events of users: who did what to whom, and what is refused to them.

use keyproof_mfa::UserRecords;

use super::{
    Accounts, Detail, Reason,
    account::{Account, Change},
    records::{Owner, User},
};
use crate::{
    Action, Failure, Origin, Who,
    audit::{Deed, LoginName, Target, UserPart},
    storage::{Attempt, refuse},
};

/// Whose login has failed.
#[derive(Clone, Copy)]
pub(super) enum Failed<'a> {
    /// A user's.
    User(&'a User),
    /// That of an unknown user; this stands for the name that was given.
    Unknown(&'a str),
    /// Nobody knows whose.
    Nobodys,
}

/// The target of a failed login of which nobody knows whose it was.
static NOBODYS: Target = Target::LoginName(LoginName::Untold);

/// A user, whether or not there is one of this number.
pub(super) fn owner(owner: Owner) -> Target {
    of_user(owner, UserPart::Account)
}

/// Something of a user.
pub(super) const fn of_user(Owner { organisation, user }: Owner, part: UserPart) -> Target {
    Target::OfUser {
        organisation,
        user,
        part,
    }
}

/// What a user does who has just shown who they are.
pub(super) fn by(user: &User, origin: &Origin) -> Origin {
    origin.by(Who::User {
        subject: user.subject(),
        application_token: None,
    })
}

/// Something done to a user.
pub(super) fn deed<'a>(
    action: Action,
    user: &User,
    detail: Option<String>,
    origin: &'a Origin,
) -> Deed<'a> {
    Deed {
        action,
        target: owner(user.owner()),
        detail,
        origin,
    }
}

impl Accounts {
    /// A detail, as the contract words it.
    pub(super) fn worded(&self, detail: &Detail<'_>) -> Option<String> {
        Some((self.wording)(detail))
    }

    /// Something refused to a user who has logged in.
    pub(super) fn refused<'a>(
        &self,
        action: Action,
        user: &User,
        why: Reason,
        origin: &'a Origin,
    ) -> Deed<'a> {
        deed(action, user, self.worded(&Detail::Refused(why)), origin)
    }

    /// A failed login.
    pub(super) fn failed<'a>(
        &self,
        whose: Failed<'_>,
        why: Reason,
        origin: &'a Origin,
    ) -> Deed<'a> {
        let name = match whose {
            Failed::User(user) => user.subject().to_string(),
            Failed::Unknown(_) | Failed::Nobodys => String::new(),
        };
        let detail = Detail::LoginRefused { name: &name, why };
        Deed {
            action: Action::UserAuthenticate,
            target: match whose {
                Failed::Unknown(stand_in) => {
                    Target::LoginName(LoginName::Unknown(stand_in.to_owned()))
                }
                Failed::User(user) => Target::LoginName(LoginName::Of(user.subject())),
                Failed::Nobodys => NOBODYS.clone(),
            },
            detail: self.worded(&detail),
            origin,
        }
    }

    /// Refuses, and commits what the refusal counts, if it counts anything.
    pub(super) async fn refuse<T, E>(
        &self,
        account: &Account,
        next: UserRecords,
        (why, deed): (Reason, Deed<'_>),
        error: E,
    ) -> Result<Attempt<T, E>, Failure<E>> {
        if why == Reason::NotJudged {
            self.locks.refused();
        }
        if account.is_unchanged(&next) {
            self.audit.refused(deed).await;
            return refuse(error);
        }
        let mut batch = self.store.batch(account.now);
        let now = account.now;
        match account.user.record() {
            Some(_) => self.audit.counted(&mut batch, now, deed).await?,
            // Each name that somebody makes up is a target of its own.
            None => {
                let counted = self.audit.counted_within(&mut batch, now, deed, &NOBODYS);
                counted.await?;
            }
        }
        if why.locks() {
            self.locks.begins(&mut batch);
        }
        account.save(&mut batch, next, Change::default());
        Ok(Attempt::Commit(batch, Err(error)))
    }
}
