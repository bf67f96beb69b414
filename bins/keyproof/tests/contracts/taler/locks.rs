//! Wrong guesses of an instance's password: who is locked out, and for how long.

use std::time::Duration;

use serde_json::json;

use crate::taler::{
    dialect::{PASSWORD, TOKEN},
    site::{Answer, Site, administrator, secret, trusted_proxy},
};

const HOME: &str = "192.0.2.1";

/// A site behind a proxy.
async fn site() -> Site {
    Site::start_with(&[("auth.address_limit", 0.into()), trusted_proxy()]).await
}

async fn log_in(site: &Site, address: &str, password: &str) -> Answer {
    let call = site.post(
        &format!("/instances/shop{TOKEN}"),
        &json!({ "scope": "all" }),
    );
    let call = call.header("x-forwarded-for", address);
    call.basic("shop", password).send().await
}

/// Sends wrong passwords until the instance is locked.
async fn lock(site: &Site, address: &str) {
    for _ in 0..2 {
        log_in(site, address, "wrong horse")
            .await
            .refuses(401, 2015);
    }
    let locked = log_in(site, address, "wrong horse").await;
    locked.refuses(429, 2127);
    assert_eq!(locked.header("retry-after"), "300");
}

#[tokio::test]
async fn of_twelve_wrong_passwords_in_a_row_three_are_judged() {
    let site = site().await;
    lock(&site, "203.0.113.1").await;
    site.clock.advance(Duration::from_secs(60));
    for number in 0..9 {
        let stranger = format!("203.0.113.{number}");
        let refused = log_in(&site, &stranger, PASSWORD).await;
        refused.refuses(429, 2127);
        assert_eq!(refused.header("retry-after"), "240");
    }
    // With another name too, because it is still the instance's password.
    let call = site.post(&format!("/instances/shop{TOKEN}"), &json!({}));
    call.basic("default", PASSWORD)
        .send()
        .await
        .refuses(429, 2127);
    site.clock.advance(Duration::from_secs(240));
    log_in(&site, "203.0.113.1", PASSWORD).await.is(200);
}

#[tokio::test]
async fn a_strangers_guesses_do_not_shut_out_where_a_login_came_from_before() {
    let site = site().await;
    log_in(&site, HOME, PASSWORD).await.is(200);
    for _ in 0..12 {
        lock(&site, "203.0.113.1").await;
        log_in(&site, "198.51.100.1", PASSWORD)
            .await
            .refuses(429, 2127);
        log_in(&site, HOME, PASSWORD).await.is(200);
        site.clock.advance(Duration::from_secs(300));
    }
    // The lock affects this address alone.
    lock(&site, HOME).await;
    log_in(&site, "198.51.100.1", PASSWORD).await.is(200);
}

#[tokio::test]
async fn a_new_password_lifts_an_instances_locks() {
    let site = site().await;
    log_in(&site, HOME, PASSWORD).await.is(200);
    lock(&site, HOME).await;
    lock(&site, "203.0.113.1").await;
    let devices = &site.console.otp_devices;
    devices
        .set_password(&administrator("shop"), secret(PASSWORD))
        .await
        .unwrap();
    log_in(&site, HOME, PASSWORD).await.is(200);
    log_in(&site, "203.0.113.1", PASSWORD).await.is(200);
}
