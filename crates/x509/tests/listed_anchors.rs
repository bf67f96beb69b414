//! Anchors listed together with certificates that they issued: which of them end paths, and what is required of the others.
#![cfg(feature = "ring")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod hierarchy;

use std::sync::atomic::{AtomicUsize, Ordering};

use keyproof_x509::{
    Outcome, SignatureVerificationAlgorithm, algorithms,
    path::{
        CertificateSource::{Anchor, Leaf},
        MAX_SIGNATURE_CHECKS, PathCheck, PathOptions, PathReport, Purpose, Reason,
    },
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature};

use hierarchy::*;

const OPTIONS: PathOptions<'static> = {
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.validate_anchors = true;
    options
};

impl Chain {
    /// The root's CRL, which revokes the CA.
    fn revoking(&self) -> Vec<u8> {
        self.top.revoke(&[&self.ca], |_| {})
    }
}

fn judge(leaf: &[u8], intermediates: &[&[u8]], anchors: &[&[u8]], lists: &[&[u8]]) -> PathReport {
    let crls = parsed(lists);
    let mut options = OPTIONS;
    options.crls = &crls;
    search(leaf, intermediates, anchors, &options)
}

fn is_revoked(reason: &Reason) -> bool {
    matches!(reason, Reason::Revoked { .. })
}

#[test]
fn an_anchor_that_another_has_issued_only_stands_between() {
    let chain = Chain::new();
    let Chain { root, ca, leaf, .. } = &chain;
    assert_path(
        &judge(leaf, &[], &[ca, root], &[]),
        &[Leaf, Anchor(0), Anchor(1)],
    );
    assert_path(
        &judge(leaf, &[], &[root, ca], &[]),
        &[Leaf, Anchor(1), Anchor(0)],
    );
    // Only the signatures of the path are verified.
    assert_eq!(judge(leaf, &[], &[root, ca], &[]).signatures_checked(), 2);
    // Without `validate_anchors`, each of them ends paths.
    let options = PathOptions::new(algorithms::RING, NOW);
    assert_path(
        &search(leaf, &[], &[root, ca], &options),
        &[Leaf, Anchor(1)],
    );

    let list = chain.revoking();
    let orders: [[&[u8]; 2]; 2] = [[ca, root], [root, ca]];
    for anchors in orders {
        let place = Anchor(usize::from(anchors[0] == root));
        assert_refused(&judge(leaf, &[], &anchors, &[&list]), place, is_revoked);
        let early = chain.top.revoke(&[], |_| {});
        let report = judge(leaf, &[], &anchors, &[&early]);
        assert!(report.accepted(), "{report}");
    }
    // It makes no difference that it is also an intermediate.
    let report = judge(leaf, &[root, ca], &[ca, root], &[&list]);
    assert!(!report.accepted(), "{report}");
    // An anchor further down does not end paths in its place.
    let lower = Authority::new("Lower");
    let lowest = lower.certified_by(&chain.sub, |_| {});
    let leaf = lower.leaf("Leaf", |_| {});
    let anchors: [&[u8]; 3] = [&lowest, ca, root];
    let path = [Leaf, Anchor(0), Anchor(1), Anchor(2)];
    assert_path(&judge(&leaf, &[], &anchors, &[]), &path);
    assert_refused(
        &judge(&leaf, &[], &anchors, &[&list]),
        Anchor(1),
        is_revoked,
    );
}

#[test]
fn an_anchor_whose_issuer_is_none_ends_paths_unless_its_issuer_has_revoked_it() {
    let chain = Chain::new();
    let Chain { root, ca, leaf, .. } = &chain;
    let list = chain.revoking();
    let alone = [Leaf, Anchor(0)];
    assert_path(&judge(leaf, &[], &[ca], &[]), &alone);
    assert_path(&judge(leaf, &[root], &[ca], &[]), &alone);
    // The CRL's issuer is unknown.
    assert_path(&judge(leaf, &[], &[ca], &[&list]), &alone);
    // Without `validate_anchors`, no anchor is checked.
    let crls = parsed(&[&list]);
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.crls = &crls;
    assert_path(&search(leaf, &[root], &[ca], &options), &alone);
    // An anchor whose issuer has no CRL is not checked either: only the leaf's signature and that of the CA's own CRL are verified.
    let of_ca = chain.sub.revoke(&[], |_| {});
    let report = judge(leaf, &[root], &[ca], &[&of_ca]);
    assert_path(&report, &alone);
    assert_eq!(report.checks().findings(PathCheck::Revocation).count(), 0);
    assert_eq!(report.signatures_checked(), 2, "{report}");
    assert_refused(
        &judge(leaf, &[root], &[ca], &[&list]),
        Anchor(0),
        is_revoked,
    );
    let early = chain.top.revoke(&[], |params| {
        params.this_update = date_time_ymd(2026, 1, 1);
        params.next_update = date_time_ymd(2026, 2, 1);
    });
    // The newest CRL counts, and a warning is reported.
    let report = judge(leaf, &[root], &[ca], &[&early, &list]);
    assert_refused(&report, Anchor(0), is_revoked);
    let report = judge(leaf, &[root, root], &[ca], &[&early]);
    assert_path(&report, &alone);
    let mut findings = report.checks().findings(PathCheck::Revocation);
    assert!(findings.any(|finding| matches!(finding.reason, Reason::CrlExpired { .. })));
    let stale = report.checks().findings(PathCheck::Revocation);
    let stale = stale.filter(|finding| finding.at == 1);
    assert_eq!(stale.count(), 1, "{report}");

    // The same applies to an expired root: it ends no path, but its revocations remain valid.
    let ended = chain.top.certified_by(&chain.top, |params| {
        crl_signer(params);
        expired(params);
    });
    assert_path(&judge(leaf, &[], &[&ended, ca], &[]), &[Leaf, Anchor(1)]);
    let report = judge(leaf, &[], &[&ended, ca], &[&list]);
    assert_refused(&report, Anchor(1), is_revoked);

    // A namesake of the issuer issued nothing and revokes nothing.
    let namesake = chain.top.with_new_key();
    let stranger = namesake.certified_by(&namesake, crl_signer);
    let of_stranger = namesake.revoke(&[ca], |_| {});
    for intermediates in [&[&stranger[..]][..], &[][..]] {
        let report = judge(leaf, intermediates, &[&stranger, ca], &[&of_stranger]);
        assert_path(&report, &[Leaf, Anchor(1)]);
        assert_eq!(
            report.checks().outcome(PathCheck::Revocation),
            Outcome::NotRequested
        );
    }
}

#[test]
fn a_root_ends_paths_whatever_it_says_of_itself() {
    let chain = Chain::new();
    let Chain { root, ca, leaf, .. } = &chain;
    let of_itself = chain.top.revoke(&[root], |_| {});
    let path = [Leaf, Anchor(1), Anchor(0)];
    assert_path(&judge(leaf, &[], &[root, ca], &[&of_itself]), &path);
    // The same name with a new key, certified by the old one, is not a root: it is below the old one.
    let renewed = chain.top.with_new_key();
    let bridge = renewed.certified_by(&chain.top, crl_signer);
    let sub = Authority::new("Sub");
    let (ca, leaf) = (sub.certified_by(&renewed, |_| {}), sub.leaf("Leaf", |_| {}));
    let path = [Leaf, Anchor(2), Anchor(1), Anchor(0)];
    let anchors: [&[u8]; 3] = [root, &bridge, &ca];
    assert_path(&judge(&leaf, &[], &anchors, &[]), &path);
    let list = chain.top.revoke(&[&bridge], |_| {});
    assert_refused(
        &judge(&leaf, &[], &anchors, &[&list]),
        Anchor(1),
        is_revoked,
    );
}

#[test]
fn of_an_anchor_between_as_much_is_asked_as_of_an_intermediate() {
    // The path length of its issuer.
    let Chain { root, ca, leaf, .. } = Chain::with(path_len(0), |_| {});
    assert_refused(
        &judge(&leaf, &[], &[&ca, &root], &[]),
        Anchor(1),
        |reason| matches!(reason, Reason::PathLength { limit: 0, found: 1 }),
    );
    // The extended key usage, which is not checked on an anchor that ends a path.
    let Chain { root, ca, leaf, .. } = Chain::with(
        |_| {},
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
    );
    let mut options = OPTIONS;
    options.purpose = Some(Purpose::required_if_present(Purpose::SERVER_AUTH.id()));
    assert_path(&search(&leaf, &[], &[&ca], &options), &[Leaf, Anchor(0)]);
    assert_refused(
        &search(&leaf, &[], &[&ca, &root], &options),
        Anchor(0),
        |reason| *reason == Reason::ExtendedKeyUsage,
    );
}

/// None of them is the highest. One of them ends the path, and both may be revoked.
#[test]
fn anchors_that_have_certified_each_other_end_paths() {
    let (one, other) = (Authority::new("One"), Authority::new("Other"));
    let by_other = one.certified_by(&other, crl_signer);
    let by_one = other.certified_by(&one, crl_signer);
    let leaf = one.leaf("Leaf", |_| {});
    let anchors: [&[u8]; 2] = [&by_other, &by_one];
    let path = [Leaf, Anchor(0), Anchor(1)];
    assert_path(&judge(&leaf, &[], &anchors, &[]), &path);
    let list = other.revoke(&[&by_other], |_| {});
    assert_refused(
        &judge(&leaf, &[], &anchors, &[&list]),
        Anchor(0),
        is_revoked,
    );
    let list = one.revoke(&[&by_one], |_| {});
    assert_refused(
        &judge(&leaf, &[], &anchors, &[&list]),
        Anchor(1),
        is_revoked,
    );
}

/// Counts the signatures that are verified.
#[derive(Debug)]
struct Counting<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    count: &'a AtomicUsize,
}

impl SignatureVerificationAlgorithm for Counting<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.algorithm
            .verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Returns the report and the number of signatures verified for it.
fn counted(leaf: &[u8], anchors: &[Vec<u8>]) -> (PathReport, usize) {
    let count = AtomicUsize::new(0);
    let all = algorithms::RING.iter().map(|algorithm| Counting {
        algorithm: *algorithm,
        count: &count,
    });
    let all: Vec<_> = all.collect();
    let table: Vec<&dyn SignatureVerificationAlgorithm> = all
        .iter()
        .map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
        .collect();
    let anchors: Vec<&[u8]> = anchors.iter().map(Vec::as_slice).collect();
    let mut options = PathOptions::new(&table, NOW);
    options.validate_anchors = true;
    let report = search(leaf, &[], &anchors, &options);
    let count = count.load(Ordering::Relaxed);
    assert_eq!(report.signatures_checked(), count, "{report}");
    (report, count)
}

#[test]
fn no_list_of_namesakes_costs_more_than_the_budget() {
    let nameless = |params: &mut CertificateParams| {
        // No key identifier to distinguish them.
        params.use_authority_key_identifier_extension = false;
    };
    let maker = Authority::new("Maker");
    let lost = maker.with_new_key();
    let namesakes: Vec<Authority> = (0..300).map(|_| maker.with_new_key()).collect();
    // None of them issued another, which can be found out only by trying all.
    let listed: Vec<Vec<u8>> = namesakes
        .iter()
        .map(|namesake| namesake.certified_by(&lost, nameless))
        .collect();
    for signer in [0, 150, 299] {
        let leaf = namesakes[signer].leaf("Leaf", nameless);
        let (report, count) = counted(&leaf, &listed);
        let refusal = report.refusal().unwrap();
        assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
        assert_eq!(count, MAX_SIGNATURE_CHECKS);
    }

    // Key identifiers select the right ones at once: the CA, and its root, which issued none of the others.
    let (root, sub) = (maker.root(), Authority::new("Sub"));
    let ca = sub.certified_by(&maker, |_| {});
    let honest = [&listed[..], &[ca, root]].concat();
    let (report, count) = counted(&sub.leaf("Leaf", |_| {}), &honest);
    assert_path(&report, &[Leaf, Anchor(300), Anchor(301)]);
    assert_eq!(count, 3);
}

/// Cross-certification must not hide the CA that issued one of them.
#[test]
fn anchors_that_have_certified_each_other_stay_below_what_has_issued_one_of_them() {
    let root = Authority::new("Root");
    let (one, other) = (Authority::new("One"), Authority::new("Other"));
    let top = root.certified_by(&root, |params| {
        crl_signer(params);
        path_len(0)(params);
    });
    let free = root.certified_by(&root, crl_signer);
    let below = one.certified_by(&root, crl_signer);
    let by_other = one.certified_by(&other, crl_signer);
    let by_one = other.certified_by(&one, crl_signer);
    let list = root.revoke(&[&below], |_| {});
    for leaf in [one.leaf("Leaf", |_| {}), other.leaf("Leaf", |_| {})] {
        // All but the root act as intermediates.
        let orders: [[&[u8]; 4]; 2] = [
            [&free, &below, &by_other, &by_one],
            [&by_one, &by_other, &below, &free],
        ];
        for anchors in orders {
            assert!(!judge(&leaf, &[], &anchors, &[&list]).accepted());
            assert!(judge(&leaf, &[], &anchors, &[]).accepted());
        }
        // A root that one of them certified remains a root.
        let crossed = root.certified_by(&one, crl_signer);
        let anchors: [&[u8]; 4] = [&crossed, &below, &free, &by_other];
        assert!(!judge(&leaf, &[&by_one], &anchors, &[&list]).accepted());
        // Its path length counts too, because no other anchor ends the path.
        let anchors: [&[u8]; 4] = [&top, &by_other, &by_one, &below];
        assert!(!judge(&leaf, &[], &anchors, &[]).accepted());
    }
}

/// The issuer of one of them need not be below a root: it may be one of two others that certified each other.
#[test]
fn anchors_that_have_certified_each_other_stay_below_others_that_have() {
    let [one, other, high, higher] = ["One", "Other", "High", "Higher"].map(Authority::new);
    let by_one = other.certified_by(&one, crl_signer);
    let by_other = one.certified_by(&other, crl_signer);
    let below = one.certified_by(&high, crl_signer);
    let by_higher = high.certified_by(&higher, crl_signer);
    let by_high = higher.certified_by(&high, crl_signer);
    let leaf = other.leaf("Leaf", |_| {});
    let anchors: [&[u8]; 5] = [&by_one, &by_other, &below, &by_higher, &by_high];
    let path = [Leaf, Anchor(0), Anchor(2), Anchor(3), Anchor(4)];
    assert_path(&judge(&leaf, &[], &anchors, &[]), &path);
    let list = high.revoke(&[&below], |_| {});
    assert_refused(
        &judge(&leaf, &[], &anchors, &[&list]),
        Anchor(2),
        is_revoked,
    );
}
