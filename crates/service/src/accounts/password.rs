//! The form in which passwords are hashed, and the password that a logged-in user types again: its verification and the errors.

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
    Action, Failure, HashingError, Origin, StorageError, access::PresentedPassword, storage::refuse,
};

/// The error when a password in a session is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Too many failures: this attempt started the lockout or was not checked because of it.
    #[error("too many failures")]
    Locked {
        /// How long until the next attempt is checked.
        wait: Duration,
    },
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

/// Returns the canonical form of a password: its SHA-1 in lower-case hex. Some clients send that form, 40 hex digits, instead of
/// the typed password. This only unifies the two spellings and protects nothing; Argon2id is applied to the result.
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

/// Returns a password in either form, ready for verification.
pub(super) fn shown(password: Zeroizing<String>) -> PresentedPassword {
    PresentedPassword::new(canonical(password))
}

impl Accounts {
    /// Verifies the password that a person presents in a session. `None` means that the records must be loaded again. In a session
    /// that is locked out, nothing is checked.
    pub(super) async fn password_in_session<E: From<PasswordRefused>>(
        &self,
        person: &Person,
        action: Action,
        (account, user): (&Account, &User),
        password: &PresentedPassword,
    ) -> Result<Option<Password>, Failure<E>> {
        let (counter, origin) = (person.session().counter(), person.origin());
        if let Err(lock) = account
            .records()
            .check_session_lockout(counter, account.at())
        {
            let (why, error) = account.password_refused(PasswordRefusal::Locked(lock));
            let new_event = self.refused(action, user, why, origin);
            self.locks.refused();
            self.audit.refused(new_event).await;
            return refuse(error);
        }
        let judged = password.verdict(&self.hashing, self.turn(origin), Some(&user.password));
        judged
            .await
            .map_err(|error| Failure::Refused(PasswordRefused::from(error).into()))
    }

    /// Stores the password's hash at the current cost, if needed. The login does not depend on it.
    pub(super) async fn rehash(&self, password: PresentedPassword, user: &User, origin: &Origin) {
        if let Err(error) = self.hash_anew(password, user, origin).await {
            tracing::info!(user = user.id, %error, "the password keeps its old hash for now");
        }
    }

    async fn hash_anew(
        &self,
        password: PresentedPassword,
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
    /// Returns the reason for the audit event and the error for the caller.
    pub(super) fn password_refused<E: From<PasswordRefused>>(
        &self,
        refusal: PasswordRefusal,
    ) -> (Reason, E) {
        let locked = |wait| PasswordRefused::Locked { wait };
        let (why, error) = match refusal {
            PasswordRefusal::Locked(lock) => (Reason::NotJudged, locked(self.wait(lock.until))),
            PasswordRefusal::WrongPassword(failure) => (
                Reason::wrong_password(&failure),
                self.locked_or(&failure, PasswordRefused::WrongPassword, locked),
            ),
        };
        (why, error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_and_hashed_passwords_meet() {
        // As printed by `echo -n 'correct horse' | openssl sha1`.
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
