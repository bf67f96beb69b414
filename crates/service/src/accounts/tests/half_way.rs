//! Logins with a correct password but without the code.

use std::{sync::Arc, time::Duration};

use super::{
    ADA, LOCK, STEP, challenge, enrol, log_in_by_code, log_in_from, password_login, tokens,
    with_ada,
};
use crate::{
    Action, Failure, Origin, Service,
    accounts::{FirstStep, LoginError, Session},
    audit::{Event, Outcome, Search},
    testing::{Bench, PASSWORD, START, origin},
};

/// The events of such logins that the session's user sees, newest first.
async fn seen(bench: &Bench, own: &Session) -> Vec<Event> {
    let (reader, search) = (own.audit_reader(), Search::default());
    let audit = &bench.service.audit;
    let found = audit.search(&reader, &search, None, START, 50).await;
    let mut events = found.unwrap().events;
    events.retain(|event| event.action == Action::UserChallenge.name());
    events
}

#[tokio::test]
async fn a_right_password_is_told_to_its_user_though_no_code_comes() {
    let bench = with_ada().await;
    let (_, own, _) = enrol(&bench, ADA).await;
    assert!(seen(&bench, &own).await.is_empty());
    let from = |last: u8| Origin {
        address: Some([203, 0, 113, last].into()),
        ..origin()
    };
    let log_in = async |last: u8| {
        challenge(log_in_from(&bench, ADA, PASSWORD, None, &from(last)).await);
    };
    for last in [1, 2, 1] {
        log_in(last).await;
    }
    bench.clock.advance(Duration::from_secs(60));
    log_in(3).await;
    let told = seen(&bench, &own).await;
    let counts: Vec<_> = told.iter().map(Event::count).collect();
    assert_eq!(counts, [1, 3], "those of a minute are one");
    for event in &told {
        assert_eq!(event.outcome, Outcome::Done);
        assert!(event.who.starts_with("user:"), "{}", event.who);
    }
    assert_eq!(told[0].address, from(3).address);
    let addresses = &told[1].repeats.as_ref().unwrap().addresses;
    let expected = [1, 2].map(|last| from(last).address.unwrap());
    assert_eq!(*addresses, expected);
}

/// Two servers on one store, and Ada with a phone and a trusted laptop.
async fn two_servers() -> (Bench, [Arc<Service>; 2]) {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    log_in_by_code(&bench, ADA, &phone).await;
    bench.clock.advance(STEP);
    let servers = [Arc::clone(&bench.service), bench.another(|_| {}).await];
    (bench, servers)
}

/// Ada's login with the correct password and this fingerprint.
async fn shows(server: &Service, fingerprint: &str) -> Result<FirstStep, Failure<LoginError>> {
    let login = password_login(ADA, PASSWORD, Some(fingerprint));
    server.accounts.login(login, &origin()).await
}

#[tokio::test]
async fn fingerprints_that_are_guessed_with_the_password_are_counted_over_all_servers() {
    let (bench, [one, other]) = two_servers().await;
    for server in [&one, &other] {
        tokens(shows(server, "laptop").await);
    }
    for (number, server) in [&one, &other, &one].into_iter().enumerate() {
        challenge(shows(server, &format!("guess {number}")).await);
    }
    for server in [&one, &other] {
        challenge(shows(server, "laptop").await);
    }
    bench.clock.advance(LOCK);
    for server in [&one, &other] {
        tokens(shows(server, "laptop").await);
    }
}

/// Whoever has the password could lock the name with wrong ones first.
#[tokio::test]
async fn fingerprints_that_are_guessed_while_the_name_is_locked_are_counted() {
    let (bench, [one, other]) = two_servers().await;
    let locked = Some(Failure::Refused(LoginError::Locked { wait: LOCK }));
    for _ in 0..3 {
        let wrong = password_login(ADA, "wrong horse", None);
        assert!(one.accounts.login(wrong, &origin()).await.is_err());
    }
    tokens(shows(&one, "laptop").await);
    for (number, server) in [&one, &other, &one].into_iter().enumerate() {
        let guess = shows(server, &format!("guess {number}")).await;
        assert_eq!(guess.err(), locked);
    }
    for server in [&one, &other] {
        assert_eq!(shows(server, "laptop").await.err(), locked);
    }
    bench.clock.advance(LOCK);
    tokens(shows(&one, "laptop").await);
}

/// Otherwise wrong passwords could find a fingerprint, without being counted as guesses at one.
#[tokio::test]
async fn a_wrong_password_does_not_tell_a_trusted_fingerprint() {
    let wrong = async |fingerprint| {
        let (bench, [one, other]) = two_servers().await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            // Three are counted, the third locks, and the fourth comes during the lock.
            for server in [&one, &other, &one, &other] {
                let login = password_login(ADA, "wrong horse", fingerprint);
                answers.push(server.accounts.login(login, &origin()).await.err());
                bench.clock.advance(STEP);
            }
            bench.clock.advance(LOCK);
        }
        answers
    };
    let without = wrong(None).await;
    let refused = Some(Failure::Refused(LoginError::Refused));
    let locked = |wait| Some(Failure::Refused(LoginError::Locked { wait }));
    let once = [refused.clone(), refused, locked(LOCK), locked(LOCK - STEP)];
    assert_eq!(without, [&once[..], &once[..]].concat());
    for fingerprint in ["laptop", "guess"] {
        assert_eq!(wrong(Some(fingerprint)).await, without, "{fingerprint}");
    }
}

/// The answers and events are those of the address or name, whose lock may have begun before.
#[tokio::test]
async fn a_lock_of_a_device_is_counted_as_one_that_begins() {
    let (bench, [one, _]) = two_servers().await;
    let begins = async |fingerprint| {
        let [(_, before), _] = one.figures().locks;
        // The fourth comes during the lock.
        for _ in 0..4 {
            let login = password_login(ADA, "wrong horse", fingerprint);
            assert!(one.accounts.login(login, &origin()).await.is_err());
        }
        let [(_, after), _] = one.figures().locks;
        after.begun - before.begun
    };
    assert_eq!(begins(None).await, 1);
    assert_eq!(begins(Some("guess")).await, 0);
    assert_eq!(begins(Some("laptop")).await, 1);
    bench.clock.advance(LOCK);
    assert_eq!(begins(Some("laptop")).await, 2, "and that of the address");
}

/// Otherwise anybody could lock a name, and then learn the password from the time of the answers.
#[tokio::test]
async fn the_right_password_costs_what_a_wrong_one_costs_while_the_name_is_locked() {
    let (bench, [one, _]) = two_servers().await;
    let cost = async |password, fingerprint| {
        bench.faults.steps();
        let login = password_login(ADA, password, fingerprint);
        assert!(one.accounts.login(login, &origin()).await.is_err());
        bench.faults.steps()
    };
    for _ in 0..3 {
        cost("wrong horse", None).await;
    }
    let wrong = cost("wrong horse", Some("guess")).await;
    // The third one locks the fingerprints.
    for number in 0..5 {
        let right = cost(PASSWORD, Some("guess")).await;
        assert_eq!(right, wrong, "guess {number}");
    }
}

/// A guess that loses the race is counted as well.
#[tokio::test]
async fn fingerprints_that_are_guessed_at_once_are_all_counted() {
    let (_bench, [one, other]) = two_servers().await;
    let guessed = tokio::join!(
        shows(&one, "guess 0"),
        shows(&other, "guess 1"),
        shows(&one, "guess 2")
    );
    for guess in [guessed.0, guessed.1, guessed.2] {
        challenge(guess);
    }
    challenge(shows(&other, "laptop").await);
}
