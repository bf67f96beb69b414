//! `POST` and `DELETE private/token`

use std::time::Duration;

use keyproof_service::audit::Outcome;
use serde_json::json;

use crate::taler::{
    dialect::{DEVICES, PASSWORD, START, TOKEN, device},
    site::{Site, administrator},
};

#[tokio::test]
async fn a_password_gives_a_token_whose_answer_says_all_of_it() {
    let site = Site::start().await;
    let answer = site.login(json!({ "scope": "readonly" })).await;
    let token = answer.token();
    assert!(token.starts_with("secret-token:"), "{token}");
    assert_eq!(
        answer.json,
        json!({
            "token": token,
            "access_token": token,
            "scope": "readonly",
            "expiration": { "t_s": START + 24 * 60 * 60 },
            "refreshable": false,
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    site.get(DEVICES).send_as(&token).await.is(200);
}

#[tokio::test]
async fn durations_are_microseconds_or_for_ever() {
    let site = Site::start().await;
    for (duration, expected) in [
        (
            json!({ "d_us": 3_600_000_000_u64 }),
            json!({ "t_s": START + 3600 }),
        ),
        (json!({ "d_us": 1_999_999 }), json!({ "t_s": START + 1 })),
        (json!({ "d_us": 0 }), json!({ "t_s": START })),
        (
            json!({ "d_us": "forever", "more": 1 }),
            json!({ "t_s": "never" }),
        ),
        (json!(null), json!({ "t_s": START + 24 * 60 * 60 })),
    ] {
        let answer = site
            .login(json!({ "scope": "all", "duration": duration }))
            .await;
        assert_eq!(answer.is(200).json["expiration"], expected, "{duration}");
    }
    for duration in [
        json!(5),
        json!("forever"),
        json!({}),
        json!({ "d_us": "5" }),
        json!({ "d_us": 1.0 }),
        json!({ "d_us": -1 }),
        json!({ "d_us": null }),
        json!({ "d_us": "never" }),
    ] {
        let answer = site
            .login(json!({ "scope": "all", "duration": duration }))
            .await;
        answer.refuses_field("duration");
    }
}

#[tokio::test]
async fn scopes_are_named_as_they_were_asked_for() {
    let site = Site::start().await;
    for (request, scope, refreshable) in [
        (json!({ "scope": "write" }), "write", false),
        (
            json!({ "scope": "all", "description": "till" }),
            "all",
            false,
        ),
        (json!({ "scope": "ALL:refreshable" }), "all", true),
        (
            json!({ "scope": "order-pos", "refreshable": true }),
            "order-pos",
            true,
        ),
        (
            json!({ "scope": "order-simple", "refreshable": null }),
            "order-simple",
            false,
        ),
        (
            json!({ "scope": "order-mgmt:refreshable", "refreshable": false }),
            "order-mgmt",
            true,
        ),
        (json!({ "scope": "order-full" }), "order-full", false),
    ] {
        let answer = site.login(request).await;
        assert_eq!(answer.is(200).json["scope"], scope);
        assert_eq!(answer.json["refreshable"], refreshable, "{scope}");
    }
    for unknown in ["", "everything", "all:", "all:forever", "spa"] {
        let answer = site.login(json!({ "scope": unknown })).await;
        assert_eq!(answer.refuses(400, 26).json["detail"], "scope", "{unknown}");
    }
    site.login(json!({})).await.refuses_field("scope");
    site.login(json!({ "scope": 5 }))
        .await
        .refuses_field("scope");
    site.login(json!({ "scope": "all", "refreshable": 1 }))
        .await
        .refuses_field("refreshable");
    site.login(json!({ "scope": "all", "description": 1 }))
        .await
        .refuses_field("description");
}

#[tokio::test]
async fn a_wrong_name_or_password_is_401_and_comes_before_the_body() {
    let site = Site::start().await;
    for (path, name, password) in [
        (TOKEN, "default", "wrong horse"),
        (TOKEN, "default", ""),
        (TOKEN, "shop", PASSWORD),
        (TOKEN, "", PASSWORD),
        ("/instances/shop/private/token", "default", PASSWORD),
    ] {
        let call = site
            .call("POST", path)
            .basic(name, password)
            .body("not JSON");
        let answer = call.send().await;
        answer.refuses(401, 2015);
        assert!(answer.header("www-authenticate").contains("Basic"));
        // Three attempts in a row would lock.
        site.clock.advance(Duration::from_secs(24 * 60 * 60));
    }
    let answer = site
        .call("POST", TOKEN)
        .basic("default", PASSWORD)
        .body("not JSON")
        .send()
        .await;
    answer.refuses(400, 22);
    let request = json!({ "scope": "all" });
    site.post(TOKEN, &request).send().await.refuses(401, 2015);
    let unknown = site.post("/instances/nowhere/private/token", &request);
    unknown
        .basic("nowhere", PASSWORD)
        .send()
        .await
        .refuses(404, 2000);
    let shop = site
        .post("/instances/shop/private/token", &request)
        .basic("shop", PASSWORD);
    shop.send().await.is(200);
}

/// Its base URL ends with the instance, and its login appends the instance once more.
#[tokio::test]
async fn taler_php_logs_in_below_its_base_url() {
    let site = Site::start().await;
    let base = "/instances/shop";
    let body =
        json!({ "scope": "all", "duration": null, "description": null, "refreshable": null });
    let call = site.post(&format!("{base}{base}{TOKEN}"), &body);
    let token = call.basic("shop", PASSWORD).send().await.token();
    let list = site.get(&format!("{base}{DEVICES}"));
    // It sends the token as it is.
    let listed = list.header("authorization", &token).send().await;
    assert_eq!(listed.is(200).json, json!({ "otp_devices": [] }));
    let end = site.delete(&format!("{base}{base}{TOKEN}"));
    end.header("authorization", &token).send().await.is_empty();
    let elsewhere = site.post(&format!("/instances/default{base}{TOKEN}"), &body);
    let refused = elsewhere.basic("shop", PASSWORD).send().await;
    refused.refuses(404, 21);
}

#[tokio::test]
async fn a_refreshable_token_gives_others_within_its_own_scope() {
    let site = Site::start().await;
    let readonly = site.token("readonly:refreshable").await;
    let refresh = async |token: &str, scope: &str| {
        site.post(TOKEN, &json!({ "scope": scope }))
            .send_as(token)
            .await
    };
    let answer = refresh(&readonly, "readonly:refreshable").await;
    let next = answer.token();
    assert_ne!(next, readonly);
    refresh(&next, "readonly").await.is(200);
    for more in ["all", "write", "order-simple", "order-full"] {
        refresh(&readonly, more).await.refuses(403, 16);
    }
    let full = site.token("order-full:refreshable").await;
    for within in ["order-simple", "order-pos", "order-mgmt", "order-full"] {
        refresh(&full, within).await.is(200);
    }
    refresh(&full, "readonly").await.refuses(403, 16);

    // Permission is checked before the body.
    let plain = site.token("all").await;
    let answer = site
        .call("POST", TOKEN)
        .bearer(&plain)
        .body("not JSON")
        .send()
        .await;
    answer.refuses(403, 16);
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let site = Site::start().await;
    let answer = site
        .login(json!({ "scope": "all", "duration": { "d_us": 10_000_000 } }))
        .await;
    let token = answer.token();
    site.clock.advance(Duration::from_millis(9_999));
    site.get(DEVICES).send_as(&token).await.is(200);
    site.clock.advance(Duration::from_millis(1));
    site.get(DEVICES).send_as(&token).await.refuses(401, 42);
    site.delete(TOKEN).send_as(&token).await.refuses(401, 42);
    let refresh = site.post(TOKEN, &json!({ "scope": "all" })).bearer(&token);
    refresh.send().await.refuses(401, 42);
}

#[tokio::test]
async fn a_revoked_token_is_unknown() {
    let site = Site::start().await;
    // A token with any scope may revoke itself.
    for scope in ["all", "readonly", "order-simple"] {
        let token = site.token(scope).await;
        site.delete(TOKEN).send_as(&token).await.is_empty();
        site.delete(TOKEN).send_as(&token).await.refuses(401, 41);
        site.get(DEVICES).send_as(&token).await.refuses(401, 41);
    }
    let other = site.token("all").await;
    site.get(DEVICES).send_as(&other).await.is(200);
    site.delete(TOKEN).send().await.refuses(401, 2015);
    site.delete(TOKEN)
        .basic("default", PASSWORD)
        .send()
        .await
        .refuses(401, 2015);
}

#[tokio::test]
async fn tokens_are_told_apart_by_what_is_wrong_with_them() {
    let site = Site::start().await;
    let token = site.token("all").await;
    let bare = token.strip_prefix("secret-token:").unwrap();
    let unknown = format!("secret-token:{}", "A".repeat(43));
    let cut = token.get(..token.len() - 1).unwrap();
    for (authorization, code) in [
        (format!("Bearer {unknown}"), 41),
        (format!("Bearer {bare}"), 43),
        (format!("Bearer {cut}"), 43),
        (format!("Bearer {token}="), 43),
        ("Bearer sandbox".to_owned(), 43),
        (format!("Token {token}"), 2015),
        ("Basic ZGVmYXVsdDpjb3JyZWN0IGhvcnNl".to_owned(), 2015),
    ] {
        let answer = site
            .get(DEVICES)
            .header("authorization", &authorization)
            .send()
            .await;
        answer.refuses(401, code);
    }
    for malformed in ["Bearer", "", "Basic", "Basic !", "Basic bm9jb2xvbg==", "é"] {
        let call = site.get(DEVICES).header("authorization", malformed);
        assert_eq!(
            call.send().await.refuses(400, 23).json["detail"],
            "Authorization"
        );
    }
    let twice = site.get(DEVICES).bearer(&token).bearer(&token);
    twice.send().await.refuses(400, 23);
    // The last form is what taler-php sends after a login.
    for accepted in [format!("bearer {token}"), format!("BEARER  {token}"), token] {
        site.get(DEVICES)
            .header("authorization", &accepted)
            .send()
            .await
            .is(200);
    }
}

#[tokio::test]
async fn scopes_reach_what_the_contract_says() {
    let site = Site::start().await;
    let all = site.token("all").await;
    site.add(&all, device("till")).await;
    let one = "/private/otp-devices/till";
    let patch = json!({ "otp_device_description": "new" });
    for (scope, reads, writes) in [
        ("readonly", true, false),
        ("order-simple", false, false),
        ("order-pos", false, false),
        ("order-mgmt", false, false),
        ("order-full", false, false),
        ("write", true, true),
        ("all:refreshable", true, true),
    ] {
        let token = &site.token(scope).await;
        for (call, allowed, status) in [
            (site.get(DEVICES), reads, 200),
            (site.get(one), reads, 200),
            (site.post(DEVICES, &device("other")), writes, 204),
            (site.patch(one, &patch), writes, 204),
            (site.delete("/private/otp-devices/other"), writes, 204),
        ] {
            let answer = call.send_as(token).await;
            if allowed {
                answer.is(status);
            } else {
                answer.refuses(403, 16);
            }
        }
    }
    // Permission is checked before existence and body.
    let readonly = site.token("readonly").await;
    let unknown = site
        .call("PATCH", "/private/otp-devices/none")
        .body("not JSON");
    unknown.send_as(&readonly).await.refuses(403, 16);
}

#[tokio::test]
async fn what_a_scope_does_not_allow_is_told() {
    let site = Site::start().await;
    let readonly = site.token("readonly").await;
    let call = site.post(DEVICES, &device("till")).bearer(&readonly);
    let refused = call.send().await;
    refused.refuses(403, 16);
    let id = refused.header("x-request-id");
    let mut events = site.events().await.into_iter();
    let of_it = events.find(|event| event.request_id.as_deref() == Some(id));
    let event = of_it.expect("its event");
    assert_eq!(
        (&*event.action, event.outcome),
        ("login_token.use", Outcome::Refused)
    );
    assert!(event.who.starts_with("instance:default/token:"));
}

#[tokio::test]
async fn an_address_has_so_many_passwords_judged_a_window() {
    let site = Site::start_with(&[("auth.address_limit", 2.into())]).await;
    let removed = site
        .console
        .otp_devices
        .remove_instance(&administrator("default"))
        .await;
    removed.unwrap();
    let log_in = |instance: &str| {
        let path = format!("/instances/{instance}{TOKEN}");
        let call = site.post(&path, &json!({ "scope": "all" }));
        call.basic(instance, "wrong horse").send()
    };
    // Without a password nothing is hashed and nothing is counted.
    for _ in 0..5 {
        log_in("default").await.refuses(401, 2015);
        log_in("nowhere").await.refuses(404, 2000);
    }
    for _ in 0..2 {
        log_in("shop").await.refuses(401, 2015);
    }
    let refused = log_in("shop").await;
    refused.refuses(429, 2127);
    assert_eq!(refused.header("retry-after"), "300");
    // All dialects share one table.
    let body = json!({ "username": "a", "password": "b" }).to_string();
    let elsewhere = site.call("POST", "/api/v1/authenticate");
    elsewhere
        .of_another_dialect()
        .body(body)
        .send()
        .await
        .is(429);
    // A day later the wrong passwords are forgotten.
    site.clock.advance(Duration::from_secs(24 * 60 * 60));
    log_in("shop").await.refuses(401, 2015);
}

#[tokio::test]
async fn a_login_needs_no_more_than_16_kib() {
    let site = Site::start().await;
    let body = |length: usize| {
        let rest = json!({ "scope": "all", "description": "" }).to_string();
        let pad = "x".repeat(length - rest.len());
        json!({ "scope": "all", "description": pad }).to_string()
    };
    for (length, status) in [(16 * 1024, 200), (16 * 1024 + 1, 413)] {
        let call = site.call("POST", TOKEN).basic("default", PASSWORD);
        let answer = call.body(body(length)).send().await;
        assert_eq!(answer.status, status);
        if status == 413 {
            answer.refuses(413, 32);
        }
    }
}
