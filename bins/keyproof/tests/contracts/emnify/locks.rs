//! Who is locked out after wrong guesses, and for how long.

use std::time::Duration;

use keyproof_service::accounts::{Role, UserChange};
use serde_json::{Value, json};

use crate::emnify::{
    dialect::{ADA, AUTHENTICATE, Enrolled, PASSWORD},
    site::{Answer, Site, trusted_proxy},
};

const HOME: &str = "192.0.2.1";
const ABROAD: &str = "198.51.100.1";
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

/// A site behind a proxy.
async fn site() -> Site {
    let site = Site::configured(&[("auth.address_limit", 0.into()), trusted_proxy()]).await;
    site.add(ADA, "Example Org", Role::User).await;
    site
}

async fn from(site: &Site, address: &str, body: &Value) -> Answer {
    site.post(AUTHENTICATE, body)
        .header("x-forwarded-for", address)
        .send()
        .await
}

async fn password(site: &Site, address: &str, password: &str) -> Answer {
    let body = json!({ "username": ADA, "password": password });
    from(site, address, &body).await
}

/// Does both steps, and returns the answer to the second. Afterwards the code's step is over.
async fn in_full(site: &Site, ada: &Enrolled, address: &str) -> Answer {
    let token = password(site, address, PASSWORD).await;
    let body = json!({
        "mfa_token": token.is(200).text("mfa_token"),
        "code": ada.phone.shows(site.now()),
        "trusted_device": { "fingerprint": "laptop" },
    });
    let answer = from(site, address, &body).await;
    site.clock.advance(Duration::from_secs(30));
    answer
}

/// Sends a right password and a wrong code.
async fn guess(site: &Site, ada: &Enrolled, address: &str) -> Answer {
    let token = password(site, address, PASSWORD).await;
    let body = json!({
        "mfa_token": token.is(200).text("mfa_token"),
        "code": ada.phone.never_shows(site.now()),
    });
    from(site, address, &body).await
}

/// Does so three times, and returns for how many seconds that locks.
async fn seconds_locked(site: &Site, ada: &Enrolled, address: &str) -> u64 {
    guess(site, ada, address).await.is_empty(401);
    guess(site, ada, address).await.is_empty(401);
    let third = guess(site, ada, address).await;
    third.refuses(401, 1105, "");
    third.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn a_day_of_a_strangers_guesses_shuts_out_neither_address_device_nor_session() {
    let site = site().await;
    let ada = site.enrol(ADA).await;
    let token = in_full(&site, &ada, HOME).await.is(200).text("auth_token");
    for round in 0_u64..288 {
        for number in 0..4 {
            let stranger = format!("203.0.113.{}", (4 * round + number) % 256);
            password(&site, &stranger, "wrong horse").await.is(401);
        }
        password(&site, ABROAD, PASSWORD)
            .await
            .refuses(401, 1105, "");
        if round % 48 == 0 {
            in_full(&site, &ada, HOME).await.is(200);
            let body = json!({ "username": ADA, "password": PASSWORD, "fingerprint": "laptop" });
            from(&site, ABROAD, &body).await.is(200);
        }
        if round == 40 {
            let body = json!({ "password": PASSWORD, "code": ada.phone.shows(site.now()) });
            let made = site
                .post("/api/v1/user/my/mfa/recovery_codes", &body)
                .header("x-forwarded-for", ABROAD)
                .send_as(&token)
                .await;
            made.is(200);
        }
        site.clock.advance(FIVE_MINUTES);
    }
}

#[tokio::test]
async fn an_ipv6_64_is_one_address_and_an_unknown_one_counts_by_name() {
    let site = site().await;
    password(&site, "2001:db8:1:2::1", PASSWORD).await.is(200);
    for number in 0..3 {
        let stranger = format!("2001:db8:9:{number}::1");
        password(&site, &stranger, "wrong horse").await.is(401);
    }
    password(&site, "2001:db8:1:2:3::4", PASSWORD).await.is(200);
    password(&site, "2001:db8:1:3::1", PASSWORD)
        .await
        .refuses(401, 1105, "");
}

#[tokio::test]
async fn a_known_address_locks_for_itself_and_names_a_time() {
    let site = site().await;
    password(&site, HOME, PASSWORD).await.is(200);
    password(&site, HOME, "wrong horse").await.is_empty(401);
    password(&site, HOME, "wrong horse").await.is_empty(401);
    for _ in 0..2 {
        let locked = password(&site, HOME, "wrong horse").await;
        locked.refuses(401, 1105, "Too many failed authentication requests");
        assert_eq!(locked.header("retry-after"), "300");
    }
    password(&site, ABROAD, PASSWORD).await.is(200);
    site.clock.advance(FIVE_MINUTES);
    password(&site, HOME, PASSWORD).await.is(200);
}

#[tokio::test]
async fn wrong_codes_double_the_lock_and_wrong_passwords_do_not() {
    let site = site().await;
    let ada = site.enrol(ADA).await;
    for seconds in [300, 600, 1200] {
        assert_eq!(seconds_locked(&site, &ada, ABROAD).await, seconds);
        site.clock.advance(Duration::from_secs(seconds));
    }
    for _ in 0..2 {
        password(&site, ABROAD, "wrong horse").await.is_empty(401);
    }
    let locked = password(&site, ABROAD, "wrong horse").await;
    assert_eq!(locked.header("retry-after"), "1200");
    site.clock.advance(Duration::from_secs(1200));
    // A login there ends it; `user unlock` removes the lock itself.
    in_full(&site, &ada, ABROAD).await.is(200);
    assert_eq!(seconds_locked(&site, &ada, ABROAD).await, 300);
    site.change(ADA, UserChange::Unlock).await;
    in_full(&site, &ada, ABROAD).await.is(200);
}

#[tokio::test]
async fn an_unknown_name_is_answered_as_a_known_one() {
    let site = site().await;
    let answers = async |name: &str| {
        let mut answers = Vec::new();
        for number in 0..5 {
            let body = json!({ "username": name, "password": "wrong horse" });
            let answer = from(&site, &format!("203.0.113.{number}"), &body).await;
            let again = answer.headers.get("retry-after").cloned();
            answers.push((answer.status, answer.json, again));
        }
        answers
    };
    assert_eq!(answers(ADA).await, answers("nobody@example.org").await);
}
