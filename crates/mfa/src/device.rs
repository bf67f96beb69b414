//! Trusted devices, which log in with the password alone.

use alloc::{string::String, vec::Vec};
use core::fmt;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    Counter, Generation, Lockout, MfaError, Policy, UnixMillis, User, digest::Digest,
    lockout::Guess,
};

/// A secret, opaque text by which a client identifies its device. `Debug` hides it, and it is wiped
/// on drop.
///
/// Records contain its SHA-256 digest together with the user and the key's generation, which is 128
/// random bits. So equal fingerprints cannot be matched across users or enrolments, and precomputed
/// tables do not help. Somebody who reads a record can still test likely fingerprints against it
/// one by one, but also needs the password. For more protection, pass an HMAC of the fingerprint
/// under a key that is not in the database.
///
/// Somebody who has only the password cannot test fingerprints one by one. After as many unknown
/// fingerprints as there may be failures ([`Policy::lockout_failures`]), fingerprints are ignored
/// until the lock ends or a code is accepted. Until then every login takes a code.
///
/// ```
/// use keyproof_mfa::{Fingerprint, NewDevice};
///
/// let fingerprint = Fingerprint::new("6b0a4ea6f7d0d7ab")?; // drawn by the device, and its secret
/// assert!(!format!("{fingerprint:?}").contains("6b0a"));
/// let device = NewDevice::new(fingerprint, [7; 4]).with_name("laptop")?.with_browser("Firefox")?;
/// assert!(Fingerprint::new("").is_err());
/// # drop(device);
/// # Ok::<(), keyproof_mfa::MfaError>(())
/// ```
#[derive(Clone)]
pub struct Fingerprint(Zeroizing<String>);

impl Fingerprint {
    /// The maximum length in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Creates a fingerprint from a text that is unique to the device.
    ///
    /// # Errors
    ///
    /// [`FingerprintEmpty`](MfaError::FingerprintEmpty), and
    /// [`FingerprintTooLong`](MfaError::FingerprintTooLong) above [`Fingerprint::MAX_LEN`] bytes.
    pub fn new(text: &str) -> Result<Self, MfaError> {
        match text.len() {
            0 => Err(MfaError::FingerprintEmpty),
            1..=Self::MAX_LEN => Ok(Self(Zeroizing::new(text.into()))),
            found => Err(MfaError::FingerprintTooLong {
                found,
                limit: Self::MAX_LEN,
            }),
        }
    }

    fn digest(&self, user: User, key: Generation) -> Digest {
        Digest::new(
            "device",
            &[user.id().as_bytes(), key.as_bytes(), self.0.as_bytes()],
        )
    }
}

impl PartialEq for Fingerprint {
    /// Compares in constant time, except for the length.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint([redacted])")
    }
}

impl ZeroizeOnDrop for Fingerprint {}

/// The number of a device, unique among those of its user. It is 1 to 2^24 - 1, so that clients
/// that read numbers as 32-bit floats read it exactly.
///
/// ```
/// use keyproof_mfa::{DeviceId, NoDevice, UnixMillis, User, UserId, UserRecords};
///
/// let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// let id = DeviceId::new("7".parse()?); // from a path such as /devices/7
/// assert_eq!(ada.revoke_device(id, UnixMillis::from_secs(1_800_000_000)).verdict, Err(NoDevice)); // not one of hers
/// assert_eq!(id.get(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct DeviceId(u32);

impl DeviceId {
    const MAX: u32 = (1 << 24) - 1;

    /// Creates an id from any number. One that is out of range matches no device.
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    #[cfg(feature = "serde")]
    pub(crate) const fn is_possible(self) -> bool {
        matches!(self.0, 1..=Self::MAX)
    }

    fn random(random: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(random) % Self::MAX + 1)
    }

    fn next(self) -> Self {
        Self(self.0 % Self::MAX + 1)
    }
}

/// A device to be trusted from now on.
///
/// ```
/// use keyproof_mfa::{Fingerprint, MfaError, NewDevice};
///
/// let random = [7; 4]; // from a random source
/// let device = NewDevice::new(Fingerprint::new("6b0a4ea6f7d0d7ab")?, random);
/// let device = device.with_name("Ada's laptop")?.with_browser("Firefox")?.with_operating_system("Linux")?;
/// assert!(matches!(device.with_name(&"x".repeat(257)), Err(MfaError::DeviceTextTooLong { .. })));
/// # Ok::<(), MfaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    fingerprint: Fingerprint,
    predecessor: Option<Fingerprint>,
    random: [u8; 4],
    browser: Option<String>,
    name: Option<String>,
    operating_system: Option<String>,
}

impl NewDevice {
    /// The maximum length in bytes of each text about a device.
    pub const MAX_TEXT_LEN: usize = 256;

    /// Creates a device with no texts. `random` becomes its number.
    pub const fn new(fingerprint: Fingerprint, random: [u8; 4]) -> Self {
        Self {
            fingerprint,
            predecessor: None,
            random,
            browser: None,
            name: None,
            operating_system: None,
        }
    }

    /// Sets the previous fingerprint of this device, which is no longer trusted once the device is.
    /// If that fingerprint was copied, the copy is useless for this user from then on.
    ///
    /// Each user has separate records. If another user trusts the same device, as with a shared
    /// browser, the old fingerprint stays trusted for them until it expires, and so does a copy.
    ///
    /// ```
    /// use keyproof_mfa::{Fingerprint, NewDevice};
    ///
    /// let (before, now) = (Fingerprint::new("6b0a4ea6f7d0d7ab")?, Fingerprint::new("e3c1a87f20b54d96")?);
    /// let device = NewDevice::new(now, [7; 4]).replacing(before);
    /// # drop(device);
    /// # Ok::<(), keyproof_mfa::MfaError>(())
    /// ```
    #[must_use = "the other fingerprint remains trusted until this device is committed"]
    pub fn replacing(mut self, fingerprint: Fingerprint) -> Self {
        self.predecessor = Some(fingerprint);
        self
    }

    /// Sets the browser.
    ///
    /// # Errors
    ///
    /// [`DeviceTextTooLong`](MfaError::DeviceTextTooLong).
    pub fn with_browser(mut self, browser: &str) -> Result<Self, MfaError> {
        self.browser = Some(bounded("browser", browser)?);
        Ok(self)
    }

    /// Sets the name that the user gave it.
    ///
    /// # Errors
    ///
    /// [`DeviceTextTooLong`](MfaError::DeviceTextTooLong).
    pub fn with_name(mut self, name: &str) -> Result<Self, MfaError> {
        self.name = Some(bounded("name", name)?);
        Ok(self)
    }

    /// Sets the operating system.
    ///
    /// # Errors
    ///
    /// [`DeviceTextTooLong`](MfaError::DeviceTextTooLong).
    pub fn with_operating_system(mut self, operating_system: &str) -> Result<Self, MfaError> {
        self.operating_system = Some(bounded("operating system", operating_system)?);
        Ok(self)
    }
}

fn bounded(field: &'static str, text: &str) -> Result<String, MfaError> {
    let (found, limit) = (text.len(), NewDevice::MAX_TEXT_LEN);
    if found > limit {
        return Err(MfaError::DeviceTextTooLong {
            field,
            found,
            limit,
        });
    }
    Ok(text.into())
}

/// A trusted device, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub(crate) id: DeviceId,
    pub(crate) fingerprint: Digest,
    pub(crate) browser: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) operating_system: Option<String>,
    pub(crate) trusted_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    pub(crate) lockout: Option<Lockout>,
}

impl Device {
    /// The device's number.
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// The browser, if set.
    pub fn browser(&self) -> Option<&str> {
        self.browser.as_deref()
    }

    /// The name that the user gave it, if set.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The operating system, if set.
    pub fn operating_system(&self) -> Option<&str> {
        self.operating_system.as_deref()
    }

    /// When the device was trusted.
    pub const fn trusted_at(&self) -> UnixMillis {
        self.trusted_at
    }

    /// From when on the device is no longer trusted.
    pub const fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    fn is_live(&self, now: UnixMillis) -> bool {
        now < self.expires_at
    }
}

/// The devices that a user trusts. They are in one record, so that their number is bounded and all
/// of them can be removed at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Devices", try_from = "crate::stored::Devices")
)]
pub struct Devices {
    pub(crate) user: User,
    pub(crate) key: Generation,
    /// Ordered by when they were trusted.
    pub(crate) devices: Vec<Device>,
    /// Counts unknown fingerprints that came with the right password.
    pub(crate) guesses: Option<Lockout>,
}

impl Devices {
    /// When the last device expires.
    pub fn expires_at(&self) -> UnixMillis {
        let expiries = self.devices.iter().map(Device::expires_at);
        expiries.max().unwrap_or_default()
    }

    pub(crate) const fn new(user: User, key: Generation) -> Self {
        Self {
            user,
            key,
            devices: Vec::new(),
            guesses: None,
        }
    }

    /// Whether fingerprints are ignored now, because too many unknown ones came with the right
    /// password.
    pub(crate) fn are_guessed(&self, now: UnixMillis) -> bool {
        let lock = self.guesses.and_then(|guesses| guesses.locked_until(now));
        lock.is_some()
    }

    /// Counts an unknown fingerprint that came with the right password. Does nothing if
    /// fingerprints are ignored now, or if no device is trusted.
    pub(crate) fn count_guess(&mut self, now: UnixMillis, policy: &Policy) {
        if self.are_guessed(now) || self.live(now).next().is_none() {
            return;
        }
        let (guesses, _) = Lockout::failed(self.guesses, Counter::Name, Guess::Code, now, policy);
        self.guesses = Some(guesses);
    }

    pub(crate) fn live(&self, now: UnixMillis) -> impl Iterator<Item = &Device> {
        self.devices
            .iter()
            .filter(move |device| device.is_live(now))
    }

    pub(crate) fn get(&self, id: DeviceId, now: UnixMillis) -> Option<&Device> {
        self.live(now).find(|device| device.id == id)
    }

    pub(crate) fn live_mut(&mut self, id: DeviceId, now: UnixMillis) -> Option<&mut Device> {
        let mut devices = self.devices.iter_mut();
        devices.find(|device| device.id == id && device.is_live(now))
    }

    /// Returns the live device with this fingerprint. It compares all of them, so that timing does
    /// not reveal which one matched.
    pub(crate) fn recognise(&self, fingerprint: &Fingerprint, now: UnixMillis) -> Option<DeviceId> {
        let digest = fingerprint.digest(self.user, self.key);
        let mut found = 0;
        for device in &self.devices {
            let same =
                device.fingerprint.ct_eq(&digest) & Choice::from(u8::from(device.is_live(now)));
            found.conditional_assign(&device.id.0, same);
        }
        (found != 0).then_some(DeviceId(found))
    }

    /// Trusts one more device. Removes the device with the same fingerprint, the one that it
    /// replaces, and the oldest ones if there are too many.
    pub(crate) fn trust(&mut self, new: NewDevice, now: UnixMillis, policy: &Policy) -> Trusted {
        self.devices.retain(|device| device.is_live(now));
        let same = self.take(&new.fingerprint, now);
        let former = match &new.predecessor {
            Some(fingerprint) => self.take(fingerprint, now),
            None => None,
        };
        let keep = usize::from(policy.devices.get()) - 1;
        let surplus = self.devices.len().saturating_sub(keep);
        let replaced = same.or(former);
        let surplus = self.devices.drain(..surplus).map(|device| device.id);
        let ended: Vec<DeviceId> = surplus
            .chain(former.filter(|former| replaced != Some(*former)))
            .collect();

        let mut id = DeviceId::random(new.random);
        // The number of a device that is replaced or ended here is not reused at once.
        let taken = |id| {
            replaced == Some(id)
                || ended.contains(&id)
                || self.devices.iter().any(|device| device.id == id)
        };
        while taken(id) {
            id = id.next();
        }
        self.devices.push(Device {
            id,
            fingerprint: new.fingerprint.digest(self.user, self.key),
            browser: new.browser,
            name: new.name,
            operating_system: new.operating_system,
            trusted_at: now,
            expires_at: now.saturating_add(policy.device_lifetime),
            lockout: None,
        });
        Trusted {
            id,
            ended,
            replaced,
        }
    }

    /// Removes the live device with this fingerprint, if there is one, and returns its number.
    fn take(&mut self, fingerprint: &Fingerprint, now: UnixMillis) -> Option<DeviceId> {
        let found = self.recognise(fingerprint, now);
        self.devices.retain(|device| Some(device.id) != found);
        found
    }

    /// An expired device is reported as missing, but removed too, so that setting the clock back
    /// does not restore it.
    pub(crate) fn revoke(&mut self, id: DeviceId, now: UnixMillis) -> Result<(), NoDevice> {
        let live = self.live_mut(id, now).is_some();
        self.devices.retain(|device| device.id != id);
        if live { Ok(()) } else { Err(NoDevice) }
    }
}

/// The result of trusting a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Trusted {
    /// Its number.
    pub id: DeviceId,
    /// Other devices that are no longer trusted: the oldest one if there were too many, or more if
    /// the policy's limit was lowered, and the one given to [`NewDevice::replacing`] if another had
    /// the same fingerprint.
    pub ended: Vec<DeviceId>,
    /// The device that it replaces: the one with the same fingerprint, otherwise the one given to
    /// [`NewDevice::replacing`].
    pub replaced: Option<DeviceId>,
}

/// The user trusts no such device.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("there is no such trusted device")]
pub struct NoDevice;
