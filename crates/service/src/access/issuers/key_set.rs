//! The keys of an issuer, and verifying tokens with them.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Claims, ExternalTokenError};

/// The public keys of a JWK set that can verify tokens. Symmetric keys and keys of other kinds are ignored.
pub struct KeySet(Vec<VerificationKey>);

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
        Ok(Self(
            keys.into_iter().filter_map(VerificationKey::read).collect(),
        ))
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        let mut fitting = self.0.iter().filter(|own| {
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
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let common = &jwk.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let mut algorithms = Vec::from(algorithms(&jwk.algorithm));
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| only == (*algorithm).into());
        }
        if !for_signatures || algorithms.is_empty() {
            return None;
        }
        Some(Self {
            id: common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
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
        let ids = self.0.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_is_a_set() {
        assert!(KeySet::parse(br#" {"keys": []}"#).unwrap().is_empty());
        for other in ["[[]]", " \n[[]]", "{}", "null", r#"{"keys": {}}"#] {
            assert!(KeySet::parse(other.as_bytes()).is_err(), "{other}");
        }
    }
}
