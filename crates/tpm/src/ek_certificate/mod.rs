//! Endorsement certificates, in which a manufacturer certifies that a key belongs to one of its
//! TPMs.

mod chain;
mod device_chain;
mod extensions;
mod finding;
mod stored;
mod tpm_attributes;
mod vendor;

use alloc::{boxed::Box, format};

use keyproof_x509::{
    Certificate, Finding, Report, Severity, SignatureVerificationAlgorithm, Version, crl::Crl,
};

use crate::{TpmError, public::TpmtPublic, spki::BareKey, template::has_template};

pub use device_chain::EkChain;
pub use finding::{EkCertificateCheck, EkCertificateFinding, EkKey};
pub(crate) use tpm_attributes::{TPM_MANUFACTURER, TPM_MODEL, TPM_VERSION};
pub use tpm_attributes::{TpmAttributes, TpmSpecification};

/// An endorsement certificate, alone or in the form stored in a TPM.
///
/// Parsing verifies nothing: anyone can issue a certificate. [`check_ek_certificate`] verifies it.
///
/// ```
/// use keyproof_tpm::EkCertificate;
///
/// let certificate = EkCertificate::parse(include_bytes!("../../tests/vectors/rsa2048/ek.cert.der"))?;
/// let tpm = certificate.tpm_attributes()?;
/// assert_eq!(tpm.manufacturer, "id:00001014"); // IBM's, of a software TPM
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EkCertificate<'a> {
    certificate: Certificate<'a>,
    /// The sizes of the header before it and the padding after it, in bytes.
    stripped: (usize, usize),
}

/// The requirements for an endorsement certificate.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{EkCertificatePolicy, Structure, TpmtPublic, algorithms::RING, check_ek_certificate};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// // As published by the manufacturer; `pem_bundle` parses PEM.
/// let roots: [&[u8]; 1] = [include_bytes!("../../tests/vectors/rsa2048/ca.root.der")];
/// let intermediates: [&[u8]; 1] = [include_bytes!("../../tests/vectors/rsa2048/ca.intermediate.der")];
/// let mut policy = EkCertificatePolicy::new(&ek, &roots, 1_800_000_000, RING);
/// policy.intermediates = &intermediates;
/// let report = check_ek_certificate(include_bytes!("../../tests/vectors/rsa2048/ek.cert.der"), &policy);
/// assert!(report.accepted(), "{report}");
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EkCertificatePolicy<'a> {
    /// The endorsement key that it must certify; `None` leaves this unchecked
    /// ([`EkCertificatePolicy::without_key`]).
    pub ek: Option<&'a TpmtPublic>,
    /// Certificates in DER that are trusted directly, compared byte for byte.
    ///
    /// For these, problems with the TPM attributes, the extended key usage, critical extensions,
    /// the vendor, the specification or the chain only warn. So does revocation, where a CRL in
    /// `crls` by an issuer among `roots` or `intermediates` lists the certificate. Revocation is
    /// checked along the path to that issuer. It is not reported if that path is rejected for
    /// another reason, such as an expired issuer certificate or an unknown critical extension. All
    /// other checks apply.
    pub allowed: &'a [&'a [u8]],
    /// The manufacturers' roots, parsed by [`Certificate::from_der_lenient`]: DER, except that
    /// serial numbers may be padded with redundant octets. A root that has expired or is not a CA
    /// ends no chain.
    ///
    /// The list may include intermediates. One that another entry issued is treated as an
    /// intermediate. One whose issuer is not listed is a root itself, unless it is revoked by an issuer
    /// among `intermediates` or by an expired root
    /// ([`PathOptions::validate_anchors`](keyproof_x509::path::PathOptions::validate_anchors)).
    pub roots: &'a [&'a [u8]],
    /// Untrusted certificates for the path, parsed as `roots` are, in any order: those that the
    /// caller knows, and those that the device sends ([`EkChain`]).
    pub intermediates: &'a [&'a [u8]],
    /// CRLs of the issuers of the certificate and the intermediates, in any order, parsed by
    /// [`Crl::from_der`]. A revoked certificate has no chain; an expired CRL warns.
    pub crls: &'a [Crl<'a>],
    /// Requires that each certificate below the root is checked against a current CRL of its issuer
    /// ([`PathOptions::require_crls`](keyproof_x509::path::PathOptions::require_crls)).
    pub require_crls: bool,
    /// The current time, in seconds since the Unix epoch.
    pub now: u64,
    /// The signature algorithms to verify the chain with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl<'a> EkCertificatePolicy<'a> {
    /// Creates a policy from the endorsement key, the manufacturers' roots in DER, the current time
    /// in seconds since the Unix epoch, and the signature algorithms. It has no intermediates and
    /// no CRLs. Set the other fields afterwards.
    pub const fn new(
        ek: &'a TpmtPublic,
        roots: &'a [&'a [u8]],
        now: u64,
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Self {
        let mut policy = Self::without_key(roots, now, algorithms);
        policy.ek = Some(ek);
        policy
    }

    /// Creates a policy without an endorsement key, to inspect a certificate. Any genuine
    /// certificate is accepted, which proves nothing about its presenter.
    pub const fn without_key(
        roots: &'a [&'a [u8]],
        now: u64,
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Self {
        Self {
            ek: None,
            allowed: &[],
            roots,
            intermediates: &[],
            crls: &[],
            require_crls: false,
            now,
            algorithms,
        }
    }
}

/// The checks that an entry of [`EkCertificatePolicy::allowed`] overrides. It never overrides the
/// key, the validity, or that the certificate is not a CA's.
const OVERRULED: [EkCertificateCheck; 6] = [
    EkCertificateCheck::ExtendedKeyUsage,
    EkCertificateCheck::TpmAttributes,
    EkCertificateCheck::Vendor,
    EkCertificateCheck::TpmSpecification,
    EkCertificateCheck::CriticalExtensions,
    EkCertificateCheck::Chain,
];

impl<'a> EkCertificate<'a> {
    /// Parses a certificate. Strips the header that some platforms store before it in NV memory,
    /// and the padding (zeros or ones) after it.
    ///
    /// # Errors
    ///
    /// [`TpmError::TrailingBytes`], [`TpmError::UnexpectedEnd`] and [`TpmError::Certificate`].
    pub fn parse(stored: &'a [u8]) -> Result<Self, TpmError> {
        let (der, before) = stored::strip(stored)?;
        let after = stored
            .len()
            .saturating_sub(before)
            .saturating_sub(der.len());
        Ok(EkCertificate {
            certificate: Certificate::from_der_lenient(der)?,
            stripped: (before, after),
        })
    }

    /// Returns the certificate alone, in DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.certificate.as_der()
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &Certificate<'a> {
        &self.certificate
    }

    /// Returns manufacturer, model and version of the TPM.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkCertificateProfile`] if one is missing, malformed or duplicate.
    pub fn tpm_attributes(&self) -> Result<TpmAttributes, TpmError> {
        tpm_attributes::tpm_attributes(&self.certificate)
            .map(|(attributes, _)| attributes)
            .map_err(|what| TpmError::EkCertificateProfile { what })
    }

    /// Returns the specification that the TPM implements; `None` if the certificate does not state
    /// it.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkCertificateProfile`] if it is malformed or duplicate.
    pub fn tpm_specification(&self) -> Result<Option<TpmSpecification>, TpmError> {
        tpm_attributes::tpm_specification(&self.certificate)
            .map_err(|what| TpmError::EkCertificateProfile { what })
    }
}

/// Checks an endorsement certificate, alone or in the form stored in a TPM.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_tpm::{EkCertificateCheck, EkCertificatePolicy, Structure, TpmtPublic, algorithms::RING, check_ek_certificate};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// let certificate = include_bytes!("../../tests/vectors/rsa2048/ek.cert.der");
/// let roots: [&[u8]; 1] = [include_bytes!("../../tests/vectors/rsa2048/ca.root.der")];
/// let intermediates: [&[u8]; 1] = [include_bytes!("../../tests/vectors/rsa2048/ca.intermediate.der")];
/// let mut policy = EkCertificatePolicy::new(&ek, &roots, 1_800_000_000, RING);
/// policy.intermediates = &intermediates;
/// assert!(check_ek_certificate(certificate, &policy).accepted());
/// // Manufacturers publish intermediates together with roots. They remain below the roots.
/// let published: [&[u8]; 2] = [intermediates[0], roots[0]];
/// policy.roots = &published;
/// policy.intermediates = &[];
/// let report = check_ek_certificate(certificate, &policy);
/// assert!(report.accepted());
/// assert!(report.detail(EkCertificateCheck::Chain).ends_with("over 1 intermediates"));
/// policy.roots = &[];
/// assert!(!check_ek_certificate(certificate, &policy).accepted());
/// # }
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub fn check_ek_certificate(
    stored: &[u8],
    policy: &EkCertificatePolicy<'_>,
) -> Report<EkCertificateFinding> {
    let ek_certificate = match EkCertificate::parse(stored) {
        Ok(ek_certificate) => ek_certificate,
        Err(error) => {
            let mut report = Report::new();
            report.judged(
                EkCertificateCheck::Encoding,
                EkCertificateFinding::EncodingMalformed(error),
            );
            report.remaining_not_evaluated("not checked: there is no certificate to read");
            return report;
        }
    };
    let certificate = &ek_certificate.certificate;
    let mut judgement = Judgement {
        report: Report::new(),
        is_allowed: policy.allowed.contains(&certificate.as_der()),
    };
    let (before, after) = ek_certificate.stripped;
    judgement.judged(
        EkCertificateCheck::Encoding,
        EkCertificateFinding::Encoding { before, after },
    );
    check_form(&mut judgement, certificate);
    check_uses(&mut judgement, certificate);
    check_tpm(&mut judgement, certificate);
    let unknown = extensions::unknown_critical(certificate);
    judgement.judged(
        EkCertificateCheck::CriticalExtensions,
        unknown.map(|oid| EkCertificateFinding::CriticalExtensionUnknown { oid }),
    );
    let validity = check_validity(certificate, policy.now);
    judgement.judged(EkCertificateCheck::Validity, validity);
    check_key(&mut judgement, certificate, policy.ek);
    if judgement.is_allowed {
        judgement.judged(
            EkCertificateCheck::Chain,
            EkCertificateFinding::ChainNotNeeded,
        );
        if let Some(revoked) = chain::revocation(certificate, policy) {
            judgement.judged(EkCertificateCheck::Chain, revoked);
        }
    } else {
        for finding in chain::build(certificate, policy) {
            judgement.judged(EkCertificateCheck::Chain, finding);
        }
    }
    judgement.report
}

/// A report under construction.
struct Judgement {
    report: Report<EkCertificateFinding>,
    /// Whether the certificate is on the allow-list.
    is_allowed: bool,
}

impl Judgement {
    fn judged(
        &mut self,
        check: EkCertificateCheck,
        finding: impl Into<Option<EkCertificateFinding>>,
    ) {
        let finding = finding.into().map(|finding| {
            let is_overruled = self.is_allowed
                && finding.severity() == Severity::Refusal
                && OVERRULED.contains(&finding.check());
            if is_overruled {
                EkCertificateFinding::Allowed(Box::new(finding))
            } else {
                finding
            }
        });
        self.report.judged(check, finding);
    }
}

fn check_form(judgement: &mut Judgement, certificate: &Certificate<'_>) {
    use EkCertificateCheck as Check;
    use EkCertificateFinding as Found;

    let is_old = certificate.version() != Version::V3;
    judgement.judged(
        Check::Version,
        is_old.then(|| Found::VersionOld(certificate.version().number())),
    );
    let serial = certificate.serial();
    judgement.judged(
        Check::Serial,
        match serial.oddity() {
            None => Found::Serial(format!("{serial}")),
            Some(oddity) => Found::SerialOdd(oddity),
        },
    );
    let issuer = certificate.issuer();
    judgement.judged(
        Check::Issuer,
        if issuer.is_empty() {
            Found::IssuerEmpty
        } else {
            Found::Issuer(format!("{issuer}"))
        },
    );
    judgement.judged(
        Check::NotACa,
        match certificate.basic_constraints() {
            Ok(Some(constraints)) if constraints.ca => Some(Found::IsACa),
            Ok(Some(_)) => None,
            Ok(None) => Some(Found::BasicConstraintsMissing),
            Err(error) => Some(Found::BasicConstraintsMalformed(error)),
        },
    );
}

fn check_uses(judgement: &mut Judgement, certificate: &Certificate<'_>) {
    use EkCertificateCheck as Check;
    use EkCertificateFinding as Found;

    let (fitting, other) = match BareKey::from_spki(certificate.public_key().as_der()) {
        Ok(BareKey::Ecc { .. }) => ("keyAgreement", "keyEncipherment"),
        Ok(BareKey::Rsa { .. }) | Err(_) => ("keyEncipherment", "keyAgreement"),
    };
    let usage = match certificate.key_usage() {
        Ok(Some(usage)) => {
            let has = |wanted: &str| usage.names().any(|name| name == wanted);
            if has("keyCertSign") || has("cRLSign") {
                Found::KeyUsageSigning
            } else if has(fitting) {
                Found::KeyUsage(fitting)
            } else if has(other) {
                Found::KeyUsageMismatch {
                    found: other,
                    fitting,
                }
            } else {
                Found::KeyUsageIncomplete(fitting)
            }
        }
        Ok(None) => Found::KeyUsageMissing,
        Err(error) => Found::KeyUsageMalformed(error),
    };
    judgement.judged(Check::KeyUsage, usage);
    judgement.judged(
        Check::ExtendedKeyUsage,
        match extensions::is_for_endorsement(certificate) {
            Ok(Some(true)) => None,
            Ok(Some(false)) => Some(Found::ExtendedKeyUsageOther),
            Ok(None) => Some(Found::ExtendedKeyUsageAbsent),
            Err(error) => Some(Found::ExtendedKeyUsageMalformed(format!("{error}"))),
        },
    );
}

fn check_tpm(judgement: &mut Judgement, certificate: &Certificate<'_>) {
    use EkCertificateCheck as Check;
    use EkCertificateFinding as Found;

    let attributes = match tpm_attributes::tpm_attributes(certificate) {
        Ok((_, false)) if certificate.subject().is_empty() => Err(Found::SubjectAltNameNotCritical),
        Ok((tpm, _)) => Ok(tpm),
        Err(why) => Err(Found::TpmAttributesMissing(why)),
    };
    match attributes {
        Ok(tpm) => {
            let manufacturer = tpm.manufacturer.clone();
            let vendor = tpm.vendor;
            judgement.judged(Check::TpmAttributes, Found::TpmAttributes(tpm));
            judgement.judged(
                Check::Vendor,
                match vendor {
                    Some(vendor) => Found::Vendor(vendor),
                    None => Found::VendorUnregistered { manufacturer },
                },
            );
        }
        Err(finding) => {
            judgement.judged(Check::TpmAttributes, finding);
            if judgement.is_allowed {
                judgement
                    .report
                    .not_requested(Check::Vendor, "no TPM attributes to trust");
            } else {
                judgement
                    .report
                    .not_evaluated(Check::Vendor, "not checked: no TPM attributes to trust");
            }
        }
    }
    judgement.judged(
        Check::TpmSpecification,
        match tpm_attributes::tpm_specification(certificate) {
            Ok(Some(specification)) if specification.family == "2.0" => {
                Found::Specification(specification)
            }
            Ok(Some(TpmSpecification { family, .. })) => Found::SpecificationFamily(family),
            Ok(None) => Found::SpecificationMissing,
            Err(why) => Found::SpecificationMalformed(why),
        },
    );
}

fn check_validity(certificate: &Certificate<'_>, now: u64) -> Option<EkCertificateFinding> {
    let validity = certificate.validity();
    if !validity.has_begun(now) {
        Some(EkCertificateFinding::NotYetValid)
    } else if validity.has_ended(now) {
        Some(EkCertificateFinding::Expired)
    } else if validity.not_after == NO_END {
        Some(EkCertificateFinding::NoExpiration)
    } else {
        None
    }
}

/// 99991231235959Z: no well-defined expiration date (RFC 5280 section 4.1.2.5).
const NO_END: i64 = 253_402_300_799;

fn check_key(judgement: &mut Judgement, certificate: &Certificate<'_>, ek: Option<&TpmtPublic>) {
    use EkCertificateCheck as Check;
    use EkCertificateFinding as Found;

    let certified = match BareKey::from_spki(certificate.public_key().as_der()) {
        Ok(key) => key,
        Err(error) => {
            judgement.judged(Check::Key, Found::KeyUnreadable(error));
            judgement
                .report
                .not_evaluated(Check::PublicKey, "not checked: no key to compare");
            return;
        }
    };
    judgement.judged(Check::Key, describe(&certified));
    match ek.map(BareKey::of) {
        None => judgement
            .report
            .not_requested(Check::PublicKey, "no endorsement key was given"),
        Some(Ok(key)) => {
            judgement.judged(
                Check::PublicKey,
                (key != certified).then_some(Found::KeyMismatch),
            );
        }
        Some(Err(error)) => judgement.judged(Check::PublicKey, Found::EkInvalid(error)),
    }
}

fn describe(key: &BareKey) -> EkCertificateFinding {
    match key {
        BareKey::Ecc { curve, .. } if has_template(key) => {
            EkCertificateFinding::Key(EkKey::Ecc(*curve))
        }
        BareKey::Ecc { curve, .. } => EkCertificateFinding::KeyWithoutTemplate(EkKey::Ecc(*curve)),
        BareKey::Rsa { modulus, .. } => {
            let is_full = modulus.first().is_some_and(|first| first >> 7 == 1);
            match modulus.len() {
                bytes @ (256 | 384 | 512) if is_full => {
                    EkCertificateFinding::Key(EkKey::Rsa(bytes.saturating_mul(8)))
                }
                bytes => EkCertificateFinding::KeySize { bytes },
            }
        }
    }
}
