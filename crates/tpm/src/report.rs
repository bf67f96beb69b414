//! Reports: every check by name, how it ended, and why.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use keyproof_x509::{Outcome, Row};

/// The checks of one kind of report.
pub trait Check: Copy + PartialEq + 'static {
    /// All of them, in the order of reports.
    const ALL: &'static [Self];

    /// The check's stable name.
    fn name(self) -> &'static str;
}

/// What a check of a key, a quote or a certificate found.
///
/// The verdict is derived from it, never kept beside it: a check that has no line counts as failed.
///
/// `Display` draws one line a check. With the feature `serde` it is an object
/// `{"accepted", "checks": [{"name", "outcome", "detail"}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<C> {
    lines: Vec<(C, Outcome, Cow<'static, str>)>,
}

impl<C: Check> Report<C> {
    pub(crate) fn new() -> Self {
        Report {
            lines: Vec::with_capacity(C::ALL.len()),
        }
    }

    pub(crate) fn pass(&mut self, check: C, detail: impl Into<Cow<'static, str>>) {
        self.lines.push((check, Outcome::Pass, detail.into()));
    }

    pub(crate) fn warn(&mut self, check: C, detail: impl Into<Cow<'static, str>>) {
        self.lines.push((check, Outcome::Warn, detail.into()));
    }

    pub(crate) fn fail(&mut self, check: C, detail: impl Into<Cow<'static, str>>) {
        self.lines.push((check, Outcome::Fail, detail.into()));
    }

    /// For a check that lacks its input: none was given, or an earlier check failed on it.
    pub(crate) fn skip(&mut self, check: C, detail: impl Into<Cow<'static, str>>) {
        self.lines.push((check, Outcome::Skipped, detail.into()));
    }

    /// Makes a warning of a failure; `why` stands before what had failed.
    pub(crate) fn overrule(&mut self, check: C, why: &str) {
        let failed = self
            .lines
            .iter_mut()
            .find(|(of, outcome, _)| *of == check && *outcome == Outcome::Fail);
        if let Some((_, outcome, detail)) = failed {
            *outcome = Outcome::Warn;
            *detail = format!("{why}: {detail}").into();
        }
    }

    /// Skips all checks that have no line yet.
    pub(crate) fn skip_missing(&mut self, detail: &'static str) {
        for check in C::ALL {
            if self.line(*check).is_none() {
                self.skip(*check, detail);
            }
        }
    }

    /// Passes the check if `holds`, else fails it.
    pub(crate) fn judge(
        &mut self,
        check: C,
        holds: bool,
        passed: &'static str,
        failed: impl Into<Cow<'static, str>>,
    ) {
        if holds {
            self.pass(check, passed);
        } else {
            self.fail(check, failed);
        }
    }

    /// Whether no check failed. One is skipped without a failure only if it is about something that
    /// the caller did not hand in.
    pub fn accepted(&self) -> bool {
        C::ALL
            .iter()
            .all(|check| self.outcome(*check) != Outcome::Fail)
    }

    /// How one check ended.
    pub fn outcome(&self, check: C) -> Outcome {
        self.line(check)
            .map_or(Outcome::Fail, |(_, outcome, _)| *outcome)
    }

    /// Why one check ended so, for people.
    pub fn detail(&self, check: C) -> &str {
        self.line(check)
            .map_or("not judged", |(_, _, detail)| detail)
    }

    /// One row for each check, in the order of [`Check::ALL`].
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        C::ALL.iter().map(|check| Row {
            name: check.name(),
            outcome: self.outcome(*check),
            detail: self.detail(*check).into(),
        })
    }

    /// The details of all failed checks.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        C::ALL
            .iter()
            .filter(|check| self.outcome(**check) == Outcome::Fail)
            .map(|check| self.detail(*check))
    }

    fn line(&self, check: C) -> Option<&(C, Outcome, Cow<'static, str>)> {
        self.lines.iter().find(|(of, _, _)| *of == check)
    }
}

impl<C: Check> fmt::Display for Report<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows() {
            writeln!(
                f,
                "{:<7}  {:<21}  {}",
                row.outcome.name(),
                row.name,
                row.detail
            )?;
        }
        f.write_str(if self.accepted() {
            "accepted"
        } else {
            "refused"
        })
    }
}

#[cfg(feature = "serde")]
impl<C: Check> serde::Serialize for Report<C> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut object = serializer.serialize_struct("Report", 2)?;
        object.serialize_field("accepted", &self.accepted())?;
        object.serialize_field("checks", &self.rows().collect::<Vec<_>>())?;
        object.end()
    }
}

/// Declares the checks of a report: one table of their order and their names.
macro_rules! checks {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident { $($(#[$check_meta:meta])* $check:ident = $text:literal;)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        $vis enum $name {
            $($(#[$check_meta])* $check,)*
        }

        impl $crate::report::Check for $name {
            const ALL: &'static [Self] = &[$($name::$check,)*];

            fn name(self) -> &'static str {
                match self {
                    $($name::$check => $text,)*
                }
            }
        }
    };
}
pub(crate) use checks;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    checks! {
        /// For the tests.
        TestCheck {
            /// The first.
            First = "first";
            /// The second.
            Second = "second";
        }
    }

    #[test]
    fn a_check_without_a_line_is_a_refusal() {
        let mut report = Report::new();
        assert!(!report.accepted());
        report.pass(TestCheck::Second, "in order");
        assert!(!report.accepted());
        assert_eq!(report.outcome(TestCheck::First), Outcome::Fail);
        report.skip(TestCheck::First, "nothing handed in");
        assert!(report.accepted());
        assert_eq!(
            report.to_string(),
            "skipped  first                  nothing handed in\n\
             pass     second                 in order\n\
             accepted"
        );
    }

    #[test]
    fn a_warning_accepts_and_a_failure_refuses() {
        let mut report = Report::new();
        report.warn(TestCheck::First, "odd");
        report.judge(TestCheck::Second, true, "yes", "no");
        assert!(report.accepted());
        assert_eq!(report.detail(TestCheck::Second), "yes");

        let mut report = Report::new();
        report.warn(TestCheck::First, "odd");
        report.judge(TestCheck::Second, false, "yes", "no");
        assert!(!report.accepted());
        assert_eq!(report.failures().collect::<Vec<_>>(), ["no"]);
    }
}
