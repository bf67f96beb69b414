//! The check of endorsement certificates: those of a software TPM, and each way in which one can be
//! wrong.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod endorsement_ca;
mod vectors;

use keyproof_tpm::{
    Check as _, Crl, EkCertificate, EkCertificateCheck as C, EkCertificateFinding,
    EkCertificatePolicy, EkChain, Finding as _, Outcome, Report, Structure, TpmAttributes,
    TpmError, TpmSpecification, TpmtPublic, algorithms, check_ek_certificate,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SerialNumber, date_time_ymd,
};

use endorsement_ca::{
    CERTIFICATE_POLICIES, Ca, KEY_USAGE, NOW, RsaKey, SUBJECT_ALT_NAME,
    SUBJECT_DIRECTORY_ATTRIBUTES, alt_names, directory_name, ek_of, extension, replace, tlv,
    tpm_attribute, tpm_names, tpm_specification,
};
use vectors::read;

/// The key types for which the vectors are complete.
const KINDS: [&str; 2] = ["rsa2048", "eccp256"];

/// A real certificate with all inputs of its check.
#[derive(Clone)]
struct Real {
    certificate: Vec<u8>,
    ek: TpmtPublic,
    intermediate: Vec<u8>,
    root: Vec<u8>,
    now: u64,
}

impl Real {
    fn of(kind: &str) -> Self {
        Self {
            certificate: read(kind, "ek.cert.der"),
            ek: TpmtPublic::parse_sized(&read(kind, "ek.pub.tpm2b")).unwrap(),
            intermediate: read(kind, "ca.intermediate.der"),
            root: read(kind, "ca.root.der"),
            now: NOW,
        }
    }

    fn check(&self) -> Report<EkCertificateFinding> {
        check(
            &self.certificate,
            Some(&self.ek),
            &[&self.root],
            &[&self.intermediate],
            self.now,
        )
    }
}

fn check(
    certificate: &[u8],
    ek: Option<&TpmtPublic>,
    roots: &[&[u8]],
    intermediates: &[&[u8]],
    now: u64,
) -> Report<EkCertificateFinding> {
    let mut policy = EkCertificatePolicy::without_key(roots, now, algorithms::RING);
    policy.ek = ek;
    policy.intermediates = intermediates;
    check_ek_certificate(certificate, &policy)
}

/// Returns the checks with this outcome.
fn ended(report: &Report<EkCertificateFinding>, outcome: Outcome) -> Vec<C> {
    let all = C::ALL.iter().copied();
    all.filter(|check| report.outcome(*check) == outcome)
        .collect()
}

#[track_caller]
fn refused(report: &Report<EkCertificateFinding>, by: &[C]) {
    assert_eq!(ended(report, Outcome::Fail), by, "{report}");
    assert!(!report.accepted());
}

#[track_caller]
fn accepted(report: &Report<EkCertificateFinding>, warned: &[C]) {
    assert!(report.accepted(), "{report}");
    assert_eq!(ended(report, Outcome::Warn), warned, "{report}");
}

#[test]
fn the_certificates_of_a_software_tpm_are_accepted() {
    for kind in KINDS {
        let report = Real::of(kind).check();
        accepted(&report, &[C::Vendor]);
        assert_eq!(ended(&report, Outcome::NotRequested), []);
        assert_eq!(
            report.detail(C::Vendor),
            "id:00001014 is not in the TCG's registry"
        );
        assert_eq!(report.detail(C::Validity), "it is valid, and never expires");
        assert_eq!(
            report.detail(C::Chain),
            "to the root CN=swtpm-localca-rootca, over 1 intermediates"
        );
    }
}

#[test]
fn names_and_order_are_stable() {
    let report = Real::of("rsa2048").check();
    let names: Vec<&str> = report.rows().map(|row| row.name).collect();
    assert_eq!(
        names,
        [
            "encoding",
            "version",
            "serial",
            "issuer",
            "not-a-ca",
            "key-usage",
            "extended-key-usage",
            "tpm-attributes",
            "vendor",
            "tpm-specification",
            "critical-extensions",
            "validity",
            "key",
            "public-key",
            "chain",
        ]
    );
}

#[test]
fn facts_are_read() {
    for kind in KINDS {
        let stored = read(kind, "ek.cert.der");
        let certificate = EkCertificate::parse(&stored).unwrap();
        assert_eq!(certificate.as_der(), stored);
        assert_eq!(
            certificate.tpm_attributes(),
            Ok(TpmAttributes {
                manufacturer: "id:00001014".into(),
                vendor: None,
                model: "swtpm".into(),
                version: "id:20191023".into(),
            })
        );
        let specification = TpmSpecification {
            family: "2.0".into(),
            level: 0,
            revision: 164,
        };
        assert_eq!(certificate.tpm_specification(), Ok(Some(specification)));
    }
}

#[test]
fn nv_header_and_padding_make_no_difference() {
    for kind in KINDS {
        let real = Real::of(kind);
        let size = u16::try_from(real.certificate.len()).unwrap().to_be_bytes();
        let header = [&[0x10, 0x01, 0x00][..], &size].concat();
        for (before, after) in [
            (&[][..], &[0; 20][..]),
            (&[], &[0xff; 700]),
            (&header, &[]),
            (&header, &[0xff; 3]),
        ] {
            let mut stored = real.clone();
            stored.certificate = [before, &real.certificate, after].concat();
            accepted(&stored.check(), &[C::Vendor]);
            let parsed = EkCertificate::parse(&stored.certificate).unwrap();
            assert_eq!(parsed.as_der(), real.certificate);
        }
        let mut twice = real.clone();
        twice.certificate.extend_from_slice(&real.certificate);
        let report = twice.check();
        refused(&report, &[C::Encoding]);
        assert_eq!(
            ended(&report, Outcome::NotEvaluated).len(),
            C::ALL.len() - 1
        );
        assert!(matches!(
            EkCertificate::parse(&twice.certificate),
            Err(TpmError::TrailingBytes { .. })
        ));
    }
}

#[test]
fn the_key_is_the_endorsement_keys() {
    for (kind, other) in [
        ("rsa2048", "rsapss"),
        ("eccp256", "rsa2048"),
        ("rsa2048", "eccp256"),
    ] {
        let mut real = Real::of(kind);
        real.ek = TpmtPublic::parse_sized(&read(other, "ek.pub.tpm2b")).unwrap();
        refused(&real.check(), &[C::PublicKey]);
    }
    let real = Real::of("rsa2048");
    let report = check(
        &real.certificate,
        None,
        &[&real.root],
        &[&real.intermediate],
        NOW,
    );
    accepted(&report, &[C::Vendor]);
    assert_eq!(ended(&report, Outcome::NotRequested), [C::PublicKey]);
}

#[test]
fn a_chain_needs_its_root_and_its_intermediates() {
    for kind in KINDS {
        let real = Real::of(kind);
        let other = Ca::root(|_| ());
        let other = other.certificate.der();
        for (roots, intermediates) in [
            (&[&*real.root][..], &[][..]),
            (&[], &[&*real.intermediate]),
            (&[other], &[&*real.intermediate]),
            (&[b"no certificate"], &[&*real.intermediate]),
            // An intermediate with the same name and another key.
            (&[&*real.root], &[&**other]),
        ] {
            let report = check(&real.certificate, Some(&real.ek), roots, intermediates, NOW);
            refused(&report, &[C::Chain]);
        }
        // Additional certificates are harmless. An intermediate may be a root itself.
        for (roots, intermediates) in [
            (
                &[&**other, b"no certificate", &real.root][..],
                &[&**other, &real.intermediate][..],
            ),
            (&[&*real.intermediate], &[]),
        ] {
            let report = check(&real.certificate, Some(&real.ek), roots, intermediates, NOW);
            accepted(&report, &[C::Vendor]);
        }
    }
}

#[test]
fn an_allowed_certificate_needs_no_chain_but_all_the_rest() {
    let real = Real::of("rsa2048");
    let other = read("eccp256", "ek.cert.der");
    let judge = |stored: &[u8], allowed: &[&[u8]], now: u64| {
        let mut policy = EkCertificatePolicy::new(&real.ek, &[], now, algorithms::RING);
        policy.allowed = allowed;
        check_ek_certificate(stored, &policy)
    };
    let padded = [&real.certificate[..], &[0xff; 9]].concat();
    for stored in [&real.certificate, &padded] {
        let report = judge(stored, &[&other, &real.certificate], NOW);
        accepted(&report, &[C::Vendor]);
    }
    let report = judge(&real.certificate, &[&real.certificate], 1_700_000_000);
    refused(&report, &[C::Validity]);
    // An entry of the allow-list must match the whole certificate, not just a prefix.
    let prefix = &real.certificate[..real.certificate.len() - 1];
    for allowed in [&[][..], &[&other[..]], &[prefix], &[&padded[..]]] {
        let report = judge(&real.certificate, allowed, NOW);
        refused(&report, &[C::Chain]);
    }
    let report = judge(&other, &[&other], NOW);
    refused(&report, &[C::PublicKey]);
}

/// Newer certificates of Google Compute Engine have no subjectAltName.
#[test]
fn an_allowed_certificate_may_depart_from_the_profile_and_no_further() {
    type Change = fn(&mut CertificateParams);
    let maker = Maker::new();
    let judge = |change: Change, is_allowed: bool| {
        let certificate = maker.ca.endorse(&maker.key, change);
        let allowed = [certificate.as_slice()];
        let ek = ek_of(&maker.key);
        let mut policy = EkCertificatePolicy::new(&ek, &[], NOW, algorithms::RING);
        if is_allowed {
            policy.allowed = &allowed;
        }
        check_ek_certificate(&certificate, &policy)
    };
    let overruled: [(Change, C); 4] = [
        (
            |params| replace(params, SUBJECT_ALT_NAME, None),
            C::TpmAttributes,
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            C::ExtendedKeyUsage,
        ),
        (
            |params| {
                let other = extension(
                    SUBJECT_DIRECTORY_ATTRIBUTES,
                    false,
                    tpm_specification("1.2"),
                );
                replace(params, SUBJECT_DIRECTORY_ATTRIBUTES, Some(other));
            },
            C::TpmSpecification,
        ),
        (
            |params| {
                let strange = extension(&[1, 2, 3], true, vec![5, 0]);
                replace(params, &[1, 2, 3], Some(strange));
            },
            C::CriticalExtensions,
        ),
    ];
    for (change, check) in overruled {
        accepted(&judge(change, true), &[check]);
        refused(&judge(change, false), &[check, C::Chain]);
    }
    let kept: [(Change, C); 4] = [
        (
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            C::NotACa,
        ),
        (
            |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign),
            C::KeyUsage,
        ),
        (|params| params.key_usages = Vec::new(), C::KeyUsage),
        (
            |params| params.not_after = date_time_ymd(2026, 12, 1),
            C::Validity,
        ),
    ];
    for (change, check) in kept {
        refused(&judge(change, true), &[check]);
    }
    // The allow-list does not overrule a weak key.
    let certificate = maker
        .ca
        .endorse(&RsaKey::new(&[0xc1; 128], 65_537), |params| {
            params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        });
    let allowed = [certificate.as_slice()];
    let mut policy = EkCertificatePolicy::without_key(&[], NOW, algorithms::RING);
    policy.allowed = &allowed;
    refused(&check_ek_certificate(&certificate, &policy), &[C::Key]);
}

#[test]
fn time_counts() {
    let mut real = Real::of("rsa2048");
    real.now = 1_700_000_000;
    refused(&real.check(), &[C::Validity, C::Chain]);
    // The last second of 9999 is still valid.
    real.now = 253_402_300_799;
    accepted(&real.check(), &[C::Vendor]);
    real.now += 1;
    refused(&real.check(), &[C::Validity, C::Chain]);

    // The first second is valid too.
    let root = Ca::root(|_| ());
    let key = KeyPair::generate().unwrap();
    let certificate = root.endorse(&key, |params| {
        params.not_before = date_time_ymd(2027, 1, 15);
    });
    let root = root.certificate.der();
    let at = |now| check(&certificate, Some(&ek_of(&key)), &[root], &[], now);
    let begins = 1_799_971_200;
    accepted(&at(begins), &[]);
    refused(&at(begins - 1), &[C::Validity, C::Chain]);

    // An intermediate that expires before the certificates that it issued.
    let root = Ca::root(|_| ());
    let ca = root.intermediate("short", |params| {
        params.not_after = date_time_ymd(2028, 1, 1);
    });
    let key = KeyPair::generate().unwrap();
    let certificate = ca.endorse(&key, |_| ());
    let (root, ca) = (root.certificate.der(), ca.certificate.der());
    let at = |now| check(&certificate, Some(&ek_of(&key)), &[root], &[ca], now);
    accepted(&at(NOW), &[]);
    let year = 365 * 24 * 60 * 60;
    refused(&at(NOW + year), &[C::Chain]);
}

#[test]
fn another_signature_is_refused() {
    let mut real = Real::of("eccp256");
    *real.certificate.last_mut().unwrap() ^= 1;
    let report = real.check();
    refused(&report, &[C::Chain]);
    assert_eq!(
        report.detail(C::Chain),
        "the endorsement certificate: no certificate of its issuer's name that was given has signed it"
    );
}

#[test]
fn another_version_is_refused() {
    let mut real = Real::of("rsa2048");
    let version = [0xa0, 3, 2, 1, 2];
    let at = real
        .certificate
        .windows(5)
        .position(|bytes| bytes == version)
        .unwrap();
    real.certificate[at + 4] = 1;
    let report = real.check();
    refused(&report, &[C::Version, C::Chain]);
    assert_eq!(report.detail(C::Version), "version 2, not 3");
}

/// A fictitious manufacturer with a root and one intermediate.
struct Maker {
    root: Ca,
    ca: Ca,
    key: KeyPair,
}

impl Maker {
    fn new() -> Self {
        let root = Ca::root(|_| ());
        let ca = root.intermediate("ca", |_| ());
        Self {
            root,
            ca,
            key: KeyPair::generate().unwrap(),
        }
    }

    fn check(&self, change: impl FnOnce(&mut CertificateParams)) -> Report<EkCertificateFinding> {
        let certificate = self.ca.endorse(&self.key, change);
        self.judge(&certificate)
    }

    fn judge(&self, certificate: &[u8]) -> Report<EkCertificateFinding> {
        let (root, ca) = (self.root.certificate.der(), self.ca.certificate.der());
        check(certificate, Some(&ek_of(&self.key)), &[root], &[ca], NOW)
    }

    fn judge_with(&self, certificate: &[u8], crls: &[&[u8]]) -> Report<EkCertificateFinding> {
        let (root, ca) = (self.root.certificate.der(), self.ca.certificate.der());
        let crls: Vec<_> = crls.iter().map(|der| Crl::from_der(der).unwrap()).collect();
        let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([root], [ca]);
        let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::RING);
        policy.intermediates = &intermediates;
        policy.crls = &crls;
        check_ek_certificate(certificate, &policy)
    }
}

/// An allowed certificate needs no chain, but its revocation is still reported.
#[test]
fn an_allowed_certificate_that_is_revoked_is_a_warning() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let parsed = EkCertificate::parse(&certificate).unwrap();
    let serial = parsed.certificate().serial().as_bytes();
    let (free, revoking) = (
        maker.ca.revoke(&[], |_| ()),
        maker.ca.revoke(&[serial], |_| ()),
    );
    let (allowed, ca): ([&[u8]; 1], [&[u8]; 1]) = ([&certificate], [maker.ca.certificate.der()]);
    for (list, intermediates, warns) in [
        (&revoking, &ca[..], true),
        (&free, &ca[..], false),
        // The issuer of the CRL is unknown.
        (&revoking, &[][..], false),
    ] {
        let crls = [Crl::from_der(list).unwrap()];
        let mut policy = EkCertificatePolicy::without_key(&[], NOW, algorithms::RING);
        policy.allowed = &allowed;
        policy.intermediates = intermediates;
        policy.crls = &crls;
        let report = check_ek_certificate(&certificate, &policy);
        let detail = report.detail(C::Chain);
        let says = "overruled by the allow-list: the endorsement certificate: it is revoked since";
        assert_eq!(detail.contains(says), warns, "{detail}");
        let mut findings = report.findings(C::Chain);
        let is_told_why = findings.any(|finding| finding.remedy().ends_with("why it was revoked"));
        assert_eq!(is_told_why, warns, "{report}");
        if warns {
            accepted(&report, &[C::Chain]);
        } else {
            accepted(&report, &[]);
        }
    }
}

/// Manufacturers publish intermediates together with roots.
#[test]
fn an_intermediate_among_the_roots_is_named_as_one() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let list = maker.ca.revoke(&[], |_| ());
    let crls = [Crl::from_der(&list).unwrap()];
    let roots: [&[u8]; 2] = [maker.ca.certificate.der(), maker.root.certificate.der()];
    let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::RING);
    policy.crls = &crls;
    let report = check_ek_certificate(&certificate, &policy);
    accepted(&report, &[C::Chain]);
    assert_eq!(
        report.detail(C::Chain),
        "to the root CN=root, over 1 intermediates; \
         the intermediate CN=ca: no CRL of its issuer was given"
    );
}

#[test]
fn revocation_lists_can_be_required() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let (root, ca) = (maker.root.certificate.der(), maker.ca.certificate.der());
    let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([root], [ca]);
    let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::RING);
    policy.intermediates = &intermediates;
    accepted(&check_ek_certificate(&certificate, &policy), &[]);
    policy.require_crls = true;
    let report = check_ek_certificate(&certificate, &policy);
    refused(&report, &[C::Chain]);

    // The root's CRL covers the intermediate, which must also be checked.
    let (of_ca, of_root) = (maker.ca.revoke(&[], |_| ()), maker.root.revoke(&[], |_| ()));
    let both = [&of_ca, &of_root].map(|der| Crl::from_der(der).unwrap());
    for one in both.chunks(1) {
        policy.crls = one;
        let report = check_ek_certificate(&certificate, &policy);
        refused(&report, &[C::Chain]);
    }
    policy.crls = &both;
    accepted(&check_ek_certificate(&certificate, &policy), &[]);
}

#[test]
fn a_certificate_by_the_profile_has_nothing_to_warn_of() {
    let report = Maker::new().check(|_| ());
    accepted(&report, &[]);
    assert_eq!(report.detail(C::Vendor), "Infineon");
    assert_eq!(
        report.detail(C::TpmAttributes),
        "id:49465800, model SLB9670, version id:0755"
    );
    assert_eq!(
        report.detail(C::TpmSpecification),
        "family 2.0, level 0, revision 138"
    );
}

#[test]
fn each_departure_from_the_profile_is_named() {
    let maker = Maker::new();
    let refused_by = |by: &[C], change: &dyn Fn(&mut CertificateParams)| {
        refused(&maker.check(change), by);
    };
    let warned_by = |by: &[C], change: &dyn Fn(&mut CertificateParams)| {
        accepted(&maker.check(change), by);
    };

    refused_by(&[C::NotACa], &|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    warned_by(&[C::NotACa], &|params| params.is_ca = IsCa::NoCa);

    // Intel issues such certificates for P-256 keys.
    warned_by(&[C::KeyUsage], &|params| {
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    for usages in [
        vec![],
        vec![
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ],
        vec![KeyUsagePurpose::DigitalSignature],
        vec![KeyUsagePurpose::KeyAgreement, KeyUsagePurpose::KeyCertSign],
        vec![KeyUsagePurpose::KeyAgreement, KeyUsagePurpose::CrlSign],
    ] {
        refused_by(&[C::KeyUsage], &|params| params.key_usages = usages.clone());
    }
    warned_by(&[], &|params| {
        params.key_usages = vec![
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::DigitalSignature,
        ];
    });

    warned_by(&[], &|params| params.extended_key_usages = vec![]);
    warned_by(&[], &|params| {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth)
    });
    refused_by(&[C::ExtendedKeyUsage, C::Chain], &|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    refused_by(&[C::ExtendedKeyUsage, C::Chain], &|params| {
        let purpose = tlv(0x06, &[0x67, 0x81, 0x05, 0x08, 0x01]);
        let trailing = [tlv(0x30, &purpose), vec![0]].concat();
        params.extended_key_usages = vec![];
        params
            .custom_extensions
            .push(extension(&[2, 5, 29, 37], false, trailing));
    });

    warned_by(&[C::Serial], &|params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0]));
    });
    warned_by(&[C::Serial], &|params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x7f; 21]));
    });
    refused_by(&[C::Validity, C::Chain], &|params| {
        params.not_after = date_time_ymd(2026, 12, 1)
    });
    refused_by(&[C::Validity, C::Chain], &|params| {
        params.not_before = date_time_ymd(2027, 12, 1)
    });

    let policies = tlv(0x30, &tlv(0x30, &tlv(0x06, &[0x55, 0x1d, 0x20, 0x00])));
    warned_by(&[], &|params| {
        replace(
            params,
            CERTIFICATE_POLICIES,
            Some(extension(CERTIFICATE_POLICIES, false, policies.clone())),
        );
    });
    let critical = |params: &mut CertificateParams| {
        replace(
            params,
            CERTIFICATE_POLICIES,
            Some(extension(CERTIFICATE_POLICIES, true, policies.clone())),
        );
    };
    // STMicroelectronics and Intel issue such certificates.
    warned_by(&[], &critical);
    refused_by(&[C::CriticalExtensions, C::Chain], &|params| {
        replace(
            params,
            &[1, 2, 3],
            Some(extension(&[1, 2, 3], true, vec![5, 0])),
        );
    });
}

#[test]
fn the_tpms_attributes_are_read_strictly() {
    let maker = Maker::new();
    let with_names = |critical: bool, content: Option<Vec<u8>>| {
        maker.check(|params| {
            let names = content.map(|content| extension(SUBJECT_ALT_NAME, critical, content));
            replace(params, SUBJECT_ALT_NAME, names);
        })
    };
    // Attributes in one RDN, as PrintableString, or together with other names.
    let (manufacturer, model, version) = (
        tpm_attribute(1, "id:53544D20"),
        tpm_attribute(2, "m"),
        tpm_attribute(3, "v"),
    );
    let one_rdn = tlv(0x31, &[&manufacturer[..], &model, &version].concat());
    let other = tlv(0x82, b"example.org");
    for content in [
        alt_names(&[directory_name(&one_rdn)]),
        alt_names(&[other.clone(), directory_name(&one_rdn)]),
        alt_names(&[directory_name(&[]), directory_name(&one_rdn)]),
        tpm_names(&["id:53544d20", "m", "v"]),
    ] {
        let report = with_names(true, Some(content));
        accepted(&report, &[]);
        assert_eq!(report.detail(C::Vendor), "STMicroelectronics");
    }
    accepted(
        &with_names(true, Some(tpm_names(&["id:5A5A5A5A", "m", "v"]))),
        &[C::Vendor],
    );

    let twice = tlv(
        0x31,
        &[&manufacturer[..], &model, &version, &model].concat(),
    );
    let no_id = "tpmManufacturer is not id: and 8 hex digits";
    for (content, reason) in [
        (None, "there is no subjectAltName"),
        (Some(alt_names(&[other])), "tpmManufacturer is missing"),
        (Some(tpm_names(&["id:49465800"])), "tpmModel is missing"),
        (
            Some(tpm_names(&["id:49465800", "m"])),
            "tpmVersion is missing",
        ),
        (Some(tpm_names(&["49465800", "m", "v"])), no_id),
        (Some(tpm_names(&["id:4946580", "m", "v"])), no_id),
        (Some(tpm_names(&["id:+9465800", "m", "v"])), no_id),
        (
            Some(tpm_names(&["id:49465800", "", "v"])),
            "a TPM attribute is no text, or empty",
        ),
        (
            Some(alt_names(&[directory_name(&twice)])),
            "a TPM attribute stands there twice",
        ),
        (
            Some(alt_names(&[
                directory_name(&one_rdn),
                directory_name(&one_rdn),
            ])),
            "a TPM attribute stands there twice",
        ),
        (
            Some(alt_names(&[tlv(0xa4, b"\x30\x01\x31")])),
            "the subjectAltName is malformed",
        ),
    ] {
        let report = with_names(true, content);
        refused(&report, &[C::TpmAttributes]);
        assert_eq!(report.detail(C::TpmAttributes), reason);
        assert_eq!(report.outcome(C::Vendor), Outcome::NotEvaluated);
    }

    let trailing = [tpm_names(&["id:49465800", "m", "v"]), vec![0]].concat();
    let report = with_names(true, Some(trailing));
    refused(&report, &[C::TpmAttributes]);

    // It may be non-critical only if there is a subject.
    let names = tpm_names(&["id:49465800", "m", "v"]);
    refused(&with_names(false, Some(names.clone())), &[C::TpmAttributes]);
    let report = maker.check(|params| {
        replace(
            params,
            SUBJECT_ALT_NAME,
            Some(extension(SUBJECT_ALT_NAME, false, names)),
        );
        params.distinguished_name.push(DnType::CommonName, "tpm");
    });
    accepted(&report, &[]);
}

#[test]
fn the_tpms_specification_is_read_strictly() {
    let maker = Maker::new();
    let with = |content: Option<Vec<u8>>| {
        maker.check(|params| {
            let oid = SUBJECT_DIRECTORY_ATTRIBUTES;
            replace(
                params,
                oid,
                content.map(|content| extension(oid, false, content)),
            );
        })
    };
    accepted(&with(None), &[C::TpmSpecification]);
    accepted(&with(Some(tlv(0x30, &[]))), &[C::TpmSpecification]);
    for other in ["1.2", "2.1", "2.0.1", ""] {
        refused(
            &with(Some(tpm_specification(other))),
            &[C::TpmSpecification],
        );
    }
    let sound = tpm_specification("2.0");
    // The SET of values follows two headers and the OID.
    let (head, values) = sound.split_at(11);
    assert_eq!(values[0], 0x31);
    let mut no_set = sound.clone();
    no_set[head.len()] = 0x30;
    let oid = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, 0x10]);
    let two = tlv(0x31, &values[2..].repeat(2));
    let two_values = tlv(0x30, &tlv(0x30, &[oid, two].concat()));
    let mut trailing = tpm_specification("2.0");
    trailing.push(0);
    let twice = tlv(0x30, &tpm_specification("2.0")[2..].repeat(2));
    for malformed in [
        trailing,
        twice,
        no_set,
        two_values,
        vec![],
        vec![0x30, 1, 0x30],
    ] {
        let report = with(Some(malformed));
        refused(&report, &[C::TpmSpecification]);
        assert_eq!(
            report.detail(C::TpmSpecification),
            "the subjectDirectoryAttributes are malformed"
        );
    }
}

#[test]
fn keys_are_on_the_allow_list() {
    let maker = Maker::new();
    let judge = |key: &KeyPair, usage: KeyUsagePurpose| {
        let certificate = maker
            .ca
            .endorse(key, |params| params.key_usages = vec![usage]);
        let (root, ca) = (maker.root.certificate.der(), maker.ca.certificate.der());
        check(&certificate, Some(&ek_of(key)), &[root], &[ca], NOW)
    };
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    accepted(&judge(&p384, KeyUsagePurpose::KeyAgreement), &[]);
    // The key is valid, but has no template, so no credential can be made for it.
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let certificate = maker.ca.endorse(&p521, |_| ());
    let (root, ca) = (maker.root.certificate.der(), maker.ca.certificate.der());
    let report = check(&certificate, None, &[root], &[ca], NOW);
    accepted(&report, &[C::Key]);
    assert_eq!(
        report.detail(C::Key),
        "P-521, for which no credential can be made"
    );
    let spki = rcgen::PublicKeyData::subject_public_key_info(&p521);
    assert!(TpmtPublic::endorsement_from_spki(&spki).is_err());
    for kind in ["rsa2048", "rsa3072", "rsa4096"] {
        let pkcs8 = read("software", &format!("{kind}.ek.pkcs8.der"));
        let rsa = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_slice().into(), &PKCS_RSA_SHA256);
        let rsa = rsa.unwrap();
        accepted(&judge(&rsa, KeyUsagePurpose::KeyEncipherment), &[]);
        accepted(&judge(&rsa, KeyUsagePurpose::KeyAgreement), &[C::KeyUsage]);
        let neither = judge(&rsa, KeyUsagePurpose::DataEncipherment);
        refused(&neither, &[C::KeyUsage]);
    }
    let of_size = |bytes| format!("RSA of {bytes} bytes is not 2048, 3072 or 4096 bits");
    let odd = "no template for this public key: its RSA exponent is not 65537";
    for (modulus, exponent, reason) in [
        (vec![0xc1; 128], 65_537, of_size(128)),
        (vec![0x41; 256], 65_537, of_size(256)),
        (vec![0xc1; 1024], 65_537, of_size(1024)),
        (vec![0xc1; 256], 3, odd.to_owned()),
        (vec![0xc1; 256], 65_539, odd.to_owned()),
    ] {
        let certificate = maker
            .ca
            .endorse(&RsaKey::new(&modulus, exponent), |params| {
                params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            });
        let (root, ca) = (maker.root.certificate.der(), maker.ca.certificate.der());
        let report = check(&certificate, None, &[root], &[ca], NOW);
        refused(&report, &[C::Key]);
        assert_eq!(report.detail(C::Key), reason);
    }
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = maker.ca.endorse(&ed25519, |_| ());
    let report = maker.judge(&certificate);
    refused(&report, &[C::Key]);
    assert_eq!(report.outcome(C::PublicKey), Outcome::NotEvaluated);
}

#[test]
fn a_certificate_without_issuer_is_refused() {
    let root = Ca::root(|params| params.distinguished_name = DistinguishedName::new());
    let key = KeyPair::generate().unwrap();
    let certificate = root.endorse(&key, |_| ());
    let report = check(
        &certificate,
        Some(&ek_of(&key)),
        &[root.certificate.der()],
        &[],
        NOW,
    );
    refused(&report, &[C::Issuer]);
}

/// Chains with two intermediates. Each has one defect in one of the three CAs.
#[test]
fn each_ca_of_the_chain_is_judged() {
    type Change = fn(&mut CertificateParams);
    fn nothing(_: &mut CertificateParams) {}
    fn expired(params: &mut CertificateParams) {
        params.not_after = date_time_ymd(2026, 12, 1);
    }
    fn not_yet(params: &mut CertificateParams) {
        params.not_before = date_time_ymd(2027, 12, 1);
    }
    fn no_ca(params: &mut CertificateParams) {
        params.is_ca = IsCa::ExplicitNoCa;
    }
    fn no_cert_sign(params: &mut CertificateParams) {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    }
    fn unreadable_usage(params: &mut CertificateParams) {
        params.key_usages = Vec::new();
        let usage = extension(KEY_USAGE, true, b"no BIT STRING".to_vec());
        replace(params, KEY_USAGE, Some(usage));
    }
    fn other_use(params: &mut CertificateParams) {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    }
    fn same_use(params: &mut CertificateParams) {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    }
    fn critical_policies(params: &mut CertificateParams) {
        let policies = tlv(0x30, &tlv(0x30, &tlv(0x06, &[0x55, 0x1d, 0x20, 0x00])));
        replace(
            params,
            CERTIFICATE_POLICIES,
            Some(extension(CERTIFICATE_POLICIES, true, policies)),
        );
    }
    fn path_len_0(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }
    fn path_len_1(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    }
    fn path_len_2(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2));
    }
    let chain = |changes: [Change; 3]| {
        let [root, upper, lower] = changes;
        let root = Ca::root(root);
        let upper = root.intermediate("upper", upper);
        let lower = upper.intermediate("lower", lower);
        let key = KeyPair::generate().unwrap();
        let certificate = lower.endorse(&key, |_| ());
        let intermediates = [&**lower.certificate.der(), upper.certificate.der()];
        let root = root.certificate.der();
        check(
            &certificate,
            Some(&ek_of(&key)),
            &[root],
            &intermediates,
            NOW,
        )
    };
    for changes in [
        [nothing as Change, nothing, nothing],
        [path_len_2, path_len_1, path_len_0],
        [nothing, same_use, same_use],
        [nothing, nothing, critical_policies],
        [nothing, critical_policies, nothing],
        [critical_policies, critical_policies, critical_policies],
    ] {
        accepted(&chain(changes), &[]);
    }
    let (root, upper, lower) = (
        "the root CN=root: ",
        "the intermediate CN=upper: ",
        "the intermediate CN=lower: ",
    );
    for (changes, whose, reason) in [
        (
            [expired as Change, nothing as Change, nothing as Change],
            root,
            "it expired at 2026-12-01",
        ),
        ([nothing, expired, nothing], upper, "it expired at"),
        ([nothing, nothing, expired], lower, "it expired at"),
        ([not_yet, nothing, nothing], root, "it is valid only from"),
        ([nothing, not_yet, nothing], upper, "it is valid only from"),
        ([no_ca, nothing, nothing], root, "its basicConstraints"),
        ([nothing, no_ca, nothing], upper, "its basicConstraints"),
        ([nothing, nothing, no_ca], lower, "its basicConstraints"),
        (
            [no_cert_sign, nothing, nothing],
            root,
            "its keyUsage leaves",
        ),
        (
            [nothing, no_cert_sign, nothing],
            upper,
            "its keyUsage leaves",
        ),
        (
            [nothing, nothing, no_cert_sign],
            lower,
            "its keyUsage leaves",
        ),
        (
            [nothing, nothing, unreadable_usage],
            lower,
            "an extension is malformed: keyUsage",
        ),
        (
            [path_len_0, nothing, nothing],
            root,
            "2 intermediates follow",
        ),
        (
            [path_len_1, nothing, nothing],
            root,
            "2 intermediates follow",
        ),
        (
            [nothing, path_len_0, nothing],
            upper,
            "1 intermediates follow",
        ),
        (
            [nothing, other_use, nothing],
            upper,
            "its extended key usage",
        ),
    ] {
        let report = chain(changes);
        refused(&report, &[C::Chain]);
        let detail = report.detail(C::Chain);
        assert!(detail.starts_with(&format!("{whose}{reason}")), "{detail}");
    }
}

/// A root's path length limit applies even if another root has the same name.
#[test]
fn a_roots_limit_is_not_lifted_by_another_root() {
    let limited = Ca::root(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let unlimited = Ca::root(|_| ());
    let below = |root: &Ca| {
        let ca = root.intermediate("ca", |_| ());
        let key = KeyPair::generate().unwrap();
        let certificate = ca.endorse(&key, |_| ());
        let roots = [limited.certificate.der(), unlimited.certificate.der()];
        check(
            &certificate,
            Some(&ek_of(&key)),
            &roots.map(|der| &**der),
            &[ca.certificate.der()],
            NOW,
        )
    };
    accepted(&below(&unlimited), &[]);
    refused(&below(&limited), &[C::Chain]);
}

/// An algorithm that is not in the table causes a rejection; the check is not skipped.
#[test]
fn an_algorithm_that_is_not_in_the_table_is_refused() {
    let real = Real::of("rsa2048");
    let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([&real.root], [&real.intermediate]);
    let mut policy = EkCertificatePolicy::new(&real.ek, &roots, NOW, &[]);
    policy.intermediates = &intermediates;
    let report = check_ek_certificate(&real.certificate, &policy);
    refused(&report, &[C::Chain]);
    assert!(
        report.detail(C::Chain).contains("not supported here"),
        "{report}"
    );
}

proptest! {
    /// A modified certificate or chain is never accepted.
    #[test]
    fn no_mutation_is_accepted(index in 0_usize..2, at in any::<prop::sample::Index>(), xor in 1_u8.., intermediate: bool) {
        let mut real = Real::of(KINDS[index]);
        let bytes = if intermediate { &mut real.intermediate } else { &mut real.certificate };
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        prop_assert!(!real.check().accepted());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!check(&bytes, None, &[&bytes], &[&bytes], NOW).accepted());
    }
}

/// Some manufacturers pad serial numbers with redundant octets. The signature covers them, but a
/// CRL treats the number as equal.
#[test]
fn a_padded_serial_is_a_warning_and_can_be_revoked() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let spare = "written with octets to spare, which is not DER";
    for (encoded, minimal, oddity) in [
        (&[0, 0, 5][..], &[5][..], spare),
        (&[0, 0, 0x85], &[0, 0x85], spare),
        (&[0xff, 0x85], &[0x85], spare),
        (&[0x85], &[0x85], "negative"),
    ] {
        let odd = maker.ca.with_serial(&certificate, encoded);
        let report = maker.judge(&odd);
        accepted(&report, &[C::Serial]);
        let detail = report.detail(C::Serial);
        assert!(detail.contains(oddity), "{detail}");
        let parsed = EkCertificate::parse(&odd).unwrap();
        assert_eq!(parsed.certificate().serial().as_bytes(), minimal);
        if minimal.len() == 1 && minimal[0] < 0x80 {
            let revoked = maker.ca.revoke(&[minimal], |_| ());
            let padded = maker.ca.with_first_entry(&revoked, encoded);
            for list in [&revoked, &padded] {
                let report = maker.judge_with(&odd, &[list]);
                refused(&report, &[C::Chain]);
                let detail = report.detail(C::Chain);
                assert!(detail.contains("it is revoked since"), "{detail}");
            }
        }
        // Strict DER parsers reject such a certificate.
        let strict = keyproof_x509::Certificate::from_der(&odd);
        assert_eq!(strict.is_ok(), encoded == minimal);
    }
    assert!(EkCertificate::parse(&maker.ca.with_serial(&certificate, &[])).is_err());
}

/// Some of their CAs have such serial numbers too. They can be part of a chain, whatever their
/// source.
#[test]
fn a_ca_with_a_padded_serial_is_a_link_and_can_be_revoked() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let der = maker.ca.certificate.der();
    let ca = maker.root.with_serial(der, &[0, 0, 0, 6]);
    let der = maker.root.certificate.der();
    let root = maker.root.with_serial(der, &[0, 0, 1]);
    let chain = EkChain::from_der(&ca).unwrap();
    let carried: Vec<&[u8]> = chain.certificates().collect();
    let ek = ek_of(&maker.key);
    for root in [&root[..], &der[..]] {
        accepted(&check(&certificate, Some(&ek), &[root], &carried, NOW), &[]);
    }
    let revoked = maker.root.revoke(&[&[6][..]], |_| ());
    let lists = [Crl::from_der(&revoked).unwrap()];
    let roots = [&root[..]];
    let mut policy = EkCertificatePolicy::without_key(&roots, NOW, algorithms::RING);
    policy.intermediates = &carried;
    policy.crls = &lists;
    let report = check_ek_certificate(&certificate, &policy);
    refused(&report, &[C::Chain]);
}

/// DER sorts the attributes of a SET, but not all manufacturers do.
#[test]
fn attributes_in_any_order_name_the_tpm() {
    let maker = Maker::new();
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let values = ["id:49465800", "SLB9670", "id:0755"];
        let attributes: Vec<Vec<u8>> = order
            .iter()
            .map(|arc| tpm_attribute(*arc, values[usize::from(*arc) - 1]))
            .collect();
        let names = alt_names(&[directory_name(&tlv(0x31, &attributes.concat()))]);
        let report = maker.check(|params| {
            let names = extension(SUBJECT_ALT_NAME, true, names);
            replace(params, SUBJECT_ALT_NAME, Some(names));
        });
        accepted(&report, &[]);
        assert_eq!(
            report.detail(C::TpmAttributes),
            "id:49465800, model SLB9670, version id:0755"
        );
    }
}

fn pem(certificates: &[&[u8]]) -> String {
    let blocks = certificates.iter().map(|der| {
        let base64 = data_encoding::BASE64.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    });
    blocks.collect()
}

/// As with Intel's on-die CA, the device sends the intermediates, and only the root is trusted.
#[test]
fn a_device_may_hand_over_the_links_of_its_chain_but_not_its_end() {
    let root = Ca::root(|_| ());
    let upper = root.intermediate("upper", |_| ());
    let lower = upper.intermediate("lower", |_| ());
    let key = KeyPair::generate().unwrap();
    let certificate = lower.endorse(&key, |_| ());
    let judge = |chain: &EkChain, roots: &[&[u8]]| {
        let intermediates: Vec<&[u8]> = chain.certificates().collect();
        check(&certificate, Some(&ek_of(&key)), roots, &intermediates, NOW)
    };
    let ders = [&lower, &upper, &root].map(|ca| &**ca.certificate.der());
    let [lower_der, upper_der, root_der] = ders;
    let from_pem = EkChain::from_pem(pem(&[upper_der, lower_der]).as_bytes()).unwrap();
    let in_memory = [lower_der, upper_der, &[0xff; 70]].concat();
    for chain in [from_pem, EkChain::from_der(&in_memory).unwrap()] {
        accepted(&judge(&chain, &[root_der]), &[]);
        refused(&judge(&chain, &[]), &[C::Chain]);
        let other = Ca::root(|_| ());
        let other = judge(&chain, &[other.certificate.der()]);
        refused(&other, &[C::Chain]);
    }
    // A root in the device's chain is only an intermediate.
    let with_root = EkChain::from_der(&ders.concat()).unwrap();
    refused(&judge(&with_root, &[]), &[C::Chain]);
    let cut = EkChain::from_der(lower_der).unwrap();
    refused(&judge(&cut, &[root_der]), &[C::Chain]);
}

#[test]
fn a_chain_has_one_to_eight_certificates_and_nothing_else() {
    let root = Ca::root(|_| ());
    let der = &**root.certificate.der();
    let refused = |what: &str| {
        Err(TpmError::EkChain {
            what: what.to_owned(),
        })
    };
    assert!(EkChain::from_pem(pem(&[der; 8]).as_bytes()).is_ok());
    assert!(EkChain::from_der(&der.repeat(8)).is_ok());
    let many = "it has more than 8 certificates";
    assert_eq!(EkChain::from_pem(pem(&[der; 9]).as_bytes()), refused(many));
    assert_eq!(EkChain::from_der(&der.repeat(9)), refused(many));
    let none = "it has no certificate";
    assert_eq!(EkChain::from_pem(b""), refused(none));
    assert_eq!(EkChain::from_pem(b"no PEM"), refused(none));
    assert_eq!(EkChain::from_der(b""), refused(none));
    assert_eq!(EkChain::from_der(&[0; 40]), refused(none));
    let cut = EkChain::from_der(&der[..der.len() - 1]);
    assert_eq!(cut, refused("its last certificate is cut"));
    let garbage = EkChain::from_der(&[der, b"\x01\x02"].concat());
    assert_eq!(garbage, refused("its DER is broken"));
    let key = pem(&[der]).replace("CERTIFICATE", "PRIVATE KEY");
    assert!(matches!(
        EkChain::from_pem(key.as_bytes()),
        Err(TpmError::EkChain { .. })
    ));
    let empty = pem(&[b"\x30\x00"]);
    assert!(matches!(
        EkChain::from_pem(empty.as_bytes()),
        Err(TpmError::Certificate(_))
    ));
}

#[test]
fn a_revoked_certificate_has_no_chain() {
    let maker = Maker::new();
    let certificate = maker.ca.endorse(&maker.key, |_| ());
    let parsed = EkCertificate::parse(&certificate).unwrap();
    let serial = parsed.certificate().serial().as_bytes();
    let none = maker.ca.revoke(&[], |_| ());
    let of_root = maker.root.revoke(&[], |_| ());
    accepted(&maker.judge_with(&certificate, &[&none, &of_root]), &[]);
    // The detail contains the certificate without a CRL.
    let report = maker.judge_with(&certificate, &[&none]);
    accepted(&report, &[C::Chain]);
    let detail = report.detail(C::Chain);
    let missing = "the intermediate CN=ca: no CRL of its issuer was given";
    assert!(detail.ends_with(missing), "{detail}");

    let report = maker.judge_with(&certificate, &[&maker.ca.revoke(&[serial], |_| ())]);
    refused(&report, &[C::Chain]);
    assert_eq!(
        report.detail(C::Chain),
        "the endorsement certificate: it is revoked since 2026-12-24T00:00:00Z"
    );
    let ca = maker.ca.certificate.der();
    let ca = EkCertificate::parse(ca).unwrap();
    let ca = ca.certificate().serial().as_bytes();
    let report = maker.judge_with(&certificate, &[&none, &maker.root.revoke(&[ca], |_| ())]);
    refused(&report, &[C::Chain]);
    assert!(
        report
            .detail(C::Chain)
            .starts_with("the intermediate CN=ca: it is revoked since"),
        "{report}"
    );

    let stale = maker.ca.revoke(&[], |params| {
        params.next_update = date_time_ymd(2027, 1, 14);
    });
    let report = maker.judge_with(&certificate, &[&stale]);
    accepted(&report, &[C::Chain]);
    let detail = report.detail(C::Chain);
    assert!(
        detail.starts_with(
            "to the root CN=root, over 1 intermediates; the endorsement certificate: "
        ),
        "{detail}"
    );
}
