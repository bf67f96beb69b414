//! The check of a certified NV index: whether an index in the attestation key's TPM has given
//! contents.

use super::{
    Asked, AttestationEvidence, AttestationPolicy, AttestationReason, AttestationReport,
    CheckedAttestation, Found, NOTHING_TO_READ, attestation_checks, check_frame, read,
};
use crate::{
    algorithm::HashAlgorithm, attest::Attested, name::Name, nv_public::TpmsNvPublic,
    public::TpmtPublic,
};

/// A verifier's requirements for a certified NV index (`TPM2_NV_Certify`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NvCertifyPolicy<'a> {
    /// The requirements common to all attestations.
    pub attestation: AttestationPolicy<'a>,
    /// The index that must be certified.
    pub index: &'a TpmsNvPublic,
    /// The contents that it must have; `None` leaves them unchecked.
    pub contents: Option<&'a [u8]>,
    /// The offset of `contents` in the index. Must be 0 if the attestation contains a digest, which
    /// covers the whole contents.
    pub offset: u16,
}

impl<'a> NvCertifyPolicy<'a> {
    /// Creates a policy that accepts any contents. Set the other fields afterwards.
    pub const fn new(attestation: AttestationPolicy<'a>, index: &'a TpmsNvPublic) -> Self {
        Self {
            attestation,
            index,
            contents: None,
            offset: 0,
        }
    }
}

attestation_checks! {
    /// The checks of a certified NV index, in the order of reports.
    pub NvCertifyCheck of [Nv, NvDigest], "a certified NV index" {
        /// `index-name`: it certifies the index, by its Name.
        IndexName = "index-name", "it matches the index";
        /// `index-written`: the index has been written since it was defined.
        IndexWritten = "index-written", "it was written";
        /// `contents`: the index has the given contents at the given offset. For a digest: the
        /// given contents, hashed with the hash of the signature, match it.
        Contents = "contents", "as expected";
    }
}

/// Checks a certified NV index (`TPM2_NV_Certify`; Part 2, 10.12.8 and 10.12.9) signed by the key
/// with the public area `ak`.
pub fn check_nv_certify(
    ak: &TpmtPublic,
    evidence: AttestationEvidence<'_>,
    policy: &NvCertifyPolicy<'_>,
) -> CheckedAttestation<NvCertifyCheck> {
    let mut report = AttestationReport::new();
    let asked = Asked::from(&policy.attestation);
    let Some(read) = read(&mut report, ak, evidence, &asked) else {
        report.remaining_not_evaluated(NOTHING_TO_READ);
        return CheckedAttestation::new(report, None);
    };
    let contents = NvCertifyCheck::Contents;
    match &read.attest.attested {
        Attested::Nv(body) => {
            check_index(&mut report, &body.index_name, policy.index);
            match policy.contents {
                None => report.not_requested(contents, "none were expected"),
                Some(expected) => report.unless(
                    body.offset == policy.offset && *body.nv_contents == *expected,
                    contents,
                    AttestationReason::ContentsMismatch,
                ),
            }
        }
        Attested::NvDigest(body) => {
            check_index(&mut report, &body.index_name, policy.index);
            check_digest(&mut report, &body.nv_digest, read.signed_hash, policy);
        }
        _ => {
            report.remaining_not_evaluated(NOTHING_TO_READ);
            return CheckedAttestation::new(report, None);
        }
    }
    let hashes = [("the index's Name", Some(policy.index.name_alg))];
    check_frame(&mut report, ak, &read, &asked, &hashes);
    CheckedAttestation::new(report, Some(read))
}

fn check_index(
    report: &mut AttestationReport<NvCertifyCheck>,
    attested: &[u8],
    index: &TpmsNvPublic,
) {
    report.unless_ok(
        Name::of_nv_index(index).map(|name| name.as_bytes() == attested),
        NvCertifyCheck::IndexName,
        AttestationReason::IndexMismatch,
    );
    report.unless(
        index.is_written(),
        NvCertifyCheck::IndexWritten,
        AttestationReason::IndexUnwritten,
    );
}

fn check_digest(
    report: &mut AttestationReport<NvCertifyCheck>,
    attested: &[u8],
    signed_hash: Option<HashAlgorithm>,
    policy: &NvCertifyPolicy<'_>,
) {
    let check = NvCertifyCheck::Contents;
    let Some(contents) = policy.contents else {
        return report.not_requested(check, "none were expected");
    };
    let Some(hash) = signed_hash else {
        return report.not_evaluated(check, "not checked: the signature's hash is unknown");
    };
    if policy.offset != 0 {
        return report.found(check, AttestationReason::ContentsOffset);
    }
    report.found(
        check,
        match hash.digest(&[contents]) {
            Ok(digest) if digest == attested => AttestationReason::ContentsByDigest,
            Ok(_) => AttestationReason::ContentsDigestMismatch,
            Err(error) => AttestationReason::Unsupported(error),
        },
    );
}
