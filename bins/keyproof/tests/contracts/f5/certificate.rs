//! The certificates of attestation keys and of the CAs above them, field by field.

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_tpm::EkCertificate;
use keyproof_x509::{BasicConstraints, Certificate, Upload, Version, algorithms, verify};
use serde_json::json;
use sha2::{Digest, Sha256};
use x509_cert::{
    der::{
        Decode,
        asn1::{Ia5String, ObjectIdentifier},
        oid::AssociatedOid,
    },
    ext::pkix::{
        self, AuthorityKeyIdentifier, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
        SubjectAltName, SubjectKeyIdentifier,
        crl::dp::DistributionPoint,
        name::{DistributionPointName, GeneralName},
    },
};

use crate::f5::{
    device::{Device, Manufacturer, tlv},
    dialect::{CATEGORIES, MANAGERS, PROVISION, START},
    provision::{furnish, furnished},
    site::Site,
};

const YEAR: u64 = 365 * 24 * 60 * 60;

const SUBJECT_KEY: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const ALT_NAMES: &str = "2.5.29.17";
const CONSTRAINTS: &str = "2.5.29.19";
const LIST_POINTS: &str = "2.5.29.31";
const AUTHORITY_KEY: &str = "2.5.29.35";
const EXTENDED_USAGE: &str = "2.5.29.37";

/// Returns the sub-CA's certificate and the root's.
async fn authorities(site: &Site) -> (Vec<u8>, Vec<u8>) {
    let spec = async |path: &str| site.get(path).await.json["spec"].clone();
    let der = |pem: &serde_json::Value| {
        let upload = Upload::decode(pem.as_str().unwrap().as_bytes());
        upload.unwrap().into_der().to_vec()
    };
    let category = spec(&format!("{CATEGORIES}/category")).await;
    let manager = spec(&format!("{MANAGERS}/manager")).await;
    let (sub_ca, root_ca) = (
        der(&category["ak_sub_ca_certificate"]),
        der(&manager["ak_root_ca_certificate"]),
    );
    for (certificate, name) in [
        (&sub_ca, &category["ak_sub_ca_name"]),
        (&root_ca, &manager["ak_root_ca_name"]),
    ] {
        let certificate = Certificate::from_der(certificate).unwrap();
        let subject = certificate.subject();
        assert_eq!(subject.common_name().unwrap(), name.as_str().unwrap());
    }
    (sub_ca, root_ca)
}

/// Returns each extension's identifier and whether it is critical, by identifier.
fn extensions(certificate: &Certificate<'_>) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = certificate
        .extensions()
        .iter()
        .map(|extension| (extension.id.to_string(), extension.critical))
        .collect();
    found.sort();
    found
}

fn value<'a>(certificate: &Certificate<'a>, id: &str) -> &'a [u8] {
    let mut all = certificate.extensions().iter();
    let found = all.find(|extension| extension.id.to_string() == id);
    found.unwrap().value
}

#[tokio::test]
async fn an_attestation_keys_certificate_keeps_the_profile() {
    let (site, api_key, device) = furnished().await;
    let der = site.certificate(&api_key, &device).await;
    let certificate = Certificate::from_der(&der).unwrap();
    let (sub_ca, _) = authorities(&site).await;
    let sub_ca = Certificate::from_der(&sub_ca).unwrap();

    assert_eq!(certificate.version(), Version::V3);
    assert_eq!(certificate.serial().oddity(), None);
    assert_eq!(certificate.serial().as_bytes().len(), 16);
    assert!(certificate.subject().is_empty());
    assert_eq!(certificate.public_key().as_der(), device.ak_spki());
    assert_eq!(
        extensions(&certificate),
        [
            (SUBJECT_KEY, false),
            (KEY_USAGE, true),
            (ALT_NAMES, true),
            (CONSTRAINTS, true),
            (AUTHORITY_KEY, false),
            (EXTENDED_USAGE, false),
        ]
        .map(|(id, critical)| (id.to_owned(), critical))
    );
    let usage = certificate.key_usage().unwrap().unwrap();
    assert_eq!(usage.names().collect::<Vec<_>>(), ["digitalSignature"]);
    let end_entity = BasicConstraints {
        ca: false,
        path_len: None,
    };
    assert_eq!(certificate.basic_constraints(), Ok(Some(end_entity)));
    // tcg-kp-AIKCertificate, and no other purpose.
    let aik = tlv(0x06, &[0x67, 0x81, 0x05, 0x08, 0x03]);
    assert_eq!(value(&certificate, EXTENDED_USAGE), tlv(0x30, &aik));
    // The keyIdentifier of the issuer's key.
    let subject_key = value(&sub_ca, SUBJECT_KEY);
    let (head, key_id) = subject_key.split_at(2);
    assert_eq!(head, [0x04, u8::try_from(key_id.len()).unwrap()]);
    assert_eq!(
        value(&certificate, AUTHORITY_KEY),
        tlv(0x30, &tlv(0x80, key_id))
    );

    // The TPM's attributes in one relative distinguished name, and the device's serial in a separate name.
    let text = |oid: &[u8], tag: u8, value: &str| {
        tlv(0x30, &[tlv(0x06, oid), tlv(tag, value.as_bytes())].concat())
    };
    let mut tpm = [
        text(&[0x67, 0x81, 5, 2, 1], 0x0c, "id:49465800"),
        text(&[0x67, 0x81, 5, 2, 2], 0x0c, "SLB9670"),
        text(&[0x67, 0x81, 5, 2, 3], 0x0c, "id:0755"),
    ];
    tpm.sort();
    let directory_name = |rdn: &[u8]| tlv(0xa4, &tlv(0x30, &tlv(0x31, rdn)));
    let names = [
        directory_name(&tpm.concat()),
        directory_name(&text(&[0x55, 4, 5], 0x13, "SN0001")),
    ];
    assert_eq!(value(&certificate, ALT_NAMES), tlv(0x30, &names.concat()));
    let read = EkCertificate::parse(&der)
        .unwrap()
        .tpm_attributes()
        .unwrap();
    assert_eq!(
        (&*read.manufacturer, &*read.model, &*read.version),
        ("id:49465800", "SLB9670", "id:0755")
    );
}

#[tokio::test]
async fn an_attestation_keys_certificate_says_where_the_revocation_list_is_if_that_is_known() {
    let url = "http://tpm.example.com/";
    let (site, api_key, device) =
        furnish(Site::start_with(&[("f5.public_url", url.into())]).await).await;
    let der = site.certificate(&api_key, &device).await;
    let certificate = Certificate::from_der(&der).unwrap();
    let points = (LIST_POINTS.to_owned(), false);
    assert!(extensions(&certificate).contains(&points));
    let path = "/api/tpm/namespaces/default/tpm_categorys/category/crl";
    let name = tlv(0x86, format!("http://tpm.example.com{path}").as_bytes());
    let point = tlv(0x30, &tlv(0xa0, &tlv(0xa0, &name)));
    assert_eq!(value(&certificate, LIST_POINTS), tlv(0x30, &point));
    site.call("GET", path).send().await.is(200);
}

/// Returns the extension of this type, and whether it is critical.
fn extension<'a, T>(certificate: &'a x509_cert::Certificate) -> (bool, T)
where
    T: Decode<'a> + AssociatedOid,
    <T as Decode<'a>>::Error: std::fmt::Debug,
{
    let found = certificate.tbs_certificate().get_extension::<T>();
    found.unwrap().unwrap()
}

/// As parsed by RustCrypto's x509-cert, which shares no code with ours.
#[tokio::test]
async fn another_library_finds_the_profile_in_an_attestation_keys_certificate() {
    let (site, api_key, device) =
        furnish(Site::start_with(&[("f5.public_url", "http://tpm.example.com".into())]).await)
            .await;
    let der = site.certificate(&api_key, &device).await;
    let read = x509_cert::Certificate::from_der(&der).unwrap();
    let (sub_ca, _) = authorities(&site).await;
    let sub_ca = x509_cert::Certificate::from_der(&sub_ca).unwrap();
    let tbs = read.tbs_certificate();
    assert!(tbs.subject().is_empty());
    assert_eq!(tbs.issuer(), sub_ca.tbs_certificate().subject());
    assert_eq!(tbs.extensions().unwrap().len(), 7);

    let (is_critical, KeyUsage(usage)) = extension(&read);
    assert!(is_critical);
    assert_eq!(usage, KeyUsages::DigitalSignature);
    let (is_critical, ExtendedKeyUsage(usage)) = extension(&read);
    assert!(!is_critical);
    assert_eq!(usage, [ObjectIdentifier::new_unwrap("2.23.133.8.3")]);
    let (is_critical, constraints) = extension(&read);
    let end_entity = pkix::BasicConstraints {
        ca: false,
        path_len_constraint: None,
    };
    assert_eq!((is_critical, constraints), (true, end_entity));

    // RFC 7093, section 2, method 4: the leftmost 160 bits of the hash of the SubjectPublicKeyInfo.
    let (is_critical, SubjectKeyIdentifier(own)) = extension(&read);
    assert!(!is_critical);
    assert_eq!(own.as_bytes(), &Sha256::digest(device.ak_spki())[..20]);
    let (_, SubjectKeyIdentifier(above)) = extension(&sub_ca);
    let (is_critical, authority): (_, AuthorityKeyIdentifier) = extension(&read);
    assert!(!is_critical);
    assert_eq!(authority.key_identifier, Some(above));

    let (is_critical, SubjectAltName(names)) = extension(&read);
    assert!(is_critical);
    let attributes = |name: &GeneralName| {
        let GeneralName::DirectoryName(name) = name else {
            panic!("{name:?}");
        };
        assert_eq!(name.iter_rdn().count(), 1);
        let attributes = name.iter().map(|attribute| {
            let text = str::from_utf8(attribute.value.value()).unwrap();
            format!("{}={text}", attribute.oid)
        });
        let mut attributes: Vec<String> = attributes.collect();
        attributes.sort();
        attributes
    };
    let names: Vec<_> = names.iter().map(attributes).collect();
    let tpm = [
        "2.23.133.2.1=id:49465800",
        "2.23.133.2.2=SLB9670",
        "2.23.133.2.3=id:0755",
    ];
    assert_eq!(names, [&tpm[..], &["2.5.4.5=SN0001"]]);

    let (is_critical, CrlDistributionPoints(points)) = extension(&read);
    assert!(!is_critical);
    let url = "http://tpm.example.com/api/tpm/namespaces/default/tpm_categorys/category/crl";
    let url = GeneralName::UniformResourceIdentifier(Ia5String::new(url).unwrap());
    let point = DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![url])),
        reasons: None,
        crl_issuer: None,
    };
    assert_eq!(points, [point]);
}

/// Google Compute Engine's newer endorsement certificates do not name the TPM.
#[tokio::test]
async fn an_allowed_endorsement_certificate_need_not_say_which_tpm_it_is_of() {
    let (site, manufacturer, api_key) = Site::start_furnished().await;
    let device = Device::new(&manufacturer, "SN0001").endorsed_namelessly(&manufacturer);
    let refused = site.post(PROVISION, &device.request(&api_key)).await;
    refused.refuses(403, 7).saying("tpm-attributes");
    let allowed = json!({ "tpm_allow_list": [BASE64.encode(&device.ek_certificate)] });
    site.replace(CATEGORIES, "category", allowed).await.is(200);
    let der = site.certificate(&api_key, &device).await;
    let certificate = Certificate::from_der(&der).unwrap();
    // Only the device's serial.
    let serial = tlv(
        0x30,
        &[tlv(0x06, &[0x55, 4, 5]), tlv(0x13, b"SN0001")].concat(),
    );
    let name = tlv(0xa4, &tlv(0x30, &tlv(0x31, &serial)));
    assert_eq!(value(&certificate, ALT_NAMES), tlv(0x30, &name));
}

#[tokio::test]
async fn a_serial_that_is_no_printable_string_is_written_in_utf_8() {
    let (site, manufacturer, api_key) = Site::start_furnished().await;
    let serial = "Gerät_1";
    let device = Device::new(&manufacturer, serial);
    let der = site.certificate(&api_key, &device).await;
    let certificate = Certificate::from_der(&der).unwrap();
    let written = tlv(0x0c, serial.as_bytes());
    assert!(value(&certificate, ALT_NAMES).ends_with(&written));
}

#[tokio::test]
async fn the_chain_is_the_categorys_ca_and_the_managers_root() {
    let (site, api_key, device) = furnished().await;
    let answer = site.post(PROVISION, &device.request(&api_key)).await;
    let leaf = device.certificate(&answer.is(200).json);
    let chain = answer.json["ak_cert_chain"].as_str().unwrap();
    let spec = async |path: &str| site.get(path).await.json["spec"].clone();
    let sub_ca = spec(&format!("{CATEGORIES}/category")).await;
    let root_ca = spec(&format!("{MANAGERS}/manager")).await;
    let pem = [
        sub_ca["ak_sub_ca_certificate"].as_str().unwrap(),
        root_ca["ak_root_ca_certificate"].as_str().unwrap(),
    ];
    assert_eq!(chain, pem.concat());

    let (sub_ca, root_ca) = authorities(&site).await;
    let read = |der| Certificate::from_der(der).unwrap();
    let (leaf, sub_ca, root_ca) = (read(&leaf), read(&sub_ca), read(&root_ca));
    for (issued, issuer) in [(&leaf, &sub_ca), (&sub_ca, &root_ca), (&root_ca, &root_ca)] {
        verify(
            algorithms::ALL,
            &issuer.public_key(),
            &issued.algorithm(),
            issued.tbs(),
            issued.signature(),
        )
        .unwrap();
        assert_eq!(issued.issuer().as_der(), issuer.subject().as_der());
        assert_eq!(issuer.version(), Version::V3);
    }
    for (ca, path_len) in [(&sub_ca, Some(0)), (&root_ca, None)] {
        let constraints = BasicConstraints { ca: true, path_len };
        assert_eq!(ca.basic_constraints(), Ok(Some(constraints)));
        let usage = ca.key_usage().unwrap().unwrap();
        assert_eq!(
            usage.names().collect::<Vec<_>>(),
            ["keyCertSign", "cRLSign"]
        );
        let critical = extensions(ca);
        for id in [KEY_USAGE, CONSTRAINTS] {
            assert!(critical.contains(&(id.to_owned(), true)), "{critical:?}");
        }
    }
    assert_ne!(leaf.serial().as_bytes(), sub_ca.serial().as_bytes());
}

/// Returns the validity of a certificate, in seconds.
fn life(der: &[u8]) -> (u64, u64) {
    let validity = Certificate::from_der(der).unwrap().validity();
    let [begin, end] = [validity.not_before, validity.not_after].map(|end| end.try_into().unwrap());
    (begin, end)
}

#[tokio::test]
async fn no_certificate_is_valid_when_its_issuer_is_not() {
    let (site, api_key, device) = furnished().await;
    let (sub_ca, root_ca) = authorities(&site).await;
    assert_eq!(life(&root_ca), (START, START + 30 * YEAR));
    assert_eq!(life(&sub_ca), (START, START + 20 * YEAR));
    site.clock.advance(Duration::from_millis(1999));
    let first = site.certificate(&api_key, &device).await;
    assert_eq!(life(&first), (START + 1, START + 1 + 5 * YEAR));

    site.clock.advance(Duration::from_secs(18 * YEAR));
    let device = device.with_new_ak();
    let last = site.certificate(&api_key, &device).await;
    assert_eq!(life(&last), (START + 1 + 18 * YEAR, START + 20 * YEAR));

    // From the CA's last second on, no more certificates can be made.
    site.clock
        .advance(Duration::from_millis(2 * YEAR * 1000 - 2000));
    let device = device.with_new_ak();
    let last = site.certificate(&api_key, &device).await;
    assert_eq!(life(&last), (START + 20 * YEAR - 1, START + 20 * YEAR));
    site.clock.advance(Duration::from_millis(1));
    let request = device.with_new_ak().request(&api_key);
    site.post(PROVISION, &request).await.refuses(409, 10);

    // A category that is created late ends with the root.
    site.clock.advance(Duration::from_secs(8 * YEAR));
    let late = site.category("late").await;
    let late = late.is(200).json["spec"]["ak_sub_ca_certificate"].clone();
    let late = Upload::decode(late.as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(life(&late.into_der()).1, START + 30 * YEAR);
}

#[tokio::test]
async fn a_clock_behind_the_one_that_made_the_ca_makes_no_certificate_before_it() {
    let site = Site::start().await;
    let manufacturer = Manufacturer::new();
    site.clock.advance(Duration::from_secs(60));
    let api_key = site.furnished(&manufacturer).await;
    site.clock.set(keyproof_store::Timestamp::from_secs(START));
    let device = Device::new(&manufacturer, "SN0001");
    let der = site.certificate(&api_key, &device).await;
    assert_eq!(life(&der), (START + 60, START + 5 * YEAR));
}

#[tokio::test]
async fn a_stations_certificate_is_below_its_categorys_ca_and_for_clients() {
    let (site, ..) = Site::start_furnished().await;
    let (sub_ca, _) = authorities(&site).await;
    let sub_ca = Certificate::from_der(&sub_ca).unwrap();
    let spec = site.get(&format!("{CATEGORIES}/category")).await;
    let pem = spec.json["spec"]["client_cert"].as_str().unwrap();
    let der = Upload::decode(pem.as_bytes()).unwrap().into_der();
    let client = Certificate::from_der(&der).unwrap();
    assert_eq!(client.issuer().as_der(), sub_ca.subject().as_der());
    verify(
        algorithms::ALL,
        &sub_ca.public_key(),
        &client.algorithm(),
        client.tbs(),
        client.signature(),
    )
    .unwrap();
    // id-kp-clientAuth, which no attestation key's certificate has.
    let purpose = tlv(0x06, &[0x2b, 6, 1, 5, 5, 7, 3, 2]);
    assert_eq!(value(&client, EXTENDED_USAGE), tlv(0x30, &purpose));
    assert_eq!(life(&der).1, START + 10 * YEAR);
    assert_eq!(spec.json["spec"]["client_key"], json!(""));
}
