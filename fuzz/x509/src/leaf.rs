//! Verification leaves that are issued here: for a code alone, and for a certification request.

use keyproof_x509::{
    Certificate, Outcome, Policy, ProofCheck, Redemption, Strictness, Validity, VerificationCode,
    X509Error, algorithms,
    prover::{CertificationRequest, PrivateKey, RingSigner, VerificationLeaf},
};
use ring::rand::SystemRandom;

use crate::pairs::{ED25519_CA, ED25519_KEY, NOW};

/// The input is 24 bytes of a code, 16 of a serial number, the start and end of the validity in eight bytes each, and a request
/// (DER). A leaf that was issued for a code is accepted for it while it is valid, and for no other code. A request that is not for
/// the code is not signed.
pub fn leaf(data: &[u8]) {
    let Some((random, rest)) = data.split_first_chunk::<24>() else {
        return;
    };
    let Some((serial, rest)) = rest.split_first_chunk::<16>() else {
        return;
    };
    let Some((from, rest)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let Some((until, request)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let ca = Certificate::from_der(ED25519_CA).expect("a sound CA");
    let source = SystemRandom::new();
    let key = PrivateKey::from_pem_or_der(ED25519_KEY).expect("a sound key");
    let signer = RingSigner::new(&key, &ca, &source).expect("the CA's key");
    let code = VerificationCode::issue(random, &ca, Some(NOW + 60));
    let validity = Validity::between(u64::from_be_bytes(*from), u64::from_be_bytes(*until));
    let leaf = VerificationLeaf {
        ca: &ca,
        code: &code,
        validity,
        serial: *serial,
    };
    if let Ok(request) = CertificationRequest::from_der(request) {
        let names: Vec<_> = request.subject().common_names().collect();
        let is_for_code =
            matches!(&names[..], [name] if name.text().is_some_and(|name| name == code.digits()));
        match leaf.sign_request(&request, &signer, algorithms::RING) {
            Ok(der) => {
                assert!(is_for_code && request.verify(algorithms::RING).is_ok());
                let made = Certificate::from_der(&der).expect("what was made is read");
                assert_eq!(made.subject().as_der(), request.subject().as_der());
                assert_eq!(made.public_key().as_der(), request.public_key().as_der());
            }
            Err(X509Error::CsrCommonName) => assert!(!is_for_code),
            Err(_) => {}
        }
    }
    let der = match leaf.sign(&signer, algorithms::RING) {
        Ok(der) => der,
        Err(error) => return assert!(matches!(error, X509Error::TimeOutOfRange { .. }), "{error}"),
    };
    let made = Certificate::from_der(&der).expect("what was made is read");
    assert!(made.serial().oddity().is_none());
    assert_eq!(made.validity(), validity);
    let mut policy = Policy::new(algorithms::RING);
    policy.strictness = Strictness::Strict;
    let other = VerificationCode::from_random(&random.map(|byte| !byte));
    match other.redeem(&ca, &der, NOW, &policy) {
        Redemption::Kept { report, .. } => {
            assert_eq!(
                report.outcome(ProofCheck::Signature),
                Outcome::Pass,
                "{report}"
            );
        }
        Redemption::Spent { report } => panic!("another code: {report}"),
    }
    match code.redeem(&ca, &der, NOW, &policy) {
        Redemption::Spent { report } => {
            assert!(
                validity.has_begun(NOW + 300) && !validity.has_ended(NOW - 300),
                "{report}"
            );
        }
        Redemption::Kept { report, .. } => {
            assert!(
                !validity.has_begun(NOW) || validity.has_ended(NOW),
                "{report}"
            );
        }
    }
}
