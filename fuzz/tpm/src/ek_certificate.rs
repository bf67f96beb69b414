//! Endorsement certificates.

use keyproof_tpm::{
    EkCertificate, EkCertificatePolicy, EkChain, Structure, TpmtPublic, algorithms,
    check_ek_certificate,
};

use crate::{report::sound, structure::points_into, vectors::vector};

/// Endorsement certificates, as stored in NV memory. Only those that the CA has signed are accepted.
pub fn ek_certificate(data: &[u8]) {
    let genuine = [
        &vector!("eccp256/ek.cert.der")[..],
        vector!("rsa2048/ek.cert.der"),
    ];
    let parsed = EkCertificate::parse(data);
    if let Ok(certificate) = &parsed {
        let _ = certificate.tpm_attributes();
        let _ = certificate.tpm_specification();
    }
    for chain in [EkChain::from_pem(data), EkChain::from_der(data)] {
        match chain {
            Ok(chain) => assert!((1..=8).contains(&chain.certificates().count())),
            Err(error) => points_into(data, &error),
        }
    }
    let roots: [&[u8]; 1] = [vector!("eccp256/ca.root.der")];
    let intermediates: [&[u8]; 1] = [vector!("eccp256/ca.intermediate.der")];
    let mut policy = EkCertificatePolicy::without_key(&roots, 1_800_000_000, algorithms::RING);
    policy.intermediates = &intermediates;
    let report = check_ek_certificate(data, &policy);
    sound(&report);
    let is_genuine = parsed.is_ok_and(|certificate| genuine.contains(&certificate.as_der()));
    assert_eq!(report.accepted(), is_genuine, "{report}");
    // With an expected key, as an allowed certificate without roots, or with neither. An allowed certificate is accepted despite all
    // faults other than its key's.
    let ek = TpmtPublic::parse_sized(vector!("eccp256/ek.pub.tpm2b")).expect("a public area");
    for (ek, allowed, roots) in [
        (Some(&ek), &[][..], &roots[..]),
        (None, &[data][..], &[][..]),
        (None, &[][..], &[][..]),
    ] {
        policy.ek = ek;
        policy.allowed = allowed;
        policy.roots = roots;
        let report = check_ek_certificate(data, &policy);
        sound(&report);
        assert!(
            !report.accepted() || is_genuine || !allowed.is_empty(),
            "{report}"
        );
        // Even an allowed certificate must not be a CA's, and must be valid now.
        if report.accepted() {
            let certificate = EkCertificate::parse(data).expect("it was accepted");
            let certificate = certificate.certificate();
            let constraints = certificate.basic_constraints().expect("it was accepted");
            assert!(constraints.is_none_or(|constraints| !constraints.ca));
            let validity = certificate.validity();
            assert!(validity.has_begun(policy.now) && !validity.has_ended(policy.now));
        }
    }
}
