//! The records of a user, and the result of a decision.

use alloc::vec::Vec;

use crate::{
    Addresses, Challenge, Device, DeviceId, Devices, Fingerprint, Generation, KeyRecord, Lockout,
    NoDevice, RecoveryCodes, Sessions, UnixMillis, User,
};

/// All records of one user's second factor, as read at one moment. `None` is a record that does not
/// exist; [`UserRecords::new`] is a user without any.
///
/// Every command takes them by value and returns them in a [`Decision`].
///
/// ```
/// use keyproof_mfa::{Client, FirstFactor, Password, Policy, UnixMillis, User, UserId, UserRecords};
///
/// // Her password's record identifies her; she has no second factor yet.
/// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let now = UnixMillis::from_secs(1_800_000_000);
/// let decided = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &Policy::default());
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
    /// The user that the records belong to.
    pub user: User,
    /// The challenge that this attempt answers, or the one just made.
    pub challenge: Option<Challenge>,
    /// The devices that the user trusts.
    pub devices: Option<Devices>,
    /// The user's key.
    pub key: Option<KeyRecord>,
    /// The failure count of the name.
    pub lockout: Option<Lockout>,
    /// The known addresses, with their failure counts.
    pub addresses: Option<Addresses>,
    /// The failure counts of the user's sessions.
    pub sessions: Option<Sessions>,
    /// The user's recovery codes.
    pub recovery: Option<RecoveryCodes>,
}

/// The next records and the verdict of a command.
///
/// Commit before you report the verdict. In one atomic batch, insert, replace or remove each record
/// of `next` that differs, at the version that was read, and require the others to be unchanged.
/// [`UserRecords::changes`] lists the differences. If the batch loses a race, read and decide
/// again. Commit refusals too: they contain the counted failure.
///
/// ```
/// use keyproof_mfa::{Client, Decision, Password, PasswordRefusal, Policy, UnixMillis, User, UserId, UserRecords};
///
/// let read = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let now = UnixMillis::from_secs(1_800_000_000);
/// let Decision { next, verdict } = read.clone().begin_login(Password::Wrong, Client::UNKNOWN, now, &Policy::default());
/// assert!(matches!(verdict, Err(PasswordRefusal::WrongPassword(_))));
/// // Commit the refusal too, since it contains the counted failure. Only then report it.
/// assert!(next.lockout.is_some() && read.lockout.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the verdict is valid only once the records are committed"]
pub struct Decision<T, E> {
    /// The records to commit.
    pub next: UserRecords,
    /// What happened, or why it was refused.
    pub verdict: Result<T, E>,
}

impl UserRecords {
    /// Creates the records of a user who has none.
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

    /// Returns the devices that are trusted now, ordered by when they were trusted.
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

    /// Returns the trusted device with this fingerprint, if there is one, to mark it in a list.
    /// It counts no guess: whether a login may leave the code out is decided by
    /// [`begin_login`](Self::begin_login) alone.
    ///
    /// ```
    /// use keyproof_mfa::{Fingerprint, UnixMillis, User, UserId, UserRecords};
    ///
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// let browser = Fingerprint::new("6b0a4ea6f7d0d7ab")?; // of the browser that shows the list
    /// assert_eq!(ada.trusted_device(&browser, UnixMillis::from_secs(1_800_000_000)), None);
    /// # Ok::<(), keyproof_mfa::MfaError>(())
    /// ```
    pub fn trusted_device(&self, fingerprint: &Fingerprint, now: UnixMillis) -> Option<DeviceId> {
        self.bound_devices()?.recognise(fingerprint, now)
    }

    /// Ends the trust in one device. It checks nothing; for the user, call
    /// [`require_factor`](Self::require_factor) first.
    pub fn revoke_device(mut self, id: DeviceId, now: UnixMillis) -> Decision<(), NoDevice> {
        let Some(mut devices) = self.bound_devices().cloned() else {
            return self.decided(Err(NoDevice));
        };
        let verdict = devices.revoke(id, now);
        self.devices = Some(devices).filter(|devices| !devices.devices.is_empty());
        self.decided(verdict)
    }

    /// Returns the records after a change of password. The user's generation increases by one, and
    /// the caller stores it with the password. Every challenge and trusted device is removed, and
    /// sessions' failure counts are cleared. Current locks stay, but the doubling of later ones
    /// ends.
    ///
    /// ```
    /// use keyproof_mfa::{User, UserId, UserRecords};
    ///
    /// // She sets a new password. Its hash and the new generation are committed with these records.
    /// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 6));
    /// let renewed = ada.after_password_change();
    /// assert_eq!(renewed.user.generation(), 7);
    /// assert!(renewed.devices.is_none() && renewed.challenge.is_none());
    /// ```
    #[must_use = "challenges and devices remain valid until these records are committed"]
    pub fn after_password_change(self) -> Self {
        let mut renewed = self.suspend();
        renewed.end_doubling();
        renewed
    }

    /// Returns the records after a suspension: like [`after_password_change`](Self::after_password_change), but the doubling stays.
    #[must_use = "challenges and devices remain valid until these records are committed"]
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

    /// The devices, unless they belong to an earlier key or password and are therefore void.
    pub(crate) fn bound_devices(&self) -> Option<&Devices> {
        self.devices
            .as_ref()
            .filter(|all| all.user == self.user && Some(all.key) == self.active_generation())
    }
}
