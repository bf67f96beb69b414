//! The proof that a leaf's issuer possesses a CA's private key.

use alloc::string::ToString;

use der::asn1::ObjectIdentifier;

use crate::{
    certificate::{Certificate, Version},
    code::VerificationCode,
    extension::{
        AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, BasicConstraints, CERTIFICATE_POLICIES,
        CRL_DISTRIBUTION_POINTS, EXTENDED_KEY_USAGE, Extension, INHIBIT_ANY_POLICY, KEY_USAGE,
        NAME_CONSTRAINTS, POLICY_CONSTRAINTS, POLICY_MAPPINGS, SUBJECT_ALT_NAME,
        SUBJECT_KEY_IDENTIFIER, alt_names_are_well_formed,
    },
    name::{NameMatch, told_apart},
    policy::Policy,
    proof_check::ProofCheck,
    proof_finding::{ProofFinding, ReadExtension, Role},
    public_key::{KeyKind, RSA_MAXIMUM_BITS, RSA_MINIMUM_BITS},
    report::{Outcome, Report},
    time::LAST_SECOND,
    upload::Upload,
};

/// Validates whether `leaf`, an upload in any encoding, proves possession of the private key of `ca`.
///
/// The proof is accepted if `ca` issued the leaf (by name and signature), the only common name in the leaf's subject is `code`,
/// the code was issued for `ca` ([`VerificationCode::bound_to`]), and both certificates pass the other checks under `policy`.
/// `now` is in seconds since the Unix epoch. A failed check does not end the run; the report lists all checks. A code must be
/// used only once: delete it in the same transaction that stores an accepted verdict. [`VerificationCode::redeem`] takes the code
/// by value, and returns it only if the proof is refused.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Outcome, Policy, ProofCheck, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = include_bytes!("../tests/data/p256-leaf.der");
/// let other = VerificationCode::from_random(&[1; 24]);
/// let report = prove(&ca, leaf, &other, 1_800_000_000, &Policy::new(RING));
/// assert!(!report.accepted());
/// assert_eq!(report.outcome(ProofCheck::Signature), Outcome::Pass);
/// assert_eq!(report.outcome(ProofCheck::CommonName), Outcome::Fail);
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
pub fn prove(
    ca: &Certificate<'_>,
    leaf: &[u8],
    code: &VerificationCode,
    now: u64,
    policy: &Policy<'_>,
) -> Report<ProofFinding> {
    let mut report = Report::new().with_strictness(policy.strictness);
    let skew = policy.clock_skew.as_secs();

    check_code(&mut report, code, ca, now);
    check_validity(&mut report, Role::Ca, ca, now, skew);
    check_ca_constraints(&mut report, ca);
    check_ca_key_usage(&mut report, ca);
    check_either(&mut report, Role::Ca, ca);

    let upload = Upload::decode(leaf);
    let leaf = upload
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|upload| Ok((upload, upload.certificate()?)));
    match leaf {
        Ok((upload, leaf)) => check_leaf(&mut report, ca, upload, &leaf, code, now, policy),
        Err(error) => {
            report.judged(ProofCheck::Leaf, ProofFinding::LeafUnreadable(error));
            report.remaining_not_evaluated("not checked: the leaf cannot be read");
        }
    }
    report
}

fn check_leaf(
    report: &mut Report<ProofFinding>,
    ca: &Certificate<'_>,
    upload: &Upload<'_>,
    leaf: &Certificate<'_>,
    code: &VerificationCode,
    now: u64,
    policy: &Policy<'_>,
) {
    report.add(ProofFinding::LeafRead {
        encoding: upload.encoding(),
    });
    if upload.further_certificates() > 0 {
        report.add(ProofFinding::FurtherCertificates {
            count: upload.further_certificates(),
        });
    }
    report.done(ProofCheck::Leaf);

    check_issuer(report, ca, leaf);
    check_common_name(report, leaf, code);
    check_validity(report, Role::Leaf, leaf, now, policy.clock_skew.as_secs());
    check_not_the_ca(report, ca, leaf);
    check_leaf_constraints(report, leaf);
    check_either(report, Role::Leaf, leaf);
    // These checks cover both certificates, and both have been checked now.
    for check in [
        ProofCheck::KeyStrength,
        ProofCheck::HashStrength,
        ProofCheck::Version,
        ProofCheck::Serial,
    ] {
        report.done(check);
    }
    check_signature(report, ca, leaf, policy);
}

/// Runs the checks that are the same for both certificates.
fn check_either(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    check_key(report, role, certificate);
    check_hash(report, role, certificate);
    check_extensions(report, role, certificate);
    check_version(report, role, certificate);
    check_serial(report, role, certificate);
}

fn check_code(
    report: &mut Report<ProofFinding>,
    code: &VerificationCode,
    ca: &Certificate<'_>,
    now: u64,
) {
    match code.certificate() {
        None => report.add(ProofFinding::CodeUnbound),
        Some(issued_for) if issued_for != ca.sha256_thumbprint() => {
            report.add(ProofFinding::CodeForAnotherCertificate);
        }
        Some(_) => {}
    }
    // The clock that checks a code also set its expiry, so no clock skew is allowed for.
    match code.expires_at() {
        Some(expires_at) if expires_at > LAST_SECOND => {
            report.add(ProofFinding::CodeExpiryOutOfRange { expires_at });
        }
        Some(expired_at) if now >= expired_at => {
            report.add(ProofFinding::CodeExpired { expired_at });
        }
        _ => {}
    }
    report.done(ProofCheck::Code);
}

fn check_issuer(report: &mut Report<ProofFinding>, ca: &Certificate<'_>, leaf: &Certificate<'_>) {
    match leaf.issuer().compare(&ca.subject()) {
        NameMatch::Exact if leaf.issuer().is_empty() => report.add(ProofFinding::IssuerEmpty),
        NameMatch::Exact => {}
        NameMatch::Folded => report.add(ProofFinding::IssuerFolded),
        NameMatch::Different => {
            let (issuer, ca_subject) = told_apart(&leaf.issuer(), &ca.subject());
            report.add(ProofFinding::IssuerMismatch { issuer, ca_subject });
        }
    }
    check_string_types(report, Role::Ca, ca);
    report.done(ProofCheck::Issuer);
}

/// Runs last: with a weak key or hash a signature proves nothing, and the table need not support it.
fn check_signature(
    report: &mut Report<ProofFinding>,
    ca: &Certificate<'_>,
    leaf: &Certificate<'_>,
    policy: &Policy<'_>,
) {
    let differ = leaf.tbs_algorithm().as_der() != leaf.algorithm().as_der();
    if differ {
        report.add(ProofFinding::AlgorithmsDiffer);
    }
    let is_weak = |check| report.outcome(check) == Outcome::Fail;
    if is_weak(ProofCheck::KeyStrength) || is_weak(ProofCheck::HashStrength) {
        report.not_evaluated(
            ProofCheck::Signature,
            "not checked: a key or hash too weak for it to mean anything",
        );
        return;
    }
    let verified = leaf.verify_signature(policy.algorithms, &ca.public_key());
    report.add(match verified {
        Ok(scheme) => ProofFinding::SignatureVerified { scheme },
        Err(error) => ProofFinding::SignatureRefused(error),
    });
    report.done(ProofCheck::Signature);
}

fn check_common_name(
    report: &mut Report<ProofFinding>,
    leaf: &Certificate<'_>,
    code: &VerificationCode,
) {
    let subject = leaf.subject();
    let mut names = subject.common_names();
    match (names.next(), names.count()) {
        (None, _) => report.add(ProofFinding::CommonNameMissing),
        (Some(name), 0) => match name.text() {
            None => report.add(ProofFinding::CommonNameUnreadable),
            Some(name) if code.is_name(&name) => {}
            Some(name) => report.add(ProofFinding::CommonNameMismatch {
                characters: name.chars().count(),
                nearly: code.is_nearly_name(&name),
            }),
        },
        (Some(_), more) => report.add(ProofFinding::CommonNameNotUnique { count: 1 + more }),
    }
    check_string_types(report, Role::Leaf, leaf);
    report.done(ProofCheck::CommonName);
}

/// Reports one attribute at most.
fn check_string_types(
    report: &mut Report<ProofFinding>,
    role: Role,
    certificate: &Certificate<'_>,
) {
    let subject = certificate.subject();
    let forbidden = subject
        .attributes()
        .find_map(|attribute| attribute.forbidden_string_type());
    if let Some(attribute) = forbidden {
        report.add(ProofFinding::StringTypeForbidden { role, attribute });
    }
}

fn check_validity(
    report: &mut Report<ProofFinding>,
    role: Role,
    certificate: &Certificate<'_>,
    now: u64,
    skew: u64,
) {
    let validity = certificate.validity();
    if certificate.has_early_generalized_time() {
        report.add(ProofFinding::EarlyGeneralizedTime { role });
    }
    if !validity.has_begun_within(now, skew) {
        report.add(ProofFinding::NotYetValid {
            role,
            not_before: validity.not_before,
        });
    }
    if validity.has_ended_beyond(now, skew) {
        report.add(ProofFinding::Expired {
            role,
            not_after: validity.not_after,
        });
    }
    report.done(match role {
        Role::Ca => ProofCheck::CaValidity,
        Role::Leaf => ProofCheck::LeafValidity,
    });
}

fn check_not_the_ca(
    report: &mut Report<ProofFinding>,
    ca: &Certificate<'_>,
    leaf: &Certificate<'_>,
) {
    // Compares the signed part, so that the same CA certificate with a new signature is recognised.
    if leaf.tbs() == ca.tbs() {
        report.add(ProofFinding::LeafIsTheCa);
    }
    report.done(ProofCheck::NotTheCa);
}

fn check_ca_constraints(report: &mut Report<ProofFinding>, ca: &Certificate<'_>) {
    match ca.basic_constraints() {
        Ok(Some(constraints)) if !constraints.ca => report.add(ProofFinding::CaFalse),
        Ok(Some(_)) => {
            let is_critical = ca
                .find_extension(BASIC_CONSTRAINTS)
                .is_some_and(|extension| extension.critical);
            if !is_critical {
                report.add(ProofFinding::BasicConstraintsNotCritical);
            }
        }
        Ok(None) => report.add(ProofFinding::BasicConstraintsMissing),
        Err(_) => report.add(malformed(Role::Ca, ReadExtension::BasicConstraints)),
    }
    report.done(ProofCheck::CaConstraints);
}

fn check_ca_key_usage(report: &mut Report<ProofFinding>, ca: &Certificate<'_>) {
    match ca.key_usage() {
        Ok(Some(usage)) if !usage.key_cert_sign() => report.add(ProofFinding::KeyCertSignMissing),
        // RFC 5280 section 6.1.4 (n): a missing keyUsage is accepted.
        Ok(_) => {}
        Err(_) => report.add(malformed(Role::Ca, ReadExtension::KeyUsage)),
    }
    report.done(ProofCheck::CaKeyUsage);
}

fn check_leaf_constraints(report: &mut Report<ProofFinding>, leaf: &Certificate<'_>) {
    let constraints = leaf.basic_constraints();
    match &constraints {
        Ok(Some(constraints)) if constraints.ca => report.add(ProofFinding::LeafIsCa),
        Ok(Some(constraints)) if constraints.path_len.is_some() => {
            report.add(ProofFinding::PathLenWithoutCa);
        }
        Ok(_) => {}
        Err(_) => report.add(malformed(Role::Leaf, ReadExtension::BasicConstraints)),
    }
    let is_ca = matches!(constraints, Ok(Some(BasicConstraints { ca: true, .. })));
    match leaf.key_usage() {
        Ok(Some(usage)) if usage.key_cert_sign() && !is_ca => {
            report.add(ProofFinding::KeyCertSignWithoutCa);
        }
        Ok(_) => {}
        Err(_) => report.add(malformed(Role::Leaf, ReadExtension::KeyUsage)),
    }
    report.done(ProofCheck::LeafConstraints);
}

fn malformed(role: Role, extension: ReadExtension) -> ProofFinding {
    ProofFinding::ExtensionMalformed { role, extension }
}

fn check_key(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    let key = certificate.public_key();
    if !matches!(key.kind(), Ok(KeyKind::Rsa | KeyKind::RsaPss)) {
        // Each curve has one size. An unknown key of the CA fails the signature check; that of the leaf is never used.
        return;
    }
    // A malformed key fails the signature check.
    let Ok(rsa) = key.rsa() else { return };
    let bits = rsa.bits();
    if !(RSA_MINIMUM_BITS..=RSA_MAXIMUM_BITS).contains(&bits) {
        report.add(ProofFinding::KeySize { role, bits });
    }
    if !rsa.has_sound_exponent() {
        report.add(ProofFinding::KeyExponentUnsound { role });
    }
}

fn check_hash(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    if let Some(hash) = certificate.algorithm().weak_hash() {
        report.add(ProofFinding::WeakHash { role, hash });
    }
}

/// Known extensions, which are applied or do not affect possession.
static KNOWN_EXTENSIONS: [ObjectIdentifier; 13] = [
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_IDENTIFIER,
    AUTHORITY_KEY_IDENTIFIER,
    EXTENDED_KEY_USAGE,
    ObjectIdentifier::new_unwrap("2.5.29.18"), // issuerAltName
    CERTIFICATE_POLICIES,
    CRL_DISTRIBUTION_POINTS,
    ObjectIdentifier::new_unwrap("2.5.29.46"), // freshestCRL
    ObjectIdentifier::new_unwrap("2.5.29.9"),  // subjectDirectoryAttributes
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1"), // authorityInfoAccess
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.11"), // subjectInfoAccess
];

/// Extensions that constrain a certificate chain. They are not applied, because a verification leaf is not used for anything else.
static CHAIN_CONSTRAINTS: [ObjectIdentifier; 4] = [
    NAME_CONSTRAINTS,
    POLICY_MAPPINGS,
    POLICY_CONSTRAINTS,
    INHIBIT_ANY_POLICY,
];

fn check_extensions(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    let extensions = certificate.extensions();
    if certificate.version() != Version::V3 && !extensions.is_empty() {
        report.add(ProofFinding::ExtensionsBeforeV3 { role });
    }
    if certificate.has_empty_extensions() {
        report.add(ProofFinding::ExtensionsEmpty { role });
    }
    for (index, extension) in extensions.iter().enumerate() {
        let earlier = extensions
            .iter()
            .take(index)
            .filter(|earlier| earlier.id == extension.id);
        // Reported once, at the second occurrence.
        if earlier.count() == 1 {
            let needed = role == Role::Ca
                && (extension.id == BASIC_CONSTRAINTS || extension.id == KEY_USAGE);
            report.add(ProofFinding::ExtensionDuplicated {
                role,
                oid: extension.id.to_string(),
                needed,
            });
        }
        check_extension(report, role, extension);
    }
    report.done(match role {
        Role::Ca => ProofCheck::CaExtensions,
        Role::Leaf => ProofCheck::LeafExtensions,
    });
}

fn check_extension(report: &mut Report<ProofFinding>, role: Role, extension: &Extension<'_>) {
    let is_one_of = |list: &[ObjectIdentifier]| list.iter().any(|oid| extension.id == *oid);
    if extension.id == SUBJECT_ALT_NAME && !alt_names_are_well_formed(extension.value) {
        report.add(malformed(role, ReadExtension::SubjectAltName));
    }
    if !extension.critical || is_one_of(&KNOWN_EXTENSIONS) {
        return;
    }
    let oid = extension.id.to_string();
    report.add(if is_one_of(&CHAIN_CONSTRAINTS) {
        ProofFinding::ConstraintNotApplied { role, oid }
    } else {
        ProofFinding::CriticalExtensionUnknown { role, oid }
    });
}

fn check_version(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    if certificate.version() != Version::V3 {
        report.add(ProofFinding::VersionOld {
            role,
            version: certificate.version().number(),
        });
    }
}

fn check_serial(report: &mut Report<ProofFinding>, role: Role, certificate: &Certificate<'_>) {
    if let Some(oddity) = certificate.serial().oddity() {
        report.add(ProofFinding::SerialOdd { role, oddity });
    }
}
