//! Provision, with a TPM in software that opens the answers.

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64;
use keyproof_store::{Engine, Prefix, Record, memory::MemoryEngine};
use keyproof_tpm::{AttestationTemplate, Credential, HashAlgorithm, ObjectAttributes, Structure};
use keyproof_x509::{Certificate, Upload};
use rcgen::DnType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Key, Manufacturer, VENDOR},
    dialect::{ACTIVATE, API_KEYS, CATEGORIES, MANAGERS, PROVISION},
    faults::FaultyEngine,
    site::{Answer, Site},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns a site, an API key and a device that it may provision.
pub(crate) async fn furnished() -> (Site, String, Device) {
    furnished_on(Arc::new(MemoryEngine::new())).await
}

/// The same on this engine.
pub(crate) async fn furnished_on(engine: Arc<dyn Engine>) -> (Site, String, Device) {
    furnish(Site::on(engine, &[]).await).await
}

/// The same for this site.
pub(crate) async fn furnish(site: Site) -> (Site, String, Device) {
    let manufacturer = Manufacturer::new();
    let key = site.furnished(&manufacturer).await;
    (site, key, Device::new(&manufacturer, "SN0001"))
}

#[tokio::test]
async fn only_the_devices_tpm_reads_its_certificate() {
    let (site, key, device) = furnished().await;
    let answer = site.post(PROVISION, &device.request(&key)).await;
    let certificate = device.certificate(&answer.is(200).json);

    let stranger = Device::new(&Manufacturer::new(), "SN0001");
    assert!(stranger.opens(&answer.json, &device.ak_public()).is_none());
    let template = AttestationTemplate {
        object_attributes: AttestationTemplate::ATTRIBUTES.without(ObjectAttributes::RESTRICTED),
        ..AttestationTemplate::below(&device.ek_public()).unwrap()
    };
    let unrestricted = device.ak_public_by(&template);
    assert!(device.opens(&answer.json, &unrestricted).is_none());

    let certificate = Certificate::from_der(&certificate).unwrap();
    assert_eq!(certificate.public_key().as_der(), device.ak_spki());
    let trail = site.trail("tpm.provision").await;
    assert!(
        trail[0].0 == "Done" && trail[0].1.contains("SN0001"),
        "{trail:?}"
    );
}

/// Requests built from the output of a TPM, its manufacturer's CA and tpm2-openssl.
#[tokio::test]
async fn what_tpms_and_their_tools_make_is_taken() {
    for made in [
        include_str!("../../../../../fuzz/server/corpus/f5_provision/eccp256"),
        include_str!("../../../../../fuzz/server/corpus/f5_provision/rsa2048"),
    ] {
        let (site, key, _) = furnished().await;
        // Their certificates are valid from 2026 on.
        site.clock.advance(DAY * 365 * 4);
        let mut request: Value = serde_json::from_str(made).unwrap();
        request["api_key"] = json!(key);
        let allowed = json!({ "tpm_allow_list": [request["ek_cert"]] });
        site.replace(CATEGORIES, "category", allowed).await.is(200);
        let answer = site.post(PROVISION, &request).await;
        let bundle = answer.is(200).json["credential_bundle"].as_str().unwrap();
        let bundle = BASE64.decode(bundle.as_bytes()).unwrap();
        assert!(Credential::parse(&bundle).is_ok());
    }
}

/// An attestation key's certificate ends with its CA at the latest, and an expired CA issues none.
#[tokio::test]
async fn a_ca_that_has_ended_is_named_and_nothing_outlives_it() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let (site, key, device) = furnished().await;
    let pem = site.get(&format!("{CATEGORIES}/category")).await.json;
    let pem = pem["spec"]["ak_sub_ca_certificate"].as_str().unwrap();
    let ca = Upload::decode(pem.as_bytes()).unwrap();
    let ca = ca.certificate().unwrap();
    site.clock.advance(YEAR * 18);
    let certificate = site.certificate(&key, &device).await;
    let certificate = Certificate::from_der(&certificate).unwrap();
    assert_eq!(certificate.validity().not_after, ca.validity().not_after);
    site.clock.advance(YEAR * 2 + DAY * 10);
    let refused = site.post(PROVISION, &device.request(&key)).await;
    refused.refuses(409, 10);
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.starts_with("the CA \"AK Sub CA "), "{message}");
    assert!(message.ends_with("\" has expired"), "{message}");
    let (outcome, detail) = site.trail("tpm.provision").await.pop().unwrap();
    assert_eq!((&*outcome, &*detail), ("Refused", message));
}

/// As for Intel's TPMs: the intermediates between the certificate and the manufacturer's root come from the device, and are trusted
/// only because of the root.
#[tokio::test]
async fn a_device_may_carry_the_chain_of_its_certificate() {
    let (site, root, key) = Site::start_furnished().await;
    let intermediate = root.below();
    let device = Device::new(&intermediate, "SN0001");
    let with = |chain: &str| {
        let mut request = device.request(&key);
        request["ek_chain"] = json!(chain);
        request
    };
    let alone = site.post(PROVISION, &device.request(&key)).await;
    alone.refuses(403, 7);
    let elsewhere = Manufacturer::new().below().root;
    site.post(PROVISION, &with(&elsewhere))
        .await
        .refuses(403, 7);
    for (chain, what) in [
        (intermediate.root.repeat(9), "more than eight"),
        (
            intermediate.root.replace("CERTIFICATE", "X"),
            "another label",
        ),
        ("none".to_owned(), "no certificate"),
    ] {
        let refused = site.post(PROVISION, &with(&chain)).await;
        refused.refuses(400, 3);
        let message = refused.json["message"].as_str().unwrap();
        assert!(message.starts_with("ek_chain: "), "{what}: {message}");
    }
    // A malformed one does not block others, and does not help.
    let odd = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    site.post(PROVISION, &with(odd)).await.refuses(403, 7);
    for beside in [&*elsewhere, odd] {
        for chain in [[beside, &*intermediate.root], [&*intermediate.root, beside]] {
            let answer = site.post(PROVISION, &with(&chain.concat())).await;
            let certificate = device.opens(&answer.is(200).json, &device.ak_public());
            assert!(certificate.is_some());
        }
    }
}

#[tokio::test]
async fn the_endorsement_key_is_no_attestation_key() {
    let (site, key, device) = furnished().await;
    let mut request = device.request(&key);
    request["ak_pub_key"] = request["ek_pub_key"].clone();
    let refused = site.post(PROVISION, &request).await;
    refused.refuses(400, 3);
    let message = refused.json["message"].as_str().unwrap();
    assert_eq!(message, "ak_pub_key: it is the endorsement key");
}

#[tokio::test]
async fn again_is_the_same_certificate_freshly_sealed_until_two_thirds_of_its_life() {
    let (site, key, device) = furnished().await;
    let provision = async |device: &Device| {
        let answer = site.provisioned(&key, device).await;
        (device.certificate(&answer), answer)
    };
    let (first, sealed_first) = provision(&device).await;
    let (again, sealed_again) = provision(&device).await;
    assert_eq!(first, again);
    for member in ["nonce", "encrypted_ak_cert", "credential_bundle"] {
        assert_ne!(sealed_first[member], sealed_again[member], "{member}");
    }
    let key_in = |sealed| device.activates(sealed, &device.ak_public()).unwrap();
    assert_ne!(key_in(&sealed_first), key_in(&sealed_again));
    let life = DAY * 365 * 5;
    let last_moment = life / 3 * 2 - Duration::from_millis(1);
    site.clock.advance(last_moment);
    assert_eq!(provision(&device).await.0, first);
    site.clock.advance(Duration::from_millis(1));
    let (renewed, _) = provision(&device).await;
    assert_ne!(renewed, first);
    site.clock.advance(life / 3);
    assert_eq!(provision(&device).await.0, renewed);
    site.clock.advance(life);
    assert_ne!(provision(&device).await.0, renewed);
    let (other_key, _) = provision(&device.with_new_ak()).await;
    assert_ne!(other_key, renewed);
}

#[tokio::test]
async fn what_a_disabled_key_made_is_made_anew_and_what_a_revoked_one_made_before_is_kept() {
    let (site, key, device) = furnished().await;
    let second = site.api_key("second").await;
    let first = site.certificate(&key, &device).await;
    site.clock.advance(Duration::from_secs(60));
    let revoked = json!({ "revoked_timestamp": "2023-11-14T22:14:00Z" });
    site.replace(API_KEYS, "station", revoked).await.is(200);
    site.post(PROVISION, &device.request(&key))
        .await
        .refuses(403, 7);
    assert_eq!(site.certificate(&second, &device).await, first);
    let disabled = json!({ "revoked_timestamp": "2023-11-14T22:14:00Z", "is_disabled": true });
    site.replace(API_KEYS, "station", disabled).await.is(200);
    assert_ne!(site.certificate(&second, &device).await, first);
}

#[tokio::test]
async fn a_revocation_divides_what_was_made_to_the_millisecond() {
    for (from, kept) in [
        ("2023-11-14T22:13:20.701Z", true),
        ("2023-11-14T22:13:20.700Z", false),
        ("2023-11-14T22:13:20.500Z", false),
        ("2023-11-14T22:13:20Z", false),
    ] {
        let (site, key, device) = furnished().await;
        let second = site.api_key("second").await;
        site.clock.advance(Duration::from_millis(700));
        let first = site.certificate(&key, &device).await;
        site.clock.advance(Duration::from_secs(1));
        let revoked = json!({ "revoked_timestamp": from });
        site.replace(API_KEYS, "station", revoked).await.is(200);
        let second = site.certificate(&second, &device).await;
        assert_eq!(second == first, kept, "{from}");
    }
}

#[tokio::test]
async fn a_device_that_is_active_keeps_its_endorsement_key_and_the_key_its_device() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let device = Device::new(&manufacturer, "SN0001");
    site.activated(&key, &device).await;
    let known = async || {
        let rows = site.rows("tpm_device").await;
        String::from_utf8(rows[0].json().to_vec()).unwrap()
    };
    let mut renamed = device.request(&key);
    renamed["device"]["name"] = json!("another name");
    renamed["device"]["version"] = json!("2");
    let answer = site.post(PROVISION, &renamed).await;
    // Not the requester determines the device's name, but the one who opens the answer.
    assert!(!known().await.contains("another name"));
    site.post(ACTIVATE, &device.activation(&answer.is(200).json))
        .await
        .is(204);
    assert!(known().await.contains("another name"));

    let other_tpm = Device::new(&manufacturer, "SN0001");
    let refused = site.post(PROVISION, &other_tpm.request(&key)).await;
    refused.refuses(409, 6).saying("another endorsement key");
    let other_name = device.with_serial("SN0002");
    let refused = site.post(PROVISION, &other_name.request(&key)).await;
    refused.refuses(409, 6).saying("another vendor or serial");
    let trail = site.trail("tpm.provision").await;
    let refusals = trail.iter().filter(|(outcome, _)| outcome == "Refused");
    assert_eq!((trail.len(), refusals.count()), (4, 2));
}

#[tokio::test]
async fn endorsement_certificates_are_trusted_by_their_issuer_or_one_by_one() {
    let (site, key, device) = furnished().await;
    let foreign_manufacturer = Manufacturer::new();
    let foreign = Device::new(&foreign_manufacturer, "SN0002");
    let refused = site.post(PROVISION, &foreign.request(&key)).await;
    refused.refuses(403, 7).saying("chain");
    let allowed = json!({ "tpm_allow_list": [BASE64.encode(&foreign.ek_certificate)] });
    site.replace(CATEGORIES, "category", allowed).await.is(200);
    site.post(PROVISION, &foreign.request(&key)).await.is(200);
    site.post(PROVISION, &device.request(&key)).await.is(200);
    site.replace(MANAGERS, "manager", json!({})).await.is(200);
    site.post(PROVISION, &device.request(&key))
        .await
        .refuses(403, 7);
    site.post(PROVISION, &foreign.request(&key)).await.is(200);

    // The same certificate in PEM is allowed; another certificate of the same key is not.
    let base64 = BASE64.encode(&foreign.ek_certificate);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let allowed = json!({ "tpm_allow_list": [BASE64.encode(&device.ek_certificate), pem] });
    site.replace(CATEGORIES, "category", allowed).await.is(200);
    site.post(PROVISION, &foreign.request(&key)).await.is(200);
    site.post(PROVISION, &device.request(&key)).await.is(200);
    let again = foreign.endorsed_again(&foreign_manufacturer);
    let refused = site.post(PROVISION, &again.request(&key)).await;
    refused.refuses(403, 7).saying("chain");
    // An allowed certificate must still be valid.
    site.clock.advance(DAY * 365 * 113);
    let refused = site.post(PROVISION, &device.request(&key)).await;
    refused.refuses(403, 7).saying("expired");
}

#[tokio::test]
async fn a_device_is_known_within_its_manager() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let device = Device::new(&manufacturer, "SN0001");
    let first = site.activated(&key, &device).await;
    let first = device.opens(&first, &device.ak_public());

    let second_category = json!({ "tpm_manager_ref": [{ "name": "manager" }] });
    let roots = json!({ "ek_root_certificates": [manufacturer.root] });
    site.create(MANAGERS, "other", roots).await.is(200);
    let below_other = json!({ "tpm_manager_ref": [{ "name": "other" }] });
    let mut keys = Vec::new();
    for (name, spec) in [
        ("same-manager", second_category),
        ("other-manager", below_other),
    ] {
        site.create(CATEGORIES, name, spec).await.is(200);
        keys.push(site.api_key_in(name, name).await);
    }
    let [same, other] = keys.try_into().unwrap();
    // Each category has its own CA, and therefore its own certificate.
    let second = site.post(PROVISION, &device.request(&same)).await;
    let second = device.opens(&second.is(200).json, &device.ak_public());
    assert!(second.is_some() && second != first);

    let renamed = device.with_serial("SN0002");
    let refused = site.post(PROVISION, &renamed.request(&same)).await;
    refused.refuses(409, 6).saying("another vendor or serial");
    site.activated(&other, &renamed).await;
    let mut vendor = renamed.request(&other);
    vendor["device"]["vendor"] = json!("Another");
    vendor["csr"] = json!(renamed.csr(&[(DnType::CommonName, "SN0002")]));
    let refused = site.post(PROVISION, &vendor).await;
    refused.refuses(409, 6).saying("another vendor or serial");
}

#[tokio::test]
async fn a_request_is_refused_for_what_is_wrong_with_it() {
    let (site, key, device) = furnished().await;
    let refuses = async |member: &str, value: Value, status: u16, code: u16, says: &str| {
        let mut request = device.request(&key);
        request[member] = value;
        site.post(PROVISION, &request)
            .await
            .refuses(status, code)
            .saying(says);
    };
    for member in ["ek_cert", "ek_pub_key", "ak_pub_key", "csr"] {
        for (wrong, says) in [
            (json!(null), "missing"),
            (json!(""), "missing"),
            (json!("AQI"), "neither"),
            (json!("AQID"), member),
        ] {
            refuses(member, wrong, 400, 3, says).await;
        }
    }
    for absent in [json!(null), json!("")] {
        refuses("api_key", absent, 403, 7, "1 to 1024 characters").await;
    }
    refuses("api_key", json!("nonsense"), 403, 7, "unknown").await;
    refuses("api_key", json!("k".repeat(1025)), 403, 7, "1024").await;
    let spec = json!({ "category_ref": [{ "name": "category" }], "need_mtls": true });
    let made = site.create(API_KEYS, "mtls", spec).await;
    let mtls = made.is(200).json["api_key"].clone();
    refuses("api_key", mtls, 403, 7, "client certificate").await;
    refuses("device", json!({}), 400, 3, "name").await;
    let stranger = Device::new(&Manufacturer::new(), "SN0001").request(&key);
    refuses(
        "ek_pub_key",
        stranger["ek_pub_key"].clone(),
        400,
        3,
        "ek_pub_key",
    )
    .await;
    refuses("ek_cert", stranger["ek_cert"].clone(), 400, 3, "ek_pub_key").await;
    let ak = device.request(&key)["ak_pub_key"].clone();
    let ak = BASE64.decode(ak.as_str().unwrap().as_bytes()).unwrap();
    let mut beside_the_curve = ak.clone();
    *beside_the_curve.last_mut().unwrap() ^= 1;
    let mut nowhere = ak.clone();
    nowhere[ak.len() - 64..].fill(0);
    let mut even = Key::of_kind("rsa2048").spki().to_vec();
    // The modulus is followed by the five octets of the exponent, 65537.
    let last = even.len() - 6;
    even[last] &= 0xFE;
    for none in [beside_the_curve, nowhere, even] {
        let none = json!(BASE64.encode(&none));
        refuses("ak_pub_key", none, 400, 3, "no key has this").await;
    }
    let public = json!(BASE64.encode(&device.ak_public().to_sized_bytes()));
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        public.as_str().unwrap()
    );
    for (wrong, says) in [
        (json!("AQID"), "ak_public"),
        (json!(pem), "ak_public: its PEM"),
        (json!(7), "line 1"),
    ] {
        refuses("ak_public", wrong, 400, 3, says).await;
    }
    let not_json = site
        .admin("POST", PROVISION)
        .body("{\"csr\":1}")
        .send()
        .await;
    not_json.refuses(400, 3);

    let serial = || DnType::CustomDnType(vec![2, 5, 4, 5]);
    let csr = |subject: &[(DnType, &str)]| json!(device.csr(subject));
    for wrong in [
        csr(&[]),
        csr(&[(DnType::CommonName, "SN0002")]),
        csr(&[(serial(), "SN0002"), (DnType::CommonName, "SN0001")]),
        csr(&[(serial(), "SN0001"), (DnType::OrganizationName, "Other")]),
        csr(&[
            (serial(), "SN0001"),
            (DnType::OrganizationName, VENDOR),
            (DnType::CustomDnType(vec![2, 5, 4, 10]), "Other"),
        ]),
        csr(&[(serial(), ""), (DnType::CommonName, "SN0001")]),
    ] {
        refuses("csr", wrong, 400, 3, "csr").await;
    }
    let mut forged = BASE64
        .decode(device.csr(&[(DnType::CommonName, "SN0001")]).as_bytes())
        .unwrap();
    *forged.last_mut().unwrap() ^= 1;
    refuses("csr", json!(BASE64.encode(&forged)), 400, 3, "csr").await;
    for right in [
        csr(&[(DnType::CommonName, "SN0001")]),
        csr(&[(DnType::CommonName, "device-0001")]),
    ] {
        let mut request = device.request(&key);
        request["csr"] = right;
        site.post(PROVISION, &request).await.is(200);
    }
}

#[tokio::test]
async fn the_attestation_keys_template_is_the_default_the_categorys_or_the_requests() {
    let (site, key, device) = furnished().await;
    let no_da = AttestationTemplate {
        object_attributes: AttestationTemplate::ATTRIBUTES | ObjectAttributes::NO_DA,
        scheme_hash: HashAlgorithm::Sha384,
        ..AttestationTemplate::below(&device.ek_public()).unwrap()
    };
    let told = device.ak_public_by(&no_da);
    let mut request = device.request(&key);
    request["ak_public"] = json!(BASE64.encode(&told.to_sized_bytes()));
    let answer = site.post(PROVISION, &request).await;
    assert!(device.opens(&answer.is(200).json, &told).is_some());
    assert!(device.opens(&answer.json, &device.ak_public()).is_none());
    // Empty means absent.
    request["ak_public"] = json!("");
    let answer = site.post(PROVISION, &request).await;
    assert!(
        device
            .opens(&answer.is(200).json, &device.ak_public())
            .is_some()
    );

    let unrestricted = AttestationTemplate {
        object_attributes: AttestationTemplate::ATTRIBUTES.without(ObjectAttributes::RESTRICTED),
        ..no_da
    };
    let unrestricted = device.ak_public_by(&unrestricted).to_sized_bytes();
    request["ak_public"] = json!(BASE64.encode(&unrestricted));
    site.post(PROVISION, &request)
        .await
        .refuses(400, 3)
        .saying("restricted");
    let others = Device::new(&Manufacturer::new(), "SN0001")
        .ak_public()
        .to_sized_bytes();
    request["ak_public"] = json!(BASE64.encode(&others));
    site.post(PROVISION, &request)
        .await
        .refuses(400, 3)
        .saying("ak_pub_key");

    let reference = json!([{ "name": "manager" }]);
    for wrong in [
        json!({ "attributes": "0x00040072" }),
        json!({ "attributes": "0x00060472" }),
        json!({ "attributes": "0x00070472" }),
        json!({ "attributes": "328818" }),
        json!({ "attributes": "0x0000050472" }),
        json!({ "attributes": "0x+0050472" }),
        json!({ "scheme_hash": "sha1" }),
        json!({ "scheme_hash": "md5" }),
    ] {
        let spec = json!({ "tpm_manager_ref": reference, "ak_template": wrong });
        site.create(CATEGORIES, "b", spec)
            .await
            .refuses(400, 3)
            .saying("ak_template");
    }
    let template = json!({ "attributes": "0x00050472", "scheme_hash": "sha384" });
    let spec = json!({ "tpm_manager_ref": reference, "ak_template": template });
    let created = site.create(CATEGORIES, "b", spec).await;
    assert_eq!(created.is(200).json["spec"]["ak_template"], template);
    let key = site.api_key_in("b", "b").await;
    let request = device.request(&key);
    let answer = site.post(PROVISION, &request).await;
    assert!(device.opens(&answer.is(200).json, &told).is_some());
}

#[tokio::test]
async fn inputs_may_be_pem_and_wrapped() {
    let (site, key, device) = furnished().await;
    let mut request = device.request(&key);
    for (member, label) in [
        ("ek_cert", "CERTIFICATE"),
        ("ek_pub_key", "PUBLIC KEY"),
        ("csr", "CERTIFICATE REQUEST"),
    ] {
        let base64 = request[member].as_str().unwrap();
        let pem = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
        request[member] = json!(pem);
    }
    let (head, tail) = request["ak_pub_key"].as_str().unwrap().split_at(40);
    request["ak_pub_key"] = json!(format!("{head}\r\n {tail}\n"));
    site.post(PROVISION, &request).await.is(200);
    // In the formats of openssl's -newhdr, certreq and keytool.
    let csr = request["csr"].as_str().unwrap();
    let relabelled = csr.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    request["csr"] = json!(relabelled);
    site.post(PROVISION, &request).await.is(200);
    // As editors write a file, indent a text, and shells join its lines.
    let forms: [fn(&str) -> String; 3] = [
        |text| format!("\u{feff}{text}"),
        |text| format!("  {}", text.replace('\n', "\n  ")),
        |text| text.replace('\n', " "),
    ];
    for form in forms {
        let mut request = request.clone();
        for member in ["ek_cert", "ek_pub_key", "ak_pub_key", "csr"] {
            let text = form(request[member].as_str().unwrap());
            request[member] = json!(text);
        }
        site.post(PROVISION, &request).await.is(200);
    }
}

#[tokio::test]
async fn racing_stations_get_one_certificate() {
    let (site, key, device) = furnished().await;
    let request = device.request(&key);
    let calls = (0..8).map(|_| site.post(PROVISION, &request));
    let mut certificates = Vec::new();
    for answer in join_all(calls).await {
        certificates.push(device.certificate(&answer.is(200).json));
    }
    assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));
    let made = site.trail("tpm.provision").await;
    assert_eq!(
        made.iter()
            .filter(|(_, how)| how.starts_with("certificate made"))
            .count(),
        1
    );
    assert_eq!(made.len(), 8);
}

#[tokio::test]
async fn a_provision_is_judged_again_when_a_record_behind_it_changed_meanwhile() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let other = site.api_key("other").await;
    let request = device.request(&key);
    let first = site.post(PROVISION, &request).await;
    let first = device.opens(&first.is(200).json, &device.ak_public());

    // The key that the certificate was made with is disabled while a provision with another key would reuse it.
    let with_other = device.request(&other);
    let slow = site.post(PROVISION, &with_other);
    let answer = engine.overtake(slow, site.disable("station")).await;
    let second = device.opens(&answer.is(200).json, &device.ak_public());
    assert!(second.is_some() && second != first);

    let slow = site.post(PROVISION, &with_other);
    let answer = engine.overtake(slow, site.disable("other")).await;
    answer.refuses(403, 7).saying("disabled");

    let third = site.api_key("third").await;
    let request = device.request(&third);
    let untrust = async {
        site.replace(MANAGERS, "manager", json!({})).await.is(200);
    };
    let slow = site.post(PROVISION, &request);
    let answer = engine.overtake(slow, untrust).await;
    answer.refuses(403, 7).saying("not trusted");

    let allowed = json!({ "tpm_allow_list": [request["ek_cert"]] });
    site.replace(CATEGORIES, "category", allowed).await.is(200);
    let forget = async {
        site.replace(CATEGORIES, "category", json!({}))
            .await
            .is(200);
    };
    let slow = site.post(PROVISION, &request);
    let answer = engine.overtake(slow, forget).await;
    answer.refuses(403, 7).saying("not trusted");
}

#[tokio::test]
async fn a_provision_is_judged_again_when_its_device_was_bound_meanwhile() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    let manufacturer = Manufacturer::new();
    let key = site.furnished(&manufacturer).await;
    let device = Device::new(&manufacturer, "SN0001");
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let bind = async {
        site.post(ACTIVATE, &activation).await.is(204);
    };
    let request = Device::new(&manufacturer, "SN0001").request(&key);
    let slow = site.post(PROVISION, &request);
    let answer = engine.overtake(slow, bind).await;
    answer.refuses(409, 6).saying("another endorsement key");
}

/// The record of an AK's certificates.
#[derive(Clone, Serialize, Deserialize)]
struct Certified(Value);

impl Record for Certified {
    const TYPE: &'static str = "tpm_ak_certificate";
    const VERSION: u32 = 1;
}

/// The same for their revocations.
#[derive(Clone, Serialize, Deserialize)]
struct Revoked(Value);

impl Record for Revoked {
    const TYPE: &'static str = "tpm_revoked_certificate";
    const VERSION: u32 = 1;
}

/// A batch has a limited number of entries.
#[tokio::test]
async fn what_a_forgotten_device_left_is_revoked_although_it_fits_in_no_batch() {
    const LEFT: usize = 1_200;
    let (site, key, device) = furnished().await;
    let request = device.request(&key);
    site.post(PROVISION, &request).await.is(200);
    let all = Prefix::collection(Certified::TYPE);
    let mut found = site
        .store
        .scan::<Certified>(&all, None, 10, site.now())
        .await
        .unwrap();
    let (at, stored) = found.pop().unwrap();
    let mut record = stored.record;
    let issued = ["serial", "made_at", "not_after", "api_key", "api_key_uid"]
        .map(|member| (member.to_owned(), record.0[member].clone()));
    let left = (0..LEFT).map(|number| {
        let mut issued = Value::Object(issued.clone().into_iter().collect());
        issued["serial"] = json!(format!("{number:04x}"));
        issued
    });
    record.0["unproven"] = left.collect();
    // It is of before the device was forgotten.
    record.0["incarnation"] = json!("earlier");
    let mut batch = site.store.batch(site.now());
    batch.replace(&at, stored.version, &record, None);
    site.store.commit(batch).await.unwrap();

    site.post(PROVISION, &request).await.is(200);
    let all = Prefix::collection(Revoked::TYPE);
    let revoked = site.store.scan::<Revoked>(&all, None, 2_000, site.now());
    assert_eq!(revoked.await.unwrap().len(), LEFT + 1);
    let told = site.trail("tpm.provision").await;
    let before = told
        .iter()
        .filter(|(_, detail)| detail.starts_with("no certificate made yet"));
    assert_eq!((told.len(), before.count()), (4, 2));
}

#[tokio::test]
async fn a_certificate_is_not_kept_once_another_has_taken_its_place() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let request = device.request(&key);
    let opened = |answer: &Answer| device.certificate(&answer.is(200).json);
    let first = opened(&site.post(PROVISION, &request).await);
    let mut renewed = None;
    let renew = async {
        // Another station is served once two thirds of the certificate's life are over.
        site.clock.advance(DAY * 365 * 4);
        renewed = Some(opened(&site.post(PROVISION, &request).await));
    };
    let slow = site.post(PROVISION, &request);
    let answer = engine.overtake(slow, renew).await;
    assert_ne!(renewed.as_ref(), Some(&first));
    assert_eq!(Some(opened(&answer)), renewed);
}

/// Polls all futures concurrently.
pub(crate) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut pinned {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    pinned
        .into_iter()
        .map(|(_, output)| output.unwrap())
        .collect()
}
