//! A password that is shown in a session, and what it fails of.

use std::time::Duration;

use keyproof_mfa::{Password, PasswordRefusal};

use super::{Accounts, Person, Reason, password::ShownPassword, records::User, snapshot::Snapshot};
use crate::{Action, Failure, HashingError};

/// Why a password that is shown in a session proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It could not be judged.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this was the last, or it was not judged.
    #[error("too many failures")]
    Locked {
        /// How long until the next is judged.
        wait: Duration,
    },
    /// It is wrong.
    #[error("wrong password")]
    WrongPassword,
}

impl Accounts {
    /// The verdict on the password that a person shows, or `None` where the records are to be loaded again. In a session
    /// that has failed too often nothing is judged.
    pub(super) async fn password_in_session<E: From<Unproven>>(
        &self,
        person: &Person,
        action: Action,
        (snapshot, user): (&Snapshot, &User),
        password: &ShownPassword,
    ) -> Result<Option<Password>, Failure<E>> {
        let refused = |why: Unproven| Failure::Refused(why.into());
        let (counter, origin) = (person.session().counter(), person.origin());
        if let Err(lock) = snapshot.records().admit_session(counter, snapshot.at()) {
            let (why, error) = snapshot.unproven(PasswordRefusal::Locked(lock));
            let deed = self.refused(action, user, why, origin);
            self.locks.refused();
            self.audit.refused(deed).await;
            return Err(refused(error));
        }
        let judged = password.verdict(self, Some(&user.password), origin);
        judged.await.map_err(|error| refused(error.into()))
    }
}

impl Snapshot {
    /// What a refused password is in the audit event, and to whoever showed it.
    pub(super) fn unproven(&self, refusal: PasswordRefusal) -> (Reason, Unproven) {
        let locked = |wait| Unproven::Locked { wait };
        match refusal {
            PasswordRefusal::Locked(lock) => (Reason::NotJudged, locked(self.wait(lock.until))),
            PasswordRefusal::WrongPassword(failure) => (
                Reason::wrong_password(&failure),
                self.locked_or(&failure, Unproven::WrongPassword, locked),
            ),
        }
    }
}
