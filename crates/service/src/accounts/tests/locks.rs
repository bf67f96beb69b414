//! Which counters a guess affects, and who is locked out by them.

use std::{convert::Infallible, time::Duration};

use keyproof_store::{Prefix, faults::CommitMode};

use super::{
    ADA, DAY, LOCK, Phone, asks, challenge, change, command_line, enrol, laptop, log_in,
    log_in_from, session, set_password, tokens, with_ada,
};
use crate::{
    Action, Clock,
    Failure::Refused,
    Origin,
    accounts::{
        AnswerError, ChangePasswordError, EnrolKeyError, LoginError, PasswordChange,
        PasswordRefused, Unlocking, UserChange,
    },
    testing::{Bench, PASSWORD, START, administrator, origin, secret},
};

fn at(address: [u8; 4]) -> Origin {
    Origin {
        address: Some(address.into()),
        ..origin()
    }
}

const HOME: [u8; 4] = [192, 0, 2, 1];

/// Both steps of a login from an address, which must succeed.
async fn in_full(bench: &Bench, phone: &Phone, from: [u8; 4]) -> super::Tokens {
    let begun = log_in_from(bench, ADA, PASSWORD, None, &at(from)).await;
    let token = challenge(begun);
    let code = phone.shows(bench.clock.now());
    let accounts = &bench.service.accounts;
    let answered = accounts
        .answer_challenge(&token, &code, Some(&laptop()), &at(from))
        .await;
    bench.clock.advance(super::STEP);
    answered.unwrap()
}

/// Wrong passwords until the lockout and one more, each from another address. Returns the length of the lockout.
async fn lock_name(bench: &Bench) -> Duration {
    for last in 0..4 {
        let wrong = log_in_from(bench, ADA, "wrong horse", None, &at([203, 0, 113, last])).await;
        if let Err(Refused(LoginError::Locked { wait })) = wrong {
            return wait;
        }
    }
    panic!("four wrong passwords lock nothing");
}

/// Wrong codes after correct passwords until the lockout. Returns its length.
async fn guess_codes(bench: &Bench, phone: &Phone, from: [u8; 4]) -> Duration {
    loop {
        let token = challenge(log_in_from(bench, ADA, PASSWORD, None, &at(from)).await);
        let code = phone.never_shows(bench.clock.now());
        let accounts = &bench.service.accounts;
        let wrong = accounts
            .answer_challenge(&token, &code, None, &at(from))
            .await;
        match wrong.err().unwrap() {
            Refused(AnswerError::Refused) => {}
            Refused(AnswerError::Locked { wait }) => return wait,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_strangers_guesses_shut_out_neither_address_device_nor_session() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let own = session(&bench, &in_full(&bench, &phone, HOME).await).await;
    let accounts = &bench.service.accounts;
    for _ in 0..2 {
        assert_eq!(lock_name(&bench).await, LOCK);
        let abroad = at([198, 51, 100, 1]);
        let elsewhere = log_in_from(&bench, ADA, PASSWORD, None, &abroad).await;
        assert_eq!(
            elsewhere.err(),
            Some(Refused(LoginError::Locked { wait: LOCK }))
        );
        in_full(&bench, &phone, HOME).await;
        let on_laptop = log_in_from(&bench, ADA, PASSWORD, Some("laptop"), &abroad).await;
        tokens(on_laptop);
        let person = accounts.person(own.clone(), Action::UserSetPassword, &abroad);
        let change = PasswordChange {
            old: secret("wrong"),
            new: secret("another horse"),
        };
        let wrong = accounts
            .change_password(&person.await.unwrap(), Ok::<_, Infallible>(change))
            .await;
        assert_eq!(
            wrong,
            Err(Refused(ChangePasswordError::PasswordRefused(
                PasswordRefused::WrongPassword
            )))
        );
        bench.clock.advance(LOCK * 10);
    }
}

#[tokio::test]
async fn a_session_locks_for_itself_alone() {
    let bench = with_ada().await;
    let log_in = async || tokens(log_in_from(&bench, ADA, PASSWORD, None, &at(HOME)).await);
    let (one, other) = (
        session(&bench, &log_in().await).await,
        session(&bench, &log_in().await).await,
    );
    let accounts = asks(&bench);
    let enrol = async |session, password| accounts.enrol_key(session, password).await.err();
    for _ in 0..2 {
        let refused = enrol(&one, "wrong horse").await;
        assert_eq!(
            refused,
            Some(Refused(EnrolKeyError::PasswordRefused(
                PasswordRefused::WrongPassword
            )))
        );
    }
    let locked = Some(Refused(EnrolKeyError::PasswordRefused(
        PasswordRefused::Locked { wait: LOCK },
    )));
    assert_eq!(enrol(&one, "wrong horse").await, locked);
    assert_eq!(enrol(&one, PASSWORD).await, locked);
    assert_eq!(enrol(&other, PASSWORD).await, None);
    log_in().await;
    assert_eq!(unlock(&bench).await, Unlocking::Lifted);
    assert_eq!(enrol(&one, PASSWORD).await, None);
}

async fn unlock(bench: &Bench) -> Unlocking {
    change(bench, ADA, UserChange::Unlock).await.unwrap()
}

#[tokio::test]
async fn an_unlock_says_whether_anything_was_locked() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    in_full(&bench, &phone, HOME).await;
    assert_eq!(unlock(&bench).await, Unlocking::NoLock);
    lock_name(&bench).await;
    assert_eq!(unlock(&bench).await, Unlocking::Lifted);
    guess_codes(&bench, &phone, HOME).await;
    assert_eq!(unlock(&bench).await, Unlocking::Lifted);
    for _ in 0..3 {
        let origin = at([198, 51, 100, 1]);
        let wrong = log_in_from(&bench, ADA, "wrong horse", Some("laptop"), &origin).await;
        assert!(wrong.is_err());
    }
    assert_eq!(unlock(&bench).await, Unlocking::Lifted);
    lock_name(&bench).await;
    bench.clock.advance(LOCK);
    assert_eq!(unlock(&bench).await, Unlocking::NoLock);
    // Every unlock is recorded, even without a lockout.
    let told = bench.actions().await;
    let told = told.iter().filter(|action| *action == "user.unlock");
    assert_eq!(told.count(), 5);
}

#[tokio::test]
async fn wrong_codes_double_the_lock_of_their_counter_until_a_login_there() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    in_full(&bench, &phone, HOME).await;
    let thief = [203, 0, 113, 1];
    for times in [1, 2, 4] {
        assert_eq!(guess_codes(&bench, &phone, thief).await, LOCK * times);
        bench.clock.advance(LOCK * times);
    }
    // Another counter. Wrong passwords do not double the lockout.
    assert_eq!(guess_codes(&bench, &phone, HOME).await, LOCK);
    assert_eq!(lock_name(&bench).await, LOCK * 4);
    bench.clock.advance(LOCK * 4);
    in_full(&bench, &phone, thief).await;
    let next_thief = [203, 0, 113, 2];
    assert_eq!(guess_codes(&bench, &phone, next_thief).await, LOCK);
}

#[tokio::test]
async fn the_doubling_ends_with_a_new_password_and_an_unlock_lifts_every_lock() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    in_full(&bench, &phone, HOME).await;
    let thief = [203, 0, 113, 1];
    for times in [1, 2] {
        assert_eq!(guess_codes(&bench, &phone, thief).await, LOCK * times);
        bench.clock.advance(LOCK * times);
    }
    set_password(&bench, ADA, PASSWORD).await;
    assert_eq!(guess_codes(&bench, &phone, thief).await, LOCK);
    assert_eq!(guess_codes(&bench, &phone, HOME).await, LOCK);
    assert_eq!(unlock(&bench).await, Unlocking::Lifted);
    in_full(&bench, &phone, HOME).await;
    assert_eq!(guess_codes(&bench, &phone, thief).await, LOCK);
}

#[tokio::test]
async fn an_unknown_name_locks_as_a_known_one_from_every_address() {
    let bench = with_ada().await;
    let refusals = async |name: &str| {
        let mut refusals = Vec::new();
        for last in 0..5 {
            let wrong =
                log_in_from(&bench, name, "wrong horse", None, &at([203, 0, 113, last])).await;
            refusals.push(wrong.err());
        }
        refusals
    };
    assert_eq!(refusals(ADA).await, refusals("nobody@example.org").await);
    assert_eq!(kept(&bench).await, 0);
}

/// The number of records of addresses and sessions.
async fn kept(bench: &Bench) -> usize {
    let mut kept = 0;
    for collection in ["mfa_addresses", "mfa_sessions"] {
        let all = Prefix::collection(collection);
        let found = bench
            .store
            .scan_raw(&all, None, 100, bench.clock.now())
            .await;
        kept += found.unwrap().len();
    }
    kept
}

#[tokio::test]
async fn what_is_known_of_a_user_goes_with_them() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    in_full(&bench, &phone, HOME).await;
    assert_eq!(kept(&bench).await, 2);
    let accounts = &bench.service.accounts;
    accounts.remove_user(ADA, &command_line()).await.unwrap();
    assert_eq!(kept(&bench).await, 0);
}

#[tokio::test]
async fn counters_expire_by_themselves() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    in_full(&bench, &phone, HOME).await;
    bench.clock.advance(DAY);
    assert_eq!(kept(&bench).await, 1);
    bench.clock.advance(DAY * 29);
    assert_eq!(kept(&bench).await, 0);
}

#[tokio::test]
async fn locks_and_what_they_refuse_are_counted_once_they_are_stored() {
    let bench = with_ada().await;
    let figures = || {
        let [(accounts, of_accounts), (otp_devices, of_devices)] = bench.service.figures().locks;
        assert_eq!((accounts, otp_devices), ("accounts", "otp_devices"));
        [of_accounts, of_devices].map(|locks| (locks.begun, locks.refused))
    };
    let guess = async || log_in_from(&bench, ADA, "wrong horse", None, &at(HOME)).await;
    for _ in 0..2 {
        guess().await.unwrap_err();
    }
    bench.faults.commits(CommitMode::NotApplied);
    guess().await.unwrap_err();
    bench.faults.commits(CommitMode::Made);
    assert_eq!(figures(), [(0, 0), (0, 0)]);
    lock_name(&bench).await;
    assert_eq!(figures(), [(1, 0), (0, 0)]);
    guess().await.unwrap_err();
    assert_eq!(figures(), [(1, 1), (0, 0)]);

    // A session has its own lockout, and so has an instance.
    let here = origin();
    bench.clock.advance(DAY);
    let own = tokens(log_in_from(&bench, ADA, PASSWORD, None, &at(HOME)).await);
    let own = session(&bench, &own).await;
    for _ in 0..4 {
        let asks = asks(&bench);
        let enrolled = asks.enrol_key(&own, "wrong horse");
        enrolled.await.unwrap_err();
    }
    assert_eq!(figures(), [(2, 2), (0, 0)]);
    let devices = &bench.service.otp_devices;
    let shop = administrator("shop");
    let added = devices.add_instance(&shop, secret(PASSWORD));
    added.await.unwrap();
    for _ in 0..5 {
        let guessed = devices.log_in("shop", "shop", secret("wrong horse"), &here);
        assert!(guessed.await.is_err());
    }
    assert_eq!(figures(), [(2, 2), (1, 2)]);
}

/// Each unknown name is a separate target, and a client can make up any number of them.
#[tokio::test]
async fn guesses_at_names_that_are_nobodys_do_not_fill_the_trail() {
    let bench = with_ada().await;
    let events = async || {
        let all = bench.service.audit.events(START, None).await.unwrap();
        let failed = all.into_iter().map(|(_, event)| event);
        let failed = failed.filter(|event| {
            event.action == "user.authenticate" && event.outcome == crate::audit::Outcome::Refused
        });
        failed.collect::<Vec<_>>()
    };
    let guess = async |name: &str| {
        let refused = log_in(&bench, name, "wrong horse", None).await.err();
        assert_eq!(refused, Some(Refused(LoginError::Refused)), "{name}");
    };
    for number in 0..300 {
        guess(&format!("nobody{number}")).await;
    }
    let told = events().await.into_iter();
    let (rest, apart): (Vec<_>, Vec<_>) = told.partition(|event| event.target == "user_name/");
    assert_eq!(apart.len(), 120);
    assert!(apart.iter().all(|event| event.count() == 1));
    let counts = rest.iter().map(crate::audit::Event::count);
    assert_eq!(counts.sum::<u64>(), 180);
    // Few, but more than one, so that concurrent guesses at many names race hardly more than guesses at users' names.
    assert!((2..=16).contains(&rest.len()), "{}", rest.len());
    // A name with an event of its own keeps it, and a known user always has one.
    guess("nobody7").await;
    guess(ADA).await;
    let told = events().await;
    assert_eq!(told.len(), 121 + rest.len());
    let apart = told.iter().filter(|event| event.target != "user_name/");
    assert_eq!(apart.filter(|event| event.count() == 2).count(), 1);
    bench.clock.advance(Duration::from_secs(60));
    guess("nobody300").await;
    assert_eq!(events().await.len(), 122 + rest.len());
}
