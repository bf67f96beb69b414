//! Hash algorithms and elliptic curves with their TPM identifiers.

use alloc::vec::Vec;

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::TpmError;

/// Declares an enum of 16-bit TPM identifiers, with conversions in both directions.
macro_rules! numbers {
    (
        $(#[$meta:meta])*
        $name:ident, $what:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $value:literal, $text:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// Returns the identifier on the wire.
            pub fn id(self) -> u16 {
                match self {
                    $($name::$variant => $value,)*
                }
            }

            /// Returns the value with this identifier, if there is one.
            pub fn from_id(id: u16) -> Option<$name> {
                match id {
                    $($value => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Returns the value with this [`name`](Self::name), if there is one.
            pub fn from_name(name: &str) -> Option<$name> {
                match name {
                    $($text => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Returns the usual name.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }

            pub(crate) fn read(
                reader: &mut $crate::wire::Reader<'_>,
            ) -> Result<$name, $crate::TpmError> {
                let at = reader.at();
                let id = reader.u16()?;
                $name::from_id(id).ok_or($crate::TpmError::UnknownSelector {
                    at,
                    value: id.into(),
                    what: $what,
                })
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::TpmError;

            /// Parses a [`name`](Self::name). Letter case matters.
            ///
            /// # Errors
            ///
            /// [`TpmError::UnknownName`](crate::TpmError::UnknownName).
            fn from_str(name: &str) -> Result<$name, $crate::TpmError> {
                $name::from_name(name).ok_or($crate::TpmError::UnknownName { what: $what })
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use numbers;

numbers! {
    /// `TPMI_ALG_HASH` (Part 2, 9.27).
    ///
    /// ```
    /// use keyproof_tpm::HashAlgorithm;
    ///
    /// let bank = HashAlgorithm::from_name("sha256").ok_or("no such bank")?;
    /// assert_eq!((bank.id(), bank.digest_size()), (0x000b, 32));
    /// assert_eq!(bank.digest(&[b"firmware", b" 1"])?, bank.digest(&[b"firmware 1"])?);
    /// assert!(HashAlgorithm::Sm3.digest(&[b"firmware 1"]).is_err()); // recognised, not computed
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    HashAlgorithm, "TPMI_ALG_HASH" {
        /// SHA-1: recognised, rejected by every check.
        Sha1 = 0x0004, "sha1";
        /// SHA-256.
        Sha256 = 0x000b, "sha256";
        /// SHA-384.
        Sha384 = 0x000c, "sha384";
        /// SHA-512.
        Sha512 = 0x000d, "sha512";
        /// SM3: recognised, not computed.
        Sm3 = 0x0012, "sm3_256";
        /// SHA3-256: recognised, not computed.
        Sha3_256 = 0x0027, "sha3_256";
        /// SHA3-384: recognised, not computed.
        Sha3_384 = 0x0028, "sha3_384";
        /// SHA3-512: recognised, not computed.
        Sha3_512 = 0x0029, "sha3_512";
    }
}

impl HashAlgorithm {
    /// Returns the size of a digest, in bytes.
    pub fn digest_size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// Returns whether collisions are practical. No check accepts a weak hash.
    pub fn is_weak(self) -> bool {
        self == Self::Sha1
    }

    /// Returns the digest of the concatenated `parts`.
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedHash`] for algorithms that are recognised but not computed.
    pub fn digest(self, parts: &[&[u8]]) -> Result<Vec<u8>, TpmError> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        match self {
            Self::Sha1 => Ok(of::<Sha1>(parts)),
            Self::Sha256 => Ok(of::<Sha256>(parts)),
            Self::Sha384 => Ok(of::<Sha384>(parts)),
            Self::Sha512 => Ok(of::<Sha512>(parts)),
            Self::Sm3 | Self::Sha3_256 | Self::Sha3_384 | Self::Sha3_512 => {
                Err(TpmError::UnsupportedHash { hash: self })
            }
        }
    }
}

numbers! {
    /// `TPM_ECC_CURVE` (Part 2, 6.4).
    EccCurve, "TPM_ECC_CURVE" {
        /// NIST P-192.
        NistP192 = 0x0001, "P-192";
        /// NIST P-224.
        NistP224 = 0x0002, "P-224";
        /// NIST P-256.
        NistP256 = 0x0003, "P-256";
        /// NIST P-384.
        NistP384 = 0x0004, "P-384";
        /// NIST P-521.
        NistP521 = 0x0005, "P-521";
        /// Barreto-Naehrig, 256 bits.
        BnP256 = 0x0010, "BN-256";
        /// Barreto-Naehrig, 638 bits.
        BnP638 = 0x0011, "BN-638";
        /// SM2, 256 bits.
        Sm2P256 = 0x0020, "SM2-256";
        /// Brainpool, 256 bits.
        BrainpoolP256R1 = 0x0030, "brainpoolP256r1";
        /// Brainpool, 384 bits.
        BrainpoolP384R1 = 0x0031, "brainpoolP384r1";
        /// Brainpool, 512 bits.
        BrainpoolP512R1 = 0x0032, "brainpoolP512r1";
        /// Curve25519.
        Curve25519 = 0x0040, "Curve25519";
        /// Curve448.
        Curve448 = 0x0041, "Curve448";
    }
}

impl EccCurve {
    /// Returns the maximum size of a coordinate, in bytes.
    pub fn coordinate_size(self) -> usize {
        match self {
            Self::NistP192 => 24,
            Self::NistP224 => 28,
            Self::NistP256
            | Self::BnP256
            | Self::Sm2P256
            | Self::BrainpoolP256R1
            | Self::Curve25519 => 32,
            Self::NistP384 | Self::BrainpoolP384R1 => 48,
            Self::Curve448 => 56,
            Self::BrainpoolP512R1 => 64,
            Self::NistP521 => 66,
            Self::BnP638 => 80,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn names_are_read_to_the_letter() {
        assert_eq!("sha256".parse(), Ok(HashAlgorithm::Sha256));
        assert_eq!(
            EccCurve::NistP521.to_string().parse(),
            Ok(EccCurve::NistP521)
        );
        for wrong in ["SHA256", "sha256 ", "md5", ""] {
            let unknown = TpmError::UnknownName {
                what: "TPMI_ALG_HASH",
            };
            assert_eq!(wrong.parse::<HashAlgorithm>(), Err(unknown), "{wrong}");
        }
    }
}
