//! CRLs: which are parsed, how they affect a path, and to which certificate a refusal refers.
#![cfg(feature = "ring")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod hierarchy;

use keyproof_x509::{
    Certificate, Outcome, X509Error, algorithms,
    crl::{Crl, CrlReason, MAX_CRL_LEN},
    path::{CertificateSource, MAX_SIGNATURE_CHECKS, PathCheck, PathOptions, PathReport, Reason},
};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    CustomExtension, RevocationReason, date_time_ymd,
};

use hierarchy::*;

impl Chain {
    fn judge(&self, crls: &[&[u8]]) -> PathReport {
        self.judge_by(&parsed(crls))
    }

    /// Validates with these CRLs and an empty one of the root.
    fn judge_whole(&self, crls: &[&[u8]]) -> PathReport {
        let of_root = self.top.revoke(&[], unchanged);
        self.judge(&[crls, &[&of_root[..]][..]].concat())
    }

    fn judge_by(&self, crls: &[Crl<'_>]) -> PathReport {
        self.search(&by(crls))
    }

    fn search(&self, options: &PathOptions<'_>) -> PathReport {
        search(&self.leaf, &[&self.ca], &[&self.root], options)
    }
}

fn by<'a>(crls: &'a [Crl<'a>]) -> PathOptions<'a> {
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.crls = crls;
    options
}

fn unchanged(_: &mut CertificateRevocationListParams) {}

fn uri(name: &str) -> CrlDistributionPoint {
    CrlDistributionPoint {
        uris: vec![format!("http://crl.example.com/{name}")],
    }
}

/// Limits a CRL to a distribution point and a scope.
fn point(
    name: &'static str,
    scope: Option<CrlScope>,
) -> impl Fn(&mut CertificateRevocationListParams) {
    move |params| {
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: uri(name),
            scope,
        });
    }
}

/// A cRLDistributionPoints extension.
fn points_extension(value: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 31], value.to_vec())
}

#[track_caller]
fn assert_refused(
    report: &PathReport,
    place: CertificateSource,
    is_right: impl Fn(&Reason) -> bool,
) {
    hierarchy::assert_refused(report, place, is_right);
    assert!(!report.accepted());
    assert_eq!(
        report.checks().outcome(PathCheck::Revocation),
        Outcome::Fail
    );
}

/// Asserts that the path is accepted, and the outcome of the revocation check.
#[track_caller]
fn assert_accepted(report: &PathReport, outcome: Outcome) -> String {
    assert!(report.accepted(), "{report}");
    assert_eq!(
        report.checks().outcome(PathCheck::Revocation),
        outcome,
        "{report}"
    );
    report.checks().detail(PathCheck::Revocation)
}

#[test]
fn a_certificate_on_its_issuers_list_is_refused_by_name() {
    let chain = Chain::new();
    let empty = chain.top.revoke(&[], unchanged);
    let report = chain.judge(&[&chain.sub.revoke(&[&chain.leaf], unchanged), &empty]);
    assert_refused(&report, CertificateSource::Leaf, |reason| {
        *reason
            == Reason::Revoked {
                since: 1_798_070_400,
                reason: Some(CrlReason::KeyCompromise),
                ahead: None,
            }
    });
    assert!(
        report.to_string().ends_with(
            "refused at the leaf `CN=Leaf`: it is revoked since 2026-12-24T00:00:00Z: keyCompromise"
        ),
        "{report}"
    );
    let report = chain.judge(&[
        &chain.sub.revoke(&[], unchanged),
        &chain.top.revoke(&[&chain.ca], unchanged),
    ]);
    assert_refused(&report, CertificateSource::Intermediate(0), is_revoked);
    // An anchor is trusted because it is listed.
    let report = chain.judge(&[&chain.top.revoke(&[&chain.root], unchanged)]);
    assert!(report.accepted(), "{report}");
}

#[test]
fn a_certificate_on_hold_is_told_as_such() {
    let chain = Chain::new();
    let held = chain.sub.revoke(&[&chain.leaf], |params| {
        params.revoked_certs[0].reason_code = Some(RevocationReason::CertificateHold);
    });
    let report = chain.judge(&[&held]);
    assert_refused(&report, CertificateSource::Leaf, |reason| {
        matches!(
            reason,
            Reason::Revoked {
                reason: Some(CrlReason::CertificateHold),
                ..
            }
        )
    });
    assert!(report.to_string().contains("on hold since"), "{report}");
}

#[test]
fn an_issuer_without_a_list_is_not_asked() {
    let chain = Chain::new();
    let detail = assert_accepted(&chain.judge(&[]), Outcome::NotRequested);
    assert_eq!(detail, "no CRL of an issuer was given");
    let stranger = Authority::new("Stranger").revoke(&[&chain.leaf], unchanged);
    assert_accepted(&chain.judge(&[&stranger]), Outcome::NotRequested);
    // A CRL of only one of two issuers is a warning.
    let report = chain.judge(&[&chain.top.revoke(&[], unchanged)]);
    let detail = assert_accepted(&report, Outcome::Warn);
    assert_eq!(detail, "no CRL of its issuer was given");
    let both = [
        chain.top.revoke(&[], unchanged),
        chain.sub.revoke(&[], unchanged),
    ];
    let report = chain.judge(&[&both[0], &both[1]]);
    let detail = assert_accepted(&report, Outcome::Pass);
    assert_eq!(detail, "no certificate is revoked");
    // Two certificates and two CRLs.
    assert_eq!(report.signatures_checked(), 4);
}

/// With `require_crls`, each reason why a certificate cannot be cleared is a refusal.
#[test]
fn lists_that_are_required_are_there_current_and_of_the_issuers_key() {
    let chain = Chain::new();
    let judged = |lists: &[&[u8]]| {
        let crls = parsed(lists);
        let mut options = by(&crls);
        options.require_crls = true;
        chain.search(&options)
    };
    let (of_root, of_sub) = (
        chain.top.revoke(&[], unchanged),
        chain.sub.revoke(&[], unchanged),
    );
    assert_accepted(&judged(&[&of_root, &of_sub]), Outcome::Pass);
    let stranger = Authority::new("Stranger").revoke(&[], unchanged);
    let lists: [&[&[u8]]; 3] = [&[], &[&stranger], &[&of_root]];
    for lists in lists {
        assert_refused(&judged(lists), CertificateSource::Leaf, |reason| {
            *reason == Reason::CrlMissing
        });
    }
    assert_refused(
        &judged(&[&of_sub]),
        CertificateSource::Intermediate(0),
        |reason| *reason == Reason::CrlMissing,
    );
    let stale = chain.sub.revoke(&[], |params| {
        params.next_update = date_time_ymd(2027, 1, 14);
    });
    assert_refused(
        &judged(&[&of_root, &stale]),
        CertificateSource::Leaf,
        |reason| matches!(reason, Reason::CrlExpired { .. }),
    );
    let early = chain.sub.revoke(&[], |params| {
        params.this_update = date_time_ymd(2027, 6, 1);
    });
    assert_refused(
        &judged(&[&of_root, &early]),
        CertificateSource::Leaf,
        |reason| matches!(reason, Reason::CrlNotYetValid { .. }),
    );
    let of_another = chain.sub.with_new_key().revoke(&[], unchanged);
    assert_refused(
        &judged(&[&of_root, &of_another]),
        CertificateSource::Leaf,
        |reason| *reason == Reason::CrlIssuerKeyMismatch,
    );
    let revoking = chain.sub.revoke(&[&chain.leaf], unchanged);
    assert_refused(
        &judged(&[&of_root, &revoking]),
        CertificateSource::Leaf,
        is_revoked,
    );
}

#[test]
fn a_list_that_is_past_its_time_or_before_it_warns_and_still_revokes() {
    let chain = Chain::new();
    let stale = |params: &mut CertificateRevocationListParams| {
        params.this_update = date_time_ymd(2026, 1, 1);
        params.next_update = date_time_ymd(2027, 1, 14);
    };
    let early = |params: &mut CertificateRevocationListParams| {
        params.this_update = date_time_ymd(2027, 6, 1);
    };
    let detail = assert_accepted(
        &chain.judge(&[&chain.sub.revoke(&[], stale)]),
        Outcome::Warn,
    );
    assert!(detail.contains("due at 2027-01-14T00:00:00Z"), "{detail}");
    let detail = assert_accepted(
        &chain.judge(&[&chain.sub.revoke(&[], early)]),
        Outcome::Warn,
    );
    assert!(
        detail.contains("only from 2027-06-01T00:00:00Z"),
        "{detail}"
    );
    let list = chain.sub.revoke(&[&chain.leaf], stale);
    assert_refused(&chain.judge(&[&list]), CertificateSource::Leaf, is_revoked);
    // Beside a current CRL too. The report shows which of them revokes.
    let early = chain.sub.revoke(&[&chain.leaf], early);
    let own = chain.sub.revoke(&[], unchanged);
    for lists in [
        &[&early[..]][..],
        &[&early[..], &own[..]][..],
        &[&own[..], &early[..]][..],
    ] {
        let report = chain.judge(lists);
        assert_refused(&report, CertificateSource::Leaf, is_revoked_ahead);
        let says = "by a CRL of its issuer that is valid only from 2027-06-01T00:00:00Z";
        assert!(report.to_string().ends_with(says), "{report}");
    }
}

fn is_revoked_ahead(reason: &Reason) -> bool {
    matches!(reason, Reason::Revoked { ahead: Some(_), .. })
}

fn is_revoked(reason: &Reason) -> bool {
    matches!(reason, Reason::Revoked { ahead: None, .. })
}

/// An offline root signs the CRLs of several months ahead; then a CA's key is stolen.
#[test]
fn a_list_that_was_signed_ahead_frees_nothing_that_an_emergency_list_revokes() {
    let chain = Chain::new();
    let listed = |revoked: &[&[u8]], number: u64, (year, month, day)| {
        chain.top.revoke(revoked, |params| {
            params.crl_number = number.into();
            params.this_update = date_time_ymd(year, month, day);
        })
    };
    let [past, next, last] = [
        listed(&[], 10, (2026, 12, 26)),
        listed(&[], 11, (2027, 1, 25)),
        listed(&[], 12, (2027, 2, 24)),
    ];
    let emergency = listed(&[&chain.ca], 20, (2027, 1, 14));
    let lifted = listed(&[], 21, (2027, 2, 25));
    let of_sub = chain.sub.revoke(&[], unchanged);
    let judged = |lists: &[&[u8]], days: u64| {
        let lists = [lists, &[&of_sub[..]][..]].concat();
        let crls = parsed(&lists);
        let mut options = by(&crls);
        options.now += days * 24 * 60 * 60;
        chain.search(&options)
    };
    assert_accepted(&judged(&[&past, &next, &last], 0), Outcome::Pass);
    let orders: [[&[u8]; 4]; 3] = [
        [&past, &next, &last, &emergency],
        [&emergency, &last, &next, &past],
        [&next, &emergency, &past, &last],
    ];
    for order in orders {
        // At present, and after each CRL becomes valid.
        for days in [0, 20, 50] {
            let report = judged(&order, days);
            assert_refused(&report, CertificateSource::Intermediate(0), is_revoked);
        }
        // A CRL that was signed later clears it, but only after it becomes valid.
        let with_lifted = [&order[..], &[&lifted[..]]].concat();
        let report = judged(&with_lifted, 20);
        assert_refused(&report, CertificateSource::Intermediate(0), is_revoked);
        assert_accepted(&judged(&with_lifted, 50), Outcome::Pass);
    }
}

/// Only their numbers, if both have one, show which is newer.
#[test]
fn of_lists_of_one_time_any_refuses_that_is_not_the_older() {
    let chain = Chain::new();
    let of_sub = chain.sub.revoke(&[], unchanged);
    let ca = Certificate::from_der(&chain.ca).unwrap();
    let listed = |is_revoking: bool, number: Option<u8>| {
        let entries = is_revoking.then(|| entry(ca.serial().as_bytes(), &[]));
        let number = number.map(|number| extension(&[0x55, 0x1D, 20], false, &[2, 1, number]));
        let (entries, number): (Vec<_>, Vec<_>) =
            (entries.into_iter().collect(), number.into_iter().collect());
        signed_list(&chain.top, &next_update(), &entries, &number)
    };
    for (free, caught, is_accepted) in [
        (Some(6), Some(5), true),
        (Some(5), Some(6), false),
        (Some(5), Some(5), false),
        (None, None, false),
        (Some(6), None, false),
        (None, Some(5), false),
    ] {
        let (free, caught) = (listed(false, free), listed(true, caught));
        let caught_alone = chain.judge(&[&caught, &of_sub]);
        assert_refused(
            &caught_alone,
            CertificateSource::Intermediate(0),
            is_revoked,
        );
        assert_accepted(&chain.judge(&[&free, &of_sub]), Outcome::Pass);
        for lists in [[&free, &caught, &of_sub], [&caught, &free, &of_sub]] {
            let report = chain.judge(&lists.map(Vec::as_slice));
            if is_accepted {
                assert_accepted(&report, Outcome::Pass);
            } else {
                assert_refused(&report, CertificateSource::Intermediate(0), is_revoked);
            }
        }
    }
}

#[test]
fn a_list_past_its_time_frees_nothing_that_one_revokes_which_is_not() {
    let chain = Chain::new();
    let short = |params: &mut CertificateRevocationListParams| {
        params.this_update = date_time_ymd(2027, 1, 5);
        params.next_update = date_time_ymd(2027, 1, 10);
    };
    let stale = chain.sub.revoke(&[], short);
    let staler = chain.sub.revoke(&[&chain.leaf], |params| {
        params.next_update = date_time_ymd(2027, 1, 9);
    });
    let current = chain.sub.revoke(&[&chain.leaf], unchanged);
    for lists in [[&stale, &current], [&current, &stale]] {
        let report = chain.judge_whole(&lists.map(Vec::as_slice));
        assert_refused(&report, CertificateSource::Leaf, is_revoked);
    }
    // Of two expired CRLs the newer counts; a current one counts even if an expired one is newer.
    assert_accepted(&chain.judge_whole(&[&stale, &staler]), Outcome::Warn);
    let current = chain.sub.revoke(&[], unchanged);
    assert_accepted(&chain.judge_whole(&[&stale, &current]), Outcome::Pass);
    let stale = chain.sub.revoke(&[&chain.leaf], short);
    assert_refused(
        &chain.judge_whole(&[&stale, &current]),
        CertificateSource::Leaf,
        is_revoked,
    );
}

#[test]
fn the_newest_list_counts() {
    let chain = Chain::new();
    let held = chain.sub.revoke(&[&chain.leaf], unchanged);
    let later = |params: &mut CertificateRevocationListParams| {
        params.this_update = date_time_ymd(2027, 1, 2);
    };
    let higher = |params: &mut CertificateRevocationListParams| params.crl_number = 300.into();
    for freed in [chain.sub.revoke(&[], later), chain.sub.revoke(&[], higher)] {
        assert_accepted(&chain.judge_whole(&[&held, &freed]), Outcome::Pass);
        assert_accepted(&chain.judge_whole(&[&freed, &held]), Outcome::Pass);
    }
    let free = chain.sub.revoke(&[], unchanged);
    for caught in [
        chain.sub.revoke(&[&chain.leaf], later),
        chain.sub.revoke(&[&chain.leaf], higher),
    ] {
        for lists in [[&free, &caught], [&caught, &free]] {
            let report = chain.judge(&lists.map(Vec::as_slice));
            assert_refused(&report, CertificateSource::Leaf, is_revoked);
        }
    }
}

#[test]
fn a_list_by_another_key_of_the_issuers_name() {
    let chain = Chain::new();
    let other = chain.sub.with_new_key();
    // Its key identifier is another's, so it is not the issuer's. The report must not imply that the issuer's CRL was checked.
    let of_another = other.revoke(&[&chain.leaf], unchanged);
    let detail = assert_accepted(&chain.judge(&[&of_another]), Outcome::Warn);
    let of_other_keys = "are of other keys than the issuer's";
    assert!(detail.contains(of_other_keys), "{detail}");
    let own_list = chain.sub.revoke(&[], unchanged);
    assert_accepted(&chain.judge_whole(&[&of_another, &own_list]), Outcome::Pass);
    // It claims to be the issuer's, so the status is unknown.
    let own = chain.sub.revoke(&[], unchanged);
    let identifier = Crl::from_der(&own).unwrap();
    let identifier = identifier.authority_key_identifier().unwrap().to_vec();
    let claimed = other.revoke(&[], |params| {
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(identifier.clone());
        params.this_update = date_time_ymd(2027, 1, 2);
    });
    assert_refused(
        &chain.judge(&[&claimed]),
        CertificateSource::Leaf,
        |reason| {
            matches!(
                reason,
                Reason::CrlSignatureRefused(X509Error::SignatureInvalid { .. })
            )
        },
    );
    // Beside a verified one it is ignored.
    assert_accepted(&chain.judge_whole(&[&claimed, &own]), Outcome::Pass);
    // It is newer than the verified one, and yet clears nothing that this one revokes.
    let revoking = chain.sub.revoke(&[&chain.leaf], unchanged);
    for lists in [[&claimed, &revoking], [&revoking, &claimed]] {
        let report = chain.judge(&lists.map(Vec::as_slice));
        assert_refused(&report, CertificateSource::Leaf, is_revoked);
    }
    // The same applies to a modified CRL.
    let mut changed = own.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_refused(
        &chain.judge(&[&changed]),
        CertificateSource::Leaf,
        |reason| matches!(reason, Reason::CrlSignatureRefused(_)),
    );
}

/// A CA that was certified twice under one key: its CRLs contain one of the two key identifiers and apply to both certificates.
#[test]
fn a_list_counts_whichever_identifier_its_key_has_in_it() {
    let chain = Chain::new();
    let identified = |octet: u8| rcgen::KeyIdMethod::PreSpecified(vec![octet; 20]);
    let certified = |octet| {
        chain.sub.certified_by(&chain.top, |params| {
            crl_signer(params);
            params.key_identifier_method = identified(octet);
        })
    };
    let (first, second) = (certified(1), certified(2));
    let listed = |revoked: &[&[u8]], octet, day| {
        chain.sub.revoke(revoked, |params| {
            params.key_identifier_method = identified(octet);
            params.this_update = date_time_ymd(2027, 1, day);
        })
    };
    let of_root = chain.top.revoke(&[], unchanged);
    let judged = |cas: &[&[u8]], lists: &[&[u8]]| {
        let lists = [lists, &[&of_root[..]][..]].concat();
        search(&chain.leaf, cas, &[&chain.root], &by(&parsed(&lists)))
    };
    let orders: [&[&[u8]]; 4] = [
        &[&first],
        &[&second],
        &[&first, &second],
        &[&second, &first],
    ];
    let (caught, free) = (
        listed(&[&chain.leaf], 2, 2),
        [listed(&[], 1, 1), listed(&[], 1, 3)],
    );
    for cas in orders {
        // Alone, and beside an older CRL.
        for lists in [&[&caught[..]][..], &[&free[0][..], &caught[..]][..]] {
            let report = judged(cas, lists);
            assert_refused(&report, CertificateSource::Leaf, is_revoked);
        }
        // The newest counts.
        assert_accepted(&judged(cas, &[&caught, &free[1]]), Outcome::Pass);
    }
    // The issuer's cRLSign is also required for such a CRL, but not checked for one of another key.
    let silent = chain.sub.certified_by(&chain.top, |params| {
        params.key_identifier_method = identified(1)
    });
    assert_refused(
        &judged(&[&silent], &[&caught]),
        CertificateSource::Leaf,
        |reason| *reason == Reason::CrlSignMissing,
    );
    let other = chain.sub.with_new_key();
    let of_another = other.revoke(&[&chain.leaf], unchanged);
    assert_accepted(&judged(&[&silent], &[&of_another]), Outcome::Warn);
}

#[test]
fn lists_that_are_said_to_be_of_other_keys_are_tried_within_the_budget() {
    let chain = Chain::new();
    let other = chain.sub.with_new_key().revoke(&[], unchanged);
    let other = Crl::from_der(&other).unwrap();
    let report = chain.judge_by(&vec![other.clone(); MAX_SIGNATURE_CHECKS - 2]);
    assert_accepted(&report, Outcome::Warn);
    assert_eq!(report.signatures_checked(), MAX_SIGNATURE_CHECKS);
    let report = chain.judge_by(&vec![other.clone(); MAX_SIGNATURE_CHECKS - 1]);
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
    // CRLs that are not newer than the issuer's own are not tried.
    let own = chain.sub.revoke(&[], unchanged);
    let mut crls = vec![other; MAX_SIGNATURE_CHECKS];
    crls.push(Crl::from_der(&own).unwrap());
    let report = chain.judge_by(&crls);
    let detail = assert_accepted(&report, Outcome::Warn);
    assert_eq!(detail, "no CRL of its issuer was given");
    assert_eq!(report.signatures_checked(), 3);
}

#[test]
fn an_issuer_whose_key_usage_leaves_crl_sign_out_has_no_list() {
    let mut chain = Chain::new();
    chain.ca = chain.sub.certified_by(&chain.top, |_| {});
    let list = chain.sub.revoke(&[], unchanged);
    assert_refused(&chain.judge(&[&list]), CertificateSource::Leaf, |reason| {
        *reason == Reason::CrlSignMissing
    });
    // Without a keyUsage every use is allowed (RFC 5280 section 6.3.3 (f)).
    chain.ca = chain
        .sub
        .certified_by(&chain.top, |params| params.key_usages.clear());
    assert_accepted(&chain.judge_whole(&[&list]), Outcome::Pass);
}

#[test]
fn another_path_is_taken_where_one_has_a_revoked_certificate() {
    let chain = Chain::new();
    let again = chain.sub.certified_by(&chain.top, |params| {
        crl_signer(params);
        params.serial_number = Some(7.into());
    });
    let list = chain.top.revoke(&[&chain.ca], unchanged);
    let crls = parsed(&[&list]);
    let report = search(
        &chain.leaf,
        &[&chain.ca, &again],
        &[&chain.root],
        &by(&crls),
    );
    assert_path(
        &report,
        &[
            CertificateSource::Leaf,
            CertificateSource::Intermediate(1),
            CertificateSource::Anchor(0),
        ],
    );
    // Two signatures for each path, and one for the CRL.
    assert_eq!(report.signatures_checked(), 5);
}

/// A CRL clears only certificates in its scope. An entry always revokes, because no other certificate of the issuer has that
/// number.
#[test]
fn a_list_frees_the_certificates_in_its_scope_alone_and_revokes_what_is_on_it() {
    let mut chain = Chain::new();
    let with_points = chain.sub.leaf("Leaf", |params| {
        params.crl_distribution_points = vec![uri("a"), uri("b")];
    });
    let without_points = chain.leaf.clone();
    for (leaf, name, scope, is_covered) in [
        (&with_points, "a", None, true),
        (&with_points, "b", Some(CrlScope::UserCertsOnly), true),
        (&with_points, "b", Some(CrlScope::CaCertsOnly), false),
        (&with_points, "c", None, false),
        (&without_points, "a", None, false),
    ] {
        chain.leaf.clone_from(leaf);
        let caught = chain.sub.revoke(&[leaf], point(name, scope));
        assert_refused(
            &chain.judge(&[&caught]),
            CertificateSource::Leaf,
            is_revoked,
        );
        let free = chain.sub.revoke(&[], point(name, scope));
        let outcome = if is_covered {
            Outcome::Pass
        } else {
            Outcome::Warn
        };
        assert_accepted(&chain.judge_whole(&[&free]), outcome);
        if !is_covered {
            assert_accepted(&chain.judge(&[&free]), Outcome::NotRequested);
        }
        // A newer CRL that covers all certificates supersedes the entry; one that covers only others does not.
        let newer = |params: &mut CertificateRevocationListParams| {
            params.this_update = date_time_ymd(2027, 1, 2);
        };
        let lifted = chain.sub.revoke(&[], newer);
        for lists in [[&caught, &lifted], [&lifted, &caught]] {
            let report = chain.judge_whole(&lists.map(Vec::as_slice));
            assert_accepted(&report, Outcome::Pass);
        }
        let of_others = chain.sub.revoke(&[], |params| {
            point("d", None)(params);
            newer(params);
        });
        for lists in [[&caught, &of_others], [&of_others, &caught]] {
            let report = chain.judge_whole(&lists.map(Vec::as_slice));
            assert_refused(&report, CertificateSource::Leaf, is_revoked);
        }
    }
    // An entry in a CRL signed by another key has no effect.
    let other = chain.sub.with_new_key();
    let forged = other.revoke(&[&chain.leaf], point("a", None));
    assert_accepted(&chain.judge(&[&forged]), Outcome::Warn);
}

#[test]
fn a_list_has_the_scope_of_another_if_it_tells_of_all_that_the_other_tells_of() {
    let name = |name: &[u8]| tlv(0x86, name);
    let point = |names: &[Vec<u8>]| tlv(0xA0, &tlv(0xA0, &names.concat()));
    let (users, cas) = ([0x81, 1, 0xFF].to_vec(), [0x82, 1, 0xFF].to_vec());
    let (a, b) = (point(&[name(b"a")]), point(&[name(b"b")]));
    let both = point(&[name(b"b"), name(b"a")]);
    let turned = point(&[name(b"a"), name(b"b")]);
    let (a_of_users, a_of_cas) = ([&a[..], &users].concat(), [&a[..], &cas].concat());
    // Directory names are compared as text.
    let directory = |string, text: &[u8]| {
        let attribute = [tlv(6, &[0x55, 4, 3]), tlv(string, text)].concat();
        let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)));
        point(&[tlv(0xA4, &name)])
    };
    let printable = directory(0x13, b"Point A");
    let (utf8, elsewhere) = (directory(0x0C, b"point  a"), directory(0x0C, b"Point B"));
    let scoped = |fields: &Vec<u8>| {
        let extensions = if fields.is_empty() {
            Vec::new()
        } else {
            vec![extension(POINT, true, &tlv(0x30, fields))]
        };
        list(V2, &next_update(), &[], &extensions)
    };
    let includes = |one: &Vec<u8>, other: &Vec<u8>| {
        let (one, other) = (scoped(one), scoped(other));
        let (one, other) = (Crl::from_der(&one).unwrap(), Crl::from_der(&other).unwrap());
        one.includes_scope_of(&other)
    };
    let whole = Vec::new();
    for (one, other, is_included, is_including) in [
        (&whole, &users, true, false),
        (&whole, &a, true, false),
        (&whole, &a_of_users, true, false),
        (&users, &cas, false, false),
        (&users, &a, false, false),
        (&users, &a_of_users, true, false),
        (&users, &a_of_cas, false, false),
        (&a, &a_of_users, true, false),
        (&a, &b, false, false),
        (&both, &a, true, false),
        (&both, &turned, true, true),
        (&both, &a_of_users, true, false),
        (&a_of_users, &a_of_cas, false, false),
        (&printable, &utf8, true, true),
        (&printable, &elsewhere, false, false),
    ] {
        for same in [one, other] {
            assert!(includes(same, same), "{same:02X?}");
        }
        let told = (includes(one, other), includes(other, one));
        let expected = (is_included, is_including);
        assert_eq!(told, expected, "{one:02X?} {other:02X?}");
    }
}

/// A CRL of unclear scope can revoke a certificate, but cannot clear it.
#[test]
fn a_list_that_may_be_about_a_certificate_frees_it_from_no_other() {
    let mut chain = Chain::new();
    let uri = tlv(0x86, b"http://crl.example.com/a");
    let full = tlv(0xA0, &tlv(0xA0, &uri));
    let other = tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0C, b"Other")].concat());
    let other = tlv(0xA2, &tlv(0xA4, &tlv(0x30, &tlv(0x31, &other))));
    let points = |fields: &[&[u8]]| tlv(0x30, &tlv(0x30, &fields.concat()));
    for (value, is_clear) in [
        (points(&[&full]), true),
        (b"no points at all".to_vec(), false),
        // For keyCompromise only.
        (points(&[&full, &[0x81, 2, 6, 0x40]]), false),
        // The CRL of another issuer.
        (points(&[&full, &other]), false),
    ] {
        chain.leaf = chain.sub.leaf("Leaf", |params| {
            params.custom_extensions = vec![points_extension(&value)];
        });
        let of_point = |revoked: &[&[u8]]| {
            chain.sub.revoke(revoked, |params| {
                params.this_update = date_time_ymd(2027, 1, 2);
                point("a", None)(params);
            })
        };
        let (free, caught) = (of_point(&[]), of_point(&[&chain.leaf]));
        let whole = chain.sub.revoke(&[&chain.leaf], unchanged);
        for lists in [[&free, &whole], [&whole, &free]] {
            let report = chain.judge_whole(&lists.map(Vec::as_slice));
            if is_clear {
                assert_accepted(&report, Outcome::Pass);
            } else {
                assert_refused(&report, CertificateSource::Leaf, is_revoked);
            }
        }
        assert_refused(
            &chain.judge_whole(&[&caught]),
            CertificateSource::Leaf,
            is_revoked,
        );
        let outcome = if is_clear {
            Outcome::Pass
        } else {
            Outcome::Warn
        };
        assert_accepted(&chain.judge_whole(&[&free]), outcome);
        let whole = chain.sub.revoke(&[], unchanged);
        assert_accepted(&chain.judge_whole(&[&free, &whole]), Outcome::Pass);
    }
}

/// Coverage that cannot be determined is assumed.
#[test]
fn a_list_that_may_be_about_a_certificate_counts() {
    let mut chain = Chain::new();
    // There is no CRL for the CA above.
    let asked = |is_covered| {
        if is_covered {
            Outcome::Warn
        } else {
            Outcome::NotRequested
        }
    };
    let uri = tlv(0x86, b"http://crl.example.com/a");
    let other = tlv(0x86, b"http://crl.example.com/b");
    let relative = tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0C, b"a")].concat());
    let points = |fields: &[u8]| tlv(0x30, &tlv(0x30, fields));
    for (value, is_covered) in [
        (b"no points at all".to_vec(), true),
        // A name relative to the issuer's, which is not supported.
        (points(&tlv(0xA0, &tlv(0xA1, &relative))), true),
        // By the cRLIssuer, if there is no name (RFC 5280 section 6.3.3 (b) (2) (i)).
        (points(&tlv(0xA2, &uri)), true),
        (points(&tlv(0xA2, &other)), false),
        (points(&tlv(0xA0, &tlv(0xA0, &other))), false),
    ] {
        chain.leaf = chain.sub.leaf("Leaf", |params| {
            params.custom_extensions = vec![points_extension(&value)];
        });
        let caught = chain.sub.revoke(&[&chain.leaf], point("a", None));
        assert_refused(
            &chain.judge(&[&caught]),
            CertificateSource::Leaf,
            is_revoked,
        );
        let free = chain.sub.revoke(&[], point("a", None));
        assert_accepted(&chain.judge(&[&free]), asked(is_covered));
    }
    // Its basicConstraints cannot be read, so both a CRL of CAs and one of end entities may cover it.
    chain.leaf = chain.sub.leaf("Leaf", |params| {
        let points = points(&tlv(0xA0, &tlv(0xA0, &uri)));
        params.is_ca = rcgen::IsCa::NoCa;
        params.custom_extensions = vec![
            points_extension(&points),
            CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![5, 0]),
        ];
    });
    for scope in [CrlScope::CaCertsOnly, CrlScope::UserCertsOnly] {
        let list = chain.sub.revoke(&[&chain.leaf], point("a", Some(scope)));
        assert!(!chain.judge(&[&list]).accepted());
    }
    // A CRL of CAs covers a CA; one of end entities does not.
    for (scope, is_covered) in [
        (CrlScope::CaCertsOnly, true),
        (CrlScope::UserCertsOnly, false),
    ] {
        chain.leaf = chain.sub.leaf("Leaf", |params| {
            let points = points(&tlv(0xA0, &tlv(0xA0, &uri)));
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.custom_extensions = vec![points_extension(&points)];
        });
        let caught = chain.sub.revoke(&[&chain.leaf], point("a", Some(scope)));
        assert_refused(
            &chain.judge(&[&caught]),
            CertificateSource::Leaf,
            is_revoked,
        );
        let free = chain.sub.revoke(&[], point("a", Some(scope)));
        assert_accepted(&chain.judge(&[&free]), asked(is_covered));
    }
}

/// A CRL is current from its first second to its last.
#[test]
fn a_list_is_current_at_both_ends_of_its_time() {
    let chain = Chain::new();
    let list = chain.sub.revoke(&[], |params| {
        params.this_update = date_time_ymd(2027, 1, 15);
        params.next_update = date_time_ymd(2027, 1, 16);
    });
    let of_root = chain.top.revoke(&[], unchanged);
    let crls = parsed(&[&list, &of_root]);
    let (first, last) = (1_799_971_200, 1_800_057_600);
    for (now, outcome) in [
        (first - 1, Outcome::Warn),
        (first, Outcome::Pass),
        (last, Outcome::Pass),
        (last + 1, Outcome::Warn),
    ] {
        let mut options = by(&crls);
        options.now = now;
        assert_accepted(&chain.search(&options), outcome);
    }
}

#[test]
fn no_set_of_lists_takes_more_than_the_budget() {
    let chain = Chain::new();
    let own = chain.sub.revoke(&[], unchanged);
    let identifier = Crl::from_der(&own).unwrap();
    let identifier = identifier.authority_key_identifier().unwrap().to_vec();
    let other = chain.sub.with_new_key();
    let forged = other.revoke(&[], |params| {
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(identifier);
    });
    let forged = Crl::from_der(&forged).unwrap();
    let report = chain.judge_by(&vec![forged.clone(); MAX_SIGNATURE_CHECKS - 2]);
    assert_refused(&report, CertificateSource::Leaf, |reason| {
        matches!(reason, Reason::CrlSignatureRefused(_))
    });
    assert_eq!(report.signatures_checked(), MAX_SIGNATURE_CHECKS);
    let report = chain.judge_by(&vec![forged; MAX_SIGNATURE_CHECKS - 1]);
    assert!(!report.accepted());
    let refusal = report.refusal().unwrap();
    assert_eq!(refusal.reason, Reason::BudgetExhausted, "{report}");
}

/// Hand-made DER for CRLs that no tool issues.
mod by_hand {
    use rcgen::SigningKey;

    use super::Authority;

    pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let header = match len {
            0..0x80 => vec![tag, u8::try_from(len).unwrap()],
            0x80..0x100 => vec![tag, 0x81, u8::try_from(len).unwrap()],
            0x100..0x1_0000 => {
                [&[tag, 0x82][..], &u16::try_from(len).unwrap().to_be_bytes()].concat()
            }
            _ => {
                let octets = u32::try_from(len).unwrap().to_be_bytes();
                [&[tag, 0x83][..], &octets[1..]].concat()
            }
        };
        [header, content.to_vec()].concat()
    }

    pub(super) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
        let critical: &[u8] = if critical { &[1, 1, 0xFF] } else { &[] };
        tlv(0x30, &[&tlv(6, id)[..], critical, &tlv(4, value)].concat())
    }

    pub(super) fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
        let extensions = match extensions {
            [] => Vec::new(),
            some => tlv(0x30, &some.concat()),
        };
        let time = tlv(0x17, b"260101000000Z");
        tlv(0x30, &[tlv(2, serial), time, extensions].concat())
    }

    const ALGORITHM: [u8; 12] = [
        0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
    ];

    /// A CRL by `CN=Root` with an invalid signature.
    pub(super) fn list(
        version: &[u8],
        next_update: &[u8],
        entries: &[Vec<u8>],
        extensions: &[Vec<u8>],
    ) -> Vec<u8> {
        let tbs = tbs(version, next_update, entries, extensions);
        whole(&tbs, &[0x30, 0])
    }

    /// A CRL signed by a root with that name.
    pub(super) fn signed_list(
        root: &Authority,
        next_update: &[u8],
        entries: &[Vec<u8>],
        extensions: &[Vec<u8>],
    ) -> Vec<u8> {
        let tbs = tbs(&[2, 1, 1], next_update, entries, extensions);
        whole(&tbs, &root.key.sign(&tbs).unwrap())
    }

    fn whole(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
        let signature = tlv(3, &[&[0][..], signature].concat());
        tlv(0x30, &[tbs, &ALGORITHM, &signature].concat())
    }

    fn tbs(
        version: &[u8],
        next_update: &[u8],
        entries: &[Vec<u8>],
        extensions: &[Vec<u8>],
    ) -> Vec<u8> {
        let name = tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0C, b"Root")].concat());
        let extensions = match extensions {
            [] => Vec::new(),
            some => tlv(0xA0, &tlv(0x30, &some.concat())),
        };
        let entries = match entries {
            [] => Vec::new(),
            some => tlv(0x30, &some.concat()),
        };
        let fields = [
            version.to_vec(),
            ALGORITHM.to_vec(),
            tlv(0x30, &tlv(0x31, &name)),
            tlv(0x17, b"260101000000Z"),
            next_update.to_vec(),
            entries,
            extensions,
        ];
        tlv(0x30, &fields.concat())
    }
}

use by_hand::{entry, extension, list, signed_list, tlv};

const V2: &[u8] = &[2, 1, 1];
const REASON: &[u8] = &[0x55, 0x1D, 21];
const POINT: &[u8] = &[0x55, 0x1D, 28];

fn next_update() -> Vec<u8> {
    tlv(0x18, b"20500101000000Z")
}

#[test]
fn what_a_list_says_is_read() {
    let der = list(
        V2,
        &next_update(),
        &[
            entry(&[5], &[extension(REASON, false, &[0x0A, 1, 6])]),
            entry(&[0x00, 0xFF], &[]),
            entry(&[3], &[extension(&[0x2A, 3], false, &[5, 0])]),
        ],
        &[
            extension(&[0x55, 0x1D, 20], false, &[2, 2, 1, 0x2C]),
            extension(&[0x55, 0x1D, 35], false, &[0x30, 4, 0x80, 2, 0xAB, 0xCD]),
        ],
    );
    let crl = Crl::from_der(&der).unwrap();
    assert_eq!(crl.as_der(), der);
    let signed = crl.tbs();
    assert!(signed.len() > 100 && signed.starts_with(&[0x30]));
    assert!(der.windows(signed.len()).any(|part| part == signed));
    assert_eq!(crl.issuer().to_string(), "CN=Root");
    assert_eq!(crl.this_update(), 1_767_225_600);
    assert_eq!(crl.next_update(), Some(2_524_608_000));
    assert_eq!(crl.number().unwrap().to_string(), "012C");
    assert_eq!(crl.authority_key_identifier(), Some(&[0xAB, 0xCD][..]));
    let entries: Vec<_> = crl
        .revocations()
        .iter()
        .map(|entry| (entry.serial.to_string(), entry.reason))
        .collect();
    let hold = Some(CrlReason::CertificateHold);
    let expected = [("FF", None), ("03", None), ("05", hold)];
    assert_eq!(
        entries,
        expected.map(|(serial, reason)| (serial.to_owned(), reason))
    );
    let number = extension(&[0x55, 0x1D, 20], false, &[2, 1, 0]);
    let numbered_zero = list(V2, &next_update(), &[], &[number]);
    let earlier = Crl::from_der(&numbered_zero).unwrap();
    assert_eq!(earlier.number().unwrap().to_string(), "00");
    assert!(earlier.number() < crl.number() && crl.number() > earlier.number());
    // Without entries and nextUpdate. The former is normal, the latter a warning in a path.
    let crl = list(V2, &[], &[], &[]);
    let crl = Crl::from_der(&crl).unwrap();
    assert_eq!((crl.next_update(), crl.number()), (None, None));
    assert!(crl.revocations().is_empty());
}

#[test]
fn lists_that_leave_things_unsaid_are_refused_by_name() {
    let with = |extension| list(V2, &next_update(), &[], &[extension]);
    let point = |field: &[u8]| with(extension(POINT, true, &tlv(0x30, field)));
    let revoking = |extension| list(V2, &next_update(), &[entry(&[1], &[extension])], &[]);
    for (der, says) in [
        (list(&[], &next_update(), &[], &[]), "version 1"),
        (
            with(extension(&[0x55, 0x1D, 27], true, &[2, 1, 1])),
            "delta",
        ),
        (
            with(extension(&[0x55, 0x1D, 27], false, &[2, 1, 1])),
            "delta",
        ),
        (point(&[0x84, 1, 0xFF]), "indirect"),
        (point(&[0x83, 2, 6, 0x40]), "onlySomeReasons"),
        (point(&[0x85, 1, 0xFF]), "attribute"),
        (
            point(&[0x81, 1, 0xFF, 0x82, 1, 0xFF]),
            "neither CAs nor others",
        ),
        (
            revoking(extension(REASON, false, &[0x0A, 1, 8])),
            "removeFromCRL",
        ),
        (
            revoking(extension(&[0x55, 0x1D, 29], true, &[0x30, 0])),
            "indirect",
        ),
        (
            with(extension(&[0x2A, 3], true, &[5, 0])),
            "critical extension 1.2.3",
        ),
        (
            revoking(extension(&[0x2A, 3], true, &[5, 0])),
            "critical extension 1.2.3",
        ),
    ] {
        let told = Crl::from_der(&der).unwrap_err().to_string();
        assert!(told.contains(says), "{told}, not {says}");
    }
}

#[test]
fn the_two_algorithm_identifiers_of_a_list_are_the_same() {
    let sound = list(V2, &next_update(), &[], &[]);
    assert!(Crl::from_der(&sound).is_ok());
    let algorithm = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
    let places = sound.windows(8).enumerate();
    let places: Vec<_> = places
        .filter(|(_, window)| *window == algorithm)
        .map(|(place, _)| place + 7)
        .collect();
    assert_eq!(places.len(), 2);
    for place in places {
        let mut differing = sound.clone();
        differing[place] = 0x03;
        let refused = Crl::from_der(&differing);
        assert!(
            matches!(
                refused,
                Err(X509Error::Malformed {
                    field: "signatureAlgorithm",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

/// Returns this many different unknown extensions.
fn extensions(count: u8) -> Vec<Vec<u8>> {
    (0..count)
        .map(|kind| extension(&[0x2A, kind], false, &[]))
        .collect()
}

#[test]
fn what_may_be_in_an_entry_is_taken() {
    // The invalidity date may be critical, because it changes nothing here.
    let invalidity = extension(&[0x55, 0x1D, 24], true, &tlv(0x18, b"20251224000000Z"));
    let der = list(V2, &next_update(), &[entry(&[7], &[invalidity])], &[]);
    assert_eq!(Crl::from_der(&der).unwrap().revocations().len(), 1);
    // The maximum number of extensions, all unknown.
    let der = list(V2, &[], &[entry(&[7], &extensions(20))], &extensions(20));
    assert_eq!(Crl::from_der(&der).unwrap().revocations().len(), 1);
    // The longest CRL number.
    let number = [&[2, 20, 1][..], &[0; 19]].concat();
    let number = extension(&[0x55, 0x1D, 20], false, &number);
    let der = list(V2, &next_update(), &[], &[number]);
    let crl = Crl::from_der(&der).unwrap();
    assert_eq!(crl.number().unwrap().as_bytes().len(), 20);
}

/// The name and the serial number beside the key identifier exclude nothing, so a CA that writes them badly still revokes.
#[test]
fn a_list_is_read_whatever_stands_beside_its_key_identifier() {
    let identified = |value: &[u8]| {
        let identifier = extension(&[0x55, 0x1D, 35], false, value);
        let der = list(V2, &next_update(), &[entry(&[7], &[])], &[identifier]);
        let crl = Crl::from_der(&der).unwrap();
        assert_eq!(crl.revocations().len(), 1);
        crl.authority_key_identifier().map(<[u8]>::to_vec)
    };
    let key: [u8; 4] = [0x80, 2, 0xAB, 0xCD];
    let attribute = |text: &[u8]| tlv(0x30, &[tlv(6, &[0x55, 4, 3]), tlv(0x0C, text)].concat());
    // A set that is not sorted, and a number with a redundant octet.
    let unsorted = tlv(0x31, &[attribute(b"b"), attribute(b"a")].concat());
    let issuer = tlv(0xA1, &tlv(0xA4, &tlv(0x30, &unsorted)));
    let padded = [0x82, 2, 0, 5];
    let value = tlv(0x30, &[&key[..], &issuer, &padded].concat());
    assert_eq!(identified(&value), Some(vec![0xAB, 0xCD]));
    let keyless = tlv(0x30, &[&issuer[..], &padded].concat());
    for none in [&keyless[..], &[0x30, 0], &[5, 0], &[]] {
        assert_eq!(identified(none), None, "{none:02X?}");
    }
}

/// Some CAs write redundant octets in serial numbers, which is not DER, in certificates and CRLs alike.
#[test]
fn a_padded_serial_number_of_a_list_is_the_number_that_it_is() {
    let entries = [
        entry(&[0, 0, 5], &[]),
        entry(&[0, 0, 0x85], &[]),
        entry(&[0xFF, 0x85], &[]),
        entry(&[4], &[]),
    ];
    let der = list(V2, &next_update(), &entries, &[]);
    let crl = Crl::from_der(&der).unwrap();
    let minimal: Vec<_> = crl
        .revocations()
        .iter()
        .map(|entry| entry.serial.as_bytes())
        .collect();
    assert_eq!(minimal, [&[0, 0x85][..], &[4], &[5], &[0x85]]);
    // In DER, as in certificates.
    let der = list(
        V2,
        &next_update(),
        &[5, 6].map(|serial| entry(&[serial], &[])),
        &[],
    );
    let others = Crl::from_der(&der).unwrap();
    let found = others.revocations().iter();
    let found: Vec<_> = found
        .map(|entry| crl.find(entry.serial).is_some())
        .collect();
    assert_eq!(found, [true, false]);
}

#[test]
fn lists_that_are_malformed_are_refused() {
    let number = |value: &[u8]| extension(&[0x55, 0x1D, 20], false, value);
    let reason = |value: &[u8]| entry(&[1], &[extension(REASON, false, value)]);
    let sound = || entry(&[1], &[]);
    for (der, field) in [
        (list(&[2, 1, 0], &next_update(), &[], &[]), "version"),
        (list(&[2, 1, 2], &next_update(), &[], &[]), "version"),
        (
            list(V2, &next_update(), &[sound()], &[number(&[2, 1, 0xFF])]),
            "cRLNumber",
        ),
        (
            list(
                V2,
                &[],
                &[],
                &[number(&[&[2, 21, 1][..], &[0; 20]].concat())],
            ),
            "cRLNumber",
        ),
        (
            list(V2, &[], &[], &[number(&[2, 1, 1]), number(&[2, 1, 1])]),
            "crlExtensions",
        ),
        (list(V2, &[], &[], &extensions(21)), "crlExtensions"),
        (list(V2, &[], &[reason(&[0x0A, 1, 7])], &[]), "reasonCode"),
        (list(V2, &[], &[reason(&[2, 1, 1])], &[]), "reasonCode"),
        // Two reasons, one of which may be *on hold*.
        (
            list(
                V2,
                &[],
                &[entry(
                    &[1],
                    &[
                        extension(REASON, false, &[0x0A, 1, 1]),
                        extension(REASON, false, &[0x0A, 1, 6]),
                    ],
                )],
                &[],
            ),
            "reasonCode",
        ),
        (
            list(V2, &[], &[entry(&[1], &extensions(21))], &[]),
            "revokedCertificates",
        ),
        (
            list(V2, &[], &[tlv(0x30, &tlv(2, &[1]))], &[]),
            "revokedCertificates",
        ),
        (
            list(V2, &[], &[entry(&[], &[])], &[]),
            "revokedCertificates",
        ),
        (
            list(V2, &[], &[sound()], &[extension(POINT, true, &[5, 0])]),
            "issuingDistributionPoint",
        ),
        (
            [list(V2, &[], &[], &[]), vec![0]].concat(),
            "CertificateList",
        ),
    ] {
        match Crl::from_der(&der) {
            Err(X509Error::Malformed { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_serial_number_is_found_in_a_list_of_a_hundred_thousand() {
    const ENTRIES: u32 = 100_000;
    let mut serials: Vec<u32> = (0..ENTRIES).map(|index| index * 3 + 0x1000_0000).collect();
    fastrand::Rng::with_seed(12).shuffle(&mut serials);
    let of = |add: u32| {
        let entries: Vec<_> = serials
            .iter()
            .map(|serial| entry(&(serial + add).to_be_bytes(), &[]))
            .collect();
        list(V2, &next_update(), &entries, &[])
    };
    let (listed, others) = (of(0), of(1));
    let (listed, others) = (
        Crl::from_der(&listed).unwrap(),
        Crl::from_der(&others).unwrap(),
    );
    assert_eq!(listed.revocations().len(), serials.len());
    // The documentation states it.
    #[cfg(target_pointer_width = "64")]
    assert_eq!(size_of_val(listed.revocations()), 40 * serials.len());
    for revoked in listed.revocations() {
        assert_eq!(listed.find(revoked.serial), Some(revoked));
        assert_eq!(others.find(revoked.serial), None);
    }
}

#[test]
fn lists_of_more_bytes_than_the_limit_are_refused_unread() {
    let long = vec![0x30; MAX_CRL_LEN + 1];
    let too_long = X509Error::TooLong {
        found: long.len(),
        limit: MAX_CRL_LEN,
    };
    assert_eq!(Crl::from_der(&long).unwrap_err(), too_long);
    let text = "the input has 16777217 bytes, more than 16777216";
    assert_eq!(too_long.to_string(), text);
    let longest = Crl::from_der(&long[1..]);
    assert!(matches!(longest, Err(X509Error::Malformed { .. })));
}
