//! What can be deleted, what cannot, and what remains.

use std::time::Duration;

use keyproof_store::Timestamp;
use keyproof_x509::{
    Upload, X509Error, algorithms,
    crl::{Crl, CrlReason},
};
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{ACTIVATE, API_KEYS, CATEGORIES, MANAGERS, PREAUTH, PROVISION, START},
    faults::FaultyEngine,
    forgetting::{device_administrator, place},
    machine::Machine,
    provision::furnished,
    site::{Answer, Site},
};

const LIST: &str = "/api/tpm/namespaces/default/tpm_categorys/category/crl";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = DAY.saturating_mul(365);

async fn delete(site: &Site, path: &str, name: &str) -> Answer {
    site.admin("DELETE", &format!("{path}/{name}")).send().await
}

async fn preauth(site: &Site, api_key: &str) -> Value {
    let body =
        json!({ "api_key": api_key, "device": Device::new(&Manufacturer::new(), "SN0001").info() });
    site.post(PREAUTH, &body).await.is(200).json["status"].clone()
}

/// Returns the serial number and reason of each entry on the category's CRL.
async fn list(site: &Site) -> Vec<(Vec<u8>, Option<CrlReason>)> {
    let answer = site.call("GET", LIST).send().await;
    let crl = Crl::from_der(&answer.is(200).body).unwrap();
    let entries = crl.revocations().iter();
    entries
        .map(|entry| (entry.serial.as_bytes().to_vec(), entry.reason))
        .collect()
}

#[tokio::test]
async fn what_is_referred_to_is_not_deleted_and_the_rest_is() {
    let (site, _, key) = Site::start_furnished().await;
    delete(&site, MANAGERS, "manager")
        .await
        .refuses(409, 9)
        .saying("it is referred to by tpm_category \"category\"");
    delete(&site, CATEGORIES, "category")
        .await
        .refuses(409, 9)
        .saying("tpm_api_key \"station\"");
    assert_eq!(preauth(&site, &key).await, "PREAUTH_RSP_SUCCESS");
    for (path, name) in [
        (API_KEYS, "station"),
        (CATEGORIES, "category"),
        (MANAGERS, "manager"),
    ] {
        assert_eq!(delete(&site, path, name).await.is(200).json, json!({}));
        delete(&site, path, name).await.refuses(404, 5);
        site.get(&format!("{path}/{name}")).await.refuses(404, 5);
        assert_eq!(site.get(path).await.json["items"], json!([]));
        assert_eq!(preauth(&site, &key).await, "PREAUTH_RSP_INVALID_API_KEY");
    }
    site.call("GET", LIST).send().await.refuses(404, 5);
    for collection in [
        "tpm_api_key",
        "tpm_api_key_digest",
        "tpm_category",
        "tpm_deleted_api_key",
        "tpm_deleted_category",
        "tpm_manager",
    ] {
        assert_eq!(site.records(collection).await, 0, "{collection}");
    }
    for kind in ["tpm_manager", "tpm_category", "tpm_api_key"] {
        let told = site.trail(&format!("{kind}.delete")).await;
        assert_eq!(told, [("Done".to_owned(), String::new())]);
    }
    // Everything can be created again, and the old key's text is not valid for it.
    let new = site.furnished(&Manufacturer::new()).await;
    assert_eq!(preauth(&site, &key).await, "PREAUTH_RSP_INVALID_API_KEY");
    assert_eq!(preauth(&site, &new).await, "PREAUTH_RSP_SUCCESS");
}

#[tokio::test]
async fn a_deletions_body_is_about_the_object_of_the_path() {
    let (site, ..) = Site::start_furnished().await;
    let send = async |name: &str, body: &str| {
        let object = format!("{API_KEYS}/{name}");
        site.admin("DELETE", &object)
            .body(body.to_owned())
            .send()
            .await
    };
    for (body, says) in [
        ("{", "line 1"),
        ("[]", "line 1"),
        (r#"{"name":7}"#, "line 1"),
        (r#"{"fail_if_referred":"yes"}"#, "line 1"),
        (r#"{"name":"other"}"#, "name differs from the path"),
        (
            r#"{"namespace":"other"}"#,
            "namespace differs from the path",
        ),
    ] {
        send("station", body).await.refuses(400, 3).saying(says);
        // Existence is checked first.
        send("none", body).await.refuses(404, 5);
    }
    // No dangling reference may be left.
    let force = r#"{"fail_if_referred":false,"name":"category","namespace":"default"}"#;
    let object = format!("{CATEGORIES}/category");
    let forced = site.admin("DELETE", &object).body(force).send().await;
    forced.refuses(409, 9);
    let whole = r#"{"fail_if_referred":true,"name":"station","namespace":"default"}"#;
    send("station", whole).await.is(200);
}

#[tokio::test]
async fn an_object_made_below_one_that_is_deleted_meanwhile_does_not_dangle() {
    for (path, name, below, refers) in [
        (MANAGERS, "manager", CATEGORIES, "tpm_manager_ref"),
        (CATEGORIES, "category", API_KEYS, "category_ref"),
    ] {
        let engine = FaultyEngine::new();
        let site = Site::on(engine.clone(), &[]).await;
        site.create(MANAGERS, "manager", json!({})).await.is(200);
        if path == CATEGORIES {
            site.category("category").await.is(200);
        }
        let spec = json!({ refers: [{ "name": name }] });
        // It is being created when the other is deleted.
        let deleting = async {
            delete(&site, path, name).await.is(200);
        };
        let made = engine.overtake(site.create(below, "child", spec.clone()), deleting);
        made.await.refuses(404, 5);
        assert_eq!(site.get(below).await.json["items"], json!([]));
        // The other is being deleted when it is created.
        let parent = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
        site.create(path, name, parent).await.is(200);
        let making = async {
            site.create(below, "child", spec).await.is(200);
        };
        let deleted = engine.overtake(delete(&site, path, name), making).await;
        deleted.refuses(409, 9);
        site.get(&format!("{path}/{name}")).await.is(200);
    }
}

/// Certificates that a deleted key left valid stay valid, and nobody can restore those on hold.
#[tokio::test]
async fn a_deleted_keys_certificates_stay_as_they_were_but_for_good() {
    let (site, key, device) = furnished().await;
    let second = site.api_key("second").await;
    let first = device.clone();
    let kept = site.serial(&second, &first).await;
    let device = device.with_new_ak();
    let held = site.serial(&key, &device).await;
    site.disable("station").await;
    let hold = Some(CrlReason::CertificateHold);
    assert_eq!(list(&site).await, [(held.clone(), hold)]);
    for name in ["station", "second"] {
        delete(&site, API_KEYS, name).await.is(200);
    }
    let revoked = vec![(held, None)];
    assert_eq!(list(&site).await, revoked);
    assert!(!revoked.iter().any(|(serial, _)| *serial == kept));

    // A new key with the same name does not take over the old certificates, and they do not affect it.
    let namesake = site.api_key("station").await;
    assert_eq!(list(&site).await, revoked);
    let again = site.serial(&namesake, &device).await;
    assert_ne!(
        again, revoked[0].0,
        "the one that is revoked is not given again"
    );
    // One that is still valid is given again.
    let another = site.api_key("second").await;
    for api_key in [&namesake, &another] {
        assert_eq!(site.serial(api_key, &first).await, kept);
    }
    site.disable("station").await;
    let mut both = list(&site).await;
    both.sort_by_key(|(_, reason)| reason.is_some());
    assert_eq!(both, [revoked[0].clone(), (again, hold)]);
    // Until they have expired, and were on a CRL after that.
    site.clock.advance(YEAR * 5 + DAY * 2);
    assert_eq!(list(&site).await, []);
    assert_eq!(site.records("tpm_deleted_api_key").await, 0);
}

#[tokio::test]
async fn a_deleted_categorys_list_is_served_while_its_certificates_may_be_valid() {
    let (site, key, device) = furnished().await;
    let serial = site.serial(&key, &device).await;
    let category = site.get(&format!("{CATEGORIES}/category")).await;
    let pem = category.json["spec"]["ak_sub_ca_certificate"].as_str();
    let upload = Upload::decode(pem.unwrap().as_bytes()).unwrap();
    let ca = upload.certificate().unwrap();
    assert_eq!(list(&site).await, []);
    site.disable("station").await;
    site.strip().await;
    for days in [0, 1, 1000] {
        site.clock
            .set(Timestamp::from_secs(START + days * 24 * 60 * 60));
        assert_eq!(list(&site).await, [(serial.clone(), None)]);
        let answer = site.call("GET", LIST).send().await;
        let crl = Crl::from_der(&answer.body).unwrap();
        crl.verify(algorithms::ALL, &ca.public_key()).unwrap();
        let made = i64::try_from(START + days * 24 * 60 * 60).unwrap();
        assert_eq!(crl.this_update(), made);
    }
    site.get(&format!("{CATEGORIES}/category"))
        .await
        .refuses(404, 5);

    // The CRL's URL contains the name.
    site.create(MANAGERS, "manager", json!({})).await.is(200);
    let refused = site.category("category").await;
    refused.refuses(409, 6).saying("take another name");
    site.category("another").await.is(200);
    site.clock.set(Timestamp::from_secs(START));
    site.clock
        .advance(YEAR * 5 + DAY * 2 - Duration::from_millis(1));
    site.call("GET", LIST).send().await.is(200);
    site.category("category").await.refuses(409, 6);
    site.clock.advance(Duration::from_millis(1));
    site.category("category").await.is(200);
    // The CRL is the new category's, although certificates of the former one are still valid.
    assert_eq!(list(&site).await, []);
    let answer = site.call("GET", LIST).send().await;
    let crl = Crl::from_der(&answer.body).unwrap();
    assert!(matches!(
        crl.verify(algorithms::ALL, &ca.public_key()),
        Err(X509Error::SignatureInvalid { .. })
    ));
}

/// A former category's CRL is not reused for one with the same name.
#[tokio::test]
async fn the_list_of_a_category_made_anew_is_its_own() {
    let (site, ..) = Site::start_furnished().await;
    let first = site.call("GET", LIST).send().await.is(200).body.to_vec();
    delete(&site, API_KEYS, "station").await.is(200);
    delete(&site, CATEGORIES, "category").await.is(200);
    site.call("GET", LIST).send().await.refuses(404, 5);
    site.category("category").await.is(200);
    let second = site.call("GET", LIST).send().await.is(200).body.to_vec();
    let [first, second] = [&first, &second].map(|der| Crl::from_der(der).unwrap());
    assert_ne!(first.issuer().as_der(), second.issuer().as_der());
    assert!(second.number() > first.number(), "numbers go on");
}

/// Devices that were bound below a deleted manager can still be viewed and forgotten, and are unknown to a new one with its name.
#[tokio::test]
async fn a_manager_made_anew_knows_no_device_of_the_one_before() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let first = Device::new(&manufacturer, "SN0001");
    let second = Device::new(&manufacturer, "SN0002");
    for device in [&first, &second] {
        site.activated(&key, device).await;
    }
    let mut machine = Machine::new(first.clone());
    machine.attested(&site).await.accepts();
    let ticket = second.activation(&site.provisioned(&key, &second).await);
    site.strip().await;
    let devices = &site.console.device_identity;
    let left = async || {
        let all = devices.devices(None).await.unwrap().into_iter();
        all.map(|device| (device.place.serial, device.is_left))
            .collect::<Vec<_>>()
    };
    let both = [("SN0001".to_owned(), true), ("SN0002".to_owned(), true)];
    assert_eq!(left().await, both);

    let roots = json!({ "ek_root_certificates": [manufacturer.root] });
    site.create(MANAGERS, "manager", roots).await.is(200);
    site.category("another").await.is(200);
    let key = site.api_key_in("another", "station").await;
    assert_eq!(left().await, both);
    // Neither the attestation key nor the learnt PCR values are taken over.
    let there = |body: &mut Value| body["category"] = json!("another");
    let attest = async |machine: &mut Machine| {
        machine.clock.clock += 1000;
        let mut asks = machine.asks("sha256:0");
        there(&mut asks);
        let nonce = site.post(crate::f5::dialect::NONCE, &asks).await;
        let nonce = nonce.is(200).json["nonce"].as_str().unwrap().to_owned();
        let nonce = data_encoding::BASE64.decode(nonce.as_bytes()).unwrap();
        let mut body = machine.attests(&nonce, "sha256:0");
        there(&mut body);
        site.post(crate::f5::dialect::ATTEST, &body).await
    };
    assert!(
        attest(&mut machine)
            .await
            .fails()
            .contains(&"activation".to_owned())
    );
    site.post(ACTIVATE, &ticket).await.refuses(403, 7);
    // The first TPM is now in another device, and the second device has another TPM.
    let moved = first.clone().with_serial("SN0003");
    site.activated(&key, &moved).await;
    let replaced = Device::new(&manufacturer, "SN0002");
    site.activated(&key, &replaced).await;
    // The first attestation key, once it is active again, without the PCR values learnt before.
    machine.device = moved.clone();
    machine.extends(0, 8, b"new firmware");
    attest(&mut machine).await.accepts();
    let all = [("SN0001", true), ("SN0002", false), ("SN0003", false)];
    assert_eq!(
        left().await,
        all.map(|(serial, left)| (serial.to_owned(), left))
    );

    // Forgetting the old device does not affect the one that has its TPM now.
    let forget = async |serial| {
        devices
            .forget_device(&device_administrator(), &place(serial))
            .await
    };
    assert_eq!(forget("SN0001").await, Ok(1));
    let stolen = moved.clone().with_serial("SN0009");
    site.post(PROVISION, &stolen.request(&key))
        .await
        .refuses(409, 6);
    attest(&mut machine).await.accepts();
    // The certificates of both managers' categories.
    assert_eq!(forget("SN0002").await, Ok(2));
    assert_eq!(list(&site).await.len(), 2);
}
