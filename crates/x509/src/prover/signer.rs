//! Signers that use `ring` and `aws-lc-rs`.

#[cfg(feature = "ring")]
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use super::{Signer, key::PrivateKey};
use crate::{
    Certificate, Hash, Scheme, X509Error,
    public_key::{Curve, KeyKind},
};

/// Returns the scheme for a CA's key: the hash that matches its curve, or SHA-256 for RSA unless the key is restricted to another.
fn scheme_of(ca: &Certificate<'_>) -> Result<Scheme, X509Error> {
    let key = ca.public_key();
    match key.kind()? {
        KeyKind::Ec(Curve::P256) => Ok(Scheme::Ecdsa(Curve::P256, Hash::Sha256)),
        KeyKind::Ec(Curve::P384) => Ok(Scheme::Ecdsa(Curve::P384, Hash::Sha384)),
        KeyKind::Ec(Curve::P521) => Ok(Scheme::Ecdsa(Curve::P521, Hash::Sha512)),
        KeyKind::Ed25519 => Ok(Scheme::Ed25519),
        KeyKind::Rsa => Ok(Scheme::RsaPkcs1(Hash::Sha256)),
        KeyKind::RsaPss => [Hash::Sha256, Hash::Sha384, Hash::Sha512]
            .into_iter()
            .find(|hash| key.allows_pss(*hash, hash.digest_len()))
            .map(Scheme::RsaPss)
            .ok_or(X509Error::PrivateKeyUnusable { kind: "RSA-PSS" }),
    }
}

/// Signs with `ring`. It lacks P-521 and requires RSA keys of at least 2048 bits with an exponent of at least 65537.
///
/// ```
/// use keyproof_x509::prover::{PrivateKey, RingSigner, Signer};
/// use keyproof_x509::ring::rand::SystemRandom;
/// use keyproof_x509::{Certificate, X509Error};
///
/// let key = PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?;
/// let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// let random = SystemRandom::new();
/// let signer = RingSigner::new(&key, &ca, &random)?;
/// assert_eq!(signer.scheme().name(), "ECDSA P-256 with SHA-256");
/// assert_eq!(format!("{signer:?}"), "RingSigner(ECDSA P-256 with SHA-256)"); // shows nothing of the key
///
/// let other = Certificate::from_der(include_bytes!("../../tests/data/ed25519-ca.der"))?;
/// assert!(matches!(RingSigner::new(&key, &other, &random), Err(X509Error::PrivateKeyMismatch)));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[cfg(feature = "ring")]
pub struct RingSigner<'r> {
    pair: on_ring::Pair,
    scheme: Scheme,
    random: &'r (dyn ring::rand::SecureRandom + Sync),
}

#[cfg(feature = "ring")]
impl<'r> RingSigner<'r> {
    /// Creates a signer from a CA's private key.
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmParameters`] and [`X509Error::AlgorithmUnsupported`] for the CA's key,
    /// [`X509Error::PrivateKeyMismatch`] and [`X509Error::PrivateKeyUnusable`].
    pub fn new(
        key: &PrivateKey,
        ca: &Certificate<'_>,
        random: &'r (dyn ring::rand::SecureRandom + Sync),
    ) -> Result<Self, X509Error> {
        use ring::signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        };

        let scheme = scheme_of(ca)?;
        let pair = on_ring::Pair::new(key, ca, scheme, |curve, scalar, point| {
            let algorithm = match curve {
                Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                Curve::P521 => {
                    return Err(X509Error::AlgorithmUnsupported {
                        algorithm: scheme.to_string(),
                    });
                }
            };
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point, random)
                .map_err(|_| X509Error::PrivateKeyMismatch)
        })?;
        Ok(Self {
            pair,
            scheme,
            random,
        })
    }
}

#[cfg(feature = "ring")]
impl Signer for RingSigner<'_> {
    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error> {
        self.pair.sign(message, self.random)
    }
}

#[cfg(feature = "ring")]
impl fmt::Debug for RingSigner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingSigner({})", self.scheme)
    }
}

/// Signs with `aws-lc-rs`, which uses its own random source.
///
/// ```
/// use keyproof_x509::prover::{AwsLcRsSigner, PrivateKey, Signer};
/// use keyproof_x509::{Certificate, algorithms::AWS_LC_RS};
///
/// let key = PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?;
/// let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// let signer = AwsLcRsSigner::new(&key, &ca)?;
/// let signature = signer.sign(b"a message")?;
/// signer.scheme().verify(AWS_LC_RS, &ca.public_key(), b"a message", &signature)?;
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[cfg(feature = "aws-lc-rs")]
pub struct AwsLcRsSigner {
    pair: on_aws_lc_rs::Pair,
    scheme: Scheme,
}

#[cfg(feature = "aws-lc-rs")]
impl AwsLcRsSigner {
    /// Creates a signer from a CA's private key.
    ///
    /// # Errors
    ///
    /// [`X509Error::AlgorithmParameters`] and [`X509Error::AlgorithmUnsupported`] for the CA's key,
    /// [`X509Error::PrivateKeyMismatch`] and [`X509Error::PrivateKeyUnusable`].
    pub fn new(key: &PrivateKey, ca: &Certificate<'_>) -> Result<Self, X509Error> {
        use aws_lc_rs::signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
            ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        };

        let scheme = scheme_of(ca)?;
        let pair = on_aws_lc_rs::Pair::new(key, ca, scheme, |curve, scalar, point| {
            let algorithm = match curve {
                Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
            };
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point)
                .map_err(|_| X509Error::PrivateKeyMismatch)
        })?;
        Ok(Self { pair, scheme })
    }
}

#[cfg(feature = "aws-lc-rs")]
impl Signer for AwsLcRsSigner {
    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error> {
        self.pair
            .sign(message, &aws_lc_rs::rand::SystemRandom::new())
    }
}

#[cfg(feature = "aws-lc-rs")]
impl fmt::Debug for AwsLcRsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsLcRsSigner({})", self.scheme)
    }
}

/// A provider's key pair. Both providers have the same types and functions, except for creating an ECDSA pair.
macro_rules! key_pair {
    ($module:ident, $provider:ident) => {
        mod $module {
            use alloc::{vec, vec::Vec};

            use $provider::{
                rand::SecureRandom,
                signature::{
                    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
                    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
                    RsaKeyPair,
                },
            };

            use crate::{
                Certificate, Hash, Scheme, X509Error,
                prover::key::{Material, PrivateKey},
                public_key::Curve,
            };

            pub(super) enum Pair {
                Ec(EcdsaKeyPair),
                Ed25519(Ed25519KeyPair),
                Rsa {
                    pair: RsaKeyPair,
                    encoding: &'static dyn RsaEncoding,
                    modulus_len: usize,
                },
            }

            impl Pair {
                /// `make_ec` gets the curve, the private scalar and the CA's point, and must check that they match.
                pub(super) fn new(
                    key: &PrivateKey,
                    ca: &Certificate<'_>,
                    scheme: Scheme,
                    make_ec: impl FnOnce(Curve, &[u8], &[u8]) -> Result<EcdsaKeyPair, X509Error>,
                ) -> Result<Self, X509Error> {
                    let public = ca.public_key().key();
                    match (scheme, &key.0) {
                        (Scheme::Ecdsa(curve, _), Material::Ec(scalar)) => {
                            make_ec(curve, scalar, public).map(Self::Ec)
                        }
                        (Scheme::Ed25519, Material::Ed25519(seed)) => {
                            Ed25519KeyPair::from_seed_and_public_key(seed, public)
                                .map(Self::Ed25519)
                                .map_err(|_| X509Error::PrivateKeyMismatch)
                        }
                        (Scheme::RsaPkcs1(hash), Material::Rsa(der)) => {
                            let encoding: &'static dyn RsaEncoding = match hash {
                                Hash::Sha256 => &RSA_PKCS1_SHA256,
                                Hash::Sha384 => &RSA_PKCS1_SHA384,
                                Hash::Sha512 => &RSA_PKCS1_SHA512,
                            };
                            Self::rsa(der, public, encoding)
                        }
                        (Scheme::RsaPss(hash), Material::Rsa(der)) => {
                            let encoding: &'static dyn RsaEncoding = match hash {
                                Hash::Sha256 => &RSA_PSS_SHA256,
                                Hash::Sha384 => &RSA_PSS_SHA384,
                                Hash::Sha512 => &RSA_PSS_SHA512,
                            };
                            Self::rsa(der, public, encoding)
                        }
                        _ => Err(X509Error::PrivateKeyMismatch),
                    }
                }

                fn rsa(
                    der: &[u8],
                    public: &[u8],
                    encoding: &'static dyn RsaEncoding,
                ) -> Result<Self, X509Error> {
                    let pair = RsaKeyPair::from_der(der).map_err(|_| {
                        let kind = "RSA; it needs at least 2048 bits, and two primes";
                        X509Error::PrivateKeyUnusable { kind }
                    })?;
                    if pair.public_key().as_ref() != public {
                        return Err(X509Error::PrivateKeyMismatch);
                    }
                    #[allow(deprecated, reason = "the only name that both providers have")]
                    let modulus_len = pair.public_modulus_len();
                    Ok(Self::Rsa {
                        pair,
                        encoding,
                        modulus_len,
                    })
                }

                pub(super) fn sign(
                    &self,
                    message: &[u8],
                    random: &dyn SecureRandom,
                ) -> Result<Vec<u8>, X509Error> {
                    match self {
                        Self::Ec(pair) => pair
                            .sign(random, message)
                            .map(|signature| signature.as_ref().to_vec())
                            .map_err(|_| X509Error::SigningFailed),
                        Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
                        Self::Rsa {
                            pair,
                            encoding,
                            modulus_len,
                        } => {
                            let mut signature = vec![0; *modulus_len];
                            pair.sign(*encoding, random, message, &mut signature)
                                .map_err(|_| X509Error::SigningFailed)?;
                            Ok(signature)
                        }
                    }
                }
            }
        }
    };
}

#[cfg(feature = "ring")]
key_pair!(on_ring, ring);
#[cfg(feature = "aws-lc-rs")]
key_pair!(on_aws_lc_rs, aws_lc_rs);
