//! What an audit event of accounts says beside who asked for what of whom: as a type, which the contract words.

use keyproof_mfa::Failure;

use super::ApplicationTokenState;

/// How details are worded.
pub type Wording = fn(&Detail<'_>) -> String;

/// A detail. It names no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail<'a> {
    /// The login of a program is refused.
    ApplicationRefused {
        /// What is wrong with its token.
        why: ApplicationTokenState,
    },
    /// A device is trusted from now on.
    DeviceTrusted {
        /// Whose it is: a [`Subject`](crate::audit::Subject).
        user: &'a str,
        /// Which operating system it runs, by the client's word.
        operating_system: Option<&'a str>,
        /// Which browser it runs, by the client's word.
        browser: Option<&'a str>,
    },
    /// A key is removed, and all that rested on it.
    KeyRemoved {
        /// Its number.
        key: u32,
        /// Whose it was, likewise.
        user: &'a str,
        /// How many trusted devices went with it.
        devices: usize,
        /// How many recovery codes went with it.
        recovery_codes: usize,
    },
    /// A login is refused.
    LoginRefused {
        /// Whose, likewise; empty where nobody has the name, or nobody knows whose token it was.
        name: &'a str,
        /// Why.
        why: Reason,
    },
    /// Something else is refused to a user who has logged in.
    Refused(Reason),
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The challenge is unknown or over.
    ChallengeUnknown,
    /// A code is needed and none came.
    CodeMissing,
    /// The code is spent.
    CodeUsed,
    /// The code is wrong.
    CodeWrong {
        /// Whether this failure locks.
        locks: bool,
    },
    /// The session has shown no second factor.
    FactorNeeded,
    /// A key is active already.
    KeyActive,
    /// There is no such key.
    KeyUnknown,
    /// No key is active.
    NoActiveKey,
    /// It was not judged, for there were too many failures.
    NotJudged,
    /// The password is wrong.
    PasswordWrong {
        /// Whether this failure locks.
        locks: bool,
    },
    /// The refresh token was used twice: all tokens of its login end.
    RefreshTokenCopied,
    /// The refresh token is unknown or over.
    RefreshTokenUnknown,
}

impl Reason {
    /// Whether this failure locks.
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

/// The detail as the type has it, where no contract words it.
pub(super) fn unworded(detail: &Detail<'_>) -> String {
    format!("{detail:?}")
}
