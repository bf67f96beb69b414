//! The detail of an audit event about accounts, as a type that the contract puts into words.

use keyproof_mfa::Failure;

use super::ApplicationTokenState;

/// Puts a detail into words.
pub type Wording = fn(&Detail<'_>) -> String;

/// A detail. It contains no user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail<'a> {
    /// An application token was refused.
    ApplicationRefused {
        /// Why the token is not valid.
        why: ApplicationTokenState,
    },
    /// A device became trusted.
    DeviceTrusted {
        /// The user, as a [`Subject`](crate::audit::Subject).
        user: &'a str,
        /// The operating system, as reported by the client.
        operating_system: Option<&'a str>,
        /// The browser, as reported by the client.
        browser: Option<&'a str>,
    },
    /// A key was removed, with everything that depended on it.
    KeyRemoved {
        /// Its number.
        key: u32,
        /// The user, as a [`Subject`](crate::audit::Subject).
        user: &'a str,
        /// How many trusted devices were removed with it.
        devices: usize,
        /// How many recovery codes were removed with it.
        recovery_codes: usize,
    },
    /// A login was refused.
    LoginRefused {
        /// The user, as a [`Subject`](crate::audit::Subject). Empty if nobody has the name, or if it is unknown whose token it was.
        name: &'a str,
        /// The reason.
        why: Reason,
    },
    /// Another request of a logged-in user was refused.
    Refused(Reason),
}

/// The reason for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The challenge is unknown or has ended, for example by expiry or a lockout.
    ChallengeUnknown,
    /// A code is required and was not given.
    CodeMissing,
    /// The code was used before.
    CodeUsed,
    /// The code is wrong.
    CodeWrong {
        /// Whether this failure starts a lockout.
        locks: bool,
    },
    /// The session has presented no second factor.
    FactorNeeded,
    /// A key is already active.
    KeyActive,
    /// There is no such key.
    KeyUnknown,
    /// No key is active.
    NoActiveKey,
    /// The password or code was refused because of a lockout. It was not checked, or it is a wrong password that came with a
    /// fingerprint.
    NotJudged,
    /// The password is wrong.
    PasswordWrong {
        /// Whether this failure starts a lockout.
        locks: bool,
    },
    /// The refresh token was used twice, so all tokens of its login are revoked.
    RefreshTokenCopied,
    /// The refresh token is unknown or no longer valid.
    RefreshTokenUnknown,
    /// The password is right and was refused because of a lockout. It was checked because a fingerprint came with it; if that is
    /// unknown, it was counted as a guess.
    RightPasswordLocked,
}

impl Reason {
    /// Whether the refusal is because of a lockout.
    pub(super) const fn is_lockout(self) -> bool {
        matches!(self, Self::NotJudged | Self::RightPasswordLocked)
    }

    /// Whether this failure starts a lockout.
    pub(super) const fn locks(self) -> bool {
        matches!(
            self,
            Self::CodeWrong { locks: true } | Self::PasswordWrong { locks: true }
        )
    }

    pub(super) const fn wrong_code(failure: &Failure) -> Self {
        Self::CodeWrong {
            locks: failure.locked_until.is_some(),
        }
    }

    pub(super) const fn wrong_password(failure: &Failure) -> Self {
        Self::PasswordWrong {
            locks: failure.locked_until.is_some(),
        }
    }
}
