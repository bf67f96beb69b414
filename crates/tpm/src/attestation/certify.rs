//! The check of a certification: whether an object is loaded in the same TPM as the attestation
//! key.

use keyproof_x509::Check;

use super::{
    Asked, AttestationCheck, AttestationEvidence, AttestationPolicy, AttestationReason,
    AttestationReport, CheckedAttestation, Found, NOTHING_TO_READ, ObjectParent, PARENT_NAME,
    attestation_checks, check_frame, read,
};
use crate::{
    attest::{Attested, TpmsCertifyInfo},
    device_key::KeyProfile,
    name::Name,
    public::TpmtPublic,
};

/// A verifier's requirements for a certification (`TPM2_Certify`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertifyPolicy<'a> {
    /// The requirements common to all attestations.
    pub attestation: AttestationPolicy<'a>,
    /// The object that must be certified.
    pub object: &'a TpmtPublic,
    /// The object's required parent; `None` leaves its qualified name unchecked.
    pub parent: Option<ObjectParent<'a>>,
    /// The kind of key that the object must be.
    pub profile: KeyProfile,
}

impl<'a> CertifyPolicy<'a> {
    /// Creates a policy that accepts any parent. Set the other fields afterwards.
    pub const fn new(
        attestation: AttestationPolicy<'a>,
        object: &'a TpmtPublic,
        profile: KeyProfile,
    ) -> Self {
        Self {
            attestation,
            object,
            parent: None,
            profile,
        }
    }
}

attestation_checks! {
    /// The checks of a certification, in the order of reports.
    pub CertifyCheck of [Certify], "a certification" {
        /// `object-name`: it certifies the object, by its Name.
        ObjectName = "object-name", "it matches the object";
        /// `object-qualified-name`: the object is a child of the given parent.
        ObjectQualifiedName = "object-qualified-name", "below the given parent";
        /// `object-profile`: the object matches its [`KeyProfile`].
        ObjectProfile = "object-profile", "a signing key that cannot leave its TPM";
    }
}

/// Checks a certification (`TPM2_Certify`; Part 2, 10.12.3) signed by the key with the public area
/// `ak`.
///
/// A TPM certifies any object, whatever its attributes. Only `object-profile` checks that the
/// object cannot leave the TPM.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{AttestationEvidence, AttestationPolicy, CertifyPolicy, DevIdKeyPolicy, KeyProfile,
///     Structure, TpmsAttest, TpmtPublic, algorithms::RING, check_certify};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let key = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/dev.pub.tpm2b"))?;
/// let evidence = AttestationEvidence {
///     attest: include_bytes!("../../tests/vectors/rsa2048/certify.tpms_attest.bin"),
///     signature: include_bytes!("../../tests/vectors/rsa2048/certify.tpmt_signature.bin"),
/// };
/// # let made = TpmsAttest::parse(evidence.attest)?;
/// # let nonce = &made.extra_data;
/// let policy = CertifyPolicy::new(AttestationPolicy::new(nonce, RING), &key, KeyProfile::DevId(DevIdKeyPolicy::default()));
/// assert!(check_certify(&ak, evidence, &policy).report.accepted()); // the key is in the attestation key's TPM, and stays there
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_certify(
    ak: &TpmtPublic,
    evidence: AttestationEvidence<'_>,
    policy: &CertifyPolicy<'_>,
) -> CheckedAttestation<CertifyCheck> {
    let mut report = AttestationReport::new();
    let asked = Asked::from(&policy.attestation);
    let found = read(&mut report, ak, evidence, &asked);
    let Some((read, Attested::Certify(body))) =
        found.as_ref().map(|read| (read, &read.attest.attested))
    else {
        report.remaining_not_evaluated(NOTHING_TO_READ);
        return CheckedAttestation::new(report, None);
    };
    check_name(
        &mut report,
        CertifyCheck::ObjectName,
        &body.name,
        policy.object,
    );
    check_qualified_name(&mut report, body, policy);
    check_profile(
        &mut report,
        CertifyCheck::ObjectProfile,
        policy.object,
        &policy.profile,
    );
    let parent = policy.parent.and_then(|parent| parent.name_alg());
    let hashes = [
        ("the object's Name", policy.object.name_alg),
        (PARENT_NAME, parent),
    ];
    check_frame(&mut report, ak, read, &asked, &hashes);
    CheckedAttestation::new(report, found)
}

/// Checks that the attested Name is that of the public area.
pub(super) fn check_name<C: AttestationCheck>(
    report: &mut AttestationReport<C>,
    check: C,
    attested: &[u8],
    object: &TpmtPublic,
) {
    let is_named = Name::of(object).map(|name| name.as_bytes() == attested);
    report.unless_ok(is_named, check, AttestationReason::ObjectMismatch);
}

fn check_qualified_name(
    report: &mut AttestationReport<CertifyCheck>,
    body: &TpmsCertifyInfo,
    policy: &CertifyPolicy<'_>,
) {
    let check = CertifyCheck::ObjectQualifiedName;
    let Some(parent) = policy.parent else {
        return report.not_requested(check, "no parent was given");
    };
    let expected = parent.qualified_name_of(policy.object);
    let is_child = expected.map(|expected| *expected.as_bytes() == *body.qualified_name);
    report.unless_ok(is_child, check, AttestationReason::QualifiedNameMismatch);
}

/// Checks that the object matches its profile.
pub(super) fn check_profile<C: Check>(
    report: &mut AttestationReport<C>,
    check: C,
    object: &TpmtPublic,
    profile: &KeyProfile,
) {
    match profile {
        KeyProfile::Any => report.found(check, AttestationReason::ObjectNotChecked),
        KeyProfile::Attestation(policy) => {
            let found = policy.check(object);
            if found.accepted() {
                report.found(check, AttestationReason::ObjectAttestationKey);
            }
            for finding in found.refusals().cloned() {
                report.found(check, AttestationReason::ObjectNotAttestationKey(finding));
            }
        }
        KeyProfile::DevId(policy) => {
            let found = policy.check(object);
            if found.accepted() {
                report.done(check);
            }
            for finding in found.refusals().cloned() {
                report.found(check, AttestationReason::ObjectNotDevId(finding));
            }
        }
    }
}
