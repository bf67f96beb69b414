//! `TPMS_CREATION_DATA`: the environment in which an object was created.

use alloc::vec::Vec;

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    name::{Hierarchy, read_name},
    pcr::TpmlPcrSelection,
    wire::{ALG_NULL, Buffer, MAX_DATA, Reader, Wire, put_u16},
};

/// `TPMS_CREATION_DATA` (Part 2, 15.1).
///
/// [`Structure::parse_sized`](crate::Structure::parse_sized) parses its `TPM2B_CREATION_DATA` form
/// (15.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsCreationData {
    /// The PCRs recorded at creation.
    pub pcr_select: TpmlPcrSelection,
    /// The digest of their values, computed with the object's name algorithm.
    pub pcr_digest: Buffer,
    /// `TPMA_LOCALITY` (Part 2, 8.5) at creation.
    pub locality: u8,
    /// The parent's name algorithm. `None` is `TPM_ALG_NULL`, for a primary object.
    pub parent_name_alg: Option<HashAlgorithm>,
    /// The parent's Name.
    pub parent_name: Buffer,
    /// The parent's qualified name.
    pub parent_qualified_name: Buffer,
    /// Data supplied by the creator, at most 66 bytes.
    pub outside_info: Buffer,
}

/// `TPMT_TK_CREATION` (Part 2, 10.7.3): a ticket that proves to the TPM that it created an object.
/// Only the TPM can verify it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmtTkCreation {
    /// The hierarchy of the object.
    pub hierarchy: Hierarchy,
    /// The TPM's HMAC over the object's Name and the hash of its creation data. Empty in the NULL
    /// ticket.
    pub digest: Buffer,
}

/// `TPM_ST_CREATION` (Part 2, 6.9).
const ST_CREATION: u16 = 0x8021;

impl Wire for TpmsCreationData {
    const NAME: &'static str = "TPMS_CREATION_DATA";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Ok(Self {
            pcr_select: TpmlPcrSelection::read(reader)?,
            pcr_digest: reader.digest()?,
            locality: reader.u8()?,
            parent_name_alg: reader.unless_null(HashAlgorithm::read)?,
            parent_name: read_name(reader)?,
            parent_qualified_name: read_name(reader)?,
            outside_info: reader.buffer("TPM2B_DATA", MAX_DATA)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.pcr_select.write(out);
        self.pcr_digest.write(out);
        out.push(self.locality);
        put_u16(
            out,
            self.parent_name_alg.map_or(ALG_NULL, HashAlgorithm::id),
        );
        self.parent_name.write(out);
        self.parent_qualified_name.write(out);
        self.outside_info.write(out);
    }
}

impl Wire for TpmtTkCreation {
    const NAME: &'static str = "TPMT_TK_CREATION";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let unknown = |at, value, what| Err(TpmError::UnknownSelector { at, value, what });
        let at = reader.at();
        let tag = reader.u16()?;
        if tag != ST_CREATION {
            return unknown(at, tag.into(), "TPM_ST_CREATION");
        }
        let at = reader.at();
        let handle = reader.u32()?;
        let Some(hierarchy) = Hierarchy::from_handle(handle) else {
            return unknown(at, handle, "TPMI_RH_HIERARCHY");
        };
        Ok(Self {
            hierarchy,
            digest: reader.digest()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_u16(out, ST_CREATION);
        out.extend_from_slice(&self.hierarchy.handle().to_be_bytes());
        self.digest.write(out);
    }
}
