//! An operator's actions at `/console/tpms`.

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_store::{CommitError, Key, NotApplied, Record};
use keyproof_x509::{Sha256Thumbprint, crl::Crl};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operator::{Answer, Operator};
use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{API_KEYS, CATEGORIES, MANAGERS, PROVISION},
    machine::{Machine, SELECTION},
    provision::furnished,
    site::Site,
};

const NAMESPACE: &str = "/console/tpms/default";
const MANAGER: &str = "/console/tpms/default/managers/manager";
const DEVICE: &str =
    "/console/tpms/default/managers/manager/device?vendor=ExampleCorp&serial=SN0001";

/// The parts of a form with a file: names and contents.
type Parts = &'static [(&'static str, &'static [u8])];

/// The forms without a file that change managers, categories and keys.
const CHANGES: &[&str] = &[
    "/keys/station/disable",
    "/keys/station/enable",
    "/keys/station/revoke",
    "/keys/station/delete",
    "/managers/manager/makers/remove",
    "/managers/manager/bundle/trust",
    "/managers/manager/bundle/distrust",
    "/managers/manager/delete",
    "/categories/category/disallow",
    "/categories/category/client/renew",
    "/categories/category/client/end-earlier",
    "/categories/category/delete",
];

/// The forms with a file.
const UPLOADS: &[(&str, Parts)] = &[
    ("/managers", &[("name", b"x")]),
    ("/managers/manager/makers", &[("text", b"x")]),
    ("/categories", &[("name", b"x"), ("policy", b"any")]),
    ("/categories/category/allow", &[("text", b"x")]),
    ("/categories/category/registers", &[("policy", b"any")]),
];

fn device(what: &str) -> String {
    DEVICE.replace("/device?", &format!("/device/{what}?"))
}

#[tokio::test]
async fn an_operator_follows_a_device_through_what_it_attests() {
    let (site, key, machine) = furnished().await;
    site.activated(&key, &machine).await;
    let mut machine = Machine::booted(machine);
    let with_log =
        |log: Vec<u8>| move |body: &mut Value| body["event_log"] = json!(BASE64.encode(&log));
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

    let (mut ops, token) = site.operator(&["tpm:default"]).await;
    ops.get("/console/tpms").await.is(200);
    ops.sees("/console/tpms/default");
    ops.get(NAMESPACE).await.is(200);
    for seen in [
        "data-label=\"Trusts\">1 entry of manufacturers’ CAs</td>",
        "data-label=\"Manager\"><a href=\"/console/tpms/default/managers/manager\">",
        "data-label=\"Category\"><a href=\"/console/tpms/default/categories/category\">category",
        "station",
        "in use",
    ] {
        ops.sees(seen);
    }
    ops.get(MANAGER).await.is(200);
    ops.sees("Covered manufacturers");
    ops.sees("SN0001");
    ops.sees("<strong class=\"refused\">refused</strong>, <time datetime=\"");
    ops.get(DEVICE).await.is(200);
    ops.sees("sha256:7 <strong class=\"refused\">changed</strong>, <strong class=\"refused\">not as learnt</strong>");
    ops.sees("The event log behind what differs");
    ops.sees("&#60;b&#62;tampered with&#60;/b&#62;");
    // The first attestation: nothing differs, and there is no earlier one.
    let first = ops.page.rsplit("&#38;at=").next().unwrap();
    let first = first.split('#').next().unwrap().to_owned();
    ops.get(&format!("{DEVICE}&at={first}")).await.is(200);
    ops.sees("the first values");
    ops.sees_not("The event log behind what differs");

    // Changes that weaken security require the token again, once the last confirmation is old.
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
    let forgotten = ops.post(&device("forget"), &[]).await;
    assert_eq!(
        forgotten.is(303).location(),
        format!("{MANAGER}?done=device-forgotten")
    );
    ops.get(DEVICE).await.is(404);
}

#[tokio::test]
async fn a_device_whose_manager_was_deleted_is_forgotten_still() {
    let (site, key, machine) = furnished().await;
    site.activated(&key, &machine).await;
    site.strip().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    // Without a manager the namespace is found by its devices.
    let listed = format!("href=\"{NAMESPACE}\"");
    ops.get("/console/tpms").await.is(200);
    ops.sees(&listed);
    ops.get(NAMESPACE).await.is(200);
    ops.sees("Devices whose manager was deleted");
    ops.sees(&format!("href=\"{}\"", DEVICE.replace('&', "&#38;")));
    ops.get(DEVICE).await.is(200);
    ops.sees("Its manager manager was deleted.");
    // The deleted manager's name is not a link.
    ops.sees_not(&format!("href=\"{MANAGER}\""));
    let forgotten = ops.submit(&device("forget"), &[]).await;
    forgotten.is(200);
    ops.sees("The device is forgotten.");
    ops.sees_not("Devices whose manager was deleted");
    ops.get(DEVICE).await.is(404);
    ops.get("/console/tpms").await.is(200);
    ops.sees_not(&listed);
}

#[tokio::test]
async fn registers_that_the_key_has_not_signed_are_not_shown() {
    let (site, key, machine) = furnished().await;
    site.activated(&key, &machine).await;
    let mut machine = Machine::booted(machine);
    let invented = |body: &mut Value| {
        body["pcr_values"] = json!(BASE64.encode(&[0xab; 96]));
    };
    let attested = machine.attested_with(&site, SELECTION, invented);
    attested.await.fails();
    let (mut ops, _) = site.operator(&["tpm"]).await;
    ops.get(DEVICE).await.is(200);
    ops.sees("values not known");
    ops.sees("Their values were not shown, or are not those that the key has signed.");
    ops.sees_not(&"ab".repeat(32));
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_revoked_for_good() {
    let (site, _, device) = furnished().await;
    let (mut ops, token) = site.operator(&["tpm"]).await;
    ops.get(&format!("{NAMESPACE}/keys")).await.is(200);
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
    let revoke = format!("{page}/revoke");
    site.clock.advance(Duration::from_secs(301));
    ops.get(&page).await.is(200);
    ops.post(&revoke, &[("reason", "lost <i>")]).await.is(422);
    ops.sees("value=\"lost &#60;i&#62;\"");
    let fields = [("reason", "lost <i>"), ("confirmation", &*token)];
    ops.post(&revoke, &fields).await.is(303);
    ops.get(NAMESPACE).await.is(200);
    ops.sees("revoked: <bdi>lost &#60;i&#62;</bdi>");
    let refused = site.post(PROVISION, &device.request(&text)).await;
    refused.refuses(403, 7);
    ops.get(&format!("{NAMESPACE}/keys/nothing")).await.is(404);
    // As from a page that was opened before: the page of a revoked key has no field at which an error could be.
    for seconds in [1, 301] {
        site.clock.advance(Duration::from_secs(seconds));
        ops.get(&page).await.is(200);
        ops.post(&revoke, &[("reason", "again")]).await.is(422);
        ops.sees("The API key is revoked already. Nothing is changed.");
        ops.sees("revoked</strong>: <bdi>lost &#60;i&#62;</bdi>");
    }
    assert_eq!(site.trail("tpm_api_key.replace").await.len(), 1);
    let (mut reader, _) = site.operator(&["audit-read"]).await;
    reader
        .get("/console/audit?what=tpm_api_key.replace")
        .await
        .is(200);
    reader.sees("revoked from 2023-11-14T");
}

/// No listener requests client certificates by default.
#[tokio::test]
async fn a_key_that_this_server_cannot_accept_is_said_to_be_one() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let keys = format!("{NAMESPACE}/keys");
    for (name, needs_certificate) in [("bound", true), ("free", false)] {
        ops.get(&keys).await.is(200);
        let mut fields = vec![
            ("name", name),
            ("category", "category"),
            ("description", ""),
        ];
        if needs_certificate {
            fields.push(("mtls", "on"));
        }
        ops.post(&keys, &fields).await.is(200);
        let when_made = ops.page.contains("This server does not accept it");
        ops.get(&format!("{keys}/{name}")).await.is(200);
        let on_its_page = ops.page.contains("which this server does not ask for");
        let both = (needs_certificate, needs_certificate);
        assert_eq!((when_made, on_its_page), both, "{name}");
    }
}

#[tokio::test]
async fn a_revocation_enables_no_key_that_somebody_has_disabled() {
    let (site, _, device) = furnished().await;
    let key = site.api_key("line-2").await;
    site.post(PROVISION, &device.request(&key)).await.is(200);
    site.disable("line-2").await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let page = format!("{NAMESPACE}/keys/line-2");
    ops.get(&page).await.is(200);
    ops.sees("disabled");
    ops.post(&format!("{page}/revoke"), &[("reason", "")])
        .await
        .is(303);
    let key = site
        .get(&format!("{API_KEYS}/line-2"))
        .await
        .is(200)
        .json
        .clone();
    assert_eq!(key["spec"]["is_disabled"], true, "{key}");
}

/// Nothing enables such a key.
#[tokio::test]
async fn a_key_that_was_made_disabled_is_not_said_to_be_in_use() {
    let (site, ..) = furnished().await;
    let body = json!({
        "metadata": { "name": "line-2", "disable": true },
        "spec": { "category_ref": [{ "name": "category" }] },
    });
    site.post(API_KEYS, &body).await.is(200);
    let (mut ops, _) = site.operator(&["tpm"]).await;
    ops.get(NAMESPACE).await.is(200);
    ops.sees("disabled for good");
    ops.get(&format!("{NAMESPACE}/keys/line-2")).await.is(200);
    ops.sees("<strong class=\"refused\">disabled for good</strong>");
    // Somebody who jumps from heading to heading hears what each is about.
    ops.sees("<h2 id=\"delete\">Delete the API key</h2>");
    ops.sees_not("able the API key");
}

#[tokio::test]
async fn a_key_below_a_disabled_category_or_manager_is_not_said_to_be_in_use() {
    let (site, _, device) = furnished().await;
    // The first category is disabled, and the second is below a disabled manager.
    for (manager, category, is_disabled) in [("manager", "off", true), ("off", "below-off", false)]
    {
        if manager == "off" {
            let body = json!({ "metadata": { "name": manager, "disable": true }, "spec": {} });
            site.post(MANAGERS, &body).await.is(200);
        }
        let body = json!({
            "metadata": { "name": category, "disable": is_disabled },
            "spec": { "tpm_manager_ref": [{ "name": manager }] },
        });
        site.post(CATEGORIES, &body).await.is(200);
        let body = json!({
            "metadata": { "name": category },
            "spec": { "category_ref": [{ "name": category }] },
        });
        let key = site.post(API_KEYS, &body).await.is(200).json.clone();
        let text = key["api_key"].as_str().unwrap();
        let refused = site.post(PROVISION, &device.request(text)).await;
        assert_eq!(refused.status, 403, "{category}");
    }
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let told = "unusable below a disabled category or manager";
    ops.get(NAMESPACE).await.is(200);
    assert_eq!(ops.page.matches(told).count(), 2);
    ops.sees("in use");
    for key in ["off", "below-off"] {
        ops.get(&format!("{NAMESPACE}/keys/{key}")).await.is(200);
        ops.sees(&format!("<strong class=\"refused\">{told}</strong>"));
    }
}

/// Returns the number of certificates on the category's CRL.
async fn revoked(site: &Site) -> usize {
    let list = site.call("GET", &format!("{CATEGORIES}/category/crl"));
    let list = list.send().await.is(200).body.to_vec();
    Crl::from_der(&list).unwrap().revocations().len()
}

#[tokio::test]
async fn a_key_that_was_disabled_and_then_revoked_lets_go_of_its_certificates() {
    let (site, _, device) = furnished().await;
    let key = site.api_key("line-2").await;
    site.activated(&key, &device).await;
    site.clock.advance(Duration::from_secs(60));
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let page = format!("{NAMESPACE}/keys/line-2");
    let on_hold = "data-label=\"State\"><strong class=\"refused\">on hold</strong>";
    ops.get(DEVICE).await.is(200);
    ops.sees("data-label=\"State\">active since");
    ops.get(&page).await.is(200);
    ops.sees("Earlier certificates remain valid.");
    ops.submit(&format!("{page}/disable"), &[]).await.is(200);
    ops.sees("The change is made.");
    ops.get(DEVICE).await.is(200);
    ops.sees(on_hold);
    ops.get(&page).await.is(200);
    ops.sees("Earlier certificates stay on hold until it is enabled.");
    ops.post(&format!("{page}/revoke"), &[("reason", "")])
        .await
        .is(303);
    ops.get(DEVICE).await.is(200);
    ops.sees(on_hold);
    assert_eq!(revoked(&site).await, 1);
    ops.get(&page).await.is(200);
    ops.sees("<strong class=\"refused\">revoked, and disabled</strong>");
    ops.sees("Its certificates from before the revocation are no longer on hold");
    ops.sees(">Enable the API key</button>");
    ops.post(&format!("{page}/enable"), &[]).await.is(303);
    assert_eq!(revoked(&site).await, 0);
    ops.get(&page).await.is(200);
    ops.sees("<strong class=\"refused\">revoked</strong>");
    ops.sees_not("Enable the API key");
    ops.get(DEVICE).await.is(200);
    ops.sees("data-label=\"State\">active since");

    // A deleted key cannot be enabled.
    for deed in ["disable", "delete"] {
        ops.post(&format!("{page}/{deed}"), &[]).await.is(303);
    }
    assert_eq!(revoked(&site).await, 1);
    ops.get(DEVICE).await.is(200);
    ops.sees("data-label=\"State\"><strong class=\"refused\">revoked</strong>");
}

#[tokio::test]
async fn a_key_whose_certificate_has_expired_is_not_shown_as_active() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let life = Duration::from_secs(5 * 365 * 24 * 60 * 60);
    site.clock.advance(life);
    let (mut ops, _) = site.operator(&["tpm"]).await;
    ops.get(DEVICE).await.is(200);
    ops.sees("data-label=\"State\"><strong class=\"refused\">expired</strong>");
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
        let (mut ops, _) = site.operator(&[scope]).await;
        let csrf = ops.csrf();
        ops.get("/console/tpms").await.is(area);
        if area == 200 {
            let is_listed = ops.page.contains("\"/console/tpms/default\"");
            assert_eq!(is_listed, namespace == 200, "{scope}");
        }
        for page in [
            "",
            "/keys",
            "/keys/station",
            "/managers",
            "/managers/manager",
            "/categories",
            "/categories/category",
        ] {
            ops.get(&format!("{NAMESPACE}{page}")).await.is(namespace);
        }
        ops.get(DEVICE).await.is(namespace);
        if namespace == 403 {
            let fields = [("name", "x"), ("category", "category")];
            ops.post_with(&format!("{NAMESPACE}/keys"), &csrf, &fields)
                .await
                .is(403);
            for change in CHANGES {
                let fields: &[_] = match *change {
                    change if change.ends_with("/revoke") => &[("reason", "")],
                    "/managers/manager/makers/remove" | "/categories/category/disallow" => {
                        &[("fingerprint", "00")]
                    }
                    _ => &[],
                };
                let change = format!("{NAMESPACE}{change}");
                ops.post_with(&change, &csrf, fields).await.is(403);
            }
            for (upload, parts) in UPLOADS {
                let upload = format!("{NAMESPACE}{upload}");
                ops.upload_as(&upload, &csrf, parts).await.is(403);
            }
            for what in ["relearn", "forget"] {
                ops.post_with(&device(what), &csrf, &[]).await.is(403);
            }
        }
    }
    // The path of another namespace does not give access to this one's devices.
    let (mut ops, _) = site.operator(&["tpm:other"]).await;
    let other = DEVICE.replace("/default/", "/other/");
    ops.get(&other).await.is(404);
}

/// Returns the fingerprint in the first form that removes an entry from a list.
fn fingerprint(ops: &Operator) -> String {
    ops.hidden("fingerprint").expect("a listed certificate")
}

#[tokio::test]
async fn an_operator_makes_a_manager_a_category_and_a_key_and_deletes_them() {
    let site = Site::start().await;
    let maker = Manufacturer::new();
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let opened = ops.get("/console/tpms?namespace=default").await;
    assert_eq!(opened.is(303).location(), NAMESPACE);
    ops.get(NAMESPACE).await.is(200);
    ops.sees("There is none yet.");
    ops.get("/console/tpms?namespace=../x").await.is(422);

    // A manager that trusts a manufacturer is enough to provision its devices.
    ops.get(&format!("{NAMESPACE}/managers")).await.is(200);
    ops.sees(
        "The manufacturers that <code>keyproof tpm trust add</code> has put into this server</p>",
    );
    let parts = [
        ("name", &b"manager"[..]),
        ("description", "of <b>line</b> 1".as_bytes()),
        ("file", maker.root.as_bytes()),
    ];
    let made = ops.upload(&format!("{NAMESPACE}/managers"), &parts).await;
    assert_eq!(
        made.is(303).location(),
        format!("{MANAGER}?done=manager-added")
    );
    ops.get(MANAGER).await.is(200);
    ops.sees("of &#60;b&#62;line&#60;/b&#62; 1");
    let of_maker = fingerprint(&ops);
    let category = format!("{NAMESPACE}/categories/category");
    ops.get(&format!("{NAMESPACE}/categories")).await.is(200);
    let registers = format!("sha256:7 = {}", "0a".repeat(32));
    let parts = [
        ("name", &b"category"[..]),
        ("manager", b"manager"),
        ("policy", b"expected"),
        ("registers", registers.as_bytes()),
    ];
    ops.upload(&format!("{NAMESPACE}/categories"), &parts)
        .await
        .is(200);
    ops.sees("BEGIN PRIVATE KEY");
    ops.sees("BEGIN CERTIFICATE");
    ops.get(&category).await.is(200);
    ops.sees_not("BEGIN PRIVATE KEY");
    ops.sees("sha256:7");
    ops.get(&format!("{NAMESPACE}/keys")).await.is(200);
    let fields = [
        ("name", "station"),
        ("category", "category"),
        ("description", ""),
    ];
    ops.post(&format!("{NAMESPACE}/keys"), &fields)
        .await
        .is(200);
    let key = ops.text_of("secret");
    let device = Device::new(&maker, "SN0001");
    site.post(PROVISION, &device.request(&key)).await.is(200);

    // A manufacturer is distrusted, and trusted again; other manufacturers' CAs stay.
    let other = Manufacturer::new();
    ops.get(MANAGER).await.is(200);
    let both = format!("{}{}", maker.root, other.root);
    let makers = format!("{MANAGER}/makers");
    let added = ops.upload(&makers, &[("text", both.as_bytes())]).await;
    ops.get(&added.is(303).location()).await.is(200);
    ops.sees("role=\"status\">The change is made.</p>");
    assert_eq!(
        ops.page.matches("name=\"fingerprint\"").count(),
        2,
        "one was known"
    );
    ops.post(&format!("{makers}/remove"), &[("fingerprint", &of_maker)])
        .await
        .is(303);
    let strange = Device::new(&maker, "SN0002");
    site.post(PROVISION, &strange.request(&key))
        .await
        .refuses(403, 7);
    let known = Device::new(&other, "SN0003");
    site.post(PROVISION, &known.request(&key)).await.is(200);
    ops.get(MANAGER).await.is(200);
    ops.post(&format!("{makers}/remove"), &[("fingerprint", &of_maker)])
        .await
        .is(404);
    ops.get(MANAGER).await.is(200);
    ops.post(&format!("{MANAGER}/bundle/trust"), &[])
        .await
        .is(303);
    ops.get(MANAGER).await.is(200);
    ops.sees("the trust bundle’s among them");
    ops.post(&format!("{MANAGER}/bundle/distrust"), &[])
        .await
        .is(303);
    ops.get(MANAGER).await.is(200);
    ops.sees("The trust bundle is not.");

    // A single certificate is also allowed, and then disallowed.
    for page in [&*format!("{NAMESPACE}/categories"), &category] {
        ops.get(page).await.is(200);
        ops.sees("whoever made them, in addition to those of the manager’s manufacturers.");
    }
    let allow = format!("{category}/allow");
    ops.upload(&allow, &[("file", &strange.ek_certificate)])
        .await
        .is(303);
    ops.get(&category).await.is(200);
    ops.upload(&allow, &[("file", &strange.ek_certificate)])
        .await
        .is(303);
    site.post(PROVISION, &strange.request(&key)).await.is(200);
    ops.get(&category).await.is(200);
    assert_eq!(ops.page.matches("name=\"fingerprint\"").count(), 1);
    let mark = "data-label=\"Serial number\"><code class=\"pieces\">";
    let (_, serial) = ops.page.split_once(mark).unwrap();
    let serial = serial.split('<').next().unwrap();
    // In the same format as for our own certificates.
    assert!(serial.split(':').all(|octet| octet.len() == 2), "{serial}");
    let of_device = fingerprint(&ops);
    let disallow = format!("{category}/disallow");
    ops.post(&disallow, &[("fingerprint", &of_device)])
        .await
        .is(303);
    ops.get(&category).await.is(200);
    ops.post(&disallow, &[("fingerprint", &of_device)])
        .await
        .is(404);
    ops.get(&category).await.is(200);
    let registers = format!("{category}/registers");
    ops.upload(&registers, &[("policy", b"any"), ("registers", b"")])
        .await
        .is(303);
    ops.get(&category).await.is(200);
    ops.sees("Its devices may have any values");

    // The client certificate is renewed until too many earlier ones are accepted; those are ended.
    let client = format!("{category}/client");
    for earlier in 1..5 {
        ops.get(&category).await.is(200);
        let latest = ops.hidden("latest").unwrap();
        let fields = [("latest", &*latest)];
        let renew = format!("{client}/renew");
        ops.post(&renew, &fields).await.is(200);
        ops.sees("A new client certificate of category");
        ops.sees("BEGIN PRIVATE KEY");
        ops.sees("BEGIN CERTIFICATE");
        // As if this page were reloaded.
        ops.post(&renew, &fields).await.is(422);
        ops.sees("The client certificate was renewed meanwhile: nothing is changed.");
        ops.get(&category).await.is(200);
        ops.sees(&format!("that are still accepted: {earlier}."));
        ops.sees_not("BEGIN PRIVATE KEY");
    }
    let latest = ops.hidden("latest").unwrap();
    let fields = [("latest", &*latest)];
    ops.post(&format!("{client}/renew"), &fields).await.is(422);
    ops.sees("4 earlier client certificates are still accepted: end them first");
    ops.post(&format!("{client}/end-earlier"), &fields)
        .await
        .is(303);
    ops.get(&category).await.is(200);
    ops.sees_not("still accepted");

    // A key is disabled, and enabled again.
    let of_key = format!("{NAMESPACE}/keys/station");
    for (deed, status) in [("disable", 403), ("enable", 200)] {
        ops.get(&of_key).await.is(200);
        ops.post(&format!("{of_key}/{deed}"), &[]).await.is(303);
        let answer = site.post(PROVISION, &known.request(&key)).await;
        assert_eq!(answer.status, status, "{deed}");
    }
    // Objects that others depend on cannot be deleted.
    for (place, why) in [
        (MANAGER, "The category category needs it"),
        (&*category, "The API key station needs it"),
    ] {
        ops.get(place).await.is(200);
        ops.post(&format!("{place}/delete"), &[]).await.is(409);
        ops.sees(why);
    }
    for place in [&*of_key, &*category, MANAGER] {
        ops.get(place).await.is(200);
        ops.post(&format!("{place}/delete"), &[]).await.is(303);
        ops.get(place).await.is(404);
    }
    // Each change is in the trail, with its author.
    for (action, count) in [
        ("tpm_manager.create", 1),
        ("tpm_manager.replace", 4),
        ("tpm_manager.delete", 1),
        ("tpm_category.create", 1),
        ("tpm_category.replace", 4),
        ("tpm_category.renew_client", 4),
        ("tpm_category.end_clients", 1),
        ("tpm_category.delete", 1),
        ("tpm_api_key.create", 1),
        ("tpm_api_key.replace", 2),
        ("tpm_api_key.delete", 1),
    ] {
        assert_eq!(site.trail(action).await.len(), count, "{action}");
    }
}

/// The stations have the certificate that was the latest on the page of another window.
#[tokio::test]
async fn no_client_certificate_is_ended_that_the_page_did_not_show_as_an_earlier_one() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    let client = format!("{category}/client");
    let end = format!("{client}/end-earlier");
    let mut before = String::new();
    for _ in 0..2 {
        ops.get(&category).await.is(200);
        before = ops.hidden("latest").unwrap();
        let fields = [("latest", &*before)];
        ops.post(&format!("{client}/renew"), &fields).await.is(200);
    }
    ops.get(&category).await.is(200);
    let latest = ops.hidden("latest").unwrap();
    ops.post(&end, &[("latest", &*before)]).await.is(422);
    ops.sees("The client certificate was renewed meanwhile: nothing is changed.");
    ops.sees("that are still accepted: 2.");
    ops.post(&end, &[("latest", &*latest)]).await.is(303);
    ops.get(&category).await.is(200);
    ops.sees_not("still accepted");
    assert_eq!(site.trail("tpm_category.end_clients").await.len(), 1);
}

/// Nothing renews it automatically, so a page must say so in time.
#[tokio::test]
async fn a_category_tells_when_the_latest_client_certificate_of_its_stations_expires() {
    let (site, _, _) = furnished().await;
    site.clock.advance(Duration::from_secs(365 * 24 * 60 * 60));
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    ops.get(&category).await.is(200);
    ops.sees("It expires <time datetime=\"2033-11-11T22:13Z\">");
    let latest = ops.hidden("latest").unwrap();
    ops.post(&format!("{category}/client/renew"), &[("latest", &*latest)])
        .await
        .is(200);
    ops.get(&category).await.is(200);
    ops.sees("It expires <time datetime=\"2034-11-11T22:13Z\">");
}

#[tokio::test]
async fn whatever_weakens_or_deletes_asks_for_the_token_again() {
    let (site, _, _) = furnished().await;
    let (mut ops, token) = site.operator(&["tpm"]).await;
    site.clock.advance(Duration::from_secs(301));
    let csrf = ops.csrf();
    // The redirect goes back to the form's page.
    let asks = |answer: &Answer, what: &str| {
        assert_eq!(answer.status, 303, "{what}");
        let location = answer.location();
        let (confirm, query) = location.split_once('?').unwrap();
        assert_eq!(confirm, "/console/confirm", "{what}");
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let page: Vec<_> = what.split('/').take(3).collect();
        let page = format!("{NAMESPACE}{}", page.join("/"));
        assert_eq!(pairs, [("to".into(), page.into())], "{what}");
    };
    let sends_away = |change: &&&str| !change.ends_with("/disable") && !change.ends_with("/revoke");
    for change in CHANGES.iter().filter(sends_away) {
        let fields: &[_] = match *change {
            change if change.ends_with("/remove") || change.ends_with("/disallow") => {
                &[("fingerprint", "00")]
            }
            _ => &[],
        };
        let answer = ops
            .post_with(&format!("{NAMESPACE}{change}"), &csrf, fields)
            .await;
        asks(&answer, change);
    }
    // A form with input asks for it itself.
    for (upload, parts) in UPLOADS {
        ops.upload_as(&format!("{NAMESPACE}{upload}"), &csrf, parts)
            .await
            .is(422);
        ops.sees("confirmation-error\">Nothing is done yet.");
    }
    for place in ["managers/manager", "categories/category", "keys/station"] {
        ops.get(&format!("{NAMESPACE}/{place}")).await.is(200);
        ops.sees("confirmation\" type=\"password\"");
        ops.sees_not("/delete\"");
    }
    // Disabling a key needs no confirmation.
    ops.post(&format!("{NAMESPACE}/keys/station/disable"), &[])
        .await
        .is(303);
    for action in [
        "tpm_manager.replace",
        "tpm_category.replace",
        "tpm_manager.delete",
    ] {
        assert!(site.trail(action).await.is_empty(), "{action}");
    }
    ops.confirms(&token).await;
    ops.get(MANAGER).await.is(200);
    ops.post(&format!("{MANAGER}/bundle/trust"), &[])
        .await
        .is(303);
    assert_eq!(site.trail("tpm_manager.replace").await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_form_stands_at_its_field_and_what_was_typed_stays() {
    let (site, _, _) = furnished().await;
    let maker = Manufacturer::new();
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let manager = [("name", "x"), ("description", "for line 9")];
    let category = [
        ("name", "x"),
        ("manager", "manager"),
        ("policy", "any"),
        ("description", "for line 9"),
    ];
    let hostile = "<script>alert(1)</script>\u{202e}";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let list = maker.revocation_list(1_700_000_000, true);
    let long = "x".repeat(1023);
    for (path, fields, changed, told) in [
        ("managers", &manager[..], ("name", "Line 9"), "name-error"),
        (
            "managers",
            &manager,
            ("name", "manager"),
            "There is a manager of this name.",
        ),
        ("managers", &manager, ("name", hostile), "name-error"),
        ("managers", &manager, ("name", &*long), "name-error"),
        ("managers", &manager, ("text", "nothing"), "text-error"),
        ("managers", &manager, ("text", key), "text-error"),
        ("managers", &manager, ("file", "nothing"), "file-error"),
        (
            "managers",
            &manager,
            ("text", &*list),
            "a CRL, which belongs in the trust bundle",
        ),
        (
            "categories",
            &category,
            ("name", "category"),
            "There is a category of this name.",
        ),
        (
            "categories",
            &category,
            ("name", hostile),
            "A name has 1 to 63 lower-case letters",
        ),
        (
            "categories",
            &category,
            ("manager", "nobody"),
            "manager-error",
        ),
        (
            "categories",
            &category,
            ("policy", "expected"),
            "registers-error",
        ),
        // The policy does not use these values.
        (
            "categories",
            &category,
            ("registers", "sha256:7 = 00"),
            "registers-error",
        ),
        ("categories", &category, ("text", hostile), "text-error"),
    ] {
        ops.get(&format!("{NAMESPACE}/{path}")).await.is(200);
        let mut parts: Vec<(&str, &[u8])> = Vec::new();
        for (name, value) in fields {
            let value = if *name == changed.0 {
                changed.1
            } else {
                *value
            };
            parts.push((*name, value.as_bytes()));
        }
        if !fields.iter().any(|(name, _)| *name == changed.0) {
            parts.push((changed.0, changed.1.as_bytes()));
        }
        ops.upload(&format!("{NAMESPACE}/{path}"), &parts)
            .await
            .is(422);
        ops.sees(told);
        ops.sees("value=\"for line 9\"");
        ops.sees_not("<script>alert");
    }
    ops.get(&format!("{NAMESPACE}/categories")).await.is(200);
    let parts = [
        ("name", &b"x"[..]),
        ("policy", b"expected"),
        ("registers", b"sha256:7 = 00\nwhat\n"),
    ];
    ops.upload(&format!("{NAMESPACE}/categories"), &parts)
        .await
        .is(422);
    ops.sees("Line 2 is not of the form");
    ops.sees(">sha256:7 = 00\nwhat\n</textarea>");
    // The page does not offer this choice.
    ops.upload(
        &format!("{NAMESPACE}/categories"),
        &[("name", b"x"), ("policy", b"maybe")],
    )
    .await
    .is(400);
    ops.get(&format!("{NAMESPACE}/categories/category"))
        .await
        .is(200);
    let registers = format!("{NAMESPACE}/categories/category/registers");
    ops.upload(
        &registers,
        &[("policy", b"expected"), ("registers", b"sha256:7 = 00")],
    )
    .await
    .is(422);
    ops.sees("registers-error");
    ops.sees("128 for sha512");
    ops.sees("sha256:7 = 00</textarea>");
    ops.upload(&registers, &[("policy", b"expected")])
        .await
        .is(422);
    ops.sees("Give the values of 1 to 48 registers.");
    ops.get(MANAGER).await.is(200);
    ops.upload(&format!("{MANAGER}/makers"), &[("text", b"nothing")])
        .await
        .is(422);
    // It is wrong where it was pasted.
    ops.sees("id=\"text-error\"");
    ops.sees("aria-invalid=\"true\" autofocus aria-describedby=\"text-hint text-error\"");
    ops.sees_not("file-error");
    // Nothing was created, and invalid namespaces have no pages.
    ops.get(NAMESPACE).await.is(200);
    ops.sees_not("for line 9");
    for path in ["", "/managers", "/keys/x"] {
        ops.get(&format!("/console/tpms/Not_One{path}"))
            .await
            .is(404);
    }
}

/// Otherwise a user who types values without selecting the policy would get a category that trusts whatever a device shows first.
#[tokio::test]
async fn values_of_registers_count_only_where_they_are_asked_for() {
    const UNUSED: &str = "Values apply only with “The values below”";
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let categories = format!("{NAMESPACE}/categories");
    let line = format!("sha256:7 = {}", "0a".repeat(32));
    for policy in [&b"learn"[..], b"any"] {
        ops.get(&categories).await.is(200);
        let parts = [
            ("name", &b"typed"[..]),
            ("manager", b"manager"),
            ("policy", policy),
            ("registers", line.as_bytes()),
        ];
        ops.upload(&categories, &parts).await.is(422);
        ops.sees("id=\"registers-error\"");
        ops.sees(UNUSED);
        ops.sees(&line);
        ops.get(&format!("{categories}/typed")).await.is(404);
    }
    // The same for a change of a category, except that its own values, which the form contains, may stay.
    let category = format!("{categories}/category");
    let registers = format!("{category}/registers");
    let send = async |ops: &mut Operator, policy: &str, values: &str, status: u16| {
        ops.get(&category).await.is(200);
        let parts = [
            ("policy", policy.as_bytes()),
            ("registers", values.as_bytes()),
        ];
        ops.upload(&registers, &parts).await.is(status);
    };
    send(&mut ops, "learn", &line, 422).await;
    ops.sees(UNUSED);
    send(&mut ops, "expected", &line, 303).await;
    send(&mut ops, "any", &line.replace("0a", "0b"), 422).await;
    ops.sees("id=\"registers-error\"");
    ops.get(&category).await.is(200);
    ops.sees("Its devices must have these values");
    send(&mut ops, "any", &format!("{line}\r\n"), 303).await;
    ops.get(&category).await.is(200);
    ops.sees("Its devices may have any values");
}

/// Of two operators, each may have opened the page before the other was done.
#[tokio::test]
async fn no_registers_are_written_over_that_the_page_did_not_show() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    let registers = format!("{category}/registers");
    let line = |index: u8| format!("sha256:{index} = {}\n", "0a".repeat(32));
    let send = async |ops: &mut Operator, shown: &str, values: &str, status: u16| {
        let parts = [
            ("policy", &b"expected"[..]),
            ("registers", values.as_bytes()),
            ("shown", shown.as_bytes()),
        ];
        ops.upload(&registers, &parts).await.is(status);
    };
    ops.get(&category).await.is(200);
    let shown = ops.hidden("shown").unwrap();
    send(&mut ops, &shown, &line(4), 303).await;
    ops.get(&category).await.is(200);
    send(&mut ops, &shown, &line(7), 422).await;
    ops.sees("The required registers were changed since this page was shown.");
    ops.sees(&format!(">{}</textarea>", line(7)));
    ops.sees("data-label=\"Register\">sha256:4<");
    assert_eq!(site.trail("tpm_category.replace").await.len(), 1);
    let both = line(4) + &line(7);
    let shown = ops.hidden("shown").unwrap();
    send(&mut ops, &shown, &both, 303).await;
    assert_eq!(site.trail("tpm_category.replace").await.len(), 2);

    // The page that asks for the token does not count as one that shows what another has changed.
    ops.get(&category).await.is(200);
    let shown = ops.hidden("shown").unwrap();
    site.clock.advance(Duration::from_secs(301));
    let (mut other, _) = site.operator(&["tpm"]).await;
    other.get(&category).await.is(200);
    send(&mut other, &shown, &line(9), 303).await;
    send(&mut ops, &shown, &both, 422).await;
    ops.sees("id=\"registers-confirmation-error\">Nothing is done yet.");
    assert_eq!(ops.hidden("shown").unwrap(), shown);
}

/// The page has the values in its form, also those that were set through the contract.
#[tokio::test]
async fn as_many_values_of_registers_as_a_policy_may_have_fit_into_the_form() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    let mut values = String::new();
    for (bank, digits) in [("sha384", 96), ("sha512", 128)] {
        for number in 0..24 {
            for value in 0..64 {
                values += &format!("{bank}:{number} = {value:0digits$x}\r\n");
            }
        }
    }
    ops.get(&category).await.is(200);
    for policy in ["expected", "any"] {
        let parts = [
            ("policy", policy.as_bytes()),
            ("registers", values.as_bytes()),
        ];
        ops.upload(&format!("{category}/registers"), &parts)
            .await
            .is(303);
    }
    ops.get(&category).await.is(200);
    ops.sees("Its devices may have any values");
}

#[tokio::test]
async fn more_makers_than_there_is_room_for_are_refused_whole() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    // Nearly the maximum size of a record, through the contract, which accepts whole lists.
    let file = Manufacturer::new().root.repeat(40);
    let mut roots = Vec::new();
    while roots.len() * file.len() < 850 * 1024 {
        roots.push(file.clone());
    }
    let replaced = site.replace(
        MANAGERS,
        "manager",
        json!({ "ek_root_certificates": roots }),
    );
    replaced.await.is(200);
    let mut many = String::new();
    while many.len() < 250 * 1024 {
        many.push_str(&Manufacturer::new().root);
    }
    ops.get(MANAGER).await.is(200);
    ops.upload(&format!("{MANAGER}/makers"), &[("text", many.as_bytes())])
        .await
        .is(422);
    ops.sees("more certificates than fit into one record");
}

/// A category's record.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
struct CategoryRecord(Value);

impl Record for CategoryRecord {
    const TYPE: &'static str = "tpm_category";
    const VERSION: u32 = 1;
}

/// Makes the category's record as large as a record may be, without a policy for registers, as pre-release builds wrote it.
async fn fill_up(site: &Site) {
    let (now, key) = (
        site.now(),
        Key::new("tpm_category", ["default", "category"]),
    );
    let found = site.store.get::<CategoryRecord>(&key, now).await.unwrap();
    let found = found.unwrap();
    let CategoryRecord(mut record) = found.record;
    let spec = record["spec"].as_object_mut().unwrap();
    spec.remove("pcr_policy").unwrap();
    let mut length = 1 << 20;
    loop {
        record["metadata"]["annotations"] = json!({ "long": "x".repeat(length) });
        let mut batch = site.store.batch(now);
        batch.replace(&key, found.version, &CategoryRecord(record.clone()), None);
        match site.store.commit(batch).await {
            Err(CommitError::NotApplied(NotApplied::BodyTooLong { len, limit, .. })) => {
                length -= len - limit;
            }
            done => return done.unwrap(),
        }
    }
}

#[tokio::test]
async fn that_a_categorys_record_is_full_stands_at_the_field_that_needs_room() {
    let (site, _, _) = furnished().await;
    fill_up(&site).await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let keys = format!("{NAMESPACE}/keys");
    ops.get(&keys).await.is(200);
    let fields = [("name", "second"), ("category", "category")];
    ops.post(&keys, &fields).await.is(422);
    ops.sees("id=\"category-error\"");
    ops.sees("The record of this category is full");
    let spec = json!({ "category_ref": [{ "name": "category" }] });
    let refused = site.create(API_KEYS, "second", spec).await;
    refused
        .refuses(400, 3)
        .saying("the tpm_category with its allow-list");

    let category = format!("{NAMESPACE}/categories/category");
    ops.get(&category).await.is(200);
    let line = format!("sha256:7 = {}", "0a".repeat(32));
    let parts = [("policy", &b"expected"[..]), ("registers", line.as_bytes())];
    let registers = format!("{category}/registers");
    ops.upload(&registers, &parts).await.is(422);
    ops.sees("id=\"registers-error\"");
    ops.sees("do not fit into the category’s record");

    // A form without a field has it above the page.
    ops.get(&category).await.is(200);
    let latest = ops.hidden("latest").unwrap();
    let renew = format!("{category}/client/renew");
    ops.post(&renew, &[("latest", &*latest)]).await.is(422);
    ops.sees("role=\"alert\">The category’s record is full");
    ops.sees_not("file-error");
}

#[tokio::test]
async fn of_a_file_with_several_makers_one_is_removed() {
    let (site, key, _) = furnished().await;
    let (gone, stays) = (Manufacturer::new(), Manufacturer::new());
    let both = json!({ "ek_root_certificates": [format!("{}{}", gone.root, stays.root)] });
    site.replace(MANAGERS, "manager", both).await.is(200);
    let (mut ops, _) = site.operator(&["tpm"]).await;
    ops.get(MANAGER).await.is(200);
    let listed: Vec<String> = ops
        .page
        .split("name=\"fingerprint\" value=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let der = pem_rfc7468::decode_vec(gone.root.as_bytes()).unwrap().1;
    let of_gone = Sha256Thumbprint::of_der(&der).to_string();
    assert!(listed.len() == 2 && listed.contains(&of_gone), "{listed:?}");
    let fields = [("fingerprint", &*of_gone)];
    ops.post(&format!("{MANAGER}/makers/remove"), &fields)
        .await
        .is(303);
    let refused = Device::new(&gone, "SN0002").request(&key);
    site.post(PROVISION, &refused).await.refuses(403, 7);
    let taken = Device::new(&stays, "SN0003").request(&key);
    site.post(PROVISION, &taken).await.is(200);
}

/// A list that is too long to choose from is neither shown nor read.
#[tokio::test]
async fn what_is_one_of_many_is_named_and_not_chosen() {
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    for number in 1..50 {
        site.category(&format!("line-{number:02}")).await.is(200);
    }
    let keys = format!("{NAMESPACE}/keys");
    ops.get(&format!("{keys}?category=line-07")).await.is(200);
    assert_eq!(ops.page.matches("<option").count(), 50);
    ops.sees("<option selected>line-07</option>");
    site.category("line-50").await.is(200);
    ops.get(&format!("{keys}?category=line-07")).await.is(200);
    ops.sees_not("<option");
    ops.sees("<input id=\"category\" name=\"category\" type=\"text\"");
    ops.sees("value=\"line-07\"");
    for (category, status) in [("line-51", 422), ("line-50", 200)] {
        let fields = [("name", "key"), ("category", category), ("description", "")];
        ops.post(&keys, &fields).await.is(status);
        assert_eq!(ops.page.contains("category-error"), status == 422);
    }
    // The same for managers.
    let managers = format!("{NAMESPACE}/categories");
    ops.get(&managers).await.is(200);
    ops.sees("<select id=\"manager\"");
    for number in 1..51 {
        let name = format!("maker-{number:02}");
        site.create(MANAGERS, &name, json!({})).await.is(200);
    }
    ops.get(&managers).await.is(200);
    ops.sees("<input id=\"manager\" name=\"manager\" type=\"text\"");
}

/// The link to the form is on the page of what another window has deleted.
#[tokio::test]
async fn nothing_else_is_chosen_than_what_was_asked_for() {
    const OPEN: &str = "<option value=\"\">Choose one: there is no gone</option>";
    let (site, _, _) = furnished().await;
    let (mut ops, _) = site.operator(&["tpm"]).await;
    for (form, field) in [("keys", "category"), ("categories", "manager")] {
        let path = format!("{NAMESPACE}/{form}");
        let required = format!("name=\"{field}\" required");
        ops.get(&format!("{path}?{field}=gone")).await.is(200);
        ops.sees(OPEN);
        ops.sees(&required);
        ops.sees_not("<option selected>");
        for asked in [String::new(), format!("?{field}={field}")] {
            ops.get(&format!("{path}{asked}")).await.is(200);
            ops.sees_not("Choose one");
            ops.sees_not(&required);
        }
    }
    // The same for what was deleted while the form was filled in.
    let keys = format!("{NAMESPACE}/keys");
    ops.get(&keys).await.is(200);
    let fields = [("name", "key"), ("category", "gone"), ("description", "")];
    ops.post(&keys, &fields).await.is(422);
    ops.sees("There is no category of this name.");
    ops.sees(OPEN);
}

#[tokio::test]
async fn long_lists_are_paged() {
    let (site, _, _) = furnished().await;
    for number in 0..51 {
        site.api_key(&format!("key-{number:02}")).await;
    }
    let roots: Vec<_> = (0..51).map(|_| Manufacturer::new().root).collect();
    let roots = json!({ "ek_root_certificates": roots });
    site.replace(MANAGERS, "manager", roots).await.is(200);
    let (mut ops, _) = site.operator(&["tpm"]).await;
    ops.get(NAMESPACE).await.is(200);
    ops.sees(">key-49<");
    ops.sees_not(">key-50<");
    let next = ops.link("Show more API keys");
    ops.get(&next).await.is(200);
    ops.sees(">key-50<");
    ops.sees(">station<");
    ops.sees_not(">key-49<");
    ops.get(MANAGER).await.is(200);
    assert_eq!(
        ops.page.matches("CN=TPM root").count(),
        50 * 2,
        "each in its row and its button"
    );
    let next = ops.link("Show more CAs");
    ops.get(&next).await.is(200);
    assert_eq!(ops.page.matches("CN=TPM root").count(), 2);
    // Beyond the end there is nothing, however far.
    for far in ["51", "18446744073709551615"] {
        ops.get(&format!("{MANAGER}?makers={far}")).await.is(200);
        assert_eq!(ops.page.matches("CN=TPM root").count(), 0, "{far}");
        ops.sees_not("Show more CAs");
    }
    // It is not shown as an empty list either.
    ops.sees_not("No manufacturer is covered");
    ops.sees("There are none on this page.");
    ops.get("/console/tpms?after=zzz").await.is(200);
    ops.sees("There are no more namespaces.");
    for kind in ["managers", "categories", "keys"] {
        ops.get(&format!("{NAMESPACE}?{kind}=zzz")).await.is(200);
        ops.sees_not("There is none yet");
        ops.sees("There are none on this page.");
        ops.sees("Make an API key");
    }
}

#[tokio::test]
async fn what_is_below_is_paged_and_needs_what_is_above_on_each_page() {
    let (site, _, _) = furnished().await;
    for number in 0..51 {
        site.api_key(&format!("key-{number:02}")).await;
        site.category(&format!("line-{number:02}")).await.is(200);
    }
    let (mut ops, _) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    for (page, more, last, far, deletion) in [
        (
            &*category,
            "Show more API keys",
            ">station</a>",
            "keys=99",
            "Delete the category</button>",
        ),
        (
            MANAGER,
            "Show more categories",
            ">line-50</a>",
            "categories=99",
            "Delete the manager</button>",
        ),
    ] {
        ops.get(page).await.is(200);
        ops.sees_not(last);
        let next = ops.link(more);
        ops.get(&next).await.is(200);
        ops.sees(last);
        ops.sees_not(more);
        ops.get(&format!("{page}?{far}")).await.is(200);
        ops.sees("none on this page");
        for wrong in ["none yet", deletion, last] {
            ops.sees_not(wrong);
        }
    }
}

/// Submits the form of a kind of object, which has files except for keys.
async fn adds(ops: &mut Operator, path: &str, parts: &[(&str, &[u8])]) -> Answer {
    if !path.ends_with("/keys") {
        return ops.upload(path, parts).await;
    }
    let fields = parts.iter();
    let fields = fields.map(|(name, value)| (*name, std::str::from_utf8(value).unwrap()));
    let fields: Vec<_> = fields.collect();
    ops.post(path, &fields).await
}

/// With an unattended console nobody can add anything that admits devices.
#[tokio::test]
async fn whoever_adds_a_manager_a_category_or_a_key_shows_the_token_again() {
    let (site, _, _) = furnished().await;
    let (mut ops, token) = site.operator(&["tpm"]).await;
    let before = site.trail("tpm_api_key.create").await.len();
    let additions: [(&str, Parts, &[&str], u16); 3] = [
        (
            "managers",
            &[
                ("name", b"new"),
                ("description", b"for line 9"),
                ("bundle", b"on"),
                ("file", b"A file"),
            ],
            &[
                "value=\"new\"",
                "value=\"for line 9\"",
                "aria-describedby=\"bundle-hint\" checked",
                // Without its file the manager would be another.
                "id=\"file-error\">This is not kept: choose the file again",
            ],
            422,
        ),
        (
            "categories",
            &[
                ("name", b"new"),
                ("manager", b"manager"),
                ("policy", b"expected"),
                ("registers", b"sha256:7 = 00\r\n"),
                ("text", b"A certificate"),
            ],
            &[
                "value=\"new\"",
                "<option selected>manager",
                "<option value=\"expected\" selected>",
                ">sha256:7 = 00\r\n</textarea>",
                ">A certificate</textarea>",
            ],
            422,
        ),
        (
            "keys",
            &[("name", b"new"), ("category", b"category"), ("mtls", b"on")],
            &[
                "value=\"new\"",
                "<option selected>category",
                "aria-describedby=\"mtls-hint\" checked",
            ],
            200,
        ),
    ];
    for (form, parts, kept, added) in additions {
        let path = format!("{NAMESPACE}/{form}");
        site.clock.advance(Duration::from_secs(301));
        ops.get(&path).await.is(200);
        ops.sees("name=\"confirmation\"");
        adds(&mut ops, &path, parts).await.is(422);
        ops.sees("id=\"confirmation-error\">Nothing is done yet.");
        for kept in kept {
            ops.sees(kept);
        }
        let shown = ("confirmation", token.as_bytes());
        let parts: Vec<_> = parts.iter().copied().chain([shown]).collect();
        adds(&mut ops, &path, &parts).await.is(added);
        // What is not a certificate is refused, but the token counts.
        ops.sees_not("name=\"confirmation\"");
        let mut errors = ["file-error", "text-error"].into_iter();
        let is_refused = errors.any(|error| ops.page.contains(error));
        assert_eq!(is_refused, added == 422, "{form}");
    }
    let made = site.trail("tpm_api_key.create").await.len();
    assert_eq!(made, before + 1);
}

/// The two forms of a category's page keep what was typed, each for itself.
#[tokio::test]
async fn a_form_over_what_is_stored_keeps_what_was_typed_while_the_token_is_shown() {
    let (site, _, _) = furnished().await;
    let (mut ops, token) = site.operator(&["tpm"]).await;
    let category = format!("{NAMESPACE}/categories/category");
    let (allow, registers) = (format!("{category}/allow"), format!("{category}/registers"));
    let value = format!("sha256:7 = {}", "00".repeat(32));
    let expected: &[(&str, &[u8])] = &[("policy", b"expected"), ("registers", value.as_bytes())];
    ops.get(&category).await.is(200);
    site.clock.advance(Duration::from_secs(301));
    ops.upload(&registers, expected).await.is(422);
    ops.sees("id=\"registers-confirmation-error\">Nothing is done yet.");
    ops.sees_not("id=\"confirmation-error\"");
    ops.sees("<option value=\"expected\" selected>");
    ops.sees(&format!(">{value}</textarea>"));
    let shown = ("registers-confirmation", token.as_bytes());
    let shown: Vec<_> = expected.iter().copied().chain([shown]).collect();
    ops.upload(&registers, &shown).await.is(303);
    assert_eq!(site.trail("tpm_category.replace").await.len(), 1);

    // The other form shows what is now stored.
    site.clock.advance(Duration::from_secs(301));
    ops.get(&category).await.is(200);
    ops.upload(&allow, &[("text", b"A certificate")])
        .await
        .is(422);
    ops.sees("id=\"confirmation-error\">Nothing is done yet.");
    ops.sees(">A certificate</textarea>");
    ops.sees("<option value=\"expected\" selected>");
    ops.sees(&format!(">{value}\n</textarea>"));
}

#[tokio::test]
async fn what_was_pasted_stays_where_something_else_is_wrong() {
    let (site, _, _) = furnished().await;
    let maker = Manufacturer::new();
    let (mut ops, _) = site.operator(&["tpm", "certificates"]).await;
    let service = "/console/certificates/service?subscription=s&group=g&service=d";
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for path in [&*format!("{NAMESPACE}/managers"), service] {
        for (name, pasted, stays) in [
            ("", &*maker.root, true),
            // Whatever else is wrong.
            ("", key, false),
            ("new", key, false),
        ] {
            ops.get(path).await.is(200);
            let parts = [("name", name.as_bytes()), ("text", pasted.as_bytes())];
            ops.upload(path, &parts).await.is(422);
            let begin = pasted.lines().nth(1).unwrap();
            // Pages escape some Base64 characters.
            let begin = begin.split(['+', '/']).next().unwrap();
            let is_there = ops.page.contains(&format!("\n{begin}"));
            assert_eq!(is_there, stays, "{path}: {name} {pasted}");
            // Otherwise the page reports the loss.
            let is_told = ops.page.contains("id=\"text-error\"");
            assert_eq!(is_told, !stays, "{path}: {name} {pasted}");
        }
    }
}
