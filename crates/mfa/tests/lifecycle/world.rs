//! A store, the facts beside it, and what must hold between them.

use core::num::NonZeroU16;
use core::time::Duration;

use keyproof_mfa::otp::{Algorithm, DEFAULT_PERIOD, Digits, Secret, Totp};
use keyproof_mfa::{
    ActivateRefusal, Authenticated, ChallengeOver, Counter, Decision, DeviceId, EnrolRefusal,
    Factor, Failure, Fingerprint, FirstFactor, KeyKind, KeyStatus, LoginRefusal, NewDevice,
    Password, PasswordRefusal, Policy, Proof, RecoveryRefusal, Standing, TotpParameters,
    UnixMillis, User, UserId, UserRecords,
};

use crate::commands::{Answer, Command, Typed};
use crate::facts::{Count, DAY, Enrolment, Issued, MINUTE, Recovery, TrustedDevice};

/// Ten digits: by chance alone, no two steps of a run have the same code.
const DIGITS: Digits = match Digits::new(10) {
    Ok(digits) => digits,
    Err(_) => Digits::SIX,
};
const DEVICES: u16 = 3;

pub(crate) struct World {
    policy: Policy,
    now: i64,
    /// What the store holds, without challenges.
    records: UserRecords,
    challenges: Vec<Issued>,
    devices: Vec<TrustedDevice>,
    enrolments: Vec<Enrolment>,
    key: bool,
    recovery: Vec<Recovery>,
    user: Count,
    locks: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut policy = Policy::default();
        policy.devices = NonZeroU16::new(DEVICES).unwrap();
        assert_eq!(policy.challenge_lifetime, Duration::from_secs(600));
        Self {
            policy,
            now: 1_700_000_000_000,
            records: UserRecords::new(User::new(UserId::new("tenant", "user"), 0)),
            challenges: Vec::new(),
            devices: Vec::new(),
            enrolments: Vec::new(),
            key: false,
            recovery: Vec::new(),
            user: Count::default(),
            locks: 0,
        }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now as u64)
    }

    fn step(&self) -> u64 {
        self.now as u64 / 30_000
    }

    fn active(&self) -> Option<usize> {
        let last = self.enrolments.len().checked_sub(1)?;
        (self.key && self.enrolments[last].active).then_some(last)
    }

    /// Commits by the rule of [`Decision`]. Nobody looks at what was not there and still is not.
    fn commit(&mut self, read: &UserRecords, next: &UserRecords, challenge: Option<usize>) -> bool {
        fn put<R: Clone + PartialEq>(
            stored: &mut Option<R>,
            read: &Option<R>,
            next: &Option<R>,
        ) -> bool {
            let absent = read.is_none() && next.is_none();
            let holds = absent || stored == read;
            if holds && !absent {
                stored.clone_from(next);
            }
            holds
        }
        let mut records = self.records.clone();
        let mut issued = challenge.and_then(|at| self.challenges[at].stored);
        let won = records.user == read.user
            && put(&mut records.devices, &read.devices, &next.devices)
            && put(&mut records.key, &read.key, &next.key)
            && put(&mut records.lockout, &read.lockout, &next.lockout)
            && put(&mut records.recovery, &read.recovery, &next.recovery)
            && (challenge.is_none() || put(&mut issued, &read.challenge, &next.challenge));
        if won {
            records.user = next.user;
            self.records = records;
            if let Some(at) = challenge {
                self.challenges[at].stored = issued;
            }
        }
        won
    }

    fn run<T, E>(&mut self, decide: impl Fn(UserRecords) -> Decision<T, E>) -> Result<T, E> {
        let read = self.records.clone();
        let decision = decide(read.clone());
        assert!(self.commit(&read, &decision.next, None));
        decision.verdict
    }

    fn text(&self, typed: &Typed) -> String {
        let phone = self.enrolments.last();
        match typed {
            Typed::Nonsense => "no code".into(),
            Typed::Code(ahead) => phone.map_or_else(String::new, |phone| {
                let step = self.step().checked_add_signed(*ahead).unwrap();
                phone.totp.code_of_step(step).to_string()
            }),
            Typed::Former => match self.enrolments.len() {
                0 | 1 => String::new(),
                len => self.enrolments[len - 2]
                    .totp
                    .code_of_step(self.step())
                    .to_string(),
            },
            Typed::Recovery(back) => {
                let at = self.recovery.len().checked_sub(back + 1);
                at.map_or_else(String::new, |at| self.recovery[at].text.clone())
            }
            Typed::Spent => phone
                .and_then(|phone| Some(phone.totp.code_of_step(phone.last_step?).to_string()))
                .unwrap_or_default(),
        }
    }

    fn secret(&self) -> Secret {
        let phone = self.enrolments.last();
        phone.map_or_else(
            || Secret::from_bytes(&[]).unwrap(),
            |phone| phone.secret.clone(),
        )
    }

    /// The step that a text belongs to, of the latest enrolment and near the current one or the
    /// last.
    fn step_of(&self, text: &str) -> Option<u64> {
        let phone = self.enrolments.last()?;
        let near = self.step() - 10..self.step() + 10;
        near.chain(phone.last_step)
            .find(|step| phone.totp.code_of_step(*step).to_string() == text)
    }

    /// Runs a command and checks what came of it.
    pub(crate) fn apply(&mut self, command: &Command) {
        let was_active = self.active();
        let (now, policy) = (self.now(), self.policy);
        match command {
            Command::Activate(typed) => self.activate(typed),
            Command::Answer(answers) => self.answer(answers),
            Command::Begin(password, device) => self.begin(*password, *device),
            Command::Confirm(password) => {
                let verdict = self.run(|user| user.confirm_password(*password, now, &policy));
                self.password(*password, verdict);
            }
            Command::Enrol(password) => self.enrol(*password),
            Command::MakeCodes(password) => self.make_codes(*password),
            Command::Remove => {
                let verdict = self.run(|user| user.remove_key(now));
                assert_eq!(verdict.is_ok(), self.key);
                self.key = false;
                self.recovery.iter_mut().for_each(|code| code.good = false);
                assert_eq!(self.records.devices, None);
                assert_eq!(self.records.recovery, None);
            }
            Command::Renew => {
                let read = self.records.clone();
                let next = read.clone().renew();
                assert!(self.commit(&read, &next, None));
                assert_eq!(self.records.devices, None);
            }
            Command::Revoke(at) => {
                let id = self
                    .devices
                    .get(*at)
                    .map_or(DeviceId::new(0), |device| device.id);
                let live = self.live_device(|device| device.id == id).is_some();
                let verdict = self.run(|user| user.revoke_device(id, now));
                assert_eq!(verdict.is_ok(), live);
                self.devices.retain(|device| device.id != id);
            }
            Command::Unlock => {
                let read = self.records.clone();
                let next = read.clone().unlock();
                assert!(self.commit(&read, &next, None));
                (self.user.failures, self.user.locked_until) = (0, 0);
                for device in &mut self.devices {
                    device.count = Count::default();
                }
            }
            Command::Wait(millis) => self.now += millis,
        }
        self.check(command, was_active);
    }

    /// What holds after every command.
    fn check(&self, command: &Command, was_active: Option<usize>) {
        let active = self
            .records
            .key
            .is_some_and(|key| matches!(key.status(), KeyStatus::Active { .. }));
        assert_eq!(active, self.active().is_some());
        if active && was_active != self.active() {
            assert!(
                matches!(command, Command::Activate(_)),
                "active by {command:?}"
            );
        }
        let devices = self.records.trusted_devices(self.now());
        assert!(devices.len() <= usize::from(DEVICES));
        let mut ids: Vec<_> = devices.iter().map(|device| device.id()).collect();
        ids.sort();
        let mut facts: Vec<_> = self.live_devices().map(|(_, device)| device.id).collect();
        facts.sort();
        assert_eq!(ids, facts);
    }

    fn live_devices(&self) -> impl Iterator<Item = (usize, &TrustedDevice)> {
        let enrolment = self.active();
        self.devices.iter().enumerate().filter(move |(_, device)| {
            Some(device.enrolment) == enrolment
                && device.user_generation == self.records.user.generation()
                && self.now < device.at + 90 * DAY
        })
    }

    fn live_device(&self, which: impl Fn(&TrustedDevice) -> bool) -> Option<usize> {
        let (at, _) = self.live_devices().find(|(_, device)| which(device))?;
        Some(at)
    }

    fn failed(&mut self, failure: Failure) {
        assert_eq!(failure.counter, Counter::User);
        self.user.failed(failure, self.now);
        self.locks += u32::from(failure.locked_until.is_some());
    }

    fn password(&mut self, password: Password, verdict: Result<(), PasswordRefusal>) {
        match verdict {
            Ok(()) => {
                self.user.witnessed(self.now);
                assert_eq!(password, Password::Correct);
            }
            Err(PasswordRefusal::Locked(locked)) => self.user.refused(locked, self.now),
            Err(PasswordRefusal::WrongPassword(failure)) => {
                assert_eq!(password, Password::Wrong);
                self.failed(failure);
            }
        }
    }

    fn enrol(&mut self, password: Password) {
        let number = self.enrolments.len() as u64;
        let (now, policy) = (self.now(), self.policy);
        let kind = KeyKind::Totp(TotpParameters {
            algorithm: Algorithm::Sha1,
            digits: DIGITS,
            period: DEFAULT_PERIOD,
        });
        let random = u128::from(number + 1).to_be_bytes();
        match self.run(|user| user.enrol(kind, password, random, now, &policy)) {
            Ok(enrolled) => {
                assert_eq!(enrolled.replaced, self.key);
                self.password(password, Ok(()));
                self.user.succeeded(self.now);
                let secret = Secret::from_bytes(&number.to_be_bytes()).unwrap();
                let totp = Totp::new(&secret, Algorithm::Sha1, DIGITS);
                self.enrolments.push(Enrolment {
                    secret,
                    totp,
                    active: false,
                    last_step: None,
                });
                self.key = true;
            }
            Err(EnrolRefusal::AlreadyActive) => assert!(self.active().is_some()),
            Err(EnrolRefusal::Locked(locked)) => {
                self.password(password, Err(PasswordRefusal::Locked(locked)));
            }
            Err(EnrolRefusal::WrongPassword(failure)) => {
                self.password(password, Err(PasswordRefusal::WrongPassword(failure)));
            }
        }
    }

    fn activate(&mut self, typed: &Typed) {
        let (text, secret) = (self.text(typed), self.secret());
        let proof = Proof::Typed {
            text: &text,
            secret: &secret,
        };
        let (now, policy) = (self.now(), self.policy);
        let step = self.step_of(&text);
        let near = step.is_some_and(|step| step.abs_diff(self.step()) <= 1);
        match self.run(|user| user.activate(&proof, now, &policy)) {
            Ok(_) => {
                assert!(self.key && self.active().is_none());
                assert!(near, "active without a code");
                self.user.succeeded(self.now);
                let phone = self.enrolments.last_mut().unwrap();
                (phone.active, phone.last_step) = (true, step);
            }
            Err(ActivateRefusal::AlreadyActive) => assert!(self.active().is_some()),
            Err(ActivateRefusal::Locked(locked)) => self.user.refused(locked, self.now),
            Err(ActivateRefusal::NoKey) => assert!(!self.key),
            Err(ActivateRefusal::WrongCode(failure)) => {
                assert!(!near, "a right code was refused");
                self.failed(failure);
            }
        }
    }

    fn begin(&mut self, password: Password, fingerprint: Option<u8>) {
        let (now, policy) = (self.now(), self.policy);
        let text = fingerprint.map(|number| Fingerprint::new(&format!("device {number}")).unwrap());
        let known =
            fingerprint.and_then(|number| self.live_device(|device| device.fingerprint == number));
        let count = known.map_or(self.user, |at| self.devices[at].count);
        let admitted = self.records.admit(text.as_ref(), now);
        assert_eq!(admitted.is_err(), count.is_locked(self.now));

        let read = self.records.clone();
        let decision = read
            .clone()
            .begin_login(password, text.as_ref(), now, &policy);
        assert!(self.commit(&read, &decision.next, None));
        match (decision.verdict, known) {
            (Ok(FirstFactor::AuthenticatedByDevice(id)), Some(at)) => {
                assert_eq!(password, Password::Correct);
                let device = &mut self.devices[at];
                assert_eq!(device.id, id);
                device.count.succeeded(self.now);
                device.count = Count::default();
            }
            (Ok(FirstFactor::Authenticated), None) => {
                assert_eq!(self.active(), None, "no second factor was asked for");
                self.password(password, Ok(()));
                self.user.succeeded(self.now);
            }
            (Ok(FirstFactor::Challenged), None) => {
                self.password(password, Ok(()));
                let challenge = decision.next.challenge.unwrap();
                self.user.kept_until = self.user.kept_until.max(self.now + 10 * MINUTE);
                self.challenges.push(Issued {
                    stored: Some(challenge),
                    read: challenge,
                    at: self.now,
                    enrolment: self.active().unwrap(),
                    user_generation: self.records.user.generation(),
                    locks: self.locks,
                    answered: false,
                });
            }
            (Err(PasswordRefusal::Locked(locked)), Some(at)) => {
                assert_eq!(locked.counter, Counter::Device(self.devices[at].id));
                count.refused(locked, self.now);
            }
            (Err(PasswordRefusal::WrongPassword(failure)), Some(at)) => {
                assert_eq!(failure.counter, Counter::Device(self.devices[at].id));
                self.devices[at].count.failed(failure, self.now);
            }
            (Err(refusal), None) => self.password(password, Err(refusal)),
            (verdict, known) => panic!("{verdict:?} with device {known:?}"),
        }
    }

    fn answer(&mut self, answers: &[Answer]) {
        // All read first; then each commits, or decides again on what it finds.
        let read: Vec<_> = answers
            .iter()
            .map(|answer| {
                let back = answer.challenge + 1;
                let at = self.challenges.len().checked_sub(back);
                let mut records = self.records.clone();
                // Sometimes one that another request has answered meanwhile.
                records.challenge = at.and_then(|at| self.challenges[at].stored);
                (at, records)
            })
            .collect();
        for (number, (answer, (at, mut read))) in answers.iter().zip(read).enumerate() {
            let (text, secret) = (self.text(&answer.typed), self.secret());
            let proof = Proof::Typed {
                text: &text,
                secret: &secret,
            };
            let (now, policy) = (self.now(), self.policy);
            let device = || {
                answer.trust.map(|fingerprint| {
                    let text = format!("device {fingerprint}");
                    NewDevice::new(Fingerprint::new(&text).unwrap(), [number as u8; 4])
                })
            };
            let verdict = loop {
                let decision = read
                    .clone()
                    .answer_challenge(&proof, device(), now, &policy);
                if self.commit(&read, &decision.next, at) {
                    break decision.verdict;
                }
                read = self.records.clone();
                read.challenge = at.and_then(|at| self.challenges[at].stored);
            };
            self.judge(answer, at, &text, verdict);
        }
    }

    fn judge(
        &mut self,
        answer: &Answer,
        at: Option<usize>,
        text: &str,
        verdict: Result<Authenticated, LoginRefusal>,
    ) {
        let open = at.filter(|at| {
            let issued = &self.challenges[*at];
            !issued.answered
                && self.now < issued.at + 10 * MINUTE
                && Some(issued.enrolment) == self.active()
                && issued.user_generation == self.records.user.generation()
                && issued.locks == self.locks
        });
        let step = self.step_of(text);
        let last = self.enrolments.last().and_then(|phone| phone.last_step);
        let recovery = self
            .recovery
            .iter()
            .position(|code| code.good && code.text == text);
        match verdict {
            Ok(login) => {
                let open = open.expect("a login without an open challenge");
                self.challenges[open].answered = true;
                self.user.succeeded(self.now);
                match login.factor {
                    Factor::Key => {
                        let step = step.expect("a login without a code");
                        assert!(Some(step) > last, "step {step} after {last:?}");
                        assert!(step.abs_diff(self.step()) <= 3, "far from the current step");
                        self.enrolments.last_mut().unwrap().last_step = Some(step);
                    }
                    Factor::RecoveryCode { left } => {
                        let code = recovery.expect("a login without a recovery code");
                        assert!(!self.recovery[code].used, "a recovery code twice");
                        self.recovery[code].used = true;
                        let unused = self.recovery.iter().filter(|code| code.good && !code.used);
                        assert_eq!(left, unused.count());
                    }
                    factor => panic!("{factor:?}"),
                }
                assert_eq!(login.trusted.is_some(), answer.trust.is_some());
                if let Some(trusted) = login.trusted {
                    let fingerprint = answer.trust.unwrap();
                    let same = self.live_device(|device| device.fingerprint == fingerprint);
                    assert_eq!(trusted.replaced, same.map(|at| self.devices[at].id));
                    // What has expired by now is dropped on the way.
                    let now = self.now;
                    self.devices.retain(|device| {
                        now < device.at + 90 * DAY
                            && Some(device.id) != trusted.replaced
                            && !trusted.ended.contains(&device.id)
                    });
                    self.devices.push(TrustedDevice {
                        id: trusted.id,
                        fingerprint,
                        at: self.now,
                        enrolment: self.active().unwrap(),
                        user_generation: self.records.user.generation(),
                        count: Count::default(),
                    });
                }
            }
            Err(LoginRefusal::Locked(locked)) => self.user.refused(locked, self.now),
            Err(LoginRefusal::ChallengeOver(over)) => {
                assert_eq!(open, None, "an open challenge was refused: {over:?}");
                assert!(!self.user.is_locked(self.now));
                if over == ChallengeOver::Expired {
                    let expired = &self.challenges[at.unwrap()];
                    assert!(self.now >= expired.read.expires_at().as_millis() as i64);
                }
                // It is gone for good, even if the clock is set back.
                if let Some(at) = at {
                    self.challenges[at].answered = true;
                }
            }
            Err(LoginRefusal::Replayed) => {
                assert!(open.is_some());
                let used = recovery.is_some_and(|code| self.recovery[code].used);
                assert!(used || step <= last && step.is_some());
            }
            Err(LoginRefusal::WrongCode(failure)) => {
                assert!(open.is_some());
                assert_eq!(recovery, None, "a recovery code was refused");
                if let Some(step) = step {
                    assert_ne!(Some(step), last, "a replay was counted");
                    assert_ne!(step, self.step(), "the true current step is shut out");
                }
                self.failed(failure);
            }
        }
    }

    fn make_codes(&mut self, password: Password) {
        let (now, policy) = (self.now(), self.policy);
        let made = self.recovery.len() as u64;
        let random = core::array::from_fn(|at| {
            let mut bits = [0; 10];
            bits[..8].copy_from_slice(&(made + at as u64).to_be_bytes());
            bits
        });
        let session = Standing::Activation;
        match self
            .run(|user| user.make_recovery_codes(password, None, session, &random, now, &policy))
        {
            Ok(codes) => {
                assert!(self.active().is_some());
                self.password(password, Ok(()));
                self.recovery.iter_mut().for_each(|code| code.good = false);
                self.recovery.extend(codes.iter().map(|code| Recovery {
                    text: code.to_string(),
                    good: true,
                    used: false,
                }));
            }
            Err(RecoveryRefusal::CodeNeeded) => assert!(self.active().is_some()),
            Err(
                refusal @ (RecoveryRefusal::FactorNeeded(_)
                | RecoveryRefusal::Replayed
                | RecoveryRefusal::WrongCode(_)),
            ) => panic!("{refusal}"),
            Err(RecoveryRefusal::Locked(locked)) => {
                self.password(password, Err(PasswordRefusal::Locked(locked)));
            }
            Err(RecoveryRefusal::NoActiveKey) => assert_eq!(self.active(), None),
            Err(RecoveryRefusal::WrongPassword(failure)) => {
                self.password(password, Err(PasswordRefusal::WrongPassword(failure)));
            }
        }
    }
}
