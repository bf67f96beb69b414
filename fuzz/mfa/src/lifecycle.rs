//! Compares second-factor logins with a model of them.

use std::num::NonZeroU16;

use keyproof_mfa::{
    ActivateRefusal, AuthMethod, Client, Counter, DeviceId, EnrolRefusal, Factor, Failure,
    Fingerprint, FirstFactor, KeyKind, KeyStatus, Locked, LoginRefusal, NewDevice, Password,
    PasswordRefusal, Policy, Proof, RecoveryCode, RecoveryRefusal, Session, SessionId, UnixMillis,
    User, UserId, UserRecords,
    otp::{Secret, Totp},
};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const DEVICES: u16 = 3;

/// Runs the bytes, as commands of three bytes each, on the records and on the model. Both must give the same result for each
/// command, and the records must survive being stored.
pub fn lifecycle(data: &[u8]) {
    let mut pair = Pair::new();
    for bytes in data.chunks_exact(3).take(256) {
        let &[command, first, second] = bytes else {
            return;
        };
        pair.run(command, first, second);
    }
}

/// The result of a command, as far as the model can predict it.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    AlreadyActive,
    ChallengeInvalid,
    Challenged,
    Device,
    Locked { until: u64 },
    NoKey,
    Nothing,
    Ok,
    Recovered { left: usize },
    Replayed,
    Wrong { consecutive: u32, locks: bool },
}

impl Said {
    fn wrong(failure: Failure) -> Self {
        Self::Wrong {
            consecutive: failure.consecutive,
            locks: failure.locked_until.is_some(),
        }
    }

    fn locked(locked: Locked) -> Self {
        Self::Locked {
            until: locked.until.as_millis(),
        }
    }

    fn password<T>(verdict: Result<T, PasswordRefusal>) -> Self {
        match verdict {
            Ok(_) => Self::Ok,
            Err(PasswordRefusal::Locked(locked)) => Self::locked(locked),
            Err(PasswordRefusal::WrongPassword(failure)) => Self::wrong(failure),
        }
    }
}

/// The rules at their simplest: without digests and generations, and with one list of everything.
#[derive(Default)]
struct Model {
    now: u64,
    key: Option<Key>,
    /// The counter of the user name.
    count: Count,
    /// The counter of the only session.
    session: Count,
    /// The end of a session record that exists although nothing is counted.
    session_kept_until: u64,
    devices: Vec<Device>,
    /// The counter of fingerprints that belong to no device that came with the right password.
    guesses: Count,
    challenges: Vec<Challenge>,
    /// Which recovery codes are used.
    recovery: Option<[bool; 10]>,
}

struct Key {
    active: bool,
    last: Option<u64>,
    drift: i64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    failures: u32,
    locked_until: u64,
    /// When failures and locks are forgotten.
    kept_until: u64,
    locks: u64,
    /// The number of locks that wrong codes contributed to, whether one is counted now, and until when that matters.
    doubled: (u32, bool, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    Code,
    Password,
}

struct Device {
    fingerprint: u8,
    expires_at: u64,
    count: Count,
}

#[derive(Clone, Copy)]
struct Challenge {
    open: bool,
    expires_at: u64,
    locks: u64,
}

impl Count {
    /// Returns what still matters at `now`. The rest is forgotten for good only at the next count.
    fn current(self, now: u64) -> Self {
        if now < self.kept_until {
            self
        } else {
            Self {
                locks: self.locks,
                ..Self::default()
            }
        }
    }

    fn attempt(&mut self, now: u64, right: bool, guess: Guess) -> Said {
        if now < self.locked_until {
            let until = self.locked_until;
            return Said::Locked { until };
        }
        *self = self.current(now);
        if right {
            if self.kept_until == 0 {
                self.kept_until = now + DAY;
            }
            return Said::Ok;
        }
        self.failures += 1;
        let (consecutive, locks) = (self.failures, self.failures == 3);
        self.locked_until = 0;
        self.kept_until = self.kept_until.max(now + DAY);
        let (mut times, mut counting, mut until) = self.doubled;
        if now >= until {
            (times, counting) = (0, false);
        }
        if guess == Guess::Code {
            (counting, until) = (true, until.max(now + DAY));
        }
        if locks {
            let doublings = if counting {
                times
            } else {
                times.saturating_sub(1)
            };
            self.failures = 0;
            self.locks += 1;
            self.locked_until = now + ((5 * MINUTE) << doublings.min(20)).min(DAY);
            if counting {
                (times, counting) = (times + 1, false);
                until = until.max(self.locked_until + DAY);
            }
        }
        if times > 0 || counting {
            self.kept_until = self.kept_until.max(until);
        }
        self.doubled = (times, counting, until);
        self.kept_until = self.kept_until.max(self.locked_until);
        Said::Wrong { consecutive, locks }
    }

    fn succeed(&mut self, now: u64) {
        self.attempt(now, true, Guess::Password);
        self.clear();
    }

    fn clear(&mut self) {
        (self.failures, self.locked_until) = (0, 0);
        self.doubled = (0, false, 0);
    }
}

impl Model {
    fn active(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.active)
    }

    fn device(&mut self, fingerprint: Option<u8>) -> Option<&mut Device> {
        let now = self.now;
        let mut live = self.devices.iter_mut().filter(|d| now < d.expires_at);
        live.find(|device| Some(device.fingerprint) == fingerprint)
    }

    fn begin(&mut self, right: bool, fingerprint: Option<u8>) -> Said {
        let now = self.now;
        let shown = fingerprint.filter(|_| self.guesses.locked_until <= now);
        if let Some(device) = self.device(shown) {
            match device.count.attempt(now, right, Guess::Password) {
                Said::Ok => {
                    device.count = Count::default();
                    return Said::Device;
                }
                locked if right => return locked,
                // A wrong password is answered as without a fingerprint.
                _ => {}
            }
        }
        let can_be_guessed = self.devices.iter().any(|device| now < device.expires_at);
        if right && shown.is_some() && can_be_guessed {
            self.guesses.attempt(now, false, Guess::Code);
        }
        match self.count.attempt(now, right, Guess::Password) {
            Said::Ok if self.active() => {
                let expires_at = now + 10 * MINUTE;
                let count = &mut self.count;
                count.kept_until = count.kept_until.max(expires_at);
                self.challenges.push(Challenge {
                    open: true,
                    expires_at,
                    locks: count.locks,
                });
                Said::Challenged
            }
            Said::Ok => {
                self.count.succeed(now);
                Said::Ok
            }
            refused => refused,
        }
    }

    /// Returns the step that `text` is a fresh code of. The error is `true` if it was a code of an earlier step.
    fn judge(&mut self, totp: &Totp, text: &str) -> Result<u64, bool> {
        let Some(key) = &self.key else {
            return Err(false);
        };
        let current = (self.now / 1000 / 30) as i64;
        let is_code = |step: u64| totp.code_at_step(step).to_string() == text;
        let near = (current - 1 + key.drift..=current + 1 + key.drift).chain([current]);
        let near = near.filter_map(|step| u64::try_from(step).ok());
        let hits: Vec<u64> = near.filter(|step| is_code(*step)).collect();
        match hits
            .iter()
            .copied()
            .filter(|step| Some(*step) > key.last)
            .max()
        {
            Some(step) => Ok(step),
            None => Err(!hits.is_empty() || key.last.is_some_and(is_code)),
        }
    }

    fn learn(&mut self, step: u64) {
        let current = (self.now / 1000 / 30) as i64;
        if let Some(key) = &mut self.key {
            key.active = true;
            key.last = Some(step);
            key.drift = (step as i64 - current).clamp(-2, 2);
        }
    }

    /// Counts an attempt in the session.
    fn attempt_again(&mut self, right: bool, guess: Guess) -> Said {
        let now = self.now;
        if now < self.session.locked_until {
            let until = self.session.locked_until;
            return Said::Locked { until };
        }
        if now >= self.session_kept_until.max(self.session.kept_until) {
            self.session = Count::default();
            self.session_kept_until = now + DAY;
        }
        if right {
            return Said::Ok;
        }
        self.session.attempt(now, right, guess)
    }

    fn activate(&mut self, totp: &Totp, text: &str) -> Said {
        match &self.key {
            None => return Said::NoKey,
            Some(key) if key.active => return Said::AlreadyActive,
            Some(_) => {}
        }
        let judged = self.judge(totp, text);
        let said = self.attempt_again(judged.is_ok(), Guess::Code);
        if let (Said::Ok, Ok(step)) = (&said, judged) {
            self.learn(step);
            self.session = Count::default();
        }
        said
    }

    fn answer(
        &mut self,
        challenge: Option<usize>,
        totp: &Totp,
        typed: &Typed,
        trust: Option<u8>,
    ) -> Said {
        let now = self.now;
        if now < self.count.locked_until {
            let until = self.count.locked_until;
            return Said::Locked { until };
        }
        let locks = self.count.current(now).locks;
        let Some(at) = challenge.filter(|at| self.challenges[*at].holds(now, locks)) else {
            if let Some(at) = challenge {
                self.challenges[at].open = false;
            }
            return Said::ChallengeInvalid;
        };
        let said = match typed {
            Typed::Recovery { at, .. } => match self.recovery.as_mut().map(|used| &mut used[*at]) {
                Some(true) => return Said::Replayed,
                Some(used) => {
                    *used = true;
                    let unused = self.recovery.iter().flatten().filter(|used| !**used);
                    Said::Recovered {
                        left: unused.count(),
                    }
                }
                None => return self.count.attempt(now, false, Guess::Code),
            },
            Typed::Code(text) => match self.judge(totp, text) {
                Ok(step) => {
                    self.learn(step);
                    Said::Ok
                }
                Err(true) => return Said::Replayed,
                Err(false) => return self.count.attempt(now, false, Guess::Code),
            },
        };
        self.count.succeed(now);
        self.guesses = Count::default();
        self.challenges[at].open = false;
        if let Some(fingerprint) = trust {
            self.devices
                .retain(|device| device.fingerprint != fingerprint && now < device.expires_at);
            let surplus = (self.devices.len() + 1).saturating_sub(usize::from(DEVICES));
            self.devices.drain(..surplus);
            self.devices.push(Device {
                fingerprint,
                expires_at: now + 90 * DAY,
                count: Count::default(),
            });
        }
        said
    }

    fn end_challenges(&mut self) {
        self.devices.clear();
        for challenge in &mut self.challenges {
            challenge.open = false;
        }
    }
}

impl Challenge {
    fn holds(&self, now: u64, locks: u64) -> bool {
        self.open && now < self.expires_at && self.locks == locks
    }
}

/// What a user types.
enum Typed {
    Code(String),
    Recovery { at: usize, text: String },
}

/// The records and the model.
struct Pair {
    model: Model,
    policy: Policy,
    secret: Secret,
    totp: Totp,
    records: UserRecords,
    /// The stored challenges; the model's have the same indices.
    challenges: Vec<Option<keyproof_mfa::Challenge>>,
    recovery: Vec<RecoveryCode>,
    enrolments: u8,
}

impl Pair {
    fn new() -> Self {
        let secret = Secret::from_bytes(b"12345678901234567890").expect("20 bytes");
        let mut policy = Policy::default();
        policy.devices = NonZeroU16::new(DEVICES).expect("not zero");
        Self {
            model: Model {
                now: 1_700_000_000_000,
                ..Model::default()
            },
            policy,
            totp: Totp::new(&secret, Default::default(), Default::default()),
            secret,
            records: UserRecords::new(User::new(UserId::new("tenant", "user"), 0)),
            challenges: Vec::new(),
            recovery: Vec::new(),
            enrolments: 0,
        }
    }

    fn run(&mut self, command: u8, first: u8, second: u8) {
        let password = if first & 1 == 0 {
            Password::Correct
        } else {
            Password::Wrong
        };
        let right = password == Password::Correct;
        // 0 is no device; 1 to 4 are devices.
        let device = Some(second % 5).filter(|number| *number > 0);
        let now = UnixMillis::from_millis(self.model.now);
        let records = self.records.clone();
        let (expected, said) = match command % 12 {
            0 => (self.model.activate(&self.totp, &self.code(first)), {
                let text = self.code(first);
                let decision = records.activate(&self.proof(&text), session(), now, &self.policy);
                self.records = decision.next;
                match decision.verdict {
                    Ok(_) => Said::Ok,
                    Err(ActivateRefusal::AlreadyActive) => Said::AlreadyActive,
                    Err(ActivateRefusal::Locked(locked)) => Said::locked(locked),
                    Err(ActivateRefusal::NoKey) => Said::NoKey,
                    Err(ActivateRefusal::WrongCode(failure)) => Said::wrong(failure),
                }
            }),
            1 | 2 => self.answer(first, second),
            3 | 4 => (self.model.begin(right, device), {
                let fingerprint = device.map(fingerprint);
                let client = Client {
                    fingerprint: fingerprint.as_ref(),
                    network: None,
                };
                let decision = records.begin_login(password, client, now, &self.policy);
                self.records = decision.next;
                match decision.verdict {
                    Ok(FirstFactor::Authenticated) => Said::Ok,
                    Ok(FirstFactor::AuthenticatedByDevice(_)) => Said::Device,
                    Ok(FirstFactor::Challenged) => {
                        self.challenges.push(self.records.challenge.take());
                        Said::Challenged
                    }
                    Err(refusal) => Said::password::<()>(Err(refusal)),
                }
            }),
            5 => (self.model.attempt_again(right, Guess::Password), {
                let decision = records.confirm_password(password, session(), now, &self.policy);
                self.records = decision.next;
                Said::password(decision.verdict)
            }),
            6 => self.enrol(password),
            7 => self.make_codes(password),
            8 => self.remove_key(),
            9 => match first % 3 {
                0 => {
                    self.model.end_challenges();
                    self.model.session = Count::default();
                    self.model.count.doubled = (0, false, 0);
                    self.records = records.after_password_change();
                    (Said::Ok, Said::Ok)
                }
                1 => {
                    self.model.count.clear();
                    self.model.session = Count::default();
                    for device in &mut self.model.devices {
                        device.count = Count::default();
                    }
                    self.model.guesses = Count::default();
                    self.records = records.unlock();
                    (Said::Ok, Said::Ok)
                }
                _ => self.revoke(second),
            },
            _ => {
                self.wait(first, second);
                (Said::Ok, Said::Ok)
            }
        };
        assert_eq!(said, expected, "command {command} {first} {second}");
        self.compare();
        self.store_and_load();
    }

    /// Returns a code of a step near the current one, or a text that is not a code.
    fn code(&self, which: u8) -> String {
        let current = self.totp.step_at(self.model.now / 1000);
        match which % 16 {
            15 => "123456".into(),
            14 => "no code".into(),
            13 => match self.model.key.as_ref().and_then(|key| key.last) {
                Some(last) => self.totp.code_at_step(last).to_string(),
                None => String::new(),
            },
            ahead => {
                let step = (current + u64::from(ahead)).saturating_sub(6);
                self.totp.code_at_step(step).to_string()
            }
        }
    }

    fn proof<'a>(&'a self, text: &'a str) -> Proof<'a> {
        let secret = &self.secret;
        Proof::Typed { text, secret }
    }

    fn answer(&mut self, first: u8, second: u8) -> (Said, Said) {
        let count = self.challenges.len();
        let challenge = count.checked_sub(1 + usize::from(second >> 4) % 4);
        let typed = match first {
            0..200 => Typed::Code(self.code(first)),
            200.. => {
                let at = usize::from(first % 10);
                match self.recovery.get(at) {
                    Some(code) => Typed::Recovery {
                        at,
                        text: code.to_string(),
                    },
                    None => Typed::Code("AAAA-AAAA-AAAA-AAAA".into()),
                }
            }
        };
        let trust = Some(second % 5).filter(|number| *number > 0);
        let expected = self.model.answer(challenge, &self.totp, &typed, trust);

        let mut records = self.records.clone();
        records.challenge = challenge.and_then(|at| self.challenges[at]);
        let (Typed::Code(text) | Typed::Recovery { text, .. }) = &typed;
        let device = trust.map(|number| NewDevice::new(fingerprint(number), [second; 4]));
        let now = UnixMillis::from_millis(self.model.now);
        let mut decision =
            records.answer_challenge(&self.proof(text), device, None, now, &self.policy);
        if let Some(at) = challenge {
            self.challenges[at] = decision.next.challenge;
        }
        decision.next.challenge = None;
        self.records = decision.next;
        let said = match decision.verdict {
            Ok(login) => match login.factor {
                Factor::RecoveryCode { left } => Said::Recovered { left },
                _ => Said::Ok,
            },
            Err(LoginRefusal::ChallengeInvalid(_)) => Said::ChallengeInvalid,
            Err(LoginRefusal::Locked(locked)) => {
                assert_eq!(locked.counter, Counter::Name);
                Said::locked(locked)
            }
            Err(LoginRefusal::Replayed) => Said::Replayed,
            Err(LoginRefusal::WrongCode(failure)) => Said::wrong(failure),
        };
        (expected, said)
    }

    fn enrol(&mut self, password: Password) -> (Said, Said) {
        let (now, model) = (self.model.now, &mut self.model);
        let expected = if model.active() {
            Said::AlreadyActive
        } else {
            model.attempt_again(password == Password::Correct, Guess::Password)
        };
        if expected == Said::Ok {
            model.session = Count::default();
            model.key = Some(Key {
                active: false,
                last: None,
                drift: 0,
            });
        }
        self.enrolments = self.enrolments.wrapping_add(1);
        let random = [self.enrolments; 16];
        let now = UnixMillis::from_millis(now);
        let records = self.records.clone();
        let decision = records.enrol(
            KeyKind::default(),
            password,
            random,
            session(),
            now,
            &self.policy,
        );
        self.records = decision.next;
        let said = match decision.verdict {
            Ok(_) => Said::Ok,
            Err(EnrolRefusal::AlreadyActive) => Said::AlreadyActive,
            Err(EnrolRefusal::Locked(locked)) => Said::locked(locked),
            Err(EnrolRefusal::WrongPassword(failure)) => Said::wrong(failure),
        };
        (expected, said)
    }

    fn make_codes(&mut self, password: Password) -> (Said, Said) {
        let (now, model) = (self.model.now, &mut self.model);
        let auth_method = AuthMethod::Activation;
        let at = UnixMillis::from_millis(now);
        let expected = if !model.active() {
            Said::NoKey
        } else if !self.records.may_leave_code_out(auth_method, at) {
            Said::Nothing
        } else {
            assert!(model.recovery.is_none(), "there are codes");
            model.attempt_again(password == Password::Correct, Guess::Password)
        };
        if expected == Said::Ok {
            model.recovery = Some([false; 10]);
        }
        // Each set is made of new bytes; none of them is zero.
        let mut random = [[self.enrolments | 1; 10]; 10];
        for (at, bits) in (0..).zip(&mut random) {
            bits[..8].copy_from_slice(&u64::to_be_bytes(now << 8 | at));
        }
        let now = UnixMillis::from_millis(now);
        let records = self.records.clone();
        let asking = Session {
            id: session(),
            auth_method,
        };
        let decision =
            records.make_recovery_codes(password, None, asking, &random, now, &self.policy);
        self.records = decision.next;
        let said = match decision.verdict {
            Ok(codes) => {
                self.recovery = codes.into();
                Said::Ok
            }
            Err(RecoveryRefusal::CodeNeeded) => Said::Nothing,
            Err(
                refusal @ (RecoveryRefusal::FactorNeeded(_)
                | RecoveryRefusal::Replayed
                | RecoveryRefusal::WrongCode(_)),
            ) => panic!("{refusal}"),
            Err(RecoveryRefusal::Locked(locked)) => Said::locked(locked),
            Err(RecoveryRefusal::NoActiveKey) => Said::NoKey,
            Err(RecoveryRefusal::WrongPassword(failure)) => Said::wrong(failure),
        };
        (expected, said)
    }

    fn remove_key(&mut self) -> (Said, Said) {
        let expected = match self.model.key.take() {
            Some(_) => Said::Ok,
            None => Said::NoKey,
        };
        if expected == Said::Ok {
            self.model.end_challenges();
            self.model.recovery = None;
        }
        let now = UnixMillis::from_millis(self.model.now);
        let decision = self.records.clone().remove_key(now);
        self.records = decision.next;
        let said = decision.verdict.map_or(Said::NoKey, |_| Said::Ok);
        (expected, said)
    }

    fn revoke(&mut self, which: u8) -> (Said, Said) {
        let now = UnixMillis::from_millis(self.model.now);
        let live = self.records.trusted_devices(now);
        let id = live.get(usize::from(which)).map(|device| device.id());
        let mut expected = Said::Nothing;
        let live = |device: &Device| self.model.now < device.expires_at;
        let mut places = (0..self.model.devices.len()).filter(|at| live(&self.model.devices[*at]));
        if let Some(at) = places.nth(usize::from(which)) {
            self.model.devices.remove(at);
            expected = Said::Ok;
        }
        let id = id.unwrap_or(DeviceId::new(0));
        let decision = self.records.clone().revoke_device(id, now);
        self.records = decision.next;
        if self.records.devices.is_none() {
            self.model.guesses = Count::default();
        }
        let said = decision.verdict.map_or(Said::Nothing, |()| Said::Ok);
        (expected, said)
    }

    /// Moves the clock by up to a month, forwards or backwards.
    fn wait(&mut self, first: u8, second: u8) {
        let unit =
            [1, 1_000, 10_000, MINUTE, 60 * MINUTE, DAY, 10_000, 1_000][usize::from(first % 8)];
        let duration = unit * u64::from(second & 0x1f);
        let now = self.model.now;
        self.model.now = if second & 0x80 == 0 {
            now + duration
        } else {
            now - duration
        };
    }

    fn compare(&self) {
        let (model, records) = (&self.model, &self.records);
        let status = records
            .key
            .map(|key| matches!(key.status(), KeyStatus::Active { .. }));
        assert_eq!(status, model.key.as_ref().map(|key| key.active));
        let left = records.recovery.as_ref().map(|codes| codes.left());
        let unused = |used: &[bool; 10]| used.iter().filter(|used| !**used).count();
        assert_eq!(left, model.recovery.as_ref().map(unused));
        let live = model
            .devices
            .iter()
            .filter(|device| model.now < device.expires_at);
        let expiries: Vec<u64> = live.map(|device| device.expires_at).collect();
        let devices = records.trusted_devices(UnixMillis::from_millis(model.now));
        let found = devices.iter().map(|device| device.expires_at().as_millis());
        assert_eq!(found.collect::<Vec<_>>(), expiries);
    }

    fn store_and_load(&mut self) {
        fn stored<R>(record: &Option<R>) -> Option<R>
        where
            R: serde::Serialize + serde::de::DeserializeOwned,
        {
            let json = serde_json::to_vec(record).expect("every record has a stored form");
            serde_json::from_slice(&json).expect("what was written is read")
        }
        let mut loaded = UserRecords::new(self.records.user);
        loaded.devices = stored(&self.records.devices);
        loaded.key = stored(&self.records.key);
        loaded.lockout = stored(&self.records.lockout);
        loaded.recovery = stored(&self.records.recovery);
        loaded.sessions = stored(&self.records.sessions);
        assert_eq!(loaded, self.records);
        for challenge in &mut self.challenges {
            *challenge = stored(challenge);
        }
    }
}

fn session() -> SessionId {
    SessionId::new("hers")
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::new(&number.to_string()).expect("a short text")
}
