//! Verdicts that explain themselves: `{"accepted", "checks": [{"name", "outcome", "detail"}], …facts}`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Failure, Outcome, output};

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckOutcome {
    Pass,
    Fail,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    outcome: CheckOutcome,
    detail: String,
}

/// A report: its checks in order, and the facts that were found.
#[derive(Serialize)]
pub(super) struct Report {
    accepted: bool,
    checks: Vec<Check>,
    #[serde(flatten)]
    facts: Map<String, Value>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            accepted: true,
            checks: Vec::new(),
            facts: Map::new(),
        }
    }

    /// Adds a check; one that failed refuses the whole.
    pub(super) fn check(&mut self, name: &'static str, outcome: CheckOutcome, detail: String) {
        self.accepted &= outcome != CheckOutcome::Fail;
        self.checks.push(Check {
            name,
            outcome,
            detail,
        });
    }

    pub(super) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Prints it, and ends with the exit code that it deserves.
    pub(super) fn finish(&self, json: bool) -> Outcome {
        if json {
            output::print_json(self)?;
        } else {
            let mut text = String::from(if self.accepted { "accepted" } else { "refused" });
            for check in &self.checks {
                let outcome = match check.outcome {
                    CheckOutcome::Pass => "pass",
                    CheckOutcome::Fail => "fail",
                };
                text += &format!("\n  {outcome}  {}: {}", check.name, check.detail);
            }
            output::print(&text)?;
        }
        if self.accepted {
            Ok(())
        } else {
            Err(Failure::Negative)
        }
    }
}
