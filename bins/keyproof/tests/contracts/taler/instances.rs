//! Instances, and the effect of commands on them while the server runs.

use std::sync::Arc;

use keyproof_service::audit::Outcome;
use serde_json::json;

use crate::taler::{
    dialect::{DEVICES, PASSWORD, TOKEN, device},
    site::{Site, administrator, secret},
};

#[tokio::test]
async fn the_default_instance_is_at_the_root_and_under_its_name() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    site.add(token, device("till")).await;
    for prefix in ["", "/instances/default"] {
        let path = format!("{prefix}{DEVICES}/till");
        site.get(&path).send_as(token).await.is(200);
    }
}

#[tokio::test]
async fn instances_are_apart() {
    let site = Site::start().await;
    let (own, other) = (site.token("all").await, site.token_of("shop").await);
    site.add(&own, device("till")).await;
    let shop = "/instances/shop/private/otp-devices";
    site.get(shop).send_as(&own).await.refuses(401, 41);
    site.get(DEVICES).send_as(&other).await.refuses(401, 41);
    let listed = site.get(shop).send_as(&other).await;
    assert_eq!(listed.is(200).json, json!({ "otp_devices": [] }));
    site.get(&format!("{shop}/till"))
        .send_as(&other)
        .await
        .refuses(404, 2021);
}

#[tokio::test]
async fn an_unknown_instance_comes_before_the_token() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    let path = "/instances/nowhere/private/otp-devices";
    site.get(path).send().await.refuses(404, 2000);
    site.get(path).send_as(token).await.refuses(404, 2000);
    site.get(path).send_as("nonsense").await.refuses(404, 2000);
    site.post(path, &json!({})).send().await.refuses(404, 2000);
    site.delete("/instances/nowhere/private/token")
        .send()
        .await
        .refuses(404, 2000);
    site.post("/instances/nowhere/private/token", &json!({}))
        .send()
        .await
        .refuses(404, 2000);
}

#[tokio::test]
async fn nothing_of_a_removed_instance_comes_back_with_its_name() {
    let site = Site::start().await;
    let token = &site.token_of("shop").await;
    let shop = "/instances/shop/private/otp-devices";
    site.post(shop, &device("till"))
        .send_as(token)
        .await
        .is_empty();
    let commands = &site.console.otp_devices;
    commands
        .remove_instance(&administrator("shop"))
        .await
        .unwrap();
    site.get(shop).send_as(token).await.refuses(404, 2000);

    commands
        .add_instance(&administrator("shop"), secret(PASSWORD))
        .await
        .unwrap();
    site.get(shop).send_as(token).await.refuses(401, 41);
    site.post(shop, &device("till"))
        .send_as(token)
        .await
        .refuses(401, 41);
    let fresh = site.token_of("shop").await;
    let listed = site.get(shop).send_as(&fresh).await;
    assert_eq!(listed.is(200).json, json!({ "otp_devices": [] }));
}

#[tokio::test]
async fn a_new_password_ends_tokens_and_keeps_devices() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    site.add(token, device("till")).await;
    let commands = &site.console.otp_devices;
    commands
        .set_password(&administrator("default"), secret("another horse"))
        .await
        .unwrap();
    site.get(DEVICES).send_as(token).await.refuses(401, 41);
    site.login(json!({ "scope": "all" }))
        .await
        .refuses(401, 2015);
    let login = site
        .post(TOKEN, &json!({ "scope": "all" }))
        .basic("default", "another horse");
    let answer = login.send().await;
    let token = answer.is(200).json["token"].as_str().unwrap().to_owned();
    site.get("/private/otp-devices/till")
        .send_as(&token)
        .await
        .is(200);
}

#[tokio::test]
async fn an_instance_without_a_password_gives_no_token() {
    let site = Site::start().await;
    let commands = &site.console.otp_devices;
    commands
        .remove_instance(&administrator("default"))
        .await
        .unwrap();
    site.get("/config").send().await.is(200);
    for password in ["", PASSWORD] {
        let login = site
            .post(TOKEN, &json!({ "scope": "all" }))
            .basic("default", password);
        login.send().await.refuses(401, 2015);
    }
}

#[tokio::test]
async fn the_trail_names_the_request_that_its_answer_names() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    let added = site.post(DEVICES, &device("till")).send_as(token).await;
    let refused = site.login(json!({})).await;
    let wrong = site
        .post(TOKEN, &json!({}))
        .basic("default", "wrong horse")
        .send()
        .await;
    let events = site.events().await;
    let of = |id: &str| {
        let mut events = events.iter();
        events.find(|event| event.request_id.as_deref() == Some(id))
    };
    let event = of(added.header("x-request-id")).expect("the device's event");
    assert_eq!(
        (&*event.action, &*event.target),
        ("otp_device.add", "instance/default/device/till")
    );
    assert!(
        event.who.starts_with("instance:default/token:"),
        "{}",
        event.who
    );
    assert!(event.address.is_some_and(|address| address.is_loopback()));
    let event = of(wrong.header("x-request-id")).expect("the refused login's event");
    assert_eq!(
        (&*event.action, event.outcome),
        ("login_token.issue", Outcome::Refused)
    );
    assert!(
        of(refused.header("x-request-id")).is_none(),
        "a malformed body changes nothing"
    );
}

#[tokio::test]
async fn no_secret_is_in_the_store_in_the_clear() {
    let site = Site::start().await;
    let token = &site.token("all").await;
    site.add(token, device("till")).await;
    let bare = token.strip_prefix("secret-token:").unwrap();
    let rows = site.all_rows().await;
    assert!(rows.len() > 8);
    for row in rows {
        let text = format!("{} {}", row.key(), String::from_utf8_lossy(row.json()));
        for secret in [bare, PASSWORD, super::dialect::KEY] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn a_hundred_clients_at_once_are_each_answered() {
    let site = Arc::new(Site::start().await);
    let token = site.token("all").await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (site, token) = (site.clone(), token.clone());
        clients.spawn(async move {
            let id = format!("till-{number}");
            site.add(&token, device(&id)).await;
            let shown = site.get(&format!("{DEVICES}/{id}")).send_as(&token).await;
            shown.is(200).json["otp_code"].is_string()
        });
    }
    assert!(
        clients
            .join_all()
            .await
            .into_iter()
            .all(|answered| answered)
    );
    let listed = site.get(DEVICES).send_as(&token).await;
    assert_eq!(listed.json["otp_devices"].as_array().unwrap().len(), 100);
}
