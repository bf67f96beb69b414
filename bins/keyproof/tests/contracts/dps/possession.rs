//! The proof of possession: what is accepted, and which code and message a refusal has.

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_service::audit::Outcome;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use serde_json::json;

use crate::dps::{
    dialect::{Ca, START},
    site::{Answer, Site},
};

#[tokio::test]
async fn the_right_leaf_verifies_and_spends_the_code() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let put = site.put("c", &ca.body()).await;
    let (digits, etag) = site.code("c", &put.etag()).await;
    site.clock.advance(Duration::from_secs(60));
    let leaf = ca.leaf(&digits);
    let verified = site.verify("c", &etag, &leaf).await;
    let mut expected = put.json.clone();
    expected["properties"]["isVerified"] = true.into();
    expected["properties"]["updated"] = "Tue, 14 Nov 2023 22:14:20 GMT".into();
    expected["etag"] = verified.etag().into();
    assert_eq!(verified.is(200).json, expected);
    assert_ne!(verified.etag(), etag);
    assert_eq!(site.get("c").await.json, expected);

    // The former etag is stale, and at the new one there is no code.
    site.verify("c", &etag, &leaf).await.refuses(412, 412_001);
    let again = site.verify("c", &verified.etag(), &leaf).await;
    again.refuses(400, 400_055);
    assert!(again.message().contains("Generate one"), "{again:?}");
    assert_eq!(site.get("c").await.json, expected);
}

#[tokio::test]
async fn a_leaf_is_taken_in_every_encoding() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let mut etag = site.put("c", &ca.body()).await.etag();
    for encode in [
        |der: &[u8]| BASE64.encode(der),
        |der: &[u8]| pem(der),
        |der: &[u8]| pem(der).replace('\n', "\r\n"),
        |der: &[u8]| BASE64.encode(pem(der).as_bytes()),
    ] {
        let (digits, coded) = site.code("c", &etag).await;
        let leaf = encode(&ca.leaf(&digits));
        let verify = site
            .to("POST", "/c/verify")
            .if_match(&coded)
            .json(&json!({"certificate": leaf}));
        etag = verify.send().await.is(200).etag();
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// A certificate with a code.
struct Round {
    site: Site,
    ca: Ca,
    digits: String,
    etag: String,
}

impl Round {
    async fn of(ca: Ca) -> Self {
        let site = Site::start().await;
        let etag = site.put("c", &ca.body()).await.etag();
        let (digits, etag) = site.code("c", &etag).await;
        Self {
            site,
            ca,
            digits,
            etag,
        }
    }

    /// Asserts a refusal with this code: nothing changes, the code remains valid, and the audit trail has an event.
    async fn refuses(&self, leaf: &[u8], code: u32, check: &str) -> Answer {
        let before = self.site.get("c").await.json;
        let told = self.site.told().await.len();
        let answer = self.site.verify("c", &self.etag, leaf).await;
        answer.refuses(400, code);
        assert!(
            answer.message().starts_with("Proof of possession failed. "),
            "{answer:?}"
        );
        assert!(answer.message().contains("What to do: "), "{answer:?}");
        let line = format!("fail {check}: ");
        let mut lines = answer.details().lines();
        assert!(lines.any(|text| text.starts_with(&line)), "{answer:?}");
        let line_starts = ["fail ", "warn "];
        assert!(
            answer
                .details()
                .lines()
                .all(|line| line_starts.iter().any(|start| line.starts_with(start))),
            "{answer:?}"
        );
        assert!(!answer.details().contains(&self.digits), "{answer:?}");
        assert_eq!(self.site.get("c").await.json, before);
        let events = self.site.told().await;
        assert_eq!(events.len(), told + 1);
        let event = events
            .iter()
            .find(|event| event.request_id.as_deref() == Some(answer.header("x-ms-request-id")))
            .unwrap();
        assert_eq!(event.outcome, Outcome::Refused);
        assert_eq!(event.detail.as_deref(), Some(answer.details()));
        answer
    }
}

#[tokio::test]
async fn a_foreign_issuer_or_signature_is_400053_whatever_else_is_wrong() {
    let round = Round::of(Ca::new("Root")).await;
    let stranger = Ca::new("Stranger");
    let answer = round
        .refuses(&stranger.leaf(&round.digits), 400_053, "issuer")
        .await;
    assert!(answer.message().contains("CN=Stranger"), "{answer:?}");
    // The right name, but another key.
    let namesake = Ca::new("Root");
    round
        .refuses(&namesake.leaf(&round.digits), 400_053, "signature")
        .await;
    // With a wrong code too, the answer is the same: possession is not proven.
    round
        .refuses(&stranger.leaf(&"0".repeat(48)), 400_053, "common-name")
        .await;
    let mut flipped = round.ca.leaf(&round.digits);
    *flipped.last_mut().unwrap() ^= 1;
    round.refuses(&flipped, 400_053, "signature").await;
    // The code is still valid.
    let leaf = round.ca.leaf(&round.digits);
    round.site.verify("c", &round.etag, &leaf).await.is(200);
}

#[tokio::test]
async fn another_common_name_is_400057() {
    let round = Round::of(Ca::new("Root")).await;
    let other = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";
    let answer = round
        .refuses(&round.ca.leaf(other), 400_057, "common-name")
        .await;
    assert!(answer.message().contains("verification code"), "{answer:?}");
    // The CA certificate itself, whose name is not the code.
    let answer = round.refuses(&round.ca.der, 400_057, "not-the-ca").await;
    assert!(answer.details().lines().count() >= 2, "{answer:?}");
}

#[tokio::test]
async fn an_older_code_is_400057_once_there_is_a_newer_one() {
    let round = Round::of(Ca::new("Root")).await;
    let old = round.ca.leaf(&round.digits);
    let (digits, etag) = round.site.code("c", &round.etag).await;
    round
        .site
        .verify("c", &etag, &old)
        .await
        .refuses(400, 400_057);
    let leaf = round.ca.leaf(&digits);
    round.site.verify("c", &etag, &leaf).await.is(200);
}

#[tokio::test]
async fn times_are_judged_with_five_minutes_to_spare() {
    let round = Round::of(Ca::new("Root")).await;
    let digits = &round.digits;
    let answer = round
        .refuses(
            &round.ca.leaf_until(digits, START - 301),
            400_058,
            "leaf-validity",
        )
        .await;
    assert!(answer.message().contains("expired"), "{answer:?}");
    let leaf = round.ca.leaf_until(digits, START - 300);
    round.site.verify("c", &round.etag, &leaf).await.is(200);

    let old = Ca::made("Old", |params| {
        params.not_after = rcgen::date_time_ymd(2023, 11, 14);
    });
    let round = Round::of(old).await;
    let leaf = round.ca.leaf(&round.digits);
    round.refuses(&leaf, 400_059, "ca-validity").await;
    let young = Ca::made("Young", |params| {
        params.not_before = rcgen::date_time_ymd(2023, 11, 16);
    });
    let round = Round::of(young).await;
    let leaf = round.ca.leaf(&round.digits);
    round.refuses(&leaf, 400_059, "ca-validity").await;
}

#[tokio::test]
async fn a_ca_that_may_not_sign_is_400061() {
    let not_a_ca = Ca::made("Leaf", |params| params.is_ca = IsCa::ExplicitNoCa);
    let round = Round::of(not_a_ca).await;
    let leaf = round.ca.leaf(&round.digits);
    round.refuses(&leaf, 400_061, "ca-constraints").await;
    let without_sign = Ca::made("Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let round = Round::of(without_sign).await;
    let leaf = round.ca.leaf(&round.digits);
    round.refuses(&leaf, 400_061, "ca-key-usage").await;
}

#[tokio::test]
async fn what_the_real_service_takes_is_taken() {
    let plain = Ca::made("Plain", |params| params.is_ca = IsCa::NoCa);
    let constrained = Ca::made("Constrained", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    for ca in [plain, constrained] {
        let round = Round::of(ca).await;
        let leaf = round.ca.leaf(&round.digits);
        round.site.verify("c", &round.etag, &leaf).await.is(200);
    }
}

#[tokio::test]
async fn an_unreadable_leaf_is_400054() {
    let round = Round::of(Ca::new("Root")).await;
    let leaf = round.ca.leaf(&round.digits);
    round.refuses(b"no certificate", 400_054, "leaf").await;
    round
        .refuses(&leaf[..leaf.len() - 1], 400_054, "leaf")
        .await;
    let trailing = [&leaf[..], b"\0"].concat();
    round.refuses(&trailing, 400_054, "leaf").await;
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    let answer = round.refuses(&key, 400_054, "leaf").await;
    assert!(answer.message().contains("private key"), "{answer:?}");
}

#[tokio::test]
async fn a_code_dies_with_its_lifetime() {
    let site = Site::with("code_lifetime_s = 60").await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    let (digits, etag) = site.code("c", &etag).await;
    site.clock.advance(Duration::from_secs(60));
    let late = site.verify("c", &etag, &ca.leaf(&digits)).await;
    late.refuses(400, 400_055);
    assert!(late.message().contains("expired"), "{late:?}");
    let (digits, etag) = site.code("c", &etag).await;
    site.clock.advance(Duration::from_secs(59));
    site.verify("c", &etag, &ca.leaf(&digits)).await.is(200);
}

#[tokio::test]
async fn without_a_code_there_is_nothing_to_verify() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    let leaf = ca.leaf(&"0".repeat(48));
    site.verify("c", &etag, &leaf).await.refuses(400, 400_055);
    // The upload of another certificate invalidates the first one's code.
    let (digits, etag) = site.code("c", &etag).await;
    let other = Ca::new("Other");
    let put = site
        .to("PUT", "/c")
        .if_match(&etag)
        .json(&other.body())
        .send()
        .await;
    let etag = put.is(200).etag();
    site.verify("c", &etag, &ca.leaf(&digits))
        .await
        .refuses(400, 400_055);
}

#[tokio::test]
async fn a_verified_certificate_stays_verified_while_it_is_proven_again() {
    let site = Site::start().await;
    let ca = Ca::new("Root");
    let etag = site.put("c", &ca.body()).await.etag();
    let (digits, etag) = site.code("c", &etag).await;
    let etag = site.verify("c", &etag, &ca.leaf(&digits)).await.etag();
    let (digits, etag) = site.code("c", &etag).await;
    let get = site.get("c").await;
    assert_eq!(get.json["properties"]["isVerified"], true);
    site.verify("c", &etag, &ca.leaf(&"0".repeat(48)))
        .await
        .refuses(400, 400_057);
    let get = site.get("c").await;
    assert_eq!(get.json["properties"]["isVerified"], true);
    site.verify("c", &etag, &ca.leaf(&digits)).await.is(200);
}
