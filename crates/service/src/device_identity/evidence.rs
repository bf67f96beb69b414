//! The evidence of an attestation, and the checks that need no records: quote and event log.

use keyproof_tpm::{
    AttestationReport, EventLogFinding, EventLogPolicy, Name, QuoteCheck, QuoteEvidence,
    QuotePolicy, ReplayedLog, Report, TpmlPcrSelection, TpmtPublic, algorithms, check_event_log,
    check_quote,
};

use super::{
    Activation, Field, FieldError, FieldProblem, LoggedEvent, Sent,
    history::{RegisterName, events_of},
    identity::Seen,
};

/// The size limit of an event log, in bytes.
const LONGEST_LOG: usize = 512 * 1024;

/// Which key attests, in which category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestRequest {
    /// The category's namespace.
    pub namespace: String,
    /// The category that issued the AK's certificate.
    pub category: String,
    /// The input of [`DeviceIdentity::activate`](super::DeviceIdentity::activate); required unless the AK is active.
    pub activation: Option<Activation>,
}

/// The evidence as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvidence {
    /// The nonce that the server issued.
    pub nonce: Sent,
    /// The AK's `TPM2B_PUBLIC` or `TPMT_PUBLIC`.
    pub ak_public: Sent,
    /// The quote's `TPMS_ATTEST`.
    pub attest: Sent,
    /// Its `TPMT_SIGNATURE`.
    pub signature: Sent,
    /// The values of the quoted PCRs, concatenated in the order of the selection.
    pub pcr_values: Option<Sent>,
    /// The event log that explains them, at most 512 KiB.
    pub event_log: Option<Sent>,
}

/// The decoded evidence.
pub(super) struct Evidence {
    pub(super) nonce: Vec<u8>,
    pub(super) ak: TpmtPublic,
    pub(super) ak_name: Name,
    pub(super) attest: Vec<u8>,
    signature: Vec<u8>,
    pub(super) pcr_values: Option<Vec<u8>>,
    event_log: Option<Vec<u8>>,
}

impl SentEvidence {
    pub(super) fn decode(self) -> Result<Evidence, FieldError> {
        let field = Field::AttestationKeyPublic;
        let public = field.take(self.ak_public)?;
        let no_area = |_| field.wrong(FieldProblem::NoPublicArea);
        let ak = TpmtPublic::parse_any(&public).map_err(no_area)?;
        let optional =
            |field: Field, sent: Option<Sent>| sent.map(|sent| field.take(sent)).transpose();
        let evidence = Evidence {
            nonce: Field::Nonce.take(self.nonce)?,
            ak_name: Name::of(&ak).map_err(no_area)?,
            ak,
            attest: Field::Quote.take(self.attest)?,
            signature: Field::Signature.take(self.signature)?,
            pcr_values: optional(Field::RegisterValues, self.pcr_values)?,
            event_log: optional(Field::EventLog, self.event_log)?,
        };
        let problem = match &evidence.event_log {
            Some(log) if log.len() > LONGEST_LOG => FieldProblem::Long { limit: LONGEST_LOG },
            Some(_) if evidence.pcr_values.is_none() => FieldProblem::WithoutValues,
            _ => return Ok(evidence),
        };
        Err(Field::EventLog.wrong(problem))
    }
}

impl Evidence {
    /// Checks the quote and the event log. The only stored input is the key's last clock and counters. They are
    /// compared only if the key has signed the quote, so that nobody else can probe them.
    pub(super) fn verify(
        &self,
        selection: Option<&TpmlPcrSelection>,
        last_seen: Option<&Seen>,
    ) -> (
        AttestationReport<QuoteCheck>,
        Option<Report<EventLogFinding>>,
    ) {
        let evidence = QuoteEvidence {
            attest: &self.attest,
            signature: &self.signature,
            pcr_values: self.pcr_values.as_deref(),
        };
        // The credential was opened in the TPM that has the EK, so the AK may be in any hierarchy.
        let mut policy = QuotePolicy::without_selection(&self.nonce, algorithms::ALL);
        policy.selection = selection;
        policy.last_seen = last_seen.map(Seen::clock_info);
        let mut quote = check_quote(&self.ak, &evidence, &policy).report;
        if last_seen.is_some() && !is_signed(&quote) {
            policy.last_seen = None;
            quote = check_quote(&self.ak, &evidence, &policy).report;
        }
        let log = self.replayed(selection).map(|replayed| replayed.report);
        (quote, log)
    }

    /// Returns the event log entries for these PCRs.
    pub(super) fn events_of(
        &self,
        selection: &TpmlPcrSelection,
        registers: &[RegisterName],
    ) -> Vec<LoggedEvent> {
        let replayed = self.replayed(Some(selection));
        replayed.map_or_else(Vec::new, |replayed| events_of(&replayed, registers))
    }

    fn replayed(&self, selection: Option<&TpmlPcrSelection>) -> Option<ReplayedLog<'_>> {
        let log = self.event_log.as_ref()?;
        let values = self.pcr_values.as_deref().unwrap_or_default();
        let empty = TpmlPcrSelection::default();
        // A rejected quote gets a report on its log as well; both must accept.
        let policy = EventLogPolicy::with_unverified_registers(selection.unwrap_or(&empty), values);
        Some(check_event_log(log, &policy))
    }
}

/// Returns whether the key has signed a quote over the nonce of the request.
pub(super) fn is_signed(quote: &AttestationReport<QuoteCheck>) -> bool {
    use QuoteCheck::{ExtraData, Magic, Signature};
    passes(quote, [Signature, Magic, ExtraData])
}

/// Returns whether none of these checks rejects the quote.
pub(super) fn passes<const N: usize>(
    quote: &AttestationReport<QuoteCheck>,
    checks: [QuoteCheck; N],
) -> bool {
    checks.iter().all(|check| !quote.outcome(*check).refuses())
}
