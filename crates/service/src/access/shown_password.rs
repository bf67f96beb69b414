//! A password that somebody shows, and what became of it last.

use std::sync::{Mutex, PoisonError};

use keyproof_mfa::Password;
use keyproof_store::Entropy;
use zeroize::Zeroizing;

use super::{HashingError, HashingPool, PasswordVerdict, Turn};

/// A password as it is hashed. Hashing is slow, so it is not done again unless there is another hash to compare with.
pub(crate) struct ShownPassword {
    password: Zeroizing<String>,
    judged: Mutex<Option<Judged>>,
}

/// The hash that it was compared with, none if it was nobody's, and what came of that.
type Judged = (Option<String>, PasswordVerdict);

impl ShownPassword {
    pub(crate) fn new(password: Zeroizing<String>) -> Self {
        Self {
            password,
            judged: Mutex::new(None),
        }
    }

    /// The verdict, if it was found by comparing with this hash; else compares. That takes a while, so the caller reads again
    /// what it rests on.
    pub(crate) async fn verdict(
        &self,
        hashing: &HashingPool,
        turn: Turn<'_>,
        hash: Option<&str>,
    ) -> Result<Option<Password>, HashingError> {
        if let Some((with, verdict)) = self.judged()
            && with.as_deref() == hash
        {
            return Ok(Some(match verdict {
                PasswordVerdict::Accepted { .. } => Password::Correct,
                PasswordVerdict::Refused => Password::Wrong,
            }));
        }
        let verdict = hashing.verify(turn, hash, self.password.clone()).await?;
        let judged = (hash.map(ToOwned::to_owned), verdict);
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some(judged);
        Ok(None)
    }

    /// Its hash under the cost in force, if it fits one of another cost: while it is at hand.
    pub(crate) async fn hashed_anew(
        self,
        hashing: &HashingPool,
        turn: Turn<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, HashingError> {
        let Some((_, PasswordVerdict::Accepted { needs_rehash: true })) = self.judged() else {
            return Ok(None);
        };
        hashing.hash(turn, self.password, entropy).await.map(Some)
    }

    fn judged(&self) -> Option<Judged> {
        // No code that can panic runs under this lock.
        let judged = self.judged.lock();
        judged.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
