//! Which attestation keys are taken.

use alloc::format;
use alloc::vec::Vec;

use crate::algorithm::EccCurve;
use crate::attributes::ObjectAttributes;
use crate::public::{EccScheme, PublicKey, RsaScheme, TpmtPublic};
use crate::report::{Report, checks};
use crate::spki::BareKey;

/// What is asked of an attestation key beside its attributes, which are always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKeyPolicy {
    /// The RSA sizes that are taken, in bits.
    pub rsa_bits: Vec<u16>,
    /// The curves that are taken.
    pub curves: Vec<EccCurve>,
}

checks! {
    /// The checks of an attestation key, in the order of reports.
    ///
    /// The first six hold or the TPM's word is worth nothing: a key that is not restricted signs a
    /// forged attestation for anyone who may use it, and one that is not fixed may be anywhere.
    pub AttestationKeyCheck {
        /// `restricted`: it signs only what the TPM made itself.
        Restricted = "restricted";
        /// `sign`: it may sign.
        Sign = "sign";
        /// `not-decrypt`: it may not decrypt as well.
        NotDecrypt = "not-decrypt";
        /// `fixed-tpm`: it cannot leave its TPM.
        FixedTpm = "fixed-tpm";
        /// `fixed-parent`: it cannot leave its parent.
        FixedParent = "fixed-parent";
        /// `sensitive-data-origin`: the TPM made it.
        SensitiveDataOrigin = "sensitive-data-origin";
        /// `key`: its size or curve is on the allow-list, and it is well formed.
        Key = "key";
        /// `scheme`: it has one signing scheme, with a hash that is not weak, and neither a cipher nor a
        /// key derivation, which are of decryption keys (Part 2, 12.2.3.5 and 12.2.3.6).
        Scheme = "scheme";
        /// `name-algorithm`: it has a Name, by a hash that is not weak.
        NameAlgorithm = "name-algorithm";
    }
}

/// RSA 2048, 3072 and 4096; P-256, P-384 and P-521.
impl Default for AttestationKeyPolicy {
    fn default() -> Self {
        AttestationKeyPolicy {
            rsa_bits: [2048, 3072, 4096].into(),
            curves: [EccCurve::NistP256, EccCurve::NistP384, EccCurve::NistP521].into(),
        }
    }
}

impl AttestationKeyPolicy {
    /// Checks a public area.
    pub fn check(&self, ak: &TpmtPublic) -> Report<AttestationKeyCheck> {
        let mut report = Report::new();
        check_attributes(&mut report, ak.object_attributes);
        self.check_key(&mut report, ak);
        check_scheme(&mut report, ak);
        check_name_algorithm(&mut report, ak);
        report
    }

    fn check_key(&self, report: &mut Report<AttestationKeyCheck>, ak: &TpmtPublic) {
        let check = AttestationKeyCheck::Key;
        let (allowed, what) = match &ak.key {
            PublicKey::Ecc(key) => (self.curves.contains(&key.curve), format!("{}", key.curve)),
            PublicKey::Rsa(key) => {
                let sound_exponent = key.effective_exponent() == 65_537;
                let allowed = sound_exponent && self.rsa_bits.contains(&key.key_bits);
                let exponent = key.effective_exponent();
                (
                    allowed,
                    format!("RSA {} with exponent {exponent}", key.key_bits),
                )
            }
        };
        match BareKey::of(ak) {
            Ok(_) if allowed => report.pass(check, what),
            Ok(_) => report.fail(check, format!("{what} is not on the allow-list")),
            Err(error) => report.fail(check, format!("{error}")),
        }
    }
}

fn check_attributes(report: &mut Report<AttestationKeyCheck>, attributes: ObjectAttributes) {
    for (check, attribute, passed, failed) in [
        (
            AttestationKeyCheck::Restricted,
            ObjectAttributes::RESTRICTED,
            "it signs only what the TPM made itself",
            "it is not restricted: it signs any forged attestation",
        ),
        (
            AttestationKeyCheck::Sign,
            ObjectAttributes::SIGN,
            "it may sign",
            "it may not sign",
        ),
        (
            AttestationKeyCheck::FixedTpm,
            ObjectAttributes::FIXED_TPM,
            "it cannot leave its TPM",
            "it is not fixedTPM: it may be in any TPM",
        ),
        (
            AttestationKeyCheck::FixedParent,
            ObjectAttributes::FIXED_PARENT,
            "it cannot leave its parent",
            "it is not fixedParent: it may have been duplicated",
        ),
        (
            AttestationKeyCheck::SensitiveDataOrigin,
            ObjectAttributes::SENSITIVE_DATA_ORIGIN,
            "the TPM made it",
            "it lacks sensitiveDataOrigin: its private part came from outside",
        ),
    ] {
        report.judge(check, attributes.contains(attribute), passed, failed);
    }
    report.judge(
        AttestationKeyCheck::NotDecrypt,
        !attributes.contains(ObjectAttributes::DECRYPT),
        "it may not decrypt",
        "it may decrypt as well as sign",
    );
}

fn check_scheme(report: &mut Report<AttestationKeyCheck>, ak: &TpmtPublic) {
    let check = AttestationKeyCheck::Scheme;
    let (symmetric, kdf) = match &ak.key {
        PublicKey::Ecc(key) => (key.symmetric, key.kdf),
        PublicKey::Rsa(key) => (key.symmetric, None),
    };
    if symmetric.is_some() {
        return report.fail(check, "it has a symmetric algorithm, as no signing key has");
    }
    if kdf.is_some() {
        return report.fail(check, "it has a key derivation, as no attestation key has");
    }
    let (name, hash) = match &ak.key {
        PublicKey::Ecc(key) => match key.scheme {
            Some(EccScheme::Ecdsa(hash)) => ("ECDSA", hash),
            _ => return report.fail(check, "its scheme is not ECDSA"),
        },
        PublicKey::Rsa(key) => match key.scheme {
            Some(RsaScheme::Rsassa(hash)) => ("RSASSA", hash),
            Some(RsaScheme::Rsapss(hash)) => ("RSAPSS", hash),
            _ => return report.fail(check, "its scheme is neither RSASSA nor RSAPSS"),
        },
    };
    if hash.is_weak() {
        report.fail(check, format!("{name} with {hash}, which is weak"));
    } else {
        report.pass(check, format!("{name} with {hash}"));
    }
}

fn check_name_algorithm(report: &mut Report<AttestationKeyCheck>, ak: &TpmtPublic) {
    let check = AttestationKeyCheck::NameAlgorithm;
    match ak.name_alg {
        None => report.fail(check, "it has no Name"),
        Some(hash) if hash.is_weak() => report.fail(check, format!("{hash} is weak")),
        Some(hash) => report.pass(check, hash.name()),
    }
}
