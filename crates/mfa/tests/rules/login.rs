use keyproof_mfa::{
    ActivateRefusal, Authenticated, ChallengeInvalid, Client, Decision, Factor, FirstFactor,
    LoginRefusal, Password, UnixMillis,
};

use crate::ada::{
    DAY, MINUTE, NOW, Phone, ada, ada_with_key, after, answer, challenged, counted, failures,
    mistyped, policy, session,
};

fn is_by_key(login: &Decision<Authenticated, LoginRefusal>) -> bool {
    let by_key = |shown: &Authenticated| shown.factor == Factor::Key && shown.trusted.is_none();
    login.verdict.as_ref().is_ok_and(by_key)
}

#[test]
fn without_a_key_the_password_is_enough() {
    let login = ada().begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy());
    assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));
    // The lockout is there for this commit to conflict on; the next login changes nothing.
    assert!(login.next.lockout.is_some());
    let again = login
        .next
        .clone()
        .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy());
    assert_eq!(again.next, login.next);
    let wrong = ada().begin_login(Password::Wrong, Client::UNKNOWN, NOW, &policy());
    let failure = counted(wrong.verdict);
    assert_eq!((failure.consecutive, failure.locked_until), (1, None));
}

#[test]
fn a_code_is_good_once_and_no_older_one_after_it() {
    let (ada, phone) = ada_with_key();
    let code = phone.shows(NOW, 0);
    let login = answer(challenged(ada, NOW), &phone, &code, NOW);
    assert!(is_by_key(&login));
    assert_eq!(login.next.challenge, None);
    for ahead in [-1, 0] {
        let code = phone.shows(NOW, ahead);
        let again = answer(challenged(login.next.clone(), NOW), &phone, &code, NOW);
        assert_eq!(again.verdict, Err(LoginRefusal::Replayed), "{ahead}");
        assert_eq!(failures(&again.next), 0, "a replay was counted");
        assert!(again.next.challenge.is_some(), "a replay spent a challenge");
    }
    let next = answer(
        challenged(login.next, NOW),
        &phone,
        &phone.shows(NOW, 1),
        NOW,
    );
    assert!(is_by_key(&next));
}

#[test]
fn a_replay_stays_one_while_the_window_moves_on() {
    let (mut ada, phone) = ada_with_key();
    let mut now = after(NOW, DAY);
    // A phone that falls behind step by step, to the largest drift that is learned and one step
    // beyond.
    for behind in [-1, -2, -3] {
        now = after(now, 2 * MINUTE);
        let code = phone.shows(now, behind);
        let login = answer(challenged(ada, now), &phone, &code, now);
        assert!(is_by_key(&login), "{behind}");
        ada = login.next;
        for twin in [0, 30, 60] {
            let open = challenged(ada.clone(), now);
            let twin = answer(open, &phone, &code, after(now, twin));
            assert_eq!(twin.verdict, Err(LoginRefusal::Replayed));
        }
    }
}

/// Which codes are accepted, by how many steps they are ahead, after one that was `learned` steps
/// ahead.
fn taken(learned: &[i64]) -> Vec<i64> {
    let (mut ada, phone) = ada_with_key();
    let mut now = after(NOW, DAY);
    for ahead in learned {
        now = after(now, 10 * MINUTE);
        let code = phone.shows(now, *ahead);
        let login = answer(challenged(ada, now), &phone, &code, now);
        assert!(is_by_key(&login), "{ahead} of {learned:?}");
        ada = login.next;
    }
    now = after(now, 10 * MINUTE);
    let ada = challenged(ada, now);
    let taken = |ahead: &i64| {
        let code = phone.shows(now, *ahead);
        answer(ada.clone(), &phone, &code, now).verdict.is_ok()
    };
    (-8..=8).filter(taken).collect()
}

#[test]
fn drift_is_learned_within_two_steps_and_never_shuts_out_the_true_step() {
    assert_eq!(taken(&[]), [-1, 0, 1]);
    assert_eq!(taken(&[1]), [0, 1, 2]);
    assert_eq!(taken(&[1, 2]), [0, 1, 2, 3]);
    assert_eq!(taken(&[1, 2, 3]), [0, 1, 2, 3]);
    assert_eq!(taken(&[-1]), [-2, -1, 0]);
    assert_eq!(taken(&[-1, -2, -3]), [-3, -2, -1, 0]);
    assert_eq!(taken(&[1, 2, 3, 0]), [-1, 0, 1]);
}

#[test]
fn drift_is_forgotten_on_enrolling_again() {
    let (ada, phone) = ada_with_key();
    let code = phone.shows(NOW, 1);
    let ada = answer(challenged(ada, NOW), &phone, &code, NOW).next;
    let ada = ada.remove_key(NOW).next;
    let later = after(NOW, DAY);
    let ada = crate::ada::with_pending_key(ada);
    let code = phone.shows(later, 2);
    let refused = ada.activate(&phone.proof(&code), session(), later, &policy());
    assert!(matches!(
        refused.verdict,
        Err(ActivateRefusal::WrongCode(_))
    ));
    let code = phone.shows(later, -1);
    let proof = phone.proof(&code);
    let activated = refused.next.activate(&proof, session(), later, &policy());
    assert!(activated.verdict.is_ok());
}

#[test]
fn a_wrong_code_leaves_the_challenge_alive_and_counts() {
    let (ada, phone) = ada_with_key();
    let before = challenged(ada, NOW);
    let right = phone.shows(NOW, 0);
    let others = Phone::new(8).shows(NOW, 0);
    for wrong in [others.as_str(), "", "12345", "1234567", " 123456", "+12345"] {
        let refused = answer(before.clone(), &phone, wrong, NOW);
        let Err(LoginRefusal::WrongCode(failure)) = refused.verdict else {
            panic!("{wrong:?}: {:?}", refused.verdict);
        };
        assert_eq!(failure.consecutive, 1);
        assert_eq!(refused.next.challenge, before.challenge);
        assert!(is_by_key(&answer(refused.next, &phone, &right, NOW)));
    }
}

#[test]
fn a_challenge_can_be_answered_for_ten_minutes() {
    let (ada, phone) = ada_with_key();
    let ada = challenged(ada, NOW);
    let last = UnixMillis::from_millis(NOW.as_millis() + 10 * 60_000 - 1);
    let code = phone.shows(last, 0);
    assert!(is_by_key(&answer(ada.clone(), &phone, &code, last)));

    let over = UnixMillis::from_millis(last.as_millis() + 1);
    let code = phone.shows(over, 0);
    let expired = answer(ada, &phone, &code, over);
    let refusal = LoginRefusal::ChallengeInvalid(ChallengeInvalid::Expired);
    assert_eq!(expired.verdict, Err(refusal));
    assert_eq!(failures(&expired.next), 0, "it was counted");
    // It has been removed, so setting the clock back does not revive it.
    let unknown = Err(LoginRefusal::ChallengeInvalid(ChallengeInvalid::Unknown));
    assert_eq!(answer(expired.next, &phone, &code, last).verdict, unknown);
}

#[test]
fn a_right_password_alone_ends_no_count_while_a_key_is_active() {
    let (ada, phone) = ada_with_key();
    let mut ada = mistyped(mistyped(ada, NOW), NOW);
    ada = challenged(ada, NOW);
    assert_eq!(failures(&ada), 2);
    let code = phone.shows(NOW, 0);
    let login = answer(ada, &phone, &code, NOW);
    assert!(is_by_key(&login));
    assert_eq!(failures(&login.next), 0);
}

#[test]
fn a_clock_set_back_accepts_nothing_older() {
    let (ada, phone) = ada_with_key();
    let code = phone.shows(NOW, 0);
    let ada = answer(challenged(ada, NOW), &phone, &code, NOW).next;
    let before = UnixMillis::from_secs(NOW.as_secs() - 60 * MINUTE);
    let code = phone.shows(before, 0);
    let refused = answer(challenged(ada, before), &phone, &code, before);
    assert_eq!(refused.verdict, Err(LoginRefusal::Replayed));
}
