//! Which change ends which tokens.

use std::{ops::Range, pin::pin, sync::Arc, time::Duration};

use keyproof_auth::{Cost, HashingMemory, PasswordHash};
use keyproof_mfa::otp::{Algorithm, Base32Profile, Digits, Secret, Totp};
use keyproof_store::{Prefix, faults::CommitMode};
use tokio::time::sleep;

use super::{
    ADA, ADDRESS, BOB, DAY, LOCK, REVOKED, STEP, activate, add, answer_challenge, asks, challenge,
    change, command_line, enrol, laptop, log_in, password_login, pending, session, set_password,
    signed_in, tokens, tokens_of, with_ada,
};
use crate::{
    Action, Clock,
    Failure::{self, Refused},
    StorageError,
    accounts::{
        ACCESS_TOKEN_LIFETIME, ActivateKeyError, AddApplicationTokenError, AnswerError,
        ApplicationLoginError, ApplicationTokenChange, ChangePasswordError, EnrolKeyError,
        LoginError, NewApplicationToken, NotPermitted, PasswordRefused, RemoveKeyError, Revocation,
        Role, Session, SessionError, TargetUser, UnknownSigningKey, UserChange, UserQuery,
        password::canonical,
        records::{
            ApplicationToken, User, UserName, application_token_key, user_key, user_name_key,
        },
    },
    testing::{Bench, PASSWORD, START, bench, origin, secret},
};

#[tokio::test]
async fn access_tokens_hold_240_minutes_and_end_with_their_generation() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given = tokens_of(&bench, ADA).await;
    let holds = async || accounts.session(Some(&given.access), ADDRESS).await;
    bench.clock.advance(Duration::from_secs(240 * 60 - 1));
    assert!(holds().await.is_ok());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(holds().await.err(), Some(Refused(SessionError::Expired)));
    let fresh = accounts.refresh(&given.refresh, &origin()).await.unwrap();
    assert!(fresh.refresh.is_none());
    let fresh = fresh.access;
    assert!(accounts.session(Some(&fresh), ADDRESS).await.is_ok());
    set_password(&bench, ADA, "another horse").await;
    assert_eq!(
        accounts.session(Some(&fresh), ADDRESS).await.err(),
        Some(Refused(SessionError::Invalid))
    );
    assert_eq!(
        accounts.refresh(&given.refresh, &origin()).await.err(),
        Some(Refused(AnswerError::Refused))
    );
    let forged = format!("{}A", &fresh[..fresh.len() - 1]);
    for wrong in ["", "x.y.z", "None", &forged] {
        let refused = accounts.session(Some(wrong), ADDRESS).await.err();
        assert_eq!(refused, Some(Refused(SessionError::Invalid)), "{wrong}");
    }
}

#[tokio::test]
async fn refresh_tokens_end_after_30_days_and_with_every_change_of_key() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let before = tokens_of(&bench, ADA).await;
    let (phone, own, key) = enrol(&bench, ADA).await;
    let refused = async |token: &str| {
        let refused = accounts.refresh(token, &origin()).await.err();
        refused == Some(Refused(AnswerError::Refused))
    };
    assert!(refused(&before.refresh).await, "a key came");
    let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let code = phone.shows(bench.clock.now());
    let with = answer_challenge(&bench, &asked, &code, None).await;
    let with = with.unwrap();
    assert!(accounts.refresh(&with.refresh, &origin()).await.is_ok());
    accounts
        .remove_key(&own, TargetUser::Mine, key)
        .await
        .unwrap();
    assert!(refused(&with.refresh).await, "the key went");
    assert!(
        refused(&before.refresh).await,
        "the key went, and what had ended with its coming is back"
    );
    let last = tokens_of(&bench, ADA).await;
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert!(accounts.refresh(&last.refresh, &origin()).await.is_ok());
    bench.clock.advance(Duration::from_secs(1));
    assert!(refused(&last.refresh).await, "its time is over");
}

#[tokio::test]
async fn a_trusted_device_skips_the_code_until_the_password_changes() {
    let bench = with_ada().await;
    let (phone, own, _) = enrol(&bench, ADA).await;
    let accounts = asks(&bench);
    let asked = challenge(log_in(&bench, ADA, PASSWORD, Some("laptop")).await);
    let code = phone.shows(bench.clock.now());
    let answered = answer_challenge(&bench, &asked, &code, Some(&laptop())).await;
    answered.unwrap();
    tokens(log_in(&bench, ADA, PASSWORD, Some("laptop")).await);
    challenge(log_in(&bench, ADA, PASSWORD, Some("phone")).await);
    let devices = accounts.devices(&own, TargetUser::Mine).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].browser.as_deref(), Some("Firefox"));
    let wrong = accounts.change_password(&own, "wrong horse", "another horse");
    assert_eq!(
        wrong.await,
        Err(Refused(ChangePasswordError::PasswordRefused(
            PasswordRefused::WrongPassword
        )))
    );
    accounts
        .change_password(&own, PASSWORD, "another horse")
        .await
        .unwrap();
    challenge(log_in(&bench, ADA, "another horse", Some("laptop")).await);
    let told = bench.actions().await;
    for action in [
        "trusted_device.add",
        "user.set_password",
        "mfa_key.activate",
    ] {
        assert!(told.iter().any(|told| told == action), "{action}");
    }
}

#[tokio::test]
async fn a_key_is_replaced_while_pending_and_not_while_active() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let own = signed_in(&bench, ADA).await;
    let enrol_again = async |password| accounts.enrol_key(&own, password).await;
    let first = enrol_again(PASSWORD).await.unwrap();
    let second = enrol_again(PASSWORD).await.unwrap();
    assert_ne!(*first.secret, *second.secret);
    assert_eq!(
        enrol_again("wrong horse").await.err(),
        Some(Refused(EnrolKeyError::PasswordRefused(
            PasswordRefused::WrongPassword
        )))
    );
    drop(second);
    activate(&bench, &own).await;
    assert_eq!(
        enrol_again("wrong horse").await.err(),
        Some(Refused(EnrolKeyError::AlreadyActive))
    );
}

#[tokio::test]
async fn a_key_is_only_reached_by_its_number() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let own = signed_in(&bench, ADA).await;
    let (phone, id) = pending(&bench, &own).await;
    let code = phone.shows(bench.clock.now());
    let other = id ^ 1;
    let activate = async |id| accounts.activate_key(&own, id, &code).await;
    let remove = async |id| accounts.remove_key(&own, TargetUser::Mine, id).await;
    assert_eq!(
        activate(other).await,
        Err(Refused(ActivateKeyError::Unknown))
    );
    assert_eq!(remove(other).await, Err(Refused(RemoveKeyError::Unknown)));
    assert_eq!(activate(id).await, Ok(()));
    assert_eq!(remove(other).await, Err(Refused(RemoveKeyError::Unknown)));
    challenge(log_in(&bench, ADA, PASSWORD, None).await);
    assert_eq!(remove(id).await, Ok(()));
}

#[tokio::test]
async fn an_application_has_neither_password_nor_key() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let own = signed_in(&bench, ADA).await;
    let text = accounts.application_token(&own).await.unwrap();
    let access = accounts
        .application_login(&text, ADDRESS, &origin())
        .await
        .unwrap();
    let application = accounts.session(Some(&access), ADDRESS).await.unwrap();
    let origin = &origin();
    for act in [
        Action::UserSetPassword,
        Action::MfaKeyAdd,
        Action::MfaKeyActivate,
        Action::RecoveryCodesMake,
        Action::ApplicationTokenChange,
    ] {
        let person = accounts.person(application.clone(), act, origin).await;
        assert_eq!(person.err(), Some(NotPermitted), "{act:?}");
    }
    for act in [
        Action::MfaKeyRemove,
        Action::TrustedDeviceList,
        Action::TrustedDeviceRemove,
    ] {
        let manager = accounts.manager(application.clone(), act, TargetUser::Mine, origin);
        assert_eq!(manager.await.err(), Some(NotPermitted), "{act:?}");
    }
    let act = Action::ApplicationTokenAdd;
    let editor = accounts.editor(application, act, origin).await;
    assert_eq!(editor.err(), Some(NotPermitted));
    // Each refusal is in the audit trail.
    let told = bench.actions().await;
    for action in [
        "user.set_password",
        "trusted_device.list",
        "application_token.add",
    ] {
        assert!(told.iter().any(|told| told == action), "{action}");
    }
}

#[tokio::test]
async fn only_administrators_remove_others_keys() {
    let bench = with_ada().await;
    add(&bench, BOB, Role::Administrator).await;
    let (_, ada, key) = enrol(&bench, ADA).await;
    let bob = signed_in(&bench, BOB).await;
    let accounts = asks(&bench);
    let query = UserQuery::new(Vec::new(), Vec::new(), 1, 10).unwrap();
    let users = accounts.users(&bob, &query);
    let users = users.await.unwrap().users;
    let number = |name: &str| users.iter().find(|user| user.name == name).unwrap().id;
    let theirs = TargetUser::Of(number(BOB));
    let ada = accounts
        .manager(ada, Action::MfaKeyRemove, theirs, &origin())
        .await;
    assert_eq!(ada.err(), Some(NotPermitted));
    let hers = TargetUser::Of(number(ADA));
    assert_eq!(accounts.remove_key(&bob, hers, key).await, Ok(()));
    assert_eq!(
        accounts.remove_key(&bob, hers, key).await,
        Err(Refused(RemoveKeyError::Unknown))
    );
    tokens_of(&bench, ADA).await;
    let removed = format!("KeyRemoved {{ key: {key}, ");
    let details = details(&bench).await;
    assert!(details.iter().any(|detail| detail.starts_with(&removed)));
}

/// The details of all audit events.
async fn details(bench: &Bench) -> Vec<String> {
    let events = bench.service.audit.events(START, None).await.unwrap();
    let details = events.into_iter().filter_map(|(_, event)| event.detail);
    details.collect()
}

#[tokio::test]
async fn application_tokens_hold_for_their_addresses_until_revoked() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    let accounts = asks(&bench);
    let new = NewApplicationToken {
        description: None,
        valid_until: Some(bench.clock.now().saturating_add(Duration::from_secs(60))),
        network: Some("127.0.0.0/8".parse().unwrap()),
    };
    let text = accounts.add_application_token(&own, new).await.unwrap();
    let log_in_from = async |address: &str| {
        let address = address.parse().unwrap();
        accounts.application_login(&text, address, &origin()).await
    };
    assert_eq!(
        log_in_from("10.0.0.1").await.err(),
        Some(Refused(ApplicationLoginError::Refused))
    );
    let access = log_in_from("127.0.0.9").await.unwrap();
    assert!(log_in_from("::ffff:127.0.0.9").await.is_ok());
    let bearer = accounts.session(Some(&access), ADDRESS).await.unwrap();
    assert!(!bearer.is_person());
    assert!(!bearer.may_manage(bearer.owner));
    let elsewhere = accounts
        .session(Some(&access), "10.0.0.1".parse().unwrap())
        .await;
    assert_eq!(elsewhere.err(), Some(Refused(SessionError::Invalid)));
    let listed = accounts.application_tokens(&own).await.unwrap();
    accounts
        .change_application_token(&own, listed[0].id, &REVOKED)
        .await
        .unwrap();
    assert_eq!(
        accounts.session(Some(&access), ADDRESS).await.err(),
        Some(Refused(SessionError::Invalid))
    );
    assert_eq!(
        log_in_from("127.0.0.1").await.err(),
        Some(Refused(ApplicationLoginError::Refused))
    );
    let mut details = details(&bench).await.into_iter();
    assert!(details.any(|detail| detail == "ApplicationRefused { why: Revoked }"));
}

/// How many application tokens there are, and how many of their texts.
async fn kept(bench: &Bench) -> (usize, usize) {
    let now = bench.clock.now();
    let count = async |collection: &str| {
        let all = Prefix::collection(collection);
        let found = bench.store.scan_raw(&all, None, 100, now).await;
        found.unwrap().len()
    };
    (
        count("application_token").await,
        count("application_token_text").await,
    )
}

/// Ended tokens stay listed for a month. Then they are deleted with their texts, so that no text leads to a later token with the
/// same number.
#[tokio::test]
async fn application_tokens_that_have_ended_are_forgotten_with_their_texts() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let own = async || signed_in(&bench, ADA).await;
    let ada = own().await;
    let new = |valid_until| NewApplicationToken {
        valid_until,
        ..NewApplicationToken::default()
    };
    let in_a_day = bench.clock.now().saturating_add(DAY);
    for end in [None, None, None, Some(in_a_day)] {
        accounts
            .add_application_token(&ada, new(end))
            .await
            .unwrap();
        bench.clock.advance(Duration::from_secs(1));
    }
    let listed = accounts.application_tokens(&ada).await.unwrap();
    accounts
        .change_application_token(&ada, listed[0].id, &REVOKED)
        .await
        .unwrap();
    bench
        .service
        .accounts
        .revoke_application_token(ADA, listed[1].id, &command_line())
        .await
        .unwrap();
    // A new description does not extend the time.
    let described = ApplicationTokenChange {
        description: Some("x".to_owned()),
        ..Default::default()
    };
    for token in &listed {
        accounts
            .change_application_token(&ada, token.id, &described)
            .await
            .unwrap();
    }
    assert_eq!(kept(&bench).await, (4, 4));
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert_eq!(kept(&bench).await, (4, 4));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(kept(&bench).await, (2, 2));
    bench.clock.advance(DAY);
    assert_eq!(kept(&bench).await, (1, 1));
    let listed = accounts.application_tokens(&own().await).await.unwrap();
    assert!(!listed[0].is_revoked);
}

/// The operator's change ends them without writing them.
#[tokio::test]
async fn application_tokens_that_an_operator_ended_are_forgotten_with_their_texts() {
    let bench = bench().await;
    for name in [ADA, BOB] {
        add(&bench, name, Role::User).await;
    }
    let accounts = asks(&bench);
    let ada = signed_in(&bench, ADA).await;
    let bob = signed_in(&bench, BOB).await;
    accounts.application_token(&ada).await.unwrap();
    accounts.application_token(&bob).await.unwrap();
    let in_a_year = NewApplicationToken {
        valid_until: Some(bench.clock.now().saturating_add(DAY * 365)),
        ..NewApplicationToken::default()
    };
    let added = accounts.add_application_token(&ada, in_a_year).await;
    added.unwrap();
    let end = async || bench.service.accounts.end_application_tokens().await;
    assert_eq!(end().await, Ok(0), "all are valid");
    set_password(&bench, ADA, PASSWORD).await;
    accounts.remove_user(BOB, &command_line()).await.unwrap();
    let ada = signed_in(&bench, ADA).await;
    let valid = accounts.application_token(&ada).await.unwrap();

    assert_eq!(end().await, Ok(3));
    let listed = accounts.application_tokens_of(ADA).await.unwrap();
    let revoked = listed.iter().filter(|token| token.is_revoked);
    assert_eq!((listed.len(), revoked.count()), (3, 2));
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert_eq!(end().await, Ok(0), "it is not put off");
    assert_eq!(kept(&bench).await, (4, 4));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(kept(&bench).await, (1, 1));
    let login = accounts.application_login(&valid, ADDRESS, &origin()).await;
    assert!(login.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_upkeep_lets_application_tokens_expire_that_an_operator_ended() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    asks(&bench).application_token(&own).await.unwrap();
    change(&bench, ADA, UserChange::Suspend).await;
    let service = Arc::clone(&bench.service);
    let upkeep = tokio::spawn(async move { service.run_upkeep().await });
    sleep(Duration::from_secs(59)).await;
    upkeep.abort();
    assert_eq!(kept(&bench).await, (1, 1));
    bench.clock.advance(DAY * 30);
    assert_eq!(kept(&bench).await, (0, 0));
}

/// A failover may undo an operator's change that was read before it was durable.
#[tokio::test]
async fn an_application_token_whose_end_is_undone_stays_valid() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    let accounts = asks(&bench);
    let text = accounts.application_token(&own).await.unwrap();
    let (place, now) = (user_key(own.owner), bench.clock.now());
    let ada = async || {
        let ada = bench.store.get::<User>(&place, now).await;
        ada.unwrap().unwrap()
    };
    let before = ada().await.record;
    set_password(&bench, ADA, PASSWORD).await;
    let undo = async {
        let mut batch = bench.store.batch(now);
        batch.replace(&place, ada().await.version, &before, None);
        bench.store.commit(batch).await.unwrap();
    };
    let ended = accounts.end_application_tokens();
    assert_eq!(bench.faults.overtake(ended, undo).await, Ok(0));
    let login = accounts.application_login(&text, ADDRESS, &origin()).await;
    assert!(login.is_ok());
}

#[tokio::test]
async fn a_user_has_so_many_application_tokens_and_no_more() {
    let bench = bench().await;
    for name in [ADA, BOB] {
        add(&bench, name, Role::User).await;
    }
    let accounts = asks(&bench);
    let ada = signed_in(&bench, ADA).await;
    let bob = signed_in(&bench, BOB).await;
    let add = async |who: &Session| accounts.application_token(who).await;
    add(&ada).await.unwrap();
    let all = Prefix::collection("application_token");
    let now = bench.clock.now();
    let first = bench.store.scan::<ApplicationToken>(&all, None, 1, now);
    let first = first.await.unwrap().remove(0).1.record;
    let mut batch = bench.store.batch(now);
    // Ended tokens of earlier releases, which are not counted.
    for (numbers, is_revoked, valid_until) in [
        (0..998, false, None),
        (2_000..2_010, true, None),
        (3_000..3_010, false, Some(now)),
    ] {
        for number in numbers {
            let id = (1 << 24) + number;
            let token = ApplicationToken {
                id,
                is_revoked,
                valid_until,
                ..first.clone()
            };
            let place = application_token_key(ada.owner.organisation, id);
            batch.insert(&place, &token, None);
        }
    }
    bench.store.commit(batch).await.unwrap();
    // Nor are those that an operator ended with all of the user's.
    let mut batch = bench.store.batch(now);
    for number in 4_000..4_010 {
        let id = (1 << 24) + number;
        let token = ApplicationToken {
            id,
            creator_incarnation: first.creator_incarnation ^ 1,
            ..first.clone()
        };
        let place = application_token_key(ada.owner.organisation, id);
        batch.insert(&place, &token, Some(now.saturating_add(DAY)));
    }
    bench.store.commit(batch).await.unwrap();
    // One more, whether or not they are asked for at the same time.
    let added = tokio::join!(add(&ada), add(&ada), add(&ada));
    let refused = [
        added.0.err(),
        added.1.err(),
        added.2.err(),
        add(&ada).await.err(),
    ];
    let too_many = Some(Refused(AddApplicationTokenError::TooMany));
    let count = refused.iter().filter(|refused| **refused == too_many);
    assert_eq!(count.count(), 3);
    assert!(refused.contains(&None));
    add(&bob).await.unwrap();
}

/// Whenever an operator ends the user's earlier tokens.
#[tokio::test]
async fn a_token_that_is_made_while_all_are_listed_is_not_listed_as_revoked() {
    for reached in 1.. {
        let bench = with_ada().await;
        let accounts = &bench.service.accounts;
        let mut listed = pin!(accounts.application_tokens_of(ADA));
        let early = bench.until_step(listed.as_mut(), reached).await;
        if early.is_some() {
            assert!(reached > 2, "{reached}");
            break;
        }
        set_password(&bench, ADA, PASSWORD).await;
        let own = signed_in(&bench, ADA).await;
        asks(&bench).application_token(&own).await.unwrap();
        let listed = listed.await.unwrap();
        let mut listed = listed.iter();
        assert!(listed.all(|token| !token.is_revoked), "{reached}");
    }
}

/// Two pages of the organisation's tokens are read.
#[tokio::test]
async fn a_token_of_a_later_page_is_not_compared_with_its_creator_as_of_before() {
    const LAST: u32 = u32::MAX;
    for reached in 1.. {
        let bench = with_ada().await;
        let own = signed_in(&bench, ADA).await;
        asks(&bench).application_token(&own).await.unwrap();
        let all = Prefix::collection("application_token");
        let now = bench.clock.now();
        let first = bench.store.scan::<ApplicationToken>(&all, None, 1, now);
        let first = first.await.unwrap().remove(0).1.record;
        let add = async |numbers: Range<u32>, incarnation: u64| {
            let mut batch = bench.store.batch(now);
            for id in numbers {
                let token = ApplicationToken {
                    id,
                    creator_incarnation: incarnation,
                    ..first.clone()
                };
                let place = application_token_key(own.owner.organisation, id);
                batch.insert(&place, &token, None);
            }
            bench.store.commit(batch).await.unwrap();
        };
        add(1 << 24..(1 << 24) + 250, first.creator_incarnation).await;
        let accounts = &bench.service.accounts;
        let mut listed = pin!(accounts.application_tokens(&own));
        let early = bench.until_step(listed.as_mut(), reached).await;
        if early.is_some() {
            assert!(reached > 3, "{reached}");
            break;
        }
        set_password(&bench, ADA, PASSWORD).await;
        let place = user_key(own.owner);
        let ada = bench.store.get::<User>(&place, now).await.unwrap();
        let incarnation = ada.unwrap().record.incarnation;
        add(LAST - 1..LAST, incarnation).await;
        let listed = listed.await.unwrap();
        let mut listed = listed.iter().filter(|token| token.id == LAST - 1);
        assert!(listed.all(|token| !token.is_revoked), "{reached}");
    }
}

#[tokio::test]
async fn an_application_token_is_revoked_once() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    let accounts = asks(&bench);
    let command = &command_line();
    for _ in 0..2 {
        let added = accounts.application_token(&own).await;
        added.unwrap();
    }
    let ids = accounts.application_tokens_of(ADA).await.unwrap();
    let revoke = async |number: usize| {
        let id = ids[number].id;
        accounts.revoke_application_token(ADA, id, command).await
    };
    assert_eq!(revoke(0).await, Ok(Revocation::Now));
    // The other token ends with the user's suspension.
    change(&bench, ADA, UserChange::Suspend).await;
    let before = bench.actions().await;
    for number in [0, 1, 0] {
        assert_eq!(revoke(number).await, Ok(Revocation::Before));
    }
    assert_eq!(bench.actions().await, before);
    // An acknowledgement requires that the change is durable.
    bench.faults.commits(CommitMode::NotApplied);
    assert!(matches!(revoke(0).await, Err(Failure::Storage(_))));
}

#[tokio::test]
async fn a_change_of_an_application_token_to_what_it_is_already_is_not_recorded() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    let accounts = asks(&bench);
    accounts.application_token(&own).await.unwrap();
    let id = accounts.application_tokens(&own).await.unwrap()[0].id;
    let ask = async |asked: &ApplicationTokenChange| {
        accounts.change_application_token(&own, id, asked).await
    };
    let described = ApplicationTokenChange {
        description: Some("x".to_owned()),
        is_revoked: None,
    };
    for (asked, action) in [
        (&described, Action::ApplicationTokenChange),
        (&REVOKED, Action::ApplicationTokenRevoke),
    ] {
        for asked in [asked, asked, &ApplicationTokenChange::default()] {
            ask(asked).await.unwrap();
        }
        assert_eq!(bench.times(action).await, 1, "{action}");
    }
    assert_eq!(bench.times(Action::ApplicationTokenChange).await, 1);
    // An acknowledgement requires that the change is durable.
    bench.faults.commits(CommitMode::NotApplied);
    assert!(matches!(ask(&REVOKED).await, Err(Failure::Storage(_))));
}

#[tokio::test]
async fn an_application_token_does_not_pass_to_whoever_draws_the_same_number() {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    let accounts = asks(&bench);
    let text = accounts.application_token(&own).await.unwrap();
    let log_in = async || accounts.application_login(&text, ADDRESS, &origin()).await;
    let access = log_in().await.unwrap();
    let holds = async || accounts.session(Some(&access), ADDRESS).await.is_ok();
    assert!(holds().await);
    accounts.remove_user(ADA, &command_line()).await.unwrap();
    let refused = Some(Refused(ApplicationLoginError::Refused));
    assert_eq!(log_in().await.err(), refused);
    add(&bench, BOB, Role::User).await;
    let now = bench.clock.now();
    let named = bench.store.get::<UserName>(&user_name_key(BOB), now).await;
    let named = named.unwrap().unwrap();
    let drawn = named.record.owner;
    let bob = bench.store.get::<User>(&user_key(drawn), now).await;
    let bob = User {
        id: own.owner.user,
        ..bob.unwrap().unwrap().record
    };
    let mut batch = bench.store.batch(now);
    batch.insert(&user_key(own.owner), &bob, None);
    let owner = own.owner;
    batch.replace(
        &user_name_key(BOB),
        named.version,
        &UserName { owner },
        None,
    );
    bench.store.commit(batch).await.unwrap();
    assert_eq!(log_in().await.err(), refused);
    assert!(!holds().await, "nor does what it gave");
    let his = accounts.application_tokens_of(BOB).await;
    assert!(his.unwrap().is_empty());
}

#[tokio::test]
async fn the_suspended_and_removed_look_like_nobody() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given = tokens_of(&bench, ADA).await;
    let holds = async || accounts.session(Some(&given.access), ADDRESS).await.is_ok();
    change(&bench, ADA, UserChange::Suspend).await;
    assert!(!holds().await);
    assert_eq!(
        log_in(&bench, ADA, PASSWORD, None).await.err(),
        Some(Refused(LoginError::Refused))
    );
    change(&bench, ADA, UserChange::Activate).await;
    tokens_of(&bench, ADA).await;
    assert!(!holds().await);
    for _ in 0..3 {
        let _ = log_in(&bench, ADA, "wrong horse", None).await;
    }
    assert_eq!(
        log_in(&bench, ADA, PASSWORD, None).await.err(),
        Some(Refused(LoginError::Locked { wait: LOCK }))
    );
    change(&bench, ADA, UserChange::Unlock).await;
    tokens_of(&bench, ADA).await;
    accounts.remove_user(ADA, &command_line()).await.unwrap();
    assert_eq!(
        log_in(&bench, ADA, PASSWORD, None).await.err(),
        Some(Refused(LoginError::Refused))
    );
    add(&bench, ADA, Role::User).await;
    assert!(!holds().await);
}

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let token = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let answer = async || {
        let code = phone.shows(bench.clock.now());
        answer_challenge(&bench, &token, &code, None).await.err()
    };
    assert_eq!(answer().await, None);
    bench.clock.advance(STEP);
    assert_eq!(answer().await, Some(Refused(AnswerError::Refused)));
}

#[tokio::test]
async fn a_password_of_another_cost_is_hashed_anew_and_ends_nothing() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given = tokens_of(&bench, ADA).await;
    let own = session(&bench, &given).await;
    let stored = async || {
        let user = bench
            .store
            .get::<User>(&user_key(own.owner), bench.clock.now())
            .await;
        user.unwrap().unwrap()
    };
    let older = Cost::insecure_for_tests(16, 1, 1).unwrap();
    let password = canonical(secret(PASSWORD));
    let hash = PasswordHash::create(
        password.as_bytes(),
        [1; 16],
        older,
        &mut HashingMemory::new(),
    );
    let hash = hash.unwrap().to_phc();
    let before = stored().await;
    let user = User {
        password: hash.clone(),
        ..before.record
    };
    let mut batch = bench.store.batch(bench.clock.now());
    batch.replace(&user_key(own.owner), before.version, &user, None);
    bench.store.commit(batch).await.unwrap();

    assert_eq!(
        log_in(&bench, ADA, "wrong horse", None).await.err(),
        Some(Refused(LoginError::Refused))
    );
    assert_eq!(stored().await.record.password, hash);
    tokens_of(&bench, ADA).await;
    let rehashed = stored().await.record;
    assert!(rehashed.password.contains("m=8,"), "{}", rehashed.password);
    assert_eq!(rehashed.generation, user.generation);
    tokens_of(&bench, ADA).await;
    assert_eq!(stored().await.record.password, rehashed.password);
    assert!(accounts.session(Some(&given.access), ADDRESS).await.is_ok());
    assert!(accounts.refresh(&given.refresh, &origin()).await.is_ok());
}

#[tokio::test]
async fn nothing_secret_is_stored_in_the_clear() {
    let bench = with_ada().await;
    let accounts = asks(&bench);
    let own = signed_in(&bench, ADA).await;
    let enrolled = accounts.enrol_key(&own, PASSWORD).await;
    let enrolled = enrolled.unwrap();
    let shared = Secret::from_base32(&enrolled.secret, Base32Profile::Strict).unwrap();
    let code = Totp::new(&shared, Algorithm::Sha1, Digits::SIX).code(bench.clock.now().as_secs());
    accounts
        .activate_key(&own, enrolled.key.id, &code.to_string())
        .await
        .unwrap();
    let recovery = accounts
        .make_recovery_codes(&own, PASSWORD, None)
        .await
        .unwrap();
    let application = accounts.application_token(&own).await.unwrap();
    let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let given = answer_challenge(&bench, &asked, &recovery[0], Some(&laptop())).await;
    let given = given.unwrap();
    let open = challenge(log_in(&bench, ADA, PASSWORD, None).await);

    let bytes = data_encoding::BASE32
        .decode(enrolled.secret.as_bytes())
        .unwrap();
    let mut secrets = vec![
        PASSWORD.to_owned(),
        canonical(secret(PASSWORD)).to_string(),
        enrolled.secret.to_string(),
        data_encoding::HEXLOWER.encode(&bytes),
        data_encoding::BASE64.encode(&bytes),
        data_encoding::BASE64URL_NOPAD.encode(&bytes),
        recovery[1].replace('-', ""),
        application.to_string(),
        given.access.to_string(),
        given.refresh.to_string(),
        open,
        "laptop".to_owned(),
    ];
    secrets.extend(recovery.iter().map(|code| code.to_string()));
    let mut read = 0;
    for collection in [
        "application_token",
        "application_token_text",
        "audit",
        "mfa_addresses",
        "mfa_challenge",
        "mfa_devices",
        "mfa_key",
        "mfa_lockout",
        "mfa_recovery",
        "mfa_sessions",
        "refresh_token",
        "signing_key",
        "signing_key_in_use",
        "user",
        "user_name",
    ] {
        let all = Prefix::collection(collection);
        let rows = bench
            .store
            .scan_raw(&all, None, 1000, bench.clock.now())
            .await;
        let rows = rows.unwrap();
        assert!(!rows.is_empty(), "{collection}");
        for row in rows {
            let body = String::from_utf8(row.json().to_vec()).unwrap();
            let key = String::from_utf8_lossy(row.key().as_bytes()).into_owned();
            for secret in &secrets {
                assert!(!body.contains(&**secret), "{collection}: {body}");
                assert!(!key.contains(&**secret), "{collection}: {key}");
            }
            read += 1;
        }
    }
    assert!(read > 15, "{read}");
}

#[tokio::test]
async fn nobody_costs_what_somebody_costs() {
    let bench = with_ada().await;
    add(&bench, BOB, Role::User).await;
    enrol(&bench, ADA).await;
    let accounts = &bench.service.accounts;
    change(&bench, BOB, UserChange::Suspend).await;
    let cost = async |name: &str, fingerprint| {
        let (asked, _) = (accounts.hashing.asked(), bench.faults.steps());
        let refused = log_in(&bench, name, "wrong horse", fingerprint).await;
        let asked = accounts.hashing.asked() - asked;
        (refused.err(), asked, bench.faults.steps())
    };
    let attempts = [
        (Some(Refused(LoginError::Refused)), 1, 4),
        (Some(Refused(LoginError::Refused)), 1, 4),
        (Some(Refused(LoginError::Locked { wait: LOCK })), 1, 4),
        // Not checked: the lockout is read and the refusal recorded.
        (Some(Refused(LoginError::Locked { wait: LOCK })), 0, 2),
    ];
    for (number, expected) in attempts.into_iter().enumerate() {
        for name in [ADA, BOB, "nobody", "Ada@example.org"] {
            assert_eq!(
                cost(name, None).await,
                expected,
                "attempt {number} of {name}"
            );
        }
        // It may be a guess at a fingerprint, so the password is checked even while locked.
        let (refused, ..) = expected;
        assert_eq!(
            cost("no one", Some("laptop")).await,
            (refused, 1, 4),
            "attempt {number}"
        );
    }
    let known = cost(ADA, Some("laptop")).await;
    assert_eq!(known, cost("no one", Some("laptop")).await);
}

#[tokio::test]
async fn signing_keys_change_and_the_one_before_stays_published() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let first = accounts.public_keys().await.unwrap();
    assert_eq!(first.len(), 1);
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    let old = tokens_of(&bench, ADA).await;
    bench.clock.advance(Duration::from_secs(1));
    tokens_of(&bench, ADA).await;
    let keys = accounts.public_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1], first[0]);
    assert!(accounts.session(Some(&old.access), ADDRESS).await.is_ok());
    bench.clock.advance(Duration::from_secs(8 * 60 * 60));
    assert_eq!(accounts.public_keys().await.unwrap().len(), 1);
}

/// The id of the key that signed an access token.
fn signed_by(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn a_signing_key_is_replaced_by_command_and_other_servers_notice() {
    let bench = with_ada().await;
    let other = bench.another(|_| {}).await;
    let accounts = &bench.service.accounts;
    let before = tokens_of(&bench, ADA).await.access;
    let replaced = other
        .accounts
        .replace_signing_key(&command_line())
        .await
        .unwrap();
    let (former, ends) = replaced.former.clone().unwrap();
    assert_eq!(former, signed_by(&before));
    assert_eq!(bench.times(Action::SigningKeyReplace).await, 1);

    // This server has not noticed yet, and its tokens are equally valid.
    let meanwhile = tokens_of(&bench, ADA).await.access;
    assert_eq!(signed_by(&meanwhile), former);
    bench.service.clean_up_once().await;
    let after = tokens_of(&bench, ADA).await.access;
    assert_eq!(signed_by(&after), replaced.signing);
    for token in [&before, &meanwhile, &after] {
        for server in [accounts, &other.accounts] {
            assert!(server.session(Some(token), ADDRESS).await.is_ok());
        }
    }
    assert_eq!(accounts.public_keys().await.unwrap().len(), 2);
    let overlap = ends.saturating_since(bench.clock.now());
    assert!(overlap > ACCESS_TOKEN_LIFETIME);
    bench.clock.advance(overlap);
    let left = accounts.public_keys().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, replaced.signing);
}

#[tokio::test]
async fn a_signing_key_that_is_ended_ends_all_its_tokens_on_every_server_at_once() {
    let bench = with_ada().await;
    let other = bench.another(|_| {}).await;
    let accounts = &bench.service.accounts;
    let refused = |asked: Result<_, _>| asked.err() == Some(Refused(SessionError::Invalid));
    let token = tokens_of(&bench, ADA).await.access;
    // The other server signs with the same key.
    let at_the_other = async || {
        let login = password_login(ADA, PASSWORD, None);
        signed_by(&tokens(other.accounts.login(login, &origin()).await).access)
    };
    assert_eq!(at_the_other().await, signed_by(&token));
    // Both servers have verified it and cached that.
    for server in [accounts, &other.accounts] {
        assert!(server.session(Some(&token), ADDRESS).await.is_ok());
    }
    let leaked = signed_by(&token);
    let ended = other
        .accounts
        .end_signing_key(&leaked, &command_line())
        .await;
    let ended = ended.unwrap();
    assert_eq!(ended.ended, leaked);
    let signing = ended.signing.unwrap();
    assert_eq!(bench.times(Action::SigningKeyEnd).await, 1);
    assert_eq!(
        at_the_other().await,
        signing,
        "who has ended it signs with the next at once"
    );
    for server in [accounts, &other.accounts] {
        assert!(refused(
            server.session(Some(&token), ADDRESS).await.map(drop)
        ));
        let published = server.public_keys().await.unwrap();
        let published: Vec<_> = published.iter().map(|key| &*key.id).collect();
        assert_eq!(published, [&*signing]);
    }
    // The other server has noticed because of the token that it refused.
    let after = tokens_of(&bench, ADA).await.access;
    assert_eq!(signed_by(&after), signing);
    assert!(accounts.session(Some(&after), ADDRESS).await.is_ok());

    // A key that is only published.
    let command = command_line();
    let replaced = accounts.replace_signing_key(&command).await.unwrap();
    assert_eq!(replaced.former.as_ref().unwrap().0, signing);
    let ended = accounts.end_signing_key(&signing, &command).await.unwrap();
    assert_eq!(ended.signing, None);
    assert!(refused(
        other
            .accounts
            .session(Some(&after), ADDRESS)
            .await
            .map(drop)
    ));
    let left = accounts.public_keys().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, replaced.signing);
    for unknown in [&*leaked, &*signing, "", "no-such-key"] {
        let ended = accounts.end_signing_key(unknown, &command).await;
        assert_eq!(ended, Err(Refused(UnknownSigningKey)));
    }
    assert_eq!(bench.times(Action::SigningKeyEnd).await, 2);
}

#[tokio::test]
async fn a_signing_key_that_is_too_old_is_replaced_by_the_upkeep() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    assert_eq!(accounts.renew_signing_key().await, Ok(0), "nobody logs in");
    let first = accounts.public_keys().await.unwrap();
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert_eq!(accounts.renew_signing_key().await, Ok(0));
    bench.clock.advance(Duration::from_secs(1));
    bench.service.clean_up_once().await;
    assert_eq!(accounts.renew_signing_key().await, Ok(0), "it was there");
    let keys = accounts.public_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1], first[0]);
}

/// Removes every signing key but not the record of the one in use, as an upkeep whose clock is briefly ahead does.
async fn remove_signing_keys(bench: &Bench) {
    bench.remove(&Prefix::collection("signing_key")).await;
}

#[tokio::test]
async fn a_signing_key_that_is_gone_has_another_in_its_place() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let first = tokens_of(&bench, ADA).await.access;
    remove_signing_keys(&bench).await;
    let refused = accounts.session(Some(&first), ADDRESS).await.err();
    assert_eq!(refused, Some(Refused(SessionError::Invalid)));
    let second = tokens_of(&bench, ADA).await.access;
    assert_ne!(signed_by(&second), signed_by(&first));
    assert!(accounts.session(Some(&second), ADDRESS).await.is_ok());

    // The upkeep replaces the key before a token is refused.
    remove_signing_keys(&bench).await;
    assert_eq!(accounts.renew_signing_key().await, Ok(1));
    let third = tokens_of(&bench, ADA).await.access;
    assert_ne!(signed_by(&third), signed_by(&second));
    assert!(accounts.session(Some(&third), ADDRESS).await.is_ok());
    assert_eq!(accounts.renew_signing_key().await, Ok(0));
}

#[tokio::test]
async fn a_signing_key_of_a_time_to_come_signs_no_longer_than_clocks_differ() {
    let hour = Duration::from_secs(60 * 60);
    for (ahead, made) in [(hour, 0), (hour * (365 * 24), 1)] {
        let bench = with_ada().await;
        let other = bench.another_ahead(ahead).await;
        let of_theirs = other.accounts.public_keys().await.unwrap();
        let accounts = &bench.service.accounts;
        assert_eq!(accounts.renew_signing_key().await, Ok(made), "{ahead:?}");
        let own = tokens_of(&bench, ADA).await.access;
        assert_eq!(signed_by(&own) == of_theirs[0].id, made == 0, "{ahead:?}");
        assert!(accounts.session(Some(&own), ADDRESS).await.is_ok());
        assert_eq!(accounts.renew_signing_key().await, Ok(0));
    }
}

/// Keys are read page by page, not in order of time.
#[tokio::test]
async fn all_of_very_many_keys_are_published_the_one_that_signs_first() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    let first = accounts.public_keys().await.unwrap();
    let mut made = vec![first[0].id.clone()];
    for _ in 0..160 {
        bench.clock.advance(Duration::from_secs(1));
        let replaced = accounts.replace_signing_key(&command_line()).await.unwrap();
        made.insert(0, replaced.signing);
    }
    let published = accounts.public_keys().await.unwrap();
    let published: Vec<_> = published.into_iter().map(|key| key.id).collect();
    assert_eq!(published, made);
}

/// The commit that created it may exist on only one server of the database and be lost with it.
#[tokio::test]
async fn a_signing_key_that_was_only_read_neither_signs_nor_is_published() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    let unknown = |error| matches!(error, Some(StorageError::OutcomeUnknown(_)));
    bench.faults.commits(CommitMode::Lost);
    for _ in 0..3 {
        let signer = accounts.signing.signer(bench.clock.now()).await;
        assert!(unknown(signer.err()));
        assert!(unknown(accounts.public_keys().await.err()));
    }
    bench.faults.commits(CommitMode::Made);
    let keys = accounts.public_keys().await.unwrap();
    assert_eq!(keys.len(), 1);

    // Another server, whose clock is ahead, has created the next key.
    let ahead = DAY * 30;
    let other = bench.another_ahead(ahead).await;
    bench.faults.commits(CommitMode::Lost);
    assert!(unknown(other.accounts.public_keys().await.err()));
    assert!(unknown(accounts.public_keys().await.err()));
    bench.faults.commits(CommitMode::Made);
    assert_eq!(accounts.public_keys().await.unwrap().len(), 2);
}
