//! `user/mfa` and the paths below it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, BOB, PASSWORD, Phone},
    site::Site,
};

const KEYS: &str = "/api/v1/user/mfa";

fn enrolment() -> Value {
    json!({ "type": { "id": 0 }, "password": PASSWORD })
}

#[tokio::test]
async fn a_new_key_says_all_that_the_contract_says() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let answer = site.post(KEYS, &enrolment()).send_as(&token).await;
    let secret = answer.is(200).text("secret_key");
    assert_eq!(secret.len(), 32);
    let id = answer.json["id"].as_u64().unwrap();
    assert!((1..1 << 24).contains(&id));
    assert_eq!(
        answer.json,
        json!({
            "id": id,
            "status": { "id": 0, "description": "Activation Pending" },
            "type": { "id": 0, "description": "Time-Based One-Time Password" },
            "secret_key": secret,
            "otpauth": format!(
                "otpauth://totp/Example%20Org:{ADA}?secret={secret}&issuer=Example%20Org&digits=6&period=30"
            ),
            "creation_date": "2023-11-14T22:13:30.000Z",
        })
    );
    // A second pending key replaces it. Numbers may have a zero fraction.
    let body = json!({ "type": { "id": 0.0 }, "password": PASSWORD });
    let second = site.post(KEYS, &body).send_as(&token).await;
    assert_ne!(second.is(200).text("secret_key"), secret);
    let old = site.patch(
        &format!("{KEYS}/{id}"),
        &json!({ "status": { "id": 1 }, "code": "123456" }),
    );
    old.send_as(&token)
        .await
        .refuses(404, 1401, &format!("MFA Key with Id '{id}' not found."));
}

#[tokio::test]
async fn what_is_wrong_with_an_enrolment_is_told() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let post = async |body: Value| site.post(KEYS, &body).send_as(&token).await;
    post(json!({ "password": PASSWORD }))
        .await
        .refuses(422, 1402, "type is required");
    post(json!({ "type": {}, "password": PASSWORD }))
        .await
        .refuses(422, 1402, "type");
    post(json!({ "type": { "id": 0 } }))
        .await
        .refuses(422, 1402, "password is required");
    post(json!({ "type": { "id": 7 }, "password": PASSWORD }))
        .await
        .refuses(422, 1400, "");
    post(json!({ "type": 0, "password": PASSWORD }))
        .await
        .refuses(400, 1000, "");
    let wrong = json!({ "type": { "id": 0 }, "password": "wrong horse" });
    for _ in 0..2 {
        assert_eq!(
            post(wrong.clone()).await.is(422).json,
            json!({
                "error_code": 1400,
                "error_token": "InputValidationFailed",
                "message": "MFA key validation error",
                "errors": [{
                    "error_code": 1400,
                    "error_token": "InputValidationFailed",
                    "message": format!("Wrong Password for User '{ADA}'"),
                }],
            })
        );
    }
    // Counted in the session, independently of logins.
    let locked = post(wrong).await;
    locked.refuses(429, 1105, "");
    assert_eq!(locked.header("retry-after"), "300");
    site.password(ADA, PASSWORD).await.is(200);
    let malformed = site.call("POST", KEYS).body("{").send_as(&token).await;
    malformed.refuses(400, 1000, "");
    site.clock.advance(Duration::from_secs(300));
    post(enrolment()).await.is(200);
}

#[tokio::test]
async fn a_key_is_activated_by_a_code_in_every_shape() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let shapes: [fn(&str) -> Value; 4] = [
        |code| json!({ "status": { "id": 1 }, "code": code }),
        |code| json!({ "status": { "id": 1.0, "code": code.parse::<f64>().unwrap() } }),
        |code| json!({ "status": { "id": 1, "code": code.parse::<u32>().unwrap() } }),
        |code| json!({ "status": { "id": 1 }, "code": code.parse::<u32>().unwrap() }),
    ];
    for shape in shapes {
        let key = site.post(KEYS, &enrolment()).send_as(&token).await;
        let phone = Phone::of(&key.is(200).text("secret_key"));
        let id = &key.json["id"];
        let path = format!("{KEYS}/{id}");
        let activate = async |body: Value| site.patch(&path, &body).send_as(&token).await;
        let now = site.now();
        activate(shape(&phone.never_shows(now))).await.refuses(
            422,
            1400,
            "MFA key validation error: Code did not match!",
        );
        activate(json!({ "status": { "id": 2 }, "code": "1" }))
            .await
            .refuses(422, 1400, "");
        activate(json!({ "status": { "id": 1 } }))
            .await
            .refuses(422, 1402, "code");
        activate(json!({ "code": "1" }))
            .await
            .refuses(422, 1402, "status");
        activate(shape(&phone.shows(now))).await.is_empty(204);
        activate(shape(&phone.shows(now)))
            .await
            .refuses(409, 1405, "MFA already activated");
        site.post(KEYS, &enrolment()).send_as(&token).await.refuses(
            409,
            1405,
            "MFA already activated",
        );
        // The code that activated the key is spent for logins too.
        let challenge = site.challenge(ADA).await;
        let spent = json!({ "mfa_token": challenge, "code": phone.shows(now) });
        site.authenticate(spent).await.is_empty(401);
        let own = format!("/api/v1/user/my/mfa/{id}.0");
        site.delete(&own).send_as(&token).await.is_empty(204);
        site.delete(&own).send_as(&token).await.refuses(
            404,
            1401,
            &format!("MFA Key with id '{id}' not found"),
        );
    }
}

#[tokio::test]
async fn existence_comes_before_the_body_and_ids_are_numbers() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    for (path, status, code) in [
        ("/api/v1/user/mfa/27", 404, 1401),
        ("/api/v1/user/mfa/27.0", 404, 1401),
        ("/api/v1/user/mfa/16777217", 404, 1401),
        ("/api/v1/user/mfa/None", 400, 1000),
        ("/api/v1/user/mfa/27.5", 400, 1000),
    ] {
        let answer = site.call("PATCH", path).body("{").send_as(&token).await;
        answer.refuses(status, code, "");
    }
    let answer = site.delete("/api/v1/user/None/mfa/1").send_as(&token).await;
    answer.refuses(400, 1000, "Cannot parse parameter id as Long");
    let method = site.delete("/api/v1/user/mfa/27").send_as(&token).await;
    assert_eq!(method.is(405).header("allow"), "PATCH");
}

#[tokio::test]
async fn statuses_and_types_are_those_of_the_contract() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let get = async |path: &str| site.get(path).send_as(&token).await;
    assert_eq!(
        get("/api/v1/user/mfa/status").await.is(200).json,
        json!([
            { "id": 0, "description": "Activation Pending" },
            { "id": 1, "description": "Active" },
        ])
    );
    assert_eq!(
        get("/api/v1/user/mfa/type").await.is(200).json,
        json!([{ "id": 0, "description": "Time-Based One-Time Password" }])
    );
    // The types belong to nobody, but an application may not access anything below this path.
    let made = site.application_token(&token, &json!({})).await;
    let log_in = json!({ "application_token": made });
    let access = site.authenticate(log_in).await.is(200).text("auth_token");
    for path in ["/api/v1/user/mfa/status", "/api/v1/user/mfa/type"] {
        let told = site.get(path).send_as(&access).await;
        told.refuses(403, 1104, "");
    }
}

#[tokio::test]
async fn devices_are_listed_and_removed_one_by_one() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let body = json!({
        "mfa_token": site.challenge(ADA).await,
        "code": ada.phone.shows(site.now()),
        "trusted_device": { "fingerprint": "f", "operating_system": "Debian", "browser": "Firefox" },
    });
    let fresh = site.authenticate(body).await.is(200).text("auth_token");
    let paths = [
        "/api/v1/user/my/mfa/trusted_device",
        "/api/v1/user/mfa/trusted_device",
    ];
    let mut id = Value::Null;
    for path in paths {
        let listed = site.get(path).send_as(&fresh).await;
        id = listed.is(200).json[0]["id"].clone();
        assert_eq!(
            listed.json,
            json!([{
                "id": id,
                "operating_system": "Debian",
                "browser": "Firefox",
                "activation_date": "2023-11-14T22:14:00.000Z",
            }])
        );
    }
    let unknown = site
        .delete(&format!("{}/9999", paths[0]))
        .send_as(&fresh)
        .await;
    unknown.refuses(404, 1401, "Trusted Device with Id '9999' not found");
    site.delete(&format!("{}/{id}", paths[1]))
        .send_as(&fresh)
        .await
        .is_empty(204);
    let listed = site.get(paths[0]).send_as(&fresh).await;
    assert_eq!(listed.is(200).json, json!([]));
}

#[tokio::test]
async fn a_flat_fingerprint_says_nothing_of_its_device() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    site.trusting(ADA, &ada.phone, "f").await;
    let path = "/api/v1/user/my/mfa/trusted_device";
    let listed = site.get(path).send_as(&ada.token).await;
    let device = listed.is(200).json[0].as_object().unwrap();
    assert_eq!(device.keys().collect::<Vec<_>>(), ["activation_date", "id"]);
}

#[tokio::test]
async fn every_wrong_password_or_code_of_a_session_counts() {
    let recovery = "/api/v1/user/my/mfa/recovery_codes";
    for way in ["password", "code", "recovery codes"] {
        let site = Site::start().await;
        let (token, key) = if way == "recovery codes" {
            let ada = site.enrol(ADA).await;
            (ada.token, ada.id)
        } else {
            (site.token(ADA).await, site.pending(ADA).await)
        };
        let attempt = async || {
            let call = match way {
                "password" => site.patch(
                    "/api/v1/user/password",
                    &json!({ "old_password": "wrong horse", "new_password": "another horse" }),
                ),
                // No key has codes with letters.
                "code" => site.patch(
                    &format!("{KEYS}/{key}"),
                    &json!({ "status": { "id": 1 }, "code": "abcdef" }),
                ),
                _ => site.post(recovery, &json!({ "password": "wrong horse" })),
            };
            call.send_as(&token).await
        };
        attempt().await.is(422);
        attempt().await.is(422);
        let words = "Too many failed authentication requests";
        for _ in 0..2 {
            attempt().await.says(429, 1105, "TooManyRequests", words);
        }
        // Only this session's counter is affected.
        site.password(ADA, PASSWORD).await.is(200);
    }
}

#[tokio::test]
async fn only_administrators_reach_others_keys_and_devices() {
    let site = Site::start().await;
    let ada = site.enrol(ADA).await;
    let bob = site.token(BOB).await;
    let (hers, his) = (site.number(ADA, &bob).await, site.number(BOB, &bob).await);
    for path in [
        format!("/api/v1/user/{his}/mfa/1"),
        format!("/api/v1/user/{his}/mfa/trusted_device/1"),
        "/api/v1/user/1/mfa/1".to_owned(),
    ] {
        let refused = site.delete(&path).send_as(&ada.token).await;
        refused.refuses(403, 1104, "You do not have the necessary permissions");
    }
    let devices = format!("/api/v1/user/{his}/mfa/trusted_device");
    site.get(&devices)
        .send_as(&ada.token)
        .await
        .refuses(403, 1104, "");
    let devices = format!("/api/v1/user/{hers}/mfa/trusted_device");
    assert_eq!(
        site.get(&devices).send_as(&bob).await.is(200).json,
        json!([])
    );
    site.get(&devices).send_as(&ada.token).await.is(200);
    let nobody = site
        .get("/api/v1/user/16777216/mfa/trusted_device")
        .send_as(&bob)
        .await;
    nobody.refuses(404, 1401, "User with Id '16777216' not found.");
    let key = format!("/api/v1/user/{hers}/mfa/{}", ada.id);
    site.delete(&key).send_as(&bob).await.is_empty(204);
    site.token(ADA).await;
}

#[tokio::test]
async fn a_recovery_code_stands_in_once() {
    let site = Site::start().await;
    let path = "/api/v1/user/my/mfa/recovery_codes";
    let body = json!({ "password": PASSWORD });
    let token = site.token(ADA).await;
    let early = site.post(path, &body).send_as(&token).await;
    early.refuses(422, 1406, "no active MFA key");
    let ada = site.enrol(ADA).await;
    let codes = site.post(path, &body).send_as(&ada.token).await;
    let codes = codes.is(200).json["codes"].as_array().unwrap().clone();
    assert_eq!(codes.len(), 10);
    let typed = codes[3].as_str().unwrap().to_lowercase().replace('-', " ");
    let answer = async |code: &str| {
        let challenge = site.challenge(ADA).await;
        site.authenticate(json!({ "mfa_token": challenge, "code": code }))
            .await
    };
    answer(&typed).await.is(200);
    answer(&typed).await.is_empty(401);
    answer(codes[4].as_str().unwrap()).await.is(200);
    let again = site.post(path, &body).send_as(&ada.token).await;
    again.refuses(422, 1402, "code is required");
    let body = json!({ "password": PASSWORD, "code": codes[5] });
    let again = site.post(path, &body).send_as(&ada.token).await;
    again.is(200);
    answer(codes[6].as_str().unwrap()).await.is_empty(401);
    let wrong = site
        .post(
            path,
            &json!({ "password": "wrong horse", "code": "123456" }),
        )
        .bearer(&ada.token);
    wrong.send().await.refuses(422, 1400, "");
    let empty = site.post(path, &json!({})).send_as(&ada.token).await;
    empty.refuses(422, 1402, "password is required");
}
