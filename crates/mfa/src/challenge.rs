use thiserror::Error;

use crate::{Generation, UnixMillis, User};

/// An accepted password that waits for its second factor.
///
/// The caller keeps it under the digest of a random token that the client sends back with the
/// code. A user may hold several; each is spent by success, by expiry and by any lock of the user's
/// count. A wrong code leaves it as it is: what is counted is in the [`Lockout`](crate::Lockout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(
        into = "crate::stored::Challenge",
        try_from = "crate::stored::Challenge"
    )
)]
pub struct Challenge {
    pub(crate) user: User,
    pub(crate) key: Generation,
    /// How often the user's count had locked when it was made.
    pub(crate) locks: u64,
    pub(crate) expires_at: UnixMillis,
}

impl Challenge {
    /// Whose password was accepted.
    pub const fn user(&self) -> User {
        self.user
    }

    /// From when on it cannot be answered.
    pub const fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    /// Whether it can still be answered, by the user as they are now.
    pub(crate) fn check(
        &self,
        user: User,
        active_key: Option<Generation>,
        locks: u64,
        now: UnixMillis,
    ) -> Result<(), ChallengeOver> {
        if self.user != user {
            Err(ChallengeOver::UserChanged)
        } else if Some(self.key) != active_key {
            Err(ChallengeOver::KeyChanged)
        } else if self.locks != locks {
            Err(ChallengeOver::Locked)
        } else if now >= self.expires_at {
            Err(ChallengeOver::Expired)
        } else {
            Ok(())
        }
    }
}

/// Why a challenge cannot be answered any more. Such an attempt is not counted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum ChallengeOver {
    /// Its time is over.
    #[error("the challenge has expired")]
    Expired,
    /// The key it was made for is gone.
    #[error("the challenge was for a key that is gone")]
    KeyChanged,
    /// The user's count has locked since.
    #[error("the challenge was spent by a lock")]
    Locked,
    /// There is none, or it has been answered.
    #[error("there is no such challenge")]
    Unknown,
    /// It is another user's, or from before a change of password.
    #[error("the challenge is another user's, or older than their password")]
    UserChanged,
}
