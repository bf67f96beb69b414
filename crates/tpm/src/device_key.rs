//! The policy for device identity keys, and the profiles of certified objects.

use alloc::vec::Vec;
use core::fmt;

use keyproof_x509::{Check, Finding, Report, Severity, checks};

use crate::{
    algorithm::EccCurve,
    attributes::ObjectAttributes,
    key_finding::{AttestationKeyCheck, AttestationKeyFinding},
    key_policy::AttestationKeyPolicy,
    public::{EccPublic, PublicKey, RsaPublic, TpmtPublic},
};

/// The policy for a device identity key (DevID, IDevID; TCG TPM 2.0 Keys for Device Identity and
/// Attestation, 7.3). The required attributes are fixed: the key was made in its TPM, cannot leave
/// it, and signs any data.
///
/// ```
/// use keyproof_tpm::{DevIdKeyPolicy, EccCurve, Structure, TpmtPublic};
///
/// let key = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/dev.pub.tpm2b"))?;
/// assert!(DevIdKeyPolicy::default().check(&key).accepted());
/// let curves_alone = DevIdKeyPolicy { rsa_bits: vec![], curves: vec![EccCurve::NistP256] };
/// let report = curves_alone.check(&key);
/// assert!(!report.accepted(), "{report}");
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevIdKeyPolicy {
    /// The accepted RSA sizes, in bits.
    pub rsa_bits: Vec<u16>,
    /// The accepted curves.
    pub curves: Vec<EccCurve>,
}

/// The kind of key that a certified object must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProfile {
    /// Any object, with a warning.
    Any,
    /// An attestation key: an IAK, or a key that an IAK certifies.
    Attestation(AttestationKeyPolicy),
    /// A device identity key.
    DevId(DevIdKeyPolicy),
}

checks! {
    /// The checks of a device identity key, in the order of reports.
    #[non_exhaustive]
    pub DevIdKeyCheck {
        /// `not-restricted`: it signs data from outside the TPM, such as a TLS handshake.
        NotRestricted = "not-restricted", "it signs any data";
        /// `sign`: it may sign.
        Sign = "sign", "it may sign";
        /// `not-decrypt`: it may not decrypt.
        NotDecrypt = "not-decrypt", "it may not decrypt";
        /// `fixed-tpm`: it cannot leave its TPM.
        FixedTpm = "fixed-tpm", "it cannot leave its TPM";
        /// `fixed-parent`: it cannot leave its parent.
        FixedParent = "fixed-parent", "it cannot leave its parent";
        /// `sensitive-data-origin`: the TPM made it.
        SensitiveDataOrigin = "sensitive-data-origin", "the TPM made it";
        /// `key`: its size or curve is on the allow-list, and it is well formed.
        Key = "key", "it is on the allow-list";
        /// `scheme`: it has one signing scheme, with a hash that is not weak, or none, which leaves
        /// the choice to each use. It has no symmetric algorithm or key derivation.
        Scheme = "scheme", "it has one signing scheme";
        /// `name-algorithm`: it has a Name, with a hash that is not weak.
        NameAlgorithm = "name-algorithm", "it has a Name";
    }
}

/// A finding of the check of a device identity key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DevIdKeyFinding {
    /// A finding that also applies to attestation keys.
    Common(AttestationKeyFinding),
    /// It is restricted: it signs only data that the TPM made.
    Restricted,
    /// It has no fixed scheme: each signature chooses one.
    SchemeUnspecified,
    /// It is x509sign: it signs certificates and attestations, but no other data.
    X509Sign,
}

/// Accepts RSA 2048, 3072 and 4096; P-256, P-384 and P-521.
impl Default for DevIdKeyPolicy {
    fn default() -> Self {
        let AttestationKeyPolicy { rsa_bits, curves } = AttestationKeyPolicy::default();
        Self { rsa_bits, curves }
    }
}

impl DevIdKeyPolicy {
    /// Checks a public area. The checks are those of an attestation key, except that the key must
    /// be neither restricted nor x509sign and may leave its scheme open.
    pub fn check(&self, key: &TpmtPublic) -> Report<DevIdKeyFinding> {
        let policy = AttestationKeyPolicy {
            rsa_bits: self.rsa_bits.clone(),
            curves: self.curves.clone(),
        };
        let common = policy.check(key);
        let mut report = Report::new();
        for check in AttestationKeyCheck::ALL {
            let found = common.findings(*check).next().cloned();
            let finding = match check {
                AttestationKeyCheck::Restricted => check_any_data(key.object_attributes),
                AttestationKeyCheck::Scheme if is_scheme_open(key) => {
                    let is_for_signatures = matches!(
                        found,
                        Some(
                            AttestationKeyFinding::SchemeNotEcdsa
                                | AttestationKeyFinding::SchemeNotRsaSigning
                        )
                    );
                    if is_for_signatures {
                        Some(DevIdKeyFinding::SchemeUnspecified)
                    } else {
                        found.map(DevIdKeyFinding::Common)
                    }
                }
                _ => found.map(DevIdKeyFinding::Common),
            };
            report.judged(own(*check), finding);
        }
        report
    }
}

/// Checks that `TPM2_Sign` signs data from outside the TPM with the key.
fn check_any_data(attributes: ObjectAttributes) -> Option<DevIdKeyFinding> {
    if attributes.contains(ObjectAttributes::RESTRICTED) {
        Some(DevIdKeyFinding::Restricted)
    } else if attributes.contains(ObjectAttributes::X509_SIGN) {
        Some(DevIdKeyFinding::X509Sign)
    } else {
        None
    }
}

fn is_scheme_open(key: &TpmtPublic) -> bool {
    matches!(
        &key.key,
        PublicKey::Ecc(EccPublic { scheme: None, .. })
            | PublicKey::Rsa(RsaPublic { scheme: None, .. })
    )
}

/// Maps a check of an attestation key to its counterpart here.
fn own(check: AttestationKeyCheck) -> DevIdKeyCheck {
    match check {
        AttestationKeyCheck::Restricted => DevIdKeyCheck::NotRestricted,
        AttestationKeyCheck::Sign => DevIdKeyCheck::Sign,
        AttestationKeyCheck::NotDecrypt => DevIdKeyCheck::NotDecrypt,
        AttestationKeyCheck::FixedTpm => DevIdKeyCheck::FixedTpm,
        AttestationKeyCheck::FixedParent => DevIdKeyCheck::FixedParent,
        AttestationKeyCheck::SensitiveDataOrigin => DevIdKeyCheck::SensitiveDataOrigin,
        AttestationKeyCheck::Key => DevIdKeyCheck::Key,
        AttestationKeyCheck::Scheme => DevIdKeyCheck::Scheme,
        AttestationKeyCheck::NameAlgorithm => DevIdKeyCheck::NameAlgorithm,
    }
}

impl Finding for DevIdKeyFinding {
    type Check = DevIdKeyCheck;

    fn check(&self) -> DevIdKeyCheck {
        match self {
            Self::Common(finding) => own(finding.check()),
            Self::Restricted | Self::X509Sign => DevIdKeyCheck::NotRestricted,
            Self::SchemeUnspecified => DevIdKeyCheck::Scheme,
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Common(finding) => finding.severity(),
            Self::Restricted | Self::X509Sign => Severity::Refusal,
            Self::SchemeUnspecified => Severity::Remark,
        }
    }

    fn remedy(&self) -> &'static str {
        use AttestationKeyFinding as Of;
        match self {
            Self::Common(
                Of::NotFixedParent
                | Of::NotFixedTpm
                | Of::Decrypts
                | Of::NotTpmGenerated
                | Of::NoSigning,
            )
            | Self::Restricted
            | Self::X509Sign => {
                "make the key in the TPM as sign, fixedTPM, fixedParent and sensitiveDataOrigin, and without restricted, decrypt and x509sign"
            }
            Self::Common(finding) => finding.remedy(),
            Self::SchemeUnspecified => "nothing: no problem found",
        }
    }
}

impl fmt::Display for DevIdKeyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common(finding) => finding.fmt(f),
            Self::Restricted => {
                f.write_str("it is restricted: it signs only what the TPM made itself")
            }
            Self::SchemeUnspecified => f.write_str("each signature chooses its scheme"),
            Self::X509Sign => f.write_str(
                "it is x509sign: it signs certificates and attestations, but no other data",
            ),
        }
    }
}
