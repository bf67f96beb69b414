//! What is refused, with which message, and in which order.

use std::time::Duration;

use http::header;
use keyproof_service::{
    accounts::{Role, UserChange},
    audit::Outcome,
};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, BOB, PASSWORD},
    site::{Answer, Site},
};

const PATHS: [(&str, &str); 7] = [
    ("PATCH", "/api/v1/user/mfa/ID"),
    ("DELETE", "/api/v1/user/my/mfa/ID"),
    ("DELETE", "/api/v1/user/ID/mfa/1"),
    ("GET", "/api/v1/user/ID/mfa/trusted_device"),
    ("DELETE", "/api/v1/user/ID/mfa/trusted_device/1"),
    ("DELETE", "/api/v1/user/mfa/trusted_device/ID"),
    ("PATCH", "/api/v1/application_token/ID"),
];

#[tokio::test]
async fn what_is_not_there_is_told_in_the_contracts_words() {
    let site = Site::start().await;
    let bob = site.token(BOB).await;
    // As it was requested, but without a zero fraction.
    for (asked, shown) in [
        ("27", "27"),
        ("27.0", "27"),
        ("-1", "-1"),
        ("16777216", "16777216"),
        ("4294967323", "4294967323"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        let messages = [
            format!("MFA Key with Id '{shown}' not found."),
            format!("MFA Key with id '{shown}' not found"),
            format!("User with Id '{shown}' not found."),
            format!("User with Id '{shown}' not found."),
            format!("User with Id '{shown}' not found."),
            format!("Trusted Device with Id '{shown}' not found"),
            format!("Application Token with Id '{shown}' not found."),
        ];
        for ((method, path), message) in PATHS.iter().zip(messages) {
            let call = site.call(method, &path.replace("ID", asked));
            let answer = call.body("{").send_as(&bob).await;
            answer.says(404, 1401, "InvalidReference", &message);
        }
        let user = site.get(&format!("/api/v1/user/{asked}")).bearer(&bob);
        let message = format!("User with id '{shown}' not found");
        user.send()
            .await
            .says(404, 1401, "InvalidReference", &message);
    }
}

#[tokio::test]
async fn what_is_no_number_is_no_id() {
    let site = Site::start().await;
    let bob = site.token(BOB).await;
    for asked in [
        "",
        "None",
        "27.5",
        "27.",
        "1e400",
        "+1",
        "0x1b",
        "9223372036854775808",
        "99999999999999999999999999999999999999",
    ] {
        let message = format!("Cannot parse parameter id as Long: For input string: \"{asked}\"");
        for (method, path) in PATHS {
            let call = site.call(method, &path.replace("ID", asked));
            let answer = call.body("{").send_as(&bob).await;
            answer.says(400, 1000, "BadRequest", &message);
        }
    }
}

#[tokio::test]
async fn permission_comes_before_existence_and_that_before_the_body() {
    let site = Site::start().await;
    site.add("otto", "Example Org", Role::Observer).await;
    let otto = site.token("otto").await;
    let ada = site.enrol(ADA).await;
    let application = site.application_token(&ada.token, &json!({})).await;
    let application = site
        .authenticate(json!({ "application_token": application }))
        .await
        .is(200)
        .text("auth_token");
    for (token, method, path, status, code) in [
        (&otto, "POST", "application_token", 403, 1104),
        (&otto, "PATCH", "application_token/5", 403, 1104),
        (&otto, "DELETE", "user/5/mfa/1", 403, 1104),
        (&otto, "DELETE", "user/5/mfa/trusted_device/1", 403, 1104),
        (&otto, "GET", "user/5/mfa/trusted_device", 403, 1104),
        (&application, "POST", "application_token", 403, 1104),
        (&application, "PATCH", "application_token/5", 403, 1104),
        (&application, "POST", "user/mfa", 403, 1104),
        (&application, "PATCH", "user/mfa/5", 403, 1104),
        (&application, "DELETE", "user/my/mfa/5", 403, 1104),
        (&application, "GET", "user/my/mfa/trusted_device", 403, 1104),
        (
            &application,
            "DELETE",
            "user/mfa/trusted_device/5",
            403,
            1104,
        ),
        (
            &application,
            "POST",
            "user/my/mfa/recovery_codes",
            403,
            1104,
        ),
        (&application, "PATCH", "user/password", 403, 1104),
        (&ada.token, "PATCH", "application_token/5", 404, 1401),
        (&ada.token, "PATCH", "user/mfa/5", 404, 1401),
        // The state is checked before the body.
        (&ada.token, "POST", "user/mfa", 409, 1405),
        (&otto, "POST", "user/my/mfa/recovery_codes", 422, 1406),
        (&ada.token, "POST", "application_token", 400, 1000),
        (&ada.token, "POST", "user/my/mfa/recovery_codes", 400, 1000),
        (&ada.token, "PATCH", "user/password", 400, 1000),
        (&otto, "POST", "user/mfa", 400, 1000),
    ] {
        let call = site.call(method, &format!("/api/v1/{path}")).body("{");
        let answer = call.send_as(token).await;
        if status == 403 {
            let id = answer.header("x-request-id").to_owned();
            let events = site.named_events().await.into_iter();
            let told: Vec<_> = events
                .filter(|event| event.request_id.as_ref() == Some(&id))
                .map(|event| (event.outcome, event.who))
                .collect();
            let who = if std::ptr::eq(token, &raw const application) {
                format!("user:{ADA}/application_token:")
            } else {
                "user:otto".to_owned()
            };
            assert_eq!(told.len(), 1, "{method} {path}");
            assert_eq!(told[0].0, Outcome::Refused);
            assert!(told[0].1.starts_with(&who), "{told:?}");
        }
        assert_eq!(
            (answer.status.as_u16(), &answer.json["error_code"]),
            (status, &json!(code)),
            "{method} {path}"
        );
    }
    let active = format!("/api/v1/user/mfa/{}", ada.id);
    let call = site.call("PATCH", &active).body("{").bearer(&ada.token);
    call.send()
        .await
        .says(409, 1405, "Duplicated", "MFA already activated");
}

#[tokio::test]
async fn hostile_json_is_refused_and_counts_for_nothing() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let token = site.challenge(ADA).await;
    let password = format!(r#""username":"{ADA}","password":"wrong horse""#);
    let code = format!(r#""mfa_token":"{token}","code":"000000""#);
    let deep = |json: &str| format!("{}{json}{}", r#"{"a":"#.repeat(2_000), "}".repeat(2_000));
    for body in [
        format!(r#"{{{password},"password":"{PASSWORD}"}}"#),
        format!(r#"{{{password},"usern\u0061me":"{ADA}"}}"#),
        format!(r#"{{{code},"code":"111111"}}"#),
        format!(r#"{{{code},"trusted_device":{{"fingerprint":"a","fingerprint":"b"}}}}"#),
        format!(r#"{{{code},"more":1e400}}"#),
        format!(r#"{{{code},"more":{}}}"#, deep("1")),
        format!(r#"{{{code}}} "#) + "{}",
        format!(r#"{{"mfa_token":"{token}","code":1e400}}"#),
        format!(r#"{{"mfa_token":"{token}","code":-1}}"#),
        format!(r#"{{"mfa_token":"{token}","code":["000000"]}}"#),
        r#"{"mfa_token":{"a":1},"code":"000000"}"#.to_owned(),
        format!("\u{feff}{{{code}}}"),
    ] {
        let answer = site.call("POST", AUTHENTICATE).body(body).send().await;
        answer.refuses(400, 1000, "");
        assert_eq!(answer.json["error_token"], "BadRequest");
    }
    for body in [
        r#"{"status":{"id":1,"id":1},"code":"000000"}"#.to_owned(),
        r#"{"status":{"id":1e400},"code":"000000"}"#.to_owned(),
        deep("1"),
    ] {
        let path = format!("/api/v1/user/mfa/{}", site.pending(BOB).await);
        let call = site.call("PATCH", &path).body(body);
        let bob = site.token(BOB).await;
        call.send_as(&bob).await.refuses(400, 1000, "");
    }
    // Neither of them is locked.
    let right = json!({ "mfa_token": token, "code": ada.phone.shows(site.now()) });
    site.authenticate(right).await.is(200);
    site.password(BOB, PASSWORD).await.is(200);
}

#[tokio::test]
async fn null_is_absent_everywhere() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let post = async |path: &str, body: Value| site.post(path, &body).send_as(&token).await;
    let keys = "/api/v1/user/mfa";
    for (body, field) in [
        (json!({ "type": null, "password": PASSWORD }), "type"),
        (
            json!({ "type": { "id": null }, "password": PASSWORD }),
            "type",
        ),
        (json!({ "type": { "id": 0 }, "password": null }), "password"),
    ] {
        let message = format!("MFA key - {field} is required");
        post(keys, body).await.says(422, 1402, "Required", &message);
    }
    let body = json!({ "type": { "id": 0 }, "password": PASSWORD, "more": null });
    let key = post(keys, body).await.is(200).json["id"].clone();
    let path = format!("{keys}/{key}");
    for (body, field) in [
        (json!({ "status": null, "code": "1" }), "status"),
        (json!({ "status": { "id": null }, "code": "1" }), "status"),
        (
            json!({ "status": { "id": 1, "code": null }, "code": null }),
            "code",
        ),
    ] {
        let answer = site.patch(&path, &body).send_as(&token).await;
        answer.says(
            422,
            1402,
            "Required",
            &format!("MFA key - {field} is required"),
        );
    }
    let body = json!({ "description": null, "expiry_date": null, "ip": null });
    post("/api/v1/application_token", body).await.is(200);
    let listed = site.get("/api/v1/application_token").send_as(&token).await;
    let token_id = listed.is(200).json[0]["id"].clone();
    let names: Vec<_> = listed.json[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["created", "creator", "id", "status"]);
    let path = format!("/api/v1/application_token/{token_id}");
    let body = json!({ "description": null, "status": null });
    site.patch(&path, &body).send_as(&token).await.is_empty(204);
}

/// Returns everything of an answer except what differs with every request.
fn look(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let headers = answer.headers.iter();
    let headers = headers
        .filter(|(name, _)| **name != header::DATE && name.as_str() != "x-request-id")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (
        answer.status.as_u16(),
        headers.collect(),
        answer.body.to_vec(),
    )
}

#[tokio::test]
async fn nobody_looks_like_somebody_with_another_password() {
    let site = Site::start().await;
    site.enrol(ADA).await;
    site.change(BOB, UserChange::Suspend).await;
    for attempt in 1..=4 {
        let wrong = look(&site.password(ADA, "wrong horse").await);
        assert_eq!(wrong.0, 401);
        assert_eq!(wrong.2.is_empty(), attempt < 3);
        for (name, password) in [
            ("nobody@example.org", "wrong horse"),
            (BOB, "wrong horse"),
            // Names are case-sensitive.
            ("Ada@example.org", PASSWORD),
            ("b", PASSWORD),
        ] {
            let other = look(&site.password(name, password).await);
            assert_eq!(other, wrong, "attempt {attempt} of {name}");
        }
        let device = json!({ "username": "c", "password": "d", "fingerprint": "e" });
        assert_eq!(look(&site.authenticate(device).await), wrong);
    }
    site.clock.advance(Duration::from_secs(300));
    assert!(site.password(BOB, PASSWORD).await.body.is_empty());
}
