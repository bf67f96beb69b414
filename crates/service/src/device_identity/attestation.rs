//! Attestation: verifies the evidence that a device sends after it has left the factory, against the records of its
//! key.
//!
//! If the key has signed a quote over a valid nonce, the result is stored whether or not it is accepted: the nonce is
//! spent, the TPM's clock is updated if it has not gone back, and the verdict is added to the device's history. Anyone
//! can send evidence without such a signature. It therefore changes nothing, and its report reveals nothing about the
//! device.

use std::sync::Arc;

use keyproof_store::{Batch, Key, Stored, Timestamp};
use keyproof_tpm::{
    AttestationReport, Check as _, Outcome, QuoteCheck, Report, Structure, TpmsAttest,
};

use super::{
    ActivateError, AttestRequest, Category, DeviceIdentity, DevicePlace, FieldError,
    LearntRegister, LoggedEvent, PcrPolicy, Registers, SentEvidence, Station, StationOperation,
    Verdict,
    activation::Proven,
    attestation_report::{DeviceCheck, DeviceFinding, DeviceReport},
    certified::Issued,
    evidence::{Evidence, is_signed, passes},
    history::RegisterName,
    identity::ActiveKey,
    key_records::{KeyPlace, KeyRecords, KeyState},
    nonce::{ChallengeKey, Nonce, Purpose, SpentNonce},
    pcr_policy::{compare, registers},
};
use crate::{
    Failure, StorageError,
    audit::{NewEvent, Target},
    storage::{Attempt, contended, refuse, refused, transact_permitted},
};

/// The longest stored text of a check, in characters.
const LONGEST_LINE: usize = 200;

/// The detail of the checks that would reveal what is stored about a key.
const UNSIGNED: &str = "not checked: the key has not signed it over a valid nonce";

/// Why no nonce was issued or an attestation was not evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] FieldError),
    /// The category does not exist, or the station has no access to it.
    #[error("there is no such tpm_category")]
    UnknownCategory,
}

/// An attestation with the context for its evaluation.
struct Case<'a> {
    station: &'a Station,
    request: &'a AttestRequest,
    category: &'a Category,
    evidence: Arc<Evidence>,
    now: Timestamp,
}

/// The stored data of the key that a request is about.
struct Subject {
    known: KeyRecords,
    /// The key, if it is active or this request activates it.
    state: Option<KeyState>,
    /// The activation, and the certificates that it revokes.
    activated: Option<(Proven, Vec<Issued>)>,
}

/// The result of an attestation.
struct Appraisal {
    report: DeviceReport,
    /// Whether the key has signed the quote over a valid nonce.
    is_signed: bool,
    /// The PCR values, if they match the quote.
    quoted: Option<Vec<LearntRegister>>,
    /// The PCR values to learn. The attestation is then accepted.
    learnt: Option<Vec<LearntRegister>>,
}

/// A report. If it was not stored, `unstored` is the target for the audit trail.
struct Judged {
    report: DeviceReport,
    unstored: Option<Target>,
    /// The device of the key, if the request's activation is done, now or before.
    activated: Option<DevicePlace>,
}

impl DeviceIdentity {
    /// Evaluates an attestation. A rejected attestation also returns a report.
    ///
    /// # Errors
    ///
    /// [`AttestError`] if the request cannot be evaluated.
    pub async fn attest(
        &self,
        station: &Station,
        request: &AttestRequest,
        evidence: SentEvidence,
    ) -> Result<DeviceReport, Failure<AttestError>> {
        let act = StationOperation::Attest;
        if !self.may_show(station, act, &request.namespace).await {
            return refuse(AttestError::UnknownCategory);
        }
        let who = &station.origin().who;
        let evidence = self
            .on_cpu_queue(who, move || evidence.decode().map(Arc::new))
            .await?;
        let nonce_key = self.challenge_key().await?;
        let (name, origin) = ("device_identity.attest", station.origin());
        let (store, clock) = (&self.store, &*self.clock);
        let Judged {
            report,
            unstored,
            activated,
        } = loop {
            let judged = transact_permitted(name, store, clock, origin, contended, || async {
                let category = self
                    .load::<Category>(&request.namespace, &request.category)
                    .await?
                    .ok_or(Failure::Refused(AttestError::UnknownCategory))?;
                let case = Case {
                    station,
                    request,
                    category: &category.record.spec,
                    evidence: evidence.clone().map_err(refused)?,
                    now: self.clock.now(),
                };
                Ok(self.try_attest(&case, &nonce_key).await?)
            });
            if let Some(judged) = judged.await? {
                break judged;
            }
        };
        if let Some(device) = &activated {
            self.revoke_other_endorsements(station, device).await;
        }
        if let Some(target) = unstored
            && !report.accepted()
        {
            let why = report.refusals();
            self.note_refusal(act, target, why, station).await;
        }
        Ok(report)
    }

    /// Returns nothing if it only revoked some of the certificates that an activation replaces. The evidence is then still to
    /// be evaluated.
    async fn try_attest(
        &self,
        case: &Case<'_>,
        nonce_key: &ChallengeKey,
    ) -> Result<Attempt<Option<Judged>, AttestError>, StorageError> {
        let nonce = case.nonce(nonce_key);
        let (subject, activation) = self.subject(case, nonce.as_ref()).await?;
        let is_activation_done = matches!(
            activation,
            DeviceFinding::Activated | DeviceFinding::ActivationUnneeded(ActivateError::Spent)
        );
        let appraisal = self
            .judge_evidence(case, nonce.as_ref(), subject.as_ref(), activation)
            .await?;
        let (
            Some(nonce),
            Some(Subject {
                known,
                state: Some(state),
                activated,
            }),
            true,
        ) = (nonce, &subject, appraisal.is_signed)
        else {
            let state = subject.as_ref().and_then(|subject| subject.state.as_ref());
            let target = state.map_or(Target::Station, |state| state.device.place.target());
            return Ok(Attempt::Done(Some(Judged {
                report: appraisal.report,
                unstored: Some(target),
                activated: None,
            })));
        };
        if let Some((proven, revoked)) = activated {
            let surplus = self.revoke_surplus(case.station, proven, known, revoked, case.now);
            if let Some(batch) = surplus.await? {
                return Ok(Attempt::Commit(batch, Ok(None)));
            }
        }
        let mut batch = self.store.batch(case.now);
        let (place, spent, until) = nonce.spent();
        batch.insert(&place, &spent, Some(until));
        if let Some((proven, revoked)) = activated {
            self.write_activation(&mut batch, case.station, proven, revoked, case.now)
                .await?;
        }
        let policy = known.pcr_policy();
        let next = self
            .record(&mut batch, case, &nonce, &appraisal, policy, state.clone())
            .await?;
        known.write(&mut batch, next)?;
        let judged = Judged {
            report: appraisal.report,
            unstored: None,
            activated: is_activation_done.then(|| state.device.place.clone()),
        };
        Ok(Attempt::Commit(batch, Ok(Some(judged))))
    }

    /// Checks the nonce, the quote and the event log. If the key has signed the quote, also reports `activation`, and
    /// checks the certificate and the PCRs.
    async fn judge_evidence(
        &self,
        case: &Case<'_>,
        nonce: Option<&Nonce>,
        subject: Option<&Subject>,
        activation: DeviceFinding,
    ) -> Result<Appraisal, StorageError> {
        let state = subject.and_then(|subject| subject.state.as_ref());
        let mut known = Report::new();
        let is_ours = check_nonce(&mut known, nonce, subject, case.now)?;
        let (quote, event_log) = {
            let evidence = Arc::clone(&case.evidence);
            let selection = nonce.map(|nonce| nonce.selection.clone());
            let last_seen = state.and_then(|state| state.active.last_seen.clone());
            let last_seen = last_seen.filter(|_| is_ours);
            let judged = move || evidence.verify(selection.as_ref(), last_seen.as_ref());
            self.on_cpu_queue(&case.station.origin().who, judged)
                .await?
        };
        let quoted = quoted(nonce, &case.evidence, &quote);
        let is_signed = is_ours && is_signed(&quote);
        let mut learnt = None;
        if is_signed {
            known.judged(DeviceCheck::Activation, activation);
            check_certificate(&mut known, subject, case.now)?;
            // Read together with the records that the batch requires.
            let policy = subject.map(|subject| subject.known.pcr_policy());
            let is_log_accepted = event_log.as_ref().is_none_or(Report::accepted);
            learnt = check_registers(
                &mut known,
                policy.unwrap_or(&case.category.pcr_policy),
                state,
                &case.evidence,
                (&quote, is_log_accepted),
                quoted.as_deref(),
            );
        } else {
            known.remaining_not_evaluated(UNSIGNED);
        }
        let device = state.filter(|_| is_signed);
        let report = DeviceReport {
            ak_name: case.evidence.ak_name.clone(),
            device: device.map(|state| state.device.place.clone()),
            known,
            quote,
            event_log,
        };
        Ok(Appraisal {
            report,
            is_signed,
            quoted,
            learnt,
        })
    }

    /// Adds the verdict and the audit event to a batch, and returns the key's new state.
    async fn record(
        &self,
        batch: &mut Batch,
        case: &Case<'_>,
        nonce: &Nonce,
        appraisal: &Appraisal,
        policy: &PcrPolicy,
        mut state: KeyState,
    ) -> Result<KeyState, StorageError> {
        let report = &appraisal.report;
        let (is_accepted, selection) = (report.accepted(), nonce.selection.to_string());
        let registers = appraisal.quoted.clone().unwrap_or_default();
        let changed = state.device.changed(&registers, policy);
        let events = self.events_of(case, nonce, changed).await?;
        // The TPM's clock and counters have not gone back, so store them.
        if passes(
            &report.quote,
            [QuoteCheck::ResetCounters, QuoteCheck::Clock],
        ) && let Ok(attest) = TpmsAttest::parse(&case.evidence.attest)
        {
            state.active.last_seen = Some(attest.clock_info.into());
        }
        let is_learnt = appraisal.learnt.is_some();
        if is_learnt {
            state.device.learnt.clone_from(&appraisal.learnt);
        }
        let new_event = NewEvent {
            action: StationOperation::Attest.action(),
            target: state.device.place.target(),
            detail: Some(if is_learnt {
                format!("accepted, and learnt: {selection}")
            } else if is_accepted {
                format!("accepted: {selection}")
            } else {
                report.refusals()
            }),
            origin: case.station.origin(),
        };
        state.device.remember(Verdict {
            at: case.now,
            category: case.request.category.clone(),
            ak: report.ak_name.to_string(),
            selection,
            accepted: is_accepted,
            told: told(report),
            registers: if registers.is_empty() {
                Registers::Unknown
            } else {
                Registers::Values(registers)
            },
            events,
        });
        if is_learnt {
            self.audit.done(batch, case.now, new_event);
        } else if is_accepted {
            self.audit.used(batch, case.now, new_event, false).await?;
        } else {
            // The reason is stored in the device's history.
            new_event.origin.require(batch);
            self.audit.counted(batch, case.now, new_event).await?;
        }
        Ok(state)
    }

    /// Returns the event log entries for these PCRs.
    async fn events_of(
        &self,
        case: &Case<'_>,
        nonce: &Nonce,
        registers: Vec<RegisterName>,
    ) -> Result<Vec<LoggedEvent>, StorageError> {
        if registers.is_empty() {
            return Ok(Vec::new());
        }
        let (evidence, selection) = (Arc::clone(&case.evidence), nonce.selection.clone());
        let read = move || evidence.events_of(&selection, &registers);
        self.on_cpu_queue(&case.station.origin().who, read).await
    }

    /// Returns the place of the key if it is active.
    async fn active_place(&self, case: &Case<'_>) -> Result<Option<KeyPlace>, StorageError> {
        let (request, manager) = (case.request, &case.category.manager);
        let ak = case.evidence.ak_name.to_string();
        let key = ActiveKey::key(&request.namespace, manager, &ak);
        let active = self.store.get::<ActiveKey>(&key, case.now).await?;
        Ok(active.map(|Stored { record, .. }| KeyPlace {
            device: record.device(&request.namespace, manager),
            category: request.category.clone(),
            ek: record.ek,
            ak,
            certificate: None,
        }))
    }

    /// Reads the key's records and applies the activation, if one was sent. The subject is `None` if nothing is stored.
    async fn subject(
        &self,
        case: &Case<'_>,
        nonce: Option<&Nonce>,
    ) -> Result<(Option<Subject>, DeviceFinding), StorageError> {
        let shown = case.activation(self);
        let place = match &shown {
            Some(Ok(proven)) => Some(proven.place()),
            _ => self.active_place(case).await?,
        };
        let more = shown.iter().flatten().flat_map(Proven::keys);
        let more: Vec<Key> = more.chain(nonce.map(|nonce| nonce.spent().0)).collect();
        let known = match place {
            Some(place) => self.key_records(place, more, case.now).await?,
            None => None,
        };
        let Some(known) = known else {
            let finding = match shown {
                Some(Err(why)) => DeviceFinding::NotActivated(why),
                Some(Ok(_)) => DeviceFinding::NotActivated(ActivateError::Disabled),
                None => DeviceFinding::Inactive,
            };
            return Ok((None, finding));
        };
        let was = known.state();
        let activated = match shown {
            None => None,
            Some(Err(why)) => Some(Err(why)),
            Some(Ok(proven)) => match proven.activate(&known, case.now) {
                Ok((state, revoked)) => Some(Ok((state, (proven, revoked)))),
                Err(failure) => Some(Err(failure.refusal()?)),
            },
        };
        let (finding, state, activated) = match (activated, was) {
            (Some(Ok((state, by))), _) => (DeviceFinding::Activated, Some(state), Some(by)),
            (Some(Err(why)), Some(state)) => {
                (DeviceFinding::ActivationUnneeded(why), Some(state), None)
            }
            (Some(Err(why)), None) => (DeviceFinding::NotActivated(why), None, None),
            (None, Some(state)) => {
                let since = state.active.activated_at;
                (DeviceFinding::Active(since), Some(state), None)
            }
            (None, None) => (DeviceFinding::Inactive, None, None),
        };
        let subject = Subject {
            known,
            state,
            activated,
        };
        Ok((Some(subject), finding))
    }
}

impl Case<'_> {
    /// Returns the nonce if it was issued for this key in this category.
    fn nonce(&self, key: &ChallengeKey) -> Option<Nonce> {
        let purpose = Purpose {
            namespace: &self.request.namespace,
            category: &self.request.category,
            ak: &self.evidence.ak_name,
        };
        Nonce::read(&self.evidence.nonce, purpose, key)
    }

    /// Verifies the activation that was sent, and that it is for this key.
    fn activation(&self, devices: &DeviceIdentity) -> Option<Result<Proven, ActivateError>> {
        let AttestRequest {
            namespace,
            category,
            activation,
        } = self.request;
        let (manager, ak) = (&self.category.manager, &self.evidence.ak_name);
        let shown = activation.as_ref()?.verify(devices, self.now);
        Some(shown.map_err(|(_, why)| why).and_then(|proven| {
            if proven.is_for(namespace, manager, category, ak) {
                Ok(proven)
            } else {
                Err(ActivateError::Unproven)
            }
        }))
    }
}

fn check_certificate(
    report: &mut Report<DeviceFinding>,
    subject: Option<&Subject>,
    now: Timestamp,
) -> Result<(), StorageError> {
    let check = DeviceCheck::Certificate;
    let Some((known, state)) = subject.and_then(|subject| {
        let state = subject.state.as_ref()?;
        Some((&subject.known, state))
    }) else {
        report.not_evaluated(check, "not checked: the key is not active");
        return Ok(());
    };
    let certified = state.certified.as_ref();
    let finding = match certified.and_then(|certified| certified.proven.as_ref()) {
        None => Some(DeviceFinding::CertificateMissing),
        Some(_) if known.is_disabled() => Some(DeviceFinding::Disabled),
        Some(proven) if proven.not_after <= now => Some(DeviceFinding::CertificateEnded),
        Some(proven) if !known.is_still_valid(proven)? => Some(DeviceFinding::CertificateRevoked),
        Some(_) => None,
    };
    report.judged(check, finding);
    Ok(())
}

/// Checks that the nonce was issued for this key, is unused and has not expired.
fn check_nonce(
    report: &mut Report<DeviceFinding>,
    nonce: Option<&Nonce>,
    subject: Option<&Subject>,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let found = match (nonce, subject) {
        (Some(nonce), Some(subject)) => {
            let (place, ..) = nonce.spent();
            subject.known.found.get::<SpentNonce>(&place)?
        }
        _ => None,
    };
    let finding = match nonce {
        None => Some(DeviceFinding::NonceForeign),
        Some(_) if found.is_some() => Some(DeviceFinding::NonceSpent),
        Some(nonce) if !nonce.is_current(now) => Some(DeviceFinding::NonceExpired),
        Some(_) => None,
    };
    let is_ours = finding.is_none();
    report.judged(DeviceCheck::Nonce, finding);
    Ok(is_ours)
}

/// Returns the PCRs with their values, if the values match the quote.
fn quoted(
    nonce: Option<&Nonce>,
    evidence: &Evidence,
    quote: &AttestationReport<QuoteCheck>,
) -> Option<Vec<LearntRegister>> {
    let is_quoted = [QuoteCheck::PcrSelection, QuoteCheck::PcrDigest]
        .iter()
        .all(|check| quote.outcome(*check) == Outcome::Pass);
    let values = evidence.pcr_values.as_ref().filter(|_| is_quoted)?;
    registers(&nonce?.selection, values)
}

/// Compares the PCRs with the policy. Must follow all other checks. Returns the values to learn if these accept.
fn check_registers(
    report: &mut Report<DeviceFinding>,
    policy: &PcrPolicy,
    state: Option<&KeyState>,
    evidence: &Evidence,
    (quote, is_log_accepted): (&AttestationReport<QuoteCheck>, bool),
    quoted: Option<&[LearntRegister]>,
) -> Option<Vec<LearntRegister>> {
    let check = DeviceCheck::PcrPolicy;
    if *policy == PcrPolicy::Any {
        report.not_requested(check, "the category takes any values");
        return None;
    }
    let Some(state) = state else {
        report.not_evaluated(check, "not checked: the key is not active");
        return None;
    };
    // A TPM quotes nothing of a bank that it has not allocated, so that there are no values to send.
    if quote.outcome(QuoteCheck::PcrSelection).refuses() {
        report.not_evaluated(
            check,
            "not checked: the quote is not of the requested registers",
        );
        return None;
    }
    if evidence.pcr_values.is_none() {
        report.judged(check, DeviceFinding::ValuesMissing);
        return None;
    }
    let Some(quoted) = quoted else {
        report.not_evaluated(check, "not checked: the values are not those of the quote");
        return None;
    };
    let (compared, is_learnt) = match (policy, &state.device.learnt) {
        (PcrPolicy::Expected(expected), _) => {
            let wanted = expected
                .iter()
                .map(|register| (&*register.bank, register.index, &*register.values));
            (compare(quoted, wanted), false)
        }
        (_, Some(learnt)) => {
            let wanted = learnt.iter().map(|register| {
                let values = std::slice::from_ref(&register.value);
                (&*register.bank, register.index, values)
            });
            (compare(quoted, wanted), true)
        }
        (_, None) => {
            let mut others = DeviceCheck::ALL.iter().filter(|other| **other != check);
            let is_refused = others.any(|other| report.outcome(*other).refuses());
            if is_refused || !is_log_accepted || !quote.accepted() {
                report.not_evaluated(check, "not learnt: another check has failed");
                return None;
            }
            report.judged(check, DeviceFinding::RegistersLearnt(quoted.len()));
            return Some(quoted.to_vec());
        }
    };
    report.done(check);
    if !compared.differ.is_empty() {
        report.add(DeviceFinding::RegistersDiffer {
            registers: compared.differ,
            learnt: is_learnt,
        });
    }
    if !compared.missing.is_empty() {
        report.add(DeviceFinding::RegistersMissing(compared.missing));
    }
    if is_learnt && !compared.beside.is_empty() {
        report.add(DeviceFinding::RegistersBeside(compared.beside));
    }
    None
}

/// Returns the failed checks and the warnings as stored in the history, each cut to [`LONGEST_LINE`].
fn told(report: &DeviceReport) -> Vec<String> {
    let worth = |outcome| matches!(outcome, Outcome::Fail | Outcome::Warn);
    let rows = report.rows().filter(|row| worth(row.outcome));
    rows.map(|row| {
        let line = format!("{} {}: {}", row.outcome, row.name, row.detail);
        line.chars().take(LONGEST_LINE).collect()
    })
    .collect()
}
