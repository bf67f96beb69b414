//! The test user, Ada, and her phone.

use core::fmt::Debug;

use keyproof_mfa::{
    Activated, AuthMethod, Authenticated, Client, Decision, EnrolRefusal, Enrolled, Failure,
    FirstFactor, KeyKind, LoginRefusal, NewDevice, Password, PasswordRefusal, Policy, Proof,
    Session, SessionId, UnixMillis, User, UserId, UserRecords,
    otp::{Algorithm, Digits, Secret, Totp},
};

/// When she enrols: the first second of a step.
pub(crate) const ENROLLED: UnixMillis = UnixMillis::from_secs(1_700_000_010);
/// When she logs in: two steps later.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_700_000_070);
pub(crate) const MINUTE: u64 = 60;
pub(crate) const DAY: u64 = 24 * 60 * MINUTE;

pub(crate) struct Phone {
    pub(crate) secret: Secret,
    totp: Totp,
}

impl Phone {
    pub(crate) fn new(seed: u8) -> Self {
        let secret = Secret::from_bytes(&[seed; 20]).unwrap();
        let totp = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
        Self { secret, totp }
    }

    /// The code that it shows when its clock is `ahead` steps off.
    pub(crate) fn shows(&self, at: UnixMillis, ahead: i64) -> String {
        let step = self.totp.step_at(at.as_secs());
        let step = step.checked_add_signed(ahead).unwrap();
        self.totp.code_at_step(step).to_string()
    }

    pub(crate) fn proof<'a>(&'a self, text: &'a str) -> Proof<'a> {
        let secret = &self.secret;
        Proof::Typed { text, secret }
    }
}

/// Her session.
pub(crate) fn session() -> SessionId {
    SessionId::new("hers")
}

/// Her session, authenticated like this.
pub(crate) fn resting_on(auth_method: AuthMethod) -> Session {
    Session {
        id: session(),
        auth_method,
    }
}

pub(crate) fn policy() -> Policy {
    Policy::default()
}

pub(crate) fn after(at: UnixMillis, seconds: u64) -> UnixMillis {
    UnixMillis::from_secs(at.as_secs() + seconds)
}

/// Ada before she enrols.
pub(crate) fn ada() -> UserRecords {
    UserRecords::new(User::new(UserId::new("example.org", "ada"), 0))
}

pub(crate) fn enrol(
    ada: UserRecords,
    password: Password,
    random: [u8; 16],
    now: UnixMillis,
) -> Decision<Enrolled, EnrolRefusal> {
    let kind = KeyKind::default();
    ada.enrol(kind, password, random, session(), now, &policy())
}

pub(crate) fn with_pending_key(ada: UserRecords) -> UserRecords {
    let enrolled = enrol(ada, Password::Correct, [1; 16], ENROLLED);
    enrolled.verdict.unwrap();
    enrolled.next
}

/// Enrols the phone's secret again, as another key, and activates it.
pub(crate) fn enrolled_again(ada: UserRecords, phone: &Phone, now: UnixMillis) -> UserRecords {
    let pending = enrol(ada, Password::Correct, [2; 16], now).next;
    let code = phone.shows(now, 0);
    let activated = pending.activate(&phone.proof(&code), session(), now, &policy());
    assert_eq!(activated.verdict, Ok(Activated));
    activated.next
}

/// Ada with an active key, and her phone.
pub(crate) fn ada_with_key() -> (UserRecords, Phone) {
    let phone = Phone::new(7);
    let code = phone.shows(ENROLLED, 0);
    let activated =
        with_pending_key(ada()).activate(&phone.proof(&code), session(), ENROLLED, &policy());
    activated.verdict.unwrap();
    (activated.next, phone)
}

/// Begins a login, which must lead to a challenge.
pub(crate) fn challenged(ada: UserRecords, now: UnixMillis) -> UserRecords {
    let begun = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy());
    assert_eq!(begun.verdict, Ok(FirstFactor::Challenged));
    begun.next
}

/// Answers the challenge.
pub(crate) fn answer(
    ada: UserRecords,
    phone: &Phone,
    text: &str,
    now: UnixMillis,
) -> Decision<Authenticated, LoginRefusal> {
    ada.answer_challenge(&phone.proof(text), None, None, now, &policy())
}

/// A complete login, which must succeed, and a device that is trusted from then on.
pub(crate) fn trusting(
    ada: UserRecords,
    phone: &Phone,
    device: NewDevice,
    now: UnixMillis,
) -> Decision<Authenticated, LoginRefusal> {
    let code = phone.shows(now, 0);
    let proof = phone.proof(&code);
    let answered =
        challenged(ada, now).answer_challenge(&proof, Some(device), None, now, &policy());
    assert!(answered.verdict.is_ok(), "{:?}", answered.verdict);
    answered
}

/// The same records with one more wrong password counted.
pub(crate) fn mistyped(ada: UserRecords, now: UnixMillis) -> UserRecords {
    ada.begin_login(Password::Wrong, Client::UNKNOWN, now, &policy())
        .next
}

/// The failure that a wrong password counted.
pub(crate) fn counted<T: Debug>(verdict: Result<T, PasswordRefusal>) -> Failure {
    match verdict {
        Err(PasswordRefusal::WrongPassword(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// How many failures are counted in her session.
pub(crate) fn session_failures(ada: &UserRecords) -> u32 {
    let ada = ada.clone();
    let refused = ada.confirm_password(Password::Wrong, session(), NOW, &policy());
    counted(refused.verdict).consecutive - 1
}

/// How many failures are counted for her name.
pub(crate) fn failures(ada: &UserRecords) -> u32 {
    ada.lockout.map_or(0, |lockout| lockout.failures())
}
