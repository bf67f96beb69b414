use thiserror::Error;

use crate::{AddressId, Counter, Generation, UnixMillis, User};

/// An accepted password that waits for its second factor.
///
/// The caller stores it under the digest of a random token, which the client sends back with the
/// code. A user may have several. A challenge ends by success, by expiry, or when its counter
/// locks: the counter of the address if the user is known there, otherwise that of the name. Wrong
/// codes count in the same counter, wherever they come from. A wrong code does not change the
/// challenge: failures are counted in the [`Lockout`](crate::Lockout).
///
/// ```
/// use keyproof_mfa::{Client, FirstFactor, KeyKind, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
/// # use keyproof_mfa::otp::{Secret, Totp};
/// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
/// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
/// # let (hers, enrolled) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
/// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, enrolled, &policy).next;
/// # let first = phone(enrolled);
/// # let ada = ada.activate(&Proof::Typed { text: &first, secret: &secret }, hers, enrolled, &policy).next;
///
/// let now = UnixMillis::from_secs(1_800_000_060);
/// let begun = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy);
/// assert_eq!(begun.verdict, Ok(FirstFactor::Challenged));
/// let challenge = begun.next.challenge.ok_or("it was just made")?;
/// assert_eq!(challenge.user().id(), UserId::new("example.org", "ada")); // the user whose records are loaded to verify the answer
/// assert_eq!(challenge.expires_at(), now.saturating_add(policy.challenge_lifetime));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Where its password came from, if the user was known there.
    pub(crate) address: Option<AddressId>,
    /// How often its counter had locked when the challenge was made.
    pub(crate) locks: u64,
    pub(crate) expires_at: UnixMillis,
}

impl Challenge {
    /// The user whose password was accepted.
    pub const fn user(&self) -> User {
        self.user
    }

    /// From when on the challenge can no longer be answered.
    pub const fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    /// The counter for wrong codes.
    pub(crate) fn counter(&self) -> Counter {
        self.address.map_or(Counter::Name, Counter::Address)
    }

    /// Checks that the challenge can still be answered, given the user's current state. `locks` is
    /// how often its counter has locked; `None` if that counter no longer exists.
    pub(crate) fn check(
        &self,
        user: User,
        active_key: Option<Generation>,
        locks: Option<u64>,
        now: UnixMillis,
    ) -> Result<(), ChallengeInvalid> {
        if self.user != user {
            Err(ChallengeInvalid::UserChanged)
        } else if Some(self.key) != active_key {
            Err(ChallengeInvalid::KeyChanged)
        } else if locks.is_none() {
            Err(ChallengeInvalid::AddressForgotten)
        } else if Some(self.locks) != locks {
            Err(ChallengeInvalid::Locked)
        } else if now >= self.expires_at {
            Err(ChallengeInvalid::Expired)
        } else {
            Ok(())
        }
    }
}

/// Why a challenge can no longer be answered. Such an attempt is not counted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum ChallengeInvalid {
    /// The address that the password came from is no longer known.
    #[error("the challenge was for an address that is no longer known: log in again")]
    AddressForgotten,
    /// It has expired.
    #[error("the challenge has expired: log in again")]
    Expired,
    /// The key it was made for has been removed.
    #[error("the challenge was for a key that is gone: log in again")]
    KeyChanged,
    /// Its counter has locked since.
    #[error("the challenge was spent by a lock: log in again")]
    Locked,
    /// It does not exist, or has been answered.
    #[error("there is no such challenge: log in again")]
    Unknown,
    /// It belongs to another user, or predates a change of password.
    #[error("the challenge is another user's, or older than their password: log in again")]
    UserChanged,
}
