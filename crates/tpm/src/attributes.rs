//! `TPMA_OBJECT`: the attributes of an object.

use core::{fmt, ops::BitOr};

use crate::{TpmError, wire::Reader};

/// `TPMA_OBJECT` (Part 2, 8.3.2), a set of bits.
///
/// ```
/// use keyproof_tpm::ObjectAttributes;
///
/// let of_an_attestation_key = ObjectAttributes::from_bits(0x0005_0072)?;
/// assert!(of_an_attestation_key.contains(ObjectAttributes::RESTRICTED | ObjectAttributes::FIXED_TPM));
/// assert!(!of_an_attestation_key.without(ObjectAttributes::RESTRICTED).contains(ObjectAttributes::RESTRICTED));
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectAttributes(u32);

/// Each bit with its name, lowest first.
const NAMES: [(ObjectAttributes, &str); 12] = [
    (ObjectAttributes::FIXED_TPM, "fixedTPM"),
    (ObjectAttributes::ST_CLEAR, "stClear"),
    (ObjectAttributes::FIXED_PARENT, "fixedParent"),
    (
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        "sensitiveDataOrigin",
    ),
    (ObjectAttributes::USER_WITH_AUTH, "userWithAuth"),
    (ObjectAttributes::ADMIN_WITH_POLICY, "adminWithPolicy"),
    (ObjectAttributes::NO_DA, "noDA"),
    (
        ObjectAttributes::ENCRYPTED_DUPLICATION,
        "encryptedDuplication",
    ),
    (ObjectAttributes::RESTRICTED, "restricted"),
    (ObjectAttributes::DECRYPT, "decrypt"),
    (ObjectAttributes::SIGN, "sign"),
    (ObjectAttributes::X509_SIGN, "x509sign"),
];

impl ObjectAttributes {
    /// The hierarchy of the object cannot change.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// Its saved contexts do not survive a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The parent of the object cannot change.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM generated the private part; it was not imported.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The authorisation value permits user-role actions.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Only the policy permits admin-role actions.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Exempt from the dictionary-attack lockout.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplication requires encryption.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// Signs or decrypts only data that the TPM itself made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// May decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// May sign (or, for a symmetric key, encrypt).
    pub const SIGN: Self = Self(1 << 18);
    /// Signs certificates (`TPM2_CertifyX509`) and attestations, but nothing by `TPM2_Sign`.
    pub const X509_SIGN: Self = Self(1 << 19);

    /// Creates a set from its 32 bits.
    ///
    /// # Errors
    ///
    /// [`TpmError::ReservedBits`] if a reserved bit is set.
    pub fn from_bits(bits: u32) -> Result<Self, TpmError> {
        let known = NAMES
            .iter()
            .fold(0, |known, (attribute, _)| known | attribute.0);
        if bits & !known == 0 {
            Ok(Self(bits))
        } else {
            Err(TpmError::ReservedBits {
                at: 0,
                found: bits & !known,
            })
        }
    }

    /// Returns the set as 32 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether this set contains every attribute of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns this set without the attributes of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the union of both sets, also in constants.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        Self::from_bits(reader.u32()?).map_err(|error| error.moved_by(at))
    }
}

impl BitOr for ObjectAttributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// Writes the TCG's names, joined by `|`.
impl fmt::Display for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (attribute, name) in NAMES {
            if self.contains(attribute) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectAttributes({:#010x}: {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    /// Each attribute has the bit and the name of Part 2, 8.3.2; all others are reserved.
    #[test]
    fn each_bit_is_the_tcgs() {
        let defined = [
            (1, "fixedTPM"),
            (2, "stClear"),
            (4, "fixedParent"),
            (5, "sensitiveDataOrigin"),
            (6, "userWithAuth"),
            (7, "adminWithPolicy"),
            (10, "noDA"),
            (11, "encryptedDuplication"),
            (16, "restricted"),
            (17, "decrypt"),
            (18, "sign"),
            (19, "x509sign"),
        ];
        for bit in 0..32 {
            let found = 1_u32 << bit;
            let read = ObjectAttributes::from_bits(found).map(|own| own.to_string());
            let expected = match defined.iter().find(|(own, _)| *own == bit) {
                Some((_, name)) => Ok((*name).to_string()),
                None => Err(TpmError::ReservedBits { at: 0, found }),
            };
            assert_eq!(read, expected, "bit {bit}");
        }
    }

    #[test]
    fn sets_that_overlap_are_united() {
        let (one, other) = (
            ObjectAttributes::SIGN | ObjectAttributes::FIXED_TPM,
            ObjectAttributes::SIGN | ObjectAttributes::DECRYPT,
        );
        let both = one | other;
        assert_eq!(both.bits(), 0x0006_0002);
        assert_eq!(both.without(other), ObjectAttributes::FIXED_TPM);
        assert!(both.contains(one) && both.contains(other));
        assert!(!one.contains(both));
        let debug = format!("{one:?}");
        assert_eq!(debug, "ObjectAttributes(0x00040002: fixedTPM|sign)");
    }
}
