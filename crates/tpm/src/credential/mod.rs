//! Credentials: secrets that only the TPM with a given endorsement key can open, and only for an
//! object with a given Name.

#[cfg(feature = "activate")]
mod activate;
#[cfg(feature = "aws-lc-rs")]
mod aws_lc_rs;
mod endorsement;
mod make;
mod provider;

use alloc::vec::Vec;

use crate::{
    TpmError,
    wire::{Buffer, MAX_DIGEST, Reader, Structure, Wire},
};

#[cfg(feature = "activate")]
pub use activate::activate;
#[cfg(feature = "aws-lc-rs")]
pub use aws_lc_rs::AwsLcRs;
pub use make::{make_credential, make_credential_with_seed};
#[cfg(feature = "activate")]
pub use provider::ActivationProvider;
pub use provider::{Agreement, CredentialProvider};

/// The output of `TPM2_MakeCredential` and input of `TPM2_ActivateCredential`.
///
/// Its [`Structure`] encoding is a credential file of tpm2-tools: `badcc0de 00000001`, then
/// `TPM2B_ID_OBJECT`, then `TPM2B_ENCRYPTED_SECRET`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The encrypted secret, and the HMAC that binds it to a Name.
    pub id_object: TpmsIdObject,
    /// The seed from which its keys derive, encrypted to the endorsement key.
    pub encrypted_secret: EncryptedSecret,
}

/// `TPMS_ID_OBJECT` (Part 2, 12.4.2).
///
/// [`Structure::parse_sized`] parses its `TPM2B_ID_OBJECT` form (12.4.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsIdObject {
    /// HMAC over the encrypted secret and the Name.
    pub integrity_hmac: Buffer,
    /// The secret after its size, encrypted; at most 66 bytes.
    pub enc_identity: Buffer,
}

/// The content of a `TPM2B_ENCRYPTED_SECRET` (Part 2, 11.4.33), which [`Structure::parse_sized`]
/// parses: an RSA ciphertext, or an ephemeral point (`TPMS_ECC_POINT`). At most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncryptedSecret(pub Buffer);

/// The header of tpm2-tools' credential files.
const FILE_MAGIC: u32 = 0xbadc_c0de;
const FILE_VERSION: u32 = 1;

/// The largest `TPM2B_DIGEST`, with its size.
const MAX_IDENTITY: usize = 2 + MAX_DIGEST;

/// The size of a ciphertext under a 4096-bit modulus.
const MAX_ENCRYPTED_SECRET: usize = 512;

impl Wire for Credential {
    const NAME: &'static str = "credential file";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        let found = reader.u32()?;
        if found != FILE_MAGIC {
            return Err(TpmError::BadMagic { at, found });
        }
        let at = reader.at();
        let value = reader.u32()?;
        if value != FILE_VERSION {
            return Err(TpmError::UnknownSelector {
                at,
                value,
                what: "credential file version",
            });
        }
        let mut id_object = reader.sized("TPM2B_ID_OBJECT", 2 + MAX_DIGEST + MAX_IDENTITY)?;
        let mut encrypted_secret = reader.sized("TPM2B_ENCRYPTED_SECRET", MAX_ENCRYPTED_SECRET)?;
        Ok(Self {
            id_object: TpmsIdObject::read(&mut id_object)?,
            encrypted_secret: EncryptedSecret::read(&mut encrypted_secret)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FILE_MAGIC.to_be_bytes());
        out.extend_from_slice(&FILE_VERSION.to_be_bytes());
        out.extend(self.id_object.to_sized_bytes());
        out.extend(self.encrypted_secret.to_sized_bytes());
    }
}

impl Wire for TpmsIdObject {
    const NAME: &'static str = "TPMS_ID_OBJECT";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Ok(Self {
            integrity_hmac: reader.buffer_of("integrityHMAC", &[20, 32, 48, 64])?,
            enc_identity: remainder(reader, "encIdentity", MAX_IDENTITY)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.integrity_hmac.write(out);
        out.extend_from_slice(&self.enc_identity);
    }
}

impl Wire for EncryptedSecret {
    const NAME: &'static str = "TPM2B_ENCRYPTED_SECRET";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        remainder(reader, Self::NAME, MAX_ENCRYPTED_SECRET).map(EncryptedSecret)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// Takes all remaining bytes: at least one, and at most `limit`.
fn remainder(
    reader: &mut Reader<'_>,
    what: &'static str,
    limit: usize,
) -> Result<Buffer, TpmError> {
    let at = reader.at();
    let rest = reader.remainder();
    if rest.is_empty() || rest.len() > limit {
        return Err(TpmError::WrongSize {
            at,
            found: rest.len(),
            what,
        });
    }
    Buffer::new(rest)
}
