//! The kinds of endorsement keys of a TPM, and where their certificates are.

use keyproof_tpm::{
    EkCertificate, EkCertificateCheck, EkCertificatePolicy, EndorsementTemplate, Outcome, TpmError,
    TpmtPublic, algorithms, check_ek_certificate,
};

/// A kind of endorsement key: a default template, and how tpm2-tools create the key and an attestation key below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The template's name in TCG EK Credential Profile for TPM Family 2.0, Annex B.
    pub(super) template: &'static str,
    /// The NV index of its certificate (same profile, section 2.2.1.4).
    pub(super) certificate_at: u32,
    /// The NV indices of the manufacturer's own nonce and template, from which the key is created if it is not the default
    /// one.
    pub(super) own_template_at: Option<[u32; 2]>,
    /// The algorithm of the key and of the attestation key below it, by its name in tpm2-tools.
    pub(super) algorithm: &'static str,
    /// The name algorithm. The attestation key also signs with it.
    pub(super) hash: &'static str,
    pub(super) tools: ToolsFor,
}

/// How tpm2-tools create and use a kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolsFor {
    /// `tpm2_createek` has the template.
    CreateEk {
        /// Whether the key is authorised by its policy, rather than by its empty authorization value.
        by_policy: bool,
    },
    /// `tpm2_createprimary` creates it, with the authorization policy PolicyB with SHA-256.
    CreatePrimary,
}

/// In search order. The last ones are those that a server cannot distinguish from others by the bare key: attestations
/// below them name another parent.
pub(super) const KINDS: [Kind; 7] = {
    use ToolsFor::{CreateEk, CreatePrimary};
    let low = CreateEk { by_policy: true };
    let high = CreateEk { by_policy: false };
    [
        kind("L-1", 0x01c0_0002, "rsa", "sha256", low).or_by([0x01c0_0003, 0x01c0_0004]),
        kind("L-2", 0x01c0_000a, "ecc", "sha256", low).or_by([0x01c0_000b, 0x01c0_000c]),
        kind("H-3", 0x01c0_0016, "ecc384", "sha384", high),
        kind("H-6", 0x01c0_001c, "rsa3072", "sha384", high),
        kind("H-7", 0x01c0_001e, "rsa4096", "sha384", high),
        kind("H-1", 0x01c0_0012, "rsa2048", "sha256", CreatePrimary),
        kind("H-2", 0x01c0_0014, "ecc256", "sha256", CreatePrimary),
    ]
};

/// The NV indices of intermediate CA certificates, if the device carries them, as with Intel's on-die CA.
pub(super) const CHAIN: std::ops::RangeInclusive<u32> = 0x01c0_0100..=0x01c0_01ff;

const fn kind(
    template: &'static str,
    certificate_at: u32,
    algorithm: &'static str,
    hash: &'static str,
    tools: ToolsFor,
) -> Kind {
    Kind {
        template,
        certificate_at,
        own_template_at: None,
        algorithm,
        hash,
        tools,
    }
}

impl Kind {
    const fn or_by(self, own_template_at: [u32; 2]) -> Self {
        Self {
            own_template_at: Some(own_template_at),
            ..self
        }
    }

    /// Returns the kind with the template's name, from a record.
    pub(super) fn named(template: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.template == template)
    }

    /// Returns the kind of a certificate's key: the default template for its type.
    pub(super) fn of(certificate: &EkCertificate<'_>) -> Result<&'static Self, TpmError> {
        let spki = certificate.certificate().public_key().as_der();
        let template = EndorsementTemplate::of(&TpmtPublic::endorsement_from_spki(spki)?)?;
        Self::named(template.name()).ok_or(TpmError::TemplateMismatch { property: "name" })
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.algorithm.starts_with("rsa")
    }
}

/// Whether a certificate is for this endorsement key.
pub(super) fn is_of(certificate: &EkCertificate<'_>, ek: &TpmtPublic) -> bool {
    // Whether to trust the certificate is the server's decision.
    let policy = EkCertificatePolicy::new(ek, &[], 0, algorithms::ALL);
    let report = check_ek_certificate(certificate.as_der(), &policy);
    report.outcome(EkCertificateCheck::PublicKey) == Outcome::Pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_one_of_the_crates_templates() {
        for kind in &KINDS {
            assert_eq!(Kind::named(kind.template), Some(kind));
        }
    }
}
