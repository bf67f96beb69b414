//! The path from an endorsement certificate to a manufacturer's root, found by `keyproof-x509`.

use alloc::{format, string::String, vec::Vec};

use keyproof_x509::{
    Certificate, Finding, ObjectIdentifier, Severity,
    path::{PathCheck, PathReport, Place, Pool, Purpose, Reason, Rules, find},
};

use super::{
    EkCertificateFinding, EkCertificatePolicy,
    extensions::{ALSO_UNDERSTOOD, EK_CERTIFICATE_USE},
};

/// Searches the chain of a certificate. Reports its root, its length and warnings, or why there is
/// none.
pub(super) fn build(
    certificate: &Certificate<'_>,
    policy: &EkCertificatePolicy<'_>,
) -> Vec<EkCertificateFinding> {
    if policy.roots.is_empty() {
        return Vec::from([EkCertificateFinding::ChainWithoutRoots]);
    }
    let (intermediates, roots) = (Pool::of(policy.intermediates), Pool::of(policy.roots));
    let mut rules = Rules::new(policy.algorithms, policy.now);
    rules.purpose = Some(Purpose {
        id: ObjectIdentifier::new_unwrap(EK_CERTIFICATE_USE),
        is_required: false,
    });
    rules.processed = &ALSO_UNDERSTOOD;
    rules.crls = policy.crls;
    rules.require_crls = policy.require_crls;
    rules.judge_anchors = true;
    let report = find(certificate, &intermediates, &roots, &rules);
    match (report.refusal(), report.walk().last()) {
        (None, Some(root)) if report.accepted() => {
            let chain = EkCertificateFinding::Chain {
                root: root.subject.clone(),
                // The walk also contains the certificate itself and the root.
                intermediates: report.walk().len().saturating_sub(2),
            };
            let warnings = report
                .checks()
                .of(PathCheck::Revocation)
                .filter(|finding| finding.severity() >= Severity::Warning)
                .map(|finding| EkCertificateFinding::ChainWarning {
                    certificate: whose(&report, finding.at),
                    reason: finding.reason.clone(),
                });
            [chain].into_iter().chain(warnings).collect()
        }
        (Some(refusal), _) => Vec::from([EkCertificateFinding::ChainRefused {
            certificate: whose(&report, refusal.at),
            reason: refusal.reason.clone(),
        }]),
        // A rejected path always has a refusal; this is a fallback.
        (None, _) => Vec::from([EkCertificateFinding::ChainRefused {
            certificate: whose(&report, 0),
            reason: Reason::BudgetSpent,
        }]),
    }
}

/// Reports a certificate on the allow-list that an issuer's CRL revokes. The issuer may be among
/// the roots or the intermediates. Any other reason to reject the path to it hides the revocation.
pub(super) fn revocation(
    certificate: &Certificate<'_>,
    policy: &EkCertificatePolicy<'_>,
) -> Option<EkCertificateFinding> {
    let known = policy.roots.iter().chain(policy.intermediates).copied();
    let mut rules = Rules::new(policy.algorithms, policy.now);
    rules.processed = &ALSO_UNDERSTOOD;
    rules.crls = policy.crls;
    let report = find(certificate, &Pool::default(), &known.collect(), &rules);
    let refusal = report.refusal()?;
    let is_revoked = matches!(refusal.reason, Reason::Revoked { .. });
    is_revoked.then(|| EkCertificateFinding::ChainRefused {
        certificate: whose(&report, refusal.at),
        reason: refusal.reason.clone(),
    })
}

/// Describes a certificate of the walk. The subject of an endorsement certificate is usually empty.
fn whose(report: &PathReport, at: usize) -> String {
    match report.walk().get(at) {
        Some(step) => match step.place {
            Place::Anchor(_) if at + 1 == report.walk().len() => {
                format!("the root {}", step.subject)
            }
            Place::Anchor(_) | Place::Intermediate(_) => {
                format!("the intermediate {}", step.subject)
            }
            Place::Leaf => "the endorsement certificate".into(),
        },
        None => "the endorsement certificate".into(),
    }
}
