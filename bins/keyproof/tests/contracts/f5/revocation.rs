//! A category's CRL: its entries, when a new one is made, and that anybody may fetch it.

use std::{fs, process::Command, sync::Arc, time::Duration};

use keyproof::server::Server;
use keyproof_service::Clock;
use keyproof_store::{Key, Record, SystemEntropy, Timestamp};
use keyproof_x509::{
    Upload, algorithms,
    crl::{Crl, CrlReason},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::f5::{
    device::Manufacturer,
    dialect::{ACTIVATE, API_KEYS, CATEGORIES, START, serial},
    faults::FaultyEngine,
    provision::{furnished, furnished_on},
    site::{Answer, Site},
};

const LIST: &str = "/api/tpm/namespaces/default/tpm_categorys/category/crl";
const HALF_DAY: Duration = Duration::from_secs(12 * 60 * 60);
const DAY: Duration = HALF_DAY.saturating_mul(2);
const YEAR: Duration = DAY.saturating_mul(365);

/// Fetches the CRL without any credentials.
async fn list(site: &Site) -> Vec<u8> {
    site.call("GET", LIST).send().await.is(200).body.to_vec()
}

/// The same from another server.
async fn list_of(site: &Site, server: &Server) -> Vec<u8> {
    let mut call = site.call("GET", LIST);
    call.address = server.address();
    call.send().await.is(200).body.to_vec()
}

/// Starts another server on the same store, with the same clock.
async fn twin(site: &Site) -> Server {
    // What has expired, its upkeep would remove at once, and that commit would be the one that is overtaken.
    let now = site.clock.now();
    let mut upkeep = site.store.batch(now);
    let expired = site.store.expired(Timestamp::EPOCH..=now, 100).await;
    for (key, version) in expired.unwrap() {
        upkeep.remove(&key, version);
    }
    // It conflicts if the first server has removed them meanwhile.
    drop(site.store.commit(upkeep).await);
    let (config, clock) = (Arc::clone(&site.config), site.clock.clone());
    let entropy = Arc::new(SystemEntropy::new());
    let server = Server::start(config, site.store.clone(), clock, entropy);
    server.await.unwrap()
}

async fn change(site: &Site, api_key: &str, spec: Value) -> Answer {
    site.replace(API_KEYS, api_key, spec).await
}

type Listed = (Vec<u8>, u64, Option<CrlReason>);

/// Returns each entry's serial number, time of revocation in seconds, and reason.
fn entries(der: &[u8]) -> Vec<Listed> {
    let crl = Crl::from_der(der).unwrap();
    let all = crl.revocations().iter().map(|entry| {
        let since = entry.since.try_into().unwrap();
        (entry.serial.as_bytes().to_vec(), since, entry.reason)
    });
    all.collect()
}

fn on_hold(serial: &[u8], since: u64) -> Listed {
    (serial.to_vec(), since, Some(CrlReason::CertificateHold))
}

fn revoked(serial: &[u8], since: u64) -> Listed {
    (serial.to_vec(), since, None)
}

/// Sorts like a parsed CRL.
fn sorted<const N: usize>(mut entries: [Listed; N]) -> Vec<Listed> {
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.into()
}

fn number(der: &[u8]) -> u64 {
    let crl = Crl::from_der(der).unwrap();
    let octets = crl.number().unwrap().as_bytes().iter();
    octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// Returns the certificate of the category's CA, in PEM.
async fn issuer(site: &Site) -> String {
    let category = site.get(&format!("{CATEGORIES}/category")).await;
    let pem = category.json["spec"]["ak_sub_ca_certificate"].as_str();
    pem.unwrap().to_owned()
}

#[tokio::test]
async fn the_list_is_signed_by_the_categorys_ca_and_openssl_verifies_it() {
    let (site, key, device) = furnished().await;
    let serial = site.serial(&key, &device).await;
    site.disable("station").await;
    let answer = site.call("GET", LIST).send().await;
    assert_eq!(
        answer.is(200).header("content-type"),
        "application/pkix-crl"
    );

    let pem = issuer(&site).await;
    let upload = Upload::decode(pem.as_bytes()).unwrap();
    let ca = upload.certificate().unwrap();
    let crl = Crl::from_der(&answer.body).unwrap();
    crl.verify(algorithms::ALL, &ca.public_key()).unwrap();
    assert_eq!(crl.issuer().as_der(), ca.subject().as_der());
    let start = i64::try_from(START).unwrap();
    assert_eq!(crl.this_update(), start);
    assert_eq!(crl.next_update(), Some(start + 24 * 60 * 60));
    let mut extensions = ca.extensions().iter();
    let key_id = extensions.find(|one| one.id.to_string() == "2.5.29.14");
    // Without the header of an OCTET STRING.
    let key_id = key_id.unwrap().value.split_at(2).1;
    assert_eq!(crl.authority_key_identifier(), Some(key_id));

    let folder = tempfile::tempdir().unwrap();
    let [der_file, ca_file] = ["list.crl", "ca.pem"].map(|name| folder.path().join(name));
    fs::write(&der_file, &answer.body).unwrap();
    fs::write(&ca_file, &pem).unwrap();
    let output = Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(&der_file)
        .arg("-CAfile")
        .arg(&ca_file)
        .output()
        .expect("the peer `openssl` cannot be run: install the package openssl");
    let [text, told] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(told.contains("verify OK"), "{told}");
    let hex: String = serial.iter().map(|octet| format!("{octet:02X}")).collect();
    for says in ["Version 2", "X509v3 CRL Number", "Certificate Hold", &hex] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[tokio::test]
async fn anybody_may_ask_and_only_for_the_list_of_a_category_that_is_there() {
    let (site, _, _) = furnished().await;
    let prefixed = format!("/api/v1/api/production/us-east-1/namespaces/default{LIST}");
    assert_eq!(
        site.call("GET", &prefixed).send().await.is(200).body,
        list(&site).await
    );
    let head = site.call("HEAD", LIST).send().await;
    assert!(head.is(200).body.is_empty());
    assert_eq!(head.header("content-type"), "application/pkix-crl");
    let length = list(&site).await.len().to_string();
    assert_eq!(head.header("content-length"), length);

    for unknown in [
        "/api/tpm/namespaces/default/tpm_categorys/other/crl",
        "/api/tpm/namespaces/other/tpm_categorys/category/crl",
    ] {
        site.call("GET", unknown).send().await.refuses(404, 5);
    }
    let refused = site.call("POST", LIST).send().await;
    assert_eq!(refused.refuses(405, 12).header("allow"), "GET, HEAD");
    // No token is read: a client that validates certificates may have one for another server.
    for nobodys in ["APIToken nonsense", "Basic YTpi", "nonsense"] {
        let call = site.call("GET", LIST).authorization(nobodys);
        assert_eq!(call.send().await.is(200).body, list(&site).await);
    }
}

#[tokio::test]
async fn a_revoked_keys_certificates_are_listed_from_the_revocation_on() {
    let (site, key, device) = furnished().await;
    let before = site.serial(&key, &device).await;
    site.clock.advance(Duration::from_secs(60));
    let device = device.with_new_ak();
    let at = site.serial(&key, &device).await;
    site.clock.advance(Duration::from_secs(60));
    let device = device.with_new_ak();
    let after = site.serial(&key, &device).await;
    assert_eq!(entries(&list(&site).await), []);

    site.clock.advance(Duration::from_secs(60));
    let from = json!({ "revoked_timestamp": "2023-11-14T22:14:20Z" });
    change(&site, "station", from).await.is(200);
    let both = sorted([revoked(&at, START + 60), revoked(&after, START + 60)]);
    assert_eq!(entries(&list(&site).await), both);

    // Disabling the key also puts the earlier certificate on hold; what is revoked stays revoked.
    let too = json!({ "revoked_timestamp": "2023-11-14T22:14:20Z", "is_disabled": true });
    change(&site, "station", too).await.is(200);
    let all = sorted([
        on_hold(&before, START + 180),
        revoked(&at, START + 60),
        revoked(&after, START + 60),
    ]);
    assert_eq!(entries(&list(&site).await), all);
    let enabled = json!({ "revoked_timestamp": "2023-11-14T22:14:20Z" });
    change(&site, "station", enabled).await.is(200);
    assert_eq!(entries(&list(&site).await), both);
}

#[tokio::test]
async fn a_disabled_keys_certificates_are_on_hold_until_it_is_enabled() {
    let (site, key, device) = furnished().await;
    let second = site.api_key("second").await;
    let first = site.serial(&key, &device).await;
    let device = device.with_new_ak();
    site.serial(&second, &device).await;
    site.clock.advance(Duration::from_secs(5));
    site.disable("station").await;
    let held = vec![on_hold(&first, START + 5)];
    assert_eq!(entries(&list(&site).await), held);
    // The time of the hold does not change if the key is disabled again.
    site.clock.advance(DAY);
    site.disable("station").await;
    assert_eq!(entries(&list(&site).await), held);
    change(&site, "station", json!({})).await.is(200);
    assert_eq!(entries(&list(&site).await), []);

    // Another category's CRL does not contain it.
    site.category("other").await.is(200);
    site.disable("station").await;
    let other = LIST.replace("category/", "other/");
    let other = site.call("GET", &other).send().await;
    assert_eq!(entries(&other.is(200).body), []);
    assert_eq!(entries(&list(&site).await).len(), 1);
}

#[tokio::test]
async fn a_list_is_served_until_half_its_life_or_the_next_revocation_and_its_number_rises() {
    let (site, _, _) = furnished().await;
    let other_node = twin(&site).await;
    let first = list(&site).await;
    assert_eq!(number(&first), START * 1000);
    site.clock.advance(HALF_DAY - Duration::from_millis(1));
    assert_eq!(list_of(&site, &other_node).await, first);
    site.clock.advance(Duration::from_millis(1));
    let second = list_of(&site, &other_node).await;
    assert!(number(&second) > number(&first));
    assert_eq!(list(&site).await, second);

    site.disable("station").await;
    let third = list(&site).await;
    assert!(number(&third) > number(&second));
    // The reason in the key's spec changes nothing.
    let why = json!({ "is_disabled": true, "revoke_reason": "lost" });
    change(&site, "station", why).await.is(200);
    assert_eq!(list_of(&site, &other_node).await, third);
    change(&site, "station", json!({})).await.is(200);
    let fourth = list_of(&site, &other_node).await;
    assert!(number(&fourth) > number(&third));
    // A CRL from a clock that was far ahead does not remain the latest one.
    site.clock.set(Timestamp::from_secs(START));
    let set_back = list(&site).await;
    assert!(number(&set_back) > number(&fourth));
    let made = i64::try_from(START).unwrap();
    assert_eq!(Crl::from_der(&set_back).unwrap().this_update(), made);
}

#[tokio::test]
async fn two_nodes_that_make_a_list_at_once_make_one() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    site.furnished(&Manufacturer::new()).await;
    let other_node = twin(&site).await;
    let winner = async {
        assert_eq!(number(&list_of(&site, &other_node).await), START * 1000);
    };
    let loser = engine.overtake(list(&site), winner).await;
    assert_eq!(number(&loser), START * 1000);
    assert_eq!(list_of(&site, &other_node).await, loser);
}

#[tokio::test]
async fn a_list_and_a_revocation_at_once_do_not_miss_each_other() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let serial = site.serial(&key, &device).await;
    let other_node = twin(&site).await;
    let set = async |is_disabled: bool| {
        let spec = json!({ "is_disabled": is_disabled });
        change(&site, "station", spec).await.is(200);
    };
    // The first CRL is being made, and later a replacement, when the key is disabled.
    for time in [START, START + 24 * 60 * 60] {
        site.clock.set(Timestamp::from_secs(time));
        let made = engine.overtake(list_of(&site, &other_node), set(true));
        let held = vec![on_hold(&serial, time)];
        assert_eq!(entries(&made.await), held);
        // The key is being enabled when a CRL is made.
        let making = async {
            site.clock.advance(HALF_DAY);
            assert_eq!(entries(&list_of(&site, &other_node).await), held);
        };
        engine.overtake(set(false), making).await;
        assert_eq!(entries(&list_of(&site, &other_node).await), []);
        // The key is disabled, and then enabled while the CRL for that is made.
        set(true).await;
        let made = engine.overtake(list_of(&site, &other_node), set(false));
        assert_eq!(entries(&made.await), []);
    }
}

/// A station's token, an API key and a public endorsement certificate are not enough to revoke anything.
#[tokio::test]
async fn a_certificate_is_revoked_once_the_credential_of_the_next_was_opened() {
    let (site, key, device) = furnished().await;
    let second_key = site.api_key("second").await;
    let serial_of = |answer: &Value| serial(&device.certificate(answer));
    let first = serial_of(&site.activated(&key, &device).await);
    site.clock.advance(YEAR * 4);
    let answer = site.provisioned(&second_key, &device).await;
    let second = serial_of(&answer);
    assert_ne!(first, second);
    assert_eq!(entries(&list(&site).await), []);
    let activation = device.activation(&answer);
    site.post(ACTIVATE, &activation).await.is(204);
    let since = site.now().as_secs();
    let superseded = |since| (first.clone(), since, Some(CrlReason::Superseded));
    assert_eq!(entries(&list(&site).await), [superseded(since)]);

    // What is revoked permanently is not on hold as well.
    site.clock.advance(Duration::from_secs(1));
    site.disable("station").await;
    assert_eq!(entries(&list(&site).await), [superseded(since)]);
    site.disable("second").await;
    let both = sorted([superseded(since), on_hold(&second, since + 1)]);
    assert_eq!(entries(&list(&site).await), both);
}

#[tokio::test]
async fn a_certificate_that_was_replaced_without_a_proof_falls_with_its_key() {
    let (site, key, device) = furnished().await;
    let first = site.serial(&key, &device).await;
    site.clock.advance(YEAR * 4);
    let second = site.serial(&key, &device).await;
    assert_ne!(first, second);
    assert_eq!(entries(&list(&site).await), []);
    site.disable("station").await;
    let since = site.now().as_secs();
    let both = sorted([on_hold(&first, since), on_hold(&second, since)]);
    assert_eq!(entries(&list(&site).await), both);
}

/// RFC 5280, section 3.3: an entry is not removed before it was on a CRL made after the certificate's end.
#[tokio::test]
async fn an_entry_stays_beyond_the_certificates_end() {
    let (site, key, device) = furnished().await;
    let serial = site.serial(&key, &device).await;
    site.disable("station").await;
    site.clock.advance(YEAR * 5 + DAY);
    let held = vec![on_hold(&serial, START)];
    assert_eq!(entries(&list(&site).await), held);
    site.clock.advance(DAY);
    assert_eq!(entries(&list(&site).await), []);
}

#[tokio::test]
async fn certificates_of_before_there_was_an_index_are_listed() {
    let (site, key, device) = furnished().await;
    let serial = site.serial(&key, &device).await;
    site.lose(&["tpm_issued_certificate"]).await;
    site.disable("station").await;
    let held = vec![on_hold(&serial, START)];
    assert_eq!(entries(&list(&site).await), held);
    assert_eq!(site.records("tpm_issued_certificate").await, 1);
}

/// As the service writes it.
#[derive(Clone, Serialize, Deserialize)]
struct Issued {
    serial: String,
    made_at: Timestamp,
    not_after: Timestamp,
    api_key: String,
}

impl Record for Issued {
    const TYPE: &'static str = "tpm_issued_certificate";
    const VERSION: u32 = 1;
}

/// More than a page of the index, and more than fits in one record.
#[tokio::test]
async fn a_long_list_is_whole() {
    const MANY: u32 = 12_000;
    let (site, _, _) = furnished().await;
    for page in (0..MANY).step_by(1000) {
        let mut batch = site.store.batch(site.now());
        for one in page..page + 1000 {
            let octets = [[0x40; 12].as_slice(), &one.to_be_bytes()].concat();
            let octets: Vec<String> = octets.iter().map(|one| format!("{one:02x}")).collect();
            let issued = Issued {
                serial: octets.join(":"),
                made_at: site.now(),
                not_after: site.now().saturating_add(YEAR),
                api_key: "station".to_owned(),
            };
            let time = format!("{:016x}", issued.made_at.as_millis());
            let place = ["default", "category", "station", &time, &issued.serial];
            batch.insert(&Key::new(Issued::TYPE, place), &issued, None);
        }
        site.store.commit(batch).await.unwrap();
    }
    site.disable("station").await;
    let made = list(&site).await;
    assert_eq!(entries(&made).len(), usize::try_from(MANY).unwrap());
    assert_eq!(site.records("tpm_revocation_list_part").await, 2);
    assert_eq!(list(&site).await, made);
}
