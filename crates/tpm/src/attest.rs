//! `TPMS_ATTEST`: the data that a TPM attests and signs.

use alloc::vec::Vec;

use crate::{
    TpmError,
    algorithm::{HashAlgorithm, numbers},
    name::read_name,
    pcr::TpmlPcrSelection,
    wire::{Buffer, MAX_DATA, Reader, Wire, put_u16},
};

/// `TPM_GENERATED_VALUE` (Part 2, 6.2): the first bytes of every structure that a TPM makes and
/// signs. A restricted key never signs external data that begins with it.
pub const TPM_GENERATED: u32 = 0xff54_4347;

/// `TPMS_ATTEST` (Part 2, 10.12.12).
///
/// Parsing verifies nothing: anyone can write these bytes. The checks, such as
/// [`check_quote`](crate::check_quote), return the attestation only if they accept it.
///
/// ```
/// use keyproof_tpm::{AttestType, Attested, Structure, TpmsAttest};
///
/// let attest = TpmsAttest::parse(include_bytes!("../tests/vectors/rsa2048/quote.tpms_attest.bin"))?;
/// assert_eq!(attest.attest_type(), AttestType::Quote);
/// assert_eq!(&attest.extra_data[..], include_bytes!("../tests/vectors/rsa2048/quote.nonce.bin"));
/// let Attested::Quote(quote) = &attest.attested else { unreachable!("its type says so") };
/// assert_eq!(quote.pcr_select.to_string(), "sha256:0,1,2,3,4,5,6,7,16");
/// println!("on for {} ms, reset {} times", attest.clock_info.clock, attest.clock_info.reset_count);
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsAttest {
    /// The qualified name of the signing key.
    pub qualified_signer: Buffer,
    /// Data supplied by the caller: the verifier's nonce, at most 66 bytes.
    pub extra_data: Buffer,
    /// The TPM's clock and counters.
    pub clock_info: TpmsClockInfo,
    /// The vendor's firmware version.
    pub firmware_version: u64,
    /// The attested data.
    pub attested: Attested,
}

/// `TPMU_ATTEST` (Part 2, 10.12.11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attested {
    /// `TPMS_CERTIFY_INFO`.
    Certify(TpmsCertifyInfo),
    /// `TPMS_COMMAND_AUDIT_INFO`.
    CommandAudit(TpmsCommandAuditInfo),
    /// `TPMS_CREATION_INFO`.
    Creation(TpmsCreationInfo),
    /// `TPMS_NV_CERTIFY_INFO`.
    Nv(TpmsNvCertifyInfo),
    /// `TPMS_NV_DIGEST_CERTIFY_INFO`.
    NvDigest(TpmsNvDigestCertifyInfo),
    /// `TPMS_QUOTE_INFO`.
    Quote(TpmsQuoteInfo),
    /// `TPMS_SESSION_AUDIT_INFO`.
    SessionAudit(TpmsSessionAuditInfo),
    /// `TPMS_TIME_ATTEST_INFO`.
    Time(TpmsTimeAttestInfo),
}

/// `TPMS_CERTIFY_INFO` (Part 2, 10.12.3): an object loaded in the TPM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsCertifyInfo {
    /// The object's Name.
    pub name: Buffer,
    /// The object's qualified name.
    pub qualified_name: Buffer,
}

/// `TPMS_COMMAND_AUDIT_INFO` (Part 2, 10.12.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsCommandAuditInfo {
    /// The number of times that the audit digest was extended.
    pub audit_counter: u64,
    /// The hash algorithm of the audit.
    pub digest_alg: HashAlgorithm,
    /// The audit digest.
    pub audit_digest: Buffer,
    /// The digest of the command codes that are audited.
    pub command_digest: Buffer,
}

/// `TPMS_CREATION_INFO` (Part 2, 10.12.7): an object created by the TPM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsCreationInfo {
    /// The object's Name.
    pub object_name: Buffer,
    /// The digest of its [`TpmsCreationData`](crate::TpmsCreationData), computed with the object's
    /// name algorithm.
    pub creation_hash: Buffer,
}

/// `TPMS_NV_CERTIFY_INFO` (Part 2, 10.12.8): the contents of an NV index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsNvCertifyInfo {
    /// The index's Name.
    pub index_name: Buffer,
    /// The offset of the contents in the index.
    pub offset: u16,
    /// The contents, at most 4,096 bytes.
    pub nv_contents: Buffer,
}

/// `TPMS_NV_DIGEST_CERTIFY_INFO` (Part 2, 10.12.9): the digest of the whole contents of an NV
/// index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsNvDigestCertifyInfo {
    /// The index's Name.
    pub index_name: Buffer,
    /// The digest of the contents, computed with the hash of the signing scheme.
    pub nv_digest: Buffer,
}

/// `TPMS_QUOTE_INFO` (Part 2, 10.12.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsQuoteInfo {
    /// The quoted registers.
    pub pcr_select: TpmlPcrSelection,
    /// The digest of their values in that order, computed with the hash of the signing scheme.
    pub pcr_digest: Buffer,
}

/// `TPMS_SESSION_AUDIT_INFO` (Part 2, 10.12.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsSessionAuditInfo {
    /// Whether no other command ran since the audit began.
    pub exclusive_session: bool,
    /// The session's audit digest.
    pub session_digest: Buffer,
}

/// `TPMS_TIME_ATTEST_INFO` (Part 2, 10.12.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmsTimeAttestInfo {
    /// Milliseconds since the TPM was last started (`TPMS_TIME_INFO`, 10.11.6).
    pub time: u64,
    /// The clock and counters, never obfuscated.
    pub clock_info: TpmsClockInfo,
    /// The vendor's firmware version, never obfuscated.
    pub firmware_version: u64,
}

/// `TPMS_CLOCK_INFO` (Part 2, 10.11.1). A verifier stores the one from a key's last accepted
/// attestation and passes it as `last_seen` to the next check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct TpmsClockInfo {
    /// Milliseconds for which the TPM has been powered.
    pub clock: u64,
    /// TPM resets since the last `TPM2_Clear`.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no higher value of `clock` was reported before.
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

/// At least the largest `MAX_NV_BUFFER_SIZE` of any TPM, which is usually 2,048.
const MAX_NV_BUFFER: usize = 4096;

impl TpmsAttest {
    /// Returns the type of attestation.
    pub fn attest_type(&self) -> AttestType {
        match &self.attested {
            Attested::Certify(_) => AttestType::Certify,
            Attested::CommandAudit(_) => AttestType::CommandAudit,
            Attested::Creation(_) => AttestType::Creation,
            Attested::Nv(_) => AttestType::Nv,
            Attested::NvDigest(_) => AttestType::NvDigest,
            Attested::Quote(_) => AttestType::Quote,
            Attested::SessionAudit(_) => AttestType::SessionAudit,
            Attested::Time(_) => AttestType::Time,
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
        Ok(Self {
            qualified_signer: read_name(reader)?,
            extra_data: reader.buffer("TPM2B_DATA", MAX_DATA)?,
            clock_info: TpmsClockInfo::read(reader)?,
            firmware_version: reader.u64()?,
            attested: Attested::read(attest_type, reader)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&TPM_GENERATED.to_be_bytes());
        put_u16(out, self.attest_type().id());
        self.qualified_signer.write(out);
        self.extra_data.write(out);
        self.clock_info.write(out);
        out.extend_from_slice(&self.firmware_version.to_be_bytes());
        self.attested.write(out);
    }
}

impl Attested {
    fn read(attest_type: AttestType, reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Ok(match attest_type {
            AttestType::Certify => Self::Certify(TpmsCertifyInfo {
                name: read_name(reader)?,
                qualified_name: read_name(reader)?,
            }),
            AttestType::CommandAudit => Self::CommandAudit(TpmsCommandAuditInfo {
                audit_counter: reader.u64()?,
                digest_alg: HashAlgorithm::read(reader)?,
                audit_digest: reader.digest()?,
                command_digest: reader.digest()?,
            }),
            AttestType::Creation => Self::Creation(TpmsCreationInfo {
                object_name: read_name(reader)?,
                creation_hash: reader.digest()?,
            }),
            AttestType::Nv => Self::Nv(TpmsNvCertifyInfo {
                index_name: read_name(reader)?,
                offset: reader.u16()?,
                nv_contents: reader.buffer("TPM2B_MAX_NV_BUFFER", MAX_NV_BUFFER)?,
            }),
            AttestType::NvDigest => Self::NvDigest(TpmsNvDigestCertifyInfo {
                index_name: read_name(reader)?,
                nv_digest: reader.digest()?,
            }),
            AttestType::Quote => Self::Quote(TpmsQuoteInfo {
                pcr_select: TpmlPcrSelection::read(reader)?,
                pcr_digest: reader.digest()?,
            }),
            AttestType::SessionAudit => Self::SessionAudit(TpmsSessionAuditInfo {
                exclusive_session: reader.yes_no()?,
                session_digest: reader.digest()?,
            }),
            AttestType::Time => Self::Time(TpmsTimeAttestInfo {
                time: reader.u64()?,
                clock_info: TpmsClockInfo::read(reader)?,
                firmware_version: reader.u64()?,
            }),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Certify(body) => {
                body.name.write(out);
                body.qualified_name.write(out);
            }
            Self::CommandAudit(body) => {
                out.extend_from_slice(&body.audit_counter.to_be_bytes());
                put_u16(out, body.digest_alg.id());
                body.audit_digest.write(out);
                body.command_digest.write(out);
            }
            Self::Creation(body) => {
                body.object_name.write(out);
                body.creation_hash.write(out);
            }
            Self::Nv(body) => {
                body.index_name.write(out);
                put_u16(out, body.offset);
                body.nv_contents.write(out);
            }
            Self::NvDigest(body) => {
                body.index_name.write(out);
                body.nv_digest.write(out);
            }
            Self::Quote(body) => {
                body.pcr_select.write(out);
                body.pcr_digest.write(out);
            }
            Self::SessionAudit(body) => {
                out.push(body.exclusive_session.into());
                body.session_digest.write(out);
            }
            Self::Time(body) => {
                out.extend_from_slice(&body.time.to_be_bytes());
                body.clock_info.write(out);
                out.extend_from_slice(&body.firmware_version.to_be_bytes());
            }
        }
    }
}

impl TpmsClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Ok(Self {
            clock: reader.u64()?,
            reset_count: reader.u32()?,
            restart_count: reader.u32()?,
            safe: reader.yes_no()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.clock.to_be_bytes());
        out.extend_from_slice(&self.reset_count.to_be_bytes());
        out.extend_from_slice(&self.restart_count.to_be_bytes());
        out.push(self.safe.into());
    }
}
