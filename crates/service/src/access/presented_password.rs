//! A presented password and the result of its last verification.

use std::sync::Mutex;

use keyproof_mfa::Password;
use keyproof_store::Entropy;
use zeroize::Zeroizing;

use super::{HashingError, HashingPool, PasswordVerdict, Turn};
use crate::mutex::lock;

/// A presented password. Hashing is slow, so it is not repeated unless the hash to compare with has changed.
pub(crate) struct PresentedPassword {
    password: Zeroizing<String>,
    judged: Mutex<Option<Judged>>,
}

/// The hash that it was compared with (`None` if there was no account), and the result.
type Judged = (Option<String>, PasswordVerdict);

impl PresentedPassword {
    pub(crate) fn new(password: Zeroizing<String>) -> Self {
        Self {
            password,
            judged: Mutex::new(None),
        }
    }

    /// Returns the result if the password was compared with this hash before. Otherwise compares it and returns `None`: that takes
    /// a while, so the caller must read its records again.
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
        *lock(&self.judged) = Some(judged);
        Ok(None)
    }

    /// Returns the password's hash at the current cost, if it matched a hash of another cost.
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
        lock(&self.judged).clone()
    }
}
