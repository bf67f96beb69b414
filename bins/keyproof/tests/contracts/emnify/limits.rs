//! The rate limit per address, and which address counts.

use std::time::Duration;

use keyproof_service::accounts::Role;
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, BOB, PASSWORD},
    site::{Answer, Site, trusted_proxy},
};

/// Asserts that an address has used up its requests.
#[track_caller]
fn is_limited(refused: &Answer) {
    let message = "Too many authentication requests from this address";
    refused.says(429, 1105, "TooManyRequests", message);
}

#[tokio::test]
async fn an_address_has_so_many_posts_a_window() {
    let site = Site::configured(&[("emnify.authenticate_limit", 3.into())]).await;
    for body in ["{", "{}", r#"{"username":"a","password":"b"}"#] {
        let status = site
            .call("POST", AUTHENTICATE)
            .body(body)
            .send()
            .await
            .status;
        assert_ne!(status, 429);
    }
    site.clock.advance(Duration::from_millis(100_500));
    let refused = site.password("a", "b").await;
    is_limited(&refused);
    assert_eq!(refused.header("retry-after"), "200");
    // Only this path is limited.
    site.get("/api/v1/user").send().await.is(401);
    site.clock.advance(Duration::from_millis(199_499));
    assert_eq!(site.password("a", "b").await.header("retry-after"), "1");
    site.clock.advance(Duration::from_millis(1));
    site.password("a", "b").await.is(401);
}

#[tokio::test]
async fn every_request_that_costs_a_hash_counts_and_no_other() {
    let site = Site::configured(&[("auth.address_limit", 4.into())]).await;
    site.add(ADA, "Example Org", Role::User).await;
    let token = site.token(ADA).await;
    for _ in 0..10 {
        site.users(&token).await.is(200);
    }
    let key = json!({ "type": { "id": 0 }, "password": "wrong horse" });
    let enrol = || site.post("/api/v1/user/mfa", &key).send_as(&token);
    enrol().await.is(422);
    let change = json!({ "old_password": "wrong horse", "new_password": "battery staple" });
    let path = "/api/v1/user/password";
    let change = || site.patch(path, &change).send_as(&token);
    change().await.is(422);
    site.password("a", "b").await.is(401);
    for refused in [enrol().await, change().await, site.password("a", "b").await] {
        is_limited(&refused);
        assert_eq!(refused.header("retry-after"), "300");
    }
    site.users(&token).await.is(200);
    site.clock.advance(Duration::from_secs(300));
    site.password("a", "b").await.is(401);
}

#[tokio::test]
async fn a_login_counts_whatever_it_shows() {
    let site = Site::configured(&[("auth.address_limit", 4.into())]).await;
    site.add(ADA, "Example Org", Role::User).await;
    let tokens = site.password(ADA, PASSWORD).await;
    let refresh = json!({ "refresh_token": tokens.text("refresh_token") });
    site.authenticate(refresh.clone()).await.is(200);
    for shown in [
        json!({ "application_token": "a" }),
        json!({ "mfa_token": "a", "code": "123456" }),
    ] {
        site.authenticate(shown).await.is_empty(401);
    }
    let refused = site.authenticate(refresh).await;
    is_limited(&refused);
}

/// A stranger with a /48 does not get 65,536 separate limits, and does not use up anybody else's.
#[tokio::test]
async fn a_network_has_16_times_the_limit_and_others_have_their_own() {
    let site = Site::configured(&[("auth.address_limit", 1.into()), trusted_proxy()]).await;
    let mut judged = 0;
    for subnet in 0..40 {
        let answer = post_from(&site, &format!("2001:db8:1:{subnet:x}00::1")).await;
        judged += usize::from(answer.status == 401);
    }
    assert_eq!(judged, 16);
    let mut judged = 0;
    for subnet in 0..40 {
        let answer = post_from(&site, &format!("2001:db8:2:{subnet:x}::1")).await;
        judged += usize::from(answer.status == 401);
    }
    assert_eq!(judged, 4);
    for host in 0..40 {
        let answer = post_from(&site, &format!("::ffff:192.0.2.{host}")).await;
        assert_eq!(answer.status, if host < 16 { 401 } else { 429 });
    }
    post_from(&site, "2001:db8:3::1").await.is(401);
    post_from(&site, "192.0.3.1").await.is(401);
}

async fn post_from(site: &Site, forwarded: &str) -> Answer {
    let body = json!({ "username": "a", "password": "b" });
    body_from(site, forwarded, &body).await
}

async fn body_from(site: &Site, forwarded: &str, body: &Value) -> Answer {
    let call = site.post(AUTHENTICATE, body);
    call.header("x-forwarded-for", forwarded).send().await
}

/// Returns a site behind a proxy, and the body that logs in with an application token for this network.
async fn with_application_token(network: &str) -> (Site, Value) {
    let site = Site::configured(&[trusted_proxy()]).await;
    site.add(ADA, "Example Org", Role::User).await;
    let token = site.token(ADA).await;
    let made = site
        .application_token(&token, &json!({ "ip": network }))
        .await;
    (site, json!({ "application_token": made }))
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_limit_is_its_clients() {
    let site = Site::configured(&[("auth.address_limit", 1.into()), trusted_proxy()]).await;
    post_from(&site, "192.0.2.1").await.is(401);
    post_from(&site, "192.0.2.1").await.is(429);
    // Entries before the proxy's own, which the client may have written, are ignored.
    post_from(&site, "192.0.2.7, 192.0.2.1").await.is(429);
    post_from(&site, "192.0.2.2").await.is(401);
    // An IPv6 host has a whole network.
    post_from(&site, "2001:db8::1").await.is(401);
    post_from(&site, "2001:db8::2").await.is(429);
    post_from(&site, "::ffff:192.0.2.2").await.is(429);
}

#[tokio::test]
async fn nobody_else_chooses_their_address() {
    let site = Site::configured(&[("auth.address_limit", 1.into())]).await;
    post_from(&site, "192.0.2.1").await.is(401);
    post_from(&site, "192.0.2.2").await.is(429);
}

#[tokio::test]
async fn an_application_token_holds_for_the_address_that_the_proxy_names() {
    let (site, body) = with_application_token("192.0.2.0/24").await;
    let log_in = |from| body_from(&site, from, &body);
    log_in("198.51.100.1").await.is_empty(401);
    let access = log_in("192.0.2.9").await.is(200).text("auth_token");
    for (from, status) in [
        ("192.0.2.200", 200),
        ("198.51.100.1", 401),
        ("nonsense", 401),
    ] {
        let call = site.get("/api/v1/user").bearer(&access);
        let answer = call.header("x-forwarded-for", from).send().await;
        assert_eq!(answer.status, status, "{from}");
    }
    site.password(ADA, PASSWORD).await.is(200);
}

#[tokio::test]
async fn an_application_token_holds_for_an_ipv4_network_that_is_written_as_ipv6() {
    let site = Site::start().await;
    let token = site.token(ADA).await;
    let post = async |ip: &str| {
        let body = json!({ "ip": ip });
        let call = site.post("/api/v1/application_token", &body);
        call.send_as(&token).await
    };
    let made = post("::ffff:127.0.0.0/104").await;
    let body = json!({ "application_token": made.is(200).text("application_token") });
    site.post(AUTHENTICATE, &body).send().await.is(200);
    let listed = site.get("/api/v1/application_token").bearer(&token);
    assert_eq!(listed.send().await.is(200).json[0]["ip"], "127.0.0.0/8");
    // Such a network contains neither all IPv4 nor all IPv6 addresses.
    post("::ffff:127.0.0.0/80").await.refuses(422, 1403, "CIDR");
}

/// In the past, one byte that is not text discarded the whole line, including the proxy's entry.
#[tokio::test]
async fn no_byte_of_a_client_makes_it_the_proxy() {
    // The network that contains the proxy.
    let (site, body) = with_application_token("127.0.0.0/8").await;
    let log_in = |from| body_from(&site, from, &body);
    log_in("203.0.113.9").await.is_empty(401);
    log_in("é, 203.0.113.9").await.is_empty(401);
    let access = log_in("127.0.0.1").await.is(200).text("auth_token");
    let call = site.get("/api/v1/user").bearer(&access);
    let call = call.header("x-forwarded-for", "é, 203.0.113.9");
    call.send().await.is(401);
}

#[tokio::test]
async fn no_route_takes_a_body_of_more_than_16_kib() {
    const MOST: usize = 16 * 1024;
    let site = Site::start().await;
    let pending = site.pending(ADA).await;
    let ada = site.token(ADA).await;
    let bob = site.enrol(BOB).await.token;
    site.application_token(&ada, &json!({})).await;
    let all = site.get("/api/v1/application_token").send_as(&ada).await;
    let made = all.is(200).json[0]["id"].as_u64().unwrap();
    for (method, path, token) in [
        ("POST", AUTHENTICATE.to_owned(), &ada),
        ("POST", "/api/v1/user/mfa".to_owned(), &ada),
        ("PATCH", format!("/api/v1/user/mfa/{pending}"), &ada),
        (
            "POST",
            "/api/v1/user/my/mfa/recovery_codes".to_owned(),
            &bob,
        ),
        ("PATCH", "/api/v1/user/password".to_owned(), &ada),
        ("POST", "/api/v1/application_token".to_owned(), &ada),
        ("PATCH", format!("/api/v1/application_token/{made}"), &ada),
    ] {
        let longest = format!("{:<MOST$}", r#"{"password":7,"code":[],"description":7}"#);
        let send = async |body: String| {
            let call = site.call(method, &path).bearer(token).body(body);
            call.send().await.status.as_u16()
        };
        let judged = send(longest.clone()).await;
        assert!([400, 422].contains(&judged), "{method} {path}: {judged}");
        assert_eq!(send(longest + " ").await, 413, "{method} {path}");
    }
}
