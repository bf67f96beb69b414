//! What keys, devices, recovery codes, passwords and application tokens are decided on: the records of whoever has logged
//! in, and of the user whose second factor they manage.

use super::{
    Accounts, Session, Whose,
    deeds::refused,
    records::{Owner, User, user_key},
    snapshot::Snapshot,
};
use crate::{Failure, Origin, StorageError};
use keyproof_store::{Batch, Key, Stored, Version};

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

/// A user whose keys and devices are managed.
pub(super) struct Managed {
    pub(super) snapshot: Snapshot,
    pub(super) user: User,
    /// The record of whoever manages them, if it is somebody else.
    manager: Option<(Key, Version)>,
}

impl Managed {
    /// A session that has ended meanwhile manages nobody any more.
    pub(super) fn require_manager(&self, batch: &mut Batch) {
        if let Some((place, version)) = &self.manager {
            batch.require(place, *version);
        }
    }
}

impl Accounts {
    /// The records of the person who has logged in, for what decides over keys, devices, recovery codes, passwords or
    /// application tokens. What is done in the session's name to something else requires the user's record as it was
    /// read here: whatever ends the session, or makes it need a factor, changes that.
    pub(super) async fn deciding<E: From<Undecided>>(
        &self,
        session: &Session,
        action: &'static str,
        origin: &Origin,
    ) -> Result<(Snapshot, User), Failure<E>> {
        let own = self.own(session).await?;
        let (snapshot, user) = own.ok_or_else(|| Failure::Refused(Undecided::Ended.into()))?;
        if let Err(needed) = snapshot.records().may_decide(session.standing(&user)) {
            let why = needed.to_string();
            self.audit
                .refused(refused(action, &user, &why, origin))
                .await;
            return Err(Failure::Refused(Undecided::FactorNeeded.into()));
        }
        Ok((snapshot, user))
    }

    /// The records of the person who has logged in, unless the session has ended; of an application none, for it has
    /// neither password nor key.
    async fn own(&self, session: &Session) -> Result<Option<(Snapshot, User)>, StorageError> {
        let snapshot = self.snapshot_of(&session.name, session.owner, None).await?;
        let user = snapshot.user.as_ref().map(|stored| stored.record.clone());
        let user = user.filter(|user| session.is_person() && session.is_of(user));
        Ok(user.map(|user| (snapshot, user)))
    }

    /// The records of a user whose keys and devices the session may look at, if there is one.
    pub(super) async fn managed<E: From<Undecided>>(
        &self,
        session: &Session,
        whose: Whose,
    ) -> Result<Option<Managed>, Failure<E>> {
        let own = self.own(session).await?;
        let own = own.ok_or_else(|| Failure::Refused(Undecided::Ended.into()))?;
        Ok(self.managed_by(own, session, whose).await?)
    }

    /// The records of a user whose keys and devices the session may decide over, if there is one.
    pub(super) async fn managing<E: From<Undecided>>(
        &self,
        session: &Session,
        whose: Whose,
        action: &'static str,
        origin: &Origin,
    ) -> Result<Option<Managed>, Failure<E>> {
        let own = self.deciding(session, action, origin).await?;
        Ok(self.managed_by(own, session, whose).await?)
    }

    async fn managed_by(
        &self,
        (snapshot, user): (Snapshot, User),
        session: &Session,
        whose: Whose,
    ) -> Result<Option<Managed>, StorageError> {
        let owner = session.owner_of(whose);
        if owner == session.owner {
            return Ok(Some(Managed {
                snapshot,
                user,
                manager: None,
            }));
        }
        let manager = snapshot.user.map(|stored| stored.version);
        let found = self.theirs(owner).await?;
        Ok(found.map(|(snapshot, user)| Managed {
            snapshot,
            user,
            manager: manager.map(|version| (user_key(session.owner), version)),
        }))
    }

    /// The records of the user of this number.
    async fn theirs(&self, owner: Owner) -> Result<Option<(Snapshot, User)>, StorageError> {
        let found = self
            .store
            .get::<User>(&user_key(owner), self.clock.now())
            .await?;
        let Some(Stored { record, .. }) = found else {
            return Ok(None);
        };
        let snapshot = self.snapshot_of(&record.name, owner, None).await?;
        let user = snapshot.user.as_ref().map(|stored| stored.record.clone());
        Ok(user.map(|user| (snapshot, user)))
    }
}
