//! Reports: every check by name, its outcome, and why. One type for all that is judged here and in the crates above.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// The checks of one kind of report.
pub trait Check: Copy + fmt::Debug + Eq + 'static {
    /// All of them, in the order of reports.
    const ALL: &'static [Self];

    /// Its stable name.
    fn name(self) -> &'static str;

    /// What it means that nothing was found, at the present time or at another one that was asked for.
    fn all_is_well(self, is_now: bool) -> &'static str;
}

/// Something that a check found: typed, with the data that explains it. `Display` says it to people, and never contains a secret.
///
/// [`severity`](Self::severity) is the one table of what refuses.
pub trait Finding: fmt::Display {
    /// The checks that find such things.
    type Check: Check;

    /// The check that it belongs to.
    fn check(&self) -> Self::Check;

    /// What it means for the verdict.
    fn severity(&self) -> Severity;

    /// What a person can do about it, as a clause without a full stop.
    fn remedy(&self) -> &'static str;
}

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Worth telling; the check passes.
    Remark,
    /// A warning, whatever the policy.
    Warning,
    /// A warning, but a refusal under a strict policy: a standard forbids it, and verifiers in use take it.
    Irregular,
    /// A refusal.
    Refusal,
}

/// How a check ended.
///
/// ```
/// use keyproof_x509::Outcome;
///
/// assert!(Outcome::NotJudged.refuses() && !Outcome::NotAsked.refuses());
/// assert_eq!((Outcome::NotJudged.name(), Outcome::Warn.name()), ("skipped", "warn"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Refused.
    Fail,
    /// It is about something that the caller did not ask for. It does not refuse.
    NotAsked,
    /// It could not be judged, because something that it needs was refused. It refuses as well.
    NotJudged,
    /// In order.
    Pass,
    /// In order under this policy, but worth a look.
    Warn,
}

impl Outcome {
    /// Its stable name: `fail`, `pass` or `warn`; `skipped` both for what was not asked and for what was not judged.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::NotAsked | Self::NotJudged => "skipped",
            Self::Pass => "pass",
            Self::Warn => "warn",
        }
    }

    /// Whether a report with such a check is refused.
    pub fn refuses(self) -> bool {
        matches!(self, Self::Fail | Self::NotJudged)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a check came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    Done,
    NotAsked(&'static str),
    NotJudged(&'static str),
}

/// What some checks found.
///
/// The verdict is derived from it, never kept beside it. A check counts as passed only if it was run to its end and found nothing
/// worse than a warning; one that nobody ran refuses.
///
/// `Display` draws one line a check. With the feature `serde` it is an object
/// `{"accepted", "policy", "checks": [{"name", "outcome", "detail"}]}`; without a choice of policies there is no `policy`.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Finding, Outcome, Policy, ProofCheck, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// // Somebody uploads the CA certificate in place of the leaf.
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
#[must_use = "a report says whether what was checked is accepted"]
pub struct Report<F: Finding> {
    progress: Vec<(F::Check, Progress)>,
    findings: Vec<F>,
    /// Whether irregular findings refuse, if that is a choice.
    strict: Option<bool>,
    /// Whether its time was the present one.
    is_now: bool,
}

impl<F: Finding> Default for Report<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Finding> Report<F> {
    /// A report in which no check was run yet. Irregular findings warn.
    pub fn new() -> Self {
        Self {
            progress: Vec::with_capacity(F::Check::ALL.len()),
            findings: Vec::new(),
            strict: None,
            is_now: true,
        }
    }

    /// This report under a policy that was chosen: strict, or the default one.
    pub fn under_policy(self, strict: bool) -> Self {
        Self {
            strict: Some(strict),
            ..self
        }
    }

    /// This report of a time that was asked for: it says "at that time" where it would say "now".
    pub fn at_that_time(self) -> Self {
        Self {
            is_now: false,
            ..self
        }
    }

    /// Adds a finding of a check that goes on.
    pub fn add(&mut self, finding: F) {
        self.findings.push(finding);
    }

    /// Says that a check was run to its end.
    pub fn done(&mut self, check: F::Check) {
        self.set(check, Progress::Done);
    }

    /// Says that a check was run to its end, and what it found, if anything.
    pub fn judged(&mut self, check: F::Check, finding: impl Into<Option<F>>) {
        self.findings.extend(finding.into());
        self.done(check);
    }

    /// Says that a check is about something that the caller did not ask for, and what that is.
    pub fn not_asked(&mut self, check: F::Check, why: &'static str) {
        self.set(check, Progress::NotAsked(why));
    }

    /// Says that a check lacks something that was refused, and what that is.
    pub fn not_judged(&mut self, check: F::Check, why: &'static str) {
        self.set(check, Progress::NotJudged(why));
    }

    /// Says of each check about which nothing was said yet that it lacks something, and what that is.
    pub fn others_not_judged(&mut self, why: &'static str) {
        for check in F::Check::ALL {
            if self.progress_of(*check).is_none() {
                self.not_judged(*check, why);
            }
        }
    }

    /// Whether every check passed, with or without a warning, or was not asked for.
    pub fn accepted(&self) -> bool {
        let mut checks = F::Check::ALL.iter();
        !checks.any(|check| self.outcome(*check).refuses())
    }

    /// Whether it was made under a strict policy.
    pub fn is_strict(&self) -> bool {
        self.strict == Some(true)
    }

    /// How one check ended.
    pub fn outcome(&self, check: F::Check) -> Outcome {
        let worst = self
            .of(check)
            .map(|finding| self.weight(finding))
            .max()
            .unwrap_or(Weight::Pass);
        match (worst, self.progress_of(check)) {
            (Weight::Fail, _) => Outcome::Fail,
            (_, None | Some(Progress::NotJudged(_))) => Outcome::NotJudged,
            (_, Some(Progress::NotAsked(_))) => Outcome::NotAsked,
            (Weight::Warn, Some(Progress::Done)) => Outcome::Warn,
            (Weight::Pass, Some(Progress::Done)) => Outcome::Pass,
        }
    }

    /// Why one check ended so, for people.
    pub fn detail(&self, check: F::Check) -> String {
        let found: Vec<_> = self.of(check).map(ToString::to_string).collect();
        match self.progress_of(check) {
            _ if !found.is_empty() => found.join("; "),
            Some(Progress::Done) => check.all_is_well(self.is_now).into(),
            Some(Progress::NotAsked(why) | Progress::NotJudged(why)) => why.into(),
            None => "not judged".into(),
        }
    }

    /// The findings that refuse, in the order of the checks.
    pub fn refusals(&self) -> impl Iterator<Item = &F> {
        F::Check::ALL
            .iter()
            .flat_map(|check| self.of(*check))
            .filter(|finding| self.weight(finding) == Weight::Fail)
    }

    /// The first finding that refuses, in the order of the checks; `None` if the report accepts.
    pub fn first_refusal(&self) -> Option<&F> {
        self.refusals().next()
    }

    /// The texts of the findings that refuse, joined by semicolons.
    pub fn reasons(&self) -> String {
        let refusals: Vec<_> = self.refusals().map(ToString::to_string).collect();
        refusals.join("; ")
    }

    /// The findings of one check; none if it found nothing to tell.
    pub fn of(&self, check: F::Check) -> impl Iterator<Item = &F> {
        self.findings
            .iter()
            .filter(move |finding| finding.check() == check)
    }

    /// One row for each check, in the order of [`Check::ALL`].
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        F::Check::ALL.iter().map(|check| Row {
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
            Severity::Irregular if self.is_strict() => Weight::Fail,
            Severity::Irregular | Severity::Warning => Weight::Warn,
            Severity::Refusal => Weight::Fail,
        }
    }
}

/// What a finding weighs under the report's policy.
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

/// One line of a report.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Row {
    /// The check's name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for people.
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

        let policy = self
            .strict
            .map(|strict| if strict { "strict" } else { "default" });
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

/// Declares the checks of a report: one table of their order, their names, and what it means that nothing was found (with another
/// text behind `|` where the report is of a time that was asked for).
///
/// ```
/// keyproof_x509::checks! {
///     /// The checks of a door.
///     pub DoorCheck {
///         /// `closed`: it is.
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

            fn all_is_well(self, is_now: bool) -> &'static str {
                match (self, is_now) {
                    $($(($name::$check, false) => $then,)?)*
                    $(($name::$check, _) => $well,)*
                }
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
        /// For the tests.
        DoorCheck {
            /// The first.
            Closed = "closed", "it is closed now" | "it was closed then";
            /// The second, of a longer name.
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
        assert_eq!(report.outcome(DoorCheck::Closed), Outcome::NotJudged);
        report.done(DoorCheck::Closed);
        assert!(report.accepted());
        assert_eq!(
            report.to_string(),
            "pass     closed     it is closed now\npass     locked-up  it is locked\naccepted"
        );
        let then = report.at_that_time();
        assert_eq!(then.detail(DoorCheck::Closed), "it was closed then");
    }

    #[test]
    fn what_was_not_judged_refuses_and_what_was_not_asked_does_not() {
        let mut report: Report<Seen> = Report::new();
        report.done(DoorCheck::Closed);
        report.not_judged(DoorCheck::Locked, "no key");
        assert!(!report.accepted());
        let judged = report.to_string();
        report.not_asked(DoorCheck::Locked, "no key");
        assert!(report.accepted());
        assert!(judged.contains("skipped  locked-up  no key"));
        assert!(report.to_string().contains("skipped  locked-up  no key"));
        // What was found is told, and counts, whatever is said of the check.
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
            for (is_strict, outcome) in [(false, default), (true, strict)] {
                let mut report = Report::new().under_policy(is_strict);
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
        assert_eq!(report.outcome(DoorCheck::Locked), Outcome::NotJudged);
    }
}
