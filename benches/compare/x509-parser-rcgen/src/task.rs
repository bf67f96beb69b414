//! The same task with x509-parser and rcgen: the checks are the caller's own. The key is the same one as PKCS#8, the format that
//! rcgen reads with ring.

use std::error::Error;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SerialNumber, date_time_ymd};
use x509_parser::{
    pem::parse_x509_pem,
    prelude::{ASN1Time, FromDer, X509Certificate},
};

const CA: &[u8] = include_bytes!("../../../../crates/x509/tests/data/p256-ca.pem");
const KEY: &str = include_str!("../p256-ca.pkcs8.pem");
const NOW: i64 = 1_800_000_000;

pub fn task() -> Result<(), Box<dyn Error>> {
    let (_, pem) = parse_x509_pem(CA)?;
    let ca = pem.parse_x509()?;
    let code = "A5".repeat(24);

    let mut leaf = CertificateParams::default();
    leaf.distinguished_name
        .push(DnType::CommonName, code.as_str());
    leaf.not_before = date_time_ymd(2027, 1, 14);
    leaf.not_after = date_time_ymd(2027, 1, 17);
    leaf.serial_number = Some(SerialNumber::from(vec![7; 16]));
    let issuer =
        Issuer::from_ca_cert_der(&pem.contents.as_slice().into(), KeyPair::from_pem(KEY)?)?;
    let leaf = leaf.signed_by(&KeyPair::generate()?, &issuer)?;

    let (rest, leaf) = X509Certificate::from_der(leaf.der())?;
    assert!(rest.is_empty());
    let now = ASN1Time::from_timestamp(NOW)?;
    let names: Vec<_> = leaf.subject().iter_common_name().collect();
    let is_named =
        matches!(names.as_slice(), [name] if name.as_str().is_ok_and(|name| name == code));
    let is_issued = leaf.issuer().as_raw() == ca.subject().as_raw();
    let is_ca = ca
        .basic_constraints()?
        .is_some_and(|constraints| constraints.value.ca);
    let may_sign = ca
        .key_usage()?
        .is_some_and(|usage| usage.value.key_cert_sign());
    let is_valid = [&leaf, &ca]
        .iter()
        .all(|one| one.validity().is_valid_at(now));
    leaf.verify_signature(Some(ca.public_key()))?;
    assert!(is_named && is_issued && is_ca && may_sign && is_valid);
    Ok(())
}
