//! Attestation: what a device says of itself after the factory, judged against what is known of its key.
//!
//! What its key has signed over a nonce of ours is kept, whatever it comes to: the nonce is spent and the verdict stored.
//! What was not so signed changes nothing, for anybody may send it.

use std::sync::Arc;

use keyproof_store::{Key, Timestamp};
use keyproof_tpm::{AttestationReport, Name, Outcome, QuoteCheck, Report, Structure, TpmsAttest};

use super::{
    ActivateError, AttestRequest, Category, DeviceIdentity, DevicePlace, FieldError,
    LearntRegister, PcrPolicy, Registers, SentEvidence, Station, StationAct, Verdict,
    activation::Proven,
    attestation_report::{DeviceCheck, DeviceFinding, DeviceReport},
    certified::Issued,
    evidence::Evidence,
    identity::{ActiveKey, Seen},
    key_records::{KeyPlace, KeyRecords, KeyState},
    nonce::{ChallengeKey, Nonce, Purpose, SpentNonce},
    pcr_policy::{compare, registers},
};
use crate::{
    Failure, StorageError,
    audit::Deed,
    storage::{Attempt, settle},
};

/// The most that is kept of a check, in characters.
const LONGEST_LINE: usize = 200;

/// Why an attestation is not judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] FieldError),
    /// The category is not there.
    #[error("there is no such tpm_category")]
    UnknownCategory,
}

/// What is known of the key that a request is about.
struct Subject {
    known: KeyRecords,
    /// The key, if it is active or has become so.
    state: Option<KeyState>,
    /// What has made it active, and which certificates that revokes.
    activated: Option<(Proven, Vec<Issued>)>,
}

/// A report, and whether it was stored.
struct Judged {
    report: DeviceReport,
    is_stored: bool,
}

impl DeviceIdentity {
    /// Judges an attestation. A refused one is a report too.
    ///
    /// # Errors
    ///
    /// [`AttestError`] for what cannot be judged.
    pub async fn attest(
        &self,
        station: &Station,
        request: &AttestRequest,
        evidence: SentEvidence,
    ) -> Result<DeviceReport, Failure<AttestError>> {
        let evidence = self.judge(move || evidence.decode().map(Arc::new)).await?;
        let nonce_key = self.challenge_key().await?;
        let judged = settle("device_identity.attest", &self.store, || async {
            let category = self.load::<Category>(&request.namespace, &request.category);
            let category = category.await?;
            let category = category.ok_or(Failure::Refused(AttestError::UnknownCategory))?;
            let evidence = evidence.clone();
            let evidence = evidence.map_err(|error| Failure::Refused(error.into()))?;
            let attempt = self.try_attest(
                station,
                request,
                evidence,
                &nonce_key,
                &category.record.spec,
            );
            Ok(attempt.await?)
        });
        let Judged { report, is_stored } = judged.await?;
        if !report.accepted() && !is_stored {
            let target = report.device.as_ref().map(DevicePlace::target);
            let why = report.refusals();
            self.note_station_refusal(StationAct::Attest, target, why, station)
                .await;
        }
        Ok(report)
    }

    async fn try_attest(
        &self,
        station: &Station,
        request: &AttestRequest,
        evidence: Arc<Evidence>,
        nonce_key: &ChallengeKey,
        category: &Category,
    ) -> Result<Attempt<Judged, AttestError>, StorageError> {
        let now = self.clock.now();
        let purpose = Purpose {
            namespace: &request.namespace,
            category: &request.category,
            ak: &evidence.ak_name,
        };
        let nonce = Nonce::read(&evidence.nonce, purpose, nonce_key);
        let mut known = Report::new();
        let subject = self
            .subject(
                request,
                &evidence.ak_name,
                category,
                nonce.as_ref(),
                &mut known,
                now,
            )
            .await?;
        let state = subject.as_ref().and_then(|subject| subject.state.as_ref());
        check_certificate(&mut known, subject.as_ref(), now)?;
        let is_ours = check_nonce(&mut known, nonce.as_ref(), subject.as_ref(), now)?;

        let selection = nonce.as_ref().map(|nonce| nonce.selection.clone());
        let last_seen = state.and_then(|state| state.active.last_seen.clone());
        let (quote, event_log) = {
            let evidence = Arc::clone(&evidence);
            self.judge(move || evidence.judge(selection.as_ref(), last_seen.as_ref()))
                .await?
        };
        let quoted = quoted(nonce.as_ref(), &evidence, &quote);
        // Of the same moment as what the batch requires.
        let policy = subject.as_ref().map(|subject| subject.known.pcr_policy());
        let learnt = check_registers(
            &mut known,
            policy.unwrap_or(&category.pcr_policy),
            state,
            nonce.as_ref(),
            &evidence,
            quoted.as_deref(),
        );
        let is_signed = [
            QuoteCheck::Signature,
            QuoteCheck::Magic,
            QuoteCheck::ExtraData,
        ]
        .iter()
        .all(|check| !quote.outcome(*check).refuses());
        let report = DeviceReport {
            ak_name: evidence.ak_name.clone(),
            device: state.map(|state| state.device.place.clone()),
            known,
            quote,
            event_log,
        };
        let (Some(nonce), Some(subject), true, true) = (nonce, subject, is_ours, is_signed) else {
            let is_stored = false;
            return Ok(Attempt::Done(Judged { report, is_stored }));
        };
        let Subject {
            known: records,
            state: Some(mut state),
            activated,
        } = subject
        else {
            let is_stored = false;
            return Ok(Attempt::Done(Judged { report, is_stored }));
        };

        let mut batch = self.store.batch(now);
        let (place, spent, until) = nonce.spent();
        batch.insert(&place, &spent, Some(until));
        if let Some((proven, revoked)) = &activated {
            self.write_activation(&mut batch, station, proven, revoked, now)
                .await?;
        }
        let attest = TpmsAttest::parse(&evidence.attest).ok();
        let clock = attest.map(|attest| Seen::from(attest.clock_info));
        let registers = quoted.unwrap_or_default();
        let changed = state.device.changed(&registers, &category.pcr_policy);
        let events = match changed.is_empty() {
            true => Vec::new(),
            false => {
                let selection = nonce.selection.clone();
                let work = move || evidence.events_of(&selection, &changed);
                self.judge(work).await?
            }
        };
        let is_learnt = report.accepted() && learnt.is_some();
        if report.accepted() {
            state.active.last_seen = clock;
            if learnt.is_some() {
                state.device.learnt = learnt;
            }
        }
        state.device.remember(Verdict {
            at: now,
            category: request.category.clone(),
            ak: report.ak_name.to_string(),
            selection: nonce.selection.to_string(),
            accepted: report.accepted(),
            told: told(&report),
            registers: match registers.is_empty() {
                true => Registers::Unknown,
                false => Registers::Values(registers),
            },
            events,
        });
        let deed = Deed {
            action: StationAct::Attest.action(),
            target: state.device.place.target(),
            detail: Some(match (report.accepted(), is_learnt) {
                (true, true) => format!("accepted, and learnt: {}", nonce.selection),
                (true, false) => format!("accepted: {}", nonce.selection),
                (false, _) => report.refusals(),
            }),
            origin: station.origin(),
        };
        if !report.accepted() {
            self.audit.counted(&mut batch, now, deed).await?;
        } else if is_learnt {
            self.audit.done(&mut batch, now, deed);
        } else {
            self.audit.used(&mut batch, now, deed, false).await?;
        }
        records.write(&mut batch, state)?;
        let is_stored = true;
        Ok(Attempt::Commit(batch, Ok(Judged { report, is_stored })))
    }

    /// Finds whose the key is, and judges whether it is active. `None` if nothing is known of it.
    async fn subject(
        &self,
        request: &AttestRequest,
        ak: &Name,
        category: &Category,
        nonce: Option<&Nonce>,
        report: &mut Report<DeviceFinding>,
        now: Timestamp,
    ) -> Result<Option<Subject>, StorageError> {
        let check = DeviceCheck::Activation;
        let shown = request.activation.as_ref();
        let mut shown = shown.map(|activation| activation.judge(self, now).map_err(|(_, why)| why));
        if let Some(Ok(proven)) = &shown
            && !proven.is_for(&request.namespace, &category.manager, &request.category, ak)
        {
            shown = Some(Err(ActivateError::Unproven));
        }
        let place = match &shown {
            Some(Ok(proven)) => Some(proven.place()),
            _ => {
                let key = ActiveKey::key(&request.namespace, &category.manager, &ak.to_string());
                let active = self.store.get::<ActiveKey>(&key, now).await?;
                active.map(|active| active.record).map(|active| KeyPlace {
                    device: DevicePlace {
                        namespace: request.namespace.clone(),
                        manager: category.manager.clone(),
                        vendor: active.vendor,
                        serial: active.serial,
                    },
                    category: request.category.clone(),
                    ek: active.ek,
                    ak: ak.to_string(),
                })
            }
        };
        let more = shown.iter().flatten().flat_map(Proven::keys);
        let more: Vec<Key> = more.chain(nonce.map(|nonce| nonce.spent().0)).collect();
        let known = match place {
            Some(place) => self.key_records(place, more, now).await?,
            None => None,
        };
        let Some(known) = known else {
            report.judged(
                check,
                match shown {
                    Some(Err(why)) => DeviceFinding::NotActivated(why),
                    Some(Ok(_)) => DeviceFinding::NotActivated(ActivateError::Disabled),
                    None => DeviceFinding::Inactive,
                },
            );
            return Ok(None);
        };
        let was = known.state();
        let activated = match shown {
            None => None,
            Some(Err(why)) => Some(Err(why)),
            Some(Ok(proven)) => match proven.activate(&known, now) {
                Ok((state, revoked)) => Some(Ok((state, (proven, revoked)))),
                Err(Failure::Refused(why)) => Some(Err(why)),
                Err(Failure::Storage(error)) => return Err(error),
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
        report.judged(check, finding);
        Ok(Some(Subject {
            known,
            state,
            activated,
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
        report.not_judged(check, "not judged: the key is not active");
        return Ok(());
    };
    let certified = state.certified.as_ref();
    let finding = match certified.and_then(|certified| certified.proven.as_ref()) {
        None => Some(DeviceFinding::CertificateMissing),
        Some(_) if known.is_disabled() => Some(DeviceFinding::Disabled),
        Some(proven) if proven.not_after <= now => Some(DeviceFinding::CertificateEnded),
        Some(proven) if !known.is_upheld(proven)? => Some(DeviceFinding::CertificateRevoked),
        Some(_) => None,
    };
    report.judged(check, finding);
    Ok(())
}

/// Whether the nonce is ours and was not used before.
fn check_nonce(
    report: &mut Report<DeviceFinding>,
    nonce: Option<&Nonce>,
    subject: Option<&Subject>,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let found = match (nonce, subject) {
        (Some(nonce), Some(subject)) => {
            let (place, ..) = nonce.spent();
            subject.known.found().get::<SpentNonce>(&place)?
        }
        _ => None,
    };
    let finding = match nonce {
        None => Some(DeviceFinding::NonceForeign),
        Some(_) if found.is_some() => Some(DeviceFinding::NonceSpent),
        Some(nonce) if nonce.expires_at <= now => Some(DeviceFinding::NonceExpired),
        Some(_) => None,
    };
    let is_ours = finding.is_none();
    report.judged(DeviceCheck::Nonce, finding);
    Ok(is_ours)
}

/// The registers with their values, if those are what was quoted.
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

/// Compares the registers with what they are to be. Gives what is to be learnt of them if all else is well.
fn check_registers(
    report: &mut Report<DeviceFinding>,
    policy: &PcrPolicy,
    state: Option<&KeyState>,
    nonce: Option<&Nonce>,
    evidence: &Evidence,
    quoted: Option<&[LearntRegister]>,
) -> Option<Vec<LearntRegister>> {
    let check = DeviceCheck::PcrPolicy;
    if *policy == PcrPolicy::Any {
        report.not_asked(check, "the category takes any values");
        return None;
    }
    let (Some(state), Some(_)) = (state, nonce) else {
        report.not_judged(check, "not judged: the key or the nonce is not known");
        return None;
    };
    if evidence.pcr_values.is_none() {
        report.judged(check, DeviceFinding::ValuesMissing);
        return None;
    }
    let Some(quoted) = quoted else {
        report.not_judged(check, "not judged: the values are not those of the quote");
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

/// What is kept of a report: what failed, and what was worth a look, each cut to what a line has room for.
fn told(report: &DeviceReport) -> Vec<String> {
    let worth = |outcome| matches!(outcome, Outcome::Fail | Outcome::Warn);
    let rows = report.rows().filter(|row| worth(row.outcome));
    rows.map(|row| {
        let line = format!("{} {}: {}", row.outcome, row.name, row.detail);
        line.chars().take(LONGEST_LINE).collect()
    })
    .collect()
}
