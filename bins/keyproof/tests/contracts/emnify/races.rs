//! Many concurrent requests, on SQLite and two servers: a code is accepted once, and at most three failures are counted.

use std::{sync::Arc, time::Duration};

use keyproof::server::Server;
use keyproof_service::audit::RepeatedDetail;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::Barrier, task::JoinSet};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, PASSWORD},
    site::{Answer, Site},
};

/// Sends all of them once all are connected, to the two servers in turn.
async fn at_once(site: &Site, twin: &Server, bodies: Vec<Value>) -> Vec<Answer> {
    let all = Arc::new(Barrier::new(bodies.len()));
    let mut requests = JoinSet::new();
    for (number, body) in bodies.into_iter().enumerate() {
        let call = site.post(AUTHENTICATE, &body);
        let call = match number % 2 {
            0 => call,
            _ => call.to(twin),
        };
        let all = Arc::clone(&all);
        requests.spawn(async move { call.send_with(&all).await });
    }
    requests.join_all().await
}

async fn challenges(site: &Site, count: usize) -> Vec<String> {
    let mut challenges = Vec::new();
    for _ in 0..count {
        challenges.push(site.challenge(ADA).await);
    }
    challenges
}

/// Returns the number of checked attempts that failed for this reason in the audit trail, whose events may each contain several.
async fn judged(site: &Site, reason: &str) -> u64 {
    let reason = format!("Reason: {reason}");
    let judged = site.events().await.into_iter().map(|event| {
        let details = match &event.repeats {
            Some(repeats) => repeats.details.clone(),
            None => vec![RepeatedDetail {
                detail: event.detail.unwrap_or_default(),
                count: 1,
            }],
        };
        let judged = details.iter().filter(|told| told.detail.contains(&reason));
        judged.map(|told| told.count).sum::<u64>()
    });
    judged.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_with_one_code_are_one_login() {
    let folder = TempDir::new().unwrap();
    let site = Site::on_sqlite(folder.path()).await;
    let twin = site.twin(folder.path()).await;
    let ada = site.enrol(ADA).await;
    let code = ada.phone.shows(site.now());
    let challenges = challenges(&site, 100).await;
    let bodies =
        (0..1000).map(|number| json!({ "mfa_token": challenges[number % 100], "code": code }));
    let answers = at_once(&site, &twin, bodies.collect()).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 999));
    for answer in lost {
        answer.is_empty(401);
    }
    // None of them was counted.
    assert_eq!(judged(&site, "Invalid MFA code").await, 0);
    let wrong = json!({ "mfa_token": challenges[0], "code": ada.phone.never_shows(site.now()) });
    for token in [&challenges[1], &challenges[2]] {
        let mut wrong = wrong.clone();
        wrong["mfa_token"] = token.as_str().into();
        site.authenticate(wrong).await.is(401);
    }
    site.clock.advance(Duration::from_secs(30));
    let next =
        json!({ "mfa_token": site.challenge(ADA).await, "code": ada.phone.shows(site.now()) });
    site.authenticate(next).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_wrong_codes_three_are_judged() {
    let folder = TempDir::new().unwrap();
    let site = Site::on_sqlite(folder.path()).await;
    let twin = site.twin(folder.path()).await;
    let ada = site.enrol(ADA).await;
    let challenges = challenges(&site, 20).await;
    let code = ada.phone.never_shows(site.now());
    let bodies =
        (0..200).map(|number| json!({ "mfa_token": challenges[number % 20], "code": code }));
    let answers = at_once(&site, &twin, bodies.collect()).await;
    for answer in &answers {
        answer.is(401);
    }
    // The third one that is checked gets the same answer as the unchecked ones: too many attempts.
    let empty = answers.iter().filter(|answer| answer.body.is_empty());
    assert_eq!(empty.count(), 2);
    assert_eq!(judged(&site, "Invalid MFA code").await, 3);
    // The lock applies on both servers, even with the right code and password.
    let right = json!({ "mfa_token": challenges[0], "code": ada.phone.shows(site.now()) });
    site.authenticate(right.clone())
        .await
        .refuses(401, 1105, "");
    let call = site.post(AUTHENTICATE, &right).to(&twin);
    call.send().await.refuses(401, 1105, "");
    site.password(ADA, PASSWORD).await.refuses(401, 1105, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_guesses_at_a_password_three_are_judged() {
    let folder = TempDir::new().unwrap();
    let site = Site::on_sqlite(folder.path()).await;
    let twin = site.twin(folder.path()).await;
    site.enrol(ADA).await;
    // Much later, nothing of her counter is stored any more.
    site.clock.advance(Duration::from_secs(25 * 60 * 60));
    for name in [ADA, "nobody@example.org"] {
        // No more at once than may wait for password hashing.
        let guesses = (0..16)
            .map(|number| json!({ "username": name, "password": format!("horse {number}") }));
        let mut empty = 0;
        for _ in 0..6 {
            let answers = at_once(&site, &twin, guesses.clone().collect()).await;
            for answer in &answers {
                assert!(answer.status == 401 || answer.status == 503, "{answer:?}");
            }
            empty += answers
                .iter()
                .filter(|answer| answer.status == 401 && answer.body.is_empty())
                .count();
        }
        assert_eq!(empty, 2, "{name}");
        let call = site.post(
            AUTHENTICATE,
            &json!({ "username": name, "password": PASSWORD }),
        );
        call.to(&twin).send().await.refuses(401, 1105, "");
    }
    assert_eq!(judged(&site, "Invalid password").await, 6);
}
