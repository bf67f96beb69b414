//! What a session may change, and what an activation ends.

use std::time::Duration;

use keyproof_service::audit::{Event, Outcome};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, BOB, PASSWORD},
    site::{Call, Site},
};

const TOKENS: &str = "/api/v1/application_token";

/// Logs in from a device that is trusted from now on.
async fn from_laptop(site: &Site) -> String {
    let body = json!({ "username": ADA, "password": PASSWORD, "fingerprint": "laptop" });
    site.authenticate(body).await.is(200).text("auth_token")
}

/// Returns all requests that change keys, devices, recovery codes, passwords and application tokens; the last two succeed.
fn deciding(site: &Site, key: u64) -> Vec<Call> {
    let password = json!({ "old_password": PASSWORD, "new_password": "another horse" });
    let enrolment = json!({ "type": { "id": 0 }, "password": PASSWORD });
    let activation = json!({ "status": { "id": 1 }, "code": "123456" });
    vec![
        site.post("/api/v1/user/mfa", &enrolment),
        site.patch(&format!("/api/v1/user/mfa/{key}"), &activation),
        site.delete("/api/v1/user/my/mfa/trusted_device/1"),
        site.delete("/api/v1/user/mfa/trusted_device/1"),
        site.post(
            "/api/v1/user/my/mfa/recovery_codes",
            &json!({ "password": PASSWORD }),
        ),
        // Permission is checked before existence, and before the body.
        site.post("/api/v1/user/my/mfa/recovery_codes", &Value::Null),
        site.patch("/api/v1/user/password", &Value::Null),
        site.post(TOKENS, &Value::Null),
        site.patch(&format!("{TOKENS}/5"), &json!({ "status": { "id": 1 } })),
        site.post(TOKENS, &json!({})),
        site.delete(&format!("/api/v1/user/my/mfa/{key}")),
        site.patch("/api/v1/user/password", &password),
    ]
}

#[tokio::test]
async fn a_token_of_before_an_activation_is_worth_nothing_after_it() {
    let site = Site::start().await;
    let old = site.password(ADA, PASSWORD).await;
    let ada = site.enrol(ADA).await;
    let token = old.is(200).text("auth_token");
    for call in deciding(&site, ada.id) {
        call.send_as(&token).await.refuses(401, 1102, "");
    }
    site.users(&token).await.refuses(401, 1102, "");
    let refresh = json!({ "refresh_token": old.text("refresh_token") });
    site.authenticate(refresh).await.is_empty(401);
    // The session that did it stays valid.
    site.users(&ada.token).await.is(200);
    site.delete(&format!("/api/v1/user/my/mfa/{}", ada.id))
        .send_as(&ada.token)
        .await
        .is_empty(204);
    site.users(&token).await.refuses(401, 1102, "");
}

#[tokio::test]
async fn a_token_that_expires_while_the_body_arrives_changes_nothing() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let second = Duration::from_secs(1);
    site.clock.advance(Duration::from_secs(240 * 60) - second);
    let call = site.post(TOKENS, &json!({ "description": "late" }));
    let passes = async { site.clock.advance(second) };
    let late = call.bearer(&token).send_late(passes).await;
    let expired = "the token has expired";
    late.says(401, 1103, "TokenExpired", expired);
    let next = site.users(&token).await;
    next.says(401, 1103, "TokenExpired", expired);
    let fresh = site.token(ADA).await;
    let listed = site.get(TOKENS).send_as(&fresh).await;
    assert_eq!(listed.is(200).json, json!([]));
}

#[tokio::test]
async fn application_tokens_outlive_an_activation() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let made = site.application_token(&token, &json!({})).await;
    let log_in = json!({ "application_token": made });
    let access = site.authenticate(log_in.clone()).await.text("auth_token");
    site.enrol(ADA).await;
    site.users(&access).await.is(200);
    site.authenticate(log_in).await.is(200);
}

#[tokio::test]
async fn a_session_that_has_shown_no_factor_decides_nothing() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let both = site.trusting(ADA, &ada.phone, "laptop").await;
    let shown = both.text("auth_token");
    let device = from_laptop(&site).await;
    for call in deciding(&site, ada.id) {
        let refused = call.send_as(&device).await;
        refused.refuses(403, 1104, "second factor");
    }
    // It may still read.
    let devices = "/api/v1/user/my/mfa/trusted_device";
    for path in ["/api/v1/user", TOKENS, devices] {
        site.get(path).send_as(&device).await.is(200);
    }
    // Refreshed tokens have the same factor as the login.
    let refresh = json!({ "refresh_token": both.text("refresh_token") });
    let fresh = site.authenticate(refresh).await.text("auth_token");
    assert_ne!(fresh, shown);
    for call in deciding(&site, ada.id).into_iter().skip(9).take(2) {
        let done = call.send_as(&fresh).await;
        assert!(done.status.is_success(), "{done:?}");
    }
    // Without a key there is no factor. The session that had none ended with the key.
    let add = async |token: &str| site.post(TOKENS, &json!({})).send_as(token).await;
    add(&fresh).await.is(200);
    add(&device).await.refuses(401, 1102, "");
}

#[tokio::test]
async fn a_removal_ends_every_token_but_its_own() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let shown = site.trusting(ADA, &ada.phone, "laptop").await;
    let shown = shown.text("auth_token");
    let device = from_laptop(&site).await;
    let key = format!("/api/v1/user/my/mfa/{}", ada.id);
    let removed = site.delete(&key).send_as(&ada.token).await;
    removed.is_empty(204);
    for token in [&shown, &device] {
        for call in deciding(&site, ada.id) {
            call.send_as(token).await.refuses(401, 1102, "");
        }
    }
    site.users(&ada.token).await.is(200);
    // An administrator's own token is not one of hers.
    let ada = site.enrol(ADA).await;
    let bob = site.token(BOB).await;
    let hers = site.number(ADA, &bob).await;
    let key = format!("/api/v1/user/{hers}/mfa/{}", ada.id);
    site.delete(&key).send_as(&bob).await.is_empty(204);
    site.users(&ada.token).await.refuses(401, 1102, "");
    site.users(&bob).await.is(200);
}

#[tokio::test]
async fn what_a_session_without_a_factor_is_refused_is_told() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    site.trusting(ADA, &ada.phone, "laptop").await;
    let device = from_laptop(&site).await;
    let mut refused = Vec::new();
    for call in deciding(&site, ada.id) {
        let answer = call.send_as(&device).await;
        refused.push(answer.is(403).header("x-request-id").to_owned());
    }
    let events = site.events().await;
    for id in refused {
        let of_it = |event: &&Event| event.request_id.as_ref() == Some(&id);
        let event = events.iter().find(of_it).expect("its event");
        assert_eq!(event.outcome, Outcome::Refused);
        let why = event.detail.as_deref();
        assert_eq!(why, Some("the session has shown no second factor"));
    }
}

#[tokio::test]
async fn an_administrator_with_a_key_shows_it_before_managing_others() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let bob = site.enrol(BOB).await;
    let hers = site.number(ADA, &bob.token).await;
    let shown = site.trusting(BOB, &bob.phone, "desk").await;
    let shown = shown.text("auth_token");
    let body = json!({ "username": BOB, "password": PASSWORD, "fingerprint": "desk" });
    let device = site.authenticate(body).await.is(200).text("auth_token");
    let key = format!("/api/v1/user/{hers}/mfa/{}", ada.id);
    site.delete(&key)
        .send_as(&device)
        .await
        .refuses(403, 1104, "second factor");
    site.delete(&key).send_as(&shown).await.is_empty(204);
}

#[tokio::test]
async fn recovery_codes_cost_a_code_but_once_the_token_that_activated() {
    let site = Site::start().await;
    let path = "/api/v1/user/my/mfa/recovery_codes";
    let ada = site.enrol(ADA).await;
    let make = async |token: &str, code: Value| {
        let body = json!({ "password": PASSWORD, "code": code });
        site.post(path, &body).send_as(token).await
    };
    let shown = site.trusting(ADA, &ada.phone, "laptop").await;
    let shown = shown.text("auth_token");
    site.clock.advance(Duration::from_secs(30));
    let required = "Recovery codes - code is required";
    make(&shown, Value::Null)
        .await
        .says(422, 1402, "Required", required);
    let first = make(&ada.token, Value::Null).await;
    let first = first.is(200).json["codes"].clone();
    make(&ada.token, Value::Null)
        .await
        .says(422, 1402, "Required", required);

    // A trusted device is not enough, even with a code.
    let device = from_laptop(&site).await;
    let code = ada.phone.shows(site.now());
    let refused = make(&device, code.clone().into()).await;
    refused.refuses(403, 1104, "second factor");

    let mismatch = "Recovery codes validation error: Code did not match!";
    let never = ada.phone.never_shows(site.now());
    let wrong = make(&shown, never.clone().into()).await;
    wrong.says(422, 1400, "InputValidationFailed", mismatch);
    make(&shown, code.clone().into()).await.is(200);
    // The code is spent, which is not counted. A code of the former list is no code any more, which is counted.
    for _ in 0..3 {
        let spent = make(&shown, code.clone().into()).await;
        spent.says(422, 1400, "InputValidationFailed", mismatch);
    }
    let body = json!({ "mfa_token": site.challenge(ADA).await, "code": code });
    site.authenticate(body).await.is_empty(401);
    let replaced = make(&shown, first[0].clone()).await;
    replaced.says(422, 1400, "InputValidationFailed", mismatch);
    make(&shown, never.clone().into()).await.is(422);
    make(&shown, never.into()).await.refuses(429, 1105, "");
}

#[tokio::test]
async fn the_token_that_activated_may_leave_the_code_out_for_five_minutes() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    // One step has passed already.
    site.clock.advance(Duration::from_secs(5 * 60 - 30));
    let body = json!({ "password": PASSWORD });
    let path = "/api/v1/user/my/mfa/recovery_codes";
    let late = site.post(path, &body).send_as(&ada.token).await;
    late.refuses(422, 1402, "code is required");
    let body = json!({ "password": PASSWORD, "code": ada.phone.shows(site.now()) });
    site.post(path, &body).send_as(&ada.token).await.is(200);
}
