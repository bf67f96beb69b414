//! Which tokens may make which requests.

use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{ACTIVATE, API_KEYS, ATTEST, CATEGORIES, MANAGERS, NONCE, PREAUTH, PROVISION},
    site::Site,
};

#[tokio::test]
async fn every_call_needs_a_token_and_every_bad_one_is_refused() {
    let site = Site::start().await;
    let calls = [
        ("POST", PREAUTH),
        ("POST", PROVISION),
        ("POST", ACTIVATE),
        ("POST", NONCE),
        ("POST", ATTEST),
        ("GET", MANAGERS),
        ("POST", MANAGERS),
        ("PUT", "/api/tpm/namespaces/default/tpm_managers/a"),
        ("DELETE", "/api/tpm/namespaces/default/tpm_managers/a"),
        ("GET", "/api/tpm/namespaces/default/tpm_api_keys/a"),
    ];
    for (method, path) in calls {
        let answer = site.call(method, path).body("not even JSON").send().await;
        answer.refuses(401, 16);
        assert_eq!(answer.header("www-authenticate"), "APIToken");
        answer.saying("a token is needed");
        for bad in ["APIToken nonsense", "APIToken", "Bearer x", "nonsense"] {
            let answer = site.call(method, path).authorization(bad).send().await;
            answer.refuses(401, 16).saying("the token is not accepted");
        }
    }
    // For paths of any length.
    let long = format!("/api/tpm{}", "/x".repeat(70));
    site.call("GET", &long).send().await.refuses(401, 16);
    site.get(&long).await.refuses(404, 5);
    let as_bearer = format!("Bearer {}", site.admin);
    site.call("GET", MANAGERS)
        .authorization(&as_bearer)
        .send()
        .await
        .refuses(401, 16);
    let any_case = format!("apitoken {}", site.admin);
    site.call("GET", MANAGERS)
        .authorization(&any_case)
        .send()
        .await
        .is(200);
}

#[tokio::test]
async fn scopes_reach_their_namespace_and_stations_their_two_calls() {
    let (site, _, key) = Site::start_furnished().await;
    let preauth = json!({ "api_key": key, "device": {} });
    for (scope, own, other, station) in [
        ("tpm", 200, 200, 200),
        ("admin", 200, 200, 200),
        ("tpm:default", 200, 403, 200),
        ("tpm-station", 403, 403, 200),
        ("certificates", 403, 403, 403),
    ] {
        let token = format!("APIToken {}", site.operator_token(&[scope], None).await);
        let get = async |path| site.call("GET", path).authorization(&token).send().await;
        let answered = get(API_KEYS).await;
        assert_eq!(answered.status, own, "{scope}");
        if own == 403 {
            answered.refuses(403, 7).saying("it needs tpm:default");
        }
        let elsewhere = get("/api/tpm/namespaces/other/tpm_api_keys").await;
        assert_eq!(elsewhere.status, other, "{scope}");
        if other == 403 {
            elsewhere.refuses(403, 7).saying("it needs tpm:other");
        }
        let call = site
            .call("POST", PREAUTH)
            .authorization(&token)
            .json(&preauth);
        let called = call.send().await;
        assert_eq!(called.status, station, "{scope}");
        if station == 403 {
            called.refuses(403, 7).saying("it needs tpm-station");
        }
    }
    // Each of these 403 answers is in the audit trail.
    let listing = site.trail("tpm_api_key.list").await;
    assert_eq!(listing.len(), 5);
    let needs = |scope: &str| {
        let told = format!("it needs the scope {scope}");
        ("Refused".to_owned(), told)
    };
    let others = listing.iter().filter(|told| **told == needs("tpm:other"));
    assert_eq!(others.count(), 3);
    let calls = site.trail("tpm.preauth").await;
    assert_eq!(
        calls
            .iter()
            .filter(|told| **told == needs("tpm-station"))
            .count(),
        1
    );
}

#[tokio::test]
async fn stations_may_be_let_in_by_their_key_alone() {
    let site = Site::start_with(&[("f5.station_auth", "api_key_only".into())]).await;
    let key = site.furnished(&Manufacturer::new()).await;
    let body = json!({ "api_key": key, "device": {} });
    let alone = site.call("POST", PREAUTH).json(&body).send().await;
    alone.is(200);
    let bad = site
        .call("POST", PREAUTH)
        .authorization("APIToken x")
        .json(&body);
    bad.send().await.refuses(401, 16);
    // Nothing else is accessible without a token, whether it exists or not.
    for (method, path) in [
        ("GET", API_KEYS),
        ("DELETE", API_KEYS),
        ("DELETE", "/api/tpm/namespaces/default/tpm_api_keys/station"),
        ("GET", "/api/tpm/nothing"),
        ("GET", "/api/tpm/%zz"),
        ("GET", ATTEST),
        ("POST", NONCE),
        ("POST", ATTEST),
    ] {
        site.call(method, path).send().await.refuses(401, 16);
    }
    site.call("GET", PREAUTH).send().await.refuses(405, 12);
}

#[tokio::test]
async fn a_token_is_asked_for_before_the_path_and_the_method() {
    let site = Site::start().await;
    for (method, path) in [
        ("GET", "/api/tpm/nothing"),
        ("GET", "/api/tpm/namespaces/default/tpm_others"),
        ("GET", "/api/tpm/%zz"),
        ("DELETE", MANAGERS),
        ("PATCH", API_KEYS),
        ("GET", PREAUTH),
        ("POST", PROVISION),
    ] {
        site.call(method, path).send().await.refuses(401, 16);
        let bad = site.call(method, path).authorization("APIToken x");
        bad.send().await.refuses(401, 16);
    }
}

#[tokio::test]
async fn paths_take_the_published_prefix_and_unknown_ones_are_not_found() {
    let site = Site::start().await;
    let prefix = "/api/v1/api/production/us-east-1/namespaces/somewhere";
    let body = json!({ "metadata": { "name": "a" } });
    site.post(&format!("{prefix}{MANAGERS}"), &body)
        .await
        .is(200);
    let there = site.get(&format!("{MANAGERS}/a")).await;
    assert_eq!(there.is(200).json["metadata"]["namespace"], "default");
    site.get("/api/tpm/tpm/nothing").await.refuses(404, 5);
    site.get(&format!("{prefix}/api/tpm/nothing"))
        .await
        .refuses(404, 5);
    let patch = site.admin("PATCH", &format!("{MANAGERS}/a")).send().await;
    patch.refuses(405, 12);
    assert_eq!(patch.header("allow"), "DELETE, GET, HEAD, PUT");
    site.get(PREAUTH).await.refuses(405, 12);
    // Paths that cannot be decoded still belong to this dialect.
    for path in [
        format!("{MANAGERS}/%zz"),
        format!("{prefix}{MANAGERS}/%zz"),
        format!("/api/v1/api/%zz/us-east-1/namespaces/somewhere{MANAGERS}/a"),
    ] {
        let refused = site.get(&path).await;
        refused.refuses(400, 3).saying("a % that begins no escape");
    }
}

#[tokio::test]
async fn every_operation_is_served_behind_the_published_prefix_too() {
    let site = Site::start().await;
    let manufacturer = Manufacturer::new();
    let prefixed =
        |path: &str| format!("/api/v1/api/staging/eu-west-1/namespaces/any%2Fthing{path}");
    let mut api_key = Value::Null;
    for (path, spec) in [
        (
            MANAGERS,
            json!({ "ek_root_certificates": [manufacturer.root] }),
        ),
        (CATEGORIES, json!({ "tpm_manager_ref": [{ "name": "a" }] })),
        (API_KEYS, json!({ "category_ref": [{ "name": "a" }] })),
    ] {
        let body = json!({ "metadata": { "name": "a" }, "spec": spec });
        let made = site.post(&prefixed(path), &body).await;
        api_key = made.is(200).json["api_key"].clone();
        let object = format!("{path}/a");
        let shown = site.get(&prefixed(&object)).await.is(200).json.clone();
        assert_eq!(shown, site.get(&object).await.json);
        assert_eq!(shown["metadata"]["namespace"], "default");
        let list = site.get(&prefixed(path)).await;
        assert_eq!(list.is(200).json["items"][0]["name"], "a");
        let put = site.admin("PUT", &prefixed(&object)).json(&body);
        assert_eq!(put.send().await.is(200).json, json!({}));
    }
    let device = Device::new(&manufacturer, "SN0001");
    let request = device.request(api_key.as_str().unwrap());
    let preauth = site.post(&prefixed(PREAUTH), &request).await;
    assert_eq!(preauth.is(200).json["status"], "PREAUTH_RSP_SUCCESS");
    let answer = site.post(&prefixed(PROVISION), &request).await;
    let opened = device.opens(&answer.is(200).json, &device.ak_public());
    assert!(opened.is_some());
    let alone = site.call("POST", &prefixed(PROVISION)).json(&request);
    alone.send().await.refuses(401, 16);
    for path in [API_KEYS, CATEGORIES, MANAGERS] {
        let object = format!("{path}/a");
        let deleted = site.admin("DELETE", &prefixed(&object)).send().await;
        assert_eq!(deleted.is(200).json, json!({}));
        site.get(&object).await.refuses(404, 5);
    }
}

#[tokio::test]
async fn a_stations_token_makes_and_changes_nothing_but_provisions() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let token = format!(
        "APIToken {}",
        site.operator_token(&["tpm-station"], None).await
    );
    let send = async |method, path: &str, body: &Value| {
        let call = site.call(method, path).authorization(&token).json(body);
        call.send().await
    };
    let device = Device::new(&manufacturer, "SN0001");
    let provisioned = send("POST", PROVISION, &device.request(&key)).await;
    provisioned.is(200);
    for (path, name) in [
        (MANAGERS, "manager"),
        (CATEGORIES, "category"),
        (API_KEYS, "station"),
    ] {
        let body = json!({ "metadata": { "name": "b" } });
        send("POST", path, &body).await.refuses(403, 7);
        let object = format!("{path}/{name}");
        send("PUT", &object, &json!({})).await.refuses(403, 7);
        send("DELETE", &object, &json!({})).await.refuses(403, 7);
        send("GET", &object, &json!({})).await.refuses(403, 7);
    }
}

/// serde would accept the members in order.
#[tokio::test]
async fn an_array_is_no_object() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let device = json!(["device-0001", "SN0001", "ExampleCorp", "1"]);
    let whole = Device::new(&manufacturer, "SN0001").request(&key);
    let of =
        |members: &[&str]| -> Value { members.iter().map(|name| whole[name].clone()).collect() };
    let mut nested = whole.clone();
    nested["device"] = device.clone();
    let all = [
        "api_key",
        "device",
        "ek_cert",
        "ek_pub_key",
        "ak_pub_key",
        "csr",
        "ak_public",
    ];
    for (method, path, body) in [
        ("POST", PREAUTH, json!([key, device])),
        ("POST", PREAUTH, json!({ "api_key": key, "device": device })),
        ("POST", PROVISION, of(&all)),
        ("POST", PROVISION, nested),
        ("POST", MANAGERS, json!([{ "name": "b" }, null])),
        (
            "POST",
            MANAGERS,
            json!({ "metadata": ["b", null, null, null, null, null] }),
        ),
        (
            "POST",
            MANAGERS,
            json!({ "metadata": { "name": "b" }, "spec": [[]] }),
        ),
        (
            "POST",
            CATEGORIES,
            json!({ "metadata": { "name": "b" }, "spec": { "tpm_manager_ref": [["manager", null]] } }),
        ),
        (
            "PUT",
            &format!("{API_KEYS}/station"),
            json!([null, [true, "x", null]]),
        ),
    ] {
        let refused = site.admin(method, path).json(&body).send().await;
        refused.refuses(400, 3).saying("line 1, column");
    }
    site.post(PROVISION, &whole).await.is(200);
}

#[tokio::test]
async fn a_body_is_json_whatever_its_content_type() {
    let (site, _, key) = Site::start_furnished().await;
    let body = json!({ "api_key": key, "device": {} });
    for kind in [
        "application/json",
        "text/plain",
        "application/grpc",
        "nonsense",
    ] {
        let call = site.admin("POST", PREAUTH).header("content-type", kind);
        call.json(&body).send().await.is(200);
    }
}
