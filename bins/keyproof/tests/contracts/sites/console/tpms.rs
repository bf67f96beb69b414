//! What an operator does at `/console/tpms`.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::json;

use super::operator::Operator;
use crate::f5::{
    dialect::{API_KEYS, PROVISION},
    machine::{Machine, SELECTION},
    provision::furnished,
    site::Site,
};

const NAMESPACE: &str = "/console/tpms/default";
const MANAGER: &str = "/console/tpms/default/managers/manager";
const DEVICE: &str =
    "/console/tpms/default/managers/manager/device?vendor=ExampleCorp&serial=SN0001";

async fn signed_in(site: &Site, scopes: &[&str]) -> (Operator, String) {
    let token = site.operator_token(scopes, None).await;
    let operator = Operator::signed_in(site.server.address(), &token).await;
    (operator, token)
}

fn device(what: &str) -> String {
    DEVICE.replace("/device?", &format!("/device/{what}?"))
}

#[tokio::test]
async fn an_operator_follows_a_device_through_what_it_attests() {
    let (site, key, machine) = furnished().await;
    site.activated(&key, &machine).await;
    let mut machine = Machine::booted(machine);
    let with_log = |log: Vec<u8>| {
        move |body: &mut serde_json::Value| body["event_log"] = json!(BASE64.encode(&log))
    };
    let log = machine.log();
    machine
        .attested_with(&site, SELECTION, with_log(log))
        .await
        .accepts();
    site.clock.advance(Duration::from_secs(60));
    machine.extends(7, 8, b"<b>tampered with</b>");
    let log = machine.log();
    machine
        .attested_with(&site, SELECTION, with_log(log))
        .await
        .fails();

    let (mut ops, token) = signed_in(&site, &["tpm:default"]).await;
    ops.get("/console/tpms").await.is(200);
    ops.sees("/console/tpms/default");
    ops.get(NAMESPACE).await.is(200);
    for seen in ["manager", "category", "station", "in use"] {
        ops.sees(seen);
    }
    ops.get(MANAGER).await.is(200);
    ops.sees("Makers that are covered");
    ops.sees("SN0001");
    ops.sees("refused, ");
    ops.get(DEVICE).await.is(200);
    ops.sees("sha256:7 <strong class=\"refused\">changed</strong>, <strong class=\"refused\">not as learnt</strong>");
    ops.sees("The event log behind what differs");
    ops.sees("&#60;b&#62;tampered with&#60;/b&#62;");
    // The one before: nothing differs, and nothing was before.
    let first = ops.page.rsplit("&#38;at=").next().unwrap();
    let first = first.split('#').next().unwrap().to_owned();
    ops.get(&format!("{DEVICE}&at={first}")).await.is(200);
    ops.sees("the first values");
    ops.sees_not("The event log behind what differs");

    // What weakens something asks for the token anew, once it was shown a while ago.
    site.clock.advance(Duration::from_secs(301));
    ops.get(DEVICE).await.is(200);
    for what in ["relearn", "forget"] {
        let sent_on = ops.post(&device(what), &[]).await;
        assert!(
            sent_on.is(303).location().starts_with("/console/confirm"),
            "{what}"
        );
        ops.get(DEVICE).await.is(200);
    }
    ops.confirms(&token).await;
    ops.get(DEVICE).await.is(200);
    ops.post(&device("relearn"), &[]).await.is(303);
    machine.attested(&site).await.accepts();
    ops.get(DEVICE).await.is(200);
    ops.sees_not("not as learnt</strong>");
    ops.post(&device("forget"), &[]).await.is(303);
    ops.get(DEVICE).await.is(404);
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_revoked_for_good() {
    let (site, _, device) = furnished().await;
    let (mut ops, token) = signed_in(&site, &["tpm"]).await;
    ops.get(NAMESPACE).await.is(200);
    let fields = [
        ("name", "Line 2"),
        ("category", "category"),
        ("description", ""),
    ];
    ops.post(&format!("{NAMESPACE}/keys"), &fields)
        .await
        .is(422);
    let fields = [
        ("name", "line-2"),
        ("category", "category"),
        ("description", "<b>\u{202e}"),
    ];
    ops.post(&format!("{NAMESPACE}/keys"), &fields)
        .await
        .is(200);
    let text = ops.text_of("secret");
    assert!(text.starts_with("keyproof_tpm_"), "{text}");
    site.post(PROVISION, &device.request(&text)).await.is(200);
    ops.get(NAMESPACE).await.is(200);
    ops.sees("line-2");
    ops.sees_not(&text);
    ops.sees_not("<b>\u{202e}");

    let page = format!("{NAMESPACE}/keys/line-2");
    site.clock.advance(Duration::from_secs(301));
    ops.get(NAMESPACE).await.is(200);
    let sent_on = ops.post(&page, &[("reason", "lost")]).await;
    assert!(sent_on.is(303).location().starts_with("/console/confirm"));
    ops.confirms(&token).await;
    ops.get(&page).await.is(200);
    ops.post(&page, &[("reason", "lost <i>")]).await.is(303);
    ops.get(NAMESPACE).await.is(200);
    ops.sees("revoked: <bdi>lost &#60;i&#62;</bdi>");
    let refused = site.post(PROVISION, &device.request(&text)).await;
    refused.refuses(403, 7);
    ops.get(&format!("{NAMESPACE}/keys/nothing")).await.is(404);
}

#[tokio::test]
async fn a_revocation_enables_no_key_that_somebody_has_disabled() {
    let (site, _, device) = furnished().await;
    let key = site.api_key("line-2").await;
    site.post(PROVISION, &device.request(&key)).await.is(200);
    let disabled = json!({ "is_disabled": true });
    site.replace(API_KEYS, "line-2", disabled).await.is(200);
    let (mut ops, _) = signed_in(&site, &["tpm"]).await;
    let page = format!("{NAMESPACE}/keys/line-2");
    ops.get(&page).await.is(200);
    ops.sees("disabled");
    ops.post(&page, &[("reason", "")]).await.is(303);
    let key = site
        .get(&format!("{API_KEYS}/line-2"))
        .await
        .is(200)
        .json
        .clone();
    assert_eq!(key["spec"]["is_disabled"], true, "{key}");
}

#[tokio::test]
async fn each_sees_what_their_scopes_reach_and_no_more() {
    let (site, key, machine) = furnished().await;
    site.activated(&key, &machine).await;
    site.namesake().await;
    for (scope, area, namespace) in [
        ("admin", 200, 200),
        ("tpm", 200, 200),
        ("tpm:default", 200, 200),
        ("tpm:other", 200, 403),
        ("tpm-station", 403, 403),
        ("instances", 403, 403),
    ] {
        let (mut ops, _) = signed_in(&site, &[scope]).await;
        let csrf = ops.csrf();
        ops.get("/console/tpms").await.is(area);
        if area == 200 {
            let is_listed = ops.page.contains("\"/console/tpms/default\"");
            assert_eq!(is_listed, namespace == 200, "{scope}");
        }
        for page in [
            NAMESPACE,
            MANAGER,
            DEVICE,
            "/console/tpms/default/keys/station",
        ] {
            ops.get(page).await.is(namespace);
        }
        if namespace == 403 {
            let fields = [("name", "x"), ("category", "category")];
            ops.post_as(&format!("{NAMESPACE}/keys"), &csrf, &fields)
                .await
                .is(403);
            ops.post_as(&format!("{NAMESPACE}/keys/station"), &csrf, &[])
                .await
                .is(403);
            for what in ["relearn", "forget"] {
                ops.post_as(&device(what), &csrf, &[]).await.is(403);
            }
        }
    }
    // Nor does the path of another namespace reach this one's devices.
    let (mut ops, _) = signed_in(&site, &["tpm:other"]).await;
    let other = DEVICE.replace("/default/", "/other/");
    ops.get(&other).await.is(404);
}
