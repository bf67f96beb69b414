//! Path search: which path is found, and to which certificate of the chain a refusal refers.
#![cfg(feature = "ring")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod hierarchy;

use keyproof_x509::{
    Certificate, Finding as _, ObjectIdentifier, X509Error, algorithms,
    path::{
        CertificatePool, CertificateSource, MAX_PATH_LEN, MAX_SIGNATURE_CHECKS, PathOptions,
        PathReport, Purpose, Reason, TrustAnchors, find,
    },
};
use rcgen::{
    CertificateParams, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use hierarchy::*;

const RULES: PathOptions<'static> = PathOptions::new(algorithms::RING, NOW);

use CertificateSource::{Anchor, Intermediate, Leaf};

/// A root, a CA below it, and a leaf below that, each with one change.
fn chain(
    root: impl FnOnce(&mut CertificateParams),
    ca: impl FnOnce(&mut CertificateParams),
    leaf: impl FnOnce(&mut CertificateParams),
) -> [Vec<u8>; 3] {
    let (top, sub) = (Authority::new("Root"), Authority::new("Sub"));
    [
        top.certified_by(&top, root),
        sub.certified_by(&top, ca),
        sub.leaf("Leaf", leaf),
    ]
}

fn judge([root, ca, leaf]: &[Vec<u8>; 3], rules: &PathOptions<'_>) -> PathReport {
    search(leaf, &[ca], &[root], rules)
}

fn unchanged(_: &mut CertificateParams) {}

#[test]
fn a_sound_chain_is_walked_from_the_leaf_upwards() {
    let report = judge(&chain(unchanged, unchanged, unchanged), &RULES);
    assert_path(&report, &[Leaf, Intermediate(0), Anchor(0)]);
    assert!(report.policies().is_some());
    let told = report.to_string();
    assert_eq!(
        told,
        "leaf `CN=Leaf`\nintermediate 1 `CN=Sub`\nanchor 1 `CN=Root`\naccepted"
    );
    assert_eq!(report.signatures_checked(), 2);
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_string(report.checks()).unwrap();
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(object["accepted"], true);
        // A path has no choice of policy.
        assert!(object.get("policy").is_none());
    }
}

#[test]
fn anchors_are_collected_from_any_source() {
    let [root, ca, leaf] = chain(unchanged, unchanged, unchanged);
    let mut anchors: TrustAnchors<'_> = [ca.as_slice()].into_iter().collect();
    let leaf = Certificate::from_der(&leaf).unwrap();
    let none = CertificatePool::new(&[]);
    assert_path(&find(&leaf, &none, &anchors, &RULES), &[Leaf, Anchor(0)]);
    anchors = TrustAnchors::new(&[]);
    anchors.extend([root.as_slice()]);
    let pool = CertificatePool::new(&[&ca]);
    let report = find(&leaf, &pool, &anchors, &RULES);
    assert_path(&report, &[Leaf, Intermediate(0), Anchor(0)]);
}

#[test]
fn any_listed_certificate_is_an_anchor_self_signed_or_not() {
    let [_, ca, leaf] = chain(unchanged, unchanged, unchanged);
    assert_path(&search(&leaf, &[], &[&ca], &RULES), &[Leaf, Anchor(0)]);
}

#[test]
fn a_root_that_is_not_an_anchor_is_told_as_such() {
    let [root, ca, leaf] = chain(unchanged, unchanged, unchanged);
    let other = Authority::new("Other").root();
    let report = search(&leaf, &[&ca, &root], &[&other], &RULES);
    assert_refused(&report, Intermediate(1), |reason| {
        *reason == Reason::NotAnAnchor
    });
    let remedy = report.refusal().unwrap().remedy();
    assert_eq!(remedy, "add it to the anchors if it is to be trusted");
}

#[test]
fn the_refusal_names_the_certificate_on_the_walk_and_why() {
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    let no_constraints = |params: &mut CertificateParams| params.is_ca = IsCa::NoCa;
    let crl_only =
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    type Change = fn(&mut CertificateParams);
    type IsRight = fn(&Reason) -> bool;
    let cases: [(Change, IsRight); 5] = [
        (expired, |reason| matches!(reason, Reason::Expired { .. })),
        (not_yet_valid, |reason| {
            matches!(reason, Reason::NotYetValid { .. })
        }),
        (is_ca, |reason| *reason == Reason::NotACa),
        (no_constraints, |reason| {
            *reason == Reason::BasicConstraintsMissing
        }),
        (crl_only, |reason| *reason == Reason::KeyCertSignMissing),
    ];
    for (index, (change, is_right)) in cases.into_iter().enumerate() {
        let report = judge(&chain(unchanged, change, unchanged), &RULES);
        assert_refused(&report, Intermediate(0), is_right);
        let report = judge(&chain(change, unchanged, unchanged), &RULES);
        // An anchor without basicConstraints is trusted by being listed.
        match index {
            3 => assert!(report.accepted(), "{report}"),
            _ => assert_refused(&report, Anchor(0), is_right),
        }
    }
    let report = judge(&chain(unchanged, unchanged, expired), &RULES);
    assert_refused(&report, Leaf, |reason| {
        matches!(reason, Reason::Expired { .. })
    });
}

#[test]
fn an_unrelated_certificate_is_never_blamed() {
    let [root, ca, leaf] = chain(unchanged, unchanged, unchanged);
    // It has the issuer's name but another key, and it has expired.
    let impostor = Authority::new("Sub");
    let impostor = impostor.certified_by(&impostor, expired);
    let report = search(&leaf, &[&impostor], &[&root], &RULES);
    assert_refused(&report, Leaf, |reason| {
        matches!(
            reason,
            Reason::SignatureRefused(X509Error::SignatureInvalid { .. })
        )
    });
    // Certificates of other names do not make the issuer known.
    for intermediates in [&[][..], &[&root[..]]] {
        let report = search(&leaf, intermediates, &[&root], &RULES);
        assert_refused(
            &report,
            Leaf,
            |reason| matches!(reason, Reason::IssuerUnknown { issuer } if issuer == "CN=Sub"),
        );
    }
    // Certificates that cannot be parsed do not disturb the search.
    let report = search(&leaf, &[b"broken", &impostor, &ca], &[&root], &RULES);
    assert_path(&report, &[Leaf, Intermediate(2), Anchor(0)]);
    let pool = [&b"broken"[..], &ca];
    assert_eq!(CertificatePool::new(&pool).unreadable()[0].0, 0);
    assert_eq!(TrustAnchors::new(&pool).unreadable()[0].0, 0);
}

#[test]
fn of_several_issuers_of_one_name_the_one_that_leads_to_an_anchor_is_taken() {
    let (root, sub) = (Authority::new("Root"), Authority::new("Sub"));
    let (other_root, renewed) = (Authority::new("Other Root"), sub.with_new_key());
    let old = sub.certified_by(&root, expired);
    let constrained = sub.certified_by(&root, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.com".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let elsewhere = sub.certified_by(&other_root, |_| {});
    let other_key = renewed.certified_by(&root, |_| {});
    let good = sub.certified_by(&root, |_| {});
    let leaf = sub.leaf("Leaf", |_| {});
    let report = search(
        &leaf,
        &[&old, &constrained, &elsewhere, &other_key, &good],
        &[&root.root()],
        &RULES,
    );
    assert_path(&report, &[Leaf, Intermediate(4), Anchor(0)]);
    // Without it, the chain that came furthest is reported: it reached the anchor and failed on the way down.
    let report = search(
        &leaf,
        &[&old, &constrained, &elsewhere, &other_key],
        &[&root.root()],
        &RULES,
    );
    assert_refused(
        &report,
        Leaf,
        |reason| matches!(reason, Reason::NameNotPermitted { name } if name == "host.example.com"),
    );
    assert_eq!(report.chain()[1].place, Intermediate(1), "{report}");
}

#[test]
fn of_walks_that_come_equally_far_the_first_is_told() {
    let (root, sub) = (Authority::new("Root"), Authority::new("Sub"));
    let old = sub.certified_by(&root, expired);
    let early = sub.certified_by(&root, not_yet_valid);
    let leaf = sub.leaf("Leaf", |_| {});
    let anchor = root.root();
    let report = search(&leaf, &[&old, &early], &[&anchor], &RULES);
    assert_refused(&report, Intermediate(0), |reason| {
        matches!(reason, Reason::Expired { .. })
    });
    let report = search(&leaf, &[&early, &old], &[&anchor], &RULES);
    assert_refused(&report, Intermediate(0), |reason| {
        matches!(reason, Reason::NotYetValid { .. })
    });
}

#[test]
fn cross_signed_and_looping_sets_are_walked_once_around() {
    let [a, b, c] = ["A", "B", "C"].map(Authority::new);
    let root = Authority::new("Root");
    let loops = [
        a.certified_by(&b, |_| {}),
        b.certified_by(&c, |_| {}),
        c.certified_by(&a, |_| {}),
        a.certified_by(&a, |_| {}),
    ];
    let loops: Vec<&[u8]> = loops.iter().map(Vec::as_slice).collect();
    let leaf = a.leaf("Leaf", |_| {});
    let report = search(&leaf, &loops, &[&root.root()], &RULES);
    let refusal = report.refusal().unwrap();
    let is_circle = matches!(refusal.reason, Reason::IssuerLoop { .. });
    assert!(is_circle && report.signatures_checked() <= 6, "{report}");
    // A single way out of the loop is found.
    let way_out = c.certified_by(&root, |_| {});
    let all = [&loops[..], &[&way_out]].concat();
    let report = search(&leaf, &all, &[&root.root()], &RULES);
    assert_path(
        &report,
        &[
            Leaf,
            Intermediate(0),
            Intermediate(1),
            Intermediate(4),
            Anchor(0),
        ],
    );
}

#[test]
fn no_set_of_intermediates_costs_more_than_the_budget() {
    let root = Authority::new("Root").root();
    // Each CA certifies each other one: more paths than can be tried.
    let all: Vec<_> = (0..7)
        .map(|number| Authority::new(&format!("CA {number}")))
        .collect();
    let mut mesh = Vec::new();
    for subject in &all {
        for issuer in all.iter().filter(|issuer| issuer.name != subject.name) {
            mesh.push(subject.certified_by(issuer, |_| {}));
        }
    }
    // Many CAs with one name, none of which signed the leaf.
    let namesakes: Vec<_> = (0..100)
        .map(|_| all[0].with_new_key())
        .map(|authority| authority.certified_by(&authority, |_| {}))
        .collect();
    let leaf = all[0].leaf("Leaf", |params| {
        // No key identifier to distinguish them.
        params.use_authority_key_identifier_extension = false;
    });
    for set in [&mesh, &namesakes] {
        let set: Vec<&[u8]> = set.iter().map(Vec::as_slice).collect();
        let report = search(&leaf, &set, &[&root], &RULES);
        let refusal = report.refusal().unwrap();
        assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
        assert!(report.signatures_checked() <= MAX_SIGNATURE_CHECKS);
    }
    // A key identifier selects the right one at once.
    let good = all[0].certified_by(&all[1], |_| {});
    let anchor = all[1].root();
    let set: Vec<&[u8]> = namesakes.iter().chain([&good]).map(Vec::as_slice).collect();
    let leaf = all[0].sign(
        &{
            let mut params = CertificateParams::default();
            params.distinguished_name = named("Leaf");
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[2, 5, 29, 35],
                key_identifier_of(set[100]),
            )];
            params
        },
        &rcgen::KeyPair::generate().unwrap(),
    );
    let report = search(&leaf, &set, &[&anchor], &RULES);
    assert_path(&report, &[Leaf, Intermediate(100), Anchor(0)]);
    assert_eq!(report.signatures_checked(), 2);
}

/// Two certificates of each CA of a long chain result in thousands of chains, but few signatures.
#[test]
fn no_number_of_walks_costs_more_than_the_budget() {
    let all: Vec<_> = (0..MAX_PATH_LEN)
        .map(|number| Authority::new(&format!("CA {number}")))
        .collect();
    let twice: Vec<_> = all
        .windows(2)
        .flat_map(|pair| [(); 2].map(|()| pair[0].certified_by(&pair[1], |_| {})))
        .collect();
    let set: Vec<&[u8]> = twice.iter().map(Vec::as_slice).collect();
    let leaf = all[0].leaf("Leaf", |_| {});
    let report = search(&leaf, &set, &[&Authority::new("Root").root()], &RULES);
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
    assert!(
        report.signatures_checked() < MAX_SIGNATURE_CHECKS,
        "{report}"
    );
}

/// Returns an AuthorityKeyIdentifier with the subjectKeyIdentifier of a certificate.
fn key_identifier_of(certificate: &[u8]) -> Vec<u8> {
    let certificate = Certificate::from_der(certificate).unwrap();
    let extensions = certificate.extensions();
    let own = extensions
        .iter()
        .find(|extension| extension.id.to_string() == "2.5.29.14")
        .unwrap();
    let [0x04, length, identifier @ ..] = own.value else {
        panic!("{own:?}")
    };
    [&[0x30, length + 2, 0x80, *length][..], identifier].concat()
}

#[test]
fn a_path_has_at_most_so_many_certificates() {
    let all: Vec<_> = (0..=MAX_PATH_LEN + 1)
        .map(|number| Authority::new(&format!("CA {number}")))
        .collect();
    let certificates: Vec<_> = all
        .windows(2)
        .map(|pair| pair[0].certified_by(&pair[1], |_| {}))
        .collect();
    let set: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let leaf = all[0].leaf("Leaf", |_| {});
    let anchor = |number: usize| all[number].root();
    let longest = search(&leaf, &set, &[&anchor(MAX_PATH_LEN - 1)], &RULES);
    assert!(longest.accepted(), "{longest}");
    let longer = search(&leaf, &set, &[&anchor(MAX_PATH_LEN)], &RULES);
    let refusal = longer.refusal().unwrap();
    assert!(matches!(refusal.reason, Reason::TooLong { .. }), "{longer}");
}

#[test]
fn path_lengths_count_intermediates_that_are_not_self_issued() {
    let (root, sub) = (Authority::new("Root"), Authority::new("Sub"));
    let leaf = sub.leaf("Leaf", |_| {});
    let ca = sub.certified_by(&root, |_| {});
    for (limit, accepted) in [(0, false), (1, true)] {
        let anchor = root.certified_by(&root, path_len(limit));
        let report = search(&leaf, &[&ca], &[&anchor], &RULES);
        assert_eq!(report.accepted(), accepted, "{report}");
        if !accepted {
            assert_refused(&report, Anchor(0), |reason| {
                *reason == Reason::PathLength { limit: 0, found: 1 }
            });
        }
    }
    // The root's new key, certified by its old one, does not count towards the path length.
    let renewed = root.with_new_key();
    let rollover = renewed.certified_by(&root, |_| {});
    let leaf = renewed.leaf("Leaf", |_| {});
    let anchor = root.certified_by(&root, path_len(0));
    let report = search(&leaf, &[&rollover], &[&anchor], &RULES);
    assert_path(&report, &[Leaf, Intermediate(0), Anchor(0)]);
}

#[test]
fn names_are_constrained_by_every_certificate_above() {
    let constrained = |subtree: GeneralSubtree, is_permitted: bool| {
        let (one, none) = (vec![subtree], Vec::new());
        let (permitted_subtrees, excluded_subtrees) = if is_permitted {
            (one, none)
        } else {
            (none, one)
        };
        let constraints = NameConstraints {
            permitted_subtrees,
            excluded_subtrees,
        };
        move |params: &mut CertificateParams| params.name_constraints = Some(constraints)
    };
    let host = |name: &str| GeneralSubtree::DnsName(name.into());
    let mail = |name: &str| GeneralSubtree::Rfc822Name(name.into());
    let range = |octets| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(octets, 24));
    let with_names = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![
            dns("host.example.com"),
            SanType::Rfc822Name("user@example.com".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 7].into()),
        ];
    };
    let good = [
        host("example.com"),
        mail("example.com"),
        range([192, 0, 2, 0]),
    ];
    let bad = [
        host("example.net"),
        mail("example.net"),
        range([192, 0, 3, 0]),
    ];
    for (good, bad) in good.into_iter().zip(bad) {
        for at_anchor in [false, true] {
            for (subtree, is_permitted, accepted) in [
                (good.clone(), true, true),
                (bad.clone(), true, false),
                (good.clone(), false, false),
                (bad.clone(), false, true),
            ] {
                let change = constrained(subtree, is_permitted);
                let made = if at_anchor {
                    chain(change, unchanged, with_names)
                } else {
                    chain(unchanged, change, with_names)
                };
                let report = judge(&made, &RULES);
                assert_eq!(report.accepted(), accepted, "{report}");
                if !accepted {
                    assert_refused(&report, Leaf, |reason| {
                        if is_permitted {
                            matches!(reason, Reason::NameNotPermitted { .. })
                        } else {
                            matches!(reason, Reason::NameExcluded { .. })
                        }
                    });
                }
            }
        }
    }
    // The subject is a constrained name too, both of a CA and of the leaf.
    let made = chain(
        constrained(GeneralSubtree::DirectoryName(named("Somebody")), true),
        unchanged,
        unchanged,
    );
    assert_refused(
        &judge(&made, &RULES),
        Intermediate(0),
        |reason| matches!(reason, Reason::NameNotPermitted { name } if name == "CN=Sub"),
    );
}

/// RFC 9598: constraints on rfc822Name also apply to SmtpUTF8Mailbox.
#[test]
fn constraints_of_mailboxes_reach_those_beyond_ascii() {
    let constrained = |permitted: &[&str], excluded: &[&str]| {
        let subtrees = |hosts: &[&str]| -> Vec<GeneralSubtree> {
            let mail = |host: &&str| GeneralSubtree::Rfc822Name((*host).to_owned());
            hosts.iter().map(mail).collect()
        };
        let constraints = NameConstraints {
            permitted_subtrees: subtrees(permitted),
            excluded_subtrees: subtrees(excluded),
        };
        move |params: &mut CertificateParams| params.name_constraints = Some(constraints)
    };
    let named = |id: &[u64], text: &str| {
        let name = SanType::OtherName((id.to_vec(), text.into()));
        move |params: &mut CertificateParams| params.subject_alt_names = vec![name]
    };
    let mailbox = [1, 3, 6, 1, 5, 5, 7, 8, 9];
    for (text, accepted) in [
        ("ä@example.com", true),
        ("ä@evil.example", false),
        ("ä", false),
    ] {
        let excludes = constrained(&[], &["evil.example"]);
        let made = chain(excludes, unchanged, named(&mailbox, text));
        let report = judge(&made, &RULES);
        assert_eq!(report.accepted(), accepted, "{report}");
        if !accepted {
            assert_refused(
                &report,
                Leaf,
                |reason| matches!(reason, Reason::NameExcluded { name } if name == text),
            );
        }
        let permits = constrained(&["example.com"], &[]);
        let report = judge(&chain(permits, unchanged, named(&mailbox, text)), &RULES);
        assert_eq!(report.accepted(), accepted, "{report}");
    }
    // A mailbox that is not text is rejected; an otherName of another kind is not a mailbox.
    for (id, value, accepted) in [(9, &[0x04, 0x01, b'a'][..], false), (8, &[5, 0], true)] {
        let id = wrap(6, &[0x2B, 6, 1, 5, 5, 7, 8, id]);
        let name = wrap(0xA0, &[id, wrap(0xA0, value)].concat());
        let name = |params: &mut CertificateParams| {
            let names = wrap(0x30, &name);
            let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
            params.subject_alt_names.clear();
            params.custom_extensions = vec![names];
        };
        let excludes = constrained(&[], &["evil.example"]);
        let report = judge(&chain(excludes, unchanged, name), &RULES);
        assert_eq!(report.accepted(), accepted, "{report}");
        assert!(judge(&chain(unchanged, unchanged, name), &RULES).accepted());
    }
}

/// A name of each unsupported form; the otherName is { 1.2.3.4, NULL }.
const UNCOMPARED: [(&str, &[u8]); 4] = [
    (
        "otherName",
        &[
            0xA0, 0x09, 0x06, 0x03, 0x2A, 0x03, 0x04, 0xA0, 0x02, 0x05, 0x00,
        ],
    ),
    ("x400Address", &[0xA3, 0x02, 0x30, 0x00]),
    ("ediPartyName", &[0xA5, 0x04, 0xA1, 0x02, 0x0C, 0x00]),
    ("registeredID", &[0x88, 0x02, 0x2A, 0x03]),
];

fn wrap(tag: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, u8::try_from(inner.len()).unwrap()];
    out.extend(inner);
    out
}

#[test]
fn a_constraint_that_cannot_be_compared_refuses_if_it_is_critical() {
    let (form, other) = UNCOMPARED[0];
    // An SmtpUTF8Mailbox is an otherName too.
    let kind = wrap(6, &[0x2B, 6, 1, 5, 5, 7, 8, 9]);
    let text = wrap(0xA0, &wrap(0x0C, "ä@example.com".as_bytes()));
    let mailbox = wrap(0xA0, &[kind, text].concat());
    let alike = UNCOMPARED.map(|(form, name)| (form, name, name));
    let unlike = [(form, other, &mailbox[..]), (form, &mailbox, other)];
    for (form, base, name) in alike.into_iter().chain(unlike) {
        let constraints = wrap(0x30, &wrap(0xA1, &wrap(0x30, base)));
        let constrains = |critical: bool| {
            let constraints = constraints.clone();
            move |params: &mut CertificateParams| {
                let mut extension =
                    CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints.clone());
                extension.set_criticality(critical);
                params.custom_extensions = vec![extension];
            }
        };
        let named_so = |params: &mut CertificateParams| {
            params.subject_alt_names = Vec::new();
            let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], wrap(0x30, name));
            params.custom_extensions = vec![names];
        };
        let report = judge(&chain(unchanged, constrains(true), named_so), &RULES);
        assert_refused(
            &report,
            Leaf,
            |reason| matches!(reason, Reason::NameFormUnsupported { form: found } if *found == form),
        );
        let told = report.to_string();
        assert!(
            told.contains(&format!("a name of the form {form}, which")),
            "{told}"
        );
        for made in [
            chain(unchanged, constrains(true), unchanged),
            chain(unchanged, constrains(false), named_so),
        ] {
            let report = judge(&made, &RULES);
            assert!(report.accepted(), "{report}");
        }
    }
}

/// RFC 5280 section 4.2.1.10: a constraint on URIs, permitted or excluded, rejects a URI without a host name.
#[test]
fn a_uri_without_a_host_is_refused_where_uris_are_constrained() {
    let side = |tag: u8| {
        move |params: &mut CertificateParams| {
            let subtree = wrap(0x30, &wrap(0x86, b"example.com"));
            let constraints = wrap(0x30, &wrap(tag, &subtree));
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
            params.custom_extensions = vec![extension];
        }
    };
    let (permitted, excluded) = (0xA0, 0xA1);
    for (uri, tag, is_taken) in [
        ("https://example.com/", permitted, true),
        ("https://example.org/", excluded, true),
        ("https://example.com/", excluded, false),
        ("https://192.0.2.1/", permitted, false),
        ("https://192.0.2.1/", excluded, false),
        ("urn:example:1", permitted, false),
        ("urn:example:1", excluded, false),
    ] {
        let named_so = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        };
        let report = judge(&chain(unchanged, side(tag), named_so), &RULES);
        if is_taken {
            assert!(report.accepted(), "{report}");
            continue;
        }
        assert_refused(&report, Leaf, |reason| match tag {
            0xA0 => matches!(reason, Reason::NameNotPermitted { .. }),
            _ => matches!(reason, Reason::NameExcluded { .. }),
        });
    }
}

/// Unreadable constraints of an anchor must not be ignored.
#[test]
fn constraints_of_an_anchor_that_cannot_be_read_refuse() {
    let constrains = |params: &mut CertificateParams| {
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![0x30, 1, 0]);
        params.custom_extensions = vec![extension];
    };
    let report = judge(&chain(constrains, unchanged, unchanged), &RULES);
    assert_refused(&report, Anchor(0), |reason| {
        matches!(reason, Reason::ExtensionMalformed(_))
    });
}

#[test]
fn a_purpose_is_asked_of_the_leaf_and_of_the_cas_that_name_any() {
    let for_purpose = |is_required| {
        let ek = ObjectIdentifier::new_unwrap("2.23.133.8.1");
        let mut rules = RULES;
        rules.purpose = Some(if is_required {
            Purpose::required(ek)
        } else {
            Purpose::required_if_present(ek)
        });
        rules
    };
    let for_ek = |params: &mut CertificateParams| {
        let ek = ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1]);
        params.extended_key_usages = vec![ek];
    };
    let for_any = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    };
    let for_tls = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, Change, bool, Option<CertificateSource>); 7] = [
        (unchanged, for_ek, true, None),
        (for_ek, for_ek, true, None),
        (for_any, for_ek, true, None),
        (for_tls, for_ek, true, Some(Intermediate(0))),
        (unchanged, for_tls, false, Some(Leaf)),
        (unchanged, unchanged, true, Some(Leaf)),
        (unchanged, unchanged, false, None),
    ];
    for (ca, leaf, is_required, refused) in cases {
        let rules = for_purpose(is_required);
        let report = judge(&chain(unchanged, ca, leaf), &rules);
        match refused {
            None => assert!(report.accepted(), "{report}"),
            Some(place) => {
                assert_refused(&report, place, |reason| *reason == Reason::ExtendedKeyUsage)
            }
        }
        assert!(judge(&chain(unchanged, ca, leaf), &RULES).accepted());
    }
    // An anchor is trusted for any purpose, whatever its extended key usage.
    let report = judge(&chain(for_tls, unchanged, for_ek), &for_purpose(true));
    assert!(report.accepted(), "{report}");
}

#[test]
fn the_purposes_of_tls_are_those_that_its_certificates_name() {
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, bool, bool); 3] = [
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            true,
            false,
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            false,
            true,
        ),
        (unchanged, false, false),
    ];
    for (leaf, is_clients, is_servers) in cases {
        let certificates = chain(unchanged, unchanged, leaf);
        for (purpose, is_taken) in [
            (Purpose::CLIENT_AUTH, is_clients),
            (Purpose::SERVER_AUTH, is_servers),
        ] {
            let mut rules = RULES;
            rules.purpose = Some(purpose);
            let report = judge(&certificates, &rules);
            assert_eq!(report.accepted(), is_taken, "{purpose:?}: {report}");
        }
    }
}

/// The validity period of each certificate includes both ends, and no clock skew is allowed for.
#[test]
fn each_certificate_is_valid_from_its_first_second_to_its_last() {
    let (first, last) = (1_799_971_200, 1_800_057_600);
    let of_a_day = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2027, 1, 15);
        params.not_after = date_time_ymd(2027, 1, 16);
    };
    for (made, place) in [
        (chain(of_a_day, unchanged, unchanged), Anchor(0)),
        (chain(unchanged, of_a_day, unchanged), Intermediate(0)),
        (chain(unchanged, unchanged, of_a_day), Leaf),
    ] {
        let at = |now| judge(&made, &PathOptions::new(algorithms::RING, now));
        assert!(at(first).accepted() && at(last).accepted());
        assert_refused(&at(first - 1), place, |reason| {
            matches!(reason, Reason::NotYetValid { .. })
        });
        assert_refused(&at(last + 1), place, |reason| {
            matches!(reason, Reason::Expired { .. })
        });
    }
}

/// Two long lists of names require more than half a million comparisons.
#[test]
fn no_lists_of_names_cost_more_than_the_budget() {
    let host = |number: usize| format!("h{number}.example.com");
    let excludes = |count: usize| {
        move |params: &mut CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: (0..count)
                    .map(|number| GeneralSubtree::DnsName(format!("x{number}.example.net")))
                    .collect(),
            });
        }
    };
    let has = |count: usize| {
        move |params: &mut CertificateParams| {
            params.subject_alt_names = (0..count).map(|number| dns(&host(number))).collect();
        }
    };
    let report = judge(&chain(unchanged, excludes(500), has(900)), &RULES);
    assert!(report.accepted(), "{report}");
    let report = judge(&chain(unchanged, excludes(600), has(900)), &RULES);
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
    // Names of another form are compared with each subtree as well.
    let has_mail = |params: &mut CertificateParams| {
        params.subject_alt_names = (0..900)
            .map(|number| format!("u{number}@example.com"))
            .map(|name| SanType::Rfc822Name(name.as_str().try_into().unwrap()))
            .collect();
    };
    let report = judge(&chain(unchanged, excludes(500), has_mail), &RULES);
    assert!(report.accepted(), "{report}");
    let report = judge(&chain(unchanged, excludes(600), has_mail), &RULES);
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
    // After the budget is spent, no other path is tried, however cheap.
    let (top, sub) = (Authority::new("Root"), Authority::new("Sub"));
    let (costly, cheap) = (
        sub.certified_by(&top, excludes(600)),
        sub.certified_by(&top, |_| {}),
    );
    let leaf = sub.leaf("Leaf", has(900));
    let root = top.root();
    let report = search(&leaf, &[&costly, &cheap], &[&root], &RULES);
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
    let report = search(&leaf, &[&cheap, &costly], &[&root], &RULES);
    assert!(report.accepted(), "{report}");
}

/// A CA with two hundred policies, each mapped to itself, requires some hundred thousand comparisons.
#[test]
fn no_lists_of_policies_cost_more_than_the_budget() {
    let long = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    };
    let oids: Vec<Vec<u8>> = (0..200_u8)
        .map(|number| vec![6, 3, 0x2A, 1 + number / 100, number % 100])
        .collect();
    let policies: Vec<u8> = oids.iter().flat_map(|oid| wrap(0x30, oid)).collect();
    let mappings: Vec<u8> = oids
        .iter()
        .flat_map(|oid| wrap(0x30, &oid.repeat(2)))
        .collect();
    let under_all = |params: &mut CertificateParams| {
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[2, 5, 29, 32], long(0x30, &policies)),
            CustomExtension::from_oid_content(&[2, 5, 29, 33], long(0x30, &mappings)),
        ];
    };
    let all: Vec<_> = (0..6)
        .map(|number| Authority::new(&format!("CA {number}")))
        .collect();
    let certificates: Vec<_> = all
        .windows(2)
        .map(|pair| pair[0].certified_by(&pair[1], under_all))
        .collect();
    let set: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let leaf = all[0].leaf("Leaf", |_| {});
    for (cas, is_taken) in [(2, true), (5, false)] {
        let report = search(&leaf, &set, &[&all[cas].root()], &RULES);
        assert_eq!(report.accepted(), is_taken, "{report}");
        if let Some(refusal) = report.refusal() {
            assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
        }
    }
}

#[test]
fn a_pool_is_filled_from_whatever_has_certificates() {
    let [root, ca, leaf] = chain(unchanged, unchanged, unchanged);
    let mut intermediates: CertificatePool<'_> = [&b"broken"[..]].into_iter().collect();
    intermediates.extend([&ca[..], b"broken too"]);
    let unreadable: Vec<_> = intermediates
        .unreadable()
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(unreadable, [0, 2]);
    let leaf = Certificate::from_der(&leaf).unwrap();
    let report = find(&leaf, &intermediates, &TrustAnchors::new(&[&root]), &RULES);
    assert_path(&report, &[Leaf, Intermediate(1), Anchor(0)]);
    let nothing = find(
        &leaf,
        &CertificatePool::default(),
        &TrustAnchors::new(&[&root]),
        &RULES,
    );
    assert!(!nothing.accepted());
}

/// Each input of RFC 5280 section 6.1.1 has its own effect and no other.
#[test]
fn each_switch_of_policies_is_its_own() {
    let extension =
        |id: &[u64], content: &[u8]| CustomExtension::from_oid_content(id, content.to_vec());
    let any = || {
        extension(
            &[2, 5, 29, 32],
            &[0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1D, 0x20, 0],
        )
    };
    let one = || extension(&[2, 5, 29, 32], &[0x30, 6, 0x30, 4, 6, 2, 0x2A, 1]);
    let other = || extension(&[2, 5, 29, 32], &[0x30, 6, 0x30, 4, 6, 2, 0x2A, 2]);
    // Maps the issuer's 1.2.1 to the subject's 1.2.2.
    let mapping = || {
        extension(
            &[2, 5, 29, 33],
            &[0x30, 10, 0x30, 8, 6, 2, 0x2A, 1, 6, 2, 0x2A, 2],
        )
    };
    let with = |extensions: Vec<CustomExtension>| {
        move |params: &mut CertificateParams| params.custom_extensions = extensions
    };
    let none = chain(unchanged, unchanged, unchanged);
    let mapped = chain(unchanged, with(vec![one(), mapping()]), with(vec![other()]));
    let under_any = chain(unchanged, with(vec![any()]), with(vec![one()]));
    for ([required, without_mapping, without_any], [with_none, with_mapped, with_any]) in [
        ([false, false, false], [true, true, true]),
        ([true, false, false], [false, true, true]),
        // If no policy is required, neither rejects.
        ([false, true, false], [true, true, true]),
        ([false, false, true], [true, true, true]),
        ([true, true, false], [false, false, true]),
        ([true, false, true], [false, true, false]),
    ] {
        let mut rules = RULES;
        rules.require_explicit_policy = required;
        rules.inhibit_policy_mapping = without_mapping;
        rules.inhibit_any_policy = without_any;
        assert_eq!(judge(&none, &rules).accepted(), with_none, "{rules:?}");
        assert_eq!(judge(&mapped, &rules).accepted(), with_mapped, "{rules:?}");
        assert_eq!(judge(&under_any, &rules).accepted(), with_any, "{rules:?}");
    }
}

/// RFC 5280 sections 4.2.1.11 and 4.2.1.14: a constraint takes effect after so many certificates. Self-issued ones do not count.
#[test]
fn constraints_on_policies_wait_for_so_many_certificates_that_are_not_self_issued() {
    let extension =
        |id: &[u64], content: &[u8]| CustomExtension::from_oid_content(id, content.to_vec());
    let (one, other) = ([6, 2, 0x2A, 1], [6, 2, 0x2A, 2]);
    let under = |policy: &[u8]| extension(&[2, 5, 29, 32], &wrap(0x30, &wrap(0x30, policy)));
    let under_one = || under(&one);
    let under_any = || under(&[6, 4, 0x55, 0x1D, 0x20, 0]);
    let mapping = || {
        let pair = wrap(0x30, &[one, other].concat());
        extension(&[2, 5, 29, 33], &wrap(0x30, &pair))
    };
    let (explicit, no_mapping) = (0x80, 0x81);
    let constraint = |tag: u8, count: u8| extension(&[2, 5, 29, 36], &wrap(0x30, &[tag, 1, count]));
    let no_any = |count: u8| extension(&[2, 5, 29, 54], &[2, 1, count]);
    let with = |extensions: Vec<CustomExtension>| {
        move |params: &mut CertificateParams| params.custom_extensions = extensions
    };
    let mut required = RULES;
    required.require_explicit_policy = true;
    let [root, sub, middle, lower] = ["Root", "Sub", "Middle", "Lower"].map(Authority::new);
    let (renewed, anchor) = (sub.with_new_key(), root.root());
    // From the CA with the constraint over the one between, if any, and the lowest CA to the leaf.
    let accepts =
        |rules: &PathOptions<'_>,
         between: Option<&Authority>,
         [of_sub, of_between, of_lower, of_leaf]: [Vec<CustomExtension>; 4]| {
            let ca = sub.certified_by(&root, with(of_sub));
            let bridge = between.map(|authority| authority.certified_by(&sub, with(of_between)));
            let end = lower.certified_by(between.unwrap_or(&sub), with(of_lower));
            let leaf = lower.leaf("Leaf", with(of_leaf));
            let mut set = vec![ca.as_slice(), &end];
            set.extend(bridge.as_deref());
            search(&leaf, &set, &[&anchor], rules).accepted()
        };
    for (between, counted) in [(None, 0), (Some(&renewed), 0), (Some(&middle), 1)] {
        for count in 0..5 {
            let name = between.map(|authority| &authority.name);
            // The lowest CA and the leaf count. Nothing is under a policy.
            let made = [vec![constraint(explicit, count)], vec![], vec![], vec![]];
            let is_accepted = accepts(&RULES, between, made);
            assert_eq!(is_accepted, count >= counted + 3, "{count} {name:?}");
            // The lowest CA maps.
            let made = [
                vec![under_one(), constraint(no_mapping, count)],
                vec![under_one()],
                vec![under_one(), mapping()],
                vec![under(&other)],
            ];
            let is_accepted = accepts(&required, between, made);
            assert_eq!(is_accepted, count > counted, "{count} {name:?}");
            // The lowest CA is under any policy.
            let made = [
                vec![under_one(), no_any(count)],
                vec![under_any()],
                vec![under_any()],
                vec![under_one()],
            ];
            let is_accepted = accepts(&required, between, made);
            assert_eq!(is_accepted, count > counted, "{count} {name:?}");
        }
    }
    // The anyPolicy of a self-issued CA counts even where it is inhibited.
    for (between, is_accepted) in [(&renewed, true), (&middle, false)] {
        let made = [
            vec![under_one(), no_any(0)],
            vec![under_any()],
            vec![under_one()],
            vec![under_one()],
        ];
        assert_eq!(accepts(&required, Some(between), made), is_accepted);
    }
    // That of a self-issued leaf does not.
    for (count, is_accepted) in [(1, false), (2, true)] {
        let ca = sub.certified_by(&root, with(vec![under_one(), no_any(count)]));
        let end = lower.certified_by(&sub, with(vec![under_one()]));
        let leaf = lower.leaf("Lower", with(vec![under_any()]));
        let report = search(&leaf, &[&ca, &end], &[&anchor], &required);
        assert_eq!(report.accepted(), is_accepted, "{report}");
    }
    // A leaf requires a policy of itself at once or not at all.
    for (count, is_accepted) in [(0, false), (1, true)] {
        let made = [vec![], vec![], vec![], vec![constraint(explicit, count)]];
        assert_eq!(accepts(&RULES, None, made), is_accepted);
    }
    // A constraint below cannot lift the one above.
    let made = [
        vec![constraint(explicit, 1)],
        vec![],
        vec![constraint(explicit, 9)],
        vec![],
    ];
    assert!(!accepts(&RULES, None, made));
}

#[test]
fn unknown_critical_extensions_are_refused_unless_the_caller_processes_them() {
    let strange = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    };
    let is_it = |reason: &Reason| matches!(reason, Reason::CriticalExtensionUnknown { oid } if oid == "1.2.3.4");
    let known = [ObjectIdentifier::new_unwrap("1.2.3.4")];
    for (made, place) in [
        (chain(strange, unchanged, unchanged), Anchor(0)),
        (chain(unchanged, strange, unchanged), Intermediate(0)),
        (chain(unchanged, unchanged, strange), Leaf),
    ] {
        assert_refused(&judge(&made, &RULES), place, is_it);
        let mut rules = RULES;
        rules.processed_extensions = &known;
        assert!(judge(&made, &rules).accepted());
    }
}

#[test]
fn malformed_extensions_are_refused_where_they_stand() {
    for (id, content) in [
        (&[2, 5, 29, 32][..], &[0x30, 0x00][..]),
        (&[2, 5, 29, 33], &[0x30, 0x00]),
        (&[2, 5, 29, 36], &[0x30, 0x00]),
        (&[2, 5, 29, 54], &[0x02, 0x01, 0xFF]),
        (&[2, 5, 29, 30], &[0x05, 0x00]),
        // A minimum of one.
        (
            &[2, 5, 29, 30],
            &[
                0x30, 0x0A, 0xA0, 0x08, 0x30, 0x06, 0x82, 0x01, 0x61, 0x80, 0x01, 0x01,
            ],
        ),
        // The same policy twice.
        (
            &[2, 5, 29, 32],
            &[
                0x30, 0x0C, 0x30, 0x04, 0x06, 0x02, 0x2A, 0x03, 0x30, 0x04, 0x06, 0x02, 0x2A, 0x03,
            ],
        ),
    ] {
        let broken = |params: &mut CertificateParams| {
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(id, content.to_vec())];
        };
        let report = judge(&chain(unchanged, broken, unchanged), &RULES);
        assert_refused(&report, Intermediate(0), |reason| {
            matches!(reason, Reason::ExtensionMalformed(_))
        });
    }
}
