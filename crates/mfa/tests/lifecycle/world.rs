//! A store, the expected facts, and the invariants between them.

use core::{num::NonZeroU16, time::Duration};

use keyproof_mfa::{
    ActivateRefusal, AuthMethod, Authenticated, ChallengeInvalid, Client, Counter, Decision,
    DeviceId, EnrolRefusal, Factor, Failure, Fingerprint, FirstFactor, KeyKind, KeyStatus,
    LoginRefusal, Network, NewDevice, Password, PasswordRefusal, Policy, Proof, RecoveryRefusal,
    Session, SessionId, TotpParameters, UnixMillis, User, UserId, UserRecords,
    otp::{Algorithm, DEFAULT_PERIOD, Digits, Secret, Totp},
};

use crate::{
    commands::{Answer, Command, Typed},
    facts::{
        Count, DAY, Enrolment, Guess, Issued, Known, MINUTE, Recovery, SESSIONS, TrustedDevice,
        Whose,
    },
};

/// Ten digits: in a run, no two steps have the same code by chance.
const DIGITS: Digits = match Digits::new(10) {
    Ok(digits) => digits,
    Err(_) => Digits::SIX,
};
const DEVICES: u16 = 3;
const ADDRESSES: u16 = 2;

pub(crate) struct World {
    policy: Policy,
    now: i64,
    /// The stored records, without challenges.
    records: UserRecords,
    challenges: Vec<Issued>,
    devices: Vec<TrustedDevice>,
    enrolments: Vec<Enrolment>,
    key: bool,
    recovery: Vec<Recovery>,
    name: Count,
    /// For fingerprints of no device.
    guesses: Count,
    /// Ordered by last login.
    addresses: Vec<Known>,
    addresses_ever: usize,
    sessions: [Count; SESSIONS],
    /// Until when a record of them exists although nothing is counted.
    sessions_kept_until: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut policy = Policy::default();
        policy.devices = NonZeroU16::new(DEVICES).unwrap();
        policy.addresses = NonZeroU16::new(ADDRESSES).unwrap();
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
            name: Count::default(),
            guesses: Count::default(),
            addresses: Vec::new(),
            addresses_ever: 0,
            sessions: [Count::default(); SESSIONS],
            sessions_kept_until: 0,
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

    /// Commits as [`Decision`] requires. A record that is absent before and after is not compared.
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
            && put(&mut records.addresses, &read.addresses, &next.addresses)
            && put(&mut records.sessions, &read.sessions, &next.sessions)
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
                phone.totp.code_at_step(step).to_string()
            }),
            Typed::Former => match self.enrolments.len() {
                0 | 1 => String::new(),
                len => self.enrolments[len - 2]
                    .totp
                    .code_at_step(self.step())
                    .to_string(),
            },
            Typed::Recovery(back) => {
                let at = self.recovery.len().checked_sub(back + 1);
                at.map_or_else(String::new, |at| self.recovery[at].text.clone())
            }
            Typed::Spent => phone
                .and_then(|phone| Some(phone.totp.code_at_step(phone.last_step?).to_string()))
                .unwrap_or_default(),
        }
    }

    fn secret(&self) -> Secret {
        let phone = self.enrolments.last();
        phone.map_or_else(
            || Secret::from_bytes(&[0; 20]).unwrap(),
            |phone| phone.secret.clone(),
        )
    }

    /// The step that a text belongs to, in the latest enrolment and near the current step or the
    /// last accepted one.
    fn step_of(&self, text: &str) -> Option<u64> {
        let phone = self.enrolments.last()?;
        let near = self.step() - 10..self.step() + 10;
        near.chain(phone.last_step)
            .find(|step| phone.totp.code_at_step(*step).to_string() == text)
    }

    /// Runs a command and checks its result.
    pub(crate) fn apply(&mut self, command: &Command) {
        let was_active = self.active();
        let (now, policy) = (self.now(), self.policy);
        match command {
            Command::Activate(typed, session) => self.activate(typed, *session),
            Command::Answer(answers) => self.answer(answers),
            Command::Begin(password, device, place) => self.begin(*password, *device, *place),
            Command::Confirm(password, session) => {
                let id = session_id(*session);
                let verdict = self.run(|user| user.confirm_password(*password, id, now, &policy));
                self.password_again(*password, *session, verdict);
            }
            Command::Enrol(password, session) => self.enrol(*password, *session),
            Command::MakeCodes(password, session) => self.make_codes(*password, *session),
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
                let next = read.clone().after_password_change();
                assert!(self.commit(&read, &next, None));
                self.renewed();
                self.name.end_doubling();
                for known in &mut self.addresses {
                    known.count.end_doubling();
                }
            }
            Command::Suspend => {
                let read = self.records.clone();
                let next = read.clone().suspend();
                assert!(self.commit(&read, &next, None));
                self.renewed();
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
                if self.records.devices.is_none() {
                    self.guesses = Count::default();
                }
            }
            Command::Unlock => {
                let read = self.records.clone();
                let next = read.clone().unlock();
                assert!(self.commit(&read, &next, None));
                self.name.clear();
                for known in &mut self.addresses {
                    known.count.clear();
                }
                for device in &mut self.devices {
                    device.count = Count::default();
                }
                self.guesses = Count::default();
                self.end_sessions();
            }
            Command::Wait(millis) => self.now += millis,
        }
        self.check(command, was_active);
    }

    /// The invariants that every command keeps.
    fn check(&self, command: &Command, was_active: Option<usize>) {
        let active = self
            .records
            .key
            .is_some_and(|key| matches!(key.status(), KeyStatus::Active { .. }));
        assert_eq!(active, self.active().is_some());
        if active && was_active != self.active() {
            assert!(
                matches!(command, Command::Activate(..)),
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

    /// A new password or a suspension.
    fn renewed(&mut self) {
        assert_eq!(self.records.devices, None);
        self.end_sessions();
    }

    fn end_sessions(&mut self) {
        self.sessions = Default::default();
    }

    fn known(&self, which: impl Fn(&Known) -> bool) -> Option<usize> {
        let mut known = self.addresses.iter();
        known.position(|known| which(known) && self.now < known.until)
    }

    /// The trusted device that a login comes from.
    fn device(&self, fingerprint: Option<u8>) -> Option<Whose> {
        let fingerprint = fingerprint.filter(|_| !self.guesses.is_locked(self.now))?;
        let at = self.live_device(|device| device.fingerprint == fingerprint)?;
        Some(Whose::Device(self.devices[at].id))
    }

    /// The counter of a login without a trusted device.
    fn elsewhere(&self, place: Option<u8>) -> Whose {
        let known = place.and_then(|place| self.known(|known| known.place == place));
        known.map_or(Whose::Name, |at| Whose::Address(self.addresses[at].number))
    }

    /// Its count; `None` for an address that is no longer known.
    fn count(&mut self, whose: Whose) -> Option<&mut Count> {
        match whose {
            Whose::Address(number) => {
                let at = self.known(|known| known.number == number)?;
                Some(&mut self.addresses[at].count)
            }
            Whose::Device(id) => {
                let at = self.live_device(|device| device.id == id)?;
                Some(&mut self.devices[at].count)
            }
            Whose::Name => Some(&mut self.name),
        }
    }

    fn failed(&mut self, whose: Whose, guess: Guess, failure: Failure) {
        match (whose, failure.counter) {
            (Whose::Device(id), Counter::Device(other)) => assert_eq!(id, other),
            (Whose::Address(_), Counter::Address(_)) | (Whose::Name, Counter::Name) => {}
            other => panic!("another's count: {other:?}"),
        }
        let now = self.now;
        self.count(whose).unwrap().failed(failure, guess, now);
    }

    /// The record of all sessions is read, and renewed if it has expired.
    fn witness_sessions(&mut self) {
        let kept = self.sessions.iter().map(|count| count.kept_until);
        if self.now >= kept.fold(self.sessions_kept_until, i64::max) {
            self.end_sessions();
            self.sessions_kept_until = self.now + DAY;
        }
    }

    /// Counting in one session drops the expired counts of all.
    fn session(&mut self, session: u8) -> &mut Count {
        self.witness_sessions();
        for count in &mut self.sessions {
            count.forget(self.now);
        }
        &mut self.sessions[usize::from(session)]
    }

    fn failed_in(&mut self, session: u8, guess: Guess, failure: Failure) {
        assert_eq!(failure.counter, Counter::Session(session_id(session)));
        let now = self.now;
        self.session(session).failed(failure, guess, now);
    }

    fn password_again(
        &mut self,
        password: Password,
        session: u8,
        verdict: Result<(), PasswordRefusal>,
    ) {
        let now = self.now;
        match verdict {
            Ok(()) => {
                assert_eq!(password, Password::Correct);
                let count = self.sessions[usize::from(session)];
                assert!(!count.is_locked(now), "right, and judged while locked");
                self.witness_sessions();
            }
            Err(PasswordRefusal::Locked(locked)) => {
                self.sessions[usize::from(session)].refused(locked, now);
            }
            Err(PasswordRefusal::WrongPassword(failure)) => {
                assert_eq!(password, Password::Wrong);
                self.failed_in(session, Guess::Password, failure);
            }
        }
    }

    /// A login with every factor.
    fn learnt(&mut self, place: Option<u8>) {
        let Some(place) = place else {
            return;
        };
        let until = self.now + 30 * DAY;
        let known = match self.known(|known| known.place == place) {
            Some(at) => {
                let known = self.addresses.remove(at);
                Known {
                    until: known.until.max(until),
                    ..known
                }
            }
            None => {
                self.addresses_ever += 1;
                Known {
                    number: self.addresses_ever,
                    place,
                    until,
                    count: Count::default(),
                }
            }
        };
        let now = self.now;
        self.addresses.retain(|known| now < known.until);
        if self.addresses.len() == usize::from(ADDRESSES) {
            self.addresses.remove(0);
        }
        self.addresses.push(known);
    }

    fn enrol(&mut self, password: Password, session: u8) {
        let number = self.enrolments.len() as u64;
        let (now, policy) = (self.now(), self.policy);
        let kind = KeyKind::Totp(TotpParameters {
            algorithm: Algorithm::Sha1,
            digits: DIGITS,
            period: DEFAULT_PERIOD,
        });
        let random = u128::from(number + 1).to_be_bytes();
        let id = session_id(session);
        match self.run(|user| user.enrol(kind, password, random, id, now, &policy)) {
            Ok(enrolled) => {
                assert_eq!(enrolled.replaced, self.key);
                self.password_again(password, session, Ok(()));
                *self.session(session) = Count::default();
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
                self.password_again(password, session, Err(PasswordRefusal::Locked(locked)));
            }
            Err(EnrolRefusal::WrongPassword(failure)) => {
                let refusal = PasswordRefusal::WrongPassword(failure);
                self.password_again(password, session, Err(refusal));
            }
        }
    }

    fn activate(&mut self, typed: &Typed, session: u8) {
        let (text, secret) = (self.text(typed), self.secret());
        let proof = Proof::Typed {
            text: &text,
            secret: &secret,
        };
        let (now, policy) = (self.now(), self.policy);
        let step = self.step_of(&text);
        let near = step.is_some_and(|step| step.abs_diff(self.step()) <= 1);
        let id = session_id(session);
        match self.run(|user| user.activate(&proof, id, now, &policy)) {
            Ok(_) => {
                assert!(self.key && self.active().is_none());
                assert!(near, "active without a code");
                assert!(!self.sessions[usize::from(session)].is_locked(self.now));
                *self.session(session) = Count::default();
                let phone = self.enrolments.last_mut().unwrap();
                (phone.active, phone.last_step) = (true, step);
                self.addresses.clear();
                assert_eq!(self.records.addresses, None);
            }
            Err(ActivateRefusal::AlreadyActive) => assert!(self.active().is_some()),
            Err(ActivateRefusal::Locked(locked)) => {
                self.sessions[usize::from(session)].refused(locked, self.now);
            }
            Err(ActivateRefusal::NoKey) => assert!(!self.key),
            Err(ActivateRefusal::WrongCode(failure)) => {
                assert!(!near, "a right code was refused");
                self.failed_in(session, Guess::Code, failure);
            }
        }
    }

    fn begin(&mut self, password: Password, fingerprint: Option<u8>, place: Option<u8>) {
        let (now, policy) = (self.now(), self.policy);
        let text = fingerprint.map(|number| Fingerprint::new(&format!("device {number}")).unwrap());
        let client = Client {
            fingerprint: text.as_ref(),
            network: place.map(network),
        };
        let (device, elsewhere) = (self.device(fingerprint), self.elsewhere(place));
        let whose = match password {
            Password::Correct => device.unwrap_or(elsewhere),
            Password::Wrong => elsewhere,
        };
        let count = *self.count(whose).unwrap();
        let admitted = self.records.check_lockout(client, now);
        let is_refused = count.is_locked(self.now) && fingerprint.is_none();
        assert_eq!(admitted.is_err(), is_refused);

        let read = self.records.clone();
        let decision = read.clone().begin_login(password, client, now, &policy);
        assert!(self.commit(&read, &decision.next, None));
        let is_unknown = fingerprint.is_some() && device.is_none();
        let is_guess = is_unknown && self.live_devices().next().is_some();
        if is_guess && password == Password::Correct && !self.guesses.is_locked(self.now) {
            self.guesses.counted(Guess::Code, self.now);
        }
        if password == Password::Wrong
            && let Some(whose) = device
        {
            let now = self.now;
            let count = self.count(whose).unwrap();
            if !count.is_locked(now) {
                count.counted(Guess::Password, now);
            }
        }
        match decision.verdict {
            Ok(outcome) => {
                assert_eq!(password, Password::Correct);
                assert!(!count.is_locked(self.now), "right, and judged while locked");
                self.begun(outcome, whose, place, &decision.next);
            }
            Err(PasswordRefusal::Locked(locked)) => count.refused(locked, self.now),
            Err(PasswordRefusal::WrongPassword(failure)) => {
                assert_eq!(password, Password::Wrong);
                self.failed(whose, Guess::Password, failure);
            }
        }
    }

    fn begun(&mut self, outcome: FirstFactor, whose: Whose, place: Option<u8>, next: &UserRecords) {
        let now = self.now;
        match (outcome, whose) {
            (FirstFactor::AuthenticatedByDevice(id), Whose::Device(known)) => {
                assert_eq!(id, known);
                *self.count(whose).unwrap() = Count::default();
            }
            (FirstFactor::Authenticated, Whose::Address(_) | Whose::Name) => {
                assert_eq!(self.active(), None, "no second factor was asked for");
                self.succeeded(whose);
                self.learnt(place);
            }
            (FirstFactor::Challenged, Whose::Address(_) | Whose::Name) => {
                let challenge = next.challenge.unwrap();
                let enrolment = self.active().unwrap();
                let user_generation = self.records.user.generation();
                let count = self.count(whose).unwrap();
                if whose == Whose::Name {
                    count.witnessed(now);
                }
                count.forget(now);
                count.kept_until = count.kept_until.max(now + 10 * MINUTE);
                let locks = count.locks;
                self.challenges.push(Issued {
                    stored: Some(challenge),
                    read: challenge,
                    at: now,
                    enrolment,
                    user_generation,
                    whose,
                    locks,
                    answered: false,
                });
            }
            other => panic!("{other:?}"),
        }
    }

    /// Every factor was shown.
    fn succeeded(&mut self, whose: Whose) {
        let now = self.now;
        if whose == Whose::Name {
            self.name.witnessed(now);
        }
        self.count(whose).unwrap().succeeded(now);
    }

    fn answer(&mut self, answers: &[Answer]) {
        // All of them read first; then each commits, or decides again on what it reads.
        let read: Vec<_> = answers
            .iter()
            .map(|answer| {
                let back = answer.challenge + 1;
                let at = self.challenges.len().checked_sub(back);
                let mut records = self.records.clone();
                // Sometimes it is one that another request has answered meanwhile.
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
                let network = answer.place.map(network);
                let decision =
                    read.clone()
                        .answer_challenge(&proof, device(), network, now, &policy);
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
        let issued = at.map(|at| &self.challenges[at]);
        // One that was answered or found to be over has been removed.
        let issued = issued.filter(|issued| !issued.answered);
        let whose = issued.map_or(Whose::Name, |issued| issued.whose);
        let count = self.count(whose).copied();
        let open = at.filter(|at| {
            let issued = &self.challenges[*at];
            !issued.answered
                && self.now < issued.at + 10 * MINUTE
                && Some(issued.enrolment) == self.active()
                && issued.user_generation == self.records.user.generation()
                && Some(issued.locks) == count.map(|count| count.locks)
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
                self.guesses = Count::default();
                self.succeeded(whose);
                self.learnt(answer.place);
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
                    // Expired ones are dropped here too.
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
            Err(LoginRefusal::Locked(locked)) => {
                count
                    .expect("a count that is locked")
                    .refused(locked, self.now);
            }
            Err(LoginRefusal::ChallengeInvalid(over)) => {
                assert_eq!(open, None, "an open challenge was refused: {over:?}");
                let is_locked = count.is_some_and(|count| count.is_locked(self.now));
                assert!(!is_locked);
                if over == ChallengeInvalid::Expired {
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
                self.failed(whose, Guess::Code, failure);
            }
        }
    }

    fn make_codes(&mut self, password: Password, session: u8) {
        let (now, policy) = (self.now(), self.policy);
        let made = self.recovery.len() as u64;
        let random = core::array::from_fn(|at| {
            let mut bits = [0; 10];
            bits[..8].copy_from_slice(&(made + at as u64).to_be_bytes());
            bits
        });
        let asking = Session {
            id: session_id(session),
            auth_method: AuthMethod::Activation,
        };
        match self
            .run(|user| user.make_recovery_codes(password, None, asking, &random, now, &policy))
        {
            Ok(codes) => {
                assert!(self.active().is_some());
                self.password_again(password, session, Ok(()));
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
                self.password_again(password, session, Err(PasswordRefusal::Locked(locked)));
            }
            Err(RecoveryRefusal::NoActiveKey) => assert_eq!(self.active(), None),
            Err(RecoveryRefusal::WrongPassword(failure)) => {
                let refusal = PasswordRefusal::WrongPassword(failure);
                self.password_again(password, session, Err(refusal));
            }
        }
    }
}

fn session_id(session: u8) -> SessionId {
    SessionId::new(&session.to_string())
}

fn network(place: u8) -> Network {
    Network::containing([192, 0, 2, place].into())
}
