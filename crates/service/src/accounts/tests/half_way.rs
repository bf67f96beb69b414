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

/// Otherwise whoever has the password could find a fingerprint with wrong ones, which count no guess.
#[tokio::test]
async fn a_wrong_password_does_not_tell_a_trusted_fingerprint_while_the_name_is_locked() {
    let (bench, [one, _]) = two_servers().await;
    let wrong = async |fingerprint| {
        let login = password_login(ADA, "wrong horse", fingerprint);
        one.accounts.login(login, &origin()).await.err()
    };
    for _ in 0..3 {
        wrong(None).await;
    }
    bench.clock.advance(STEP);
    let locked = Some(Failure::Refused(LoginError::Locked { wait: LOCK - STEP }));
    for _ in 0..4 {
        for fingerprint in ["laptop", "guess"] {
            assert_eq!(wrong(Some(fingerprint)).await, locked, "{fingerprint}");
        }
    }
}

/// Otherwise whoever measures the time could guess passwords without limit while the name is locked.
#[tokio::test]
async fn a_right_password_costs_what_a_wrong_one_costs_while_the_name_is_locked() {
    let (bench, [one, _]) = two_servers().await;
    let cost = async |password: &str, fingerprint: Option<&str>| {
        bench.faults.steps();
        let login = password_login(ADA, password, fingerprint);
        assert!(one.accounts.login(login, &origin()).await.is_err());
        bench.faults.steps()
    };
    let mut counted = 0;
    for _ in 0..3 {
        counted = cost("wrong horse", None).await;
    }
    // Three guesses lock the fingerprints; a fourth changes no count.
    for number in 0..4 {
        for password in ["wrong horse", PASSWORD] {
            let guess = format!("guess {number}");
            assert_eq!(
                cost(password, Some(guess.as_str())).await,
                counted,
                "{guess}"
            );
        }
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
