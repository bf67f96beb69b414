//! What a session has shown beside the password, and what it may decide for that.

use core::time::Duration;

use thiserror::Error;

use crate::{Factor, SessionId, UnixMillis, UserRecords, key::KeyStatus};

/// A second factor that a session has shown at its login, and when: for the caller to keep with the
/// session. A trusted device shows none: its fingerprint is a text that the client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shown {
    /// By what.
    pub factor: ShownFactor,
    /// When it was accepted.
    pub at: UnixMillis,
}

/// What a second factor was shown by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ShownFactor {
    /// A code of the key.
    Code,
    /// A recovery code.
    RecoveryCode,
}

impl From<Factor> for ShownFactor {
    fn from(factor: Factor) -> Self {
        match factor {
            Factor::Key => Self::Code,
            Factor::RecoveryCode { .. } => Self::RecoveryCode,
        }
    }
}

/// What a session of the user's rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// On a password, perhaps from a trusted device; or on nothing that is known.
    Password,
    /// On a second factor, shown at its login.
    Factor,
    /// On the code by which it has activated the key that is active.
    Activation,
}

/// A session that asks for something, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Which: its failures are counted apart.
    pub id: SessionId,
    /// What it has shown.
    pub standing: Standing,
}

/// A key is active, and the session has shown no factor.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("the session has shown no second factor: log in with one")]
pub struct FactorNeeded;

impl UserRecords {
    /// Whether a session of this user's may decide over keys, devices, recovery codes, passwords and
    /// the tokens of applications: while a key is active, only one that has shown a factor.
    ///
    /// ```
    /// use keyproof_mfa::{Standing, User, UserId, UserRecords};
    ///
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// assert!(ada.may_decide(Standing::Password).is_ok()); // who has no active key need not show it
    /// ```
    ///
    /// # Errors
    ///
    /// [`FactorNeeded`].
    pub fn may_decide(&self, session: Standing) -> Result<(), FactorNeeded> {
        match session {
            Standing::Factor | Standing::Activation => Ok(()),
            Standing::Password if self.active_key().is_none() => Ok(()),
            Standing::Password => Err(FactorNeeded),
        }
    }

    /// Whether recovery codes may be made without a code: by the session that has just activated the
    /// key, while there are none. So it may once.
    pub fn may_leave_code_out(&self, session: Standing, now: UnixMillis) -> bool {
        /// Either way: clocks of two nodes differ a little, and one set back prolongs nothing.
        const LIMIT: Duration = Duration::from_secs(5 * 60);
        let Some(KeyStatus::Active { since }) = self.key.map(|key| key.status) else {
            return false;
        };
        let apart = Duration::from_millis(now.as_millis().abs_diff(since.as_millis()));
        session == Standing::Activation && self.recovery.is_none() && apart < LIMIT
    }
}
