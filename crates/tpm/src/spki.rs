//! Conversion of public keys between X.509's SubjectPublicKeyInfo and the TPM's public area.

use alloc::vec::Vec;

use der::{
    Decode, Encode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
};

use crate::{
    TpmError,
    algorithm::EccCurve,
    public::{EccPublic, PublicKey, RsaPublic, TpmtPublic},
};

/// A public key without its TPM attributes or certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BareKey {
    /// A point. Its coordinates are padded to the curve's size.
    Ecc {
        curve: EccCurve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    /// A modulus without leading zeros, and an exponent.
    Rsa { modulus: Vec<u8>, exponent: u32 },
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// Some manufacturers' endorsement certificates use this OID instead of `rsaEncryption` (RFC 4055
/// section 4.1).
const RSAES_OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The supported curves and their OIDs (RFC 5480 section 2.1.1.1).
const CURVES: [(EccCurve, ObjectIdentifier); 3] = [
    (
        EccCurve::NistP256,
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    ),
    (
        EccCurve::NistP384,
        ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    ),
    (
        EccCurve::NistP521,
        ObjectIdentifier::new_unwrap("1.3.132.0.35"),
    ),
];

impl TpmtPublic {
    /// Encodes the key as a DER SubjectPublicKeyInfo (RFC 3279 section 2.3.1, RFC 5480 section 2).
    ///
    /// ```
    /// use keyproof_tpm::{Structure, TpmtPublic};
    ///
    /// let ak = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ak.pub.tpm2b"))?;
    /// let ek = TpmtPublic::parse_sized(include_bytes!("../tests/vectors/rsa2048/ek.pub.tpm2b"))?;
    /// assert_eq!(ak.to_spki()?, include_bytes!("../tests/vectors/rsa2048/ak.pub.spki.der"));
    /// assert!(!ak.is_same_key(&ek));
    /// # Ok::<(), keyproof_tpm::TpmError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TpmError::UnsupportedPublicKey`] for a template without a key, and for curves other than
    /// P-256, P-384 and P-521.
    pub fn to_spki(&self) -> Result<Vec<u8>, TpmError> {
        BareKey::of(self)?.to_spki()
    }

    /// Returns whether both contain the same key; other properties are ignored. Returns `false` for
    /// a template without a key.
    pub fn is_same_key(&self, other: &Self) -> bool {
        matches!((BareKey::of(self), BareKey::of(other)), (Ok(own), Ok(other)) if own == other)
    }

    /// Returns whether the public key is valid: an EC point must be on its curve, and an RSA
    /// modulus must be odd and of a size that aws-lc-rs accepts. No TPM can open a credential for
    /// an invalid key, but a CA might certify it.
    #[cfg(feature = "aws-lc-rs")]
    pub fn is_valid(&self) -> bool {
        use aws_lc_rs::signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
            ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
        };
        let algorithm: &'static dyn VerificationAlgorithm = match &self.key {
            PublicKey::Rsa(_) => &RSA_PKCS1_2048_8192_SHA256,
            PublicKey::Ecc(key) => match key.curve {
                EccCurve::NistP256 => &ECDSA_P256_SHA256_ASN1,
                EccCurve::NistP384 => &ECDSA_P384_SHA384_ASN1,
                EccCurve::NistP521 => &ECDSA_P521_SHA512_ASN1,
                _ => return false,
            },
        };
        self.to_spki()
            .is_ok_and(|spki| ParsedPublicKey::new(algorithm, spki).is_ok())
    }
}

impl BareKey {
    pub(crate) fn of(public: &TpmtPublic) -> Result<Self, TpmError> {
        match &public.key {
            PublicKey::Ecc(EccPublic { curve, x, y, .. }) => {
                let size = curve.coordinate_size();
                if x.is_empty() || y.is_empty() {
                    return Err(unsupported("it has no point"));
                }
                Ok(Self::Ecc {
                    curve: *curve,
                    x: padded(x, size),
                    y: padded(y, size),
                })
            }
            PublicKey::Rsa(rsa @ RsaPublic { modulus, .. }) => {
                // The top bit must be set: a shorter modulus is a weaker key than `key_bits`
                // suggests.
                if modulus.first().is_none_or(|first| first >> 7 == 0) {
                    return Err(unsupported("its modulus is shorter than its size"));
                }
                Ok(Self::Rsa {
                    modulus: modulus.to_vec(),
                    exponent: rsa.effective_exponent(),
                })
            }
        }
    }

    /// Parses a DER SubjectPublicKeyInfo strictly.
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, TpmError> {
        let mut reader = SliceReader::new(spki).map_err(not_der)?;
        let key = reader.sequence(Self::read).map_err(not_der)?;
        reader.finish().map_err(not_der)?;
        key
    }

    /// Reads the contents of a SubjectPublicKeyInfo.
    fn read<'a>(reader: &mut SliceReader<'a>) -> der::Result<Result<Self, TpmError>> {
        let (algorithm, parameters) = reader.sequence(|reader| {
            let algorithm = ObjectIdentifier::decode(reader)?;
            let parameters = if reader.is_finished() {
                None
            } else {
                Some(AnyRef::decode(reader)?)
            };
            Ok::<_, der::Error>((algorithm, parameters))
        })?;
        let bits = BitStringRef::decode(reader)?;
        let key = bits
            .as_bytes()
            .ok_or_else(|| Tag::BitString.value_error())?;
        match algorithm {
            RSA_ENCRYPTION if parameters != Some(AnyRef::NULL) => {
                Ok(Err(unsupported("its RSA parameters are not NULL")))
            }
            RSA_ENCRYPTION | RSAES_OAEP => rsa_from_der(key),
            EC_PUBLIC_KEY => Ok(point_from_octets(parameters, key)),
            _ => Ok(Err(unsupported("it is neither an RSA nor an EC key"))),
        }
    }

    pub(crate) fn to_spki(&self) -> Result<Vec<u8>, TpmError> {
        self.encode().map_err(|_| unsupported("it is too long"))?
    }

    fn encode(&self) -> der::Result<Result<Vec<u8>, TpmError>> {
        let (algorithm, key) = match self {
            Self::Ecc { curve, x, y } => {
                let Some((_, curve)) = CURVES.iter().find(|(known, _)| known == curve) else {
                    return Ok(Err(unsupported("its curve is not supported in X.509")));
                };
                let algorithm = sequence(&[&EC_PUBLIC_KEY.to_der()?, &curve.to_der()?])?;
                (algorithm, uncompressed(x, y))
            }
            Self::Rsa { modulus, exponent } => {
                let algorithm = sequence(&[&RSA_ENCRYPTION.to_der()?, &AnyRef::NULL.to_der()?])?;
                let modulus = UintRef::new(modulus)?.to_der()?;
                (algorithm, sequence(&[&modulus, &exponent.to_der()?])?)
            }
        };
        sequence(&[&algorithm, &BitStringRef::from_bytes(&key)?.to_der()?]).map(Ok)
    }
}

/// Encodes an ECDSA signature as X.509's Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
pub(crate) fn ecdsa_sig_value(r: &[u8], s: &[u8]) -> Result<Vec<u8>, TpmError> {
    let encode = || sequence(&[&UintRef::new(r)?.to_der()?, &UintRef::new(s)?.to_der()?]);
    encode().map_err(|_| unsupported("its signature is too long"))
}

/// Encodes an uncompressed point (SEC 1 section 2.3.3).
pub(crate) fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[0x04][..], x, y].concat()
}

/// Pads `bytes` with leading zeros to `size` bytes.
pub(crate) fn padded(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut padded = alloc::vec![0; size.saturating_sub(bytes.len())];
    padded.extend_from_slice(bytes);
    padded
}

fn rsa_from_der(key: &[u8]) -> der::Result<Result<BareKey, TpmError>> {
    let mut reader = SliceReader::new(key)?;
    let (modulus, exponent) = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        Ok::<_, der::Error>((modulus.as_bytes().to_vec(), UintRef::decode(reader)?))
    })?;
    reader.finish()?;
    // 65537 is the only exponent of endorsement and attestation keys (EK Credential Profile, Annex
    // B).
    Ok(match *exponent.as_bytes() {
        [1, 0, 1] => Ok(BareKey::Rsa {
            modulus,
            exponent: 65_537,
        }),
        _ => Err(unsupported("its RSA exponent is not 65537")),
    })
}

fn point_from_octets(parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<BareKey, TpmError> {
    let curve = parameters
        .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
        .and_then(|oid| CURVES.iter().find(|(_, known)| *known == oid))
        .map(|(curve, _)| *curve)
        .ok_or(unsupported("its curve is not P-256, P-384 or P-521"))?;
    let size = curve.coordinate_size();
    match key.split_first() {
        Some((0x04, point)) if point.len() == 2 * size => {
            let (x, y) = point.split_at(size);
            Ok(BareKey::Ecc {
                curve,
                x: x.to_vec(),
                y: y.to_vec(),
            })
        }
        _ => Err(unsupported("its point is not in uncompressed form")),
    }
}

fn sequence(parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &parts.concat())?.to_der()
}

fn not_der(_: der::Error) -> TpmError {
    unsupported("it is not the DER of a SubjectPublicKeyInfo")
}

pub(crate) fn unsupported(what: &'static str) -> TpmError {
    TpmError::UnsupportedPublicKey { what }
}
