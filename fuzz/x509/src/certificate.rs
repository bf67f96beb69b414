//! Certificates.

use std::collections::HashSet;

use keyproof_x509::{Certificate, CertificateSummary, Name, OwnedCertificate, X509Error};
use x509_cert::{
    Certificate as X509Certificate,
    der::{Decode, Encode, oid::AssociatedOid},
    ext::pkix::{BasicConstraints, KeyUsage},
};

/// Certificates: all fields of a parsed certificate, strictness about trailing data, and agreement with x509-cert.
pub fn certificate(data: &[u8]) {
    let issued = Certificate::from_der_lenient(data);
    if let Ok(issued) = &issued {
        as_issued(issued);
    }
    let certificate = match Certificate::from_der(data) {
        Ok(certificate) => certificate,
        Err(X509Error::Malformed { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    assert!(issued.is_ok(), "what is DER is issued so");
    assert_eq!(certificate.as_der(), data);
    let owned = OwnedCertificate::from_der(data).expect("it was read");
    assert_eq!(owned.certificate().tbs(), certificate.tbs());
    assert!(HashSet::from([owned.clone()]).contains(&OwnedCertificate::from(&certificate)));
    let facts = CertificateSummary::from(&certificate);
    assert_eq!(facts.sha1_thumbprint.len(), 40);
    assert_eq!(facts.sha256_thumbprint.len(), 64);
    assert!(
        !facts.subject.contains(char::is_control),
        "{:?}",
        facts.subject
    );
    assert!(
        certificate
            .subject()
            .compare(&certificate.subject())
            .is_match()
    );
    assert_eq!(
        certificate.issuer().compare(&certificate.subject()),
        certificate.subject().compare(&certificate.issuer()),
    );
    as_x509_cert_reads(&certificate);
    let mut longer = data.to_vec();
    longer.push(0);
    assert!(Certificate::from_der(&longer).is_err());
    longer.truncate(data.len() - 1);
    assert!(Certificate::from_der(&longer).is_err());
}

/// Everything can be displayed and copied, even if the serial number has redundant octets.
fn as_issued(certificate: &Certificate<'_>) {
    assert!((1..=3).contains(&certificate.version().number()));
    let oddity = certificate.serial().oddity();
    assert!(oddity.is_none_or(|oddity| !oddity.to_string().is_empty()));
    let shown = format!("{certificate:?}");
    assert!(!shown.contains(char::is_control), "{shown}");
    let kept = OwnedCertificate::from(certificate.clone());
    assert_eq!(kept.as_der(), certificate.as_der());
    assert_eq!(kept.certificate().serial().oddity(), oddity);
    if let Ok(Some(usage)) = certificate.key_usage() {
        let signs = usage.names().any(|name| name == "keyCertSign");
        assert_eq!(signs, usage.key_cert_sign());
    }
}

/// Asserts that what both we and RustCrypto's x509-cert parse has the same fields.
fn as_x509_cert_reads(certificate: &Certificate<'_>) {
    let Ok(theirs) = <X509Certificate>::from_der(certificate.as_der()) else {
        return;
    };
    let theirs = theirs.tbs_certificate();
    assert_eq!(
        theirs.serial_number().as_bytes(),
        certificate.serial().as_bytes()
    );
    for (name, ours) in [
        (theirs.issuer(), certificate.issuer()),
        (theirs.subject(), certificate.subject()),
    ] {
        let name = name.to_der().expect("it was read");
        let name = Name::from_der(&name).expect("the same name");
        assert!(ours.compare(&name).is_match(), "{ours} {name}");
    }
    let [begin, end] = [theirs.validity().not_before, theirs.validity().not_after]
        .map(|time| time.to_unix_duration().as_secs());
    let validity = certificate.validity();
    assert!(validity.has_begun(begin) && !validity.has_ended(end));
    assert!(begin == 0 || !validity.has_begun(begin - 1));
    assert!(validity.has_ended(end + 1));
    let key = theirs.subject_public_key_info();
    assert_eq!(
        key.subject_public_key.as_bytes(),
        Some(certificate.public_key().key())
    );
    let extensions = theirs.extensions().map_or(&[][..], Vec::as_slice);
    assert_eq!(extensions.len(), certificate.extensions().len());
    let first = |id| extensions.iter().find(|extension| extension.extn_id == id);
    let constraints = first(BasicConstraints::OID)
        .and_then(|first| BasicConstraints::from_der(first.extn_value.as_bytes()).ok());
    let usage =
        first(KeyUsage::OID).and_then(|first| KeyUsage::from_der(first.extn_value.as_bytes()).ok());
    if let (Some(theirs), Ok(Some(ours))) = (constraints, certificate.basic_constraints()) {
        assert_eq!(theirs.ca, ours.ca);
        assert_eq!(theirs.path_len_constraint.map(u32::from), ours.path_len);
    }
    if let (Some(theirs), Ok(Some(ours))) = (usage, certificate.key_usage()) {
        assert_eq!(theirs.key_cert_sign(), ours.key_cert_sign());
        assert_eq!(theirs.crl_sign(), ours.crl_sign());
    }
}
