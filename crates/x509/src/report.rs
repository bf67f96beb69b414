//! Reports: each check by name, its outcome, and the reason. This crate and the crates above it share one report type.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// The checks of one kind of report, which [`checks!`](crate::checks) declares.
pub trait Check: Copy + fmt::Debug + Eq + 'static {
    /// All checks, in the order of reports. The verdict does not cover a check that is missing here.
    const ALL: &'static [Self];

    /// Returns the stable name of the check.
    fn name(self) -> &'static str;

    /// Returns the text for a check that found nothing.
    fn passed_text(self) -> &'static str;

    /// Returns the text for a check of another time than the present that found nothing.
    fn passed_text_at_requested_time(self) -> &'static str {
        self.passed_text()
    }
}

/// A typed finding of a check, with the data that explains it. `Display` writes it for people and never contains a secret.
///
/// [`severity`](Self::severity) alone decides which findings refuse.
pub trait Finding: fmt::Display {
    /// The checks that produce these findings.
    type Check: Check;

    /// Returns the check that this finding belongs to.
    fn check(&self) -> Self::Check;

    /// Returns how the finding affects the verdict.
    fn severity(&self) -> Severity;

    /// Returns what a person can do about it, as a clause without a full stop.
    fn remedy(&self) -> &'static str;
}

/// How a finding affects the verdict.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Information; the check passes.
    Remark,
    /// A warning under any policy.
    Warning,
    /// A warning by default, a refusal under a strict policy: a standard forbids it, but verifiers in use accept it.
    Irregular,
    /// A refusal.
    Refusal,
}

/// Whether a report refuses for irregular findings ([`Severity::Irregular`]).
///
/// ```
/// use keyproof_x509::Strictness;
///
/// assert_eq!(Strictness::default(), Strictness::Lenient);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Strictness {
    /// They are warnings.
    #[default]
    Lenient,
    /// They refuse.
    Strict,
}

impl Strictness {
    /// Returns the name of the policy in JSON.
    #[cfg(feature = "serde")]
    fn name(self) -> &'static str {
        match self {
            Self::Lenient => "default",
            Self::Strict => "strict",
        }
    }
}

/// The outcome of a check.
///
/// ```
/// use keyproof_x509::Outcome;
///
/// assert!(Outcome::NotEvaluated.refuses() && !Outcome::NotRequested.refuses());
/// assert_eq!((Outcome::NotEvaluated.name(), Outcome::Warn.name()), ("skipped", "warn"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The check failed.
    Fail,
    /// The caller did not request what this check covers. The report is not refused for it.
    NotRequested,
    /// The check could not be run, because something that it needs was refused. The report is refused.
    NotEvaluated,
    /// The check passed.
    Pass,
    /// The check passed under this policy, with a warning.
    Warn,
}

impl Outcome {
    /// Returns the stable name: `fail`, `pass`, `warn`, or `skipped` for both `NotRequested` and `NotEvaluated`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::NotRequested | Self::NotEvaluated => "skipped",
            Self::Pass => "pass",
            Self::Warn => "warn",
        }
    }

    /// Returns whether this outcome makes the report refuse.
    #[must_use = "it is the verdict on the check"]
    pub fn refuses(self) -> bool {
        matches!(self, Self::Fail | Self::NotEvaluated)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a check got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    Done,
    NotRequested(&'static str),
    NotEvaluated(&'static str),
}

/// The findings of a set of checks.
///
/// The verdict is always derived from the findings. A check passes only if it was run to its end and found nothing worse than a
/// warning. A check that was never run refuses.
///
/// `Display` writes one line for each check. With the feature `serde` a report is an object
/// `{"accepted", "policy", "checks": [{"name", "outcome", "detail"}]}`. Without [`with_strictness`](Self::with_strictness) there is no
/// `policy`.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Finding, Outcome, Policy, ProofCheck, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// // The CA certificate is uploaded instead of the leaf.
/// let report = prove(&ca, ca.as_der(), &code, 1_800_000_000, &Policy::new(RING));
/// assert!(!report.accepted());
/// assert_eq!(report.outcome(ProofCheck::NotTheCa), Outcome::Fail);
/// for finding in report.refusals() {
///     println!("{finding}: {}", finding.remedy());
/// }
/// assert!(report.rows().any(|row| row.name == "common-name" && row.outcome == Outcome::Fail));
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "the report has the verdict"]
pub struct Report<F: Finding> {
    progress: Vec<(F::Check, Progress)>,
    findings: Vec<F>,
    /// `None` if no policy was set.
    strictness: Option<Strictness>,
    /// Whether the report is about the present time.
    is_now: bool,
}

impl<F: Finding> Default for Report<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Finding> Report<F> {
    /// Creates a report in which no check has been run. Irregular findings are warnings.
    pub fn new() -> Self {
        Self {
            progress: Vec::with_capacity(F::Check::ALL.len()),
            findings: Vec::new(),
            strictness: None,
            is_now: true,
        }
    }

    /// Sets the policy.
    pub fn with_strictness(self, strictness: Strictness) -> Self {
        Self {
            strictness: Some(strictness),
            ..self
        }
    }

    /// Marks the report as being about another requested time, so that it says "at that time" instead of "now".
    pub fn at_requested_time(self) -> Self {
        Self {
            is_now: false,
            ..self
        }
    }

    /// Adds a finding of a check that is not finished.
    pub fn add(&mut self, finding: F) {
        self.findings.push(finding);
    }

    /// Marks a check as finished.
    pub fn done(&mut self, check: F::Check) {
        self.set(check, Progress::Done);
    }

    /// Marks a check as finished and adds its finding, if any.
    pub fn judged(&mut self, check: F::Check, finding: impl Into<Option<F>>) {
        self.findings.extend(finding.into());
        self.done(check);
    }

    /// Marks a check as not requested, and states what the caller did not request.
    pub fn not_requested(&mut self, check: F::Check, why: &'static str) {
        self.set(check, Progress::NotRequested(why));
    }

    /// Marks a check as not evaluated, and states what it lacks because that was refused.
    pub fn not_evaluated(&mut self, check: F::Check, why: &'static str) {
        self.set(check, Progress::NotEvaluated(why));
    }

    /// Marks each check without a result so far as not evaluated, and states what it lacks.
    pub fn remaining_not_evaluated(&mut self, why: &'static str) {
        for check in F::Check::ALL {
            if self.progress_of(*check).is_none() {
                self.not_evaluated(*check, why);
            }
        }
    }

    /// Returns the verdict: whether every check passed, with or without a warning, or was not requested.
    #[must_use = "it is the verdict"]
    pub fn accepted(&self) -> bool {
        let mut checks = F::Check::ALL.iter();
        !checks.any(|check| self.outcome(*check).refuses())
    }

    /// Returns the policy, or `None` if none was set, which is lenient.
    pub fn strictness(&self) -> Option<Strictness> {
        self.strictness
    }

    /// Returns the outcome of a check.
    pub fn outcome(&self, check: F::Check) -> Outcome {
        let worst = self
            .findings(check)
            .map(|finding| self.weight(finding))
            .max()
            .unwrap_or(Weight::Pass);
        match (worst, self.progress_of(check)) {
            (Weight::Fail, _) => Outcome::Fail,
            (_, None | Some(Progress::NotEvaluated(_))) => Outcome::NotEvaluated,
            (_, Some(Progress::NotRequested(_))) => Outcome::NotRequested,
            (Weight::Warn, Some(Progress::Done)) => Outcome::Warn,
            (Weight::Pass, Some(Progress::Done)) => Outcome::Pass,
        }
    }

    /// Returns the reason for a check's outcome, for people.
    pub fn detail(&self, check: F::Check) -> String {
        let found: Vec<_> = self.findings(check).map(ToString::to_string).collect();
        match self.progress_of(check) {
            _ if !found.is_empty() => found.join("; "),
            Some(Progress::Done) if self.is_now => check.passed_text().into(),
            Some(Progress::Done) => check.passed_text_at_requested_time().into(),
            Some(Progress::NotRequested(why) | Progress::NotEvaluated(why)) => why.into(),
            None => "not checked".into(),
        }
    }

    /// Returns the findings that refuse, in the order of the checks. A report can refuse without any
    /// ([`accepted`](Self::accepted)).
    pub fn refusals(&self) -> impl Iterator<Item = &F> {
        F::Check::ALL
            .iter()
            .flat_map(|check| self.findings(*check))
            .filter(|finding| self.weight(finding) == Weight::Fail)
    }

    /// Returns the first finding that refuses, in the order of the checks. `None` is no verdict, because a check that was not
    /// evaluated refuses without a finding: see [`accepted`](Self::accepted).
    pub fn first_refusal(&self) -> Option<&F> {
        self.refusals().next()
    }

    /// Returns the texts of the findings that refuse, joined by semicolons.
    pub fn reasons(&self) -> String {
        let refusals: Vec<_> = self.refusals().map(ToString::to_string).collect();
        refusals.join("; ")
    }

    /// Returns the findings of one check.
    pub fn findings(&self, check: F::Check) -> impl Iterator<Item = &F> {
        self.findings
            .iter()
            .filter(move |finding| finding.check() == check)
    }

    /// Returns one row for each check, in the order of [`Check::ALL`].
    pub fn rows(&self) -> impl Iterator<Item = ReportRow> {
        F::Check::ALL.iter().map(|check| ReportRow {
            name: check.name(),
            outcome: self.outcome(*check),
            detail: self.detail(*check),
        })
    }

    fn set(&mut self, check: F::Check, progress: Progress) {
        self.progress.retain(|(of, _)| *of != check);
        self.progress.push((check, progress));
    }

    fn progress_of(&self, check: F::Check) -> Option<Progress> {
        let mut progress = self.progress.iter();
        progress.find_map(|(of, progress)| (*of == check).then_some(*progress))
    }

    fn weight(&self, finding: &F) -> Weight {
        match finding.severity() {
            Severity::Remark => Weight::Pass,
            Severity::Irregular if self.strictness == Some(Strictness::Strict) => Weight::Fail,
            Severity::Irregular | Severity::Warning => Weight::Warn,
            Severity::Refusal => Weight::Fail,
        }
    }
}

/// The weight of a finding under the report's policy.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Weight {
    Pass,
    Warn,
    Fail,
}

impl<F: Finding> fmt::Display for Report<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = F::Check::ALL.iter().map(|check| check.name().len());
        let width = names.max().unwrap_or(0);
        for row in self.rows() {
            writeln!(
                f,
                "{:<7}  {:<width$}  {}",
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

/// One row of a report.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ReportRow {
    /// The name of the check.
    pub name: &'static str,
    /// The outcome of the check.
    pub outcome: Outcome,
    /// The reason, for people.
    pub detail: String,
}

#[cfg(feature = "serde")]
impl serde::Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl<F: Finding> serde::Serialize for Report<F> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let policy = self.strictness.map(Strictness::name);
        let length = 2 + usize::from(policy.is_some());
        let mut object = serializer.serialize_struct("Report", length)?;
        object.serialize_field("accepted", &self.accepted())?;
        if let Some(policy) = policy {
            object.serialize_field("policy", policy)?;
        }
        object.serialize_field("checks", &self.rows().collect::<Vec<_>>())?;
        object.end()
    }
}

/// Declares the checks of a report in one table: their order, their names, and the text for a check that found nothing. A second
/// text after `|` is used if the report is about another requested time.
///
/// ```
/// keyproof_x509::checks! {
///     /// The checks of a door.
///     pub DoorCheck {
///         /// `closed`: the door is closed.
///         Closed = "closed", "it is closed now" | "it is closed at that time";
///     }
/// }
/// ```
#[macro_export]
macro_rules! checks {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident {
            $($(#[$check_meta:meta])* $check:ident = $text:literal, $well:literal $(| $then:literal)?;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        $vis enum $name {
            $($(#[$check_meta])* $check,)*
        }

        impl $crate::Check for $name {
            const ALL: &'static [Self] = &[$($name::$check,)*];

            fn name(self) -> &'static str {
                match self {
                    $($name::$check => $text,)*
                }
            }

            fn passed_text(self) -> &'static str {
                match self {
                    $($name::$check => $well,)*
                }
            }

            fn passed_text_at_requested_time(self) -> &'static str {
                $($(if self == $name::$check {
                    return $then;
                })?)*
                $crate::Check::passed_text(self)
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str($crate::Check::name(*self))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    checks! {
        /// Checks for the tests.
        DoorCheck {
            /// The first check.
            Closed = "closed", "it is closed now" | "it was closed then";
            /// The second check, with a longer name.
            Locked = "locked-up", "it is locked";
        }
    }

    #[derive(Clone, Debug, Eq, PartialEq)]
    struct Seen(DoorCheck, Severity);

    impl Finding for Seen {
        type Check = DoorCheck;

        fn check(&self) -> DoorCheck {
            self.0
        }

        fn severity(&self) -> Severity {
            self.1
        }

        fn remedy(&self) -> &'static str {
            "see to it"
        }
    }

    impl fmt::Display for Seen {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.1)
        }
    }

    #[test]
    fn a_check_that_nobody_ran_refuses() {
        let mut report: Report<Seen> = Report::new();
        assert!(!report.accepted());
        report.done(DoorCheck::Locked);
        assert!(!report.accepted());
        assert_eq!(report.outcome(DoorCheck::Closed), Outcome::NotEvaluated);
        // Nothing was found, and yet it refuses.
        assert_eq!(report.first_refusal(), None);
        report.done(DoorCheck::Closed);
        assert!(report.accepted());
        assert_eq!(
            report.to_string(),
            "pass     closed     it is closed now\npass     locked-up  it is locked\naccepted"
        );
        let then = report.at_requested_time();
        assert_eq!(then.detail(DoorCheck::Closed), "it was closed then");
        assert_eq!(then.detail(DoorCheck::Locked), "it is locked");
    }

    #[test]
    fn a_check_has_one_text_for_all_times_if_it_names_no_other() {
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        struct Bare;

        impl Check for Bare {
            const ALL: &'static [Self] = &[Self];

            fn name(self) -> &'static str {
                "bare"
            }

            fn passed_text(self) -> &'static str {
                "it is bare"
            }
        }

        assert_eq!(Bare.passed_text_at_requested_time(), "it is bare");
    }

    #[test]
    fn what_was_not_judged_refuses_and_what_was_not_asked_does_not() {
        let mut report: Report<Seen> = Report::new();
        report.done(DoorCheck::Closed);
        report.not_evaluated(DoorCheck::Locked, "no key");
        assert!(!report.accepted());
        let judged = report.to_string();
        report.not_requested(DoorCheck::Locked, "no key");
        assert!(report.accepted());
        assert!(judged.contains("skipped  locked-up  no key"));
        assert!(report.to_string().contains("skipped  locked-up  no key"));
        // A finding counts whatever the check is marked as.
        report.add(Seen(DoorCheck::Locked, Severity::Refusal));
        assert!(!report.accepted());
        assert_eq!(report.detail(DoorCheck::Locked), "Refusal");
    }

    #[test]
    fn a_severity_decides_by_the_policy() {
        use Severity::{Irregular, Refusal, Remark, Warning};
        for (severity, default, strict) in [
            (Remark, Outcome::Pass, Outcome::Pass),
            (Warning, Outcome::Warn, Outcome::Warn),
            (Irregular, Outcome::Warn, Outcome::Fail),
            (Refusal, Outcome::Fail, Outcome::Fail),
        ] {
            for (strictness, outcome) in
                [(Strictness::Lenient, default), (Strictness::Strict, strict)]
            {
                let mut report = Report::new().with_strictness(strictness);
                assert_eq!(report.strictness(), Some(strictness));
                report.done(DoorCheck::Closed);
                report.judged(DoorCheck::Locked, Seen(DoorCheck::Locked, severity));
                report.add(Seen(DoorCheck::Locked, Remark));
                assert_eq!(report.outcome(DoorCheck::Locked), outcome);
                assert_eq!(report.accepted(), !outcome.refuses());
                assert_eq!(report.first_refusal().is_some(), outcome.refuses());
            }
        }
    }

    #[test]
    fn a_finding_of_another_check_leaves_its_own_open() {
        let mut report = Report::new();
        report.judged(DoorCheck::Closed, Seen(DoorCheck::Locked, Severity::Remark));
        assert_eq!(report.outcome(DoorCheck::Locked), Outcome::NotEvaluated);
    }
}
