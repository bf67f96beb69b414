use keyproof_mfa::{
    ActivateRefusal, Activated, ChallengeInvalid, Client, EnrolRefusal, FirstFactor, KeyStatus,
    LoginRefusal, NoKey, Password, User, UserId, UserRecords,
};

use crate::ada::{
    ENROLLED, MINUTE, NOW, Phone, ada, ada_with_key, after, answer, challenged, enrol,
    enrolled_again, failures, policy, session, with_pending_key,
};

#[test]
fn a_pending_key_is_not_asked_for_and_can_be_replaced() {
    let ada = with_pending_key(ada());
    assert_eq!(ada.key.unwrap().status(), KeyStatus::Pending);
    let login = ada
        .clone()
        .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy());
    assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));

    let first = ada.key.unwrap().generation();
    let again = enrol(ada, Password::Correct, [2; 16], NOW);
    assert!(again.verdict.unwrap().replaced);
    assert_ne!(again.next.key.unwrap().generation(), first);
}

#[test]
fn enrolling_takes_the_password_and_no_active_key() {
    let wrong = enrol(ada(), Password::Wrong, [1; 16], NOW);
    assert!(matches!(wrong.verdict, Err(EnrolRefusal::WrongPassword(_))));
    assert_eq!(wrong.next.key, None);
    assert_eq!(failures(&wrong.next), 0, "her name paid for her session");

    let (ada, _) = ada_with_key();
    let again = enrol(ada.clone(), Password::Wrong, [2; 16], NOW);
    assert_eq!(again.verdict, Err(EnrolRefusal::AlreadyActive));
    assert_eq!(again.next, ada, "a password that was not judged counted");
}

#[test]
fn activation_takes_a_code_of_this_key_within_one_step() {
    let phone = Phone::new(7);
    for ahead in -3..=3 {
        let code = phone.shows(ENROLLED, ahead);
        let decision =
            with_pending_key(ada()).activate(&phone.proof(&code), session(), ENROLLED, &policy());
        if ahead.abs() <= 1 {
            assert_eq!(decision.verdict, Ok(Activated), "{ahead} steps ahead");
            let since = ENROLLED;
            assert_eq!(
                decision.next.key.unwrap().status(),
                KeyStatus::Active { since }
            );
        } else {
            let Err(ActivateRefusal::WrongCode(failure)) = decision.verdict else {
                panic!("{ahead} steps ahead: {:?}", decision.verdict);
            };
            assert_eq!(failure.consecutive, 1);
            assert_eq!(decision.next.key.unwrap().status(), KeyStatus::Pending);
        }
    }
    let code = Phone::new(8).shows(ENROLLED, 0);
    let other =
        with_pending_key(ada()).activate(&phone.proof(&code), session(), ENROLLED, &policy());
    assert!(matches!(other.verdict, Err(ActivateRefusal::WrongCode(_))));
}

#[test]
fn activation_refuses_what_is_not_pending() {
    let phone = Phone::new(7);
    let code = phone.shows(NOW, 0);
    let proof = phone.proof(&code);
    let none = ada().activate(&proof, session(), NOW, &policy());
    assert_eq!(none.verdict, Err(ActivateRefusal::NoKey));
    let active = ada_with_key().0.activate(&proof, session(), NOW, &policy());
    assert_eq!(active.verdict, Err(ActivateRefusal::AlreadyActive));
}

#[test]
fn the_activating_code_is_spent_for_login() {
    let (ada, phone) = ada_with_key();
    let code = phone.shows(ENROLLED, 0);
    let login = answer(challenged(ada, ENROLLED), &phone, &code, ENROLLED);
    assert_eq!(login.verdict, Err(LoginRefusal::Replayed));
    assert_eq!(failures(&login.next), 0);
}

#[test]
fn removing_the_key_ends_every_challenge() {
    let (ada, phone) = ada_with_key();
    let open = challenged(ada, NOW);
    let challenge = open.challenge;
    let removed = open.remove_key(NOW);
    let gone = removed.verdict.unwrap();
    assert_eq!((gone.devices, gone.recovery_codes), (0, 0));
    assert!(gone.was_active);
    let mut ada = removed.next;
    let mut nothing = UserRecords::new(ada.user);
    nothing.lockout = ada.lockout;
    nothing.sessions = ada.sessions.clone();
    assert_eq!(ada, nothing);
    assert_eq!(ada.clone().remove_key(NOW).verdict, Err(NoKey));

    // Another request has loaded the challenge before it was removed.
    ada.challenge = challenge;
    let code = phone.shows(NOW, 0);
    let over = Err(LoginRefusal::ChallengeInvalid(ChallengeInvalid::KeyChanged));
    assert_eq!(answer(ada.clone(), &phone, &code, NOW).verdict, over);

    // The same secret enrolled again is another key.
    let later = after(NOW, MINUTE);
    let ada = enrolled_again(ada, &phone, later);
    let code = phone.shows(later, 1);
    assert_eq!(answer(ada, &phone, &code, later).verdict, over);
}

#[test]
fn a_challenge_is_bound_to_its_user() {
    let (ada, phone) = ada_with_key();
    let ada = challenged(ada, NOW);
    let code = phone.shows(NOW, 0);
    let over = Err(LoginRefusal::ChallengeInvalid(
        ChallengeInvalid::UserChanged,
    ));
    for id in [
        UserId::new("example.org", "bob"),
        UserId::new("example.or", "gada"),
    ] {
        let mut bob = ada.clone();
        bob.user = User::new(id, 0);
        assert_eq!(answer(bob, &phone, &code, NOW).verdict, over);
    }
    let mut renewed = ada.clone().after_password_change();
    assert_eq!(renewed.challenge, None);
    renewed.challenge = ada.challenge;
    assert_eq!(answer(renewed, &phone, &code, NOW).verdict, over);
}

#[test]
fn what_was_learned_of_the_phones_clock_is_told() {
    assert_eq!(with_pending_key(ada()).key.unwrap().drift_steps(), None);
    let (ada, phone) = ada_with_key();
    assert_eq!(ada.key.unwrap().drift_steps(), Some(0));
    for ahead in [-1_i8, 1] {
        let code = phone.shows(NOW, ahead.into());
        let ada = answer(challenged(ada.clone(), NOW), &phone, &code, NOW).next;
        assert_eq!(ada.key.unwrap().drift_steps(), Some(ahead));
    }
}

#[test]
fn a_key_put_back_from_earlier_takes_no_code_of_up_to_now() {
    assert_eq!(with_pending_key(ada()).key.unwrap().spent_until(NOW), None);
    let (mut ada, phone) = ada_with_key();
    let (before, key) = (ada.key.unwrap(), ada.key.unwrap().spent_until(NOW).unwrap());
    assert_eq!(
        (key.generation(), key.status(), key.kind()),
        (before.generation(), before.status(), before.kind())
    );
    ada.key = Some(key);
    for ahead in -1..=1 {
        let code = phone.shows(NOW, ahead);
        let answered = answer(challenged(ada.clone(), NOW), &phone, &code, NOW);
        assert_eq!(answered.verdict, Err(LoginRefusal::Replayed), "{ahead}");
    }
    // Three steps ahead is the last code that a phone may have shown; the next one is new.
    let later = after(NOW, 4 * 30);
    let code = phone.shows(later, 0);
    let answered = answer(challenged(ada, later), &phone, &code, later);
    assert!(answered.verdict.is_ok());
}
