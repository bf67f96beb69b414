//! Concurrent requests: a code is accepted once, and only three failures are possible.

use std::sync::Arc;

use super::{ADA, LOCK, answer_challenge, challenge, enrol, log_in, with_ada};
use crate::{
    Clock,
    Failure::Refused,
    accounts::{AnswerError, LoginError},
    testing::PASSWORD,
};

#[tokio::test]
async fn a_thousand_logins_with_one_code_are_one_login() {
    let bench = Arc::new(with_ada().await);
    let (phone, ..) = enrol(&bench, ADA).await;
    // A hundred challenges, each answered ten times.
    let mut challenges = Vec::new();
    for _ in 0..100 {
        challenges.push(challenge(log_in(&bench, ADA, PASSWORD, None).await));
    }
    let code = phone.shows(bench.clock.now());
    let answers: Vec<_> = (0..1000)
        .map(|number| {
            let (bench, code) = (Arc::clone(&bench), code.clone());
            let token = challenges[number % 100].clone();
            tokio::spawn(async move { answer_challenge(&bench, &token, &code, None).await })
        })
        .collect();
    let mut authenticated = 0;
    for answer in answers {
        match answer.await.unwrap() {
            Ok(_) => authenticated += 1,
            Err(error) => assert_eq!(error, Refused(AnswerError::Refused)),
        }
    }
    assert_eq!(authenticated, 1);
    // She is not locked out: the next code is accepted.
    bench.clock.advance(super::STEP);
    let token = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let code = phone.shows(bench.clock.now());
    let answered = answer_challenge(&bench, &token, &code, None).await;
    assert!(answered.is_ok());
}

#[tokio::test]
async fn of_two_hundred_wrong_codes_three_are_judged() {
    let bench = Arc::new(with_ada().await);
    let (phone, ..) = enrol(&bench, ADA).await;
    let token = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let now = bench.clock.now();
    let wrong = phone.never_shows(now);
    let answers: Vec<_> = (0..200)
        .map(|_| {
            let (bench, token, wrong) = (Arc::clone(&bench), token.clone(), wrong.clone());
            tokio::spawn(async move { answer_challenge(&bench, &token, &wrong, None).await })
        })
        .collect();
    let mut refused = 0;
    for answer in answers {
        match answer.await.unwrap().err() {
            Some(Refused(AnswerError::Refused)) => refused += 1,
            other => assert_eq!(other, Some(Refused(AnswerError::Locked { wait: LOCK }))),
        }
    }
    // The third failure starts the lockout.
    assert_eq!(refused, 2);
    let events = bench.service.audit.events(now, None).await.unwrap();
    let judged = events
        .iter()
        .filter_map(|(_, event)| event.repeats.as_ref());
    let judged: Vec<_> = judged
        .flat_map(|repeats| &repeats.details)
        .map(|told| {
            (
                told.detail.contains("CodeWrong { locks: false }"),
                told.count,
            )
        })
        .collect();
    assert_eq!(judged, [(true, 2), (false, 1)]);
    // Even the correct code is not checked now.
    let right = answer_challenge(&bench, &token, &phone.shows(now), None).await;
    assert_eq!(
        right.err(),
        Some(Refused(AnswerError::Locked { wait: LOCK }))
    );
    // After the lockout the challenge is used up.
    bench.clock.advance(std::time::Duration::from_secs(300));
    let code = phone.shows(bench.clock.now());
    let spent = answer_challenge(&bench, &token, &code, None).await;
    assert_eq!(spent.err(), Some(Refused(AnswerError::Refused)));
}

#[tokio::test]
async fn wrong_passwords_lock_known_and_unknown_names_alike() {
    let bench = Arc::new(with_ada().await);
    for name in [ADA, "nobody@example.org"] {
        let attempts: Vec<_> = (0..40)
            .map(|_| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { log_in(&bench, name, "wrong horse", None).await.err() })
            })
            .collect();
        let mut refused = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Some(Refused(LoginError::Refused)) => refused += 1,
                other => assert_eq!(
                    other,
                    Some(Refused(LoginError::Locked { wait: LOCK })),
                    "{name}"
                ),
            }
        }
        assert_eq!(refused, 2, "{name}");
    }
    assert_eq!(
        log_in(&bench, ADA, PASSWORD, None).await.err(),
        Some(Refused(LoginError::Locked { wait: LOCK }))
    );
}
