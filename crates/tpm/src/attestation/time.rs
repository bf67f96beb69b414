//! The check of an attested time: clock, counters and firmware version of the attestation key's
//! TPM.

use super::{
    Asked, AttestationEvidence, AttestationPolicy, AttestationReason, AttestationReport,
    CheckedAttestation, Found, NOTHING_TO_READ, attestation_checks, check_frame, read,
};
use crate::{
    attest::{Attested, TpmsAttest, TpmsTimeAttestInfo},
    public::TpmtPublic,
};

/// A verifier's requirements for an attested time (`TPM2_GetTime`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimePolicy<'a> {
    /// The requirements common to all attestations.
    pub attestation: AttestationPolicy<'a>,
    /// The firmware version that the TPM must have; `None` leaves it unchecked.
    pub firmware_version: Option<u64>,
}

impl<'a> TimePolicy<'a> {
    /// Creates a policy that accepts any firmware version. Set the other fields afterwards.
    pub const fn new(attestation: AttestationPolicy<'a>) -> Self {
        Self {
            attestation,
            firmware_version: None,
        }
    }
}

attestation_checks! {
    /// The checks of an attested time, in the order of reports.
    pub TimeCheck of [Time], "an attested time" {
        /// `time-info`: the clock values in body and head match; otherwise it warns. The clock is
        /// never obfuscated (Part 2, 10.12.12).
        TimeInfo = "time-info", "the clock values in head and body match";
        /// `firmware-version`: the TPM has the given firmware version.
        FirmwareVersion = "firmware-version", "as expected";
    }
}

/// Checks an attested time (`TPM2_GetTime`; Part 2, 10.12.2) signed by the key with the public area
/// `ak`.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{AttestationEvidence, AttestationPolicy, Structure, TimePolicy, TpmsAttest,
///     TpmtPublic, algorithms::RING, check_time};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let evidence = AttestationEvidence {
///     attest: include_bytes!("../../tests/vectors/rsa2048/gettime.tpms_attest.bin"),
///     signature: include_bytes!("../../tests/vectors/rsa2048/gettime.tpmt_signature.bin"),
/// };
/// # let made = TpmsAttest::parse(evidence.attest)?;
/// # let nonce = &made.extra_data;
/// let policy = TimePolicy::new(AttestationPolicy::new(nonce, RING));
/// let time = check_time(&ak, evidence, &policy);
/// assert!(time.report.accepted(), "{}", time.report);
/// // Store the clock and pass it to the next check, which rejects a clock that went backwards.
/// let last_seen = time.accepted.map(|attest| attest.clock_info);
/// assert!(last_seen.is_some_and(|seen| seen.clock > 0));
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_time(
    ak: &TpmtPublic,
    evidence: AttestationEvidence<'_>,
    policy: &TimePolicy<'_>,
) -> CheckedAttestation<TimeCheck> {
    let mut report = AttestationReport::new();
    let asked = Asked::from(&policy.attestation);
    let found = read(&mut report, ak, evidence, &asked);
    let Some((read, Attested::Time(body))) =
        found.as_ref().map(|read| (read, &read.attest.attested))
    else {
        report.remaining_not_evaluated(NOTHING_TO_READ);
        return CheckedAttestation::new(report, None);
    };
    check_time_info(&mut report, &read.attest, body);
    check_firmware(&mut report, body, policy.firmware_version);
    check_frame(&mut report, ak, read, &asked, &[]);
    CheckedAttestation::new(report, found)
}

/// Compares only the clock: counters and firmware version in the head may be obfuscated.
fn check_time_info(
    report: &mut AttestationReport<TimeCheck>,
    attest: &TpmsAttest,
    body: &TpmsTimeAttestInfo,
) {
    let check = TimeCheck::TimeInfo;
    let (head, body_clock) = (&attest.clock_info, &body.clock_info);
    let is_one = (head.clock, head.safe) == (body_clock.clock, body_clock.safe);
    report.found(
        check,
        if is_one {
            AttestationReason::Time {
                since_start: body.time,
                in_all: head.clock,
            }
        } else {
            AttestationReason::ClockInfoMismatch
        },
    );
}

fn check_firmware(
    report: &mut AttestationReport<TimeCheck>,
    body: &TpmsTimeAttestInfo,
    expected: Option<u64>,
) {
    let check = TimeCheck::FirmwareVersion;
    let found = body.firmware_version;
    match expected {
        None => report.not_requested(check, "none was expected"),
        Some(expected) if expected == found => {
            report.found(check, AttestationReason::Firmware(found));
        }
        Some(expected) => report.found(
            check,
            AttestationReason::FirmwareMismatch { expected, found },
        ),
    }
}
