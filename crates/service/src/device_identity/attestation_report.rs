//! The report of an attestation: the checks of key, certificate, nonce and PCRs, those of the quote, and those of the
//! event log.

use std::fmt;

use keyproof_store::Timestamp;
use keyproof_tpm::{
    AttestationReport, Check, EventLogCheck, EventLogFinding, Finding, Name, Outcome, QuoteCheck,
    Report, ReportRow, Severity,
};

use super::{ActivateError, DevicePlace};

keyproof_x509::checks! {
    /// The checks that use the device's records, in the order of reports. All but `nonce` are evaluated only if the key
    /// has signed the quote over a valid nonce.
    #[non_exhaustive]
    pub DeviceCheck {
        /// `activation`: the device's TPM has opened the credential of this key. For an active key, an invalid
        /// activation in the request is only a warning.
        Activation = "activation", "its TPM opened the credential of this key";
        /// `ak-certificate`: the category has issued a certificate for the key, and its credential was opened. It has
        /// not expired, its API key keeps it valid, and neither the category nor its manager is disabled.
        Certificate = "ak-certificate", "it is in force";
        /// `nonce`: it was issued for this key in this category, has not expired, and is unused.
        Nonce = "nonce", "given for this key, and not used before";
        /// `pcr-policy`: the quoted PCRs have the values that the category expects or that were learnt for the device.
        PcrPolicy = "pcr-policy", "the registers are as they are to be";
    }
}

/// A finding of these checks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFinding {
    /// The request activated the key.
    Activated,
    /// The key has been active since this time.
    Active(Timestamp),
    /// The key is already active, and the activation in the request is invalid.
    ActivationUnneeded(ActivateError),
    /// The certificate has expired.
    CertificateEnded,
    /// The category has issued no certificate for this key, or its credential was not opened.
    CertificateMissing,
    /// The certificate is on hold or revoked.
    CertificateRevoked,
    /// The category or its manager is disabled.
    Disabled,
    /// The key is not active, and the request has no activation.
    Inactive,
    /// The key is not active, and the activation in the request is invalid.
    NotActivated(ActivateError),
    /// The nonce has expired.
    NonceExpired,
    /// The nonce was not issued for this key in this category.
    NonceForeign,
    /// The nonce was used before.
    NonceSpent,
    /// The quote has PCRs for which no values were learnt.
    RegistersBeside(Vec<String>),
    /// PCRs differ from the expected values.
    RegistersDiffer {
        /// The PCRs that differ.
        registers: Vec<String>,
        /// Whether the expected values were learnt.
        learnt: bool,
    },
    /// Expected PCRs are not quoted.
    RegistersMissing(Vec<String>),
    /// This many PCRs were learnt. The device is compared with their values from now on.
    RegistersLearnt(usize),
    /// The request has no PCR values.
    ValuesMissing,
}

impl Finding for DeviceFinding {
    type Check = DeviceCheck;

    fn check(&self) -> DeviceCheck {
        use DeviceCheck as C;

        match self {
            Self::Activated
            | Self::Active(_)
            | Self::ActivationUnneeded(_)
            | Self::Inactive
            | Self::NotActivated(_) => C::Activation,
            Self::CertificateEnded
            | Self::CertificateMissing
            | Self::CertificateRevoked
            | Self::Disabled => C::Certificate,
            Self::NonceExpired | Self::NonceForeign | Self::NonceSpent => C::Nonce,
            Self::RegistersBeside(_)
            | Self::RegistersDiffer { .. }
            | Self::RegistersLearnt(_)
            | Self::RegistersMissing(_)
            | Self::ValuesMissing => C::PcrPolicy,
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Activated | Self::Active(_) | Self::RegistersLearnt(_) => Severity::Remark,
            Self::ActivationUnneeded(_) | Self::RegistersBeside(_) => Severity::Warning,
            Self::CertificateEnded
            | Self::CertificateMissing
            | Self::CertificateRevoked
            | Self::Disabled
            | Self::Inactive
            | Self::NonceExpired
            | Self::NonceForeign
            | Self::NonceSpent
            | Self::NotActivated(_)
            | Self::RegistersDiffer { .. }
            | Self::RegistersMissing(_)
            | Self::ValuesMissing => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Activated | Self::Active(_) | Self::RegistersLearnt(_) => {
                "nothing: no problem found"
            }
            Self::ActivationUnneeded(_) => "leave the activation out once the key is active",
            Self::NotActivated(ActivateError::TooManyKeys) => {
                "forget the device, and provision it again"
            }
            Self::CertificateEnded | Self::CertificateMissing | Self::NotActivated(_) => {
                "provision the key in this category, and show that its credential was opened"
            }
            Self::CertificateRevoked => "enable the API key, or provision the key with another one",
            Self::Disabled => {
                "provision the key in another category, below an enabled manager: what is disabled stays disabled"
            }
            Self::Inactive => "send provision's ticket and the proof as activation",
            Self::NonceExpired | Self::NonceForeign | Self::NonceSpent => {
                "request a nonce for this key, and attest with it once"
            }
            Self::RegistersBeside(_) | Self::RegistersMissing(_) => {
                "quote exactly the registers that are compared"
            }
            Self::RegistersDiffer { .. } => {
                "find out what has changed on the device; if the change is intended, relearn the device or change the category's PCR policy"
            }
            Self::ValuesMissing => "send the registers' values with the quote",
        }
    }
}

impl fmt::Display for DeviceFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activated => f.write_str("its TPM opened the credential: active from now on"),
            Self::Active(_) => f.write_str("its TPM opened the credential before"),
            Self::ActivationUnneeded(why) => {
                write!(f, "already active; the activation sent is not valid: {why}")
            }
            Self::CertificateEnded => f.write_str("the key's certificate has expired"),
            Self::CertificateMissing => f.write_str(
                "the category has no certificate for this key whose credential was opened",
            ),
            Self::CertificateRevoked => f.write_str("the key's certificate is revoked or on hold"),
            Self::Disabled => f.write_str("the category or its manager is disabled"),
            Self::Inactive => f.write_str("it is not proven that its TPM opened the credential"),
            Self::NotActivated(why) => why.fmt(f),
            Self::NonceExpired => f.write_str("it has expired"),
            Self::NonceForeign => f.write_str("it was not issued for this key in this category"),
            Self::NonceSpent => f.write_str("it was used before"),
            Self::RegistersBeside(registers) => {
                write!(f, "as learnt; not compared: {}", registers.join(", "))
            }
            Self::RegistersDiffer { registers, learnt } => {
                let than = if *learnt { "learnt" } else { "expected" };
                write!(f, "other than {than}: {}", registers.join(", "))
            }
            Self::RegistersLearnt(1) => f.write_str("1 register learnt"),
            Self::RegistersLearnt(count) => write!(f, "{count} registers learnt"),
            Self::RegistersMissing(registers) => {
                write!(f, "not quoted: {}", registers.join(", "))
            }
            Self::ValuesMissing => f.write_str("the registers' values were not sent"),
        }
    }
}

/// The report of an attestation.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// The AK's Name.
    pub ak_name: Name,
    /// The device, if the key is active and has signed the quote over a valid nonce.
    pub device: Option<DevicePlace>,
    pub(super) known: Report<DeviceFinding>,
    pub(super) quote: AttestationReport<QuoteCheck>,
    /// The event log's checks, if a log was sent.
    pub(super) event_log: Option<Report<EventLogFinding>>,
}

impl DeviceReport {
    /// Returns whether no check failed. Warnings and checks that were not requested are accepted.
    pub fn accepted(&self) -> bool {
        let log = self.event_log.as_ref();
        self.known.accepted() && self.quote.accepted() && log.is_none_or(Report::accepted)
    }

    /// Returns one row for each check: those of [`DeviceCheck`], then those of a quote ([`QuoteCheck`]), then, if a log
    /// was sent, those of an event log ([`EventLogCheck`]). The names of the latter are prefixed with `log-`, except
    /// `event-log`.
    pub fn rows(&self) -> impl Iterator<Item = ReportRow> {
        let log = self.event_log.iter().flat_map(|log| {
            let rows = log.rows().zip(EventLogCheck::ALL);
            rows.map(|(row, check)| ReportRow {
                name: log_name(*check),
                ..row
            })
        });
        self.known.rows().chain(self.quote.rows()).chain(log)
    }

    /// Returns the failed checks with their reasons, for the audit trail and the log.
    pub(super) fn refusals(&self) -> String {
        let rows = self.rows().filter(|row| row.outcome.refuses());
        // Checks that were not evaluated follow from those that failed.
        let failed = rows.filter(|row| row.outcome == Outcome::Fail);
        let told: Vec<String> = failed
            .map(|row| format!("{}: {}", row.name, row.detail))
            .collect();
        told.join("; ")
    }
}

/// Returns the name of an event log check in a report that also has the quote's checks.
fn log_name(check: EventLogCheck) -> &'static str {
    match check {
        EventLogCheck::Digests => "log-digests",
        EventLogCheck::StartupLocality => "log-startup-locality",
        EventLogCheck::Registers => "log-registers",
        EventLogCheck::Separators => "log-separators",
        EventLogCheck::EventData => "log-event-data",
        EventLogCheck::SecureBoot => "log-secure-boot",
        EventLogCheck::WeakHashes => "log-weak-hashes",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// API keys can be enabled, but no contract enables a category or a manager that was created disabled.
    #[test]
    fn nobody_is_told_to_enable_what_stays_disabled() {
        let remedy = DeviceFinding::Disabled.remedy();
        assert!(
            remedy.starts_with("provision the key in another category"),
            "{remedy}"
        );
    }

    #[test]
    fn no_two_checks_of_a_report_have_one_name() {
        let known = DeviceCheck::ALL.iter().map(|check| check.name());
        let quote = QuoteCheck::ALL.iter().map(|check| check.name());
        let log = EventLogCheck::ALL.iter().map(|check| log_name(*check));
        let all: Vec<&str> = known.chain(quote).chain(log).collect();
        let names: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(names.len(), all.len(), "{all:?}");
    }
}
