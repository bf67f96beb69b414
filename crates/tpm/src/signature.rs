//! `TPMT_SIGNATURE`: a signature in the TPM's form.

use alloc::vec::Vec;

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    public::{ALG_ECDSA, ALG_RSAPSS, ALG_RSASSA},
    wire::{Buffer, Reader, Wire, put_u16},
};

/// `TPMT_SIGNATURE` (Part 2, 11.3.4) of an asymmetric key, for the schemes that can be verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TpmtSignature {
    /// ECDSA (`TPMS_SIGNATURE_ECC`, 11.3.2). `r` and `s` may lack leading zeros.
    Ecdsa {
        /// The hash of the message.
        hash: HashAlgorithm,
        /// The first number, big-endian, 1 to 66 bytes.
        r: Buffer,
        /// The second number, in the same form.
        s: Buffer,
    },
    /// RSASSA-PSS (`TPMS_SIGNATURE_RSA`, 11.3.1).
    Rsapss {
        /// The hash of the message and of the mask generation.
        hash: HashAlgorithm,
        /// The signature, 1 to 512 bytes.
        signature: Buffer,
    },
    /// RSASSA-PKCS1-v1_5 (`TPMS_SIGNATURE_RSA`, 11.3.1).
    Rsassa {
        /// The hash of the message.
        hash: HashAlgorithm,
        /// The signature, 1 to 512 bytes.
        signature: Buffer,
    },
}

/// The size of a 4096-bit modulus, in bytes.
const MAX_RSA: usize = 512;

/// The size of a coordinate of P-521, in bytes.
const MAX_ECC: usize = 66;

impl TpmtSignature {
    /// Returns the hash of the message.
    pub fn hash(&self) -> HashAlgorithm {
        match self {
            Self::Ecdsa { hash, .. } | Self::Rsapss { hash, .. } | Self::Rsassa { hash, .. } => {
                *hash
            }
        }
    }
}

impl Wire for TpmtSignature {
    const NAME: &'static str = "TPMT_SIGNATURE";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        let scheme = reader.u16()?;
        if !matches!(scheme, ALG_RSASSA | ALG_RSAPSS | ALG_ECDSA) {
            return Err(TpmError::UnknownSelector {
                at,
                value: scheme.into(),
                what: "TPMI_ALG_SIG_SCHEME",
            });
        }
        let hash = HashAlgorithm::read(reader)?;
        Ok(match scheme {
            ALG_ECDSA => Self::Ecdsa {
                hash,
                r: filled(reader, "TPM2B_ECC_PARAMETER", MAX_ECC)?,
                s: filled(reader, "TPM2B_ECC_PARAMETER", MAX_ECC)?,
            },
            ALG_RSAPSS => Self::Rsapss {
                hash,
                signature: filled(reader, "TPM2B_PUBLIC_KEY_RSA", MAX_RSA)?,
            },
            _ => Self::Rsassa {
                hash,
                signature: filled(reader, "TPM2B_PUBLIC_KEY_RSA", MAX_RSA)?,
            },
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let scheme = match self {
            Self::Ecdsa { .. } => ALG_ECDSA,
            Self::Rsapss { .. } => ALG_RSAPSS,
            Self::Rsassa { .. } => ALG_RSASSA,
        };
        put_u16(out, scheme);
        put_u16(out, self.hash().id());
        match self {
            Self::Ecdsa { r, s, .. } => {
                r.write(out);
                s.write(out);
            }
            Self::Rsapss { signature, .. } | Self::Rsassa { signature, .. } => {
                signature.write(out);
            }
        }
    }
}

/// Reads a buffer of at least one byte.
fn filled(reader: &mut Reader<'_>, what: &'static str, limit: usize) -> Result<Buffer, TpmError> {
    let at = reader.at();
    let buffer = reader.buffer(what, limit)?;
    if buffer.is_empty() {
        return Err(TpmError::WrongSize { at, found: 0, what });
    }
    Ok(buffer)
}
