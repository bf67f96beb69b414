//! The factors that a session has shown besides the password, and what they allow it to do.

use core::time::Duration;

use thiserror::Error;

use crate::{Factor, SessionId, UnixMillis, UserRecords, key::KeyStatus};

/// A second factor that a session showed at its login, for the caller to store with the session. A
/// trusted device shows none: its fingerprint is a text that the client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VerifiedFactor {
    /// The kind of factor.
    pub factor: FactorKind,
    /// When it was accepted.
    pub at: UnixMillis,
}

/// A kind of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum FactorKind {
    /// A code of the key.
    Code,
    /// A recovery code.
    RecoveryCode,
}

impl From<Factor> for FactorKind {
    fn from(factor: Factor) -> Self {
        match factor {
            Factor::Key => Self::Code,
            Factor::RecoveryCode { .. } => Self::RecoveryCode,
        }
    }
}

/// How a session was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// By a password, perhaps from a trusted device; or it is not known how.
    Password,
    /// By a second factor, shown at its login.
    Factor,
    /// By the code with which it activated the currently active key.
    Activation,
}

/// The session that makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its id, since each session has its own failure count.
    pub id: SessionId,
    /// How it was authenticated.
    pub auth_method: AuthMethod,
}

/// A key is active, but the session has shown no second factor.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("the session has shown no second factor: log in with one")]
pub struct FactorNeeded;

impl UserRecords {
    /// Checks that a session may manage the user's keys, devices, recovery codes, passwords and
    /// application tokens. While a key is active, the session must have shown a factor.
    ///
    /// ```
    /// use keyproof_mfa::{AuthMethod, User, UserId, UserRecords};
    ///
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// assert!(ada.require_factor(AuthMethod::Password).is_ok()); // no key is active, so no factor is required
    /// ```
    ///
    /// # Errors
    ///
    /// [`FactorNeeded`].
    pub fn require_factor(&self, session: AuthMethod) -> Result<(), FactorNeeded> {
        match session {
            AuthMethod::Factor | AuthMethod::Activation => Ok(()),
            AuthMethod::Password if self.active_key().is_none() => Ok(()),
            AuthMethod::Password => Err(FactorNeeded),
        }
    }

    /// Whether recovery codes may be made without a code: only by the session that has just
    /// activated the key, and only while there are none. So it is possible once.
    #[must_use = "otherwise a missing code is not noticed"]
    pub fn may_leave_code_out(&self, session: AuthMethod, now: UnixMillis) -> bool {
        /// In both directions: the clocks of two nodes differ a little, and setting one back
        /// extends nothing.
        const LIMIT: Duration = Duration::from_secs(5 * 60);
        let Some(KeyStatus::Active { since }) = self.key.map(|key| key.status) else {
            return false;
        };
        let apart = Duration::from_millis(now.as_millis().abs_diff(since.as_millis()));
        session == AuthMethod::Activation && self.recovery.is_none() && apart < LIMIT
    }
}
