//! The form in which passwords are hashed; and the password that a signed-in user types again: the verdict on it, and why it
//! was not accepted.

use std::time::Duration;

use data_encoding::HEXLOWER;
use keyproof_mfa::{Password, PasswordRefusal};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Accounts, Person, Reason,
    account::Account,
    records::{User, user_key},
};
use crate::{
    Action, Failure, HashingError, Origin, StorageError, access::ShownPassword, storage::refuse,
};

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

/// 40 hex digits, which clients that never send a password as it was typed send in its place, in lower case; anything
/// else becomes its SHA-1 in hex. It is no protection, only one spelling of two: Argon2id comes on top.
pub(super) fn canonical(password: Zeroizing<String>) -> Zeroizing<String> {
    let mut password = password;
    if password.len() == 40 && password.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        password.make_ascii_lowercase();
        return password;
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    password.zeroize();
    Zeroizing::new(HEXLOWER.encode(hash.as_ref()))
}

/// A password in either form, to be judged.
pub(super) fn shown(password: Zeroizing<String>) -> ShownPassword {
    ShownPassword::new(canonical(password))
}

impl Accounts {
    /// The verdict on the password that a person shows, or `None` where the records are to be loaded again. In a session
    /// that has failed too often nothing is judged.
    pub(super) async fn password_in_session<E: From<Unproven>>(
        &self,
        person: &Person,
        action: Action,
        (account, user): (&Account, &User),
        password: &ShownPassword,
    ) -> Result<Option<Password>, Failure<E>> {
        let (counter, origin) = (person.session().counter(), person.origin());
        if let Err(lock) = account.records().admit_session(counter, account.at()) {
            let (why, error) = account.unproven(PasswordRefusal::Locked(lock));
            let deed = self.refused(action, user, why, origin);
            self.locks.refused();
            self.audit.refused(deed).await;
            return refuse(error.into());
        }
        let judged = password.verdict(&self.hashing, self.turn(origin), Some(&user.password));
        judged
            .await
            .map_err(|error| Failure::Refused(Unproven::from(error).into()))
    }

    /// Stores the password under the cost in force, while it is at hand. The login does not depend on it.
    pub(super) async fn rehash(&self, password: ShownPassword, user: &User, origin: &Origin) {
        if let Err(error) = self.hash_anew(password, user, origin).await {
            tracing::info!(user = user.id, %error, "the password keeps its older hash for now");
        }
    }

    async fn hash_anew(
        &self,
        password: ShownPassword,
        user: &User,
        origin: &Origin,
    ) -> Result<(), Failure<HashingError>> {
        let (turn, entropy) = (self.turn(origin), self.store.entropy());
        let password = password.hashed_anew(&self.hashing, turn, entropy).await?;
        let Some(password) = password else {
            return Ok(());
        };
        let now = self.clock.now();
        let place = user_key(user.owner());
        let stored = self.store.get::<User>(&place, now).await?;
        let Some(stored) = stored.filter(|stored| stored.record == *user) else {
            return Ok(());
        };
        let next = User {
            password,
            ..stored.record
        };
        let mut batch = self.store.batch(now);
        batch.replace(&place, stored.version, &next, None);
        let committed = self.store.commit(batch).await;
        Ok(committed.map_err(StorageError::from)?)
    }
}

impl Account {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_and_hashed_passwords_meet() {
        // As `echo -n 'correct horse' | openssl sha1` prints it.
        let hashed = "2f9e53523b62abc141a2b4d6019d23cba835dbd0";
        let of = |text: &str| canonical(Zeroizing::new(text.to_owned()));
        let typed = of("correct horse");
        assert_eq!(typed, of(&typed));
        assert_eq!(typed, of(&typed.to_uppercase()));
        assert_eq!(
            of("abc").as_str(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_ne!(of(hashed.get(..39).unwrap_or_default()).len(), 39);
        assert_eq!(of(&"g".repeat(40)).len(), 40);
        assert_ne!(of(&"A".repeat(41)), of(&"a".repeat(41)));
        assert_ne!(of(&"g".repeat(40)).as_str(), "g".repeat(40));
    }
}
