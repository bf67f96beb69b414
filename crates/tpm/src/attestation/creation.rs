//! The check of a certified creation: whether the attestation key's TPM created an object, where
//! and how.

use super::{
    Asked, AttestationEvidence, AttestationPolicy, AttestationReason, AttestationReport,
    CheckedAttestation, Found, NOTHING_TO_READ, ObjectParent, PARENT_NAME, attestation_checks,
    certify::{check_name, check_profile},
    check_frame, read,
};
use crate::{
    TpmError,
    attest::{Attested, TpmsCreationInfo},
    creation::{TpmsCreationData, TpmtTkCreation},
    device_key::KeyProfile,
    name::Hierarchy,
    public::TpmtPublic,
    wire::Structure,
};

/// The evidence that a device sends for a certified creation.
#[derive(Clone, Copy, Debug)]
pub struct CreationEvidence<'a> {
    /// The attestation and its signature.
    pub attestation: AttestationEvidence<'a>,
    /// The `TPMS_CREATION_DATA` that the TPM returned with the object, without a size prefix.
    pub creation_data: &'a [u8],
    /// The `TPMT_TK_CREATION` that the TPM returned with the object, if available.
    pub ticket: Option<&'a [u8]>,
}

/// A verifier's requirements for a certified creation (`TPM2_CertifyCreation`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreationPolicy<'a> {
    /// The requirements common to all attestations.
    pub attestation: AttestationPolicy<'a>,
    /// The object that must have been created.
    pub object: &'a TpmtPublic,
    /// The kind of key that the object must be.
    pub profile: KeyProfile,
    /// The parent under which the object must have been created; `None` leaves it unchecked.
    pub parent: Option<ObjectParent<'a>>,
    /// The `outsideInfo` with which the object must have been created; `None` leaves it unchecked.
    pub outside_info: Option<&'a [u8]>,
}

impl<'a> CreationPolicy<'a> {
    /// Creates a policy that accepts any parent and any `outsideInfo`. Set the other fields
    /// afterwards.
    pub const fn new(
        attestation: AttestationPolicy<'a>,
        object: &'a TpmtPublic,
        profile: KeyProfile,
    ) -> Self {
        Self {
            attestation,
            object,
            profile,
            parent: None,
            outside_info: None,
        }
    }
}

attestation_checks! {
    /// The checks of a certified creation, in the order of reports.
    pub CreationCheck of [Creation], "a certified creation" {
        /// `object-name`: it certifies the object, by its Name.
        ObjectName = "object-name", "it matches the object";
        /// `object-profile`: the object matches its [`KeyProfile`].
        ObjectProfile = "object-profile", "a signing key that cannot leave its TPM";
        /// `creation-hash`: its hash matches the given creation data, under the object's name
        /// algorithm (Part 3, 12.1.1).
        CreationHash = "creation-hash", "the hash of the given creation data";
        /// `creation-data`: it is a well-formed, consistent `TPMS_CREATION_DATA`. A parent without
        /// a name algorithm is a hierarchy, and the PCR digest has the size of the object's name
        /// algorithm (Part 2, 15.1).
        CreationData = "creation-data", "one TPMS_CREATION_DATA";
        /// `parent`: the object was created under the given parent.
        Parent = "parent", "made below the given parent";
        /// `outside-info`: the object was created with the given `outsideInfo`.
        OutsideInfo = "outside-info", "as expected";
        /// `ticket`: it is a creation ticket of the parent's hierarchy, not the NULL ticket (Part
        /// 2, 10.7.3). Only the TPM can verify the ticket, and did so before certifying.
        Ticket = "ticket", "of a creation in the parent's hierarchy";
    }
}

/// Checks a certified creation (`TPM2_CertifyCreation`; Part 2, 10.12.7) signed by the key with the
/// public area `ak`.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{AttestationEvidence, AttestationPolicy, CreationEvidence, CreationPolicy,
///     DevIdKeyPolicy, KeyProfile, Structure, TpmsAttest, TpmtPublic, algorithms::RING, check_creation};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// let key = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/dev.pub.tpm2b"))?;
/// let attest = include_bytes!("../../tests/vectors/rsa2048/certifycreation.tpms_attest.bin");
/// let evidence = CreationEvidence {
///     attestation: AttestationEvidence { attest, signature: include_bytes!("../../tests/vectors/rsa2048/certifycreation.tpmt_signature.bin") },
///     creation_data: &include_bytes!("../../tests/vectors/rsa2048/dev.creation_data.tpm2b")[2..], // behind its length
///     ticket: None,
/// };
/// # let made = TpmsAttest::parse(attest)?;
/// # let nonce = &made.extra_data;
/// let policy = CreationPolicy::new(AttestationPolicy::new(nonce, RING), &key, KeyProfile::DevId(DevIdKeyPolicy::default()));
/// assert!(check_creation(&ak, &evidence, &policy).report.accepted());
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_creation(
    ak: &TpmtPublic,
    evidence: &CreationEvidence<'_>,
    policy: &CreationPolicy<'_>,
) -> CheckedAttestation<CreationCheck> {
    let mut report = AttestationReport::new();
    let asked = Asked::from(&policy.attestation);
    let found = read(&mut report, ak, evidence.attestation, &asked);
    let Some((read, Attested::Creation(body))) =
        found.as_ref().map(|read| (read, &read.attest.attested))
    else {
        report.remaining_not_evaluated(NOTHING_TO_READ);
        return CheckedAttestation::new(report, None);
    };
    let object = policy.object;
    check_name(
        &mut report,
        CreationCheck::ObjectName,
        &body.object_name,
        object,
    );
    check_profile(
        &mut report,
        CreationCheck::ObjectProfile,
        object,
        &policy.profile,
    );
    check_hash(&mut report, body, object, evidence.creation_data);
    let parent = match check_data(object, evidence.creation_data) {
        Ok(data) => {
            report.done(CreationCheck::CreationData);
            check_parent(&mut report, &data, policy.parent);
            check_outside_info(&mut report, &data, policy.outside_info);
            check_ticket(&mut report, &data, evidence.ticket);
            data.parent_name_alg
        }
        Err(reason) => {
            report.found(CreationCheck::CreationData, reason);
            for check in [
                CreationCheck::Parent,
                CreationCheck::OutsideInfo,
                CreationCheck::Ticket,
            ] {
                report.not_evaluated(check, "not checked: there is no creation data to read");
            }
            None
        }
    };
    let hashes = [
        ("the object's Name", object.name_alg),
        (PARENT_NAME, parent),
    ];
    check_frame(&mut report, ak, read, &asked, &hashes);
    CheckedAttestation::new(report, found)
}

fn check_hash(
    report: &mut AttestationReport<CreationCheck>,
    body: &TpmsCreationInfo,
    object: &TpmtPublic,
    creation_data: &[u8],
) {
    let hash = object.name_alg.ok_or(TpmError::NoNameAlgorithm);
    let digest = hash.and_then(|hash| hash.digest(&[creation_data]));
    report.unless_ok(
        digest.map(|digest| digest == *body.creation_hash),
        CreationCheck::CreationHash,
        AttestationReason::CreationHashMismatch,
    );
}

/// Parses the creation data and checks its consistency.
fn check_data(
    object: &TpmtPublic,
    creation_data: &[u8],
) -> Result<TpmsCreationData, AttestationReason> {
    let inconsistent = |how| Err(AttestationReason::CreationDataInconsistent(how));
    let data =
        TpmsCreationData::parse(creation_data).map_err(AttestationReason::CreationDataMalformed)?;
    let names = [&data.parent_name, &data.parent_qualified_name];
    match data.parent_name_alg {
        None if names.iter().any(|name| name.len() != HANDLE_SIZE) => {
            return inconsistent("its parent has no name algorithm, and is not a hierarchy");
        }
        Some(hash)
            if names
                .iter()
                .any(|name| name.get(..2) != Some(&hash.id().to_be_bytes())) =>
        {
            return inconsistent("its parent's names do not use the stated name algorithm");
        }
        _ => {}
    }
    let size = object.name_alg.map(|hash| hash.digest_size());
    if size != Some(data.pcr_digest.len()) {
        return inconsistent(
            "its PCR digest does not have the size of the object's name algorithm",
        );
    }
    Ok(data)
}

/// The size of a handle, which serves as a hierarchy's Name.
const HANDLE_SIZE: usize = 4;

fn check_parent(
    report: &mut AttestationReport<CreationCheck>,
    data: &TpmsCreationData,
    parent: Option<ObjectParent<'_>>,
) {
    let check = CreationCheck::Parent;
    let (name, qualified) = (&*data.parent_name, &*data.parent_qualified_name);
    let is_parent = match parent {
        None => return report.not_requested(check, "no parent was given"),
        Some(ObjectParent::Hierarchy(hierarchy)) => {
            let handle = hierarchy.handle().to_be_bytes();
            name == handle && qualified == handle
        }
        Some(ObjectParent::Object {
            name: expected,
            qualified_name,
        }) => name == expected.as_bytes() && qualified == qualified_name.as_bytes(),
    };
    report.unless(is_parent, check, AttestationReason::ParentMismatch);
}

fn check_outside_info(
    report: &mut AttestationReport<CreationCheck>,
    data: &TpmsCreationData,
    expected: Option<&[u8]>,
) {
    let check = CreationCheck::OutsideInfo;
    match expected {
        None => report.not_requested(check, "none was expected"),
        Some(expected) => report.unless(
            *data.outside_info == *expected,
            check,
            AttestationReason::OutsideInfoMismatch,
        ),
    }
}

fn check_ticket(
    report: &mut AttestationReport<CreationCheck>,
    data: &TpmsCreationData,
    ticket: Option<&[u8]>,
) {
    let check = CreationCheck::Ticket;
    let Some(ticket) = ticket else {
        return report.not_requested(check, "none was given");
    };
    let ticket = match TpmtTkCreation::parse(ticket) {
        Ok(ticket) => ticket,
        Err(error) => return report.found(check, AttestationReason::TicketMalformed(error)),
    };
    let handle = ticket.hierarchy.handle().to_be_bytes();
    if ticket.digest.is_empty() {
        report.found(check, AttestationReason::TicketNull);
    } else if data.parent_name_alg.is_none() && *data.parent_name != handle {
        report.found(check, AttestationReason::TicketHierarchyMismatch);
    } else if ticket.hierarchy == Hierarchy::Null {
        report.found(check, AttestationReason::TicketOfNullHierarchy);
    } else {
        report.done(check);
    }
}
