//! Activation: the effect of a device's proof, and that nothing else has it. The thief has a station's token, an API key and the
//! device's endorsement certificate, which is public.

use std::{sync::Arc, time::Duration};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use keyproof::server::Server;
use keyproof_store::SystemEntropy;
use keyproof_x509::crl::Crl;
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{ACTIVATE, API_KEYS, ATTEST, CATEGORIES, MANAGERS, PROVISION},
    faults::{CommitMode, FaultyEngine},
    machine::{Machine, SELECTION},
    provision::{furnish, furnished, furnished_on, join_all},
    site::Site,
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const YEAR: Duration = HOUR.saturating_mul(24 * 365);

const BOUND: [&str; 4] = [
    "tpm_device",
    "tpm_endorsement_key",
    "tpm_attestation_key",
    "tpm_spent_ticket",
];

/// Returns the number of records of bound keys, active keys and spent tickets.
async fn bound(site: &Site) -> usize {
    let mut count = 0;
    for collection in BOUND {
        count += site.records(collection).await;
    }
    count
}

/// Returns the number of entries on the category's CRL.
async fn revoked(site: &Site) -> usize {
    revoked_in(site, "category").await
}

/// The same of another category.
async fn revoked_in(site: &Site, category: &str) -> usize {
    let list = site.call("GET", &format!("{CATEGORIES}/{category}/crl"));
    let list = list.send().await.is(200).body.to_vec();
    Crl::from_der(&list).unwrap().revocations().iter().count()
}

/// Returns a member's text with one character changed.
fn changed(activation: &Value, member: &str, at: usize) -> Value {
    let mut bytes = activation[member].as_str().unwrap().as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    let mut changed = activation.clone();
    changed[member] = json!(String::from_utf8(bytes).unwrap());
    changed
}

#[tokio::test]
async fn a_proof_makes_a_key_active_and_binds_its_device() {
    let (site, key, device) = furnished().await;
    let answer = site.provisioned(&key, &device).await;
    assert_eq!(bound(&site).await, 0, "a provision binds nothing");
    let activated = site.post(ACTIVATE, &device.activation(&answer)).await;
    assert!(activated.is(204).body.is_empty());
    for collection in BOUND {
        assert_eq!(site.records(collection).await, 1, "{collection}");
    }
    let trail = site.trail("tpm.activate").await;
    let [(outcome, detail)] = trail.as_slice() else {
        panic!("{trail:?}");
    };
    assert_eq!(outcome, "Done");
    assert!(detail.contains(", certificate "), "{detail}");

    // Another key of the same TPM becomes active only by its own proof.
    let device = device.with_new_ak();
    let answer = site.provisioned(&key, &device).await;
    assert_eq!(site.records("tpm_attestation_key").await, 1);
    site.post(ACTIVATE, &device.activation(&answer))
        .await
        .is(204);
    assert_eq!(site.records("tpm_attestation_key").await, 2);
    assert_eq!(site.records("tpm_device").await, 1);
}

#[tokio::test]
async fn a_ticket_is_good_once_for_an_hour_and_on_every_server() {
    let (site, key, device) = furnished().await;
    let first = device.activation(&site.provisioned(&key, &device).await);
    let second = device.activation(&site.provisioned(&key, &device).await);
    let third = device.activation(&site.provisioned(&key, &device).await);
    site.post(ACTIVATE, &second).await.is(204);
    let entropy = Arc::new(SystemEntropy::new());
    let (config, clock) = (Arc::clone(&site.config), site.clock.clone());
    let twin = Server::start(config, site.store.clone(), clock, entropy);
    let twin = twin.await.unwrap();
    for address in [site.server.address(), twin.address()] {
        let mut again = site.admin("POST", ACTIVATE).json(&second);
        again.address = address;
        again.send().await.refuses(409, 6).saying("used before");
    }
    // Each of them is valid, in any order.
    site.post(ACTIVATE, &first).await.is(204);
    site.clock.advance(HOUR - Duration::from_millis(1));
    site.post(ACTIVATE, &first)
        .await
        .refuses(409, 6)
        .saying("used before");
    site.clock.advance(Duration::from_millis(1));
    for expired in [&second, &third] {
        let refused = site.post(ACTIVATE, expired).await;
        refused.refuses(403, 7).saying("expired");
    }
    // The records of spent tickets expire with the tickets.
    site.clock.advance(HOUR);
    assert_eq!(site.records("tpm_spent_ticket").await, 0);
}

#[tokio::test]
async fn a_ticket_of_a_clock_that_was_ahead_is_good_for_no_longer() {
    let (site, key, device) = furnished().await;
    let right = site.now();
    // The clocks of two servers may be this far apart.
    for (ahead, is_good) in [(121, false), (120, true)] {
        let ahead = right.saturating_add(Duration::from_secs(ahead));
        site.clock.set(ahead);
        let activation = device.activation(&site.provisioned(&key, &device).await);
        site.clock.set(right);
        let answer = site.post(ACTIVATE, &activation).await;
        if is_good {
            answer.is(204);
        } else {
            answer.refuses(403, 7).saying("expired");
        }
    }
}

#[tokio::test]
async fn a_ticket_is_taken_as_it_was_issued_and_its_proof_in_no_other_form() {
    let (site, key, device) = furnished().await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let ticket = activation["ticket"].as_str().unwrap();
    let proof = activation["proof"].as_str().unwrap();
    let bytes = BASE64.decode(proof.as_bytes()).unwrap();
    for (member, value, status, code, says) in [
        ("ticket", json!(null), 400, 3, "ticket"),
        ("ticket", json!(""), 400, 3, "ticket"),
        ("ticket", json!("AAAA"), 400, 3, "ticket"),
        ("ticket", json!("a".repeat(70_000)), 400, 3, "ticket"),
        (
            "ticket",
            json!(&ticket[..ticket.len() - 4]),
            400,
            3,
            "ticket",
        ),
        ("ticket", json!(format!("{ticket}AAAA")), 400, 3, "ticket"),
        ("ticket", json!(7), 400, 3, "line 1"),
        ("proof", json!(null), 400, 3, "proof: it is missing"),
        ("proof", json!(""), 400, 3, "proof: it is missing"),
        ("proof", json!("*"), 400, 3, "proof"),
        ("proof", json!("AAAA"), 403, 7, "proof"),
        ("proof", json!(BASE64.encode(&bytes[..31])), 403, 7, "proof"),
        (
            "proof",
            json!(BASE64.encode(&[&bytes[..], &[0]].concat())),
            403,
            7,
            "proof",
        ),
    ] {
        let mut wrong = activation.clone();
        wrong[member] = value;
        let refused = site.post(ACTIVATE, &wrong).await;
        refused.refuses(status, code).saying(says);
    }
    // Every part of the ticket is authenticated.
    for at in (0..ticket.len()).step_by(37) {
        let wrong = changed(&activation, "ticket", at);
        let refused = site.post(ACTIVATE, &wrong).await;
        refused.refuses(400, 3).saying("ticket");
    }
    for at in 0..40 {
        let refused = site
            .post(ACTIVATE, &changed(&activation, "proof", at))
            .await;
        refused.refuses(403, 7).saying("proof");
    }
    assert_eq!(bound(&site).await, 0);
    let sealed = BASE64URL_NOPAD.decode(ticket.as_bytes()).unwrap();
    let sealed = String::from_utf8_lossy(&sealed).into_owned();
    assert!(!sealed.contains("SN0001"), "{sealed}");
    site.post(ACTIVATE, &activation).await.is(204);
}

#[tokio::test]
async fn what_a_thief_is_answered_binds_blocks_and_revokes_nothing() {
    let (site, key, device) = furnished().await;
    let stolen = device.ek_certificate.clone();
    let manufacturer = Manufacturer::new();
    // With his own TPM, keys and names, and with the device's identity, before and after the device came.
    let thief = Device::new(&manufacturer, "SN0666").with_stolen_endorsement(&device);
    assert_eq!(thief.ek_certificate, stolen);
    let steal = async || {
        for serial in ["SN0666", "SN0001"] {
            let thief = Device::new(&manufacturer, serial).with_stolen_endorsement(&device);
            let answer = site.post(PROVISION, &thief.request(&key)).await;
            if answer.status == 200 {
                assert!(thief.opens(&answer.json, &thief.ak_public()).is_none());
                let guess = json!({
                    "ticket": answer.json["activation_ticket"],
                    "proof": BASE64.encode(&[0; 32]),
                });
                site.post(ACTIVATE, &guess).await.refuses(403, 7);
            } else {
                answer.refuses(409, 6);
            }
        }
    };
    for _ in 0..3 {
        steal().await;
    }
    assert_eq!(bound(&site).await, 0);
    site.activated(&key, &device).await;
    let known = bound(&site).await;
    for _ in 0..3 {
        steal().await;
    }
    // At a time when every provision makes a new certificate.
    site.clock.advance(YEAR * 4);
    for _ in 0..3 {
        site.post(PROVISION, &device.request(&key)).await.is(200);
    }
    assert_eq!(bound(&site).await, known - 1, "but for the spent ticket");
    assert_eq!(revoked(&site).await, 0);
    site.activated(&key, &device).await;
    assert_eq!(revoked(&site).await, 1);
}

#[tokio::test]
async fn a_proof_is_that_of_its_own_ticket_alone() {
    let (site, key, device) = furnished().await;
    let first = device.activation(&site.provisioned(&key, &device).await);
    let again = device.activation(&site.provisioned(&key, &device).await);
    let device = device.with_new_ak();
    let other_key = device.activation(&site.provisioned(&key, &device).await);
    for (ticket, proof) in [
        (&first, &again),
        (&again, &first),
        (&first, &other_key),
        (&other_key, &first),
    ] {
        let crossed = json!({ "ticket": ticket["ticket"], "proof": proof["proof"] });
        let refused = site.post(ACTIVATE, &crossed).await;
        refused.refuses(403, 7).saying("proof");
    }
    assert_eq!(bound(&site).await, 0);
    // A wrong proof does not spend the ticket, nor reveal whether it was spent.
    site.post(ACTIVATE, &first).await.is(204);
    let crossed = json!({ "ticket": first["ticket"], "proof": again["proof"] });
    let refused = site.post(ACTIVATE, &crossed).await;
    refused.refuses(403, 7).saying("proof");
    site.post(ACTIVATE, &again).await.is(204);
    site.post(ACTIVATE, &other_key).await.is(204);
}

#[tokio::test]
async fn a_ticket_of_another_store_is_none() {
    let (site, key, device) = furnished().await;
    let (other, other_key, _) = furnished().await;
    let roots = site.get(&format!("{MANAGERS}/manager")).await.json["spec"].clone();
    other.replace(MANAGERS, "manager", roots).await.is(200);
    let activation = device.activation(&other.provisioned(&other_key, &device).await);
    site.provisioned(&key, &device).await;
    let refused = site.post(ACTIVATE, &activation).await;
    refused.refuses(400, 3).saying("not one of this server's");
}

/// As after the restore of a backup, which does not include the key.
#[tokio::test]
async fn tickets_and_nonces_are_void_under_another_challenge_key() {
    let (site, key, device) = furnished().await;
    let machine = Machine::new(device.clone());
    site.activated(&key, &device).await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let nonce = machine.nonce(&site, SELECTION).await;
    site.lose(&["tpm_challenge_key"]).await;
    for _ in 0..2 {
        let refused = site.post(ACTIVATE, &activation).await;
        refused.refuses(403, 7).saying("expired");
        let refused = site.post(ATTEST, &machine.attests(&nonce, SELECTION)).await;
        assert_eq!(refused.fails(), ["nonce"]);
        site.activated(&key, &device).await;
    }
}

#[tokio::test]
async fn of_two_tpms_for_one_identity_one_is_activated_however_they_race() {
    for _ in 0..4 {
        let (site, manufacturer, key) = Site::start_furnished().await;
        let race = async |one: &Device, other: &Device| {
            let activations = [
                one.activation(&site.provisioned(&key, one).await),
                other.activation(&site.provisioned(&key, other).await),
            ];
            let calls = activations.iter().map(|shown| site.post(ACTIVATE, shown));
            let mut statuses: Vec<u16> = Vec::new();
            for answer in join_all(calls).await {
                if answer.status != 204 {
                    answer.refuses(409, 6).saying("another");
                }
                statuses.push(answer.status.as_u16());
            }
            statuses.sort_unstable();
            assert_eq!(statuses, [204, 409]);
        };
        let one = Device::new(&manufacturer, "SN0001");
        let other = Device::new(&manufacturer, "SN0001");
        race(&one, &other).await;
        // One TPM under two names.
        let tpm = Device::new(&manufacturer, "SN0002");
        let renamed = tpm.clone().with_serial("SN0003");
        race(&tpm, &renamed).await;
        for collection in BOUND {
            assert_eq!(site.records(collection).await, 2, "{collection}");
        }
        // The same ticket twice.
        let device = Device::new(&manufacturer, "SN0004");
        let activation = device.activation(&site.provisioned(&key, &device).await);
        let calls = (0..8).map(|_| site.post(ACTIVATE, &activation));
        let answers = join_all(calls).await;
        let done = answers.iter().filter(|answer| answer.status == 204);
        assert_eq!(done.count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 204) {
            answer.refuses(409, 6).saying("used before");
        }
    }
}

/// A mainboard that was replaced before its device was activated can open a certificate of the device, too.
#[tokio::test]
async fn certificates_of_other_endorsement_keys_are_revoked_once_their_device_is_bound() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    site.category("other").await.is(200);
    let elsewhere = site.api_key_in("other", "elsewhere").await;
    let former = Device::new(&manufacturer, "SN0001");
    let device = Device::new(&manufacturer, "SN0001");
    let [second, renamed] = [
        device.clone().with_new_ak(),
        former.clone().with_serial("SN0002"),
    ];
    site.provisioned(&elsewhere, &former).await;
    for provisioned in [&former, &second, &renamed] {
        site.provisioned(&key, provisioned).await;
    }
    let lists = async || [revoked(&site).await, revoked_in(&site, "other").await];
    assert_eq!(lists().await, [0, 0]);
    site.activated(&key, &device).await;
    assert_eq!(lists().await, [1, 1]);
    let told = site.trail("tpm.activate").await;
    let begins = "certificates for other endorsement keys; revoked ";
    let telling = told.iter().filter(|(_, how)| how.starts_with(begins));
    assert_eq!((telling.count(), told.len()), (2, 3), "{told:?}");
    // Those of the device's other keys, and of other devices, stay valid.
    for activated in [&second, &renamed] {
        site.activated(&key, activated).await;
    }
    assert_eq!(lists().await, [1, 1]);

    // An attestation that activates a key does the same.
    let former = Device::new(&manufacturer, "SN0003");
    site.provisioned(&key, &former).await;
    let device = Device::new(&manufacturer, "SN0003");
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let attested = Machine::new(device)
        .attested_with(&site, SELECTION, |body| body["activation"] = activation)
        .await;
    attested.accepts();
    assert_eq!(lists().await, [2, 1]);
}

/// A server may stop between an activation and the revocations that follow it. Its client sends the activation again.
#[tokio::test]
async fn a_certificate_of_another_endorsement_key_is_revoked_though_it_is_made_meanwhile() {
    const ATTESTED_AGAIN: &str = "an attestation with the same activation";
    const NEXT: &str = "the device's next activation";
    const SENT_AGAIN: &str = "the same activation";
    for completed_by in [None, Some(ATTESTED_AGAIN), Some(NEXT), Some(SENT_AGAIN)] {
        let is_revoked = completed_by.is_none();
        let (engine, manufacturer) = (FaultyEngine::new(), Manufacturer::new());
        let site = Site::on(engine.clone(), &[]).await;
        let key = site.furnished(&manufacturer).await;
        let [device, former] = [(); 2].map(|()| Device::new(&manufacturer, "SN0001"));
        let activation = device.activation(&site.provisioned(&key, &device).await);
        let meanwhile = async {
            site.provisioned(&key, &former).await;
            engine.commits(CommitMode::MadeOnly(usize::from(is_revoked)));
        };
        let slow = site.post(ACTIVATE, &activation);
        engine.overtake(slow, meanwhile).await.is(204);
        engine.commits(CommitMode::Made);
        assert_eq!(revoked(&site).await, usize::from(is_revoked));
        match completed_by {
            Some(ATTESTED_AGAIN) => {
                let attested = Machine::new(device)
                    .attested_with(&site, SELECTION, |body| body["activation"] = activation)
                    .await;
                attested.accepts();
            }
            Some(NEXT) => drop(site.activated(&key, &device).await),
            _ => {
                let again = site.post(ACTIVATE, &activation).await;
                again.refuses(409, 6).saying("used before");
            }
        }
        assert_eq!(revoked(&site).await, 1, "{completed_by:?}");
    }
}

#[tokio::test]
async fn what_is_withdrawn_meanwhile_is_not_activated() {
    let (site, key, device) = furnished().await;
    let second = site.api_key("second").await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let change = async |spec: Value| {
        let changed = site.replace(API_KEYS, "station", spec).await;
        changed.is(200);
    };
    change(json!({ "is_disabled": true })).await;
    let refused = site.post(ACTIVATE, &activation).await;
    refused.refuses(403, 7).saying("revoked or on hold");
    // A provision with another API key makes a certificate that replaces it, and is valid at once.
    let by_second = device.activation(&site.provisioned(&second, &device).await);
    change(json!({})).await;
    site.post(ACTIVATE, &by_second).await.is(204);
    let refused = site.post(ACTIVATE, &activation).await;
    refused.refuses(403, 7).saying("revoked or on hold");
    assert_eq!(revoked(&site).await, 1);
}

#[tokio::test]
async fn an_activation_is_judged_again_when_a_record_behind_it_changed_meanwhile() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let slow = site.post(ACTIVATE, &activation);
    let answer = engine.overtake(slow, site.disable("station")).await;
    answer.refuses(403, 7).saying("revoked or on hold");
    assert_eq!(bound(&site).await, 0);
}

#[tokio::test]
async fn an_activation_that_is_not_stored_is_not_acknowledged() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    engine.commits(CommitMode::NotApplied);
    site.post(ACTIVATE, &activation).await.refuses(503, 14);
    engine.commits(CommitMode::Lost);
    let lost = site.post(ACTIVATE, &activation).await;
    lost.refuses(500, 13).saying("not known whether");
    engine.commits(CommitMode::Made);
    let again = site.post(ACTIVATE, &activation).await;
    again.refuses(409, 6).saying("used before");
    assert_eq!(site.records("tpm_attestation_key").await, 1);
}

#[tokio::test]
async fn whoever_may_provision_may_show_a_proof_and_nobody_else() {
    let (site, key, device) = furnished().await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let with = |token: String| {
        let call = site.call("POST", ACTIVATE).json(&activation);
        call.authorization(&format!("APIToken {token}"))
    };
    let nobody = site.call("POST", ACTIVATE).json(&activation);
    nobody.send().await.refuses(401, 16);
    with("nonsense".to_owned()).send().await.refuses(401, 16);
    let other = site.operator_token(&["certificates"], None).await;
    with(other).send().await.refuses(403, 7);
    let trail = site.trail("tpm.activate").await;
    assert_eq!(trail.last().unwrap().0, "Refused");
    let station = site.operator_token(&["tpm-station"], None).await;
    with(station).send().await.is(204);

    let flags = [("f5.station_auth", "api_key_only".into())];
    let (site, key, device) = furnish(Site::start_with(&flags).await).await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let anybody = site.call("POST", ACTIVATE).json(&activation);
    anybody.send().await.is(204);
    site.call("GET", ACTIVATE).send().await.refuses(405, 12);
}
