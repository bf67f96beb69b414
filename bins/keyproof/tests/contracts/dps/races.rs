//! Concurrent requests: each etag is valid for one change, each code for one proof.

use std::sync::Arc;

use data_encoding::BASE64;
use serde_json::json;

use crate::dps::{dialect::Ca, site::Site};

/// The number of concurrent requests.
const CROWD: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_updates_at_one_etag_is_made() {
    let site = Arc::new(Site::start().await);
    let ca = Arc::new(Ca::new("Root"));
    let mut etag = site.put("c", &ca.body()).await.etag();
    for _ in 0..10 {
        let puts: Vec<_> = (0..CROWD)
            .map(|_| {
                let (site, ca, etag) = (site.clone(), ca.clone(), etag.clone());
                tokio::spawn(async move {
                    let put = site.to("PUT", "/c").if_match(&etag).json(&ca.body());
                    put.send().await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for put in puts {
            let answer = put.await.unwrap();
            match answer.status.as_u16() {
                200 => winners.push(answer.etag()),
                _ => {
                    answer.refuses(412, 412_001);
                }
            }
        }
        assert_eq!(winners.len(), 1);
        etag = site.get("c").await.etag();
        assert_eq!(winners, [&*etag]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_proofs_with_one_code_is_taken() {
    let site = Arc::new(Site::start().await);
    let ca = Ca::new("Root");
    let mut etag = site.put("c", &ca.body()).await.etag();
    // With the etag and with any etag: in the second case only the code matters.
    for if_match in [None, Some("*"), None, Some("*")] {
        let (digits, coded) = site.code("c", &etag).await;
        let leaf = json!({"certificate": BASE64.encode(&ca.leaf(&digits))});
        let if_match = if_match.map_or(coded, str::to_owned);
        let proofs: Vec<_> = (0..CROWD)
            .map(|_| {
                let (site, leaf, if_match) = (site.clone(), leaf.clone(), if_match.clone());
                tokio::spawn(async move {
                    let call = site.to("POST", "/c/verify").header("if-match", &if_match);
                    call.json(&leaf).send().await
                })
            })
            .collect();
        let mut winners = 0;
        for proof in proofs {
            let answer = proof.await.unwrap();
            match (answer.status.as_u16(), &*if_match) {
                (200, _) => winners += 1,
                (_, "*") => {
                    answer.refuses(400, 400_055);
                }
                _ => {
                    answer.refuses(412, 412_001);
                }
            }
        }
        assert_eq!(winners, 1, "{if_match}");
        etag = site.get("c").await.etag();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_against_a_crowd() {
    let site = Arc::new(Site::with("max_certificates = 3").await);
    let ca = Arc::new(Ca::new("Root"));
    let puts: Vec<_> = (0..CROWD)
        .map(|number| {
            let (site, ca) = (site.clone(), ca.clone());
            tokio::spawn(async move {
                let put = site.to("PUT", &format!("/c{number}")).json(&ca.body());
                put.send().await
            })
        })
        .collect();
    let mut stored = 0;
    for put in puts {
        let answer = put.await.unwrap();
        if answer.status == 200 {
            stored += 1;
        } else {
            answer.refuses(409, 409_001);
        }
    }
    assert_eq!(stored, 3);
    let list = site.to("GET", "").send().await;
    assert_eq!(list.json["value"].as_array().unwrap().len(), 3);
}
