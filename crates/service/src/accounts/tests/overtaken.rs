//! Decisions whose records change meanwhile are made again.

use std::{fmt::Debug, time::Duration};

use super::{
    ADA, BOB, LOCK, Phone, REVOKED, add, answer_challenge, asks, challenge, change, command_line,
    enrol, laptop, log_in, log_in_by_code, pending, set_password, signed_in, tokens_of, with_ada,
};
use crate::{
    Clock,
    Failure::{self, Refused},
    accounts::{
        AccountTarget, AnswerError, Caller, ChangePasswordError, ChangeUserError, FirstStep,
        LoginError, PasswordRefused, RecoveryCodesError, Role, Session, SessionRefused, TargetUser,
        UserChange,
        records::{
            addresses_key, devices_key, recovery_key, second_factor_key, sessions_key, user_key,
        },
    },
    testing::{Bench, PASSWORD, origin},
};

/// Ada without a key, with an old lockout from an earlier login, and her session.
async fn ada() -> (Bench, Session) {
    let bench = with_ada().await;
    let own = signed_in(&bench, ADA).await;
    (bench, own)
}

/// Ada with a key, whose last counted failure is so old that its record is gone. Her session lasts as long as the test.
async fn quiet_ada() -> (Bench, Phone, Session, u32) {
    let bench = with_ada().await;
    let (phone, mut own, key) = enrol(&bench, ADA).await;
    own.expires_at = None;
    bench.clock.advance(Duration::from_secs(25 * 60 * 60));
    (bench, phone, own, key)
}

async fn lock(bench: &Bench) {
    for _ in 0..3 {
        assert!(log_in(bench, ADA, "wrong horse", None).await.is_err());
    }
}

async fn lock_session(bench: &Bench, own: &Session) {
    for _ in 0..3 {
        let guessed = asks(bench).change_password(own, "wrong horse", "another horse");
        assert!(guessed.await.is_err());
    }
}

/// Checks that a use case was refused because the session has ended.
#[track_caller]
fn ended<T, E: From<SessionRefused> + Debug + PartialEq>(outcome: Result<T, Failure<E>>) {
    assert_eq!(outcome.err(), Some(Refused(E::from(SessionRefused::Ended))));
}

async fn answer(
    bench: &Bench,
    token: &str,
    phone: &Phone,
    trusts: bool,
) -> Result<(), Failure<AnswerError>> {
    let code = phone.shows(bench.clock.now());
    let trust = trusts.then(laptop);
    let answered = answer_challenge(bench, token, &code, trust.as_ref());
    answered.await.map(drop)
}

#[tokio::test]
async fn a_suspension_that_overtakes_a_login_wins() {
    let (bench, _) = ada().await;
    let outcome = bench
        .faults
        .overtake(log_in(&bench, ADA, PASSWORD, None), async {
            change(&bench, ADA, UserChange::Suspend).await;
        })
        .await;
    assert_eq!(outcome.err(), Some(Refused(LoginError::Refused)));
}

#[tokio::test]
async fn a_new_password_that_overtakes_a_login_is_asked_for() {
    let (bench, _) = ada().await;
    let outcome = bench
        .faults
        .overtake(log_in(&bench, ADA, PASSWORD, None), async {
            set_password(&bench, ADA, "another horse").await;
        })
        .await;
    assert_eq!(outcome.err(), Some(Refused(LoginError::Refused)));
}

#[tokio::test]
async fn a_key_that_overtakes_a_login_is_asked_for() {
    let (bench, own) = ada().await;
    let outcome = bench
        .faults
        .overtake(log_in(&bench, ADA, PASSWORD, None), async {
            let accounts = asks(&bench);
            let (phone, key) = pending(&bench, &own).await;
            let code = phone.shows(bench.clock.now());
            accounts.activate_key(&own, key, &code).await.unwrap();
        })
        .await;
    assert!(
        matches!(outcome, Ok(FirstStep::Challenged(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_right_guess_among_wrong_ones_is_not_told_past_the_lock() {
    let (bench, phone, own, _) = quiet_ada().await;
    let guessed = bench
        .faults
        .overtake(log_in(&bench, ADA, PASSWORD, None), lock(&bench))
        .await;
    assert_eq!(
        guessed.err(),
        Some(Refused(LoginError::Locked { wait: LOCK })),
        "at a login"
    );

    bench.clock.advance(Duration::from_secs(25 * 60 * 60));
    let accounts = asks(&bench);
    let guessed = bench
        .faults
        .overtake(
            accounts.change_password(&own, PASSWORD, "another horse"),
            lock_session(&bench, &own),
        )
        .await;
    assert_eq!(
        guessed,
        Err(Refused(ChangePasswordError::PasswordRefused(
            PasswordRefused::Locked { wait: LOCK }
        ))),
        "at a new password"
    );

    bench.clock.advance(Duration::from_secs(25 * 60 * 60));
    let code = phone.shows(bench.clock.now());
    let guessed = bench
        .faults
        .overtake(
            accounts.make_recovery_codes(&own, PASSWORD, Some(&code)),
            lock_session(&bench, &own),
        )
        .await;
    assert_eq!(
        guessed.err(),
        Some(Refused(RecoveryCodesError::PasswordRefused(
            PasswordRefused::Locked { wait: LOCK }
        ))),
        "at recovery codes"
    );
}

#[tokio::test]
async fn a_lock_that_overtakes_a_code_wins() {
    let (bench, phone, ..) = quiet_ada().await;
    let token = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let outcome = bench
        .faults
        .overtake(answer(&bench, &token, &phone, false), lock(&bench))
        .await;
    assert_eq!(outcome, Err(Refused(AnswerError::Locked { wait: LOCK })));
}

#[tokio::test]
async fn whatever_ends_a_challenge_ends_the_answer_that_it_overtakes() {
    for ending in ["key", "password", "suspension", "removal"] {
        let (bench, phone, own, key) = quiet_ada().await;
        let token = challenge(log_in(&bench, ADA, PASSWORD, None).await);
        let outcome = bench
            .faults
            .overtake(answer(&bench, &token, &phone, true), async {
                let accounts = asks(&bench);
                match ending {
                    "key" => accounts
                        .remove_key(&own, TargetUser::Mine, key)
                        .await
                        .unwrap(),
                    "password" => set_password(&bench, ADA, "another horse").await,
                    "suspension" => {
                        change(&bench, ADA, UserChange::Suspend).await;
                    }
                    _ => accounts.remove_user(ADA, &command_line()).await.unwrap(),
                }
            })
            .await;
        assert_eq!(outcome, Err(Refused(AnswerError::Refused)), "{ending}");
    }
}

#[tokio::test]
async fn a_device_revoked_meanwhile_is_not_trusted() {
    let (bench, phone, own, _) = quiet_ada().await;
    log_in_by_code(&bench, ADA, &phone).await;
    let outcome = bench
        .faults
        .overtake(log_in(&bench, ADA, PASSWORD, Some("laptop")), async {
            let accounts = asks(&bench);
            let id = accounts.devices(&own, TargetUser::Mine).await.unwrap()[0].id;
            let removed = accounts.remove_device(&own, TargetUser::Mine, id).await;
            removed.unwrap();
        })
        .await;
    assert!(
        matches!(outcome, Ok(FirstStep::Challenged(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn nothing_is_done_in_the_name_of_a_session_that_has_ended() {
    let (bench, phone, own, key) = quiet_ada().await;
    log_in_by_code(&bench, ADA, &phone).await;
    let accounts = asks(&bench);
    let removed = bench
        .faults
        .overtake(
            accounts.remove_key(&own, TargetUser::Mine, key),
            set_password(&bench, ADA, PASSWORD),
        )
        .await;
    ended(removed);
    let removed = accounts.remove_device(&own, TargetUser::Mine, 1).await;
    ended(removed);
    let devices = accounts.devices(&own, TargetUser::Mine).await;
    ended(devices);
    let enrolled = accounts.enrol_key(&own, PASSWORD).await;
    ended(enrolled);
    let added = accounts.application_token(&own).await;
    ended(added);
}

#[tokio::test]
async fn an_administrator_suspended_meanwhile_removes_nothing() {
    let (bench, phone, ada, key) = quiet_ada().await;
    log_in_by_code(&bench, ADA, &phone).await;
    add(&bench, BOB, Role::Administrator).await;
    let suspended = async |bench: &Bench| {
        change(bench, BOB, UserChange::Suspend).await;
    };
    let back = async |bench: &Bench| {
        change(bench, BOB, UserChange::Activate).await;
        signed_in(bench, BOB).await
    };
    let hers = TargetUser::Of(ada.owner.user);
    let accounts = asks(&bench);
    let device = accounts.devices(&ada, TargetUser::Mine).await.unwrap()[0].id;

    let bob = back(&bench).await;
    let removed = bench
        .faults
        .overtake(accounts.remove_key(&bob, hers, key), suspended(&bench))
        .await;
    ended(removed);
    let bob = back(&bench).await;
    let removed = bench
        .faults
        .overtake(
            accounts.remove_device(&bob, hers, device),
            suspended(&bench),
        )
        .await;
    ended(removed);
    let bob = back(&bench).await;
    let added = bench
        .faults
        .overtake(accounts.application_token(&bob), suspended(&bench))
        .await;
    ended(added);
    let bob = back(&bench).await;
    let text = accounts.application_token(&ada).await.unwrap();
    let id = accounts.application_tokens(&bob).await.unwrap()[0].id;
    let changed = bench
        .faults
        .overtake(
            accounts.change_application_token(&bob, id, &REVOKED),
            suspended(&bench),
        )
        .await;
    ended(changed);
    back(&bench).await;
    let address = super::ADDRESS;
    let login = accounts.application_login(&text, address, &origin()).await;
    assert!(login.is_ok(), "it was revoked");
}

#[tokio::test]
async fn a_key_that_is_set_up_while_a_lost_one_is_being_removed_stays() {
    let (bench, _, own, key) = quiet_ada().await;
    let accounts = asks(&bench);
    let caller = Caller::new(&bench.operator("users").await, &origin());
    let remove = async |key| {
        let target = AccountTarget::Reached {
            caller: &caller,
            organisation: own.owner.organisation,
            user: own.owner.user,
        };
        accounts
            .change_user(target, UserChange::RemoveKey(key))
            .await
    };
    let removed = bench
        .faults
        .overtake(remove(Some(key)), async {
            let removed = accounts.remove_key(&own, TargetUser::Mine, key).await;
            removed.unwrap();
            pending(&bench, &own).await;
        })
        .await;
    assert_eq!(removed, Err(Refused(ChangeUserError::AnotherKey)));
    assert_eq!(
        remove(None).await,
        Err(Refused(ChangeUserError::AnotherKey))
    );
    let place = [second_factor_key(own.owner)];
    let left = bench.store.get_many(&place, bench.clock.now()).await;
    assert!(left.unwrap().iter().all(Option::is_some));
}

#[tokio::test]
async fn what_joins_a_user_who_is_being_removed_is_not_left_behind() {
    for joins in ["key", "device", "recovery codes", "address", "guess"] {
        let (bench, phone, own, key) = quiet_ada().await;
        let accounts = asks(&bench);
        // A login with a code changes the key as well.
        if ["key", "address", "guess"].contains(&joins) {
            let removed = accounts.remove_key(&own, TargetUser::Mine, key).await;
            removed.unwrap();
        }
        let removed = bench
            .faults
            .overtake(accounts.remove_user(ADA, &command_line()), async {
                match joins {
                    "key" => {
                        let enrolled = accounts.enrol_key(&own, PASSWORD).await;
                        enrolled.unwrap();
                    }
                    "device" => drop(log_in_by_code(&bench, ADA, &phone).await),
                    "address" => drop(tokens_of(&bench, ADA).await),
                    "guess" => {
                        let guessed =
                            accounts.change_password(&own, "wrong horse", "another horse");
                        assert!(guessed.await.is_err());
                    }
                    _ => {
                        let code = phone.shows(bench.clock.now());
                        let made = accounts.make_recovery_codes(&own, PASSWORD, Some(&code));
                        made.await.unwrap();
                    }
                }
            })
            .await;
        assert_eq!(removed, Ok(()));
        let places = [
            user_key(own.owner),
            second_factor_key(own.owner),
            devices_key(own.owner),
            recovery_key(own.owner),
            addresses_key(own.owner),
            sessions_key(own.owner),
        ];
        let left = bench.store.get_many(&places, bench.clock.now()).await;
        assert!(left.unwrap().iter().all(Option::is_none), "{joins}");
    }
}
