use keyproof_mfa::{
    AuthMethod, Decision, Factor, FactorNeeded, LoginRefusal, MfaError, Password, Proof,
    RecoveryCode, RecoveryCodes, RecoveryRefusal, UnixMillis, UserRecords,
};

use crate::ada::{
    ENROLLED, MINUTE, NOW, Phone, ada, ada_with_key, after, answer, challenged, enrolled_again,
    failures, policy, resting_on, session_failures, with_pending_key,
};

const RANDOM: [[u8; 10]; 10] = [
    [0; 10], [1; 10], [2; 10], [3; 10], [4; 10], [5; 10], [6; 10], [7; 10], [8; 10], [255; 10],
];

fn make(
    ada: UserRecords,
    password: Password,
    proof: Option<&Proof<'_>>,
    auth_method: AuthMethod,
    now: UnixMillis,
) -> Decision<[RecoveryCode; 10], RecoveryRefusal> {
    let session = resting_on(auth_method);
    ada.make_recovery_codes(password, proof, session, &RANDOM, now, &policy())
}

fn ada_with_codes() -> (UserRecords, Phone, Vec<String>) {
    let (ada, phone) = ada_with_key();
    let made = make(ada, Password::Correct, None, AuthMethod::Activation, NOW);
    let codes = made.verdict.unwrap();
    let codes = codes.iter().map(ToString::to_string).collect();
    (challenged(made.next, NOW), phone, codes)
}

#[test]
fn codes_are_ten_and_readable() {
    let (ada, _, codes) = ada_with_codes();
    assert_eq!(codes.len(), RecoveryCodes::COUNT);
    assert_eq!(codes[0], "AAAA-AAAA-AAAA-AAAA");
    assert_eq!(codes[1], "AEAQ-CAIB-AEAQ-CAIB");
    assert_eq!(codes[9], "7777-7777-7777-7777");
    let kept = ada.recovery.unwrap();
    assert_eq!((kept.left(), kept.made_at()), (10, NOW));
}

#[test]
fn each_is_good_once() {
    let (mut ada, phone, codes) = ada_with_codes();
    for (at, code) in codes.iter().enumerate() {
        let challenge = ada.challenge;
        let login = answer(ada, &phone, code, NOW);
        let left = 9 - at;
        let shown = login.verdict.unwrap();
        assert_eq!(shown.factor, Factor::RecoveryCode { left });
        assert_eq!(shown.trusted, None);
        assert_eq!(login.next.challenge, None);
        ada = login.next;
        ada.challenge = challenge;
        let again = answer(ada.clone(), &phone, code, NOW);
        assert_eq!(again.verdict, Err(LoginRefusal::Replayed));
        assert_eq!(again.next, ada, "a replay was counted");
    }
}

#[test]
fn any_spelling_is_read() {
    let (ada, phone, codes) = ada_with_codes();
    let code = &codes[1];
    for spelling in [
        code.to_lowercase(),
        code.replace('-', ""),
        code.replace('-', " "),
        format!("  {code}\n"),
        code.replace('I', "1").replace('B', "8"),
        "aEaq-cA1b aEa-qC-AiB".into(),
    ] {
        let login = answer(ada.clone(), &phone, &spelling, NOW);
        assert!(login.verdict.is_ok(), "{spelling:?}");
    }
    let o = RecoveryCode::parse("OOOO-OOOO-OOOO-OOOO").unwrap();
    let zero = RecoveryCode::parse("0000-0000-0000-0000").unwrap();
    assert_eq!(o.to_string(), zero.to_string());
}

#[test]
fn what_is_no_code_is_refused_and_counted() {
    let (ada, phone, _) = ada_with_codes();
    for wrong in [
        "AAAA-AAAA-AAAA-AAAB",
        "AAAA-AAAA-AAAA",
        "AAAA-AAAA-AAAA-AAA9",
    ] {
        let login = answer(ada.clone(), &phone, wrong, NOW);
        assert!(matches!(login.verdict, Err(LoginRefusal::WrongCode(_))));
        assert_eq!(failures(&login.next), 1);
        assert_eq!(login.next.recovery, ada.recovery);
    }
    let parse = |text: &str| text.parse::<RecoveryCode>().map(|_| ()).unwrap_err();
    assert_eq!(parse("AAAA-9"), MfaError::RecoveryCodeSymbol { at: 5 });
    assert_eq!(parse("AAAA-é"), MfaError::RecoveryCodeSymbol { at: 5 });
    assert_eq!(parse(""), MfaError::RecoveryCodeLength { found: 0 });
    let found = 17;
    let long = "A".repeat(found);
    assert_eq!(parse(&long), MfaError::RecoveryCodeLength { found });
}

#[test]
fn new_codes_replace_those_of_before() {
    let (ada, phone, old) = ada_with_codes();
    let random = RANDOM.map(|bits| bits.map(|byte| byte ^ 0x55));
    let proof = phone.proof(&old[9]);
    let made = ada.make_recovery_codes(
        Password::Correct,
        Some(&proof),
        resting_on(AuthMethod::Factor),
        &random,
        NOW,
        &policy(),
    );
    let new = made.verdict.unwrap();
    let refused = answer(made.next.clone(), &phone, &old[3], NOW);
    assert!(matches!(refused.verdict, Err(LoginRefusal::WrongCode(_))));
    let login = answer(made.next, &phone, &new[3].to_string(), NOW);
    assert!(login.verdict.is_ok());
}

#[test]
fn they_take_the_password_and_an_active_key() {
    for ada in [ada(), with_pending_key(ada())] {
        let made = make(
            ada.clone(),
            Password::Wrong,
            None,
            AuthMethod::Activation,
            NOW,
        );
        assert_eq!(made.verdict.unwrap_err(), RecoveryRefusal::NoActiveKey);
        assert_eq!(made.next, ada, "a password that was not judged counted");
    }
    let (ada, _) = ada_with_key();
    let refused = make(ada, Password::Wrong, None, AuthMethod::Activation, NOW);
    let refusal = refused.verdict.unwrap_err();
    assert!(matches!(refusal, RecoveryRefusal::WrongPassword(_)));
    assert_eq!(refused.next.recovery, None);
    assert_eq!(failures(&refused.next), 0, "her name paid");
}

#[test]
fn they_cost_a_code_that_is_spent_and_counted_as_at_login() {
    let (ada, phone, codes) = ada_with_codes();
    let make = |ada: &UserRecords, code: Option<&str>, password| {
        let proof = code.map(|code| phone.proof(code));
        make(
            ada.clone(),
            password,
            proof.as_ref(),
            AuthMethod::Factor,
            NOW,
        )
    };
    let right = Password::Correct;
    let without = make(&ada, None, right);
    assert_eq!(without.verdict.unwrap_err(), RecoveryRefusal::CodeNeeded);
    assert_eq!(without.next, ada, "nothing is judged without a code");

    let wrong = make(&ada, Some("000000"), right);
    assert!(matches!(
        wrong.verdict.unwrap_err(),
        RecoveryRefusal::WrongCode(_)
    ));
    assert_eq!(session_failures(&wrong.next), 1);
    assert_eq!(wrong.next.recovery, ada.recovery);

    let shown = phone.shows(NOW, 0);
    let wrong = make(&ada, Some(&shown), Password::Wrong);
    assert_eq!(session_failures(&wrong.next), 1);
    assert_eq!(
        wrong.next.key, ada.key,
        "a code is spent with a right password alone"
    );

    let made = make(&ada, Some(&shown), right);
    assert!(made.verdict.is_ok());
    assert_ne!(made.next.key, ada.key, "its step is spent");
    assert_eq!(session_failures(&made.next), 0);
    let again = make(&made.next, Some(&shown), right);
    assert_eq!(again.verdict.unwrap_err(), RecoveryRefusal::Replayed);
    let login = answer(made.next, &phone, &shown, NOW);
    assert_eq!(login.verdict, Err(LoginRefusal::Replayed));
    // An earlier recovery code is accepted too.
    assert!(make(&ada, Some(&codes[0]), right).verdict.is_ok());
}

#[test]
fn only_the_activation_leaves_the_code_out_for_five_minutes_while_there_are_none() {
    let (ada, _) = ada_with_key();
    let make =
        |ada: &UserRecords, session, now| make(ada.clone(), Password::Correct, None, session, now);
    let needed = |ada: &UserRecords, session, now| {
        let refusal = make(ada, session, now).verdict.unwrap_err();
        assert_eq!(refusal, RecoveryRefusal::CodeNeeded);
    };
    let last = after(ENROLLED, 5 * MINUTE - 1);
    let made = make(&ada, AuthMethod::Activation, last);
    assert!(made.verdict.is_ok());
    needed(&made.next, AuthMethod::Activation, last);
    needed(&ada, AuthMethod::Activation, after(ENROLLED, 5 * MINUTE));
    // Setting the clock back extends nothing.
    needed(
        &ada,
        AuthMethod::Activation,
        UnixMillis::from_secs(ENROLLED.as_secs() - 5 * MINUTE),
    );
    needed(&ada, AuthMethod::Factor, NOW);
    let refused = make(&ada, AuthMethod::Password, NOW).verdict.unwrap_err();
    assert_eq!(refused, RecoveryRefusal::FactorNeeded(FactorNeeded));
}

#[test]
fn they_go_with_the_key() {
    let (ada, phone, codes) = ada_with_codes();
    let recovery = ada.recovery.clone();
    let removed = ada.remove_key(NOW);
    assert_eq!(removed.verdict.unwrap().recovery_codes, 10);
    assert_eq!(removed.next.recovery, None);

    // A record that survived its removal does not work for the next key.
    let (mut ada, _) = ada_with_key();
    ada = ada.remove_key(NOW).next;
    ada = enrolled_again(ada, &phone, NOW);
    ada.recovery = recovery;
    let login = answer(challenged(ada, NOW), &phone, &codes[0], NOW);
    assert!(matches!(login.verdict, Err(LoginRefusal::WrongCode(_))));
}

#[test]
fn nothing_shows_a_code() {
    let code = RecoveryCode::parse("AAAA-AAAA-AAAA-AAAA").unwrap();
    assert_eq!(format!("{code:?}"), "RecoveryCode([redacted])");
    let (ada, phone, codes) = ada_with_codes();
    let proof = phone.proof(&codes[0]);
    assert_eq!(format!("{proof:?}"), "Typed([redacted])");
    let kept = format!("{:?}", ada.recovery);
    assert!(codes.iter().all(|code| !kept.contains(code.as_str())));
}
