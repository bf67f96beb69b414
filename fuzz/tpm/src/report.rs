//! Properties of every report.

use std::fmt::Debug;

use keyproof_tpm::{Check, Finding, Outcome, Report};

/// Asserts that each check has a line with a reason, that the verdict follows from the lines, and that each finding has a remedy.
pub(crate) fn sound<F: Debug + Finding>(report: &Report<F>) {
    assert_eq!(report.rows().count(), F::Check::ALL.len());
    let refuses = report.rows().any(|row| row.outcome.refuses());
    assert_eq!(report.accepted(), !refuses, "{report}");
    for check in F::Check::ALL {
        assert!(!report.detail(*check).is_empty(), "{report}");
        for finding in report.findings(*check) {
            assert!(!finding.remedy().is_empty(), "{finding}");
            assert!(finding.severity() <= keyproof_tpm::Severity::Refusal);
        }
        let failed = report.outcome(*check) == Outcome::Fail;
        let refusals = report.refusals();
        assert_eq!(
            failed,
            refusals.into_iter().any(|found| found.check() == *check)
        );
    }
    assert!(report.to_string().lines().count() > F::Check::ALL.len());
    assert!(!format!("{report:?}").is_empty());
}
