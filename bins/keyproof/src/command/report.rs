//! Verdicts that explain themselves: `{"accepted", "checks": [{"name", "outcome", "detail"}], …facts}`.

use keyproof_x509::{Finding, Report};
use serde_json::Value;

use super::{Failure, Outcome, output};

/// Prints a report, as text or as JSON with the members of `facts` beside it, and ends with the exit code that it deserves.
pub(super) fn finish<F: Finding>(report: &Report<F>, json: bool, facts: &Value) -> Outcome {
    if json {
        print_json(report, facts)?;
    } else {
        // What certificates say of themselves is shown as a terminal may show it.
        let text = report.to_string();
        let lines: Vec<String> = text.lines().map(output::printable).collect();
        output::print(&lines.join("\n"))?;
    }
    verdict(report)
}

/// Prints a report as JSON, with the members of `facts` beside it.
pub(super) fn print_json<F: Finding>(report: &Report<F>, facts: &Value) -> Outcome {
    let mut document = serde_json::to_value(report).map_err(Failure::refused)?;
    if let (Some(document), Some(facts)) = (document.as_object_mut(), facts.as_object()) {
        document.extend(facts.clone());
    }
    output::print_json(&document)?;
    Ok(())
}

/// The exit code that a report deserves.
pub(super) fn verdict<F: Finding>(report: &Report<F>) -> Outcome {
    if report.accepted() {
        Ok(())
    } else {
        Err(Failure::Negative)
    }
}
