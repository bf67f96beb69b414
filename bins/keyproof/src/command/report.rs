//! Reports of checks: `{"accepted", "checks": [{"name", "outcome", "detail"}], …facts}`.

use keyproof_x509::{Finding, Report};
use serde_json::Value;

use super::{Failure, Outcome, output};

/// Prints a report as text, or as JSON together with the members of `facts`. Returns its [`verdict`].
pub(super) fn finish<F: Finding>(report: &Report<F>, json: bool, facts: &Value) -> Outcome {
    if json {
        print_json(report, facts)?;
    } else {
        // Texts from certificates may contain control characters.
        let text = report.to_string();
        let lines: Vec<String> = text.lines().map(output::printable).collect();
        output::print(&lines.join("\n"))?;
    }
    verdict(report)
}

/// Prints a report as JSON, together with the members of `facts`.
pub(super) fn print_json<F: Finding>(report: &Report<F>, facts: &Value) -> Outcome {
    let mut document = serde_json::to_value(report).map_err(Failure::refused)?;
    if let (Some(document), Some(facts)) = (document.as_object_mut(), facts.as_object()) {
        document.extend(facts.clone());
    }
    output::print_json(&document)
}

/// Fails with exit code 1 if the report rejects.
pub(super) fn verdict<F: Finding>(report: &Report<F>) -> Outcome {
    if report.accepted() {
        Ok(())
    } else {
        Err(Failure::Negative)
    }
}
