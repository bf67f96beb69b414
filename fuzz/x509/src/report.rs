//! Properties of every report.

use std::fmt::Debug;

use keyproof_x509::{Check, Finding, Outcome, Report, Severity};

/// Asserts that each check has a line with a reason, that the verdict follows from the lines, and that each finding has a remedy.
pub(crate) fn sound<F: Debug + Finding>(report: &Report<F>) {
    assert_eq!(report.rows().count(), F::Check::ALL.len());
    let refuses = report.rows().any(|row| row.outcome.refuses());
    assert_eq!(report.accepted(), !refuses, "{report}");
    assert_eq!(
        report.first_refusal().is_some(),
        !report.reasons().is_empty()
    );
    for check in F::Check::ALL {
        assert!(!report.detail(*check).is_empty(), "{report}");
        for finding in report.findings(*check) {
            assert!(!finding.remedy().is_empty(), "{finding}");
            let refuses = finding.severity() == Severity::Refusal;
            assert!(
                !refuses || report.outcome(*check) == Outcome::Fail,
                "{report}"
            );
        }
    }
    assert!(report.to_string().lines().count() > F::Check::ALL.len());
    assert!(!format!("{report:?}").is_empty());
}
