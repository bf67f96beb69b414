//! Each supported kind of endorsement and attestation key.

use data_encoding::BASE64;
use keyproof_tpm::{
    AttestationTemplate, HashAlgorithm, Name, ObjectAttributes, Structure, SymmetricObject,
    TpmtPublic,
};
use keyproof_x509::Certificate;
use serde_json::json;

use crate::f5::{
    device::{Device, Key},
    dialect::{CATEGORIES, NONCE, PROVISION},
    provision::furnished,
    site::Site,
};

const KINDS: [&str; 5] = ["eccp256", "eccp384", "rsa2048", "rsa3072", "rsa4096"];

fn symmetric(ek: &TpmtPublic) -> SymmetricObject {
    use keyproof_tpm::PublicKey::{Ecc, Rsa};
    match &ek.key {
        Ecc(key) => key.symmetric.unwrap(),
        Rsa(key) => key.symmetric.unwrap(),
    }
}

#[tokio::test]
async fn each_endorsement_key_opens_the_certificate_of_each_attestation_key() {
    let (site, manufacturer, api_key) = Site::start_furnished().await;
    for ek in KINDS {
        let mut device = Device::of_kind(&manufacturer, ek, ek);
        let (hash, aes_bits) = match ek {
            "eccp256" | "rsa2048" => (HashAlgorithm::Sha256, 128),
            _ => (HashAlgorithm::Sha384, 256),
        };
        let public = device.ek_public();
        assert_eq!(public.name_alg, Some(hash), "{ek}");
        assert_eq!(symmetric(&public).key_bits, aes_bits, "{ek}");
        for ak in KINDS {
            device = device.with_ak(Key::another_of_kind(ak));
            let answer = site.post(PROVISION, &device.request(&api_key)).await;
            let certificate = device.certificate(&answer.is(200).json);
            let certificate = Certificate::from_der(&certificate).unwrap();
            let certified = certificate.public_key();
            assert_eq!(certified.as_der(), device.ak_spki(), "{ek}, {ak}");

            // A key of the same TPM with a Name by another hash is not the certified one.
            let other = AttestationTemplate {
                name_alg: match hash {
                    HashAlgorithm::Sha256 => HashAlgorithm::Sha384,
                    _ => HashAlgorithm::Sha256,
                },
                ..AttestationTemplate::below(&public).unwrap()
            };
            let other = device.ak_public_by(&other);
            assert!(device.opens(&answer.json, &other).is_none(), "{ek}, {ak}");
        }
    }
}

#[tokio::test]
async fn a_category_may_ask_for_sha_384_whatever_the_endorsement_key_is() {
    let (site, manufacturer, _) = Site::start_furnished().await;
    let spec = json!({
        "tpm_manager_ref": [{ "name": "manager" }],
        "ak_template": { "scheme_hash": "sha384", "attributes": "0x00050472" },
    });
    site.create(CATEGORIES, "sha384", spec).await.is(200);
    let api_key = site.api_key_in("sha384", "sha384").await;
    for kind in KINDS {
        let device =
            Device::of_kind(&manufacturer, kind, kind).with_ak(Key::another_of_kind("eccp384"));
        let answer = site.post(PROVISION, &device.request(&api_key)).await;
        let template = AttestationTemplate {
            scheme_hash: HashAlgorithm::Sha384,
            object_attributes: AttestationTemplate::ATTRIBUTES | ObjectAttributes::NO_DA,
            ..AttestationTemplate::below(&device.ek_public()).unwrap()
        };
        let ak = device.ak_public_by(&template);
        assert!(device.opens(&answer.is(200).json, &ak).is_some(), "{kind}");
        assert!(device.opens(&answer.json, &device.ak_public()).is_none());
    }
}

/// A nonce is issued for every certified Name; otherwise its key could never attest.
#[tokio::test]
async fn a_key_whose_name_is_certified_can_attest() {
    let (site, manufacturer, api_key) = Site::start_furnished().await;
    for (serial, hash) in [
        ("SN0256", HashAlgorithm::Sha256),
        ("SN0384", HashAlgorithm::Sha384),
        ("SN0512", HashAlgorithm::Sha512),
    ] {
        let device = Device::new(&manufacturer, serial);
        let ak = TpmtPublic {
            name_alg: Some(hash),
            ..device.ak_public()
        };
        let mut request = device.request(&api_key);
        request["ak_public"] = json!(BASE64.encode(&ak.to_sized_bytes()));
        let answer = site.post(PROVISION, &request).await;
        assert!(device.opens(&answer.is(200).json, &ak).is_some(), "{hash}");
        let asked = json!({
            "namespace": "default",
            "category": "category",
            "ak_name": BASE64.encode(Name::of(&ak).unwrap().as_bytes()),
            "pcr_selection": "sha256:0",
        });
        site.post(NONCE, &asked).await.is(200);
    }
}

#[tokio::test]
async fn keys_of_other_sizes_and_curves_are_refused() {
    let (site, api_key, device) = furnished().await;
    let request = device.request(&api_key);
    for (member, wrong, says) in [
        ("ek_pub_key", P521, "no template"),
        ("ek_pub_key", RSA_1024, "RSA size"),
        ("ek_pub_key", ED25519, "neither"),
        ("ak_pub_key", P521, "P-521 is not on the allow-list"),
        ("ak_pub_key", RSA_1024, "RSA size"),
        ("ak_pub_key", ED25519, "neither"),
    ] {
        let mut request = request.clone();
        request[member] = json!(wrong);
        let refused = site.post(PROVISION, &request).await;
        refused.refuses(400, 3).saying(member);
        refused.saying(says);
    }
    // As the public area of a key that a TPM may well have.
    let public = TpmtPublic::parse_sized(&device.ak_public().to_sized_bytes()).unwrap();
    let sized = TpmtPublic {
        name_alg: Some(HashAlgorithm::Sha1),
        ..public
    };
    let mut request = request;
    request["ak_public"] = json!(BASE64.encode(&sized.to_sized_bytes()));
    let refused = site.post(PROVISION, &request).await;
    refused.refuses(400, 3).saying("name-algorithm");
}

// Made by openssl genpkey; the private halves were deleted.
const P521: &str = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBnCFoYJGgH+Qezgjt7sK1t7lY3BFZXXsVGoKhLsZ85UcZTS7QNtwYvK3fJV35\
    xCvQJUF0bgdybq3/uI5NIQ9qaZwByWkW6T+Po2igHNNfIPwh+jWlegb5WfmmbpF9fKHXwPD9xcFDZ1rt38BkIOC5GWm2PPhY\
    WUtj9uvkd0swbXM5vYk=";
const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDDUgZ7AJYR/9gzAg0UQU3eNBXh6Haqm8fizC/MqgLvipnaaMtGAzT3cjc5\
    1LLNuWTFZF9U2NJvJIL11yzitJwOQp8F1lbpkSiKl2Z+LN2C+O9sA6TmevbWrSx7j5YREgO6JY7xQOjUgrlkPM0pT18ZDC0m\
    16nRQU71In3qZGSxKwIDAQAB";
const ED25519: &str = "MCowBQYDK2VwAyEAcq7+H+PPTDaCP7tkGzBAiGStK1XxJzDYQgXxnAqLGNk=";
