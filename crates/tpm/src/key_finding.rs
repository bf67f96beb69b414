//! The checks of an attestation key and their findings.

use core::fmt;

use keyproof_x509::{Finding, Severity, checks};

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
};

checks! {
    /// The checks of an attestation key, in the order of reports.
    ///
    /// If one of the first six fails, the key's attestations prove nothing: a key that is not
    /// restricted signs forged attestations for anyone who may use it, and one that is not fixed
    /// may be outside a TPM.
    #[non_exhaustive]
    pub AttestationKeyCheck {
        /// `restricted`: it signs only what the TPM made itself.
        Restricted = "restricted", "it signs only what the TPM made itself";
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
        /// `scheme`: it has one signing scheme, with a hash that is not weak. It has no symmetric
        /// algorithm or key derivation, which only decryption keys have (Part 2, 12.2.3.5 and
        /// 12.2.3.6).
        Scheme = "scheme", "it has one signing scheme";
        /// `name-algorithm`: it has a Name, with a hash that is not weak.
        NameAlgorithm = "name-algorithm", "it has a Name";
    }
}

/// The type and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyDescription {
    /// An EC key on this curve.
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
            Self::Ecc(curve) => curve.fmt(f),
            Self::Rsa { bits, exponent } => {
                write!(f, "RSA {bits} with exponent {exponent}")
            }
        }
    }
}

/// A finding of the check of an attestation key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestationKeyFinding {
    /// The TPM did not generate its private part.
    NotTpmGenerated,
    /// It can be duplicated to another parent.
    NotFixedParent,
    /// It can leave the TPM.
    NotFixedTpm,
    /// It may decrypt.
    Decrypts,
    /// The type and size of the key.
    Key(KeyDescription),
    /// Its size or curve is not on the allow-list.
    KeyNotAllowed(KeyDescription),
    /// It is not a well-formed key.
    KeyInvalid(TpmError),
    /// It has a key derivation, which only decryption keys have.
    KeyDerivation,
    /// The hash of its Name, which is acceptable.
    NameHash(HashAlgorithm),
    /// Its Name uses a weak hash.
    NameHashWeak(HashAlgorithm),
    /// It has no Name.
    NameAlgorithmMissing,
    /// It is not a signing key.
    NoSigning,
    /// It is not restricted: it signs data that the TPM did not make.
    NotRestricted,
    /// Its scheme, which is acceptable.
    Scheme {
        /// The scheme's name.
        name: &'static str,
        /// The hash of the scheme.
        hash: HashAlgorithm,
    },
    /// The scheme of an EC key is not ECDSA.
    SchemeNotEcdsa,
    /// The scheme of an RSA key is not a signing scheme.
    SchemeNotRsaSigning,
    /// Its scheme uses a weak hash.
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

        match self {
            Self::NotRestricted => C::Restricted,
            Self::NoSigning => C::Sign,
            Self::Decrypts => C::NotDecrypt,
            Self::NotFixedTpm => C::FixedTpm,
            Self::NotFixedParent => C::FixedParent,
            Self::NotTpmGenerated => C::SensitiveDataOrigin,
            Self::Key(_) | Self::KeyNotAllowed(_) | Self::KeyInvalid(_) => C::Key,
            Self::KeyDerivation
            | Self::Scheme { .. }
            | Self::SchemeNotEcdsa
            | Self::SchemeNotRsaSigning
            | Self::SchemeWeak { .. }
            | Self::SymmetricAlgorithm => C::Scheme,
            Self::NameHash(_) | Self::NameHashWeak(_) | Self::NameAlgorithmMissing => {
                C::NameAlgorithm
            }
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Key(_) | Self::NameHash(_) | Self::Scheme { .. } => Severity::Remark,
            Self::NotFixedParent
            | Self::NotFixedTpm
            | Self::Decrypts
            | Self::NotTpmGenerated
            | Self::KeyDerivation
            | Self::KeyNotAllowed(_)
            | Self::KeyInvalid(_)
            | Self::NameHashWeak(_)
            | Self::NameAlgorithmMissing
            | Self::NoSigning
            | Self::NotRestricted
            | Self::SchemeNotEcdsa
            | Self::SchemeNotRsaSigning
            | Self::SchemeWeak { .. }
            | Self::SymmetricAlgorithm => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::NameHash(_) | Self::Scheme { .. } => "nothing: no problem found",
            Self::NotFixedParent
            | Self::NotFixedTpm
            | Self::Decrypts
            | Self::NotTpmGenerated
            | Self::NoSigning
            | Self::NotRestricted => {
                "make the key in the TPM as restricted, sign, fixedTPM, fixedParent and sensitiveDataOrigin, and without decrypt"
            }
            Self::KeyNotAllowed(_) | Self::KeyInvalid(_) => {
                "make an attestation key of an accepted size or curve"
            }
            Self::KeyDerivation
            | Self::SchemeNotEcdsa
            | Self::SchemeNotRsaSigning
            | Self::SchemeWeak { .. }
            | Self::SymmetricAlgorithm => {
                "make the key with ECDSA, RSASSA or RSAPSS over SHA-256, SHA-384 or SHA-512, without a symmetric algorithm"
            }
            Self::NameHashWeak(_) | Self::NameAlgorithmMissing => {
                "make the key with SHA-256 as its nameAlg"
            }
        }
    }
}

impl fmt::Display for AttestationKeyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTpmGenerated => {
                f.write_str("it lacks sensitiveDataOrigin: its private part came from outside")
            }
            Self::NotFixedParent => {
                f.write_str("it is not fixedParent: it may have been duplicated")
            }
            Self::NotFixedTpm => f.write_str("it is not fixedTPM: it may be in any TPM"),
            Self::Decrypts => f.write_str("it may decrypt as well as sign"),
            Self::Key(key) => key.fmt(f),
            Self::KeyNotAllowed(key) => write!(f, "{key} is not on the allow-list"),
            Self::KeyInvalid(error) => error.fmt(f),
            Self::KeyDerivation => {
                f.write_str("it has a key derivation, which an attestation key must not have")
            }
            Self::NameHash(hash) => f.write_str(hash.name()),
            Self::NameHashWeak(hash) => write!(f, "{hash} is weak"),
            Self::NameAlgorithmMissing => f.write_str("it has no Name"),
            Self::NoSigning => f.write_str("it may not sign"),
            Self::NotRestricted => {
                f.write_str("it is not restricted: it signs any forged attestation")
            }
            Self::Scheme { name, hash } => write!(f, "{name} with {hash}"),
            Self::SchemeNotEcdsa => f.write_str("its scheme is not ECDSA"),
            Self::SchemeNotRsaSigning => f.write_str("its scheme is neither RSASSA nor RSAPSS"),
            Self::SchemeWeak { name, hash } => write!(f, "{name} with {hash}, which is weak"),
            Self::SymmetricAlgorithm => {
                f.write_str("it has a symmetric algorithm, which a signing key must not have")
            }
        }
    }
}
