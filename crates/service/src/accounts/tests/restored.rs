//! A user's records after a restore, and what was used before it.

use std::time::Duration;

use super::{
    ADA, ADDRESS, BOB, Phone, STEP, add, answer_challenge, asks, challenge, change, enrol,
    in_browser, log_in, log_in_by_code, session, signed_in, tokens, tokens_of, with_ada,
};
use crate::{
    Clock, Ended,
    Failure::Refused,
    accounts::{
        ActivateKeyError, AnswerError, ApplicationLoginError, Role, SessionError, UserChange,
    },
    testing::{Bench, PASSWORD, bench, origin},
};

/// Whether this code completes a login with a correct password; otherwise it is a wrong one.
async fn takes(bench: &Bench, code: &str) -> bool {
    let asked = challenge(log_in(bench, ADA, PASSWORD, None).await);
    match answer_challenge(bench, &asked, code, None).await {
        Ok(_) => true,
        Err(Refused(AnswerError::Refused)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_that_may_have_been_spent_is_good_after_a_restore() {
    let bench = bench().await;
    add(&bench, ADA, Role::Administrator).await;
    let accounts = &bench.service.accounts;
    let (phone, ..) = enrol(&bench, ADA).await;
    let given = log_in_by_code(&bench, ADA, &phone).await;
    bench.clock.advance(STEP);
    let own = session(&bench, &given).await;
    let code = phone.shows(bench.clock.now());
    let recovery = asks(&bench)
        .make_recovery_codes(&own, PASSWORD, Some(&code))
        .await
        .unwrap();
    let application = asks(&bench).application_token(&own).await.unwrap();
    let waiting = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    // A user without a second factor is logged in by the password.
    add(&bench, "grace@example.org", Role::User).await;
    let browser = in_browser(&bench, "grace@example.org").await;
    assert!(accounts.user_session(&browser).await.is_ok());

    let (restored, ended) = bench.restored(Duration::ZERO).await;
    let accounts = &restored.service.accounts;
    let invalid = Some(Refused(SessionError::Invalid));
    let access = accounts.session(Some(&given.access), ADDRESS).await;
    assert_eq!(access.err(), invalid);
    let refreshed = accounts.refresh(&given.refresh, &origin()).await;
    assert_eq!(refreshed.err(), Some(Refused(AnswerError::Refused)));
    assert_eq!(accounts.user_session(&browser).await.err(), invalid);
    let origin = origin();
    let login = accounts.application_login(&application, ADDRESS, &origin);
    let refused = Some(Refused(ApplicationLoginError::Refused));
    assert_eq!(login.await.err(), refused);
    let listed = accounts.application_tokens_of(ADA).await.unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|token| token.is_revoked));
    // Neither the fingerprint nor the challenge nor a recovery code is accepted.
    challenge(log_in(&restored, ADA, PASSWORD, Some("laptop")).await);
    let code = phone.shows(restored.clock.now());
    let answered = answer_challenge(&restored, &waiting, &code, None).await;
    assert_eq!(answered.err(), Some(Refused(AnswerError::Refused)));
    assert!(!takes(&restored, &recovery[0]).await);
    let of = |ended_of: Ended| ended.get(&ended_of).copied().unwrap_or_default();
    for kind in [
        Ended::AccessTokenKeys,
        Ended::ApplicationTokens,
        Ended::Challenges,
        Ended::RecoveryCodes,
        Ended::Sessions,
        Ended::Steps,
        Ended::TrustedDevices,
    ] {
        assert!(of(kind) > 0, "{kind:?} of {ended:?}");
    }
    assert_eq!(of(Ended::Steps), 1);

    // The original store is unchanged.
    let accounts = &bench.service.accounts;
    assert!(accounts.session(Some(&given.access), ADDRESS).await.is_ok());
    tokens(log_in(&bench, ADA, PASSWORD, Some("laptop")).await);
}

/// Codes that were used between the backup and the restore, with any drift of the phone's clock.
#[tokio::test]
async fn codes_of_before_a_restore_are_refused_and_later_ones_taken() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let (restored, _) = bench.restored(Duration::from_secs(100)).await;
    let at = restored.clock.now();
    let shown = |phone: &Phone, step: u32| phone.shows(at.saturating_add(STEP * step));
    for step in 0..=3 {
        assert!(!takes(&restored, &shown(&phone, step)).await, "{step}");
        change(&restored, ADA, UserChange::Unlock).await;
    }
    restored.clock.advance(STEP * 3);
    assert!(!takes(&restored, &shown(&phone, 3)).await);
    assert!(takes(&restored, &shown(&phone, 4)).await);
}

#[tokio::test]
async fn users_stay_and_a_second_factor_that_was_pending_is_enrolled_anew() {
    let bench = bench().await;
    for name in [ADA, BOB] {
        add(&bench, name, Role::User).await;
    }
    let ada = signed_in(&bench, ADA).await;
    let (phone, key) = super::pending(&bench, &ada).await;
    let (restored, ended) = bench.restored(Duration::ZERO).await;
    assert_eq!(ended.get(&Ended::PendingKeys), Some(&1));
    for name in [ADA, BOB] {
        tokens_of(&restored, name).await;
    }
    let ada = signed_in(&restored, ADA).await;
    let code = phone.shows(restored.clock.now());
    let activated = asks(&restored).activate_key(&ada, key, &code);
    assert_eq!(activated.await, Err(Refused(ActivateKeyError::Unknown)));
    super::activate(&restored, &ada).await;
}
