//! Many requests at once, on SQLite: one code is good once, and three failures are all there are.

use std::sync::Arc;

use serde_json::json;

use crate::site::{ADA, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_with_one_code_are_one_login() {
    let site = Arc::new(Site::on_sqlite().await);
    let ada = site.enrol(ADA).await;
    let code = ada.phone.shows(site.now());
    let mut challenges = Vec::new();
    for _ in 0..50 {
        challenges.push(site.challenge(ADA).await);
    }
    let mut statuses = Vec::new();
    // Ten waves of a hundred connections: the code stays spent from one to the next.
    for _ in 0..10 {
        let wave: Vec<_> = (0..100)
            .map(|number| {
                let site = Arc::clone(&site);
                let body = json!({ "mfa_token": challenges[number % 50], "code": code });
                tokio::spawn(async move { site.authenticate(body).await.status.as_u16() })
            })
            .collect();
        for answer in wave {
            statuses.push(answer.await.unwrap());
        }
    }
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(401)), (1, 999), "{statuses:?}");
    site.clock.advance(std::time::Duration::from_secs(30));
    let next = json!({
        "mfa_token": site.challenge(ADA).await,
        "code": ada.phone.shows(site.now()),
    });
    site.authenticate(next).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_wrong_codes_three_are_judged() {
    let site = Arc::new(Site::on_sqlite().await);
    let ada = site.enrol(ADA).await;
    let body = json!({
        "mfa_token": site.challenge(ADA).await,
        "code": ada.phone.never_shows(site.now()),
    });
    let answers: Vec<_> = (0..200)
        .map(|_| {
            let (site, body) = (Arc::clone(&site), body.clone());
            tokio::spawn(async move { site.authenticate(body).await })
        })
        .collect();
    let mut judged = 0;
    for answer in answers {
        let answer = answer.await.unwrap();
        answer.is(401);
        // The third that is judged says, as those that are not, that there were too many.
        judged += usize::from(answer.body.is_empty());
    }
    assert_eq!(judged, 2);
}
