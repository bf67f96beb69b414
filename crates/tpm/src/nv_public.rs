//! `TPMS_NV_PUBLIC`: the public area of an NV index.

use alloc::vec::Vec;

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    wire::{Buffer, Reader, Wire, put_u16},
};

/// `TPMS_NV_PUBLIC` (Part 2, 13.5), the public area of an NV index.
///
/// [`Structure::parse_sized`](crate::Structure::parse_sized) parses its `TPM2B_NV_PUBLIC` form
/// (13.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsNvPublic {
    /// The handle of the index.
    pub nv_index: u32,
    /// The hash algorithm of its Name and its policy.
    pub name_alg: HashAlgorithm,
    /// `TPMA_NV` (Part 2, 13.4).
    pub attributes: u32,
    /// The digest of the policy: empty, or the size of a digest of the name algorithm.
    pub auth_policy: Buffer,
    /// The size of its contents, in bytes.
    pub data_size: u16,
}

/// `TPMA_NV_WRITTEN`.
const WRITTEN: u32 = 1 << 29;

/// The reserved bits of `TPMA_NV`: 8, 9, and 20 to 24.
const RESERVED: u32 = 0x01f0_0300;

impl TpmsNvPublic {
    /// Returns whether the index has been written since it was defined.
    pub fn is_written(&self) -> bool {
        self.attributes & WRITTEN != 0
    }
}

impl Wire for TpmsNvPublic {
    const NAME: &'static str = "TPMS_NV_PUBLIC";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let nv_index = reader.u32()?;
        let name_alg = HashAlgorithm::read(reader)?;
        let at = reader.at();
        let attributes = reader.u32()?;
        match attributes & RESERVED {
            0 => {}
            found => return Err(TpmError::ReservedBits { at, found }),
        }
        Ok(Self {
            nv_index,
            name_alg,
            attributes,
            auth_policy: reader.buffer_of("authPolicy", &[0, name_alg.digest_size()])?,
            data_size: reader.u16()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nv_index.to_be_bytes());
        put_u16(out, self.name_alg.id());
        out.extend_from_slice(&self.attributes.to_be_bytes());
        self.auth_policy.write(out);
        put_u16(out, self.data_size);
    }
}
