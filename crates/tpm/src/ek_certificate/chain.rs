//! The path from an endorsement certificate to a manufacturer's root, found by `keyproof-x509`.

use alloc::{format, string::String, vec::Vec};

use keyproof_x509::{
    Certificate, Finding, ObjectIdentifier, Severity,
    path::{
        CertificatePool, CertificateSource, PathCheck, PathOptions, PathReport, Purpose, Reason,
        TrustAnchors, find,
    },
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
    let (intermediates, roots) = (
        CertificatePool::new(policy.intermediates),
        TrustAnchors::new(policy.roots),
    );
    let mut options = PathOptions::new(policy.algorithms, policy.now);
    options.purpose = Some(Purpose::required_if_present(ObjectIdentifier::new_unwrap(
        EK_CERTIFICATE_USE,
    )));
    options.processed_extensions = &ALSO_UNDERSTOOD;
    options.crls = policy.crls;
    options.require_crls = policy.require_crls;
    options.validate_anchors = true;
    let report = find(certificate, &intermediates, &roots, &options);
    match (report.refusal(), report.chain().last()) {
        (None, Some(root)) if report.accepted() => {
            let chain = EkCertificateFinding::Chain {
                root: root.subject.clone(),
                // The chain also contains the certificate itself and the root.
                intermediates: report.chain().len().saturating_sub(2),
            };
            let warnings = report
                .checks()
                .findings(PathCheck::Revocation)
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
            reason: Reason::BudgetExhausted,
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
    let mut options = PathOptions::new(policy.algorithms, policy.now);
    options.processed_extensions = &ALSO_UNDERSTOOD;
    options.crls = policy.crls;
    let report = find(
        certificate,
        &CertificatePool::default(),
        &known.collect(),
        &options,
    );
    let refusal = report.refusal()?;
    let is_revoked = matches!(refusal.reason, Reason::Revoked { .. });
    is_revoked.then(|| EkCertificateFinding::ChainRefused {
        certificate: whose(&report, refusal.at),
        reason: refusal.reason.clone(),
    })
}

/// Describes a certificate of the chain. The subject of an endorsement certificate is usually empty.
fn whose(report: &PathReport, at: usize) -> String {
    match report.chain().get(at) {
        Some(step) => match step.place {
            CertificateSource::Anchor(_) if at + 1 == report.chain().len() => {
                format!("the root {}", step.subject)
            }
            CertificateSource::Anchor(_) | CertificateSource::Intermediate(_) => {
                format!("the intermediate {}", step.subject)
            }
            CertificateSource::Leaf => "the endorsement certificate".into(),
        },
        None => "the endorsement certificate".into(),
    }
}
