//! Certification requests (PKCS#10).

use keyproof_x509::{X509Error, algorithms, prover::CertificationRequest};
use x509_cert::{
    der::{Decode, Encode},
    request::CertReq,
};

use crate::pairs::edited;

/// Requests with valid signatures.
const GENUINE: [&[u8]; 3] = [
    include_bytes!("../vectors/p256.csr.der"),
    include_bytes!("../vectors/rsa2048.csr.der"),
    include_bytes!("../vectors/ed25519.csr.der"),
];

/// Byte 0 selects whether the rest is an arbitrary request, or edits of a genuine one, and of which one. No edit of the signed part
/// verifies. What x509-cert parses too has the same fields.
pub fn request(data: &[u8]) {
    match data {
        [0, request @ ..] => drop(read(request)),
        [choice, edits @ ..] => {
            let genuine = GENUINE[usize::from(*choice) % GENUINE.len()];
            let changed = edited(genuine, edits);
            if read(&changed) {
                assert_eq!(signed(&changed), signed(genuine));
            }
            assert!(read(genuine));
        }
        [] => {}
    }
}

/// Returns the CertificationRequestInfo: the first structure in the outer one.
fn signed(request: &[u8]) -> Option<Vec<u8>> {
    CertReq::from_der(request).ok()?.info.to_der().ok()
}

/// Returns whether the request parses and verifies.
fn read(data: &[u8]) -> bool {
    let request = match CertificationRequest::from_der(data) {
        Ok(request) => request,
        Err(X509Error::Malformed { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return false;
        }
        Err(_) => return false,
    };
    if let Ok(theirs) = CertReq::from_der(data) {
        let key = theirs.info.public_key.subject_public_key;
        assert_eq!(key.as_bytes(), Some(request.public_key().key()));
        assert_eq!(theirs.info.subject.is_empty(), request.subject().is_empty());
    }
    let mut longer = data.to_vec();
    longer.push(0);
    assert!(CertificationRequest::from_der(&longer).is_err());
    request.verify(algorithms::RING).is_ok()
}
