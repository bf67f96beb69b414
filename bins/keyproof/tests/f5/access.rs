//! Who may call what.

use serde_json::json;

use crate::{
    device::Manufacturer,
    site::{API_KEYS, MANAGERS, PREAUTH, PROVISION, Site},
};

#[tokio::test]
async fn every_call_needs_a_token_and_every_bad_one_is_refused() {
    let site = Site::start().await;
    let calls = [
        ("POST", PREAUTH),
        ("POST", PROVISION),
        ("GET", MANAGERS),
        ("POST", MANAGERS),
        ("PUT", "/api/tpm/namespaces/default/tpm_managers/a"),
        ("GET", "/api/tpm/namespaces/default/tpm_api_keys/a"),
    ];
    for (method, path) in calls {
        let answer = site.call(method, path).body("not even JSON").send().await;
        answer.refuses(401, 16);
        assert_eq!(answer.header("www-authenticate"), "APIToken");
        for bad in ["APIToken nonsense", "APIToken", "Bearer x", "nonsense"] {
            let answer = site.call(method, path).authorization(bad).send().await;
            answer.refuses(401, 16);
        }
    }
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
    let site = Site::start().await;
    let key = site.furnished(&Manufacturer::new()).await;
    let preauth = json!({ "api_key": key, "device": {} });
    for (scope, own, other, station) in [
        ("tpm", 200, 200, 200),
        ("admin", 200, 200, 200),
        ("tpm:default", 200, 403, 200),
        ("tpm-station", 403, 403, 200),
        ("certificates", 403, 403, 403),
    ] {
        let token = format!("APIToken {}", site.token(scope).await);
        let get = async |path| site.call("GET", path).authorization(&token).send().await;
        let answered = get(API_KEYS).await;
        assert_eq!(answered.status, own, "{scope}");
        if own == 403 {
            answered.refuses(403, 7);
        }
        let elsewhere = get("/api/tpm/namespaces/other/tpm_api_keys").await;
        assert_eq!(elsewhere.status, other, "{scope}");
        let call = site
            .call("POST", PREAUTH)
            .authorization(&token)
            .json(&preauth);
        assert_eq!(call.send().await.status, station, "{scope}");
    }
}

#[tokio::test]
async fn stations_may_be_let_in_by_their_key_alone() {
    let site = Site::start_with(vec![("f5.station_auth", "api_key_only".into())]).await;
    let key = site.furnished(&Manufacturer::new()).await;
    let body = json!({ "api_key": key, "device": {} });
    let alone = site.call("POST", PREAUTH).json(&body).send().await;
    alone.is(200);
    let bad = site
        .call("POST", PREAUTH)
        .authorization("APIToken x")
        .json(&body);
    bad.send().await.refuses(401, 16);
    site.call("GET", API_KEYS).send().await.refuses(401, 16);
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
    site.get("/api/tpm/tpm/attest").await.refuses(404, 5);
    site.get(&format!("{prefix}/api/tpm/nothing"))
        .await
        .refuses(404, 5);
    let put = site.admin("DELETE", &format!("{MANAGERS}/a")).send().await;
    put.refuses(405, 12);
    assert_eq!(put.header("allow"), "GET, HEAD, PUT");
    site.get(PREAUTH).await.refuses(405, 12);
}
