//! Public keys: their kind, size and form.

use alloc::string::ToString;
use core::fmt;

use der::{
    Decode, Reader, SliceReader, Tag, Tagged,
    asn1::{ObjectIdentifier, UintRef},
};

use crate::{
    X509Error,
    algorithm::{
        AlgorithmIdentifier, Hash, ID_EC_PUBLIC_KEY, ID_ED25519, ID_RSA_ENCRYPTION, ID_RSASSA_PSS,
        PssHash,
    },
    certificate::whole_octets,
    error::ParametersProblem,
    reader::{read_whole, received},
};

/// The minimum size of an RSA key in bits. "2048-bit" keys may have a modulus whose top bits are zero, and Azure's service accepts
/// such keys.
pub const RSA_MINIMUM_BITS: u32 = 2041;

/// The maximum size of an RSA key in bits, because the verification time grows with its square.
pub const RSA_MAXIMUM_BITS: u32 = 8192;

/// A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) as received.
///
/// ```
/// use keyproof_x509::{Certificate, KeyKind, SubjectPublicKeyInfo};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/rsa2048-ca.der"))?;
/// let key = ca.public_key();
/// assert_eq!((key.kind()?, key.bits()), (KeyKind::Rsa, Some(2048)));
/// assert_eq!(SubjectPublicKeyInfo::from_der(key.as_der())?.key(), key.key()); // as written by `openssl pkey -pubout`
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SubjectPublicKeyInfo<'a> {
    der: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    key: &'a [u8],
}

impl<'a> SubjectPublicKeyInfo<'a> {
    /// Parses a SubjectPublicKeyInfo from DER. No data may follow it.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        read_whole(der, "SubjectPublicKeyInfo", |reader, _| Self::read(reader))
    }

    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let (der, (algorithm, key)) = received(reader, |reader| {
            reader
                .sequence(|reader| Ok((AlgorithmIdentifier::read(reader)?, whole_octets(reader)?)))
        })?;
        Ok(Self {
            der,
            algorithm,
            key,
        })
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns the algorithm of the key.
    pub fn algorithm(&self) -> AlgorithmIdentifier<'a> {
        self.algorithm
    }

    /// Returns the octets of subjectPublicKey: an RSAPublicKey, a point, or an Ed25519 key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Returns the kind of key.
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmParameters`] and [`X509Error::AlgorithmUnsupported`].
    pub fn kind(&self) -> Result<KeyKind, X509Error> {
        let oid = self.algorithm.oid();
        if oid == ID_RSA_ENCRYPTION {
            // RFC 3279 section 2.3.1: NULL, never absent.
            return match self.algorithm.parameters() {
                Some(parameters) if parameters.is_null() => Ok(KeyKind::Rsa),
                _ => Err(self.algorithm.parameters_error(ParametersProblem::NotNull)),
            };
        }
        if oid == ID_EC_PUBLIC_KEY {
            return self.curve().map(KeyKind::Ec);
        }
        if oid == ID_ED25519 {
            self.algorithm.expect_absent()?;
            return Ok(KeyKind::Ed25519);
        }
        if oid == ID_RSASSA_PSS {
            return Ok(KeyKind::RsaPss);
        }
        Err(X509Error::AlgorithmUnsupported {
            algorithm: self.algorithm.to_string(),
        })
    }

    /// Returns the named curve of an EC key (RFC 5480 section 2.1.1).
    fn curve(&self) -> Result<Curve, X509Error> {
        let named = self
            .algorithm
            .parameters()
            .filter(|parameters| parameters.tag() == Tag::ObjectIdentifier)
            .ok_or_else(|| {
                self.algorithm
                    .parameters_error(ParametersProblem::ExplicitCurve)
            })?;
        let curve = Curve::ALL
            .into_iter()
            .find(|curve| curve.oid().as_bytes() == named.value());
        curve.ok_or_else(|| X509Error::AlgorithmUnsupported {
            algorithm: match ObjectIdentifier::from_bytes(named.value()) {
                Ok(oid) => alloc::format!("{} on curve {oid}", self.algorithm),
                Err(_) => self.algorithm.to_string(),
            },
        })
    }

    /// Returns whether an RSASSA-PSS key allows a hash and a salt length (RFC 4055 section 3.3).
    pub(crate) fn allows_pss(&self, hash: Hash, salt_len: u32) -> bool {
        self.algorithm.parameters().is_none()
            || self.algorithm.pss().is_ok_and(|allowed| {
                allowed.hash == PssHash::Sha2(hash)
                    && allowed.mgf1_hash == PssHash::Sha2(hash)
                    && allowed.salt_len <= salt_len
            })
    }

    /// Returns the length of the longest possible RSASSA-PSS salt (RFC 8017 section 9.1.1 step 3).
    pub(crate) fn longest_pss_salt(&self, hash: Hash) -> Option<u32> {
        let encoded_len = self.rsa().ok()?.bits().checked_sub(1)?.div_ceil(8);
        encoded_len.checked_sub(hash.digest_len() + 2)
    }

    /// Returns the size in bits of the RSA modulus or the curve's order, or `None` for an unknown or malformed key.
    pub fn bits(&self) -> Option<u32> {
        match self.kind().ok()? {
            KeyKind::Ec(curve) => Some(curve.bits()),
            KeyKind::Ed25519 => Some(256),
            KeyKind::Rsa | KeyKind::RsaPss => self.rsa().ok().map(|rsa| rsa.bits()),
        }
    }

    /// Parses an RSA key.
    pub(crate) fn rsa(&self) -> Result<RsaPublicKey<'a>, X509Error> {
        read_whole(self.key, "RSAPublicKey", |reader, field| {
            reader.sequence(|reader| {
                *field = "modulus";
                let modulus = UintRef::decode(reader)?.as_bytes();
                *field = "publicExponent";
                let exponent = UintRef::decode(reader)?.as_bytes();
                Ok(RsaPublicKey { modulus, exponent })
            })
        })
    }

    /// Checks that the key is well-formed for its kind. EC points must be uncompressed, because providers differ in their support.
    /// An Ed25519 key must not be of small order, because anybody can sign for such a key. Whether a point is on its curve is not
    /// checked: providers do this when they verify a signature.
    ///
    /// ```
    /// use keyproof_x509::{Certificate, SubjectPublicKeyInfo, X509Error};
    ///
    /// let ca = Certificate::from_der(include_bytes!("../tests/data/ed25519-ca.der"))?;
    /// assert!(ca.public_key().check_key().is_ok());
    ///
    /// let mut neutral = ca.public_key().as_der().to_vec();
    /// neutral.truncate(12);
    /// neutral.push(1); // the neutral element, whose order is 1
    /// neutral.resize(44, 0);
    /// let refused = SubjectPublicKeyInfo::from_der(&neutral)?.check_key();
    /// assert!(matches!(refused, Err(X509Error::PublicKeyMalformed { .. })));
    /// # Ok::<(), X509Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmParameters`], [`X509Error::AlgorithmUnsupported`], [`X509Error::PublicKeyCompressed`] and
    /// [`X509Error::PublicKeyMalformed`].
    pub fn check_key(&self) -> Result<(), X509Error> {
        let well_formed = match self.kind()? {
            KeyKind::Ec(curve) if matches!(self.key, [0x02 | 0x03, x @ ..] if x.len() == curve.coordinate_len()) =>
            {
                return Err(X509Error::PublicKeyCompressed {
                    key: curve.to_string(),
                });
            }
            KeyKind::Ec(curve) => {
                self.key.first() == Some(&0x04) && self.key.len() == 1 + 2 * curve.coordinate_len()
            }
            KeyKind::Ed25519 => self.key.len() == 32 && !is_of_small_order(self.key),
            KeyKind::Rsa | KeyKind::RsaPss => self.rsa().is_ok(),
        };
        if well_formed {
            Ok(())
        } else {
            Err(X509Error::PublicKeyMalformed {
                key: self.algorithm.to_string(),
            })
        }
    }
}

/// Returns whether an encoded point of edwards25519 has an order of at most 8. Anybody can sign for such a key, and providers
/// accept it.
fn is_of_small_order(point: &[u8]) -> bool {
    /// The two y-coordinates of order 8, without the sign of x.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Some((high, low)) = point.split_last() else {
        return false;
    };
    let high = high & 0x7f;
    let (first, middle) = low.split_first().unwrap_or((&0, &[]));
    let is_repeated = |byte| middle.iter().all(|&other| other == byte);
    match (first, high) {
        // Orders 4 and 1.
        (0x00 | 0x01, 0x00) => is_repeated(0x00),
        // Order 2; and the prime and its successor, which are read as 0 and 1.
        (0xec..=0xee, 0x7f) => is_repeated(0xff),
        _ => ORDER_8.iter().any(|[y @ .., top]| y == low && *top == high),
    }
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyKind {
    /// An elliptic-curve key (RFC 5480).
    Ec(Curve),
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA for any use (RFC 3279 section 2.3.1).
    Rsa,
    /// RSA for RSASSA-PSS only (RFC 4055 section 1.2).
    RsaPss,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ec(curve) => curve.fmt(f),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa => f.write_str("RSA"),
            Self::RsaPss => f.write_str("RSA-PSS"),
        }
    }
}

/// A named curve (RFC 5480 section 2.1.1.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Curve {
    /// P-256, secp256r1.
    P256,
    /// P-384, secp384r1.
    P384,
    /// P-521, secp521r1.
    P521,
}

impl Curve {
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Returns the OID (RFC 5480 section 2.1.1.1).
    pub(crate) fn oid(self) -> &'static ObjectIdentifier {
        static P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        static P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        static P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
        match self {
            Self::P256 => &P256,
            Self::P384 => &P384,
            Self::P521 => &P521,
        }
    }

    /// Returns the size of the curve's order in bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// Returns the length of a coordinate in bytes.
    pub(crate) fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P-{}", self.bits())
    }
}

/// An RSAPublicKey (RFC 8017 appendix A.1.1): two positive numbers without leading zeros.
pub(crate) struct RsaPublicKey<'a> {
    modulus: &'a [u8],
    exponent: &'a [u8],
}

impl RsaPublicKey<'_> {
    pub(crate) fn bits(&self) -> u32 {
        let leading_zeros = self.modulus.first().map_or(8, |byte| byte.leading_zeros());
        u32::try_from(self.modulus.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(8)
            .saturating_sub(leading_zeros)
    }

    /// RFC 8017 section 3.1 requires an odd exponent of at least 3; the providers accept at most 33 bits.
    pub(crate) fn has_sound_exponent(&self) -> bool {
        match self.exponent {
            [] | [0 | 1] => false,
            [high, _, _, _, low] => *high <= 1 && low & 1 == 1,
            [.., low] => self.exponent.len() < 5 && low & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_of_small_order_is_refused() {
        let point = |text: &str| {
            let mut point = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
            point.resize(31, *point.last().unwrap());
            point
        };
        let sound = point("27e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc");
        for (low, tops, is_small) in [
            (point("00"), [0x00, 0x80], true),
            (point("0100"), [0x00, 0x80], true),
            (point("ecff"), [0x7f, 0xff], true),
            (point("edff"), [0x7f, 0xff], true),
            (point("eeff"), [0x7f, 0xff], true),
            (
                point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc"),
                [0x05, 0x85],
                true,
            ),
            (
                point("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03"),
                [0x7a, 0xfa],
                true,
            ),
            (sound, [0x05, 0x85], false),
            (point("0200"), [0x00, 0x80], false),
            (point("ebff"), [0x7f, 0xff], false),
            (point("0000"), [0x01, 0x81], false),
        ] {
            for top in tops {
                let key = [&*low, &[top]].concat();
                // RFC 8410 section 4.
                let head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
                let der = [head, &*key].concat();
                let info = SubjectPublicKeyInfo::from_der(&der).unwrap();
                assert_eq!(info.check_key().is_err(), is_small, "{key:02x?}");
            }
        }
    }
}
