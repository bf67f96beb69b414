//! The keys of an issuer, and verifying tokens with them.

use std::{fmt, ops::RangeInclusive};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, EcdsaVerificationAlgorithm,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use keyproof_x509::SubjectPublicKeyInfo;
use serde::Deserialize;
use serde_json::Value;

use super::{Claims, ExternalTokenError};

/// The lengths of RSA moduli, in bits, that the library supports. RFC 7518, section 3.3 requires at least 2,048.
const RSA_BITS: RangeInclusive<usize> = 2_048..=8_192;

/// The public keys of a JWK set that can verify tokens. All others are ignored (RFC 7517, section 5).
pub struct KeySet {
    keys: Vec<VerificationKey>,
    ignored: Vec<IgnoredKey>,
}

/// A key of a JWK set that cannot verify tokens. `Display` names it and says why.
#[derive(Debug)]
pub(super) struct IgnoredKey {
    id: Option<String>,
    reason: Reason,
}

/// Why a key cannot verify tokens.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("it is malformed")]
    Malformed,
    #[error("its point is not on its curve")]
    Point,
    #[error("it is not for verifying signatures")]
    Purpose,
    #[error("no RSA key has its modulus and exponent")]
    Rsa,
    #[error("its modulus has {0} bits, not {min} to {max}", min = RSA_BITS.start(), max = RSA_BITS.end())]
    RsaBits(usize),
    #[error("it is of small order: anybody can sign for it")]
    SmallOrder,
    #[error("its type, curve or algorithm is not supported, or a member is missing")]
    Unsupported,
}

struct VerificationKey {
    id: Option<String>,
    /// The algorithms that the key may verify. The key decides them, never a token.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Parses a JWK set (RFC 7517, section 5).
    ///
    /// # Errors
    ///
    /// The JSON is not an object with an array `keys`.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }

        // A derived struct is also parsed from an array of its members.
        if json.trim_ascii_start().starts_with(b"[") {
            return Err(serde::de::Error::custom("not an object"));
        }
        let Set { keys } = serde_json::from_slice(json)?;
        let mut set = Self {
            keys: Vec::new(),
            ignored: Vec::new(),
        };
        for json in keys {
            let id = json.get("kid").and_then(Value::as_str).map(str::to_owned);
            match VerificationKey::read(json) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.ignored.push(IgnoredKey { id, reason }),
            }
        }
        Ok(set)
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the keys of the set that cannot verify tokens.
    pub(super) fn ignored(&self) -> &[IgnoredKey] {
        &self.ignored
    }

    /// Returns those of the ignored keys that were meant to verify tokens, as far as is known. A key for encryption may be in any
    /// set.
    pub(super) fn unusable(&self) -> impl Iterator<Item = &IgnoredKey> {
        let ignored = self.ignored.iter();
        ignored.filter(|key| key.reason != Reason::Purpose)
    }

    /// Verifies a token's signature, issuer and audience, and returns its claims. Its validity period is not checked.
    ///
    /// # Errors
    ///
    /// [`ExternalTokenError`].
    pub fn verify(
        &self,
        token: &str,
        issuer: &str,
        audience: &str,
    ) -> Result<Claims, ExternalTokenError> {
        // Fails for an algorithm that the library does not know, in particular `none`.
        let header = decode_header(token).map_err(|_| ExternalTokenError::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: no critical parameter is supported.
            return Err(ExternalTokenError::Malformed);
        }
        let mut fitting = self.keys.iter().filter(|own| {
            own.algorithms.contains(&header.alg) && (header.kid.is_none() || header.kid == own.id)
        });
        // Without a `kid`, exactly one key must fit.
        let (Some(own), None) = (fitting.next(), fitting.next()) else {
            return Err(ExternalTokenError::Key);
        };
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["aud", "iss"]);
        // The library would use the machine's clock, but here time is an argument.
        validation.validate_exp = false;
        let token =
            decode::<Claims>(token, &own.key, &validation).map_err(|error| refusal(&error))?;
        Ok(token.claims)
    }
}

impl VerificationKey {
    fn read(json: Value) -> Result<Self, Reason> {
        let jwk: Jwk = serde_json::from_value(json).map_err(|_| Reason::Malformed)?;
        let common = &jwk.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !for_signatures {
            return Err(Reason::Purpose);
        }
        let mut algorithms = Vec::from(algorithms(&jwk.algorithm));
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| only == (*algorithm).into());
        }
        if algorithms.is_empty() {
            return Err(Reason::Unsupported);
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| Reason::Malformed)?;
        match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let bits = modulus_bits(n).ok_or(Reason::Malformed)?;
                if !RSA_BITS.contains(&bits) {
                    return Err(Reason::RsaBits(bits));
                }
                // An even modulus, or an exponent that is even, 1 or very long: the key would refuse every signature.
                let spki: Result<PublicKeyX509Der<'_>, _> =
                    RsaPublicKeyComponents { n, e }.as_der();
                let is_key = spki.is_ok_and(|spki| {
                    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki.as_ref()).is_ok()
                });
                if !is_key {
                    return Err(Reason::Rsa);
                }
            }
            DecodingKeyKind::SecretOrDer(point) => {
                // An uncompressed point, or an Ed25519 key. Coordinates keep their leading zeros (RFC 7518, section 6.2.1.2).
                let (length, curve): (_, Option<&'static EcdsaVerificationAlgorithm>) =
                    match algorithms.as_slice() {
                        [Algorithm::ES256] => (1 + 2 * 32, Some(&ECDSA_P256_SHA256_FIXED)),
                        [Algorithm::ES384] => (1 + 2 * 48, Some(&ECDSA_P384_SHA384_FIXED)),
                        _ => (32, None),
                    };
                if point.len() != length {
                    return Err(Reason::Malformed);
                }
                match curve {
                    // Otherwise the key would load, and refuse every signature.
                    Some(curve) if ParsedPublicKey::new(curve, point).is_err() => {
                        return Err(Reason::Point);
                    }
                    None if !is_sound_ed25519(point) => return Err(Reason::SmallOrder),
                    _ => {}
                }
            }
        }
        Ok(Self {
            id: common.key_id.clone(),
            algorithms,
            key,
        })
    }
}

/// Returns whether an Ed25519 key of 32 bytes is not of small order. The libraries decode the point only when they verify, and
/// export no check of it alone: bytes that are no point load, and refuse every signature.
fn is_sound_ed25519(key: &[u8]) -> bool {
    let parsed = ParsedPublicKey::new(&ED25519, key).ok();
    let spki: Option<PublicKeyX509Der<'_>> = parsed.and_then(|key| key.as_der().ok());
    spki.is_some_and(|spki| {
        let spki = SubjectPublicKeyInfo::from_der(spki.as_ref());
        spki.is_ok_and(|spki| spki.check_key().is_ok())
    })
}

/// Returns the length of an RSA modulus in bits. RFC 7518, section 6.3.1.1 forbids leading zeros, and the library refuses them.
fn modulus_bits(modulus: &[u8]) -> Option<usize> {
    let first = modulus.first().filter(|first| **first != 0)?;
    let zeros = usize::try_from(first.leading_zeros()).ok()?;
    modulus.len().checked_mul(8)?.checked_sub(zeros)
}

impl fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, reason } = self;
        match id {
            Some(id) => write!(f, "key {id:?}: {reason}"),
            None => write!(f, "a key without kid: {reason}"),
        }
    }
}

/// Returns the algorithms that a key of this kind can verify (RFC 7518, section 3.1; RFC 8037, section 3.1).
fn algorithms(key: &AlgorithmParameters) -> &'static [Algorithm] {
    match key {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    }
}

/// Returns the `iss` of an unverified token, only to find the keys.
pub(super) fn unverified_issuer(token: &str) -> Result<String, ExternalTokenError> {
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token)
        .map_err(|_| ExternalTokenError::Malformed)?;
    match claims.get("iss") {
        Some(Value::String(issuer)) => Ok(issuer.clone()),
        _ => Err(ExternalTokenError::Malformed),
    }
}

fn refusal(error: &Error) -> ExternalTokenError {
    match error.kind() {
        ErrorKind::InvalidAudience => ExternalTokenError::Audience,
        ErrorKind::InvalidIssuer => ExternalTokenError::Issuer,
        ErrorKind::InvalidSignature => ExternalTokenError::Signature,
        _ => ExternalTokenError::Malformed,
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_object_is_a_set() {
        assert!(KeySet::parse(br#" {"keys": []}"#).unwrap().is_empty());
        for other in ["[[]]", " \n[[]]", "{}", "null", r#"{"keys": {}}"#] {
            assert!(KeySet::parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_key_that_cannot_verify_tokens_is_ignored_by_reason() {
        let rsa = |first: u8, length: usize| {
            let mut modulus = vec![0xff; length];
            modulus[0] = first;
            json!({"kty": "RSA", "n": BASE64URL_NOPAD.encode(&modulus), "e": "AQAB"})
        };
        let changed = |member: &str, value: &[u8]| {
            let mut key = rsa(0xff, 256);
            key[member] = BASE64URL_NOPAD.encode(value).into();
            key
        };
        let ec = |curve: &str, length: usize| {
            let coordinate = BASE64URL_NOPAD.encode(&vec![7_u8; length]);
            json!({"kty": "EC", "crv": curve, "x": coordinate, "y": coordinate})
        };
        let ed25519 = |low: u8| {
            let mut point = [0; 32];
            point[0] = low;
            json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(&point)})
        };
        let for_encryption = |member: &str, value: &str| {
            let mut key = rsa(0xff, 256);
            key[member] = value.into();
            key
        };
        let unsupported = "its type, curve or algorithm is not supported, or a member is missing";
        for (mut key, reason) in [
            (rsa(0x80, 256), ""),
            (rsa(0xff, 1_024), ""),
            (
                rsa(0xff, 128),
                "its modulus has 1024 bits, not 2048 to 8192",
            ),
            (
                rsa(0x7f, 256),
                "its modulus has 2047 bits, not 2048 to 8192",
            ),
            (
                rsa(0x01, 1_025),
                "its modulus has 8193 bits, not 2048 to 8192",
            ),
            (rsa(0, 257), "it is malformed"),
            (
                changed("n", &[0xfe; 256]),
                "no RSA key has its modulus and exponent",
            ),
            (
                changed("e", &[1]),
                "no RSA key has its modulus and exponent",
            ),
            (
                changed("e", &[1, 0]),
                "no RSA key has its modulus and exponent",
            ),
            (
                json!({"kty": "RSA", "n": "", "e": "AQAB"}),
                "it is malformed",
            ),
            (
                json!({"kty": "RSA", "n": "+", "e": "AQAB"}),
                "it is malformed",
            ),
            (ec("P-256", 31), "it is malformed"),
            (ec("P-256", 32), "its point is not on its curve"),
            (ec("P-384", 48), "its point is not on its curve"),
            (ec("P-384", 32), "it is malformed"),
            // RFC 8037, appendix A.2; and points of the orders 1 and 4.
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
                "",
            ),
            (ed25519(1), "it is of small order: anybody can sign for it"),
            (ed25519(0), "it is of small order: anybody can sign for it"),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
                "it is malformed",
            ),
            (json!({"kty": "RSA", "e": "AQAB"}), unsupported),
            (json!({"kty": "oct", "k": "AAAA"}), unsupported),
            (json!({"kty": "new"}), unsupported),
            (ec("P-521", 66), unsupported),
            (
                json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
                unsupported,
            ),
            (for_encryption("alg", "RSA-OAEP"), unsupported),
            (
                for_encryption("use", "enc"),
                "it is not for verifying signatures",
            ),
        ] {
            key["kid"] = "k\n".into();
            let set = json!({ "keys": [key] }).to_string();
            let set = KeySet::parse(set.as_bytes()).unwrap();
            let ignored: Vec<_> = set.ignored().iter().map(ToString::to_string).collect();
            if reason.is_empty() {
                assert_eq!((set.len(), ignored.len()), (1, 0), "{key}");
            } else {
                assert_eq!(ignored, [format!("key \"k\\n\": {reason}")], "{key}");
                assert!(set.is_empty());
            }
        }
    }
}
