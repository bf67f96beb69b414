//! The report of a check: every check by name, its outcome, and why.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::finding::{Finding, Severity};

/// A check, in the order of reports. Names and order are stable.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Check {
    /// `leaf`: the upload holds one certificate of strict DER.
    Leaf,
    /// `code`: the code was issued for this CA certificate and has not expired.
    Code,
    /// `issuer`: the leaf's issuer is the CA's subject.
    Issuer,
    /// `signature`: the leaf's signature over its received bytes verifies under the CA's key.
    Signature,
    /// `common-name`: the leaf's subject has exactly one common name, and it is the code.
    CommonName,
    /// `leaf-validity`: the leaf is valid at the time of the check.
    LeafValidity,
    /// `ca-validity`: the CA certificate is valid at the time of the check.
    CaValidity,
    /// `not-the-ca`: the leaf is not the CA certificate itself.
    NotTheCa,
    /// `ca-constraints`: the CA's basicConstraints let it be a CA.
    CaConstraints,
    /// `ca-key-usage`: the CA's keyUsage, if there is one, lets it sign certificates.
    CaKeyUsage,
    /// `leaf-constraints`: the leaf's basicConstraints are those of a leaf.
    LeafConstraints,
    /// `key-strength`: the keys are strong enough.
    KeyStrength,
    /// `hash-strength`: the signatures' hashes are strong enough.
    HashStrength,
    /// `leaf-extensions`: the leaf's critical extensions are known, and its extensions are in order.
    LeafExtensions,
    /// `ca-extensions`: the same for the CA certificate.
    CaExtensions,
    /// `version`: both certificates are of version 3.
    Version,
    /// `serial`: both serial numbers are positive and of at most 20 octets.
    Serial,
}

impl Check {
    /// All checks, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::Leaf,
        Self::Code,
        Self::Issuer,
        Self::Signature,
        Self::CommonName,
        Self::LeafValidity,
        Self::CaValidity,
        Self::NotTheCa,
        Self::CaConstraints,
        Self::CaKeyUsage,
        Self::LeafConstraints,
        Self::KeyStrength,
        Self::HashStrength,
        Self::LeafExtensions,
        Self::CaExtensions,
        Self::Version,
        Self::Serial,
    ];

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Code => "code",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::CommonName => "common-name",
            Self::LeafValidity => "leaf-validity",
            Self::CaValidity => "ca-validity",
            Self::NotTheCa => "not-the-ca",
            Self::CaConstraints => "ca-constraints",
            Self::CaKeyUsage => "ca-key-usage",
            Self::LeafConstraints => "leaf-constraints",
            Self::KeyStrength => "key-strength",
            Self::HashStrength => "hash-strength",
            Self::LeafExtensions => "leaf-extensions",
            Self::CaExtensions => "ca-extensions",
            Self::Version => "version",
            Self::Serial => "serial",
        }
    }

    /// What it means that nothing was found, by a check at the present time or at another.
    fn all_is_well(self, is_now: bool) -> &'static str {
        match self {
            Self::LeafValidity if !is_now => "the leaf is valid at that time",
            Self::CaValidity if !is_now => "the CA certificate is valid at that time",
            Self::Leaf => "the leaf is one certificate",
            Self::Code => "the code is live and for this certificate",
            Self::Issuer => "the leaf's issuer is the CA's subject, byte for byte",
            Self::Signature => "the signature verifies",
            Self::CommonName => "the leaf's one common name is the code",
            Self::LeafValidity => "the leaf is valid now",
            Self::CaValidity => "the CA certificate is valid now",
            Self::NotTheCa => "the leaf is another certificate than the CA's",
            Self::CaConstraints => "the CA certificate says CA:TRUE",
            Self::CaKeyUsage => "the CA certificate may sign certificates",
            Self::LeafConstraints => "the leaf does not say CA:TRUE",
            Self::KeyStrength => "the keys are strong enough",
            Self::HashStrength => "the hashes are strong enough",
            Self::LeafExtensions => "no unknown critical extension in the leaf",
            Self::CaExtensions => "no unknown critical extension in the CA certificate",
            Self::Version => "both certificates are of version 3",
            Self::Serial => "both serial numbers are in order",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Refused.
    Fail,
    /// In order.
    Pass,
    /// Not judged, because something that it needs was refused.
    Skipped,
    /// In order under this policy, but worth a look.
    Warn,
}

impl Outcome {
    /// Its stable name: `fail`, `pass`, `skipped` or `warn`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Pass => "pass",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What [`prove`](crate::prove()) found. The verdict is derived from it, never kept beside it: a check counts as passed only if it
/// was run to its end and found nothing worse than a warning.
///
/// `Display` draws one line a check. With the feature `serde` it is an object
/// `{"accepted", "policy", "checks": [{"name", "outcome", "detail"}]}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// A bit for each check that was run to its end.
    done: u32,
    findings: Vec<Finding>,
    strict: bool,
    /// Whether its time was the present one.
    is_now: bool,
}

impl Report {
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            done: 0,
            findings: Vec::new(),
            strict,
            is_now: true,
        }
    }

    /// The same report, but of a time that was asked for: it says "at that time" where it would say "now".
    #[must_use]
    pub fn at_that_time(self) -> Self {
        Self {
            is_now: false,
            ..self
        }
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(crate) fn done(&mut self, check: Check) {
        self.done |= check.bit();
    }

    /// Whether every check passed, with or without a warning.
    #[must_use]
    pub fn accepted(&self) -> bool {
        Check::ALL
            .into_iter()
            .all(|check| matches!(self.outcome(check), Outcome::Pass | Outcome::Warn))
    }

    /// Whether it was made under a strict policy.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// How one check ended.
    #[must_use]
    pub fn outcome(&self, check: Check) -> Outcome {
        let worst = self.of(check).map(|finding| self.outcome_of(finding)).fold(
            Outcome::Pass,
            |worst, outcome| match (worst, outcome) {
                (Outcome::Fail, _) | (_, Outcome::Fail) => Outcome::Fail,
                (Outcome::Warn, _) | (_, Outcome::Warn) => Outcome::Warn,
                _ => Outcome::Pass,
            },
        );
        if worst != Outcome::Fail && self.done & check.bit() == 0 {
            return Outcome::Skipped;
        }
        worst
    }

    /// The first finding that refuses, in the order of the checks; `None` if the report accepts.
    #[must_use]
    pub fn first_refusal(&self) -> Option<&Finding> {
        Check::ALL
            .into_iter()
            .flat_map(|check| self.of(check))
            .find(|finding| self.outcome_of(finding) == Outcome::Fail)
    }

    /// The findings of one check; none if it found nothing to tell.
    pub fn of(&self, check: Check) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.check() == check)
    }

    /// One row for each check, in the order of [`Check::ALL`].
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        Check::ALL.into_iter().map(|check| {
            let outcome = self.outcome(check);
            Row {
                name: check.name(),
                outcome,
                detail: self.detail(check, outcome),
            }
        })
    }

    fn outcome_of(&self, finding: &Finding) -> Outcome {
        match finding.severity() {
            Severity::Remark => Outcome::Pass,
            Severity::Warning => Outcome::Warn,
            Severity::Irregular if self.strict => Outcome::Fail,
            Severity::Irregular => Outcome::Warn,
            Severity::Refusal => Outcome::Fail,
        }
    }

    fn detail(&self, check: Check, outcome: Outcome) -> String {
        let found: Vec<_> = self.of(check).map(ToString::to_string).collect();
        match (found.is_empty(), outcome) {
            (false, _) => found.join("; "),
            (true, Outcome::Skipped) if self.outcome(Check::Leaf) == Outcome::Fail => {
                "not judged: the leaf cannot be read".into()
            }
            (true, Outcome::Skipped) => {
                "not judged: a key or hash too weak for it to mean anything".into()
            }
            (true, _) => check.all_is_well(self.is_now).into(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows() {
            writeln!(
                f,
                "{:<7}  {:<16}  {}",
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
#[derive(Clone, Debug, Eq, PartialEq)]
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
impl serde::Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut object = serializer.serialize_struct("Report", 3)?;
        object.serialize_field("accepted", &self.accepted())?;
        object.serialize_field("policy", if self.strict { "strict" } else { "default" })?;
        object.serialize_field("checks", &self.rows().collect::<Vec<_>>())?;
        object.end()
    }
}
