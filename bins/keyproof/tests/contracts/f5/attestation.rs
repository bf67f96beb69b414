//! A device's attestations after provisioning: what is accepted, which check rejects the rest, and what a thief gets.

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_service::device_identity::Registers;
use keyproof_tpm::{Structure, TpmsClockInfo};
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{ACTIVATE, API_KEYS, ATTEST, CATEGORIES, NONCE, PROVISION},
    faults::{CommitMode, FaultyEngine},
    forgetting::{device_administrator, place},
    machine::{Machine, SELECTION},
    provision::{furnish, furnished, furnished_on, join_all},
    site::{Answer, Site},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns a site, an API key, and a machine whose key is active.
async fn active() -> (Site, String, Machine) {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    (site, key, Machine::new(device))
}

/// Flips one bit of a Base64 member.
fn flip(body: &mut Value, member: &str, at: usize) {
    let mut bytes = BASE64
        .decode(body[member].as_str().unwrap().as_bytes())
        .unwrap();
    bytes[at] ^= 1;
    body[member] = json!(BASE64.encode(&bytes));
}

#[tokio::test]
async fn an_active_key_attests() {
    let (site, _, mut machine) = active().await;
    let answer = machine.attested(&site).await;
    let others = answer.accepts();
    assert!(
        others.iter().all(|(_, outcome)| outcome == "skipped"),
        "{others:?}"
    );
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json["device"]["serial"], "SN0001");
    assert_eq!(answer.json["device"]["manager"], "manager");
    assert_eq!(answer.check("pcr-policy").1, "3 registers learnt");
    let again = machine.attested(&site).await;
    again.accepts();
    assert_eq!(again.check("pcr-policy").0, "pass");
    let trail = site.trail("tpm.attest").await;
    let told: Vec<&str> = trail.iter().map(|(_, detail)| &**detail).collect();
    assert_eq!(
        told,
        [
            "accepted, and learnt: sha256:0,1,7",
            "accepted: sha256:0,1,7"
        ]
    );
}

#[tokio::test]
async fn a_nonce_is_32_bytes_that_no_other_is_and_says_until_when() {
    let (site, _, machine) = active().await;
    let answer = site.post(NONCE, &machine.asks(SELECTION)).await;
    let members = answer.is(200).json.as_object().unwrap();
    assert_eq!(members.len(), 2);
    assert_eq!(members["expires_at"], "2023-11-14T22:18:20Z");
    let first = machine.nonce(&site, SELECTION).await;
    assert_eq!(first.len(), 32);
    assert_ne!(machine.nonce(&site, SELECTION).await, first);

    let asks = |member: &str, value: Value| {
        let mut body = machine.asks(SELECTION);
        body[member] = value;
        body
    };
    for (member, value, status, code, says) in [
        ("namespace", json!("other"), 404, 5, "no such"),
        ("category", json!("other"), 404, 5, "no such"),
        ("category", json!(null), 404, 5, "no such"),
        ("ak_name", json!(null), 400, 3, "ak_name: it is missing"),
        ("ak_name", json!("*"), 400, 3, "ak_name"),
        ("ak_name", json!("AAsA"), 400, 3, "34 bytes"),
        (
            "ak_name",
            json!(BASE64.encode(&[0; 34])),
            400,
            3,
            "34 bytes",
        ),
        ("pcr_selection", json!(null), 400, 3, "pcr_selection"),
        ("pcr_selection", json!("sha256:"), 400, 3, "pcr_selection"),
        ("pcr_selection", json!("sha256:24"), 400, 3, "pcr_selection"),
        ("pcr_selection", json!("sha1:0"), 400, 3, "pcr_selection"),
        ("pcr_selection", json!(["sha256:0"]), 400, 3, "line 1"),
    ] {
        let refused = site.post(NONCE, &asks(member, value)).await;
        refused.refuses(status, code).saying(says);
    }
    // Any number of nonces can be requested: none is stored, and the first stays valid.
    for _ in 0..50 {
        machine.nonce(&site, SELECTION).await;
    }
    assert_eq!(site.records("tpm_spent_nonce").await, 0);
    let body = machine.attests(&first, SELECTION);
    site.post(ATTEST, &body).await.accepts();
}

#[tokio::test]
async fn a_nonce_is_good_once_for_five_minutes() {
    let (site, _, mut machine) = active().await;
    let nonce = machine.nonce(&site, SELECTION).await;
    let body = machine.attests(&nonce, SELECTION);
    site.post(ATTEST, &body).await.accepts();
    let again = site.post(ATTEST, &body).await;
    assert_eq!(again.fails(), ["nonce"]);
    assert_eq!(again.check("nonce").1, "it was used before");
    // A new signature over the same nonce is rejected too, and stores nothing.
    machine.clock.clock += 1;
    let anew = machine.attests(&nonce, SELECTION);
    assert_eq!(site.post(ATTEST, &anew).await.fails(), ["nonce"]);
    assert_eq!(site.records("tpm_spent_nonce").await, 1);

    let in_time = machine.nonce(&site, SELECTION).await;
    let late = machine.nonce(&site, SELECTION).await;
    site.clock.advance(MINUTE * 5 - Duration::from_millis(1));
    machine.clock.clock += 1;
    let body = machine.attests(&in_time, SELECTION);
    site.post(ATTEST, &body).await.accepts();
    site.clock.advance(Duration::from_millis(1));
    machine.clock.clock += 1;
    let body = machine.attests(&late, SELECTION);
    let refused = site.post(ATTEST, &body).await;
    assert_eq!(refused.fails(), ["nonce"]);
    assert_eq!(refused.check("nonce").1, "it has expired");
    // Records of used nonces expire once the nonces have expired on every clock.
    site.clock.advance(MINUTE * 66);
    assert_eq!(site.records("tpm_spent_nonce").await, 0);
}

#[tokio::test]
async fn a_nonce_is_good_for_one_key_category_namespace_and_selection() {
    let (site, key, mut machine) = active().await;
    site.category("other").await.is(200);
    let other_key = Machine::new(machine.device.clone().with_new_ak());
    site.activated(&key, &other_key.device).await;
    let with = |member: &str, value: &str| {
        let mut body = machine.asks(SELECTION);
        body[member] = json!(value);
        body
    };
    let foreign = [other_key.asks(SELECTION), with("category", "other")];
    for asked in foreign {
        let answer = site.post(NONCE, &asked).await;
        let nonce = answer.is(200).json["nonce"].as_str().unwrap();
        let nonce = BASE64.decode(nonce.as_bytes()).unwrap();
        let refused = site.post(ATTEST, &machine.attests(&nonce, SELECTION)).await;
        assert_eq!(refused.fails(), ["nonce"], "{asked}");
        assert!(refused.check("nonce").1.contains("not issued for this key"));
    }
    for other in ["sha256:0,1", "sha256:0,1,7,8", "sha384:0,1,7"] {
        let nonce = machine.nonce(&site, other).await;
        let refused = site.post(ATTEST, &machine.attests(&nonce, SELECTION)).await;
        assert_eq!(refused.fails(), ["pcr-selection"], "{other}");
        let (_, detail) = refused.check("pcr-selection");
        assert!(
            detail.contains(SELECTION) && detail.contains(other),
            "{detail}"
        );
        // Values are missed only in a quote of the requested PCRs.
        let nonce = machine.nonce(&site, other).await;
        let mut body = machine.attests(&nonce, SELECTION);
        body["pcr_values"] = json!(null);
        let refused = site.post(ATTEST, &body).await;
        assert_eq!(refused.fails(), ["pcr-selection"], "{other}");
    }
    let refused = machine
        .attested_with(&site, SELECTION, |body| body["nonce"] = json!("AAAA"))
        .await;
    assert_eq!(refused.fails(), ["nonce", "extra-data"]);
}

#[tokio::test]
async fn what_the_key_has_not_signed_is_refused_and_changes_nothing() {
    let (site, _, mut machine) = active().await;
    machine.attested(&site).await.accepts();
    let stranger = Device::new(&Manufacturer::new(), "SN0001");
    let spent = site.records("tpm_spent_nonce").await;
    for (what, failed) in [
        ("attest", "signature"),
        ("signature", "signature"),
        ("pcr_values", "pcr-digest"),
    ] {
        let refused = machine
            .attested_with(&site, SELECTION, |body| {
                let last = if what == "attest" { 60 } else { 20 };
                flip(body, what, last);
            })
            .await;
        assert!(refused.fails().contains(&failed.to_owned()), "{what}");
    }
    // Signed by another key, with this one's name.
    let refused = machine
        .attested_with(&site, SELECTION, |body| {
            let attest = body["attest"].as_str().unwrap();
            let attest = BASE64.decode(attest.as_bytes()).unwrap();
            body["signature"] = json!(BASE64.encode(&stranger.signs(&attest)));
        })
        .await;
    assert_eq!(refused.fails(), ["signature"]);
    let known = site.records("tpm_spent_nonce").await;
    assert_eq!(
        known,
        spent + 1,
        "only the one with wrong values was signed"
    );
    machine.attested(&site).await.accepts();
    // The refusals that a thief causes are in the audit trail, but not in the device's own list.
    let place = site.device("SN0001").await;
    assert_eq!(place["attestations"].as_array().unwrap().len(), 3);
}

/// A station's token, the device's public key and any number of attempts are enough to get such reports.
#[tokio::test]
async fn what_the_key_has_not_signed_over_a_good_nonce_is_told_nothing_of_the_device() {
    let (site, _, mut machine) = active().await;
    machine.clock.clock = 500_000;
    machine.attested(&site).await.accepts();
    let told_nothing = |refused: &Answer, failed: &str| {
        assert_eq!(refused.fails(), [failed]);
        assert_eq!(refused.json["device"], json!(null));
        for check in ["activation", "ak-certificate", "pcr-policy"] {
            let (outcome, detail) = refused.check(check);
            assert_eq!(outcome, "skipped", "{check}: {detail}");
            assert!(detail.contains("has not signed it"), "{check}: {detail}");
        }
        for check in ["reset-counters", "clock"] {
            let (outcome, detail) = refused.check(check);
            assert_eq!(outcome, "skipped", "{check}: {detail}");
        }
        assert!(!refused.json.to_string().contains("sha256:7"));
        assert!(!refused.json.to_string().contains("SN0001"));
    };
    machine.extends(7, 8, b"a guess");
    machine.clock.clock = 1000;
    let guess = machine.attested_with(&site, SELECTION, |body| flip(body, "signature", 20));
    told_nothing(&guess.await, "signature");
    // The same for a signature over an expired nonce.
    let nonce = machine.nonce(&site, SELECTION).await;
    site.clock.advance(MINUTE * 5);
    let late = site.post(ATTEST, &machine.attests(&nonce, SELECTION)).await;
    told_nothing(&late, "nonce");
    machine.clock.clock = 600_000;
    let nonce = machine.nonce(&site, SELECTION).await;
    let body = machine.attests(&nonce, SELECTION);
    let signed = site.post(ATTEST, &body).await;
    assert_eq!(signed.fails(), ["pcr-policy"]);
    assert_eq!(signed.json["device"]["serial"], "SN0001");
    told_nothing(&site.post(ATTEST, &body).await, "nonce");
    // The audit trail shows the operator which device it was about.
    let told = site.events_of("tpm.attest").await.into_iter();
    let targets: Vec<String> = told.map(|event| event.target).collect();
    let of_device = "tpm_device/default/manager/ExampleCorp/SN0001";
    assert!(targets.len() > 3, "{targets:?}");
    assert!(
        targets.iter().all(|target| target == of_device),
        "{targets:?}"
    );
}

#[tokio::test]
async fn a_key_that_is_not_active_is_not_believed() {
    let (site, key, device) = furnished().await;
    let answer = site.provisioned(&key, &device).await;
    let mut machine = Machine::new(device.clone());
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["activation"]);
    assert_eq!(refused.check("ak-certificate").0, "skipped");
    assert_eq!(refused.check("pcr-policy").0, "skipped");
    assert_eq!(refused.json["device"], json!(null));
    assert_eq!(site.records("tpm_spent_nonce").await, 0);
    assert_eq!(site.records("tpm_device").await, 0);

    // A proof for another ticket, of another key, or none at all does not activate it.
    let again = site.provisioned(&key, &device).await;
    let other = device.clone().with_new_ak();
    let others = other.activation(&site.provisioned(&key, &other).await);
    let crossed = json!({
        "ticket": answer["activation_ticket"],
        "proof": device.activation(&again)["proof"],
    });
    for wrong in [crossed, others, json!({})] {
        let refused = machine
            .attested_with(&site, SELECTION, |body| body["activation"] = wrong)
            .await;
        assert_eq!(refused.fails(), ["activation"]);
    }
    assert_eq!(site.records("tpm_device").await, 0);

    // An attestation that the key has not signed spends no ticket.
    let activation = device.activation(&answer);
    let refused = machine
        .attested_with(&site, SELECTION, |body| {
            body["activation"] = activation.clone();
            flip(body, "signature", 20);
        })
        .await;
    assert_eq!(refused.fails(), ["signature"]);
    assert_eq!(site.records("tpm_spent_ticket").await, 0);
    let taken = machine
        .attested_with(&site, SELECTION, |body| {
            body["activation"] = activation.clone()
        })
        .await;
    taken.accepts();
    assert!(taken.check("activation").1.contains("active from now on"));
    assert_eq!(site.trail("tpm.activate").await.len(), 1);
    site.post(ACTIVATE, &activation)
        .await
        .refuses(409, 6)
        .saying("used before");
    // Once the key is active, an unnecessary activation causes only a warning.
    let again = machine
        .attested_with(&site, SELECTION, |body| body["activation"] = activation)
        .await;
    again.accepts();
    assert_eq!(again.check("activation").0, "warn");
    machine.attested(&site).await.accepts();
}

#[tokio::test]
async fn a_changed_register_is_refused_until_it_is_learnt_anew() {
    let (site, _, mut machine) = active().await;
    machine.attested(&site).await.accepts();
    machine.extends(7, 8, b"tampered with");
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    let (_, detail) = refused.check("pcr-policy");
    assert_eq!(detail, "other than learnt: sha256:7");
    // Leaving out the PCR or its value does not help.
    let refused = machine.attested_with(&site, "sha256:0,1", |_| {}).await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    assert_eq!(refused.check("pcr-policy").1, "not quoted: sha256:7");
    let refused = machine
        .attested_with(&site, SELECTION, |body| body["pcr_values"] = json!(null))
        .await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    let learnt = site.device("SN0001").await["learnt"].clone();
    assert_eq!(learnt.as_array().unwrap().len(), 3);
    site.relearn("SN0001").await;
    let answer = machine.attested_with(&site, "sha256:0,1,7,8", |_| {}).await;
    answer.accepts();
    assert_eq!(answer.check("pcr-policy").1, "4 registers learnt");
    let more = machine
        .attested_with(&site, "sha256:0,1,7,8,9", |_| {})
        .await;
    assert_eq!(
        more.accepts()
            .iter()
            .filter(|(_, outcome)| outcome == "warn")
            .count(),
        1
    );
    assert!(more.check("pcr-policy").1.contains("sha256:9"));
}

#[tokio::test]
async fn what_was_refused_teaches_nothing() {
    let (site, _, mut machine) = active().await;
    let weak = machine
        .attested_with(&site, SELECTION, |body| {
            // The quote is valid, but the log is malformed.
            body["event_log"] = json!("AAAA");
        })
        .await;
    assert_eq!(weak.fails(), ["event-log"]);
    let told_nothing_learnt = |refused: &Answer| {
        let (outcome, detail) = refused.check("pcr-policy");
        assert_eq!(outcome, "skipped", "{detail}");
        assert!(detail.contains("not learnt"), "{detail}");
    };
    told_nothing_learnt(&weak);
    site.disable("station").await;
    let on_hold = machine.attested(&site).await;
    assert_eq!(on_hold.fails(), ["ak-certificate"]);
    told_nothing_learnt(&on_hold);
    site.replace(API_KEYS, "station", json!({})).await.is(200);
    assert_eq!(site.device("SN0001").await["learnt"], json!(null));
    machine.extends(7, 8, b"as it is to be");
    machine.attested(&site).await.accepts();
}

#[tokio::test]
async fn a_category_says_what_registers_are_to_be() {
    let (site, _, mut machine) = active().await;
    let expects = async |policy: Value| {
        let spec = json!({
            "tpm_allow_list": [], "pcr_policy": policy,
        });
        site.replace(CATEGORIES, "category", spec).await
    };
    let good = data_encoding::HEXUPPER.encode(&[0; 32]);
    let other = "ab".repeat(32);
    let one = |values: Value| json!([{ "bank": "sha256", "index": 7, "values": values }]);
    let policy = json!({ "expected": one(json!([other, good])) });
    expects(policy).await.is(200);
    let shown = site.get(&format!("{CATEGORIES}/category")).await;
    let shown = &shown.json["spec"]["pcr_policy"]["expected"][0];
    assert_eq!(shown["values"], json!([other, good.to_lowercase()]));
    machine.attested(&site).await.accepts();
    expects(json!({ "expected": one(json!([other])) }))
        .await
        .is(200);
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    assert_eq!(
        refused.check("pcr-policy").1,
        "other than expected: sha256:7"
    );
    let refused = machine.attested_with(&site, "sha256:0,1", |_| {}).await;
    assert_eq!(refused.check("pcr-policy").1, "not quoted: sha256:7");
    // Nothing is learnt meanwhile, and a replacement that does not mention the policy changes nothing of it.
    assert_eq!(site.device("SN0001").await["learnt"], json!(null));
    site.replace(CATEGORIES, "category", json!({}))
        .await
        .is(200);
    assert_eq!(machine.attested(&site).await.fails(), ["pcr-policy"]);
    expects(json!({ "any": {} })).await.is(200);
    machine.extends(7, 8, b"anything");
    machine.attested(&site).await.accepts();
    assert_eq!(site.device("SN0001").await["learnt"], json!(null));
    expects(json!({ "learn": {} })).await.is(200);
    machine.attested(&site).await.accepts();

    for wrong in [
        json!({}),
        json!({ "any": {}, "learn": {} }),
        json!({ "expected": [] }),
        json!({ "expected": one(json!([])) }),
        json!({ "expected": one(json!(["00"])) }),
        json!({ "expected": [{ "bank": "sha256", "values": [good] }] }),
        json!({ "expected": [{ "bank": "sha1", "index": 0, "values": ["00".repeat(20)] }] }),
    ] {
        expects(wrong.clone())
            .await
            .refuses(400, 3)
            .saying("pcr_policy");
        let spec = json!({ "tpm_manager_ref": [{ "name": "manager" }], "pcr_policy": wrong });
        let created = site.create(CATEGORIES, "wrong", spec).await;
        created.refuses(400, 3).saying("pcr_policy");
    }
    expects(json!({ "expected": [{ "index": 300 }] }))
        .await
        .refuses(400, 3);
}

#[tokio::test]
async fn clock_and_counters_of_a_key_never_fall() {
    let (site, _, mut machine) = active().await;
    let at = |reset_count, restart_count, clock| TpmsClockInfo {
        clock,
        reset_count,
        restart_count,
        safe: true,
    };
    // Each attestation is one second later.
    machine.clock = at(5, 3, 100_000);
    machine.attested(&site).await.accepts();
    for (clock, failed) in [
        (at(4, 9, 200_000), Some("reset-counters")),
        (at(5, 2, 200_000), Some("reset-counters")),
        (at(5, 3, 99_999), Some("clock")),
        (at(5, 3, 100_000), None),
        (at(5, 4, 100_000), None),
        (at(6, 0, 100_000), None),
    ] {
        machine.clock = clock;
        let answer = machine.attested(&site).await;
        match failed {
            Some(failed) => assert_eq!(answer.fails(), [failed]),
            None => drop(answer.accepts()),
        }
    }
    // The clock went back after an unorderly reset, which the TPM reports: a warning.
    machine.clock = TpmsClockInfo {
        safe: false,
        ..at(7, 0, 1)
    };
    let answer = machine.attested(&site).await;
    answer.accepts();
    assert_eq!(answer.check("clock").0, "warn");
    machine.clock = at(7, 0, 0);
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["clock"]);
}

/// The TPM has signed the clock, whatever else is wrong.
#[tokio::test]
async fn the_clock_of_a_refused_attestation_counts() {
    let (site, _, mut machine) = active().await;
    machine.attested(&site).await.accepts();
    machine.clock.clock += 1000;
    let nonce = machine.nonce(&site, SELECTION).await;
    let held_back = machine.attests(&nonce, SELECTION);
    machine.extends(7, 8, b"tampered with");
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    let late = site.post(ATTEST, &held_back).await;
    assert_eq!(late.fails(), ["clock"]);
}

#[tokio::test]
async fn of_two_attestations_at_once_the_later_clock_is_not_lost() {
    let (site, _, mut machine) = active().await;
    machine.attested(&site).await.accepts();
    let mut bodies = Vec::new();
    for _ in 0..4 {
        machine.clock.clock += 10;
        let nonce = machine.nonce(&site, SELECTION).await;
        bodies.push(machine.attests(&nonce, SELECTION));
    }
    let calls = bodies.iter().map(|body| site.post(ATTEST, body));
    for answer in join_all(calls).await {
        if answer.json["accepted"] == json!(false) {
            assert_eq!(answer.fails(), ["clock"]);
        }
    }
    machine.clock.clock -= 2000;
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["clock"]);
    // One nonce is spent once, however many requests use it concurrently.
    machine.clock.clock += 10_000;
    let nonce = machine.nonce(&site, SELECTION).await;
    let body = machine.attests(&nonce, SELECTION);
    let calls = (0..6).map(|_| site.post(ATTEST, &body));
    let answers = join_all(calls).await;
    let accepted = answers
        .iter()
        .filter(|answer| answer.json["accepted"] == json!(true));
    assert_eq!(accepted.count(), 1);
}

#[tokio::test]
async fn two_first_attestations_at_once_teach_one_value() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    site.activated(&key, &device).await;
    let mut one = Machine::new(device.clone());
    let mut other = Machine::new(device);
    one.clock.clock = 5000;
    other.extends(7, 8, b"another state");
    let body = one.attests(&one.nonce(&site, SELECTION).await, SELECTION);
    let overtaking = async {
        other.attested(&site).await.accepts();
    };
    let answer = engine.overtake(site.post(ATTEST, &body), overtaking).await;
    assert_eq!(answer.fails(), ["pcr-policy"]);
}

#[tokio::test]
async fn a_log_is_replayed_and_compared() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let mut machine = Machine::booted(device);
    let log = machine.log();
    let with_log =
        |log: Vec<u8>| move |body: &mut Value| body["event_log"] = json!(BASE64.encode(&log));
    let answer = machine
        .attested_with(&site, SELECTION, with_log(log.clone()))
        .await;
    answer.accepts();
    assert_eq!(answer.check("log-registers").0, "pass");
    assert_eq!(answer.check("event-log").0, "pass");
    let mut lacking = Machine::new(machine.device.clone());
    lacking.extends(0, 8, b"firmware 1");
    let refused = machine
        .attested_with(&site, SELECTION, with_log(lacking.log()))
        .await;
    assert_eq!(refused.fails(), ["log-registers"]);
    let refused = machine
        .attested_with(&site, SELECTION, with_log(log[..log.len() - 1].to_vec()))
        .await;
    assert_eq!(refused.fails(), ["event-log"]);

    let alone = machine
        .attested_with(&site, SELECTION, |body| {
            body["event_log"] = json!(BASE64.encode(&log));
            body["pcr_values"] = json!(null);
        })
        .await;
    alone.refuses(400, 3).saying("event_log");
    let long = vec![0; 512 * 1024];
    let refused = machine
        .attested_with(&site, SELECTION, with_log(long.clone()))
        .await;
    assert!(refused.fails().contains(&"event-log".to_owned()));
    let too_long = [long, vec![0]].concat();
    let refused = machine
        .attested_with(&site, SELECTION, with_log(too_long))
        .await;
    refused
        .refuses(400, 3)
        .saying("event_log: more than 524288");
}

#[tokio::test]
async fn the_values_of_registers_are_remembered_and_what_a_log_says_of_those_that_changed() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let mut machine = Machine::booted(device);
    let with_log =
        |log: Vec<u8>| move |body: &mut Value| body["event_log"] = json!(BASE64.encode(&log));
    let log = machine.log();
    machine
        .attested_with(&site, SELECTION, with_log(log))
        .await
        .accepts();
    machine.attested(&site).await.accepts();
    machine.extends(7, 8, b"<b>tampered with</b>");
    let log = machine.log();
    let refused = machine.attested_with(&site, SELECTION, with_log(log)).await;
    assert_eq!(refused.fails(), ["pcr-policy"]);
    // An attestation that the key has not signed leaves no record.
    let forged = machine
        .attested_with(&site, SELECTION, |body| flip(body, "pcr_values", 0))
        .await;
    assert!(!forged.fails().is_empty());

    let place = place("SN0001");
    let devices = &site.console.device_identity;
    let (told, _) = devices
        .device(&device_administrator(), &place)
        .await
        .unwrap();
    let values: Vec<Option<Vec<&str>>> = told
        .attestations
        .iter()
        .map(|verdict| match &verdict.registers {
            Registers::Values(values) => {
                Some(values.iter().map(|register| &*register.value).collect())
            }
            Registers::Same | Registers::Unknown => None,
        })
        .collect();
    let [Some(first), Some(second), Some(third), None] = &*values else {
        panic!("{values:?}");
    };
    assert_eq!(first, second);
    assert_eq!(first[..2], third[..2]);
    assert_ne!(first[2], third[2]);
    assert!(told.attestations[0].events.is_empty());
    let events = &told.attestations[2].events;
    assert!(events.iter().all(|event| event.index == 7), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(last.hint, "<b>tampered with</b>");
    assert_eq!(last.digest.len(), 64);
}

#[tokio::test]
async fn what_is_withdrawn_fails() {
    let (site, key, mut machine) = active().await;
    machine.attested(&site).await.accepts();
    let change = async |spec: Value| {
        let changed = site.replace(API_KEYS, "station", spec).await;
        changed.is(200);
    };
    change(json!({ "is_disabled": true })).await;
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["ak-certificate"]);
    assert!(refused.check("ak-certificate").1.contains("on hold"));
    // A new certificate for another key helps only the one who can open it.
    let second = site.api_key("second").await;
    let answer = site.provisioned(&second, &machine.device).await;
    assert_eq!(machine.attested(&site).await.fails(), ["ak-certificate"]);
    let activation = machine.device.activation(&answer);
    site.post(ACTIVATE, &activation).await.is(204);
    machine.attested(&site).await.accepts();
    // A certificate that a thief made with an API key that is then disabled does not affect the device.
    change(json!({})).await;
    let stolen = site.api_key("stolen").await;
    site.clock.advance(DAY * 365 * 4);
    site.provisioned(&stolen, &machine.device).await;
    site.disable("stolen").await;
    machine.attested(&site).await.accepts();
    // The certificate's end applies.
    site.clock.advance(DAY * 365);
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["ak-certificate"]);
    site.activated(&key, &machine.device).await;
    machine.attested(&site).await.accepts();
}

/// The effect of an API key's revocation on certificates made with it: see `tpm_api_key` in the contract.
#[tokio::test]
async fn a_key_attests_as_far_as_the_api_key_that_it_was_made_with_upholds_it() {
    let (site, key, mut machine) = active().await;
    let change = async |spec: Value| {
        site.replace(API_KEYS, "station", spec).await.is(200);
    };
    let made_at = "2023-11-14T22:13:20Z";
    // Revoked from a later time on: earlier certificates stay valid, but the key makes no more.
    site.clock.advance(Duration::from_secs(60));
    change(json!({ "revoked_timestamp": "2023-11-14T22:13:21Z" })).await;
    let refused = site.post(PROVISION, &machine.device.request(&key)).await;
    refused.refuses(403, 7);
    machine.attested(&site).await.accepts();
    // Deleted in this state: nothing changes for earlier certificates.
    let deleted = site.admin("DELETE", &format!("{API_KEYS}/station"));
    deleted.send().await.is(200);
    machine.attested(&site).await.accepts();
    // A new key with the same name has no effect on them.
    site.api_key("station").await;
    change(json!({ "is_disabled": true, "revoked_timestamp": made_at })).await;
    machine.attested(&site).await.accepts();

    // Revoked from the time on at which the certificate was made, or deleted while it is on hold.
    for spec in [
        json!({ "revoked_timestamp": made_at }),
        json!({ "is_disabled": true }),
    ] {
        let (site, _, mut machine) = active().await;
        machine.attested(&site).await.accepts();
        site.clock.advance(Duration::from_secs(60));
        site.replace(API_KEYS, "station", spec.clone())
            .await
            .is(200);
        let refused = machine.attested(&site).await;
        assert_eq!(refused.fails(), ["ak-certificate"], "{spec}");
        let deleted = site.admin("DELETE", &format!("{API_KEYS}/station"));
        deleted.send().await.is(200);
        assert_eq!(machine.attested(&site).await.fails(), ["ak-certificate"]);
        // A new key with the same name does not restore it.
        site.api_key("station").await;
        assert_eq!(machine.attested(&site).await.fails(), ["ak-certificate"]);
    }
}

#[tokio::test]
async fn a_key_attests_where_its_certificate_is_from() {
    let (site, _, mut machine) = active().await;
    site.category("other").await.is(200);
    let elsewhere = |body: &mut Value| body["category"] = json!("other");
    let mut asked = machine.asks(SELECTION);
    asked["category"] = json!("other");
    let answer = site.post(NONCE, &asked).await;
    let nonce = answer.is(200).json["nonce"].as_str().unwrap().to_owned();
    let nonce = BASE64.decode(nonce.as_bytes()).unwrap();
    let mut body = machine.attests(&nonce, SELECTION);
    elsewhere(&mut body);
    assert_eq!(site.post(ATTEST, &body).await.fails(), ["ak-certificate"]);
    let unknown = machine
        .attested_with(&site, SELECTION, |body| body["category"] = json!("nowhere"))
        .await;
    unknown.refuses(404, 5);
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_400() {
    let (site, _, mut machine) = active().await;
    for (member, value, says) in [
        ("ak_public", json!(null), "ak_public: it is missing"),
        ("ak_public", json!("AQID"), "ak_public"),
        ("nonce", json!(""), "nonce: it is missing"),
        ("nonce", json!("*"), "nonce"),
        ("attest", json!(null), "attest: it is missing"),
        ("attest", json!("A"), "attest"),
        ("signature", json!(null), "signature: it is missing"),
        ("pcr_values", json!("A"), "pcr_values"),
        ("event_log", json!("-"), "event_log"),
        ("signature", json!(7), "line 1"),
        ("activation", json!("ticket"), "line 1"),
    ] {
        let refused = machine
            .attested_with(&site, SELECTION, |body| body[member] = value)
            .await;
        refused.refuses(400, 3).saying(says);
    }
    // A readable structure that is not a quote is rejected in a report.
    for (member, value, failed) in [
        ("attest", json!("AQID"), "structure"),
        ("signature", json!("AQID"), "signature"),
        ("pcr_values", json!("AQID"), "pcr-digest"),
    ] {
        let refused = machine
            .attested_with(&site, SELECTION, |body| body[member] = value)
            .await;
        assert!(refused.fails().contains(&failed.to_owned()), "{member}");
    }
    // The public area may have a size prefix or not.
    let bare = machine.device.ak_public().to_bytes();
    let answer = machine
        .attested_with(&site, SELECTION, |body| {
            body["ak_public"] = json!(BASE64.encode(&bare))
        })
        .await;
    answer.accepts();
}

#[tokio::test]
async fn a_verdict_that_is_not_stored_is_not_told() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    site.activated(&key, &device).await;
    let machine = Machine::new(device);
    let body = machine.attests(&machine.nonce(&site, SELECTION).await, SELECTION);
    engine.commits(CommitMode::NotApplied);
    site.post(ATTEST, &body).await.refuses(503, 14);
    engine.commits(CommitMode::Made);
    site.post(ATTEST, &body).await.accepts();
}

#[tokio::test]
async fn stations_alone_attest() {
    let (site, _, machine) = active().await;
    let body = machine.attests(&machine.nonce(&site, SELECTION).await, SELECTION);
    let (asks, other) = (
        machine.asks(SELECTION),
        site.operator_token(&["certificates"], None).await,
    );
    let station = site.operator_token(&["tpm-station"], None).await;
    for (path, body) in [(NONCE, &asks), (ATTEST, &body)] {
        let call = || site.call("POST", path).json(body);
        call().send().await.refuses(401, 16);
        let scoped = |token: &str| call().authorization(&format!("APIToken {token}"));
        scoped(&other).send().await.refuses(403, 7);
        scoped(&station).send().await.is(200);
    }
    for action in ["tpm.attest_nonce", "tpm.attest"] {
        let trail = site.trail(action).await;
        let refused = trail.iter().filter(|(outcome, _)| outcome == "Refused");
        assert_eq!(refused.count(), 1, "{action}: {trail:?}");
    }
}

/// Another namespace's devices are unknown, whatever else is requested.
#[tokio::test]
async fn an_operator_of_another_namespace_attests_no_device() {
    let (site, _, machine) = active().await;
    let body = machine.attests(&machine.nonce(&site, SELECTION).await, SELECTION);
    let asks = machine.asks(SELECTION);
    let nowhere = json!({ "namespace": "nowhere" });
    for scopes in [&["tpm:other"][..], &["tpm:other", "certificates"]] {
        let token = site.operator_token(scopes, None).await;
        let token = format!("APIToken {token}");
        for (path, body) in [(NONCE, &asks), (ATTEST, &body), (ATTEST, &nowhere)] {
            let call = site.call("POST", path).json(body).authorization(&token);
            let refused = call.send().await;
            let refused = refused.refuses(404, 5);
            refused.saying("there is no such tpm_category");
        }
    }
    assert_eq!(site.records("tpm_spent_nonce").await, 0);
    for action in ["tpm.attest_nonce", "tpm.attest"] {
        let trail = site.trail(action).await;
        assert!(!trail.is_empty(), "{action}");
        for (outcome, detail) in trail {
            assert_eq!(outcome, "Refused", "{action}");
            assert_eq!(detail, "the namespace is not one of the station's");
        }
    }
    for scopes in [&["tpm:default"][..], &["tpm:other", "tpm:default"]] {
        let token = site.operator_token(scopes, None).await;
        let token = format!("APIToken {token}");
        for (path, body) in [(NONCE, &asks), (ATTEST, &body)] {
            let call = site.call("POST", path).json(body).authorization(&token);
            call.send().await.is(200);
        }
    }
}

#[tokio::test]
async fn an_attestation_shows_no_api_key_and_so_always_needs_a_token() {
    let (site, key, device) =
        furnish(Site::start_with(&[("f5.station_auth", "api_key_only".into())]).await).await;
    site.activated(&key, &device).await;
    let machine = Machine::new(device);
    let body = machine.attests(&machine.nonce(&site, SELECTION).await, SELECTION);
    for (path, body) in [(NONCE, &machine.asks(SELECTION)), (ATTEST, &body)] {
        let nobody = site.call("POST", path).json(body);
        nobody.send().await.refuses(401, 16);
        site.post(path, body).await.is(200);
    }
}

/// A body may arrive long after its head, whose token was checked.
#[tokio::test]
async fn what_a_station_sends_whose_token_was_revoked_meanwhile_is_neither_stored_nor_counted() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    site.activated(&key, &device).await;
    let mut machine = Machine::new(device);
    machine.attested(&site).await.accepts();
    let attest = async |body: &Value| {
        let station = format!("APIToken {}", site.station_token().await);
        site.call("POST", ATTEST).json(body).authorization(&station)
    };
    let known = async || {
        let (device, trail) = (site.device("SN0001").await, site.trail("tpm.attest").await);
        (device, trail, site.records("tpm_spent_nonce").await)
    };
    for accepted in [true, false] {
        machine.clock.clock += 1000;
        if !accepted {
            machine.extends(7, 8, b"tampered with");
        }
        let body = machine.attests(&machine.nonce(&site, SELECTION).await, SELECTION);
        let before = known().await;
        let revoked = async {
            site.revoke_stations().await;
            engine.steps();
        };
        let late = attest(&body).await.send_late(revoked);
        late.await.refuses(503, 14);
        // The request is processed once: sixteen attempts would have sixteen commits.
        let steps = engine.steps();
        assert!(steps < 16, "{steps} reads and commits");
        assert_eq!(known().await, before);
        // The nonce stays valid for others.
        let again = attest(&body).await.send().await;
        if accepted {
            drop(again.accepts());
        } else {
            assert_eq!(again.fails(), ["pcr-policy"]);
        }
        assert_ne!(known().await, before);
    }
}
