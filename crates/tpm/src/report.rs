//! Reports whose findings are told in words alone: those of attestations.

use alloc::borrow::Cow;
use core::fmt;

use keyproof_x509::{Check, Finding, Severity};

/// The report of an attestation.
pub type Report<C> = keyproof_x509::Report<Told<C>>;

/// A finding in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<C> {
    check: C,
    severity: Severity,
    text: Cow<'static, str>,
}

impl<C: Check> Finding for Told<C> {
    type Check = C;

    fn check(&self) -> C {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn remedy(&self) -> &'static str {
        match self.severity {
            Severity::Remark => "nothing: all is well",
            _ => "attest anew, with the attestation key and the nonce of this request",
        }
    }
}

impl<C> fmt::Display for Told<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Each of its methods ends a check.
pub(crate) trait Tell<C> {
    fn tell(&mut self, check: C, severity: Severity, text: Cow<'static, str>);

    fn pass(&mut self, check: C, text: impl Into<Cow<'static, str>>) {
        self.tell(check, Severity::Remark, text.into());
    }

    fn warn(&mut self, check: C, text: impl Into<Cow<'static, str>>) {
        self.tell(check, Severity::Warning, text.into());
    }

    fn fail(&mut self, check: C, text: impl Into<Cow<'static, str>>) {
        self.tell(check, Severity::Refusal, text.into());
    }

    /// Passes the check if `holds`, else fails it.
    fn judge(
        &mut self,
        check: C,
        holds: bool,
        passed: &'static str,
        failed: impl Into<Cow<'static, str>>,
    ) {
        match holds {
            true => self.pass(check, passed),
            false => self.fail(check, failed),
        }
    }
}

impl<C: Check> Tell<C> for Report<C> {
    fn tell(&mut self, check: C, severity: Severity, text: Cow<'static, str>) {
        self.judged(
            check,
            Told {
                check,
                severity,
                text,
            },
        );
    }
}

/// Declares the checks of an attestation: one table of their order and their names.
macro_rules! checks {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident { $($(#[$check_meta:meta])* $check:ident = $text:literal;)* }
    ) => {
        keyproof_x509::checks! {
            $(#[$meta])*
            #[non_exhaustive]
            $vis $name {
                column = 21;
                $($(#[$check_meta])* $check = $text, "in order";)*
            }
        }
    };
}
pub(crate) use checks;
