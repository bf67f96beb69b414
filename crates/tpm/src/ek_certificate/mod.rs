//! Endorsement certificates: a manufacturer's word that a key is in a TPM of its making.

mod chain;
mod extensions;
mod stored;
mod tpm_attributes;
mod vendor;

use alloc::format;
use alloc::string::String;

use keyproof_x509::{Certificate, SignatureVerificationAlgorithm, Version};

use crate::TpmError;
use crate::public::TpmtPublic;
use crate::report::{Report, checks};
use crate::spki::BareKey;
use chain::Chain;
pub use tpm_attributes::{TpmAttributes, TpmSpecification};

/// An endorsement certificate, as a TPM stores it or as it comes alone.
#[derive(Clone, Debug)]
pub struct EkCertificate<'a> {
    certificate: Certificate<'a>,
    /// How many bytes stood before it, and how many after.
    stripped: (usize, usize),
}

/// What an endorsement certificate is checked against.
#[derive(Clone, Copy, Debug)]
pub struct EkCertificatePolicy<'a> {
    /// The endorsement key that it must be of; `None` leaves that unchecked.
    pub ek: Option<&'a TpmtPublic>,
    /// Certificates that are trusted as they are, in DER: for one that is equal to one of them, byte
    /// for byte, what is wrong with its names, its extended key usage, its critical extensions, vendor,
    /// specification or chain only warns. All other checks hold.
    pub allowed: &'a [&'a [u8]],
    /// The manufacturers' roots, in DER. One that has expired, or is no CA, ends no chain.
    pub roots: &'a [&'a [u8]],
    /// Certificates that may stand between, in DER and in any order.
    pub intermediates: &'a [&'a [u8]],
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
    /// The signature algorithms to verify the chain with, such as those of
    /// [`keyproof_x509::algorithms`].
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

/// What an entry of [`EkCertificatePolicy::allowed`] overrules: the profile's formalities, but never
/// what the certificate is of, for when, or that it is no CA's.
const OVERRULED: [EkCertificateCheck; 6] = [
    EkCertificateCheck::ExtendedKeyUsage,
    EkCertificateCheck::TpmAttributes,
    EkCertificateCheck::Vendor,
    EkCertificateCheck::TpmSpecification,
    EkCertificateCheck::CriticalExtensions,
    EkCertificateCheck::Chain,
];

checks! {
    /// The checks of an endorsement certificate (TCG EK Credential Profile for TPM Family 2.0), in
    /// the order of reports.
    pub EkCertificateCheck {
        /// `encoding`: it is one certificate, but for a header and padding of NV memory.
        Encoding = "encoding";
        /// `version`: X.509 version 3.
        Version = "version";
        /// `serial`: positive, and of at most 20 octets; else a warning.
        Serial = "serial";
        /// `issuer`: there is one.
        Issuer = "issuer";
        /// `not-a-ca`: its basicConstraints say that it is no CA.
        NotACa = "not-a-ca";
        /// `key-usage`: keyEncipherment for RSA, keyAgreement for an EC key; the other of the two warns,
        /// as makers write it; and no signing of certificates.
        KeyUsage = "key-usage";
        /// `extended-key-usage`: tcg-kp-EKCertificate, if there is any.
        ExtendedKeyUsage = "extended-key-usage";
        /// `tpm-attributes`: the subjectAltName names manufacturer, model and version, and is critical
        /// if the subject is empty.
        TpmAttributes = "tpm-attributes";
        /// `vendor`: the manufacturer is in the TCG's registry; else a warning.
        Vendor = "vendor";
        /// `tpm-specification`: family 2.0, by the subjectDirectoryAttributes; a warning if they do not
        /// say.
        TpmSpecification = "tpm-specification";
        /// `critical-extensions`: all of them are understood.
        CriticalExtensions = "critical-extensions";
        /// `validity`: it is valid now.
        Validity = "validity";
        /// `key`: RSA 2048, 3072 or 4096, P-256, P-384 or P-521.
        Key = "key";
        /// `public-key`: it is that of the endorsement key.
        PublicKey = "public-key";
        /// `chain`: it is one of those allowed, or there is a path to a root
        /// ([`keyproof_x509::path`]).
        Chain = "chain";
    }
}

impl<'a> EkCertificate<'a> {
    /// Reads a certificate, stripping the header that some platforms write before it in NV memory,
    /// and padding (zeros or ones) after it.
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
            certificate: Certificate::from_der(der)?,
            stripped: (before, after),
        })
    }

    /// The certificate alone, in DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.certificate.as_der()
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate<'a> {
        &self.certificate
    }

    /// Manufacturer, model and version of the TPM.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkCertificateProfile`] if one is missing, malformed or there twice.
    pub fn tpm_attributes(&self) -> Result<TpmAttributes, TpmError> {
        tpm_attributes::tpm_attributes(&self.certificate)
            .map(|(attributes, _)| attributes)
            .map_err(|what| TpmError::EkCertificateProfile { what })
    }

    /// The specification that the TPM follows; `None` if the certificate does not say.
    ///
    /// # Errors
    ///
    /// [`TpmError::EkCertificateProfile`] if it is malformed or there twice.
    pub fn tpm_specification(&self) -> Result<Option<TpmSpecification>, TpmError> {
        tpm_attributes::tpm_specification(&self.certificate)
            .map_err(|what| TpmError::EkCertificateProfile { what })
    }
}

/// Checks an endorsement certificate, as a TPM stores it or as it comes alone.
pub fn check_ek_certificate(
    stored: &[u8],
    policy: &EkCertificatePolicy<'_>,
) -> Report<EkCertificateCheck> {
    let mut report = Report::new();
    let ek_certificate = match EkCertificate::parse(stored) {
        Ok(ek_certificate) => ek_certificate,
        Err(error) => {
            report.fail(EkCertificateCheck::Encoding, format!("{error}"));
            report.skip_missing("not judged: there is no certificate to read");
            return report;
        }
    };
    let (before, after) = ek_certificate.stripped;
    report.pass(
        EkCertificateCheck::Encoding,
        format!("one certificate, after {before} bytes of header and before {after} of padding"),
    );
    let certificate = &ek_certificate.certificate;
    check_form(&mut report, certificate);
    check_constraints(&mut report, certificate);
    check_uses(&mut report, certificate);
    check_tpm(&mut report, certificate);
    check_critical(&mut report, certificate);
    check_validity(&mut report, certificate, policy.now);
    check_key(&mut report, certificate, policy.ek);
    check_chain(&mut report, certificate, policy);
    if policy.allowed.contains(&certificate.as_der()) {
        for check in OVERRULED {
            report.overrule(check, "allowed all the same");
        }
    }
    report
}

fn check_form(report: &mut Report<EkCertificateCheck>, certificate: &Certificate<'_>) {
    report.judge(
        EkCertificateCheck::Version,
        certificate.version() == Version::V3,
        "version 3",
        format!("version {}, not 3", certificate.version().number()),
    );
    match certificate.serial().oddity() {
        None => report.pass(
            EkCertificateCheck::Serial,
            format!("{}", certificate.serial()),
        ),
        Some(oddity) => report.warn(EkCertificateCheck::Serial, format!("it is {oddity}")),
    }
    let issuer = certificate.issuer();
    if issuer.is_empty() {
        report.fail(EkCertificateCheck::Issuer, "it names no issuer");
    } else {
        report.pass(EkCertificateCheck::Issuer, format!("{issuer}"));
    }
}

fn check_constraints(report: &mut Report<EkCertificateCheck>, certificate: &Certificate<'_>) {
    let check = EkCertificateCheck::NotACa;
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.ca => report.fail(check, "it is a CA's certificate"),
        Ok(Some(_)) => report.pass(check, "it is no CA's certificate"),
        Ok(None) => report.warn(
            check,
            "it has no basicConstraints to say that it is no CA's",
        ),
        Err(error) => report.fail(check, format!("{error}")),
    }
}

fn check_uses(report: &mut Report<EkCertificateCheck>, certificate: &Certificate<'_>) {
    let check = EkCertificateCheck::KeyUsage;
    let (fitting, other) = match BareKey::from_spki(certificate.public_key().as_der()) {
        Ok(BareKey::Ecc { .. }) => ("keyAgreement", "keyEncipherment"),
        Ok(BareKey::Rsa { .. }) | Err(_) => ("keyEncipherment", "keyAgreement"),
    };
    match certificate.key_usage() {
        Ok(Some(usage)) => {
            let has = |wanted: &str| usage.names().any(|name| name == wanted);
            if has("keyCertSign") || has("cRLSign") {
                report.fail(check, "it may sign certificates or revocation lists");
            } else if has(fitting) {
                report.pass(check, fitting);
            } else if has(other) {
                report.warn(
                    check,
                    format!("{other}, where a key of its type has {fitting}"),
                );
            } else {
                report.fail(check, format!("it lacks {fitting}"));
            }
        }
        Ok(None) => report.fail(check, "it has no keyUsage"),
        Err(error) => report.fail(check, format!("{error}")),
    }
    let check = EkCertificateCheck::ExtendedKeyUsage;
    match extensions::is_for_endorsement(certificate) {
        Ok(Some(true)) => report.pass(check, "tcg-kp-EKCertificate"),
        Ok(Some(false)) => report.fail(check, "it is for other uses than tcg-kp-EKCertificate"),
        Ok(None) => report.pass(check, "it has none, which the profile allows"),
        Err(error) => report.fail(check, format!("it is malformed: {error}")),
    }
}

fn check_tpm(report: &mut Report<EkCertificateCheck>, certificate: &Certificate<'_>) {
    let check = EkCertificateCheck::TpmAttributes;
    match tpm_attributes::tpm_attributes(certificate) {
        Ok((_, false)) if certificate.subject().is_empty() => {
            report.fail(
                check,
                "the subject is empty, and the subjectAltName not critical",
            );
            report.skip(
                EkCertificateCheck::Vendor,
                "not judged: no TPM attributes to trust",
            );
        }
        Ok((tpm, _)) => {
            let TpmAttributes {
                manufacturer,
                vendor,
                model,
                version,
            } = tpm;
            report.pass(
                check,
                format!("{manufacturer}, model {model}, version {version}"),
            );
            match vendor {
                Some(vendor) => report.pass(EkCertificateCheck::Vendor, vendor),
                None => report.warn(
                    EkCertificateCheck::Vendor,
                    format!("{manufacturer} is not in the TCG's registry"),
                ),
            }
        }
        Err(reason) => {
            report.fail(check, reason);
            report.skip(
                EkCertificateCheck::Vendor,
                "not judged: no TPM attributes to trust",
            );
        }
    }
    let check = EkCertificateCheck::TpmSpecification;
    match tpm_attributes::tpm_specification(certificate) {
        Ok(Some(TpmSpecification {
            family,
            level,
            revision,
        })) if family == "2.0" => {
            report.pass(
                check,
                format!("family {family}, level {level}, revision {revision}"),
            );
        }
        Ok(Some(TpmSpecification { family, .. })) => {
            report.fail(check, format!("family {family:?}, not 2.0"));
        }
        Ok(None) => report.warn(check, "it does not say which specification the TPM follows"),
        Err(reason) => report.fail(check, reason),
    }
}

fn check_critical(report: &mut Report<EkCertificateCheck>, certificate: &Certificate<'_>) {
    let check = EkCertificateCheck::CriticalExtensions;
    match extensions::unknown_critical(certificate) {
        None => report.pass(check, "all of them are understood"),
        Some(unknown) => report.fail(check, format!("{unknown} is critical, and not understood")),
    }
}

fn check_validity(
    report: &mut Report<EkCertificateCheck>,
    certificate: &Certificate<'_>,
    now: u64,
) {
    let check = EkCertificateCheck::Validity;
    let validity = certificate.validity();
    if !validity.has_begun(now) {
        report.fail(check, "it is not valid yet");
    } else if validity.has_ended(now) {
        report.fail(check, "it has expired");
    } else if validity.not_after == NO_END {
        report.pass(check, "it is valid, without an end");
    } else {
        report.pass(check, "it is valid");
    }
}

/// 99991231235959Z: no well-defined expiration date (RFC 5280 section 4.1.2.5).
const NO_END: i64 = 253_402_300_799;

fn check_key(
    report: &mut Report<EkCertificateCheck>,
    certificate: &Certificate<'_>,
    ek: Option<&TpmtPublic>,
) {
    let certified = match BareKey::from_spki(certificate.public_key().as_der()) {
        Ok(key) => key,
        Err(error) => {
            report.fail(EkCertificateCheck::Key, format!("{error}"));
            report.skip(
                EkCertificateCheck::PublicKey,
                "not judged: no key to compare",
            );
            return;
        }
    };
    match describe(&certified) {
        Ok(key) => report.pass(EkCertificateCheck::Key, key),
        Err(weak) => report.fail(EkCertificateCheck::Key, weak),
    }
    let check = EkCertificateCheck::PublicKey;
    match ek.map(BareKey::of) {
        None => report.skip(check, "no endorsement key was given"),
        Some(Ok(key)) => report.judge(
            check,
            key == certified,
            "the endorsement key's",
            "the endorsement certificate is of another key",
        ),
        Some(Err(error)) => report.fail(check, format!("{error}")),
    }
}

fn describe(key: &BareKey) -> Result<String, String> {
    match key {
        BareKey::Ecc { curve, .. } => Ok(format!("{curve}")),
        BareKey::Rsa { modulus, .. } => {
            let full = modulus.first().is_some_and(|first| first >> 7 == 1);
            match modulus.len() {
                256 | 384 | 512 if full => Ok(format!("RSA {}", modulus.len().saturating_mul(8))),
                size => Err(format!(
                    "RSA of {size} bytes is not 2048, 3072 or 4096 bits"
                )),
            }
        }
    }
}

fn check_chain(
    report: &mut Report<EkCertificateCheck>,
    certificate: &Certificate<'_>,
    policy: &EkCertificatePolicy<'_>,
) {
    if policy.allowed.contains(&certificate.as_der()) {
        report.pass(
            EkCertificateCheck::Chain,
            "needs none: it is one of those allowed",
        );
        return;
    }
    let EkCertificatePolicy {
        roots,
        intermediates,
        now,
        algorithms,
        ..
    } = *policy;
    match (Chain {
        intermediates,
        roots,
        now,
        algorithms,
    })
    .build(certificate)
    {
        Ok(length) => report.pass(EkCertificateCheck::Chain, length),
        Err(reason) => report.fail(EkCertificateCheck::Chain, reason),
    }
}
