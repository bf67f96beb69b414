//! What is kept of a user, and what every decision hands back.

use alloc::vec::Vec;

use crate::{
    Addresses, Challenge, Device, DeviceId, Devices, Fingerprint, Generation, KeyRecord, Lockout,
    NoDevice, RecoveryCodes, Sessions, UnixMillis, User,
};

/// All that is kept of one user's second factor, as it was read at one moment. `None` is a record
/// that is not there; somebody nobody has heard of is [`UserRecords::new`].
///
/// Every command takes these by value and hands them back in a [`Decision`].
///
/// ```
/// use keyproof_mfa::{Client, FirstFactor, Password, Policy, UnixMillis, User, UserId, UserRecords};
///
/// // Her password's record says who she is; of her second factor there is nothing yet.
/// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let now = UnixMillis::from_secs(1_800_000_000);
/// let decided = ada.begin_login(Password::Correct, Client::STRANGER, now, &Policy::default());
/// assert_eq!(decided.verdict, Ok(FirstFactor::Authenticated)); // no key is active
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Records", try_from = "crate::stored::Records")
)]
#[non_exhaustive]
pub struct UserRecords {
    /// Who they are.
    pub user: User,
    /// The challenge that this attempt answers; or the one just made.
    pub challenge: Option<Challenge>,
    /// The devices they trust.
    pub devices: Option<Devices>,
    /// Their key.
    pub key: Option<KeyRecord>,
    /// What is counted against their name.
    pub lockout: Option<Lockout>,
    /// Where they are known, and what is counted there.
    pub addresses: Option<Addresses>,
    /// What is counted in sessions of theirs.
    pub sessions: Option<Sessions>,
    /// Their recovery codes.
    pub recovery: Option<RecoveryCodes>,
}

/// What a command makes of the records, and what it says.
///
/// Commit before telling anybody: in one atomic batch, insert, replace or remove each record of
/// `next` that differs from what was read, at the version it was read at, and require the unchanged
/// ones to be at theirs; [`UserRecords::changes`] names them. If that batch loses a race, read again and decide again. A refusal commits
/// like an acceptance: a failure is counted in the same batch.
///
/// ```
/// use keyproof_mfa::{Client, Decision, Password, PasswordRefusal, Policy, UnixMillis, User, UserId, UserRecords};
///
/// let read = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let now = UnixMillis::from_secs(1_800_000_000);
/// let Decision { next, verdict } = read.clone().begin_login(Password::Wrong, Client::STRANGER, now, &Policy::default());
/// assert!(matches!(verdict, Err(PasswordRefusal::WrongPassword(_))));
/// // Committed all the same, for the failure is counted there. Only then is the verdict told.
/// assert!(next.lockout.is_some() && read.lockout.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what a decision says is true once its records are committed"]
pub struct Decision<T, E> {
    /// The records from now on.
    pub next: UserRecords,
    /// What happened, or why it did not.
    pub verdict: Result<T, E>,
}

impl UserRecords {
    /// A user of whom nothing is kept.
    pub const fn new(user: User) -> Self {
        Self {
            user,
            challenge: None,
            devices: None,
            key: None,
            lockout: None,
            addresses: None,
            sessions: None,
            recovery: None,
        }
    }

    /// The devices that are trusted now, in the order they came to be.
    ///
    /// ```
    /// use keyproof_mfa::{UnixMillis, User, UserId, UserRecords};
    ///
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// for device in ada.trusted_devices(UnixMillis::from_secs(1_800_000_000)) {
    ///     println!("{}: {} until {}", device.id().get(), device.name().unwrap_or("no name"), device.expires_at().as_secs());
    /// }
    /// # assert!(ada.trusted_devices(UnixMillis::from_secs(1_800_000_000)).is_empty());
    /// ```
    pub fn trusted_devices(&self, now: UnixMillis) -> Vec<&Device> {
        let devices = self.bound_devices().into_iter();
        devices.flat_map(|devices| devices.live(now)).collect()
    }

    /// Which of the devices that are trusted now has this fingerprint, if one has.
    ///
    /// ```
    /// use keyproof_mfa::{Fingerprint, UnixMillis, User, UserId, UserRecords};
    ///
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// let browser = Fingerprint::new("6b0a4ea6f7d0d7ab")?; // of the browser that the list is shown in
    /// assert_eq!(ada.trusted_device(&browser, UnixMillis::from_secs(1_800_000_000)), None);
    /// # Ok::<(), keyproof_mfa::MfaError>(())
    /// ```
    pub fn trusted_device(&self, fingerprint: &Fingerprint, now: UnixMillis) -> Option<DeviceId> {
        self.bound_devices()?.recognise(fingerprint, now)
    }

    /// Ends the trust in one device.
    pub fn revoke_device(mut self, id: DeviceId, now: UnixMillis) -> Decision<(), NoDevice> {
        let Some(mut devices) = self.bound_devices().cloned() else {
            return self.decided(Err(NoDevice));
        };
        let verdict = devices.revoke(id, now);
        self.devices = Some(devices).filter(|devices| !devices.devices.is_empty());
        self.decided(verdict)
    }

    /// The same records under a new password: the user's generation is the next, which the caller
    /// keeps with the password; every challenge, trusted device and session is gone. Locks last as
    /// long as they did, but those to come are not doubled.
    ///
    /// ```
    /// use keyproof_mfa::{User, UserId, UserRecords};
    ///
    /// // She sets a new password: this is committed with its hash, and the number is kept beside that.
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 6));
    /// let renewed = ada.renew();
    /// assert_eq!(renewed.user.generation(), 7);
    /// assert!(renewed.devices.is_none() && renewed.challenge.is_none());
    /// ```
    #[must_use = "all stays trusted until these records are committed"]
    pub fn renew(self) -> Self {
        let mut renewed = self.suspend();
        renewed.end_doubling();
        renewed
    }

    /// The same records after a suspension: as [`renew`](Self::renew), but what is counted stays as
    /// it is.
    #[must_use = "all stays trusted until these records are committed"]
    pub fn suspend(mut self) -> Self {
        self.user = self.user.renewed();
        self.challenge = None;
        self.devices = None;
        self.sessions = self.sessions.map(Sessions::emptied);
        self
    }

    pub(crate) fn decided<T, E>(self, verdict: Result<T, E>) -> Decision<T, E> {
        Decision {
            next: self,
            verdict,
        }
    }

    pub(crate) fn active_key(&self) -> Option<&KeyRecord> {
        self.key.as_ref().filter(|key| key.is_active())
    }

    pub(crate) fn active_generation(&self) -> Option<Generation> {
        self.active_key().map(KeyRecord::generation)
    }

    /// The devices, unless they are of an earlier key or password, and so none.
    pub(crate) fn bound_devices(&self) -> Option<&Devices> {
        self.devices
            .as_ref()
            .filter(|all| all.user == self.user && Some(all.key) == self.active_generation())
    }
}
