//! Compares path search with `openssl verify` over random, mostly broken sets of certificates.
//!
//! OpenSSL builds only one chain where the search tries all. So there are two requirements: what OpenSSL verifies with a whole set
//! is accepted here, and OpenSSL verifies what is accepted here if it gets only the certificates of that chain.
#![cfg(feature = "ring")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a peer that does not answer fails the test"
)]

mod hierarchy;

use std::{fs, path::Path, process::Command};

use fastrand::Rng;
use keyproof_x509::{
    ObjectIdentifier, algorithms,
    path::{CertificateSource, PathOptions, Reason},
};
use rcgen::{
    CertificateParams, CustomExtension, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
};

use hierarchy::*;

const SETS: u64 = 250;

/// Created once for all sets, because generating keys is slow.
struct World {
    roots: Vec<Authority>,
    cas: Vec<Authority>,
}

impl World {
    fn new() -> Self {
        // Two CAs with one name, so that the name alone does not identify the issuer.
        let cas = ["A", "B", "C", "C", "D"];
        Self {
            roots: ["Root 1", "Root 2"].map(Authority::new).to_vec(),
            cas: cas.map(Authority::new).to_vec(),
        }
    }
}

/// A set of certificates, with the options to validate it.
struct Set {
    leaf: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
    anchors: Vec<Vec<u8>>,
    policies: Option<Vec<ObjectIdentifier>>,
    switches: [bool; 3],
}

const POLICIES: [&[u64]; 3] = [&[1, 2, 1], &[1, 2, 2], &[2, 5, 29, 32, 0]];

/// DER of the policies' OIDs.
const OIDS: [&[u8]; 3] = [
    &[0x06, 0x02, 0x2A, 0x01],
    &[0x06, 0x02, 0x2A, 0x02],
    &[0x06, 0x04, 0x55, 0x1D, 0x20, 0x00],
];

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    let inner = parts.concat();
    [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
}

impl Set {
    fn draw(rng: &mut Rng, world: &World) -> Self {
        let has_policies = rng.bool();
        let ca = |rng: &mut Rng, subject: &Authority, issuer: &Authority| {
            let mut certificate = subject.certified_by(issuer, |params| {
                spoil(rng, params);
                if has_policies {
                    add_policies(rng, params, true);
                }
            });
            if rng.u8(..100) < 3 {
                let place = certificate.len() - 20;
                certificate[place] ^= 1;
            }
            certificate
        };
        let mut anchors = Vec::new();
        for root in &world.roots {
            anchors.push(ca(rng, root, root));
        }
        let mut intermediates = Vec::new();
        for _ in 0..rng.usize(4..10) {
            let subject = rng.choice(&world.cas).unwrap();
            let issuer = match rng.u8(..100) {
                0..45 => rng.choice(&world.roots),
                _ => rng.choice(&world.cas),
            };
            intermediates.push(ca(rng, subject, issuer.unwrap()));
        }
        // Occasionally an intermediate is an anchor.
        if rng.u8(..100) < 10 {
            anchors.push(intermediates.swap_remove(0));
        }
        let issuer = rng.choice(&world.cas).unwrap();
        let leaf = issuer.leaf("Leaf of many", |params| {
            if rng.u8(..100) < 5 {
                expired(params);
            }
            if has_policies {
                add_policies(rng, params, false);
            }
        });
        let policies = has_policies && rng.bool();
        let policies = policies.then(|| {
            let oid = POLICIES[rng.usize(..2)].iter().map(u64::to_string);
            let oid = oid.collect::<Vec<_>>().join(".");
            vec![ObjectIdentifier::new(&oid).unwrap()]
        });
        Self {
            leaf,
            intermediates,
            anchors,
            policies,
            switches: [(); 3].map(|()| has_policies && rng.u8(..100) < 20),
        }
    }
}

/// Breaks or constrains a CA certificate.
fn spoil(rng: &mut Rng, params: &mut CertificateParams) {
    match rng.u8(..100) {
        0..6 => expired(params),
        6..8 => not_yet_valid(params),
        _ => {}
    }
    match rng.u8(..100) {
        0..5 => params.is_ca = IsCa::ExplicitNoCa,
        5..25 => path_len(rng.u8(..3))(params),
        _ => {}
    }
    match rng.u8(..100) {
        0..5 => params.key_usages = vec![KeyUsagePurpose::CrlSign],
        5..15 => params.key_usages = Vec::new(),
        _ => {}
    }
    if rng.u8(..100) < 15 {
        let names = ["example.com", "host.example.com", "other.com", "com"];
        let name = *rng.choice(&names).unwrap();
        let subtrees = vec![GeneralSubtree::DnsName(name.into())];
        let mut constraints = NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: Vec::new(),
        };
        if rng.bool() {
            constraints.permitted_subtrees = subtrees;
        } else {
            constraints.excluded_subtrees = subtrees;
        }
        params.name_constraints = Some(constraints);
    }
    if rng.u8(..100) < 3 {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }
}

fn add_policies(rng: &mut Rng, params: &mut CertificateParams, is_ca: bool) {
    let mut add = |id: &[u64], critical: bool, content: Vec<u8>| {
        let mut extension = CustomExtension::from_oid_content(id, content);
        extension.set_criticality(critical);
        params.custom_extensions.push(extension);
    };
    let chosen: Vec<&[u8]> = OIDS.into_iter().filter(|_| rng.u8(..100) < 60).collect();
    if !chosen.is_empty() {
        let policies: Vec<_> = chosen.iter().map(|oid| sequence(&[oid.to_vec()])).collect();
        add(&[2, 5, 29, 32], rng.bool(), sequence(&policies));
    }
    if !is_ca {
        return;
    }
    // Maps one of the certificate's policies. Otherwise OpenSSL overlooks a mapping of anyPolicy, or one under an inhibited
    // anyPolicy (RFC 5280 sections 6.1.3 (d) and 6.1.4 (a)).
    if rng.u8(..100) < 30 && !chosen.is_empty() {
        let mut mapping = || {
            let issuer_domain = rng.choice(&chosen).unwrap().to_vec();
            let subject_domain = match rng.u8(..100) {
                0..3 => OIDS[2],
                3..50 => OIDS[0],
                _ => OIDS[1],
            };
            sequence(&[issuer_domain, subject_domain.to_vec()])
        };
        let (first, second) = (mapping(), mapping());
        let mappings = if first == second {
            vec![first]
        } else {
            vec![first, second]
        };
        add(&[2, 5, 29, 33], rng.bool(), sequence(&mappings));
    }
    if rng.u8(..100) < 20 {
        let tag = 0x80 + rng.u8(..2);
        let constraint = vec![tag, 0x01, rng.u8(..3)];
        add(&[2, 5, 29, 36], true, sequence(&[constraint]));
    }
    if rng.u8(..100) < 20 {
        add(&[2, 5, 29, 54], true, vec![0x02, 0x01, rng.u8(..3)]);
    }
}

/// Returns whether `openssl verify` accepts the leaf.
fn openssl_verifies(
    folder: &Path,
    set: &Set,
    intermediates: &[&[u8]],
    anchors: &[&[u8]],
) -> (bool, String) {
    let file = |name: &str, certificates: &[&[u8]]| {
        let path = folder.join(name);
        fs::write(&path, pem("CERTIFICATE", certificates)).unwrap();
        path
    };
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-partial_chain", "-no-CApath", "-no-CAstore"])
        .args(["-attime", &NOW.to_string()])
        .arg("-CAfile")
        .arg(file("anchors.pem", anchors));
    if !intermediates.is_empty() {
        let untrusted = file("untrusted.pem", intermediates);
        command.arg("-untrusted").arg(untrusted);
    }
    let [explicit, inhibit_policy_mapping, inhibit_any] = set.switches;
    match &set.policies {
        Some(policies) => policies.iter().for_each(|policy| {
            command.args(["-policy", &policy.to_string()]);
        }),
        // Without `-policy`, OpenSSL assumes no policy, not any.
        None => drop(command.args(["-policy", "2.5.29.32.0"])),
    }
    for (is_set, switch) in [
        (explicit, "-explicit_policy"),
        (inhibit_policy_mapping, "-inhibit_map"),
        (inhibit_any, "-inhibit_any"),
    ] {
        if is_set {
            command.arg(switch);
        }
    }
    let output = run_openssl(command.arg(file("leaf.pem", &[&set.leaf])));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), told)
}

#[test]
fn what_is_accepted_is_what_openssl_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let (mut accepted, mut more) = (0, 0);
    for seed in 0..SETS {
        let set = Set::draw(&mut Rng::with_seed(seed), &world);
        let [intermediates, anchors] = [&set.intermediates, &set.anchors]
            .map(|certificates| certificates.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let [explicit, inhibit_policy_mapping, inhibit_any] = set.switches;
        let mut options = PathOptions::new(algorithms::RING, NOW);
        options.require_explicit_policy = explicit;
        options.inhibit_policy_mapping = inhibit_policy_mapping;
        options.inhibit_any_policy = inhibit_any;
        options.policies = set.policies.as_deref();
        let report = search(&set.leaf, &intermediates, &anchors, &options);
        let reason = report.refusal().map(|refusal| &refusal.reason);
        assert_ne!(
            reason,
            Some(&Reason::BudgetExhausted),
            "seed {seed}: {report}"
        );
        let (whole, told) = openssl_verifies(folder.path(), &set, &intermediates, &anchors);
        assert!(
            report.accepted() || !whole,
            "seed {seed}: openssl verifies it\n{report}"
        );
        if !report.accepted() {
            continue;
        }
        accepted += 1;
        more += usize::from(!whole);
        let mut walked = (Vec::new(), Vec::new());
        for step in report.chain() {
            match step.place {
                CertificateSource::Anchor(index) => walked.1.push(anchors[index]),
                CertificateSource::Intermediate(index) => walked.0.push(intermediates[index]),
                CertificateSource::Leaf => {}
            }
        }
        let (alone, why) = openssl_verifies(folder.path(), &set, &walked.0, &walked.1);
        assert!(
            alone,
            "seed {seed}: {why}\n{report}\n(of the whole set: {told})"
        );
    }
    println!("{SETS} sets: {accepted} accepted, {more} of them where openssl found no chain");
    assert!(accepted > 20, "{accepted} of {SETS}");
}
