//! Certificates.

use keyproof_x509::{Certificate, Error, Facts};

/// Certificates: all facts of whatever is read, and strictness about what follows.
pub fn certificate(data: &[u8]) {
    let certificate = match Certificate::from_der(data) {
        Ok(certificate) => certificate,
        Err(Error::Malformed { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    assert_eq!(certificate.as_der(), data);
    let facts = Facts::of(&certificate);
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
    let mut longer = data.to_vec();
    longer.push(0);
    assert!(Certificate::from_der(&longer).is_err());
    longer.truncate(data.len() - 1);
    assert!(Certificate::from_der(&longer).is_err());
}
