//! Paths over malformed certificates that no tool issues, but with valid signatures.
#![cfg(all(feature = "prover", feature = "ring"))]
#![allow(clippy::panic, reason = "test code")]

mod forge;

use keyproof_x509::{
    Certificate, X509Error, algorithms,
    path::{
        CertificatePool, CertificateSource, PathOptions, PathReport, Reason, TrustAnchors, find,
    },
};

use forge::*;

/// 1.2.840.113549.1.9.1
const EMAIL_ADDRESS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x01];

fn search(anchor: &Forged, leaf: &Forged) -> PathReport {
    let (anchor, leaf) = (anchor.sign(), leaf.sign());
    let leaf = Certificate::from_der(&leaf).unwrap_or_else(|error| panic!("{error}"));
    let options = PathOptions::new(algorithms::RING, NOW);
    find(
        &leaf,
        &CertificatePool::default(),
        &TrustAnchors::new(&[&anchor]),
        &options,
    )
}

#[track_caller]
fn assert_refused(report: &PathReport, place: CertificateSource, reason: &Reason) {
    let refusal = report.refusal().unwrap_or_else(|| panic!("{report}"));
    let walked = report.chain().get(refusal.at).map(|step| step.place);
    assert_eq!((walked, &refusal.reason), (Some(place), reason), "{report}");
}

#[test]
fn the_two_algorithm_identifiers_of_each_certificate_are_the_same() {
    let sound = search(&Forged::ca(), &Forged::leaf());
    assert!(sound.accepted(), "{sound}");
    let differing = |forged: Forged| Forged {
        inner_algorithm: ECDSA_SHA384.to_vec(),
        ..forged
    };
    let report = search(&Forged::ca(), &differing(Forged::leaf()));
    assert_refused(&report, CertificateSource::Leaf, &Reason::AlgorithmsDiffer);
    let report = search(&differing(Forged::ca()), &Forged::leaf());
    assert_refused(
        &report,
        CertificateSource::Anchor(0),
        &Reason::AlgorithmsDiffer,
    );
}

#[test]
fn an_extension_that_is_there_twice_is_refused_critical_or_not() {
    for (id, oid, value) in [
        (UNKNOWN, "1.2.3.4", &[5, 0][..]),
        // The first allows it to issue certificates, whatever the second contains.
        (BASIC_CONSTRAINTS, "2.5.29.19", CA_TRUE),
    ] {
        let doubled = |mut forged: Forged| {
            forged.extensions.retain(|known| !known.ends_with(value));
            forged
                .extensions
                .extend(vec![extension(id, false, value); 2]);
            forged
        };
        let twice = Reason::ExtensionDuplicated {
            oid: oid.to_owned(),
        };
        let report = search(&doubled(Forged::ca()), &Forged::leaf());
        assert_refused(&report, CertificateSource::Anchor(0), &twice);
    }
    let mut leaf = Forged::leaf();
    leaf.extensions
        .extend(vec![extension(UNKNOWN, false, &[]); 2]);
    let report = search(&Forged::ca(), &leaf);
    let oid = "1.2.3.4".to_owned();
    assert_refused(
        &report,
        CertificateSource::Leaf,
        &Reason::ExtensionDuplicated { oid },
    );
}

/// An email address in a subject is constrained too (RFC 5280 section 4.2.1.10). One that cannot be read is not permitted.
#[test]
fn mail_addresses_of_subjects_are_constrained() {
    let constrained = |form: u8, base: &[u8]| {
        let mut ca = Forged::ca();
        let subtree = sequence(&[&tlv(form, base)]);
        let value = sequence(&[&tlv(0xA0, &subtree)]);
        ca.extensions
            .push(extension(NAME_CONSTRAINTS, true, &value));
        ca
    };
    let mail = |tag: u8, text: &[u8]| {
        let mut leaf = Forged::leaf();
        leaf.subject = name(&[&[attribute(EMAIL_ADDRESS, tag, text)]]);
        leaf
    };
    let of_mail = constrained(0x81, b"example.com");
    let good = search(&of_mail, &mail(IA5, b"ada@example.com"));
    assert!(good.accepted(), "{good}");
    for leaf in [
        mail(IA5, b"ada@example.net"),
        mail(IA5, b"ada"),
        // An OCTET STRING, and invalid UTF-8.
        mail(0x04, b"ada@example.com"),
        mail(UTF8, b"ada\xFF@example.com"),
    ] {
        let report = search(&of_mail, &leaf);
        let refusal = report.refusal().unwrap_or_else(|| panic!("{report}"));
        assert_eq!(refusal.at, 0, "{report}");
        assert!(
            matches!(refusal.reason, Reason::NameNotPermitted { .. }),
            "{report}"
        );
    }
    // Without a constraint on email addresses, none is read.
    let report = search(&constrained(0x82, b"example.com"), &mail(0x04, b"ada"));
    assert!(report.accepted(), "{report}");
}

#[test]
fn weak_signatures_end_every_path() {
    let weak = |forged: Forged| Forged {
        inner_algorithm: RSA_SHA1.to_vec(),
        outer_algorithm: RSA_SHA1.to_vec(),
        ..forged
    };
    let report = search(&Forged::ca(), &weak(Forged::leaf()));
    let sha1 = Reason::SignatureRefused(X509Error::WeakHash { hash: "SHA-1" });
    assert_refused(&report, CertificateSource::Leaf, &sha1);
    // An anchor's own signature is not verified.
    let report = search(&weak(Forged::ca()), &Forged::leaf());
    assert!(report.accepted(), "{report}");
}
