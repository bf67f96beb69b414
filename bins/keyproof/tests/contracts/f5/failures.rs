//! Failures below the contract, reported in the contract's form.

use std::time::Duration;

use keyproof_store::{Key, Record, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use crate::f5::{
    device::Manufacturer,
    dialect::{
        ACTIVATE, API_KEYS, ATTEST, CATEGORIES, MANAGERS, NONCE, PREAUTH, PROVISION, serial,
    },
    faults::{CommitMode, FaultyEngine},
    machine::{Machine, SELECTION},
    provision::{furnish, furnished_on},
    site::Site,
};

#[tokio::test]
async fn a_store_that_does_not_answer_is_503() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    engine.fail_reads(true);
    let answer = site.get(MANAGERS).await;
    assert_eq!(answer.refuses(503, 14).header("retry-after"), "1");
    site.admin("POST", PREAUTH)
        .body("{}")
        .send()
        .await
        .refuses(503, 14);
    engine.fail_reads(false);
    site.get(MANAGERS).await.is(200);
}

/// Long enough for any machine: it only ends tests that hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the number of certificates of attestation keys.
async fn certified(site: &Site) -> usize {
    site.records("tpm_ak_certificate").await
}

#[tokio::test]
async fn a_commit_that_is_not_made_is_503_and_leaves_nothing() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let request = device.request(&key);
    engine.commits(CommitMode::NotApplied);
    let refused = site.post(PROVISION, &request).await;
    refused.refuses(503, 14).saying("try again");
    assert_eq!(refused.header("retry-after"), "1");
    let reference = json!({
        "tpm_manager_ref": [{ "name": "manager" }], "category_ref": [{ "name": "category" }],
    });
    for path in [API_KEYS, CATEGORIES, MANAGERS] {
        let create = site.create(path, "new", reference.clone());
        create.await.refuses(503, 14);
    }
    let disable = site.replace(API_KEYS, "station", json!({ "is_disabled": true }));
    disable.await.refuses(503, 14);
    engine.commits(CommitMode::Made);

    assert_eq!(certified(&site).await, 0);
    for path in [API_KEYS, CATEGORIES, MANAGERS] {
        site.get(&format!("{path}/new")).await.refuses(404, 5);
        site.create(path, "new", reference.clone()).await.is(200);
    }
    let answer = site.post(PROVISION, &request).await;
    let opened = device.opens(&answer.is(200).json, &device.ak_public());
    assert!(opened.is_some());
    assert_eq!(certified(&site).await, 1);
    let trail = site.trail("tpm.provision").await;
    assert_eq!(trail.len(), 1, "{trail:?}");
}

#[tokio::test]
async fn a_provision_whose_outcome_is_lost_is_500_and_sent_again_makes_no_second_certificate() {
    for (fate, known) in [(CommitMode::Lost, 1), (CommitMode::LostNotApplied, 0)] {
        let engine = FaultyEngine::new();
        let (site, key, device) = furnished_on(engine.clone()).await;
        let request = device.request(&key);
        // The challenge key is created when it is first needed, and stays.
        Machine::new(device.clone()).nonce(&site, SELECTION).await;
        engine.commits(fate);
        let lost = site.post(PROVISION, &request).await;
        lost.refuses(500, 13).saying("not known whether");
        engine.commits(CommitMode::Made);
        assert_eq!(certified(&site).await, known, "{fate:?}");

        let mut certificates = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = site.post(PROVISION, &request).await;
            certificates.push(device.certificate(&answer.is(200).json));
            answers.push(answer.json);
        }
        assert_eq!(certificates[0], certificates[1], "{fate:?}");
        for member in ["nonce", "encrypted_ak_cert", "credential_bundle"] {
            assert_ne!(answers[0][member], answers[1][member], "{member}");
        }
        assert_eq!(certified(&site).await, 1, "{fate:?}");
        let trail = site.trail("tpm.provision").await;
        let made = trail.iter().filter(|(_, how)| how.contains("made"));
        assert_eq!(made.count(), 1, "{trail:?}");
        // The certificate is the one that was made although its outcome was reported as unknown.
        let octets = serial(&certificates[0]).into_iter();
        let octets: Vec<_> = octets.map(|octet| format!("{octet:02x}")).collect();
        let of_it = format!(": serial {}, ", octets.join(":"));
        for (_, how) in &trail {
            assert!(how.contains(&of_it), "{trail:?}");
        }
    }
}

#[tokio::test]
async fn an_object_whose_outcome_is_lost_is_500() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    engine.commits(CommitMode::Lost);
    site.create(MANAGERS, "manager", json!({}))
        .await
        .refuses(500, 13)
        .saying("not known whether");
    engine.commits(CommitMode::Made);
    site.create(MANAGERS, "manager", json!({}))
        .await
        .refuses(409, 6);
}

#[tokio::test]
async fn a_provision_past_its_deadline_is_504_and_runs_to_its_end() {
    let engine = FaultyEngine::new();
    // The deadline also applies to the requests before and after.
    let deadline = ("http.handler_timeout_ms", 3_000.into());
    let (site, key, device) = furnish(Site::on(engine.clone(), &[deadline]).await).await;
    let request = device.request(&key);
    engine.stall();
    let late = site.post(PROVISION, &request).await;
    late.refuses(504, 4).saying("not known whether");
    engine.resume_reads();
    let ended = async {
        while certified(&site).await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    let answer = site.post(PROVISION, &request).await;
    let opened = device.opens(&answer.is(200).json, &device.ak_public());
    assert!(opened.is_some());
    let trail = site.trail("tpm.provision").await;
    let made = trail.iter().filter(|(_, how)| how.contains("made"));
    assert_eq!((made.count(), trail.len()), (1, 2), "{trail:?}");
}

#[tokio::test]
async fn a_handler_past_its_deadline_is_504() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[("http.handler_timeout_ms", 50.into())]).await;
    engine.stall();
    site.get(MANAGERS).await.refuses(504, 4);
    engine.resume_reads();
}

#[tokio::test]
async fn a_damaged_record_is_500_and_its_content_is_not_told() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Other {
        hidden: String,
    }
    impl Record for Other {
        const TYPE: &'static str = "other";
        const VERSION: u32 = 1;
    }

    let site = Site::start().await;
    let mut batch = site.store.batch(Timestamp::EPOCH);
    let hidden = "hidden".to_owned();
    batch.insert(
        &Key::new("tpm_manager", ["default", "a"]),
        &Other { hidden },
        None,
    );
    site.store.commit(batch).await.unwrap();
    let answer = site.get(&format!("{MANAGERS}/a")).await;
    answer.refuses(500, 13);
    assert!(!answer.text().contains("hidden"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let site = Site::start_with(&[("http.max_body_bytes", 10.into())]).await;
    let answer = site
        .admin("POST", PREAUTH)
        .body("{\"api_key\":\"a\"}")
        .send()
        .await;
    answer.refuses(413, 3);
}

#[tokio::test]
async fn each_body_is_bounded_by_what_its_route_needs() {
    const KIB: usize = 1024;
    let site = Site::start_with(&[("http.max_body_bytes", (4 * 1024 * 1024).into())]).await;
    site.furnished(&Manufacturer::new()).await;
    for (method, path, most) in [
        ("POST", PREAUTH.to_owned(), 64 * KIB),
        ("POST", PROVISION.to_owned(), 256 * KIB),
        ("POST", ACTIVATE.to_owned(), 128 * KIB),
        ("POST", NONCE.to_owned(), 8 * KIB),
        ("POST", ATTEST.to_owned(), 1024 * KIB),
        ("POST", MANAGERS.to_owned(), 2048 * KIB),
        ("PUT", format!("{MANAGERS}/manager"), 2048 * KIB),
        ("POST", CATEGORIES.to_owned(), 2048 * KIB),
        ("PUT", format!("{CATEGORIES}/category"), 2048 * KIB),
        ("POST", API_KEYS.to_owned(), 2048 * KIB),
        ("PUT", format!("{API_KEYS}/station"), 2048 * KIB),
    ] {
        let send = async |length: usize| {
            let body = format!("[{}]", " ".repeat(length - 2));
            site.admin(method, &path).body(body).send().await
        };
        send(most).await.refuses(400, 3);
        let refused = send(most + 1).await;
        assert_eq!(refused.status, 413, "{method} {path}: {refused:?}");
    }
}

#[tokio::test]
async fn an_object_too_large_for_the_store_is_400() {
    let two_mib = 2 * 1024 * 1024;
    let site = Site::start_with(&[("http.max_body_bytes", two_mib.into())]).await;
    let body = json!({ "metadata": { "name": "a", "labels": { "l": "x".repeat(1024 * 1024) } } });
    let refused = site.post(MANAGERS, &body).await;
    refused.refuses(400, 3).saying("more than can be stored");
    site.get(&format!("{MANAGERS}/a")).await.refuses(404, 5);
}
