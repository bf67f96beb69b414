use core::num::NonZeroU32;

use keyproof_mfa::{
    ActivateRefusal, AuthMethod, ChallengeInvalid, Client, Counter, EnrolRefusal, FirstFactor,
    Locked, LoginRefusal, Password, PasswordRefusal, RecoveryRefusal, UnixMillis, UserRecords,
};

use crate::ada::{
    DAY, MINUTE, NOW, Phone, ada, ada_with_key, after, answer, challenged, counted, enrol,
    failures, mistyped, policy, resting_on, session, session_failures, with_pending_key,
};

fn locked(ada: UserRecords) -> UserRecords {
    (0..3).fold(ada, |ada, _| mistyped(ada, NOW))
}

fn mistyped_in_session(ada: UserRecords, now: UnixMillis) -> UserRecords {
    ada.confirm_password(Password::Wrong, session(), now, &policy())
        .next
}

fn locked_in_session(ada: UserRecords) -> UserRecords {
    (0..3).fold(ada, |ada, _| mistyped_in_session(ada, NOW))
}

fn session_lock() -> Locked {
    Locked {
        counter: Counter::Session(session()),
        ..LOCK
    }
}

const LOCK: Locked = Locked {
    counter: Counter::Name,
    until: UnixMillis::from_secs(NOW.as_secs() + 5 * MINUTE),
};

#[test]
fn the_third_failure_locks_for_five_minutes() {
    let ada = mistyped(mistyped(ada(), NOW), NOW);
    let third = ada.begin_login(Password::Wrong, Client::UNKNOWN, NOW, &policy());
    let failure = counted(third.verdict);
    assert_eq!(failure.consecutive, 3);
    assert_eq!(failure.locked_until, Some(LOCK.until));

    let last = UnixMillis::from_millis(LOCK.until.as_millis() - 1);
    for now in [NOW, last] {
        assert_eq!(third.next.check_lockout(Client::UNKNOWN, now), Err(LOCK));
        for password in [Password::Correct, Password::Wrong] {
            let refused = third
                .next
                .clone()
                .begin_login(password, Client::UNKNOWN, now, &policy());
            assert_eq!(refused.verdict, Err(PasswordRefusal::Locked(LOCK)));
            assert_eq!(refused.next, third.next, "an unjudged attempt counted");
        }
    }
    assert_eq!(
        third.next.check_lockout(Client::UNKNOWN, LOCK.until),
        Ok(())
    );
    let login = third
        .next
        .begin_login(Password::Correct, Client::UNKNOWN, LOCK.until, &policy());
    assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));
}

#[test]
fn passwords_and_codes_count_together() {
    let (ada, phone) = ada_with_key();
    let wrong = Phone::new(8).shows(NOW, 0);
    let ada = challenged(mistyped(ada, NOW), NOW);
    let ada = answer(ada, &phone, &wrong, NOW).next;
    let third = answer(ada, &phone, &wrong, NOW);
    let Err(LoginRefusal::WrongCode(failure)) = third.verdict else {
        panic!("{:?}", third.verdict);
    };
    assert_eq!(failure.locked_until, Some(LOCK.until));
}

#[test]
fn nothing_is_judged_while_locked() {
    let (ada, phone) = ada_with_key();
    let right = phone.shows(NOW, 0);
    let ada = locked(challenged(ada, NOW));
    let login = answer(ada.clone(), &phone, &right, NOW);
    assert_eq!(login.verdict, Err(LoginRefusal::Locked(LOCK)));
    assert_eq!(login.next, ada);

    let (ada, _) = ada_with_key();
    let ada = locked_in_session(ada);
    let codes = ada.make_recovery_codes(
        Password::Correct,
        None,
        resting_on(AuthMethod::Activation),
        &[[1; 10]; 10],
        NOW,
        &policy(),
    );
    assert_eq!(
        codes.verdict.unwrap_err(),
        RecoveryRefusal::Locked(session_lock())
    );

    let ada = locked_in_session(with_pending_key(crate::ada::ada()));
    let confirmed = ada
        .clone()
        .confirm_password(Password::Correct, session(), NOW, &policy());
    let lock = session_lock();
    assert_eq!(confirmed.verdict, Err(PasswordRefusal::Locked(lock)));
    let enrolled = enrol(ada.clone(), Password::Correct, [2; 16], NOW);
    assert_eq!(enrolled.verdict, Err(EnrolRefusal::Locked(lock)));
    let activated = ada.activate(&phone.proof(&right), session(), NOW, &policy());
    assert_eq!(activated.verdict, Err(ActivateRefusal::Locked(lock)));
}

#[test]
fn a_lock_spends_the_challenges_of_before() {
    let (ada, phone) = ada_with_key();
    let ada = locked(challenged(ada, NOW));
    let code = phone.shows(LOCK.until, 0);
    let late = answer(ada.clone(), &phone, &code, LOCK.until);
    let over = Err(LoginRefusal::ChallengeInvalid(ChallengeInvalid::Locked));
    assert_eq!(late.verdict, over);
    assert_eq!(late.next.challenge, None);

    // Neither an operator's unlock nor a login revives one.
    let old = ada.challenge;
    let mut ada = ada.unlock();
    assert_eq!(answer(ada.clone(), &phone, &code, NOW).verdict, over);
    let code = phone.shows(NOW, 0);
    ada = answer(challenged(ada, NOW), &phone, &code, NOW).next;
    ada.challenge = old;
    let code = phone.shows(NOW, 1);
    assert_eq!(answer(ada, &phone, &code, NOW).verdict, over);
}

#[test]
fn a_lock_is_remembered_as_long_as_a_challenge_is_open() {
    let (ada, phone) = ada_with_key();
    let ada = locked(ada);
    // A minute before the lock would be forgotten.
    let expires_at = ada.lockout.unwrap().expires_at();
    let begun = UnixMillis::from_secs(expires_at.as_secs() - MINUTE);
    let ada = challenged(ada, begun);
    let answered = after(expires_at, MINUTE);
    let code = phone.shows(answered, 0);
    assert!(answer(ada, &phone, &code, answered).verdict.is_ok());
}

/// As a store removes expired records.
fn swept(mut ada: UserRecords, now: UnixMillis) -> UserRecords {
    ada.lockout = ada.lockout.filter(|lockout| now < lockout.expires_at());
    ada
}

#[test]
fn a_lock_is_kept_as_long_as_a_challenge_may_be_answered() {
    let (ada, phone) = ada_with_key();
    let ada = locked(ada);
    let expires_at = ada.lockout.unwrap().expires_at();
    let ada = challenged(ada, UnixMillis::from_secs(expires_at.as_secs() - MINUTE));
    let answered = after(expires_at, MINUTE);
    let ada = swept(ada, answered);
    let code = phone.shows(answered, 0);
    assert!(answer(ada, &phone, &code, answered).verdict.is_ok());
}

#[test]
fn a_clock_set_back_behind_a_forgotten_lock_brings_no_challenge_back() {
    let (ada, phone) = ada_with_key();
    let ada = challenged(ada, NOW);
    let before = ada.challenge;
    let ada = locked(ada);
    let forgotten = ada.lockout.unwrap().expires_at();
    let mut ada = mistyped(ada, forgotten);
    assert_eq!(failures(&ada), 1);
    ada.challenge = before;
    let code = phone.shows(NOW, 0);
    let answered = answer(ada, &phone, &code, NOW);
    let over = Err(LoginRefusal::ChallengeInvalid(ChallengeInvalid::Locked));
    assert_eq!(answered.verdict, over);
}

#[test]
fn after_a_lock_the_count_begins_anew() {
    let ada = locked(ada());
    let first = ada.begin_login(Password::Wrong, Client::UNKNOWN, LOCK.until, &policy());
    let failure = counted(first.verdict);
    assert_eq!((failure.consecutive, failure.locked_until), (1, None));
}

#[test]
fn a_success_of_all_factors_ends_the_count() {
    let ada = mistyped(mistyped(ada(), NOW), NOW);
    let login = ada.begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy());
    assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));
    assert_eq!(failures(&login.next), 0);

    let phone = Phone::new(7);
    let code = phone.shows(NOW, 0);
    let twice = |ada| mistyped_in_session(mistyped_in_session(ada, NOW), NOW);
    let ada = twice(with_pending_key(crate::ada::ada()));
    assert_eq!(session_failures(&ada), 2);
    let activated = ada.activate(&phone.proof(&code), session(), NOW, &policy());
    assert!(activated.verdict.is_ok());
    assert_eq!(session_failures(&activated.next), 0);
    let enrolled = with_pending_key(twice(crate::ada::ada()));
    assert_eq!(session_failures(&enrolled), 0);
}

#[test]
fn confirming_a_password_counts_failures_and_ends_no_count() {
    let (ada, _) = ada_with_key();
    let once = ada.confirm_password(Password::Wrong, session(), NOW, &policy());
    assert_eq!(counted(once.verdict).consecutive, 1);
    let confirmed =
        once.next
            .clone()
            .confirm_password(Password::Correct, session(), NOW, &policy());
    assert_eq!(confirmed.verdict, Ok(()));
    assert_eq!(confirmed.next, once.next);
}

#[test]
fn a_right_password_leaves_a_lockout_to_conflict_over() {
    // A day after her last failure no record is left.
    let (mut quiet, phone) = ada_with_key();
    quiet.lockout = None;
    quiet.sessions = None;
    let now = after(NOW, DAY);
    let begun = challenged(quiet.clone(), now).lockout;
    let confirmed = quiet
        .clone()
        .confirm_password(Password::Correct, session(), now, &policy());
    let made = quiet.make_recovery_codes(
        Password::Correct,
        Some(&phone.proof(&phone.shows(now, 0))),
        resting_on(AuthMethod::Factor),
        &[[1; 10]; 10],
        now,
        &policy(),
    );
    let begun = begun.unwrap();
    assert_eq!(begun.failures(), 0);
    assert_eq!(begun.expires_at(), after(now, DAY));
    for sessions in [confirmed.next.sessions, made.next.sessions] {
        assert_eq!(sessions.unwrap().expires_at(), after(now, DAY));
    }
}

#[test]
fn an_unlock_lifts_the_lock() {
    // Failures alone are no lock.
    let twice = mistyped(mistyped(ada(), NOW), NOW);
    assert_eq!((ada().is_locked(NOW), twice.is_locked(NOW)), (false, false));
    let locked = locked(ada());
    assert!(locked.is_locked(NOW));
    let ada = locked.unlock();
    assert!(!ada.is_locked(NOW));
    assert_eq!(ada.check_lockout(Client::UNKNOWN, NOW), Ok(()));
    assert_eq!(failures(&ada), 0);
}

#[test]
fn failures_are_forgotten_after_a_day_and_not_before() {
    let twice = mistyped(mistyped(ada(), NOW), NOW);
    let expires_at = twice.lockout.unwrap().expires_at();
    assert_eq!(expires_at, after(NOW, DAY));
    let just_before = UnixMillis::from_millis(expires_at.as_millis() - 1);
    let remembered = mistyped(twice.clone(), just_before);
    assert!(
        remembered
            .check_lockout(Client::UNKNOWN, just_before)
            .is_err()
    );
    let forgotten = mistyped(twice, expires_at);
    assert_eq!(failures(&forgotten), 1);
}

#[test]
fn a_clock_set_back_prolongs_a_lock_and_never_shortens_it() {
    let ada = locked(ada());
    let before = UnixMillis::from_secs(NOW.as_secs() - DAY);
    assert_eq!(ada.check_lockout(Client::UNKNOWN, before), Err(LOCK));
}

#[test]
fn the_policy_sets_the_numbers() {
    let mut strict = policy();
    strict.lockout_failures = NonZeroU32::MIN;
    strict.lockout = core::time::Duration::from_secs(2 * DAY);
    let refused = ada().begin_login(Password::Wrong, Client::UNKNOWN, NOW, &strict);
    let failure = counted(refused.verdict);
    assert_eq!(failure.locked_until, Some(after(NOW, 2 * DAY)));
    let lockout = refused.next.lockout.unwrap();
    assert_eq!(
        lockout.locked_until(after(NOW, 2 * DAY - 1)),
        failure.locked_until
    );
    assert!(lockout.expires_at() >= after(NOW, 2 * DAY));
}
