//! Proof of possession: a code is generated, and a leaf certificate with that code is validated.

use std::fmt;

use keyproof_store::{Key, Timestamp};
use keyproof_x509::{
    Outcome, Policy, ProofFinding, Redemption, Report, VerificationCode, algorithms,
};
use zeroize::Zeroizing;

use super::{
    Caller, CertificateView, Certificates, Precondition, Verification,
    records::{Certificate, Code, Description, certificate_key},
    resources::{describe, parse, view},
};
use crate::{
    Action, Failure, StorageError,
    storage::{Attempt, damaged, refuse, require_body},
};

/// All algorithms that the linked providers verify.
const POLICY: Policy<'static> = Policy::new(algorithms::ALL);

/// The maximum length of the findings in the audit trail, in characters, because names in a certificate may be long.
const MAX_FINDINGS: usize = 4_000;

/// A new verification code with its certificate.
pub struct IssuedCode {
    /// 48 upper-case hexadecimal digits, shown only once.
    pub digits: Zeroizing<String>,
    /// The certificate with its new version.
    pub certificate: CertificateView,
}

/// The error when no code is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateCodeError {
    /// The certificate's version does not meet the precondition.
    #[error("the certificate has another version, or none was named")]
    Precondition,
    /// There is no certificate with this name.
    #[error("there is no such certificate")]
    Unknown,
}

/// The error when a certificate is not verified. `B` is the error of an unreadable body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError<B> {
    /// The body cannot be read.
    #[error("the body was refused")]
    Body(B),
    /// No code was generated, or it was used or has expired.
    #[error("there is no live verification code to prove possession with")]
    NoCode,
    /// The certificate's version does not meet the precondition.
    #[error("the certificate has another version, or none was named")]
    Precondition,
    /// The leaf does not prove possession.
    #[error("possession of the private key is not proven")]
    Refused(Box<Report<ProofFinding>>),
    /// There is no certificate with this name.
    #[error("there is no such certificate")]
    Unknown,
}

/// A certificate with proven possession of its key, and the report of the proof.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The certificate.
    pub certificate: CertificateView,
    /// The results of all checks of the leaf.
    pub report: Report<ProofFinding>,
}

impl Certificates {
    /// Generates a verification code for a certificate. An earlier code becomes invalid. The certificate stays verified or
    /// unverified.
    ///
    /// # Errors
    ///
    /// [`GenerateCodeError`].
    pub async fn generate_code(
        &self,
        caller: &Caller,
        name: &str,
        precondition: &Precondition,
    ) -> Result<IssuedCode, Failure<GenerateCodeError>> {
        let key = certificate_key(caller.service(), name);
        self.transact_for(caller, "certificates.generate_code", || async {
            let stored = self
                .load(caller, name)
                .await?
                .ok_or(Failure::Refused(GenerateCodeError::Unknown))?;
            if !precondition.holds(stored.version) {
                return refuse(GenerateCodeError::Precondition);
            }
            let now = self.clock.now();
            caller.check_unexpired::<GenerateCodeError>(now)?;
            let drawn = self.draw_code(caller, &key, &stored.record, now);
            let (digits, code, description) = drawn.await?;
            let record = Certificate {
                description: Some(description.clone()),
                code: Some(code),
                updated_at: now,
                ..stored.record
            };
            let mut batch = self.store.batch(now);
            let version = batch.replace(&key, stored.version, &record, None);
            let new_event = caller.new_event(Action::CertificateGenerateCode, name, None);
            self.audit.done(&mut batch, now, new_event);
            let issued = IssuedCode {
                digits,
                certificate: view(record, description, version),
            };
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Checks whether a leaf (an upload in any encoding) proves possession of a certificate's private key. If so, the certificate
    /// becomes verified and its code is used up. If not, only the audit trail changes. An unreadable `leaf` is reported only if the
    /// certificate exists and meets the precondition.
    ///
    /// # Errors
    ///
    /// [`VerifyError`].
    pub async fn verify<B: Clone>(
        &self,
        caller: &Caller,
        name: &str,
        precondition: &Precondition,
        leaf: Result<Vec<u8>, B>,
    ) -> Result<Verified, Failure<VerifyError<B>>> {
        let key = certificate_key(caller.service(), name);
        self.transact_for(caller, "certificates.verify", || async {
            let stored = self
                .load(caller, name)
                .await?
                .ok_or(Failure::Refused(VerifyError::Unknown))?;
            if !precondition.holds(stored.version) {
                return refuse(VerifyError::Precondition);
            }
            let leaf = require_body(&leaf, VerifyError::Body)?;
            let now = self.clock.now();
            caller.check_unexpired::<VerifyError<B>>(now)?;
            let told = |detail| caller.new_event(Action::CertificateVerify, name, Some(detail));
            let Some(code) = self.live_code(&key, &stored.record, now)? else {
                let refused = told("no live verification code".to_owned());
                self.audit.refused(refused).await;
                return refuse(VerifyError::NoCode);
            };
            let (ca, leaf) = (stored.record.clone(), leaf.clone());
            let judged = self.on_cpu_queue(caller, move || redeem(code, &ca, &leaf, now));
            let (redemption, description) = judged.await??;
            let report = match redemption {
                Redemption::Spent { report } => report,
                Redemption::Kept { report, .. } => {
                    self.audit.refused(told(findings(&report))).await;
                    return refuse(VerifyError::Refused(Box::new(report)));
                }
            };
            let record = Certificate {
                description: Some(description.clone()),
                verification: Verification::Proven,
                code: None,
                updated_at: now,
                ..stored.record
            };
            let mut batch = self.store.batch(now);
            let version = batch.replace(&key, stored.version, &record, None);
            let proven = format!("possession proven\n{}", findings(&report));
            self.audit
                .done(&mut batch, now, told(proven.trim_end().to_owned()));
            let verified = Verified {
                certificate: view(record, description, version),
                report,
            };
            Ok(Attempt::Commit(batch, Ok(verified)))
        })
        .await
    }

    /// Draws a code and the data to store for it, and reads the certificate's description.
    async fn draw_code(
        &self,
        caller: &Caller,
        key: &Key,
        record: &Certificate,
        now: Timestamp,
    ) -> Result<(Zeroizing<String>, Code, Description), StorageError> {
        let mut random = Zeroizing::new([0; 24]);
        self.store.entropy().fill(&mut *random);
        let expires_at = self
            .settings
            .code_lifetime
            .map(|lifetime| now.saturating_add(lifetime));
        let record = record.clone();
        let issued = self.on_cpu_queue(caller, move || {
            let ca = parse(&record)?;
            let code = VerificationCode::issue(&random, &ca, expires_at.map(Timestamp::as_secs));
            Ok::<_, StorageError>((code, ca.sha256_thumbprint(), describe(&ca)))
        });
        let (code, certificate, description) = issued.await??;
        let stored = Code {
            digits: self.store.seal(key, Code::DIGITS, code.digits().as_bytes()),
            certificate,
            expires_at,
        };
        let digits = Zeroizing::new(code.digits().to_owned());
        Ok((digits, stored, description))
    }

    /// Returns the last generated code unless it was used or has expired.
    fn live_code(
        &self,
        key: &Key,
        record: &Certificate,
        now: Timestamp,
    ) -> Result<Option<VerificationCode>, StorageError> {
        // This clock set the expiry, so no clock skew is allowed for.
        let lives = |code: &&Code| code.expires_at.is_none_or(|end| now < end);
        let Some(code) = record.code.as_ref().filter(lives) else {
            return Ok(None);
        };
        let digits = self.store.unseal(key, Code::DIGITS, &code.digits)?;
        let parsed = std::str::from_utf8(&digits)
            .ok()
            .and_then(|digits| VerificationCode::parse(digits).ok())
            .ok_or_else(|| damaged(format!("the code of {key}")))?;
        // Rounded up, since the exact expiry was checked above.
        let expires_at = code.expires_at.map(|end| end.as_millis().div_ceil(1_000));
        Ok(Some(parsed.bound_to(code.certificate, expires_at)))
    }
}

/// Validates a leaf and reads the description of the certificate whose key it must prove.
fn redeem(
    code: VerificationCode,
    ca: &Certificate,
    leaf: &[u8],
    now: Timestamp,
) -> Result<(Redemption, Description), StorageError> {
    let ca = parse(ca)?;
    let redemption = code.redeem(&ca, leaf, now.as_secs(), &POLICY);
    Ok((redemption, describe(&ca)))
}

/// Returns the failures and warnings of a report as text for people, one line each, cut after 4000 characters.
pub fn findings(report: &Report<ProofFinding>) -> String {
    let rows = report
        .rows()
        .filter(|row| matches!(row.outcome, Outcome::Fail | Outcome::Warn));
    let lines: Vec<_> = rows
        .map(|row| format!("{} {}: {}", row.outcome, row.name, row.detail))
        .collect();
    let text = lines.join("\n");
    match text.char_indices().nth(MAX_FINDINGS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl fmt::Debug for IssuedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCode")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
