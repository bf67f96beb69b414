//! The properties of an endorsement key that a credential depends on.

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm},
    attributes::ObjectAttributes,
    public::{
        EccPublic, PublicKey, SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmtPublic,
    },
};

/// An endorsement key for which credentials can be made.
pub(super) struct EndorsementKey<'a> {
    /// Its name algorithm, SHA-256 or SHA-384.
    pub(super) hash: HashAlgorithm,
    /// The size of its AES keys, in bits.
    pub(super) aes_bits: u16,
    pub(super) transport: Transport<'a>,
}

/// The method that transports a seed to the key.
pub(super) enum Transport<'a> {
    /// One-pass key agreement on P-256 or P-384.
    Ecdh(&'a EccPublic),
    /// RSAES-OAEP.
    Oaep,
}

impl<'a> EndorsementKey<'a> {
    pub(super) fn of(public: &'a TpmtPublic) -> Result<Self, TpmError> {
        let hash = match public.name_alg {
            Some(hash @ (HashAlgorithm::Sha256 | HashAlgorithm::Sha384)) => hash,
            _ => return Err(unsupported("name algorithm")),
        };
        // Without these attributes, the owner could decrypt with the key outside
        // `TPM2_ActivateCredential`.
        if !public
            .object_attributes
            .contains(ObjectAttributes::RESTRICTED | ObjectAttributes::DECRYPT)
        {
            return Err(unsupported("attributes"));
        }
        let (symmetric, transport) = match &public.key {
            PublicKey::Ecc(key) => match key.curve {
                EccCurve::NistP256 | EccCurve::NistP384 => (key.symmetric, Transport::Ecdh(key)),
                _ => return Err(unsupported("curve")),
            },
            PublicKey::Rsa(key) => match key.key_bits {
                2048 | 3072 | 4096 => (key.symmetric, Transport::Oaep),
                _ => return Err(unsupported("size")),
            },
        };
        match symmetric {
            Some(SymmetricObject {
                algorithm: SymmetricAlgorithm::Aes,
                key_bits: aes_bits,
                mode: Some(SymmetricMode::Cfb),
            }) => Ok(EndorsementKey {
                hash,
                aes_bits,
                transport,
            }),
            _ => Err(unsupported("symmetric algorithm")),
        }
    }
}

fn unsupported(what: &'static str) -> TpmError {
    TpmError::UnsupportedEndorsementKey { what }
}
