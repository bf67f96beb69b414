//! Which counter counts an attempt, and how an attempt changes it.

use crate::{
    Addresses, Counter, DeviceId, Failure, Fingerprint, Locked, Lockout, Network, Policy,
    SessionId, Sessions, UnixMillis, UserRecords, lockout::Guess,
};

/// What is known about a client that wants to log in.
///
/// ```
/// use keyproof_mfa::{Client, Fingerprint, Network};
///
/// let fingerprint = Fingerprint::new("6b0a4ea6f7d0d7ab")?; // from a cookie of the browser
/// let network = Network::containing("192.0.2.7".parse()?); // of the connection, or as reported by a trusted proxy
/// let client = Client { fingerprint: Some(&fingerprint), network: Some(network) };
/// assert!(Client::UNKNOWN.network.is_none());
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// A text sent with the password that identifies the device, if there is one.
    pub fingerprint: Option<&'a Fingerprint>,
    /// Where the request comes from, if that is known.
    pub network: Option<Network>,
}

impl Client<'_> {
    /// A client about which nothing is known.
    pub const UNKNOWN: Self = Client {
        fingerprint: None,
        network: None,
    };
}

impl UserRecords {
    /// Returns an error if a password sent now would be refused unchecked. Call this before hashing
    /// the password. One that comes with a fingerprint is always checked, because
    /// [`begin_login`](Self::begin_login) counts guesses at fingerprints even while locked. Then
    /// write to the store even if it changed no record: otherwise the time of a refusal tells
    /// whether the password was right.
    ///
    /// ```
    /// use keyproof_mfa::{Client, Counter, Password, Policy, UnixMillis, User, UserId, UserRecords};
    ///
    /// let (policy, now) = (Policy::default(), UnixMillis::from_secs(1_800_000_000));
    /// let mut ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// for _ in 0..3 {
    ///     assert!(ada.check_lockout(Client::UNKNOWN, now).is_ok()); // before the password's hash is computed
    ///     ada = ada.begin_login(Password::Wrong, Client::UNKNOWN, now, &policy).next; // committed, as every refusal is
    /// }
    /// let locked = ada.check_lockout(Client::UNKNOWN, now).unwrap_err();
    /// assert_eq!((locked.counter, locked.until), (Counter::Name, now.saturating_add(policy.lockout)));
    /// assert_eq!(locked.to_string(), "locked after too many failures, until 1800000300000 ms after 1970");
    /// assert!(ada.is_locked(now) && !ada.unlock().is_locked(now));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Locked`].
    pub fn check_lockout(&self, client: Client<'_>, now: UnixMillis) -> Result<(), Locked> {
        if client.fingerprint.is_some() {
            return Ok(());
        }
        self.unlocked(self.address_or_name(client, now), now)
    }

    /// Like [`check_lockout`](Self::check_lockout), for a user who is logged in, in this session.
    ///
    /// # Errors
    ///
    /// [`Locked`].
    pub fn check_session_lockout(&self, session: SessionId, now: UnixMillis) -> Result<(), Locked> {
        self.unlocked(Counter::Session(session), now)
    }

    /// Whether fingerprints are ignored now, because too many unknown ones came with the right
    /// password. Every login then takes a code.
    pub fn are_fingerprints_locked(&self, now: UnixMillis) -> bool {
        let devices = self.bound_devices();
        devices.is_some_and(|devices| devices.are_guessed(now))
    }

    /// Whether anything is locked now: the name, a known address, a trusted device, a session, or
    /// the fingerprints of devices.
    pub fn is_locked(&self, now: UnixMillis) -> bool {
        let addresses = self.addresses.iter();
        let addresses = addresses.flat_map(|addresses| addresses.live_lockouts(now));
        let devices = self.bound_devices().into_iter();
        let devices = devices.flat_map(|devices| devices.live(now));
        let devices = devices.filter_map(|device| device.lockout);
        let sessions = self.sessions.iter();
        let sessions = sessions.flat_map(|sessions| sessions.counted.iter());
        let sessions = sessions.map(|counted| counted.lockout);
        let lockouts = self.lockout.into_iter();
        let is_any = lockouts
            .chain(addresses)
            .chain(devices)
            .chain(sessions)
            .any(|lockout| lockout.locked_until(now).is_some());
        is_any || self.are_fingerprints_locked(now)
    }

    /// Lifts every lock and clears the failure counts, for an operator. Challenges that a lock has
    /// ended stay ended.
    #[must_use = "the locks last until these records are committed"]
    pub fn unlock(mut self) -> Self {
        self.lockout = self.lockout.map(Lockout::cleared);
        for lockout in self.addresses.iter_mut().flat_map(Addresses::lockouts_mut) {
            *lockout = lockout.cleared();
        }
        for device in self.devices.iter_mut().flat_map(|all| &mut all.devices) {
            device.lockout = None;
        }
        if let Some(devices) = &mut self.devices {
            devices.guesses = None;
        }
        self.sessions = self.sessions.map(Sessions::emptied);
        self
    }

    /// Ends the doubling of locks, as a new password does. Devices' locks are never doubled.
    pub(crate) fn end_doubling(&mut self) {
        self.lockout = self.lockout.map(Lockout::undoubled);
        for lockout in self.addresses.iter_mut().flat_map(Addresses::lockouts_mut) {
            *lockout = lockout.undoubled();
        }
    }

    /// The trusted device that this client's fingerprint belongs to.
    pub(crate) fn device_of(&self, client: Client<'_>, now: UnixMillis) -> Option<DeviceId> {
        let (devices, fingerprint) = self
            .bound_devices()
            .filter(|devices| !devices.are_guessed(now))
            .zip(client.fingerprint)?;
        devices.recognise(fingerprint, now)
    }

    /// The counter for a login by this client without its fingerprint.
    pub(crate) fn address_or_name(&self, client: Client<'_>, now: UnixMillis) -> Counter {
        let address = self
            .addresses
            .as_ref()
            .zip(client.network)
            .and_then(|(addresses, network)| addresses.recognise(network, now));
        address.map_or(Counter::Name, Counter::Address)
    }

    pub(crate) fn unlocked(&self, counter: Counter, now: UnixMillis) -> Result<(), Locked> {
        let lockout = self.lockout_of(counter, now);
        match lockout.and_then(|lockout| lockout.locked_until(now)) {
            Some(until) => Err(Locked { counter, until }),
            None => Ok(()),
        }
    }

    /// How often this counter has locked; `None` if the counter no longer exists.
    pub(crate) fn locks(&self, counter: Counter, now: UnixMillis) -> Option<u64> {
        if let Counter::Address(id) = counter {
            self.addresses.as_ref()?.get(id, now)?;
        }
        let lockout = self.lockout_of(counter, now);
        Some(lockout.map_or(0, |lockout| lockout.locks))
    }

    pub(crate) fn fail(
        &mut self,
        counter: Counter,
        guess: Guess,
        now: UnixMillis,
        policy: &Policy,
    ) -> Failure {
        let lockout = self.lockout_of(counter, now);
        let (next, failure) = Lockout::failed(lockout, counter, guess, now, policy);
        self.put_lockout(counter, Some(next), now, policy);
        failure
    }

    /// Makes a commit after a right password or code conflict with that of a failure. For a device
    /// or an address, a record to conflict on exists already.
    pub(crate) fn witness(&mut self, counter: Counter, now: UnixMillis, policy: &Policy) {
        match counter {
            Counter::Address(_) | Counter::Device(_) => {}
            Counter::Name => self.lockout = Some(Lockout::witnessed(self.lockout, now, policy)),
            Counter::Session(_) => {
                self.sessions = Some(Sessions::witnessed(self.sessions.take(), now, policy));
            }
        }
    }

    /// Ends the count: every required factor was right.
    pub(crate) fn succeed(&mut self, counter: Counter, now: UnixMillis, policy: &Policy) {
        self.witness(counter, now, policy);
        let next = match counter {
            // No challenge depends on the number of their locks.
            Counter::Device(_) | Counter::Session(_) => None,
            Counter::Address(_) | Counter::Name => {
                self.lockout_of(counter, now).map(Lockout::cleared)
            }
        };
        self.put_lockout(counter, next, now, policy);
    }

    /// Keeps the counter of a challenge until the challenge expires.
    pub(crate) fn outlive(
        &mut self,
        counter: Counter,
        moment: UnixMillis,
        now: UnixMillis,
        policy: &Policy,
    ) {
        let lockout = self.lockout_of(counter, now);
        let next = lockout.map(|_| Lockout::remembered(lockout, now).outliving(moment));
        self.put_lockout(counter, next, now, policy);
    }

    /// Records a login with every factor from this network.
    pub(crate) fn learn(&mut self, network: Option<Network>, now: UnixMillis, policy: &Policy) {
        if let Some(network) = network {
            let addresses = self.addresses.get_or_insert_with(Addresses::new);
            addresses.learn(network, now, policy);
        }
    }

    fn lockout_of(&self, counter: Counter, now: UnixMillis) -> Option<Lockout> {
        match counter {
            Counter::Address(id) => self.addresses.as_ref()?.get(id, now)?.lockout,
            Counter::Device(id) => self.bound_devices()?.get(id, now)?.lockout,
            Counter::Name => self.lockout,
            Counter::Session(id) => self.sessions.as_ref()?.lockout(id),
        }
    }

    fn put_lockout(
        &mut self,
        counter: Counter,
        lockout: Option<Lockout>,
        now: UnixMillis,
        policy: &Policy,
    ) {
        match counter {
            Counter::Address(id) => {
                let addresses = self.addresses.as_mut();
                if let Some(known) = addresses.and_then(|all| all.get_mut(id, now)) {
                    known.lockout = lockout;
                }
            }
            Counter::Device(id) => {
                let devices = self.devices.as_mut();
                if let Some(device) = devices.and_then(|all| all.live_mut(id, now)) {
                    device.lockout = lockout;
                }
            }
            Counter::Name => self.lockout = lockout,
            Counter::Session(id) => {
                let mut sessions = Sessions::witnessed(self.sessions.take(), now, policy);
                sessions.put(id, lockout, now);
                self.sessions = Some(sessions);
            }
        }
    }
}
