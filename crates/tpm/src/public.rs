//! `TPMT_PUBLIC`: the public area of a key.

use alloc::vec::Vec;

use crate::{
    TpmError,
    algorithm::{EccCurve, HashAlgorithm, numbers},
    attributes::ObjectAttributes,
    wire::{ALG_NULL, Buffer, Reader, Structure, Wire, put_u16},
};

/// `TPMT_PUBLIC` (Part 2, 12.2.4) of an asymmetric key.
///
/// [`Structure::parse_sized`] parses its `TPM2B_PUBLIC` form (12.2.5).
///
/// ```
/// use keyproof_tpm::{AttestationKeyPolicy, AttestationTemplate, Structure, TpmtPublic};
///
/// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
/// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
/// assert!(AttestationKeyPolicy::default().check(&ak).accepted() && !AttestationKeyPolicy::default().check(&ek).accepted());
/// // From a bare key (SubjectPublicKeyInfo) and the template under which it was made.
/// assert_eq!(TpmtPublic::endorsement_from_spki(include_bytes!("../tests/vectors/rsa2048/ek.pub.spki.der"))?, ek);
/// let template = AttestationTemplate::below(&ek)?;
/// assert_eq!(TpmtPublic::attestation_from_spki(include_bytes!("../tests/vectors/rsa2048/ak.pub.spki.der"), &template)?, ak);
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TpmtPublic {
    /// The algorithm of the object's Name. `None` is `TPM_ALG_NULL`: the object has no Name.
    pub name_alg: Option<HashAlgorithm>,
    /// The permitted uses of the key, and its binding to the TPM.
    pub object_attributes: ObjectAttributes,
    /// The digest of the policy: empty, or the size of a digest of the name algorithm.
    pub auth_policy: Buffer,
    /// The key type, its parameters and the key itself.
    pub key: PublicKey,
}

/// `TPMU_PUBLIC_PARMS` and `TPMU_PUBLIC_ID` (Part 2, 12.2.3.7 and 12.2.3.2) of an asymmetric key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// `TPM_ALG_ECC`.
    Ecc(EccPublic),
    /// `TPM_ALG_RSA`.
    Rsa(RsaPublic),
}

/// `TPMS_RSA_PARMS` (Part 2, 12.2.3.5) and the modulus.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RsaPublic {
    /// The cipher that protects child objects. Only restricted decryption keys have one.
    pub symmetric: Option<SymmetricObject>,
    /// The key's fixed scheme; `None` leaves the choice to each use.
    pub scheme: Option<RsaScheme>,
    /// 1024, 2048, 3072 or 4096.
    pub key_bits: u16,
    /// The public exponent; 0 stands for 65537.
    pub exponent: u32,
    /// The modulus, big-endian: `key_bits` bits, or empty in a template.
    pub modulus: Buffer,
}

/// `TPMS_ECC_PARMS` (Part 2, 12.2.3.6) and the point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EccPublic {
    /// The cipher that protects child objects. Only restricted decryption keys have one.
    pub symmetric: Option<SymmetricObject>,
    /// The key's fixed scheme; `None` leaves the choice to each use.
    pub scheme: Option<EccScheme>,
    /// The curve.
    pub curve: EccCurve,
    /// The key derivation scheme. No TPM uses it yet.
    pub kdf: Option<KdfScheme>,
    /// The point's x coordinate, big-endian, at most the curve's coordinate size.
    pub x: Buffer,
    /// The point's y coordinate, in the same form.
    pub y: Buffer,
}

/// `TPMT_SYM_DEF_OBJECT` (Part 2, 11.1.7) without its NULL form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SymmetricObject {
    /// The block cipher.
    pub algorithm: SymmetricAlgorithm,
    /// Its key size in bits.
    pub key_bits: u16,
    /// Its mode; `None` leaves the choice to each use.
    pub mode: Option<SymmetricMode>,
}

/// `TPMT_RSA_SCHEME` (Part 2, 11.2.4.2) without its NULL form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RsaScheme {
    /// RSAES-OAEP.
    Oaep(HashAlgorithm),
    /// RSAES-PKCS1-v1_5.
    Rsaes,
    /// RSASSA-PSS.
    Rsapss(HashAlgorithm),
    /// RSASSA-PKCS1-v1_5.
    Rsassa(HashAlgorithm),
}

/// `TPMT_ECC_SCHEME` (Part 2, 11.2.5.6) without its NULL form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EccScheme {
    /// ECDAA, direct anonymous attestation, with its commit counter.
    Ecdaa(HashAlgorithm, u16),
    /// One-pass key agreement.
    Ecdh(HashAlgorithm),
    /// ECDSA.
    Ecdsa(HashAlgorithm),
    /// Two-phase key agreement.
    Ecmqv(HashAlgorithm),
    /// EC Schnorr.
    Ecschnorr(HashAlgorithm),
    /// SM2 signatures.
    Sm2(HashAlgorithm),
}

/// `TPMT_KDF_SCHEME` (Part 2, 11.2.3.3) without its NULL form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KdfScheme {
    /// The derivation.
    pub algorithm: KdfAlgorithm,
    /// Its hash.
    pub hash: HashAlgorithm,
}

numbers! {
    /// `TPMI_ALG_SYM_OBJECT` (Part 2, 9.30).
    SymmetricAlgorithm, "TPMI_ALG_SYM_OBJECT" {
        /// Triple DES.
        Tdes = 0x0003, "tdes";
        /// AES.
        Aes = 0x0006, "aes";
        /// SM4.
        Sm4 = 0x0013, "sm4";
        /// Camellia.
        Camellia = 0x0026, "camellia";
    }
}

numbers! {
    /// `TPMI_ALG_SYM_MODE` (Part 2, 9.31).
    SymmetricMode, "TPMI_ALG_SYM_MODE" {
        /// Counter.
        Ctr = 0x0040, "ctr";
        /// Output feedback.
        Ofb = 0x0041, "ofb";
        /// Cipher block chaining.
        Cbc = 0x0042, "cbc";
        /// Cipher feedback of whole blocks.
        Cfb = 0x0043, "cfb";
        /// Electronic codebook.
        Ecb = 0x0044, "ecb";
    }
}

numbers! {
    /// `TPMI_ALG_KDF` (Part 2, 9.32).
    KdfAlgorithm, "TPMI_ALG_KDF" {
        /// MGF1 of IEEE 1363.
        Mgf1 = 0x0007, "mgf1";
        /// The concatenation KDF of SP 800-56A.
        Kdf1Sp800_56a = 0x0020, "kdf1_sp800_56a";
        /// KDF2 of IEEE 1363a.
        Kdf2 = 0x0021, "kdf2";
        /// The counter mode of SP 800-108.
        Kdf1Sp800_108 = 0x0022, "kdf1_sp800_108";
    }
}

const ALG_RSA: u16 = 0x0001;
pub(crate) const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
pub(crate) const ALG_RSAPSS: u16 = 0x0016;
const ALG_OAEP: u16 = 0x0017;
pub(crate) const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDH: u16 = 0x0019;
const ALG_ECDAA: u16 = 0x001a;
const ALG_SM2: u16 = 0x001b;
const ALG_ECSCHNORR: u16 = 0x001c;
const ALG_ECMQV: u16 = 0x001d;
const ALG_ECC: u16 = 0x0023;

impl TpmtPublic {
    /// Parses either form of a file: `TPM2B_PUBLIC` or the bare `TPMT_PUBLIC`.
    ///
    /// The forms cannot be confused. The second 16-bit number is the type in one form and the name
    /// algorithm in the other, and no type equals a hash algorithm.
    ///
    /// # Errors
    ///
    /// The parsing variants of [`TpmError`].
    pub fn parse_any(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        reader.u16()?;
        if matches!(reader.u16()?, ALG_RSA | ALG_ECC) {
            Self::parse_sized(bytes)
        } else {
            Self::parse(bytes)
        }
    }
}

impl Wire for TpmtPublic {
    const NAME: &'static str = "TPMT_PUBLIC";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let type_at = reader.at();
        let key_type = reader.u16()?;
        if !matches!(key_type, ALG_RSA | ALG_ECC) {
            return Err(unknown("TPMI_ALG_PUBLIC", key_type, type_at));
        }
        let name_alg = reader.unless_null(HashAlgorithm::read)?;
        let object_attributes = ObjectAttributes::read(reader)?;
        let policy_size = name_alg.map_or(0, HashAlgorithm::digest_size);
        let auth_policy = reader.buffer_of("authPolicy", &[0, policy_size])?;
        let key = if key_type == ALG_RSA {
            PublicKey::Rsa(RsaPublic::read(reader)?)
        } else {
            PublicKey::Ecc(EccPublic::read(reader)?)
        };
        Ok(Self {
            name_alg,
            object_attributes,
            auth_policy,
            key,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let key_type = match self.key {
            PublicKey::Ecc(_) => ALG_ECC,
            PublicKey::Rsa(_) => ALG_RSA,
        };
        put_u16(out, key_type);
        put_u16(out, self.name_alg.map_or(ALG_NULL, HashAlgorithm::id));
        out.extend_from_slice(&self.object_attributes.bits().to_be_bytes());
        self.auth_policy.write(out);
        match &self.key {
            PublicKey::Ecc(key) => key.write(out),
            PublicKey::Rsa(key) => key.write(out),
        }
    }
}

impl RsaPublic {
    /// Returns the exponent that the key uses: 65,537 where the structure contains 0 (Part 2,
    /// `TPMS_RSA_PARMS`).
    pub fn effective_exponent(&self) -> u32 {
        if self.exponent == 0 {
            65_537
        } else {
            self.exponent
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let symmetric = reader.unless_null(SymmetricObject::read)?;
        let scheme = reader.unless_null(RsaScheme::read)?;
        let bits_at = reader.at();
        let key_bits = reader.u16()?;
        if !matches!(key_bits, 1024 | 2048 | 3072 | 4096) {
            return Err(unknown("TPMI_RSA_KEY_BITS", key_bits, bits_at));
        }
        let exponent = reader.u32()?;
        let modulus = reader.buffer_of("TPM2B_PUBLIC_KEY_RSA", &[0, usize::from(key_bits / 8)])?;
        Ok(Self {
            symmetric,
            scheme,
            key_bits,
            exponent,
            modulus,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        SymmetricObject::write(self.symmetric, out);
        match self.scheme {
            None => put_u16(out, ALG_NULL),
            Some(RsaScheme::Rsaes) => put_u16(out, ALG_RSAES),
            Some(RsaScheme::Oaep(hash)) => put_pair(out, ALG_OAEP, hash.id()),
            Some(RsaScheme::Rsapss(hash)) => put_pair(out, ALG_RSAPSS, hash.id()),
            Some(RsaScheme::Rsassa(hash)) => put_pair(out, ALG_RSASSA, hash.id()),
        }
        put_u16(out, self.key_bits);
        out.extend_from_slice(&self.exponent.to_be_bytes());
        self.modulus.write(out);
    }
}

impl EccPublic {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let symmetric = reader.unless_null(SymmetricObject::read)?;
        let scheme = reader.unless_null(EccScheme::read)?;
        let curve = EccCurve::read(reader)?;
        let kdf = reader.unless_null(KdfScheme::read)?;
        let x = reader.buffer("TPM2B_ECC_PARAMETER", curve.coordinate_size())?;
        let y = reader.buffer("TPM2B_ECC_PARAMETER", curve.coordinate_size())?;
        Ok(Self {
            symmetric,
            scheme,
            curve,
            kdf,
            x,
            y,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        SymmetricObject::write(self.symmetric, out);
        match self.scheme {
            None => put_u16(out, ALG_NULL),
            Some(EccScheme::Ecdaa(hash, count)) => {
                put_pair(out, ALG_ECDAA, hash.id());
                put_u16(out, count);
            }
            Some(EccScheme::Ecdh(hash)) => put_pair(out, ALG_ECDH, hash.id()),
            Some(EccScheme::Ecdsa(hash)) => put_pair(out, ALG_ECDSA, hash.id()),
            Some(EccScheme::Ecmqv(hash)) => put_pair(out, ALG_ECMQV, hash.id()),
            Some(EccScheme::Ecschnorr(hash)) => put_pair(out, ALG_ECSCHNORR, hash.id()),
            Some(EccScheme::Sm2(hash)) => put_pair(out, ALG_SM2, hash.id()),
        }
        put_u16(out, self.curve.id());
        match self.kdf {
            None => put_u16(out, ALG_NULL),
            Some(kdf) => put_pair(out, kdf.algorithm.id(), kdf.hash.id()),
        }
        self.x.write(out);
        self.y.write(out);
    }
}

impl SymmetricObject {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let algorithm = SymmetricAlgorithm::read(reader)?;
        let bits_at = reader.at();
        let key_bits = reader.u16()?;
        let known = match algorithm {
            SymmetricAlgorithm::Aes | SymmetricAlgorithm::Camellia => {
                matches!(key_bits, 128 | 192 | 256)
            }
            SymmetricAlgorithm::Sm4 => key_bits == 128,
            SymmetricAlgorithm::Tdes => matches!(key_bits, 128 | 192),
        };
        if !known {
            return Err(unknown("TPMU_SYM_KEY_BITS", key_bits, bits_at));
        }
        Ok(Self {
            algorithm,
            key_bits,
            mode: reader.unless_null(SymmetricMode::read)?,
        })
    }

    fn write(symmetric: Option<Self>, out: &mut Vec<u8>) {
        match symmetric {
            None => put_u16(out, ALG_NULL),
            Some(symmetric) => {
                put_pair(out, symmetric.algorithm.id(), symmetric.key_bits);
                put_u16(out, symmetric.mode.map_or(ALG_NULL, SymmetricMode::id));
            }
        }
    }
}

impl RsaScheme {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        Ok(match reader.u16()? {
            ALG_RSASSA => Self::Rsassa(HashAlgorithm::read(reader)?),
            ALG_RSAES => Self::Rsaes,
            ALG_RSAPSS => Self::Rsapss(HashAlgorithm::read(reader)?),
            ALG_OAEP => Self::Oaep(HashAlgorithm::read(reader)?),
            other => return Err(unknown("TPMI_ALG_RSA_SCHEME", other, at)),
        })
    }
}

impl EccScheme {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        Ok(match reader.u16()? {
            ALG_ECDSA => Self::Ecdsa(HashAlgorithm::read(reader)?),
            ALG_ECDH => Self::Ecdh(HashAlgorithm::read(reader)?),
            ALG_ECDAA => Self::Ecdaa(HashAlgorithm::read(reader)?, reader.u16()?),
            ALG_SM2 => Self::Sm2(HashAlgorithm::read(reader)?),
            ALG_ECSCHNORR => Self::Ecschnorr(HashAlgorithm::read(reader)?),
            ALG_ECMQV => Self::Ecmqv(HashAlgorithm::read(reader)?),
            other => return Err(unknown("TPMI_ALG_ECC_SCHEME", other, at)),
        })
    }
}

impl KdfScheme {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let algorithm = KdfAlgorithm::read(reader)?;
        let hash = HashAlgorithm::read(reader)?;
        Ok(Self { algorithm, hash })
    }
}

fn unknown(what: &'static str, value: u16, at: usize) -> TpmError {
    TpmError::UnknownSelector {
        at,
        value: value.into(),
        what,
    }
}

fn put_pair(out: &mut Vec<u8>, first: u16, second: u16) {
    put_u16(out, first);
    put_u16(out, second);
}
