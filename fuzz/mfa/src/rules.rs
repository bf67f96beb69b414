//! Rules that no sequence of commands may break, for a user with known networks, sessions and trusted devices.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

use keyproof_mfa::{
    ActivateRefusal, AuthMethod, Challenge, Client, Counter, DeviceId, EnrolRefusal, Factor,
    FactorKind, Failure, Fingerprint, FirstFactor, KeyKind, KeyStatus, Locked, LoginRefusal,
    Network, NewDevice, Password, PasswordRefusal, Policy, Proof, RecoveryCode, RecoveryRefusal,
    Session, SessionId, Sessions, UnixMillis, User, UserId, UserRecords, VerifiedFactor,
    otp::{Secret, Totp},
};

use crate::stored::follows;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const DEVICES: u16 = 3;
const ADDRESSES: u16 = 2;

/// Runs the bytes as commands of three bytes each. A code or recovery code is accepted only once. A locked counter accepts and
/// counts nothing. No wrong code or password is accepted. A challenge cannot be answered if a lock has ended it, if it has expired,
/// or if it is older than the key or the password. The reported changes are the actual ones.
pub fn rules(data: &[u8]) {
    let mut user = Told::new();
    for bytes in data.chunks_exact(3).take(256) {
        let &[command, first, second] = bytes else {
            return;
        };
        user.run(command, first, second);
    }
}

/// A user's records, and what the verdicts have reported about them.
struct Told {
    now: u64,
    policy: Policy,
    secret: Secret,
    totp: Totp,
    records: UserRecords,
    challenges: Vec<Made>,
    recovery: Vec<(RecoveryCode, bool)>,
    enrolments: u8,
    /// All codes of this step and of earlier ones are spent.
    spent: Option<u64>,
    /// The lock that each counter was last reported to have, and how often it was locked.
    locks: HashMap<Counter, u64>,
    locked: HashMap<Counter, u32>,
    /// The ends of all reported locks.
    ends: HashSet<(Counter, u64)>,
}

/// A challenge, and what is required to answer it.
#[derive(Clone, Copy)]
struct Made {
    challenge: Option<Challenge>,
    counter: Counter,
    locked: u32,
    enrolments: u8,
    generation: u64,
}

/// What the user types as the second factor.
enum Typed {
    Text(String),
    Recovery(usize, String),
}

impl Typed {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Recovery(_, text) => text,
        }
    }
}

impl Told {
    fn new() -> Self {
        let secret = Secret::from_bytes(b"12345678901234567890").expect("20 bytes");
        let mut policy = Policy::default();
        policy.devices = NonZeroU16::new(DEVICES).expect("not zero");
        policy.addresses = NonZeroU16::new(ADDRESSES).expect("not zero");
        Self {
            now: 1_700_000_000_000,
            policy,
            totp: Totp::new(&secret, Default::default(), Default::default()),
            secret,
            records: UserRecords::new(User::new(UserId::new("tenant", "user"), 0)),
            challenges: Vec::new(),
            recovery: Vec::new(),
            enrolments: 0,
            spent: None,
            locks: HashMap::new(),
            locked: HashMap::new(),
            ends: HashSet::new(),
        }
    }

    fn run(&mut self, command: u8, first: u8, second: u8) {
        let before = self.records.clone();
        match command % 13 {
            0 => self.activate(first, second),
            1 | 2 => self.answer(first, second),
            3 | 4 => self.begin(first, second),
            5 => self.confirm(first, second),
            6 => self.enrol(first, second),
            7 => self.make_codes(first, second),
            8 => {
                let removed = before.clone().remove_key(self.moment());
                assert_eq!(removed.verdict.is_ok(), before.key.is_some());
                self.records = removed.next;
                self.forget(|counter| matches!(counter, Counter::Device(_)));
                self.recovery.clear();
            }
            9 => match first % 4 {
                0 => {
                    self.records = before.clone().after_password_change();
                    self.forget(|at| matches!(at, Counter::Device(_) | Counter::Session(_)));
                }
                1 => {
                    self.records = before.clone().suspend();
                    self.forget(|at| matches!(at, Counter::Device(_) | Counter::Session(_)));
                }
                2 => {
                    self.records = before.clone().unlock();
                    assert!(!self.records.is_locked(self.moment()));
                    self.locks.clear();
                }
                _ => self.revoke(second),
            },
            10 => {
                // As after the restore of a backup: no current code is accepted any more.
                let spent = before.key.and_then(|key| key.spent_until(self.moment()));
                if let Some(key) = spent {
                    self.records.key = Some(key);
                    let current = self.totp.step_at(self.now / 1000);
                    self.spent = self.spent.max(Some(current + 1));
                }
            }
            _ => self.wait(first, second),
        }
        follows(&before, &self.records);
        self.inspect();
    }

    /// Checks what must be true of the records after any command.
    fn inspect(&mut self) {
        let now = self.moment();
        // A lock that has ended stays ended, even if the clock is set back.
        self.locks.retain(|_, until| self.now < *until);
        let live = self.records.trusted_devices(now);
        assert!(live.len() <= usize::from(DEVICES));
        for (at, device) in live.iter().enumerate() {
            assert!(device.trusted_at() < device.expires_at());
            assert!(
                live.iter()
                    .skip(at + 1)
                    .all(|other| other.id() != device.id())
            );
        }
        let text = serde_json::to_string(&self.records).expect("records have a stored form");
        let read: UserRecords = serde_json::from_str(&text).expect("what was written is read");
        assert_eq!(read, self.records);
        if self.locks.keys().any(|at| *at == Counter::Name) {
            assert!(self.records.is_locked(now));
        }
        let active = matches!(
            self.records.key.map(|key| key.status()),
            Some(KeyStatus::Active { .. })
        );
        assert_eq!(
            self.records.require_factor(AuthMethod::Password).is_err(),
            active
        );
        assert!(self.records.require_factor(AuthMethod::Factor).is_ok());
    }

    fn moment(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now)
    }

    fn forget(&mut self, is_gone: impl Fn(&Counter) -> bool) {
        self.locks.retain(|counter, _| !is_gone(counter));
    }

    /// Returns the counter that a wrong password would count against now.
    fn payer(&self, client: Client<'_>) -> Counter {
        let records = self.records.clone();
        let probe = records.begin_login(Password::Wrong, client, self.moment(), &self.policy);
        match probe.verdict {
            Ok(accepted) => panic!("a wrong password: {accepted:?}"),
            Err(PasswordRefusal::Locked(locked)) => locked.counter,
            Err(PasswordRefusal::WrongPassword(failure)) => failure.counter,
        }
    }

    /// The command was refused because of a lock. The lock must be a reported one, and nothing may have changed.
    fn refused(&self, locked: Locked, before: &UserRecords) {
        let until = locked.until.as_millis();
        assert!(self.now < until);
        assert!(self.ends.contains(&(locked.counter, until)));
        assert_eq!(&self.records, before);
    }

    /// The command was decided against this counter, so it cannot have been locked.
    fn judged(&self, counter: Counter) {
        if let Counter::Session(_) = counter {
            // A session's counter may be dropped in favour of others if that many are locked.
            let sessions = self
                .locks
                .keys()
                .filter(|at| matches!(at, Counter::Session(_)));
            if sessions.count() >= Sessions::MAX {
                return;
            }
        }
        assert!(!self.locks.contains_key(&counter), "{counter:?} is locked");
    }

    fn counted(&mut self, failure: Failure) {
        self.judged(failure.counter);
        let limit = self.policy.lockout_failures.get();
        assert!((1..=limit).contains(&failure.consecutive));
        assert_eq!(failure.consecutive == limit, failure.locked_until.is_some());
        if let Some(until) = failure.locked_until {
            let until = until.as_millis();
            assert!(self.now + 5 * MINUTE <= until && until <= self.now + DAY);
            self.locks.insert(failure.counter, until);
            *self.locked.entry(failure.counter).or_default() += 1;
            self.ends.insert((failure.counter, until));
            assert!(self.records.is_locked(self.moment()));
        }
    }

    /// The text was accepted as a code of the key, so it must be of a step near now and later than all spent ones.
    fn accepted_code(&mut self, text: &str) {
        let current = self.totp.step_at(self.now / 1000);
        let near = current.saturating_sub(3)..=current + 3;
        let steps = near.filter(|step| self.totp.code_at_step(*step).to_string() == text);
        let new = steps.filter(|step| Some(*step) > self.spent).min();
        assert!(new.is_some(), "a code that is wrong or spent");
        self.spent = new;
    }

    fn accepted(&mut self, typed: &Typed, factor: Factor) {
        match (factor, typed) {
            (Factor::Key, Typed::Text(text)) => {
                let text = text.clone();
                self.accepted_code(&text);
            }
            (Factor::RecoveryCode { left }, Typed::Recovery(at, _)) => {
                let used = &mut self.recovery[*at].1;
                assert!(!*used, "a recovery code twice");
                *used = true;
                assert_eq!(self.recovery.iter().filter(|(_, used)| !used).count(), left);
            }
            (factor, _) => panic!("{factor:?} was not typed"),
        }
        let shown = VerifiedFactor {
            factor: factor.into(),
            at: self.moment(),
        };
        let is_code = shown.factor == FactorKind::Code;
        assert_eq!(is_code, factor == Factor::Key);
    }

    fn begin(&mut self, first: u8, second: u8) {
        let password = password(first);
        let fingerprint = fingerprint(second % 5);
        let client = Client {
            fingerprint: fingerprint.as_ref(),
            network: network(second / 5),
        };
        let (now, mut before) = (self.moment(), self.records.clone());
        let device = self.device_of(client);
        let counter = match (password, device) {
            (Password::Correct, Some(device)) => Counter::Device(device),
            _ => self.payer(client),
        };
        let admitted = before.check_lockout(client, now);
        let decision = before
            .clone()
            .begin_login(password, client, now, &self.policy);
        self.records = decision.next;
        if password == Password::Wrong {
            let stranger = Client {
                fingerprint: None,
                ..client
            };
            let probe = before.clone();
            let probe = probe.begin_login(password, stranger, now, &self.policy);
            assert_eq!(decision.verdict, probe.verdict, "a fingerprint is told");
        }
        match decision.verdict {
            Err(PasswordRefusal::Locked(locked)) => {
                if fingerprint.is_none() {
                    assert_eq!(admitted, Err(locked));
                } else {
                    // It may have been counted as a guess, or for the device.
                    before.devices.clone_from(&self.records.devices);
                }
                self.refused(locked, &before);
            }
            verdict => {
                assert_eq!(admitted, Ok(()));
                self.judged(counter);
                assert_eq!(verdict.is_ok(), password == Password::Correct);
                self.begun(verdict, counter);
            }
        }
        if let (Password::Wrong, Some(device)) = (password, device) {
            self.counted_for(device, client);
        }
    }

    /// The trusted device whose fingerprint this is, unless fingerprints are ignored.
    fn device_of(&self, client: Client<'_>) -> Option<DeviceId> {
        let now = self.moment();
        let fingerprint = client.fingerprint?;
        let device = self.records.trusted_device(fingerprint, now);
        device.filter(|_| !self.records.are_fingerprints_locked(now))
    }

    /// A wrong password from this device is counted for it, too. Only a right one tells of its lock.
    fn counted_for(&mut self, device: DeviceId, client: Client<'_>) {
        let (now, counter) = (self.moment(), Counter::Device(device));
        let records = self.records.clone();
        let probe = records.begin_login(Password::Correct, client, now, &self.policy);
        let Err(refusal) = probe.verdict else {
            return self.judged(counter);
        };
        let PasswordRefusal::Locked(locked) = refusal else {
            panic!("a right password: {refusal:?}");
        };
        assert_eq!(locked.counter, counter);
        let until = locked.until.as_millis();
        self.locks.insert(counter, until);
        // A lock that was reported before may be in force again after the clock was set back.
        if self.ends.insert((counter, until)) {
            assert_eq!(until, self.now + 5 * MINUTE);
        }
    }

    fn begun(&mut self, verdict: Result<FirstFactor, PasswordRefusal>, counter: Counter) {
        match verdict {
            Ok(FirstFactor::Challenged) => {
                let challenge = self.records.challenge.take();
                assert!(challenge.is_some_and(|made| made.user() == self.records.user));
                self.challenges.push(Made {
                    challenge,
                    counter,
                    locked: self.locked.get(&counter).copied().unwrap_or_default(),
                    enrolments: self.enrolments,
                    generation: self.records.user.generation(),
                });
            }
            Ok(FirstFactor::AuthenticatedByDevice(id)) => {
                assert_eq!(counter, Counter::Device(id));
                let live = self.records.trusted_devices(self.moment());
                assert!(live.iter().any(|device| device.id() == id));
            }
            Ok(FirstFactor::Authenticated) => {
                let status = self.records.key.map(|key| key.status());
                assert!(!matches!(status, Some(KeyStatus::Active { .. })));
            }
            Err(PasswordRefusal::WrongPassword(failure)) => {
                assert_eq!(failure.counter, counter);
                self.counted(failure);
            }
            Err(PasswordRefusal::Locked(_)) => unreachable!("told apart before"),
        }
    }

    fn answer(&mut self, first: u8, second: u8) {
        let count = self.challenges.len();
        let at = count.checked_sub(1 + usize::from(second >> 4) % 4);
        let typed = self.typed(first);
        let trust = self.device(second);
        let asked = trust.is_some();
        let mut before = self.records.clone();
        before.challenge = at.and_then(|at| self.challenges[at].challenge);
        let proof = proof(&self.secret, typed.text());
        let network = network(first % 7);
        let now = self.moment();
        let decision = before
            .clone()
            .answer_challenge(&proof, trust, network, now, &self.policy);
        self.records = decision.next;
        match decision.verdict {
            Err(LoginRefusal::Locked(locked)) => self.refused(locked, &before),
            Err(LoginRefusal::ChallengeInvalid(_)) => {
                assert!(self.records.challenge.is_none());
                before.challenge = None;
                assert_eq!(self.records, before);
            }
            Err(LoginRefusal::Replayed) => {
                self.open(at);
                assert_eq!(self.records, before);
            }
            Err(LoginRefusal::WrongCode(failure)) => {
                assert_eq!(failure.counter, self.open(at));
                self.counted(failure);
            }
            Ok(login) => {
                self.open(at);
                assert!(self.records.challenge.is_none());
                self.accepted(&typed, login.factor);
                assert_eq!(login.trusted.is_some(), asked);
                if let Some(trusted) = login.trusted {
                    let live = self.records.trusted_devices(now);
                    assert!(live.iter().any(|device| device.id() == trusted.id));
                    assert!(
                        live.iter()
                            .all(|device| !trusted.ended.contains(&device.id()))
                    );
                    self.locks.remove(&Counter::Device(trusted.id));
                }
            }
        }
        if let Some(at) = at {
            self.challenges[at].challenge = self.records.challenge;
        }
        self.records.challenge = None;
    }

    /// The challenge was answered, so it must have been open. Returns the counter of the attempt.
    fn open(&self, at: Option<usize>) -> Counter {
        let made = at.map(|at| self.challenges[at]).expect("there is one");
        let challenge = made.challenge.expect("it was not answered before");
        assert!(self.moment() < challenge.expires_at(), "it has expired");
        assert_eq!(made.enrolments, self.enrolments, "of another key");
        assert_eq!(made.generation, self.records.user.generation());
        self.judged(made.counter);
        let locked = self.locked.get(&made.counter).copied();
        assert_eq!(made.locked, locked.unwrap_or_default(), "a lock spent it");
        made.counter
    }

    fn activate(&mut self, first: u8, second: u8) {
        let typed = self.typed(first);
        let proof = proof(&self.secret, typed.text());
        let (session, now, before) = (session(second), self.moment(), self.records.clone());
        let admitted = before.check_session_lockout(session, now);
        let decision = before.clone().activate(&proof, session, now, &self.policy);
        self.records = decision.next;
        match decision.verdict {
            Ok(_) => {
                assert!(admitted.is_ok());
                self.judged(Counter::Session(session));
                let text = typed.text().to_owned();
                self.accepted_code(&text);
                self.forget(|counter| matches!(counter, Counter::Address(_)));
                assert!(self.records.addresses.is_none());
            }
            Err(ActivateRefusal::Locked(locked)) => {
                assert_eq!(admitted, Err(locked));
                self.refused(locked, &before);
            }
            Err(ActivateRefusal::WrongCode(failure)) => self.counted(failure),
            Err(ActivateRefusal::AlreadyActive | ActivateRefusal::NoKey) => {
                assert_eq!(self.records, before);
            }
        }
    }

    fn confirm(&mut self, first: u8, second: u8) {
        let (session, now, before) = (session(second), self.moment(), self.records.clone());
        let password = password(first);
        let records = before.clone();
        let decision = records.confirm_password(password, session, now, &self.policy);
        self.records = decision.next;
        match decision.verdict {
            Ok(()) => {
                assert_eq!(password, Password::Correct);
                self.judged(Counter::Session(session));
            }
            Err(PasswordRefusal::Locked(locked)) => self.refused(locked, &before),
            Err(PasswordRefusal::WrongPassword(failure)) => {
                assert_eq!(password, Password::Wrong);
                self.counted(failure);
            }
        }
    }

    fn enrol(&mut self, first: u8, second: u8) {
        let (session, now, before) = (session(second), self.moment(), self.records.clone());
        let password = password(first);
        let number = self.enrolments.wrapping_add(1);
        let kind = KeyKind::default();
        let records = before.clone();
        let decision = records.enrol(kind, password, [number; 16], session, now, &self.policy);
        self.records = decision.next;
        match decision.verdict {
            Ok(enrolled) => {
                assert_eq!(password, Password::Correct);
                self.judged(Counter::Session(session));
                assert_eq!(enrolled.replaced, before.key.is_some());
                let key = self.records.key.expect("it is pending");
                assert_eq!((key.kind(), key.status()), (kind, KeyStatus::Pending));
                assert_eq!(key.created_at(), now);
                (self.enrolments, self.spent) = (number, None);
            }
            Err(EnrolRefusal::AlreadyActive) => assert_eq!(self.records, before),
            Err(EnrolRefusal::Locked(locked)) => self.refused(locked, &before),
            Err(EnrolRefusal::WrongPassword(failure)) => self.counted(failure),
        }
    }

    fn make_codes(&mut self, first: u8, second: u8) {
        let auth_method = [
            AuthMethod::Password,
            AuthMethod::Factor,
            AuthMethod::Activation,
        ];
        let asking = Session {
            id: session(second),
            auth_method: auth_method[usize::from(second) % 3],
        };
        let password = password(first);
        let typed = (second < 200).then(|| self.typed(first));
        let proof = typed
            .as_ref()
            .map(|typed| proof(&self.secret, typed.text()));
        let mut random = [[0; 10]; 10];
        for (at, bits) in (0..).zip(&mut random) {
            bits[..8].copy_from_slice(&u64::to_be_bytes(self.now << 8 | at));
            bits[8] = first;
        }
        let (now, before) = (self.moment(), self.records.clone());
        let free = before.may_leave_code_out(asking.auth_method, now);
        let decision = before.clone().make_recovery_codes(
            password,
            proof.as_ref(),
            asking,
            &random,
            now,
            &self.policy,
        );
        self.records = decision.next;
        match decision.verdict {
            Ok(codes) => {
                assert_eq!(password, Password::Correct);
                assert!(before.require_factor(asking.auth_method).is_ok());
                self.judged(Counter::Session(asking.id));
                match typed {
                    None => assert!(free),
                    Some(Typed::Text(text)) => self.accepted_code(&text),
                    Some(Typed::Recovery(at, _)) => assert!(!self.recovery[at].1),
                }
                let kept = self.records.recovery.as_ref();
                assert!(kept.is_some_and(|kept| kept.left() == 10 && kept.made_at() == now));
                self.recovery = codes.map(|code| (code, false)).into();
            }
            Err(RecoveryRefusal::Locked(locked)) => self.refused(locked, &before),
            Err(RecoveryRefusal::WrongCode(failure) | RecoveryRefusal::WrongPassword(failure)) => {
                self.counted(failure);
            }
            Err(RecoveryRefusal::Replayed) => assert_eq!(self.records.key, before.key),
            Err(
                RecoveryRefusal::CodeNeeded
                | RecoveryRefusal::FactorNeeded(_)
                | RecoveryRefusal::NoActiveKey,
            ) => assert_eq!(self.records, before),
        }
    }

    fn revoke(&mut self, which: u8) {
        let (now, before) = (self.moment(), self.records.clone());
        let live = before.trusted_devices(now);
        let Some(device) = live.get(usize::from(which)) else {
            return;
        };
        let revoked = before.clone().revoke_device(device.id(), now);
        assert_eq!(revoked.verdict, Ok(()));
        self.records = revoked.next;
        assert_eq!(self.records.trusted_devices(now).len(), live.len() - 1);
    }

    /// Returns a code of a step near the current one, the text of a recovery code, or neither.
    fn typed(&self, which: u8) -> Typed {
        let at = usize::from(which % 10);
        if which >= 200
            && let Some((code, _)) = self.recovery.get(at)
        {
            let text = code.to_string();
            let text = match which % 3 {
                0 => text,
                1 => text.to_lowercase().replace('-', " "),
                _ => text.replace('-', "").replace('O', "0").replace('I', "1"),
            };
            return Typed::Recovery(at, text);
        }
        Typed::Text(match which % 16 {
            15 => "123456".into(),
            14 => "AAAA-AAAA-AAAA-AAA".into(),
            13 => "AAAA-AAAA-AAAA-AAAA".into(),
            ahead => {
                let current = self.totp.step_at(self.now / 1000);
                let step = (current + u64::from(ahead)).saturating_sub(6);
                self.totp.code_at_step(step).to_string()
            }
        })
    }

    /// Returns a new device with descriptive texts, whose length is limited.
    fn device(&self, which: u8) -> Option<NewDevice> {
        let device = NewDevice::new(fingerprint(which % 5)?, [which % 7; 4]);
        let text = "x".repeat(250 + usize::from(which % 13));
        let told = device.clone().with_name(&text);
        let told = told.and_then(|device| device.with_browser("Firefox"));
        let told = told.and_then(|device| device.with_operating_system("Debian"));
        assert_eq!(told.is_ok(), text.len() <= NewDevice::MAX_TEXT_LEN);
        Some(told.unwrap_or(device))
    }

    /// Moves the clock by up to a month, forwards or backwards.
    fn wait(&mut self, first: u8, second: u8) {
        let unit = [1, 1_000, 10_000, MINUTE, 60 * MINUTE, DAY, 30_000, 1_000];
        let duration = unit[usize::from(first % 8)] * u64::from(second & 0x1f);
        self.now = match second & 0x80 {
            0 => self.now + duration,
            _ => self.now - duration,
        };
    }
}

fn password(first: u8) -> Password {
    match first & 1 {
        0 => Password::Correct,
        _ => Password::Wrong,
    }
}

fn proof<'a>(secret: &'a Secret, text: &'a str) -> Proof<'a> {
    Proof::Typed { text, secret }
}

fn session(number: u8) -> SessionId {
    SessionId::new(&(number % 40).to_string())
}

/// Returns `None` for 0.
fn fingerprint(number: u8) -> Option<Fingerprint> {
    (number > 0).then(|| Fingerprint::new(&number.to_string()).expect("a short text"))
}

/// Returns `None` for 0, otherwise a network of either kind. The network must read back as it was written.
fn network(number: u8) -> Option<Network> {
    let address = match number % 7 {
        0 => return None,
        low @ 1..=3 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, low)),
        4 => IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()),
        low => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, low.into(), 0, 0, 0, 1)),
    };
    let network = Network::containing(address);
    assert_eq!(network.to_string().parse(), Ok(network));
    Some(network)
}
