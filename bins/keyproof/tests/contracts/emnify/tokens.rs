//! Access tokens and their keys, refresh tokens, application tokens, and answers about bearer tokens.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use keyproof_service::accounts::{Role, UserChange};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, BOB, PASSWORD},
    site::{Site, command_line, secret},
};

const TOKENS: &str = "/api/v1/application_token";

#[tokio::test]
async fn a_bearer_is_asked_for_before_anything_else() {
    let site = Site::start().await;
    // Longer than any existing path.
    let long = format!("/api/v1{}", "/x".repeat(70));
    for path in [
        "/api/v1/user",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/user/mfa/None",
        &long,
    ] {
        let answer = site.get(path).send().await;
        answer.refuses(401, 1102, "token");
        for authorization in ["Bearer None", "Bearer ", "Basic YTpi", "x", "Bearer a.b.c"] {
            let call = site.get(path).header("authorization", authorization);
            call.send().await.refuses(401, 1102, "token");
        }
    }
    let token = site.token(ADA).await;
    for path in [
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/user/5/event",
        "/api/v1/authenticate/workspace",
        &long,
    ] {
        let answer = site.get(path).send_as(&token).await;
        answer.refuses(404, 1201, "");
        assert_eq!(answer.json["error_token"], "NotFound");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = site.call(method, "/api/v1/user").send_as(&token).await;
        answer.refuses(404, 1201, "");
    }
    for other in ["Basic", "Token", "BearerX"] {
        let call = site.get("/api/v1/user");
        let call = call.header("authorization", &format!("{other} {token}"));
        let answer = call.send().await;
        assert_eq!(
            answer.refuses(401, 1102, "").header("www-authenticate"),
            "Bearer"
        );
    }
    // No token is required where tokens are issued, for any method: a client that got a 401 would log in again.
    for authorization in [
        None,
        Some("Bearer None".to_owned()),
        Some(format!("Bearer {token}")),
    ] {
        for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
            let call = site.call(method, "/api/v1/authenticate");
            let call = match &authorization {
                Some(authorization) => call.header("authorization", authorization),
                None => call,
            };
            assert_eq!(call.send().await.is(405).header("allow"), "POST");
        }
    }
    let head = site.call("HEAD", "/api/v1/user").bearer(&token);
    head.send().await.is_empty(200);
    let lower = format!("bearer {token}");
    site.get("/api/v1/user")
        .header("authorization", &lower)
        .send()
        .await
        .is(200);
}

#[tokio::test]
async fn access_tokens_say_whose_they_are_and_verify_with_the_published_key() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let part = |number: usize| -> Value {
        let part = token.split('.').nth(number).unwrap();
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    let set = site.get("/keyproof/v1/jwks.json").send().await;
    let key = &set.is(200).json["keys"][0];
    assert_eq!(
        part(0),
        json!({ "typ": "JWT", "alg": "ES256", "kid": key["kid"] })
    );
    for (member, expected) in [
        ("kty", "EC"),
        ("crv", "P-256"),
        ("alg", "ES256"),
        ("use", "sig"),
    ] {
        assert_eq!(key[member], expected);
    }
    let claims = part(1);
    let names: Vec<_> = claims.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "exp",
            "gen",
            "iat",
            "jti",
            "key_changes",
            "org",
            "role",
            "sid",
            "sub"
        ]
    );
    assert_eq!(claims["role"], "User");
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 240 * 60);
    site.clock.advance(Duration::from_secs(lifetime));
    let expired = site.users(&token).await;
    expired.refuses(401, 1103, "expired");
    let post = site.post("/keyproof/v1/jwks.json", &json!({})).send().await;
    assert_eq!(post.is(405).header("allow"), "GET, HEAD");
    // Nothing exists below it, so no token is required.
    for nowhere in ["/keyproof/v1/jwks.json/", "/keyproof/v1/jwks.json/x"] {
        let call = site.get(nowhere).of_another_dialect();
        assert_eq!(call.send().await.is(404).json["code"], 21, "{nowhere}");
    }
}

#[tokio::test]
async fn a_refresh_token_gives_an_access_token_alone_until_the_password_changes() {
    let site = Site::start().await;
    let both = site.password(ADA, PASSWORD).await;
    let body = json!({ "refresh_token": both.text("refresh_token") });
    for _ in 0..2 {
        let answer = site.authenticate(body.clone()).await;
        let members = answer.is(200).json.as_object().unwrap();
        assert_eq!(members.keys().collect::<Vec<_>>(), ["auth_token"]);
        site.users(&answer.text("auth_token")).await.is(200);
    }
    let token = both.text("auth_token");
    let change = async |old: &str, new: &str| {
        let body = json!({ "old_password": old, "new_password": new });
        site.patch("/api/v1/user/password", &body)
            .send_as(&token)
            .await
    };
    let wrong = change("wrong horse", "another horse").await;
    assert_eq!(
        wrong.is(422).json,
        json!({
            "error_code": 1002,
            "error_token": "Failed",
            "message": "Invalid old password",
            "errors": [{
                "error_code": 1400,
                "error_token": "InputValidationFailed",
                "message": format!("Wrong Password for User '{ADA}'"),
            }],
        })
    );
    change(PASSWORD, "short")
        .await
        .refuses(422, 1400, "new password");
    change(PASSWORD, "another horse").await.is_empty(204);
    change(PASSWORD, "another horse")
        .await
        .refuses(401, 1102, "");
    site.authenticate(body).await.is_empty(401);
    site.password(ADA, PASSWORD).await.is_empty(401);
    site.password(ADA, "another horse").await.is(200);
}

#[tokio::test]
async fn suspension_and_removal_end_everything_at_once() {
    let site = Site::start().await;
    let both = site.password(ADA, PASSWORD).await;
    let token = both.text("auth_token");
    let accounts = &site.console.accounts;
    site.change(ADA, UserChange::Suspend).await;
    site.users(&token).await.refuses(401, 1102, "");
    site.password(ADA, PASSWORD).await.is_empty(401);
    site.change(ADA, UserChange::Activate).await;
    site.users(&token).await.refuses(401, 1102, "");
    let token = site.token(ADA).await;
    accounts.remove_user(ADA, &command_line()).await.unwrap();
    site.users(&token).await.refuses(401, 1102, "");
    site.add(ADA, "Example Org", Role::User).await;
    site.users(&token).await.refuses(401, 1102, "");
    accounts
        .set_user_password(ADA, secret("another horse"), &command_line())
        .await
        .unwrap();
    site.password(ADA, "another horse").await.is(200);
}

#[tokio::test]
async fn application_tokens_are_made_listed_used_and_revoked() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let post = async |body: Value| site.post(TOKENS, &body).send_as(&token).await;
    let plain = post(json!({})).await.is(200).text("application_token");
    site.clock.advance(Duration::from_secs(1));
    let body = json!({
        "description": "My Token", "expiry_date": "2023-12-01", "ip": "127.0.0.0/8",
    });
    let full = post(body).await.is(200).text("application_token");
    post(json!({ "ip": "127.0.0.1" })).await.refuses(
        422,
        1403,
        "Application Token - IP has invalid format: Expecting IP Address in CIDR Notation.",
    );
    post(json!({ "expiry_date": "soon" }))
        .await
        .refuses(422, 1403, "Expiry Date");
    post(json!({ "description": 5 }))
        .await
        .refuses(400, 1000, "");

    let listed = site.get(TOKENS).send_as(&token).await;
    let tokens = listed.is(200).json.as_array().unwrap().clone();
    let creator = &tokens[0]["creator"];
    assert_eq!(creator["username"], ADA);
    assert_eq!(
        tokens,
        [
            json!({
                "id": tokens[0]["id"],
                "created": "2023-11-14T22:13:30.000Z",
                "status": { "id": 0, "description": "Activated" },
                "creator": creator,
            }),
            json!({
                "id": tokens[1]["id"],
                "description": "My Token",
                "created": "2023-11-14T22:13:31.000Z",
                "status": { "id": 0, "description": "Activated" },
                "expiry_date": "2023-12-01T00:00:00.000Z",
                "ip": "127.0.0.0/8",
                "creator": creator,
            }),
        ]
    );

    let log_in = async |text: &str| {
        site.authenticate(json!({ "application_token": text }))
            .await
    };
    let answer = log_in(&full).await;
    let members = answer.is(200).json.as_object().unwrap();
    assert_eq!(members.keys().collect::<Vec<_>>(), ["auth_token"]);
    let access = answer.text("auth_token");
    site.users(&access).await.is(200);
    // Only persons have second factors.
    for call in [
        site.post("/api/v1/user/mfa", &json!({})),
        site.patch("/api/v1/user/mfa/1", &json!({})),
        site.delete("/api/v1/user/my/mfa/1"),
        site.get("/api/v1/user/mfa/trusted_device"),
        site.patch("/api/v1/user/password", &json!({})),
        site.post(TOKENS, &json!({})),
    ] {
        call.send_as(&access).await.refuses(403, 1104, "");
    }

    let one = format!("{TOKENS}/{}", tokens[1]["id"]);
    let patch = async |body: Value| site.patch(&one, &body).send_as(&token).await;
    patch(json!({ "description": "new use" }))
        .await
        .is_empty(204);
    site.users(&access).await.is(200);
    // A status object without an id is rejected.
    for unnamed in [
        json!({ "description": "Revoked" }),
        json!({ "id": null }),
        json!({}),
    ] {
        let answer = patch(json!({ "status": unnamed })).await;
        answer.refuses(422, 1402, "Application Token - status is required");
    }
    patch(json!({ "status": null })).await.is_empty(204);
    site.users(&access).await.is(200);
    patch(json!({ "status": { "id": 1.0 } }))
        .await
        .is_empty(204);
    site.users(&access).await.refuses(401, 1102, "");
    log_in(&full).await.is_empty(401);
    patch(json!({ "status": { "id": 0 } }))
        .await
        .refuses(422, 1406, "revoked");
    // A new description does not make the token valid again.
    patch(json!({ "description": "new use" }))
        .await
        .is_empty(204);
    log_in(&full).await.is_empty(401);
    patch(json!({ "status": { "id": 5 } }))
        .await
        .refuses(422, 1400, "");
    let listed = site.get(TOKENS).send_as(&token).await;
    assert_eq!(
        listed.json[1]["status"],
        json!({ "id": 1, "description": "Revoked" })
    );
    assert_eq!(listed.json[1]["description"], "new use");
    let unknown = site
        .call("PATCH", &format!("{TOKENS}/5"))
        .body("{")
        .bearer(&token);
    unknown
        .send()
        .await
        .refuses(404, 1401, "Application Token with Id '5' not found.");

    log_in(&plain).await.is(200);
    site.change(ADA, UserChange::Suspend).await;
    log_in(&plain).await.is_empty(401);
}

#[tokio::test]
async fn application_tokens_end_for_good_with_what_an_operator_does() {
    for doing in ["set-password", "suspend", "remove"] {
        let site = Site::start().await;
        let token = site.token(ADA).await;
        let made = site.application_token(&token, &json!({})).await;
        let log_in = json!({ "application_token": made });
        let access = site.authenticate(log_in.clone()).await.text("auth_token");
        let (accounts, command) = (&site.console.accounts, command_line());
        match doing {
            "set-password" => {
                let set = accounts.set_user_password(ADA, secret(PASSWORD), &command);
                set.await.unwrap();
            }
            "suspend" => {
                site.change(ADA, UserChange::Suspend).await;
                site.authenticate(log_in.clone()).await.is_empty(401);
                site.change(ADA, UserChange::Activate).await;
            }
            _ => {
                accounts.remove_user(ADA, &command).await.unwrap();
                site.add(ADA, "Example Org", Role::User).await;
            }
        }
        site.authenticate(log_in.clone()).await.is_empty(401);
        site.users(&access).await.refuses(401, 1102, "");
        // It is listed as revoked, and stays so.
        let bob = site.token(BOB).await;
        let listed = site.get(TOKENS).send_as(&bob).await;
        let revoked = json!({ "id": 1, "description": "Revoked" });
        assert_eq!(listed.is(200).json[0]["status"], revoked, "{doing}");
        let one = format!("{TOKENS}/{}", listed.json[0]["id"]);
        let lift = site.patch(&one, &json!({ "status": { "id": 0 } }));
        lift.send_as(&bob).await.refuses(422, 1406, "revoked");
        let action = format!("user.{}", doing.replace('-', "_"));
        let events = site.events_of(&action).await;
        let detail = events.last().unwrap().detail.as_deref().unwrap();
        assert!(
            detail.ends_with("all tokens end, application tokens too"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn application_tokens_outlive_a_users_own_new_password() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let made = site.application_token(&token, &json!({})).await;
    let log_in = json!({ "application_token": made });
    let body = json!({ "old_password": PASSWORD, "new_password": "another horse" });
    let changed = site.patch("/api/v1/user/password", &body).bearer(&token);
    changed.send().await.is_empty(204);
    site.authenticate(log_in).await.is(200);
    let events = site.events_of("user.set_password").await;
    let detail = events.first().unwrap().detail.as_deref().unwrap();
    assert!(
        detail.contains("application tokens, which stay"),
        "{detail}"
    );
}

#[tokio::test]
async fn users_see_and_revoke_their_own_application_tokens_alone() {
    let site = Site::start().await;
    let eve = "eve@example.org";
    site.add(eve, "Example Org", Role::User).await;
    let observer = "otto@example.org";
    site.add(observer, "Example Org", Role::Observer).await;
    let (ada, eve, bob) = (
        site.token(ADA).await,
        site.token(eve).await,
        site.token(BOB).await,
    );
    let add = async |token: &str| {
        let made = site.application_token(token, &json!({})).await;
        site.clock.advance(Duration::from_secs(1));
        made
    };
    let (hers, _, _) = (add(&ada).await, add(&eve).await, add(&bob).await);
    let seen = async |token: &str| {
        let listed = site.get(TOKENS).send_as(token).await;
        listed.is(200).json.as_array().unwrap().clone()
    };
    assert_eq!(seen(&bob).await.len(), 3);
    assert_eq!(seen(&site.token(observer).await).await.len(), 0);
    for (token, name) in [(&ada, ADA), (&eve, "eve@example.org")] {
        let own = seen(token).await;
        assert_eq!(own.len(), 1);
        assert_eq!(own[0]["creator"]["username"], name);
    }
    let one = format!("{TOKENS}/{}", seen(&ada).await[0]["id"]);
    let revoke = json!({ "status": { "id": 1 } });
    for token in [&eve, &site.token(observer).await] {
        for body in [
            revoke.clone(),
            json!({ "description": "mine" }),
            Value::Null,
        ] {
            let refused = site.patch(&one, &body).send_as(token).await;
            refused.refuses(403, 1104, "permissions");
        }
    }
    let log_in = json!({ "application_token": hers });
    site.authenticate(log_in.clone()).await.is(200);
    site.patch(&one, &revoke).send_as(&ada).await.is_empty(204);
    site.authenticate(log_in).await.is_empty(401);
    let others = format!("{TOKENS}/{}", seen(&eve).await[0]["id"]);
    site.patch(&others, &revoke)
        .send_as(&bob)
        .await
        .is_empty(204);
}

#[tokio::test]
async fn an_application_token_expires() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let body = json!({ "expiry_date": "2023-11-14T22:14:30.000Z" });
    let made = site.application_token(&token, &body).await;
    let log_in = json!({ "application_token": made });
    let access = site
        .authenticate(log_in.clone())
        .await
        .is(200)
        .text("auth_token");
    site.clock.advance(Duration::from_millis(59_999));
    site.users(&access).await.is(200);
    site.clock.advance(Duration::from_millis(1));
    site.users(&access).await.refuses(401, 1102, "");
    site.authenticate(log_in).await.is_empty(401);
}

#[tokio::test]
async fn an_application_token_may_last_to_the_end_of_9999() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let post = async |expiry: &str| {
        let body = json!({ "expiry_date": expiry });
        site.post(TOKENS, &body).send_as(&token).await
    };
    for (expiry, told) in [
        ("9999-12-31T23:59:59.000Z", "9999-12-31T23:59:59.000Z"),
        ("9999-12-31", "9999-12-31T00:00:00.000Z"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59.000Z"),
        ("9999-12-31T23:59:59+02:00", "9999-12-31T21:59:59.000Z"),
        // In UTC its year has five digits.
        ("9999-12-31T23:59:59-02:00", "9999-12-31T23:59:59.999Z"),
    ] {
        let made = post(expiry).await.is(200).text("application_token");
        let listed = site.get(TOKENS).send_as(&token).await;
        let tokens = listed.is(200).json.as_array().unwrap();
        assert_eq!(tokens.last().unwrap()["expiry_date"], told, "{expiry}");
        let log_in = json!({ "application_token": made });
        site.authenticate(log_in).await.is(200);
        site.clock.advance(Duration::from_secs(1));
    }
    // A zone that is only named has no known offset.
    for none in [
        "9999-12-32",
        "2027-05-29T13:04:49[Europe/Berlin]",
        "2027-05-29[Europe/Berlin]",
    ] {
        post(none).await.refuses(422, 1403, "Expiry Date");
    }
    post("2027-05-29T13:04:49+02:00[Europe/Berlin]")
        .await
        .is(200);
}
