//! What is asked of an attestation key, and what can be found.

use core::fmt;

use keyproof_x509::{Finding, Severity, checks};

use crate::TpmError;
use crate::algorithm::{EccCurve, HashAlgorithm};

checks! {
    /// The checks of an attestation key, in the order of reports.
    ///
    /// The first six hold or the TPM's word is worth nothing: a key that is not restricted signs a
    /// forged attestation for anyone who may use it, and one that is not fixed may be anywhere.
    #[non_exhaustive]
    pub AttestationKeyCheck {
        column = 21;
        /// `restricted`: it signs only what the TPM made itself.
        Restricted = "restricted", "it signs only what the TPM made itself";
        /// `sign`: it may sign.
        Sign = "sign", "it may sign";
        /// `not-decrypt`: it may not decrypt as well.
        NotDecrypt = "not-decrypt", "it may not decrypt";
        /// `fixed-tpm`: it cannot leave its TPM.
        FixedTpm = "fixed-tpm", "it cannot leave its TPM";
        /// `fixed-parent`: it cannot leave its parent.
        FixedParent = "fixed-parent", "it cannot leave its parent";
        /// `sensitive-data-origin`: the TPM made it.
        SensitiveDataOrigin = "sensitive-data-origin", "the TPM made it";
        /// `key`: its size or curve is on the allow-list, and it is well formed.
        Key = "key", "it is on the allow-list";
        /// `scheme`: it has one signing scheme, with a hash that is not weak, and neither a cipher nor a
        /// key derivation, which are of decryption keys (Part 2, 12.2.3.5 and 12.2.3.6).
        Scheme = "scheme", "it has one signing scheme";
        /// `name-algorithm`: it has a Name, by a hash that is not weak.
        NameAlgorithm = "name-algorithm", "it has a Name";
    }
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDescription {
    /// A key on a curve.
    Ecc(EccCurve),
    /// An RSA key.
    Rsa {
        /// Its size in bits.
        bits: u16,
        /// Its public exponent.
        exponent: u32,
    },
}

impl fmt::Display for KeyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyDescription::Ecc(curve) => curve.fmt(f),
            KeyDescription::Rsa { bits, exponent } => {
                write!(f, "RSA {bits} with exponent {exponent}")
            }
        }
    }
}

/// Something that the check of an attestation key found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestationKeyFinding {
    /// Its private part was not made by the TPM.
    FromOutside,
    /// It can be duplicated to another parent.
    CanLeaveParent,
    /// It can leave the TPM.
    CanLeaveTpm,
    /// It may decrypt as well.
    Decrypts,
    /// Which key it is.
    Key(KeyDescription),
    /// It is of a size or curve that is not taken.
    KeyNotAllowed(KeyDescription),
    /// It is no key that can be.
    KeyUnsound(TpmError),
    /// It has a key derivation, which only decryption keys have.
    KeyDerivation,
    /// The hash of its Name.
    NameHash(HashAlgorithm),
    /// Its Name is of a weak hash.
    NameHashWeak(HashAlgorithm),
    /// It has no Name.
    Nameless,
    /// It may not sign.
    NoSigning,
    /// It signs what the TPM did not make.
    NotRestricted,
    /// Its scheme.
    Scheme {
        /// The scheme's name.
        name: &'static str,
        /// The hash that it signs.
        hash: HashAlgorithm,
    },
    /// The scheme of an EC key is not ECDSA.
    SchemeNotEcdsa,
    /// The scheme of an RSA key signs nothing.
    SchemeNotRsaSigning,
    /// Its scheme signs a weak hash.
    SchemeWeak {
        /// The scheme's name.
        name: &'static str,
        /// The hash.
        hash: HashAlgorithm,
    },
    /// It has a symmetric algorithm, which only storage keys have.
    SymmetricAlgorithm,
}

impl Finding for AttestationKeyFinding {
    type Check = AttestationKeyCheck;

    fn check(&self) -> AttestationKeyCheck {
        use AttestationKeyCheck as C;
        use AttestationKeyFinding as F;
        match self {
            F::NotRestricted => C::Restricted,
            F::NoSigning => C::Sign,
            F::Decrypts => C::NotDecrypt,
            F::CanLeaveTpm => C::FixedTpm,
            F::CanLeaveParent => C::FixedParent,
            F::FromOutside => C::SensitiveDataOrigin,
            F::Key(_) | F::KeyNotAllowed(_) | F::KeyUnsound(_) => C::Key,
            F::KeyDerivation
            | F::Scheme { .. }
            | F::SchemeNotEcdsa
            | F::SchemeNotRsaSigning
            | F::SchemeWeak { .. }
            | F::SymmetricAlgorithm => C::Scheme,
            F::NameHash(_) | F::NameHashWeak(_) | F::Nameless => C::NameAlgorithm,
        }
    }

    fn severity(&self) -> Severity {
        use AttestationKeyFinding as F;
        match self {
            F::Key(_) | F::NameHash(_) | F::Scheme { .. } => Severity::Remark,
            F::CanLeaveParent
            | F::CanLeaveTpm
            | F::Decrypts
            | F::FromOutside
            | F::KeyDerivation
            | F::KeyNotAllowed(_)
            | F::KeyUnsound(_)
            | F::NameHashWeak(_)
            | F::Nameless
            | F::NoSigning
            | F::NotRestricted
            | F::SchemeNotEcdsa
            | F::SchemeNotRsaSigning
            | F::SchemeWeak { .. }
            | F::SymmetricAlgorithm => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        use AttestationKeyFinding as F;
        match self {
            F::Key(_) | F::NameHash(_) | F::Scheme { .. } => "nothing: all is well",
            F::CanLeaveParent
            | F::CanLeaveTpm
            | F::Decrypts
            | F::FromOutside
            | F::NoSigning
            | F::NotRestricted => {
                "make the key in the TPM as restricted, sign, fixedTPM, fixedParent and sensitiveDataOrigin, and without decrypt"
            }
            F::KeyNotAllowed(_) | F::KeyUnsound(_) => {
                "make an attestation key of a size or on a curve that is taken"
            }
            F::KeyDerivation
            | F::SchemeNotEcdsa
            | F::SchemeNotRsaSigning
            | F::SchemeWeak { .. }
            | F::SymmetricAlgorithm => {
                "make the key with ECDSA, RSASSA or RSAPSS over SHA-256, SHA-384 or SHA-512, without a symmetric algorithm"
            }
            F::NameHashWeak(_) | F::Nameless => "make the key with SHA-256 as its nameAlg",
        }
    }
}

impl fmt::Display for AttestationKeyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AttestationKeyFinding as F;
        match self {
            F::FromOutside => {
                f.write_str("it lacks sensitiveDataOrigin: its private part came from outside")
            }
            F::CanLeaveParent => f.write_str("it is not fixedParent: it may have been duplicated"),
            F::CanLeaveTpm => f.write_str("it is not fixedTPM: it may be in any TPM"),
            F::Decrypts => f.write_str("it may decrypt as well as sign"),
            F::Key(key) => key.fmt(f),
            F::KeyNotAllowed(key) => write!(f, "{key} is not on the allow-list"),
            F::KeyUnsound(error) => error.fmt(f),
            F::KeyDerivation => f.write_str("it has a key derivation, as no attestation key has"),
            F::NameHash(hash) => f.write_str(hash.name()),
            F::NameHashWeak(hash) => write!(f, "{hash} is weak"),
            F::Nameless => f.write_str("it has no Name"),
            F::NoSigning => f.write_str("it may not sign"),
            F::NotRestricted => {
                f.write_str("it is not restricted: it signs any forged attestation")
            }
            F::Scheme { name, hash } => write!(f, "{name} with {hash}"),
            F::SchemeNotEcdsa => f.write_str("its scheme is not ECDSA"),
            F::SchemeNotRsaSigning => f.write_str("its scheme is neither RSASSA nor RSAPSS"),
            F::SchemeWeak { name, hash } => write!(f, "{name} with {hash}, which is weak"),
            F::SymmetricAlgorithm => {
                f.write_str("it has a symmetric algorithm, as no signing key has")
            }
        }
    }
}
