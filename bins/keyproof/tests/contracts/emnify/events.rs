//! The audit events of the contract.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use keyproof_service::audit::{Event, Outcome, Repeats};
use serde_json::json;

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, BOB, PASSWORD},
    site::{Answer, Site},
};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn told(site: &Site, kind: &str) -> Vec<Event> {
    let mut events = site.named_events().await;
    events.retain(|event| {
        let detail = event.detail.as_deref().unwrap_or_default();
        detail.starts_with(&format!("type {kind}: "))
    });
    events
}

fn details(events: &[Event]) -> Vec<&str> {
    let details = events.iter().filter_map(|event| event.detail.as_deref());
    details.collect()
}

#[tokio::test]
async fn failed_logins_of_users_are_type_6() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let token = site.challenge(ADA).await;
    let id = |answer: Answer| {
        // Events of one millisecond have no fixed order.
        site.clock.advance(MILLISECOND);
        answer.is(401).header("x-request-id").to_owned()
    };
    let answer = async |code: &str| {
        let body = json!({ "mfa_token": token, "code": code });
        id(site.authenticate(body).await)
    };
    let wrong = ada.phone.never_shows(site.now());
    let requests = [
        id(site.password(ADA, "wrong horse").await),
        answer(&wrong).await,
        answer(&wrong).await,
        answer(&ada.phone.shows(site.now())).await,
        id(site.password(&"n".repeat(200), PASSWORD).await),
        id(site.password("eve\n\u{1b}[2J", PASSWORD).await),
    ];
    let events = told(&site, "6").await;
    let by = |name: &str, reason: &str| {
        format!("type 6: Failed authentication request from '{name}', Reason: {reason}")
    };
    let locks = by(
        ADA,
        "Invalid MFA code. Too many failed authentication requests",
    );
    // The name is left out, because a name that no user has may be a mistyped password.
    let nobody = "type 6: Failed authentication request, Reason: Invalid password".to_owned();
    // Attempts for a name that were checked are one event per minute; the unchecked ones are one event each.
    let mut expected = [
        (&locks, [&requests[0], &requests[2]], 3),
        (
            &by(ADA, "Too many failed authentication requests"),
            [&requests[3]; 2],
            1,
        ),
        (&nobody, [&requests[4]; 2], 1),
        (&nobody, [&requests[5]; 2], 1),
    ];
    let mut found = Vec::new();
    for event in &events {
        assert_eq!(event.address, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(event.action, "user.authenticate");
        let first = event.request_id.as_ref().unwrap();
        let repeats = event.repeats.as_ref();
        let last = repeats.map_or(first, |repeats| repeats.last_request_id.as_ref().unwrap());
        let detail = event.detail.as_ref().unwrap();
        found.push((detail, [first, last], event.count()));
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let repeats = events.iter().find_map(|event| event.repeats.as_ref());
    let repeats = repeats.unwrap();
    assert_eq!(repeats.request_ids, requests[..3]);
    let details = repeats.details.iter();
    let details: Vec<_> = details.map(|told| (&*told.detail, told.count)).collect();
    let (password, code) = (by(ADA, "Invalid password"), by(ADA, "Invalid MFA code"));
    assert_eq!(details, [(&*password, 1), (&*code, 1), (&*locks, 1)]);
}

/// Whoever has the password could lock the name first, to guess at fingerprints unnoticed.
#[tokio::test]
async fn a_right_password_that_is_refused_because_of_a_lock_is_told() {
    let site = Site::start().await;
    for _ in 0..3 {
        site.password(ADA, "wrong horse").await;
    }
    for password in ["wrong horse", PASSWORD, PASSWORD] {
        let body = json!({ "username": ADA, "password": password, "fingerprint": "guess" });
        site.authenticate(body).await.is(401);
    }
    let events = told(&site, "6").await;
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    let details = event.repeats.as_ref().unwrap().details.iter();
    let locked = format!(
        "type 6: Failed authentication request from '{ADA}', Reason: Too many failed authentication requests"
    );
    let of_locked = details.filter(|told| told.detail.starts_with(&locked));
    let of_locked: Vec<_> = of_locked.map(|told| (&*told.detail, told.count)).collect();
    let right = format!("{locked}. The password is right");
    assert_eq!(of_locked, [(&*locked, 1), (&*right, 2)]);
}

#[tokio::test]
async fn tokens_that_nobody_knows_are_type_6() {
    let site = Site::start().await;
    let unknown = "B".repeat(43);
    for body in [
        json!({ "mfa_token": unknown, "code": "1" }),
        json!({ "mfa_token": "x", "code": "1" }),
        json!({ "refresh_token": unknown }),
        json!({ "refresh_token": "x" }),
    ] {
        site.authenticate(body).await.is_empty(401);
        site.clock.advance(MILLISECOND);
    }
    let by = |reason: &str| format!("type 6: Failed authentication request, Reason: {reason}");
    assert_eq!(
        details(&told(&site, "6").await),
        [
            by("Invalid or expired MFA token"),
            by("Invalid or expired MFA token"),
            by("Invalid refresh token"),
            by("Invalid refresh token"),
        ]
    );
}

/// A refusal contains whether the code was checked: while a user is locked, the right code is refused too.
#[tokio::test]
async fn refusals_of_a_session_say_why() {
    const LOCKS: &str = "Invalid password. Too many failed authentication requests";
    const UNJUDGED: &str = "Too many failed authentication requests";
    let site = Site::start().await;
    let id = site.pending(ADA).await;
    let token = site.token(ADA).await;
    let key = format!("/api/v1/user/mfa/{id}");
    let activate = |code: &str| {
        let body = json!({ "status": { "id": 1 }, "code": code });
        site.patch(&key, &body).bearer(&token)
    };
    let enrol = |password: &str| {
        let body = json!({ "type": { "id": 0 }, "password": password });
        site.post("/api/v1/user/mfa", &body).bearer(&token)
    };
    let change = json!({ "old_password": PASSWORD, "new_password": "another horse" });
    let mut requests = Vec::new();
    for (call, status, reason) in [
        (activate("abc"), 422, "Invalid MFA code"),
        (enrol("wrong"), 422, "Invalid password"),
        (enrol("wrong"), 429, LOCKS),
        (enrol(PASSWORD), 429, UNJUDGED),
        (activate("abc"), 429, UNJUDGED),
        (
            site.patch("/api/v1/user/password", &change).bearer(&token),
            429,
            UNJUDGED,
        ),
    ] {
        let answer = call.send().await;
        let request = answer.is(status).header("x-request-id").to_owned();
        requests.push((Some(request), Some(reason.to_owned())));
        site.clock.advance(MILLISECOND);
    }
    let events = site.events().await.into_iter();
    let refused = events.filter(|event| event.outcome == Outcome::Refused);
    let mut told = Vec::new();
    for event in refused {
        match event.repeats {
            None => told.push((event.request_id, event.detail)),
            Some(Repeats {
                request_ids,
                details,
                ..
            }) => {
                // Each of them has its own reason.
                let details = details.into_iter().map(|told| Some(told.detail));
                told.extend(request_ids.into_iter().map(Some).zip(details));
            }
        }
    }
    told.sort();
    requests.sort();
    assert_eq!(told, requests);
}

#[tokio::test]
async fn failed_logins_of_applications_are_type_7() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let path = "/api/v1/application_token";
    let mut texts = vec!["A".repeat(43)];
    for body in [
        json!({ "ip": "192.0.2.1/32" }),
        json!({ "expiry_date": "2020-01-01" }),
        json!({}),
    ] {
        texts.push(site.application_token(&token, &body).await);
        site.clock.advance(MILLISECOND);
    }
    let listed = site.get(path).send_as(&token).await.json;
    let revoke = json!({ "status": { "id": 1 } });
    let revoked = site.patch(&format!("{path}/{}", listed[2]["id"]), &revoke);
    revoked.send_as(&token).await.is_empty(204);
    for text in texts {
        let body = json!({ "application_token": text });
        site.post(AUTHENTICATE, &body).send().await.is_empty(401);
        site.clock.advance(MILLISECOND);
    }
    let events = told(&site, "7").await;
    let by = |reason: &str| format!("type 7: Failed authentication request, Reason: {reason}");
    assert_eq!(
        details(&events),
        [
            by("TokenStatus Unknown"),
            by("IP not allowed"),
            by("TokenStatus Expired"),
            by("TokenStatus Revoked"),
        ]
    );
    assert_eq!(
        events[3].target,
        format!("application_token/{}", listed[2]["id"])
    );
}

async fn done(site: &Site, action: &str) -> Vec<Event> {
    let mut events = site.named_events().await;
    events.retain(|event| event.action == action && event.outcome == Outcome::Done);
    events
}

fn id(answer: &Answer) -> Option<String> {
    Some(answer.is(200).header("x-request-id").to_owned())
}

#[tokio::test]
async fn logins_of_applications_are_told() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let path = "/api/v1/application_token";
    let text = site.application_token(&token, &json!({})).await;
    let listed = site.get(path).send_as(&token).await.json;
    let login = async || {
        let body = json!({ "application_token": text });
        id(&site.post(AUTHENTICATE, &body).send().await)
    };
    let mut requests = [login().await, login().await];
    let events = done(&site, "application.authenticate").await;
    let mut told: Vec<_> = events
        .iter()
        .map(|event| event.request_id.clone())
        .collect();
    told.sort();
    requests.sort();
    assert_eq!(told, requests);
    for event in events {
        let number = &listed[0]["id"];
        assert_eq!(event.who, format!("user:{ADA}/application_token:{number}"));
        assert!(
            event
                .target
                .ends_with(&format!("/application_token/{number}"))
        );
    }
}

#[tokio::test]
async fn refreshes_of_a_login_are_one_event_an_hour() {
    let site = Site::start().await;
    let ada = site.password(ADA, PASSWORD).await.text("refresh_token");
    let twin = site.password(ADA, PASSWORD).await.text("refresh_token");
    let refresh = async |token: &str| {
        let answer = site.authenticate(json!({ "refresh_token": token })).await;
        site.clock.advance(MILLISECOND);
        id(&answer)
    };
    let first = refresh(&ada).await;
    refresh(&ada).await;
    let last = refresh(&ada).await;
    refresh(&twin).await;
    let events = done(&site, "refresh_token.use").await;
    let mut counts: Vec<_> = events.iter().map(Event::count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3], "each login has its own");
    let several = events.iter().find(|event| event.count() == 3).unwrap();
    let repeats = several.repeats.as_ref().unwrap();
    assert_eq!(
        (&several.request_id, &repeats.last_request_id),
        (&first, &last)
    );
    assert_eq!(several.who, format!("user:{ADA}"));
    assert!(several.target.contains("/session/"), "{several:?}");
    site.clock.advance(Duration::from_secs(60 * 60));
    refresh(&ada).await;
    assert_eq!(done(&site, "refresh_token.use").await.len(), 3);
}

/// No request waits for all the others, and each has its event.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_refreshes_at_once_are_all_answered_and_told() {
    let site = Arc::new(Site::start().await);
    let ada = site.password(ADA, PASSWORD).await.text("refresh_token");
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let (site, ada) = (Arc::clone(&site), ada.clone());
            tokio::spawn(async move { site.authenticate(json!({ "refresh_token": ada })).await })
        })
        .collect();
    for answer in answers {
        answer.await.unwrap().is(200);
    }
    let events = done(&site, "refresh_token.use").await;
    assert_eq!(events.iter().map(Event::count).sum::<u64>(), 100);
}

#[tokio::test]
async fn keys_deleted_and_devices_trusted_are_type_14() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let body = json!({
        "mfa_token": site.challenge(ADA).await,
        "code": ada.phone.shows(site.now()),
        "trusted_device": {
            "fingerprint": "f", "operating_system": "Debian\n12", "browser": "Firefox",
        },
    });
    site.authenticate(body).await.is(200);
    let bob = site.token(BOB).await;
    let hers = site.number(ADA, &bob).await;
    site.clock.advance(MILLISECOND);
    let key = format!("/api/v1/user/{hers}/mfa/{}", ada.id);
    site.delete(&key).send_as(&bob).await.is_empty(204);
    let events = told(&site, "14").await;
    assert_eq!(
        details(&events),
        [
            format!(
                r#"type 14: New trusted device registered for user {ADA} (operating system "Debian\n12", browser "Firefox")"#
            ),
            format!(
                "type 14: MFA key with Id '{}' of Type 'Time-Based One-Time Password' deleted for user '{ADA}' \
                 (with 1 trusted devices, 0 recovery codes)",
                ada.id
            ),
        ]
    );
    assert_eq!(events[0].who, format!("user:{ADA}"));
    assert_eq!(events[1].who, format!("user:{BOB}"));
}

#[tokio::test]
async fn a_used_recovery_code_is_told() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let path = "/api/v1/user/my/mfa/recovery_codes";
    let made = site.post(path, &json!({ "password": PASSWORD }));
    let made = made.send_as(&ada.token).await;
    let code = made.is(200).json["codes"][0].clone();
    let body = json!({ "mfa_token": site.challenge(ADA).await, "code": code });
    let answer = site.authenticate(body).await;
    let mut events = site.events().await.into_iter();
    let id = Some(answer.is(200).header("x-request-id").to_owned());
    let used = events.find(|event| event.request_id == id).unwrap();
    assert_eq!(used.action, "user.authenticate");
    assert_eq!(
        used.detail.as_deref(),
        Some("by password and recovery code, of which 9 are left")
    );
}
