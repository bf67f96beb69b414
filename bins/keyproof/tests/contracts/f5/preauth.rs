//! Preauth.

use std::time::Duration;

use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{API_KEYS, CATEGORIES, MANAGERS, PREAUTH, PROVISION},
    site::Site,
};

fn device() -> Value {
    json!({ "name": "device", "serial": "1", "vendor": "v", "version": "1" })
}

async fn status(site: &Site, body: &Value) -> String {
    let answer = site.post(PREAUTH, body).await;
    assert_eq!(answer.is(200).json.as_object().unwrap().len(), 1);
    answer.json["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_good_key_and_a_device_within_its_limits_are_granted() {
    let (site, _, key) = Site::start_furnished().await;
    let of = |device: Value| json!({ "api_key": key, "device": device });
    assert_eq!(status(&site, &of(device())).await, "PREAUTH_RSP_SUCCESS");
    let long = "é".repeat(1024);
    let longest = json!({ "name": long, "serial": long, "vendor": long, "version": long });
    assert_eq!(status(&site, &of(longest)).await, "PREAUTH_RSP_SUCCESS");
    assert!(site.trail("tpm.preauth").await.is_empty());

    let invalid = "PREAUTH_RSP_INVALID_DEVICE_INFO";
    for (member, wrong) in [
        ("name", json!("short")),
        ("name", json!("n".repeat(1025))),
        ("serial", json!("")),
        ("serial", json!("SN0001\u{0}x")),
        ("serial", json!("SN0001 ")),
        ("vendor", json!(null)),
        ("version", json!("v".repeat(1025))),
    ] {
        let mut device = device();
        device[member] = wrong;
        assert_eq!(status(&site, &of(device)).await, invalid, "{member}");
        let trail = site.trail("tpm.preauth").await;
        assert!(
            trail
                .iter()
                .any(|(outcome, why)| outcome == "Refused" && why.contains(member)),
            "{trail:?}"
        );
    }
    assert_eq!(status(&site, &of(json!(null))).await, invalid);
    assert_eq!(status(&site, &json!({ "api_key": key })).await, invalid);
}

#[tokio::test]
async fn a_key_that_is_no_good_is_told_before_the_device() {
    let (site, _, key) = Site::start_furnished().await;
    let invalid = "PREAUTH_RSP_INVALID_API_KEY";
    for wrong in [
        json!(null),
        json!(""),
        json!("k".repeat(1025)),
        json!("unknown"),
        json!(format!("{key}A")),
        json!(key.to_uppercase()),
    ] {
        let body = json!({ "api_key": wrong, "device": {} });
        assert_eq!(status(&site, &body).await, invalid, "{wrong}");
    }
    assert_eq!(status(&site, &json!({})).await, invalid);

    let body = json!({ "api_key": key, "device": device() });
    let spec = json!({ "category_ref": [{ "name": "category" }], "need_mtls": true });
    let mtls = site.create(API_KEYS, "mtls", spec).await;
    let with_mtls = json!({ "api_key": mtls.is(200).json["api_key"], "device": device() });
    assert_eq!(status(&site, &with_mtls).await, invalid);
    assert!(
        site.trail("tpm.preauth")
            .await
            .iter()
            .any(|(_, why)| why.contains("certificate"))
    );

    let granted = "PREAUTH_RSP_SUCCESS";
    site.disable("station").await;
    assert_eq!(status(&site, &body).await, invalid);
    let in_an_hour = json!({ "revoked_timestamp": "2023-11-14T23:13:20Z" });
    site.replace(API_KEYS, "station", in_an_hour).await.is(200);
    assert_eq!(status(&site, &body).await, granted);
    site.clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(status(&site, &body).await, granted);
    site.clock.advance(Duration::from_millis(1));
    assert_eq!(status(&site, &body).await, invalid);
    for (_, why) in site.trail("tpm.preauth").await {
        assert!(!why.contains(&key[13..]), "{why}");
    }
}

#[tokio::test]
async fn a_key_is_no_better_than_what_it_is_below() {
    let (site, ..) = Site::start_furnished().await;
    let make = async |path: &str, name: &str, of: &str, disable: bool| {
        let reference = json!([{ "name": of }]);
        let body = json!({
            "metadata": { "name": name, "disable": disable },
            "spec": { "tpm_manager_ref": reference, "category_ref": reference },
        });
        let answer = site.post(path, &body).await;
        answer.is(200).json["api_key"].clone()
    };
    make(MANAGERS, "off", "", true).await;
    make(CATEGORIES, "below", "off", false).await;
    make(CATEGORIES, "off", "manager", true).await;
    for (key, of, disable) in [
        ("one", "below", false),
        ("two", "off", false),
        ("three", "category", true),
    ] {
        let key = make(API_KEYS, key, of, disable).await;
        let body = json!({ "api_key": key, "device": device() });
        let invalid = "PREAUTH_RSP_INVALID_API_KEY";
        assert_eq!(status(&site, &body).await, invalid, "{of}");
        let refused = site.post(PROVISION, &body).await;
        refused.refuses(403, 7).saying("disabled");
    }
}

#[tokio::test]
async fn malformed_bodies_are_errors() {
    let site = Site::start().await;
    for wrong in [
        "",
        "{",
        "[]",
        "null",
        r#"{"api_key":7}"#,
        r#"{"api_key":"a","device":"b"}"#,
        r#"{"api_key":"a","device":{"name":1}}"#,
        r#"{"api_key":"a","api_key":"b"}"#,
    ] {
        let refused = site.admin("POST", PREAUTH).body(wrong).send().await;
        refused.refuses(400, 3);
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_ignored() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let marked = async |method: &str, path: &str, body: Value| {
        let call = site.admin(method, path);
        call.body(format!("\u{feff}{body}")).send().await
    };
    let body = json!({ "api_key": key, "device": device() });
    let answer = marked("POST", PREAUTH, body).await;
    assert_eq!(answer.is(200).json["status"], "PREAUTH_RSP_SUCCESS");
    let body = Device::new(&manufacturer, "SN0001").request(&key);
    marked("POST", PROVISION, body).await.is(200);
    let (path, body) = (format!("{API_KEYS}/station"), json!({ "name": "station" }));
    marked("DELETE", &path, body).await.is(200);
}

#[tokio::test]
async fn each_key_has_its_own_rate() {
    let site = Site::start_with(&[("f5.rate_limit_per_minute", 2.into())]).await;
    let key = site.furnished(&Manufacturer::new()).await;
    let other = site.api_key("other").await;
    let elsewhere = site.namesake().await;
    let call = async |key: &str| {
        let body = json!({ "api_key": key, "device": device() });
        site.post(PREAUTH, &body).await
    };
    call(&key).await.is(200);
    call(&key).await.is(200);
    let refused = call(&key).await;
    refused.refuses(429, 8);
    assert_eq!(refused.header("retry-after"), "30");
    let provision = json!({ "api_key": key });
    let refused = site.post(PROVISION, &provision).await;
    refused.refuses(429, 8);
    assert_eq!(refused.header("retry-after"), "30");
    // In whole seconds, and never too early.
    site.clock.advance(Duration::from_millis(1));
    assert_eq!(call(&key).await.refuses(429, 8).header("retry-after"), "30");
    site.clock.advance(Duration::from_millis(29_998));
    assert_eq!(call(&key).await.refuses(429, 8).header("retry-after"), "1");
    site.clock.advance(Duration::from_millis(1));
    call(&key).await.is(200);
    call(&key).await.refuses(429, 8);
    call(&other).await.is(200);
    call(&elsewhere).await.is(200);
    site.clock.advance(Duration::from_secs(30));
    call(&key).await.is(200);
    call(&key).await.refuses(429, 8);
    site.get(MANAGERS).await.is(200);
}
