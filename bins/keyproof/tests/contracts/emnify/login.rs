//! `POST authenticate`

use std::time::Duration;

use keyproof_service::accounts::UserChange;
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, PASSWORD, PASSWORD_SHA1},
    site::Site,
};

#[tokio::test]
async fn a_password_gives_both_tokens_in_every_spelling_of_it() {
    let site = Site::start().await;
    for password in [PASSWORD, PASSWORD_SHA1, &PASSWORD_SHA1.to_uppercase()] {
        let answer = site.password(ADA, password).await;
        let members = answer.is(200).json.as_object().unwrap();
        assert_eq!(
            members.keys().collect::<Vec<_>>(),
            ["auth_token", "refresh_token"]
        );
        let token = answer.text("auth_token");
        site.users(&token).await.is(200);
    }
    // The official client sends this with its first login.
    let body = json!({ "username": ADA, "password": PASSWORD });
    let none = site
        .post(AUTHENTICATE, &body)
        .header("authorization", "Bearer None");
    none.send().await.is(200);
}

#[tokio::test]
async fn wrong_credentials_of_any_kind_are_401_with_an_empty_body() {
    let site = Site::start().await;
    site.password(ADA, "wrong horse").await.is_empty(401);
    site.password("nobody@example.org", PASSWORD)
        .await
        .is_empty(401);
    site.password("", "").await.is_empty(401);
    for body in [
        json!({ "refresh_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" }),
        json!({ "refresh_token": "A".repeat(43) }),
        json!({ "application_token": "5cCI6IkpXVCJ9.." }),
        json!({ "application_token": "A".repeat(43) }),
        json!({ "mfa_token": "A".repeat(43), "code": "123456" }),
        json!({ "mfa_token": "", "code": "" }),
    ] {
        site.authenticate(body).await.is_empty(401);
    }
}

#[tokio::test]
async fn what_is_no_single_kind_of_credentials_is_400() {
    let site = Site::start().await;
    for body in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"username":"a"}"#,
        r#"{"username":"a","password":null}"#,
        r#"{"username":5,"password":"b"}"#,
        r#"{"username":"a","password":"b","refresh_token":"c"}"#,
        r#"{"application_token":"a","mfa_token":"b","code":"1"}"#,
        r#"{"mfa_token":"a"}"#,
        r#"{"code":"123456"}"#,
        r#"{"mfa_token":"a","code":"1","trusted_device":{"fingerprint":1}}"#,
    ] {
        let answer = site.call("POST", AUTHENTICATE).body(body).send().await;
        answer.refuses(400, 1000, "");
        assert_eq!(answer.json["error_token"], "BadRequest");
    }
    // Null means absent, and unknown members are ignored.
    let body = json!({
        "username": ADA, "password": PASSWORD, "refresh_token": null, "mfa_token": null, "more": [1],
    });
    site.authenticate(body).await.is(200);
}

#[tokio::test]
async fn a_code_is_asked_for_and_good_once() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let first = site.password(ADA, PASSWORD).await;
    let members = first.is(200).json.as_object().unwrap();
    assert_eq!(members.keys().collect::<Vec<_>>(), ["mfa_token"]);
    let second = site.challenge(ADA).await;
    let code = ada.phone.shows(site.now());
    let answer = async |token: &str, code: &str| {
        site.authenticate(json!({ "mfa_token": token, "code": code }))
            .await
    };
    let wrong = ada.phone.never_shows(site.now());
    answer(&second, &wrong).await.is_empty(401);
    let answered = answer(&first.text("mfa_token"), &code).await;
    let members = answered.is(200).json.as_object().unwrap();
    assert_eq!(
        members.keys().collect::<Vec<_>>(),
        ["auth_token", "refresh_token"]
    );
    answer(&first.text("mfa_token"), &code).await.is_empty(401);
    answer(&second, &code).await.is_empty(401);
    site.clock.advance(Duration::from_secs(30));
    let next = ada.phone.shows(site.now());
    // An earlier wrong code left the challenge open.
    answer(&second, &next).await.is(200);
    let third = site.challenge(ADA).await;
    site.clock.advance(Duration::from_secs(10 * 60));
    answer(&third, &ada.phone.shows(site.now()))
        .await
        .is_empty(401);
}

#[tokio::test]
async fn codes_are_padded_and_come_as_numbers_too() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let mut padded = false;
    // One code of ten begins with a zero.
    while !padded {
        let code = ada.phone.shows(site.now());
        let number: u32 = code.parse().unwrap();
        padded = number < 100_000;
        let token = site.challenge(ADA).await;
        let body = json!({ "mfa_token": token, "code": f64::from(number) });
        site.authenticate(body).await.is(200);
        site.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn three_failures_lock_for_five_minutes() {
    let site = Site::start().await;
    for name in [ADA, "nobody@example.org"] {
        site.password(name, "wrong horse").await.is_empty(401);
        site.password(name, "wrong horse").await.is_empty(401);
        let last = site.password(name, "wrong horse").await;
        last.refuses(401, 1105, "Too many");
        assert_eq!(last.json["error_token"], "TooManyRequests");
        site.clock.advance(Duration::from_secs(299));
        site.password(name, PASSWORD)
            .await
            .refuses(401, 1105, "Too many");
        site.clock.advance(Duration::from_secs(1));
    }
    site.password(ADA, PASSWORD).await.is(200);
    for _ in 0..3 {
        site.password(ADA, "wrong horse").await.is(401);
    }
    site.change(ADA, UserChange::Unlock).await;
    site.password(ADA, PASSWORD).await.is(200);
}

#[tokio::test]
async fn passwords_and_codes_are_counted_together_and_a_password_ends_no_count() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let token = site.challenge(ADA).await;
    let wrong = json!({ "mfa_token": token, "code": ada.phone.never_shows(site.now()) });
    site.authenticate(wrong.clone()).await.is_empty(401);
    site.password(ADA, "wrong horse").await.is_empty(401);
    site.challenge(ADA).await;
    site.authenticate(wrong.clone())
        .await
        .refuses(401, 1105, "");
    let right = json!({ "mfa_token": token, "code": ada.phone.shows(site.now()) });
    site.authenticate(right).await.refuses(401, 1105, "");
}

#[tokio::test]
async fn a_device_is_trusted_in_both_spellings_and_skips_the_code() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    for trust in [
        json!({ "fingerprint": "flat" }),
        json!({ "trusted_device": {
            "fingerprint": "whole", "operating_system": "Debian", "browser": "Firefox", "name": null,
        } }),
    ] {
        let mut body = trust.clone();
        body["mfa_token"] = site.challenge(ADA).await.into();
        body["code"] = ada.phone.shows(site.now()).into();
        site.authenticate(body).await.is(200);
        site.clock.advance(Duration::from_secs(30));
        let mut body = trust;
        body["username"] = ADA.into();
        body["password"] = PASSWORD.into();
        assert!(site.authenticate(body).await.is(200).json["refresh_token"].is_string());
    }
    let other = json!({ "username": ADA, "password": PASSWORD, "fingerprint": "other" });
    assert!(site.authenticate(other).await.is(200).json["mfa_token"].is_string());
    let trusted = json!({ "username": ADA, "password": PASSWORD, "fingerprint": "flat" });
    // A stranger who locks Ada's name does not lock her out on her trusted device.
    for _ in 0..3 {
        site.password(ADA, "wrong horse").await.is(401);
    }
    site.authenticate(trusted.clone()).await.is(200);
    site.clock.advance(Duration::from_secs(90 * 24 * 60 * 60));
    assert!(site.authenticate(trusted).await.is(200).json["mfa_token"].is_string());
}

#[tokio::test]
async fn what_is_said_of_a_device_refuses_no_right_code() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let answer = async |token: &str, device: &Value| {
        let mut body = device.clone();
        body["mfa_token"] = token.into();
        body["code"] = ada.phone.shows(site.now()).into();
        site.authenticate(body).await
    };
    let devices = async || {
        let path = "/api/v1/user/my/mfa/trusted_device";
        let listed = site.get(path).send_as(&ada.token).await;
        listed.is(200).json.clone()
    };
    // Without a fingerprint no device becomes trusted.
    for device in [
        json!({ "fingerprint": "" }),
        json!({ "trusted_device": { "fingerprint": "", "browser": "Firefox" } }),
        json!({ "trusted_device": { "fingerprint": null, "browser": "Firefox" } }),
        json!({ "trusted_device": {} }),
    ] {
        let token = site.challenge(ADA).await;
        answer(&token, &device).await.is(200);
        site.clock.advance(Duration::from_secs(30));
    }
    assert_eq!(devices().await, json!([]));
    for none in [
        json!({ "fingerprint": "" }),
        json!({ "trusted_device": { "fingerprint": null } }),
        json!({ "trusted_device": {} }),
    ] {
        let mut body = none;
        body["username"] = ADA.into();
        body["password"] = PASSWORD.into();
        assert!(site.authenticate(body).await.is(200).json["mfa_token"].is_string());
    }

    // Of each text 256 bytes are stored, in whole characters.
    let long = format!("x{}", "é".repeat(200));
    let device = json!({ "trusted_device": {
        "fingerprint": "f", "browser": long, "operating_system": long, "name": long,
    } });
    let token = site.challenge(ADA).await;
    answer(&token, &device).await.is(200);
    site.clock.advance(Duration::from_secs(30));
    let kept = format!("x{}", "é".repeat(127));
    let listed = devices().await;
    assert_eq!(listed[0]["browser"], kept);
    assert_eq!(listed[0]["operating_system"], kept);
    let trusted = json!({ "username": ADA, "password": PASSWORD, "fingerprint": "f" });
    assert!(site.authenticate(trusted).await.is(200).json["refresh_token"].is_string());

    // A fingerprint cannot be shortened, because it would be another device's. The code is not spent.
    let token = site.challenge(ADA).await;
    let device = json!({ "fingerprint": "f".repeat(1025) });
    let refused = answer(&token, &device).await;
    refused.refuses(400, 1000, "");
    answer(&token, &json!({ "fingerprint": "g" })).await.is(200);
}
