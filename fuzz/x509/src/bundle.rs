//! Bundles of certificates and CRLs: PEM and PKCS #7.

use keyproof_x509::{
    X509Error,
    pem_bundle::{
        PemBlock, PemKind, certificates, certificates_and_crls, certification_requests, public_keys,
    },
    pkcs7::{MAX_ELEMENTS, Pkcs7},
};

/// A bundle: no block is silently left out, and the contents read back the same from a bundle of them. Signed data: every element
/// is part of the input, in the same order.
pub fn bundle(data: &[u8]) {
    pem(data);
    match Pkcs7::from_der(data) {
        Ok(read) => {
            assert!(read.certificates.len() <= MAX_ELEMENTS && read.crls.len() <= MAX_ELEMENTS);
            let start = data.as_ptr().addr();
            let mut end = start;
            for element in read.certificates.iter().chain(&read.crls) {
                assert!(element.as_ptr().addr() >= end, "in another order");
                end = element.as_ptr().addr() + element.len();
            }
            assert!(end <= start + data.len());
        }
        Err(X509Error::Malformed { at, .. }) => assert!(at <= data.len()),
        Err(error) => panic!("{error}"),
    }
}

fn pem(text: &[u8]) {
    let keys = public_keys(text).unwrap_or_default();
    assert!(keys.is_empty() || certificates_and_crls(text).is_err());
    let requests = certification_requests(text).unwrap_or_default();
    assert!(
        requests.is_empty() || (certificates_and_crls(text).is_err() && public_keys(text).is_err())
    );
    let all = match certificates_and_crls(text) {
        Ok(all) => all,
        Err(broken) => {
            assert!(broken.block > 0 && !broken.problem.is_empty(), "{broken}");
            // A bundle that is malformed as a mixed one is also malformed as certificates only, in the same block or earlier.
            let alone = certificates(text).expect_err("it is broken");
            assert!(alone.block <= broken.block);
            return;
        }
    };
    // Each block contributes something; a PKCS #7 block contributes all its elements.
    let mut numbers: Vec<usize> = all.iter().map(|block| block.block).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    let crls = all.iter().filter(|block| block.kind == PemKind::Crl);
    match (certificates(text), crls.map(|block| block.block).min()) {
        (Ok(alone), None) => assert_eq!(alone, all),
        (Err(broken), Some(first)) => assert_eq!(broken.block, first),
        (alone, first) => panic!("{alone:?} with a list at {first:?}"),
    }
    let written: String = all.iter().map(written).collect();
    let again = certificates_and_crls(written.as_bytes()).expect("what was written is read");
    let elements = |blocks: &[PemBlock]| -> Vec<(PemKind, Vec<u8>)> {
        let element = |block: &PemBlock| (block.kind, block.der.clone());
        blocks.iter().map(element).collect()
    };
    assert_eq!(elements(&again), elements(&all));
}

fn written(block: &PemBlock) -> String {
    let label = match block.kind {
        PemKind::Certificate => "CERTIFICATE",
        PemKind::CertificationRequest => "CERTIFICATE REQUEST",
        PemKind::Crl => "X509 CRL",
        PemKind::PublicKey => "PUBLIC KEY",
        other => panic!("a label for {other}"),
    };
    assert!(!block.kind.to_string().is_empty());
    let text = crate::upload::base64(&block.der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
