//! `TPMS_ATTEST`: what a TPM says and signs.

use alloc::vec::Vec;

use crate::TpmError;
use crate::algorithm::numbers;
use crate::name::check_name;
use crate::pcr::TpmlPcrSelection;
use crate::wire::{Buffer, Reader, Wire, put_u16};

/// `TPM_GENERATED_VALUE` (Part 2, 6.2): what every structure that a TPM makes and signs begins with,
/// and what a restricted key never signs from outside.
pub const TPM_GENERATED: u32 = 0xff54_4347;

/// `TPMS_ATTEST` (Part 2, 10.12.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmsAttest {
    /// The qualified name of the signing key.
    pub qualified_signer: Buffer,
    /// The caller's data: the verifier's nonce, at most 66 bytes.
    pub extra_data: Buffer,
    /// The TPM's clock and counters.
    pub clock_info: TpmsClockInfo,
    /// The vendor's firmware version.
    pub firmware_version: u64,
    /// What is attested.
    pub attested: Attested,
}

/// `TPMU_ATTEST` (Part 2, 10.12.11).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attested {
    /// A type whose body is kept as it came.
    Other(AttestType, Vec<u8>),
    /// `TPMS_QUOTE_INFO`.
    Quote(TpmsQuoteInfo),
}

/// `TPMS_QUOTE_INFO` (Part 2, 10.12.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmsQuoteInfo {
    /// The registers quoted.
    pub pcr_select: TpmlPcrSelection,
    /// The digest of their values in that order, by the hash of the signing scheme.
    pub pcr_digest: Buffer,
}

/// `TPMS_CLOCK_INFO` (Part 2, 10.11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TpmsClockInfo {
    /// Milliseconds that the TPM has been powered.
    pub clock: u64,
    /// TPM resets since the last `TPM2_Clear`.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no value of `clock` above this one was reported before.
    pub safe: bool,
}

numbers! {
    /// `TPMI_ST_ATTEST` (Part 2, 10.12.10).
    AttestType, "TPMI_ST_ATTEST" {
        /// `TPM2_NV_Certify`.
        Nv = 0x8014, "TPM_ST_ATTEST_NV";
        /// `TPM2_GetCommandAuditDigest`.
        CommandAudit = 0x8015, "TPM_ST_ATTEST_COMMAND_AUDIT";
        /// `TPM2_GetSessionAuditDigest`.
        SessionAudit = 0x8016, "TPM_ST_ATTEST_SESSION_AUDIT";
        /// `TPM2_Certify`.
        Certify = 0x8017, "TPM_ST_ATTEST_CERTIFY";
        /// `TPM2_Quote`.
        Quote = 0x8018, "TPM_ST_ATTEST_QUOTE";
        /// `TPM2_GetTime`.
        Time = 0x8019, "TPM_ST_ATTEST_TIME";
        /// `TPM2_CertifyCreation`.
        Creation = 0x801a, "TPM_ST_ATTEST_CREATION";
        /// `TPM2_NV_Certify` of a digest.
        NvDigest = 0x801c, "TPM_ST_ATTEST_NV_DIGEST";
    }
}

/// The largest `TPM2B_DATA` (Part 2, 10.4.3): a `TPMT_HA` of SHA-512.
const MAX_DATA: usize = 66;

/// The largest digest, and so the longest `TPM2B_DIGEST`.
const MAX_DIGEST: usize = 64;

/// More than the largest body, an NV certification of one NV buffer.
const MAX_OTHER: usize = 4096;

impl TpmsAttest {
    /// What kind of attestation it is.
    pub fn attest_type(&self) -> AttestType {
        match &self.attested {
            Attested::Other(attest_type, _) => *attest_type,
            Attested::Quote(_) => AttestType::Quote,
        }
    }
}

impl Wire for TpmsAttest {
    const NAME: &'static str = "TPMS_ATTEST";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        let magic = reader.u32()?;
        if magic != TPM_GENERATED {
            return Err(TpmError::BadMagic { at, found: magic });
        }
        let attest_type = AttestType::read(reader)?;
        let signer_at = reader.at();
        let qualified_signer = reader.buffer("TPM2B_NAME", 2 + MAX_DIGEST)?;
        check_name(&qualified_signer, signer_at)?;
        let extra_data = reader.buffer("TPM2B_DATA", MAX_DATA)?;
        let clock_info = TpmsClockInfo::read(reader)?;
        let firmware_version = reader.u64()?;
        let attested = if attest_type == AttestType::Quote {
            Attested::Quote(TpmsQuoteInfo {
                pcr_select: TpmlPcrSelection::read(reader)?,
                pcr_digest: reader.buffer("TPM2B_DIGEST", MAX_DIGEST)?,
            })
        } else {
            let at = reader.at();
            let body = reader.remainder();
            if body.len() > MAX_OTHER {
                return Err(TpmError::WrongSize {
                    at,
                    found: body.len(),
                    what: "TPMU_ATTEST",
                });
            }
            Attested::Other(attest_type, body.to_vec())
        };
        Ok(TpmsAttest {
            qualified_signer,
            extra_data,
            clock_info,
            firmware_version,
            attested,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TPM_GENERATED.to_be_bytes());
        put_u16(out, self.attest_type().id());
        self.qualified_signer.write(out);
        self.extra_data.write(out);
        self.clock_info.write(out);
        out.extend_from_slice(&self.firmware_version.to_be_bytes());
        match &self.attested {
            Attested::Other(_, body) => out.extend_from_slice(body),
            Attested::Quote(quote) => {
                quote.pcr_select.write(out);
                quote.pcr_digest.write(out);
            }
        }
    }
}

impl TpmsClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let clock = reader.u64()?;
        let reset_count = reader.u32()?;
        let restart_count = reader.u32()?;
        let safe_at = reader.at();
        let safe = match reader.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(TpmError::UnknownSelector {
                    at: safe_at,
                    value: other.into(),
                    what: "TPMI_YES_NO",
                });
            }
        };
        Ok(TpmsClockInfo {
            clock,
            reset_count,
            restart_count,
            safe,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.clock.to_be_bytes());
        out.extend_from_slice(&self.reset_count.to_be_bytes());
        out.extend_from_slice(&self.restart_count.to_be_bytes());
        out.push(self.safe.into());
    }
}
