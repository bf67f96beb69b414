//! The policy for attestation keys.

use alloc::vec::Vec;

use keyproof_x509::Report;

use crate::{
    algorithm::EccCurve,
    attributes::ObjectAttributes,
    key_finding::{AttestationKeyCheck, AttestationKeyFinding as Finding, KeyDescription},
    public::{EccScheme, PublicKey, RsaScheme, TpmtPublic},
    spki::BareKey,
};

/// The policy for an attestation key. The required attributes are fixed.
///
/// ```
/// use keyproof_tpm::{AttestationKeyPolicy, Structure, TpmtPublic};
///
/// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// assert!(AttestationKeyPolicy::default().check(&ak).accepted());
/// let curves_alone = AttestationKeyPolicy { rsa_bits: Vec::new(), ..AttestationKeyPolicy::default() };
/// assert!(!curves_alone.check(&ak).accepted());
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKeyPolicy {
    /// The accepted RSA sizes, in bits.
    pub rsa_bits: Vec<u16>,
    /// The accepted curves.
    pub curves: Vec<EccCurve>,
}

/// Accepts RSA 2048, 3072 and 4096; P-256, P-384 and P-521.
impl Default for AttestationKeyPolicy {
    fn default() -> Self {
        Self {
            rsa_bits: [2048, 3072, 4096].into(),
            curves: [EccCurve::NistP256, EccCurve::NistP384, EccCurve::NistP521].into(),
        }
    }
}

impl AttestationKeyPolicy {
    /// Checks a public area.
    pub fn check(&self, ak: &TpmtPublic) -> Report<Finding> {
        let mut report = Report::new();
        check_attributes(&mut report, ak.object_attributes);
        report.judged(AttestationKeyCheck::Key, self.check_key(ak));
        report.judged(AttestationKeyCheck::Scheme, check_scheme(ak));
        report.judged(AttestationKeyCheck::NameAlgorithm, check_name_algorithm(ak));
        report
    }

    fn check_key(&self, ak: &TpmtPublic) -> Finding {
        let (is_allowed, key) = match &ak.key {
            PublicKey::Ecc(key) => (
                self.curves.contains(&key.curve),
                KeyDescription::Ecc(key.curve),
            ),
            PublicKey::Rsa(key) => {
                let (bits, exponent) = (key.key_bits, key.effective_exponent());
                (
                    exponent == 65_537 && self.rsa_bits.contains(&bits),
                    KeyDescription::Rsa { bits, exponent },
                )
            }
        };
        match BareKey::of(ak) {
            Ok(_) if is_allowed => Finding::Key(key),
            Ok(_) => Finding::KeyNotAllowed(key),
            Err(error) => Finding::KeyInvalid(error),
        }
    }
}

fn check_attributes(report: &mut Report<Finding>, attributes: ObjectAttributes) {
    use AttestationKeyCheck as C;
    use ObjectAttributes as A;

    let has = |attribute| attributes.contains(attribute);
    for (check, holds, finding) in [
        (C::Restricted, has(A::RESTRICTED), Finding::NotRestricted),
        (C::Sign, has(A::SIGN), Finding::NoSigning),
        (C::NotDecrypt, !has(A::DECRYPT), Finding::Decrypts),
        (C::FixedTpm, has(A::FIXED_TPM), Finding::NotFixedTpm),
        (
            C::FixedParent,
            has(A::FIXED_PARENT),
            Finding::NotFixedParent,
        ),
        (
            C::SensitiveDataOrigin,
            has(A::SENSITIVE_DATA_ORIGIN),
            Finding::NotTpmGenerated,
        ),
    ] {
        report.judged(check, (!holds).then_some(finding));
    }
}

fn check_scheme(ak: &TpmtPublic) -> Finding {
    let (symmetric, kdf) = match &ak.key {
        PublicKey::Ecc(key) => (key.symmetric, key.kdf),
        PublicKey::Rsa(key) => (key.symmetric, None),
    };
    if symmetric.is_some() {
        return Finding::SymmetricAlgorithm;
    }
    if kdf.is_some() {
        return Finding::KeyDerivation;
    }
    let (name, hash) = match &ak.key {
        PublicKey::Ecc(key) => match key.scheme {
            Some(EccScheme::Ecdsa(hash)) => ("ECDSA", hash),
            _ => return Finding::SchemeNotEcdsa,
        },
        PublicKey::Rsa(key) => match key.scheme {
            Some(RsaScheme::Rsassa(hash)) => ("RSASSA", hash),
            Some(RsaScheme::Rsapss(hash)) => ("RSAPSS", hash),
            _ => return Finding::SchemeNotRsaSigning,
        },
    };
    if hash.is_weak() {
        Finding::SchemeWeak { name, hash }
    } else {
        Finding::Scheme { name, hash }
    }
}

fn check_name_algorithm(ak: &TpmtPublic) -> Finding {
    match ak.name_alg {
        None => Finding::NameAlgorithmMissing,
        Some(hash) if hash.is_weak() => Finding::NameHashWeak(hash),
        Some(hash) => Finding::NameHash(hash),
    }
}
