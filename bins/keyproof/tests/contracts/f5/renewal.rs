//! The renewal of a category's CA: with the same name and key, in time, once.

use std::{sync::Arc, time::Duration};

use keyproof_service::Service;
use keyproof_store::Timestamp;
use keyproof_x509::{
    Certificate, Upload, algorithms,
    crl::Crl,
    path::{CertificatePool, PathOptions, TrustAnchors, find},
};
use serde_json::json;

use crate::f5::{
    device::Device,
    dialect::{API_KEYS, CATEGORIES, MANAGERS, PROVISION, START},
    provision::furnished,
    site::Site,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = DAY.saturating_mul(365);

async fn certificate(site: &Site, path: &str, member: &str) -> Vec<u8> {
    let object = site.get(path).await;
    let pem = object.is(200).json["spec"][member].as_str();
    Upload::decode(pem.unwrap().as_bytes()).unwrap().into_der()
}

async fn sub_ca(site: &Site) -> Vec<u8> {
    let category = format!("{CATEGORIES}/category");
    certificate(site, &category, "ak_sub_ca_certificate").await
}

/// Returns the certificate of the device's attestation key, and its chain.
async fn provision(site: &Site, api_key: &str, device: &Device) -> (Vec<u8>, String) {
    let answer = site.provisioned(api_key, device).await;
    let chain = answer["ak_cert_chain"].as_str().unwrap().to_owned();
    (device.certificate(&answer), chain)
}

async fn list(site: &Site) -> Vec<u8> {
    let path = format!("{CATEGORIES}/category/crl");
    site.call("GET", &path).send().await.is(200).body.to_vec()
}

async fn renewals(site: &Site) -> usize {
    let renewals = site.events_of("tpm_category.renew_ca").await;
    for event in &renewals {
        assert_eq!(event.target, "tpm_category/default/category");
        assert_eq!(event.who, "keyproof");
    }
    renewals.len()
}

#[tokio::test]
async fn a_ca_is_renewed_under_its_name_and_key_and_vouches_for_what_it_has_signed() {
    let (site, key, device) = furnished().await;
    let manager = format!("{MANAGERS}/manager");
    let root = certificate(&site, &manager, "ak_root_ca_certificate").await;
    let old_ca = sub_ca(&site).await;
    let renew = async || site.console.device_identity.renew_authorities().await;
    // Attestation keys' certificates are valid for five years, and this is a year earlier.
    site.clock.advance(YEAR * 14 - DAY);
    let (before, _) = provision(&site, &key, &device).await;
    site.disable("station").await;
    let list_before = list(&site).await;
    site.replace(API_KEYS, "station", json!({})).await.is(200);
    // The metric has the end as it was last read.
    let ends = || {
        site.console
            .figures()
            .authorities_end
            .map(|ends| ends.as_secs())
    };
    let not_after = |der: &[u8]| {
        let certificate = Certificate::from_der(der).unwrap();
        u64::try_from(certificate.validity().not_after).ok()
    };
    assert_eq!(ends(), None);
    assert_eq!(renew().await, Ok(0));
    assert_eq!(ends(), not_after(&old_ca));
    site.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(renew().await, Ok(1));
    let new_ca = sub_ca(&site).await;
    assert_eq!(ends(), not_after(&new_ca));
    assert_ne!(ends(), not_after(&old_ca));
    assert_eq!(renew().await, Ok(0));
    assert_eq!(ends(), not_after(&new_ca));
    assert_eq!(renewals(&site).await, 1);

    assert_ne!(new_ca, old_ca);
    let (old, new) = (
        Certificate::from_der(&old_ca).unwrap(),
        Certificate::from_der(&new_ca).unwrap(),
    );
    assert_eq!(new.subject().as_der(), old.subject().as_der());
    assert_eq!(new.public_key().as_der(), old.public_key().as_der());
    assert_ne!(new.serial().as_bytes(), old.serial().as_bytes());
    let end = |certificate: &Certificate<'_>| certificate.validity().not_after;
    let root_end = end(&Certificate::from_der(&root).unwrap());
    let twenty_years = i64::try_from(site.now().saturating_add(YEAR * 20).as_secs()).unwrap();
    assert_eq!(end(&new), twenty_years.min(root_end));

    // The key stays the same, so what it signs verifies with either certificate.
    let (after, chain) = provision(&site, &key, &device.with_new_ak()).await;
    let newest = Upload::decode(chain.as_bytes()).unwrap().into_der();
    assert_eq!(newest, new_ca, "the chain is the newest");
    site.clock.advance(DAY);
    let list_after = list(&site).await;
    for ca in [&old_ca, &new_ca] {
        let authority = Certificate::from_der(ca).unwrap();
        for made in [&list_before, &list_after] {
            let crl = Crl::from_der(made).unwrap();
            crl.verify(algorithms::ALL, &authority.public_key())
                .unwrap();
            assert_eq!(crl.issuer().as_der(), authority.subject().as_der());
        }
        for leaf in [&before, &after] {
            let leaf = Certificate::from_der(leaf).unwrap();
            let (pool, anchors) = (CertificatePool::new(&[ca]), TrustAnchors::new(&[&root]));
            let options = PathOptions::new(algorithms::ALL, site.now().as_secs());
            let report = find(&leaf, &pool, &anchors, &options);
            assert!(report.accepted(), "{report}");
            assert!(end(&leaf) <= end(&authority), "it outlives its issuer");
        }
    }
}

#[tokio::test]
async fn nodes_that_renew_at_once_renew_once() {
    let (site, _, _) = furnished().await;
    site.clock.advance(YEAR * 19);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = Service::start(site.store.clone(), site.clock.clone(), site.config.hashing);
        nodes.push(node.await.unwrap());
    }
    let renewing = nodes.into_iter().map(|node: Arc<Service>| {
        tokio::spawn(async move { node.device_identity.renew_authorities().await.unwrap() })
    });
    let renewing: Vec<_> = renewing.collect();
    let mut renewed = 0;
    for node in renewing {
        renewed += node.await.unwrap();
    }
    assert_eq!(renewed, 1);
    assert_eq!(renewals(&site).await, 1);
}

/// Nothing is valid for longer than the root, and an expired CA is not renewed.
#[tokio::test]
async fn a_ca_is_not_renewed_beyond_its_root_or_after_its_end() {
    let (site, key, device) = furnished().await;
    let renew = async || site.console.device_identity.renew_authorities().await;
    let first = sub_ca(&site).await;
    site.clock.advance(YEAR * 20 + Duration::from_secs(1));
    assert_eq!(renew().await, Ok(0), "it has ended");
    assert_eq!(sub_ca(&site).await, first);
    let refused = site.post(PROVISION, &device.request(&key)).await;
    refused.refuses(409, 10).saying("has expired");

    site.clock.set(Timestamp::from_secs(START));
    site.clock.advance(YEAR * 18);
    assert_eq!(renew().await, Ok(1));
    // It ends with the root now.
    site.clock.advance(YEAR * 11);
    assert_eq!(renew().await, Ok(0));
    site.clock.advance(YEAR * 2);
    assert_eq!(renew().await, Ok(0));
    let refused = site.post(PROVISION, &device.request(&key)).await;
    refused.refuses(409, 10);
}
