//! How a session is identified, and which factor it has presented.

use std::time::Duration;

use keyproof_auth::Token;
use keyproof_mfa::{FactorKind, VerifiedFactor};
use serde_json::json;

use super::{
    ADA, ADDRESS, BOB, Phone, REVOKED, activate, add, asks, command_line, enrol, log_in,
    log_in_by_code, password_login, pending, session, signed_in, tokens, tokens_of, with_ada,
};
use crate::{
    Action, Clock,
    Failure::Refused,
    accounts::{
        ACCESS_TOKEN_LIFETIME, AnswerError, FirstStep, RemoveDeviceError, RemoveKeyError, Role,
        Session, SessionError, SessionId, SessionRefused, TargetUser, Tokens,
        access_token::{Claims, Login},
        records::{RefreshToken, User, refresh_token_key, user_key},
    },
    testing::{Bench, PASSWORD, bench_with, origin},
};

/// The login in an access token's claims.
async fn said(bench: &Bench, access: &str) -> Login {
    let claims = bench.service.accounts.claims(access).await.unwrap();
    claims.login(claims.owner().unwrap())
}

/// An access token of a release without sessions.
async fn of_earlier_release(bench: &Bench, session: &Session) -> String {
    let now = bench.clock.now();
    let claims = json!({
        "sub": session.owner.user.to_string(), "org": session.owner.organisation, "role": "User",
        "gen": session.generation, "iat": now.as_secs(), "exp": now.as_secs() + 60,
    });
    let claims: Claims = serde_json::from_value(claims).unwrap();
    let signer = bench.service.accounts.signing.signer(now).await.unwrap();
    signer.sign(&claims).unwrap().to_string()
}

#[tokio::test]
async fn a_session_keeps_its_id_and_what_it_has_shown_over_refreshes() {
    for rotates in [false, true] {
        let bench = bench_with(|settings| settings.accounts.rotate_refresh_tokens = rotates).await;
        add(&bench, ADA, Role::User).await;
        let accounts = &bench.service.accounts;
        let alone = tokens_of(&bench, ADA).await;
        assert_eq!(said(&bench, &alone.access).await.shown, None);
        let (phone, ..) = enrol(&bench, ADA).await;
        let at = bench.clock.now();
        let answered = log_in_by_code(&bench, ADA, &phone).await;
        let login = said(&bench, &answered.access).await;
        let shown = login.shown.unwrap();
        assert_eq!(shown.factor, FactorKind::Code);
        assert_eq!(shown.at.as_secs(), at.as_secs());
        let mut refresh = answered.refresh.to_string();
        for _ in 0..3 {
            bench.clock.advance(super::STEP);
            let refreshed = accounts.refresh(&refresh, &origin()).await.unwrap();
            assert_eq!(said(&bench, &refreshed.access).await, login);
            refresh = refreshed.refresh.map_or(refresh, |next| next.to_string());
        }
        // A trusted device presents no factor, and each login is a session of its own.
        let device = tokens(log_in(&bench, ADA, PASSWORD, Some("laptop")).await);
        let device = said(&bench, &device.access).await;
        assert_eq!(device.shown, None);
        assert_ne!(device.sid, login.sid);
    }
}

#[tokio::test]
async fn tokens_of_earlier_releases_have_shown_nothing_and_are_one_session() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given: Tokens = tokens_of(&bench, ADA).await;
    let new = session(&bench, &given).await;
    let mut sids = Vec::<SessionId>::new();
    for _ in 0..2 {
        let access = of_earlier_release(&bench, &new).await;
        assert_eq!(said(&bench, &access).await.shown, None);
        sids.push(said(&bench, &access).await.sid);
        bench.clock.advance(super::STEP);
    }
    assert_eq!(sids[0], sids[1]);
    assert_ne!(sids[0], new.sid());

    // Its refresh token as an earlier release stored it.
    let place = refresh_token_key(&Token::parse(&given.refresh).unwrap());
    let now = bench.clock.now();
    let stored = bench.store.get::<RefreshToken>(&place, now).await.unwrap();
    let stored = stored.unwrap();
    let old = RefreshToken {
        sid: None,
        shown: None,
        ..stored.record
    };
    let members = serde_json::to_value(&old).unwrap();
    assert_eq!(
        members.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["created_at", "generation", "key_changes", "owner"]
    );
    let mut batch = bench.store.batch(now);
    batch.replace(&place, stored.version, &old, None);
    bench.store.commit(batch).await.unwrap();
    let mut of_login = Vec::new();
    for _ in 0..2 {
        let refreshed = accounts.refresh(&given.refresh, &origin()).await.unwrap();
        let login = said(&bench, &refreshed.access).await;
        assert_eq!(login.shown, None::<VerifiedFactor>);
        of_login.push(login.sid);
    }
    assert_eq!(of_login[0], of_login[1]);
    assert!(!sids.contains(&of_login[0]));
}

/// Removes the activation from Ada's record, as an earlier release stored it.
async fn forget_activation(bench: &Bench, own: &Session) {
    let now = bench.clock.now();
    let place = user_key(own.owner);
    let stored = bench.store.get::<User>(&place, now).await.unwrap().unwrap();
    let old = User {
        activation: None,
        ..stored.record
    };
    let mut batch = bench.store.batch(now);
    batch.replace(&place, stored.version, &old, None);
    bench.store.commit(batch).await.unwrap();
}

async fn by_code(bench: &Bench, phone: &Phone) -> Session {
    let answered = log_in_by_code(bench, ADA, phone).await;
    session(bench, &answered).await
}

async fn by_device(bench: &Bench) -> Session {
    let given = tokens(log_in(bench, ADA, PASSWORD, Some("laptop")).await);
    session(bench, &given).await
}

/// The refusals of everything that decides over the second factor, the password or application tokens.
async fn refusals(bench: &Bench, session: &Session, key: u32) -> Vec<String> {
    let accounts = asks(bench);
    let (mine, origin) = (TargetUser::Mine, &origin());
    let told = |refusal: Option<String>| refusal.unwrap_or_else(|| "done".to_owned());
    let mut refusals = Vec::new();
    macro_rules! tell {
        ($($doing:expr),+ $(,)?) => {$(
            let refusal = $doing.await.err();
            refusals.push(told(refusal.map(|error| format!("{error:?}"))));
        )+};
    }
    // This check comes before the body is examined.
    let direct = &bench.service.accounts;
    let person = direct
        .person(session.clone(), Action::MfaKeyAdd, origin)
        .await;
    let (person, body) = (&person.unwrap(), "the body");
    let editor = direct.editor(session.clone(), Action::ApplicationTokenAdd, origin);
    tell!(
        direct.enrol_key(person, Err(body)),
        direct.activate_key(person, key, Err(body)),
        direct.make_recovery_codes(person, Err(body)),
        direct.add_application_token(&editor.await.unwrap(), Err(body)),
        direct.change_application_token(person, 1, Err(body)),
        direct.change_password(person, Err(body)),
        accounts.enrol_key(session, PASSWORD),
        accounts.activate_key(session, key, "123456"),
        accounts.make_recovery_codes(session, PASSWORD, Some("123456")),
        accounts.remove_device(session, mine, 1),
        accounts.application_token(session),
        accounts.change_application_token(session, 1, &REVOKED),
        accounts.remove_key(session, mine, key),
        accounts.change_password(session, PASSWORD, "another horse"),
    );
    refusals
}

#[track_caller]
fn all(refusals: &[String], undecided: &str) {
    let expected = format!("Refused(SessionRefused({undecided}))");
    assert!(
        refusals.iter().all(|refusal| *refusal == expected),
        "{refusals:?}"
    );
}

#[tokio::test]
async fn an_activation_ends_every_access_token_but_its_own() {
    let origin = &origin();
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let old = tokens_of(&bench, ADA).await;
    let before = session(&bench, &old).await;
    let text = accounts.application_token(&before).await.unwrap();
    let application = accounts
        .application_login(&text, ADDRESS, origin)
        .await
        .unwrap();
    let given = tokens_of(&bench, ADA).await;
    // Another access token of the session that activates.
    let twin = accounts.refresh(&given.refresh, origin).await.unwrap();
    let own = session(&bench, &given).await;
    let (_, key) = activate(&bench, &own).await;

    let holds = async |access: &str| accounts.session(Some(access), ADDRESS).await.map(|_| ());
    for access in [&old.access, &twin.access] {
        assert_eq!(holds(access).await, Err(Refused(SessionError::Invalid)));
    }
    for refresh in [&old.refresh, &given.refresh] {
        let refused = accounts.refresh(refresh, origin).await.err();
        assert_eq!(refused, Some(Refused(AnswerError::Refused)));
    }
    all(&refusals(&bench, &before, key).await, "Ended");
    // An application's token stays valid. It presents no factor and decides nothing.
    holds(&application).await.unwrap();
    holds(&given.access).await.unwrap();

    // Ended tokens stay invalid.
    accounts
        .remove_key(&own, TargetUser::Mine, key)
        .await
        .unwrap();
    assert_eq!(
        holds(&old.access).await,
        Err(Refused(SessionError::Invalid))
    );
    holds(&given.access).await.unwrap();
}

/// A request's body may arrive after the end of the token that its head presented.
#[tokio::test]
async fn a_token_that_expires_after_it_was_permitted_decides_nothing() {
    let bench = with_ada().await;
    let second = Duration::from_secs(1);
    let (_, own, key) = enrol(&bench, ADA).await;
    bench
        .clock
        .advance(ACCESS_TOKEN_LIFETIME - super::STEP - second);
    asks(&bench).application_token(&own).await.unwrap();
    bench.clock.advance(second);
    all(&refusals(&bench, &own, key).await, "Expired");
    let devices = asks(&bench).devices(&own, TargetUser::Mine).await;
    let expired = RemoveDeviceError::SessionRefused(SessionRefused::Expired);
    assert_eq!(devices, Err(Refused(expired)));
}

#[tokio::test]
async fn what_weakens_a_second_factor_needs_a_session_that_has_shown_it() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let (phone, own, key) = enrol(&bench, ADA).await;
    let shown = by_code(&bench, &phone).await;
    let device = by_device(&bench).await;
    all(&refusals(&bench, &device, key).await, "FactorNeeded");
    // It may still read.
    let devices = accounts.devices(&device, TargetUser::Mine).await.unwrap();
    // The same for a session from before key changes ended sessions.
    forget_activation(&bench, &own).await;
    let old = of_earlier_release(&bench, &own).await;
    let old = accounts.session(Some(&old), ADDRESS).await.unwrap();
    all(&refusals(&bench, &old, key).await, "FactorNeeded");
    // Its activation does not count any more either.
    all(&refusals(&bench, &own, key).await, "FactorNeeded");

    let removed = accounts.remove_device(&shown, TargetUser::Mine, devices[0].id);
    removed.await.unwrap();
    let removed = accounts.remove_key(&shown, TargetUser::Mine, key);
    removed.await.unwrap();
    // Sessions without a factor gain nothing from the removal, which ends them.
    for session in [&device, &old, &own] {
        all(&refusals(&bench, session, key).await, "Ended");
    }
    // Without a key there is no factor to present.
    let changed = accounts.change_password(&shown, PASSWORD, "another horse");
    changed.await.unwrap();
}

#[tokio::test]
async fn an_administrator_manages_others_by_a_factor_of_their_own() {
    let bench = with_ada().await;
    add(&bench, BOB, Role::Administrator).await;
    let accounts = asks(&bench);
    let (_, ada, key) = enrol(&bench, ADA).await;
    let hers = TargetUser::Of(ada.owner.user);
    let without = signed_in(&bench, BOB).await;
    let (_, bob, his) = enrol(&bench, BOB).await;
    let remove = async |session: &Session| accounts.remove_key(session, hers, key).await.err();
    assert_eq!(
        remove(&without).await,
        Some(Refused(RemoveKeyError::SessionRefused(
            SessionRefused::Ended
        )))
    );
    forget_activation(&bench, &bob).await;
    assert_eq!(
        remove(&bob).await,
        Some(Refused(RemoveKeyError::SessionRefused(
            SessionRefused::FactorNeeded
        )))
    );
    let device = accounts.remove_device(&bob, hers, 1).await;
    assert_eq!(
        device,
        Err(Refused(RemoveDeviceError::SessionRefused(
            SessionRefused::FactorNeeded
        )))
    );
    // Her key is not considered, because his is gone.
    accounts.remove_user(BOB, &command_line()).await.unwrap();
    add(&bench, BOB, Role::Administrator).await;
    assert_ne!(his, 0);
    let bob = signed_in(&bench, BOB).await;
    assert_eq!(remove(&bob).await, None);
}

#[tokio::test]
async fn a_factor_that_was_shown_of_an_earlier_key_is_none() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let (phone, own, key) = enrol(&bench, ADA).await;
    let shown = by_code(&bench, &phone).await;
    let removed = accounts.remove_key(&own, TargetUser::Mine, key);
    removed.await.unwrap();
    let (_, next) = activate(&bench, &own).await;
    all(&refusals(&bench, &shown, next).await, "Ended");
    // Even if an earlier release on the same store has dropped the activation.
    forget_activation(&bench, &own).await;
    all(&refusals(&bench, &shown, next).await, "FactorNeeded");
}

#[tokio::test]
async fn an_activation_that_overtakes_a_decision_wins() {
    for doing in ["password", "application token", "another's key"] {
        let bench = with_ada().await;
        add(&bench, BOB, Role::Administrator).await;
        let accounts = asks(&bench);
        let (_, ada, hers) = enrol(&bench, ADA).await;
        let old = signed_in(&bench, BOB).await;
        let own = signed_in(&bench, BOB).await;
        let (phone, key) = pending(&bench, &own).await;
        let code = phone.shows(bench.clock.now());
        let doing_it = async {
            match doing {
                "password" => {
                    let changed = accounts.change_password(&old, PASSWORD, "another horse");
                    format!("{:?}", changed.await.unwrap_err())
                }
                "application token" => {
                    let added = accounts.application_token(&old);
                    format!("{:?}", added.await.unwrap_err())
                }
                _ => {
                    let whose = TargetUser::Of(ada.owner.user);
                    let removed = accounts.remove_key(&old, whose, hers);
                    format!("{:?}", removed.await.unwrap_err())
                }
            }
        };
        let activating = async {
            let activated = accounts.activate_key(&own, key, &code);
            activated.await.unwrap();
        };
        let refusal = bench.faults.overtake(doing_it, activating).await;
        assert_eq!(refusal, "Refused(SessionRefused(Ended))", "{doing}");
    }
}

/// Whichever activated the phone, it is now among the other sessions.
#[tokio::test]
async fn the_session_that_activated_the_phone_is_ended_with_the_others() {
    let origin = &origin();
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given = tokens_of(&bench, ADA).await;
    let own = session(&bench, &given).await;
    let (phone, _) = activate(&bench, &own).await;
    let holds = async || accounts.session(Some(&given.access), ADDRESS).await.is_ok();
    assert!(holds().await);

    let login = password_login(ADA, PASSWORD, None);
    let signed_in = accounts.sign_in(login, None, origin).await.unwrap();
    let FirstStep::Challenged(token) = signed_in else {
        panic!("no code is asked for");
    };
    let code = phone.shows(bench.clock.now());
    let answered = accounts.answer_in_browser(&token, &code, None, None, origin);
    let other = answered.await.unwrap();
    let asking = accounts.session_for_change(&other).await.unwrap();
    let asking = asking.session().clone();
    let person = accounts.person(asking, Action::UserSessionsEnd, origin);
    let person = person.await.unwrap();
    let ended = accounts.end_other_sessions(&person, &other).await;
    let next = ended.unwrap();
    assert!(!holds().await);
    assert_eq!(
        accounts.peek_session(&other).await.err(),
        Some(Refused(SessionError::Invalid))
    );
    assert!(accounts.peek_session(&next).await.is_ok());
}
