//! From an endorsement certificate to a manufacturer's root, by the path search of `keyproof-x509`.

use alloc::format;
use alloc::string::String;

use keyproof_x509::path::{PathReport, Place, Pool, Purpose, Reason, Rules, find};
use keyproof_x509::{Certificate, ObjectIdentifier, SignatureVerificationAlgorithm};

use super::EkCertificateFinding;
use super::extensions::{ALSO_UNDERSTOOD, EK_CERTIFICATE_USE};

/// What a chain is built from and for when.
pub(super) struct Chain<'a> {
    pub(super) intermediates: &'a [&'a [u8]],
    pub(super) roots: &'a [&'a [u8]],
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl Chain<'_> {
    /// Builds the chain of a certificate; says where it ends and how long it is, or why there is none.
    pub(super) fn build(&self, certificate: &Certificate<'_>) -> EkCertificateFinding {
        if self.roots.is_empty() {
            return EkCertificateFinding::ChainWithoutRoots;
        }
        let (intermediates, roots) = (Pool::of(self.intermediates), Pool::of(self.roots));
        let rules = Rules::new(self.algorithms, self.now)
            .for_purpose(Purpose {
                id: ObjectIdentifier::new_unwrap(EK_CERTIFICATE_USE),
                is_required: false,
            })
            .processing(&ALSO_UNDERSTOOD);
        let report = find(certificate, &intermediates, &roots, &rules);
        match (report.refusal(), report.walk().last()) {
            (None, Some(root)) if report.accepted() => EkCertificateFinding::Chain {
                root: root.subject.clone(),
                // All but the certificate itself and the root.
                intermediates: report.walk().len().saturating_sub(2),
            },
            (Some(refusal), _) => EkCertificateFinding::ChainRefused {
                certificate: whose(&report, refusal.at),
                reason: refusal.reason.clone(),
            },
            // Whatever is refused says why.
            (None, _) => EkCertificateFinding::ChainRefused {
                certificate: whose(&report, 0),
                reason: Reason::BudgetSpent,
            },
        }
    }
}

/// A certificate of the walk. The endorsement certificate's own subject is empty, as a rule.
fn whose(report: &PathReport, at: usize) -> String {
    match report.walk().get(at) {
        Some(step) => match step.place {
            Place::Anchor(_) => format!("the root {}", step.subject),
            Place::Intermediate(_) => format!("the intermediate {}", step.subject),
            Place::Leaf => "the endorsement certificate".into(),
        },
        None => "the endorsement certificate".into(),
    }
}
