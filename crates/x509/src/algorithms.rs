//! Tables of signature algorithms for [`Policy::new`](crate::Policy::new) and [`verify`](crate::verify()).
//!
//! A table is a slice of `rustls-pki-types`' open trait, so the tables of `rustls` and your own implementations work as well. An
//! RSASSA-PSS entry covers keys of type RSA and RSA-PSS. Entries for absent parameters are not needed, because
//! [`Scheme::of`](crate::Scheme::of) checks the parameters.
//!
//! ```
//! # #[cfg(feature = "ring")] {
//! use keyproof_x509::{Certificate, X509Error, algorithms, verify};
//!
//! let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
//! verify(algorithms::RING, &ca.public_key(), &ca.algorithm(), ca.tbs(), ca.signature())?; // it is self-signed
//! // An algorithm that is not in the table is a specific error, not an invalid signature.
//! let none = verify(&[], &ca.public_key(), &ca.algorithm(), ca.tbs(), ca.signature());
//! assert!(matches!(none, Err(X509Error::AlgorithmUnsupported { .. })));
//! # }
//! # Ok::<(), keyproof_x509::X509Error>(())
//! ```

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs::signature::{
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPssSaltLength, UnparsedPublicKey,
};
use rustls_pki_types::AlgorithmIdentifier;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
use rustls_pki_types::SignatureVerificationAlgorithm;
#[cfg(feature = "aws-lc-rs")]
use rustls_pki_types::{InvalidSignature, alg_id};

/// The algorithms of `ring`: RSA PKCS#1 v1.5 and PSS with SHA-256/384/512 (2041 to 8192 bits), ECDSA P-256 and P-384 with SHA-256
/// and SHA-384, and Ed25519. It lacks P-521, SHA-512 with P-256 and P-384, and the longest PSS salt.
#[cfg(feature = "ring")]
pub static RING: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The algorithms of `aws-lc-rs`: every algorithm of this crate. It requires RSA keys of at least 2048 bits, so signatures by the
/// rare keys of 2041 to 2047 bits verify only with [`RING`].
#[cfg(feature = "aws-lc-rs")]
pub static AWS_LC_RS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P256_SHA512,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA512,
    webpki::aws_lc_rs::ECDSA_P521_SHA256,
    webpki::aws_lc_rs::ECDSA_P521_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    &RSA_PSS_SHA256_MAX_SALT,
    &RSA_PSS_SHA384_MAX_SALT,
    &RSA_PSS_SHA512_MAX_SALT,
];

/// Every algorithm of this crate: those of [`RING`], and the others from [`AWS_LC_RS`]. For programs that link both.
#[cfg(all(feature = "ring", feature = "aws-lc-rs"))]
pub static ALL: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    webpki::aws_lc_rs::ECDSA_P256_SHA512,
    webpki::aws_lc_rs::ECDSA_P384_SHA512,
    webpki::aws_lc_rs::ECDSA_P521_SHA256,
    webpki::aws_lc_rs::ECDSA_P521_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    &RSA_PSS_SHA256_MAX_SALT,
    &RSA_PSS_SHA384_MAX_SALT,
    &RSA_PSS_SHA512_MAX_SALT,
];

// RSASSA-PSS with the longest salt for the key: the OIDs of rsassaPss and of the hash. These IDs are used only in tables and never
// on the wire, where the length of the salt is a number that depends on the key.
pub(crate) const RSA_PSS_SHA256_MAX_SALT_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[
        0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x06, 0x09, 0x60, 0x86,
        0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
    ]);
pub(crate) const RSA_PSS_SHA384_MAX_SALT_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[
        0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x06, 0x09, 0x60, 0x86,
        0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
    ]);
pub(crate) const RSA_PSS_SHA512_MAX_SALT_ID: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[
        0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x06, 0x09, 0x60, 0x86,
        0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03,
    ]);

/// RSASSA-PSS with the longest salt, which webpki lacks.
#[cfg(feature = "aws-lc-rs")]
#[derive(Debug)]
struct PssMaxSalt {
    id: AlgorithmIdentifier,
    parameters: &'static RsaParameters,
}

#[cfg(feature = "aws-lc-rs")]
static RSA_PSS_SHA256_MAX_SALT: PssMaxSalt = PssMaxSalt {
    id: RSA_PSS_SHA256_MAX_SALT_ID,
    parameters: &const { RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) },
};
#[cfg(feature = "aws-lc-rs")]
static RSA_PSS_SHA384_MAX_SALT: PssMaxSalt = PssMaxSalt {
    id: RSA_PSS_SHA384_MAX_SALT_ID,
    parameters: &const { RSA_PSS_2048_8192_SHA384.with_pss_salt_length(RsaPssSaltLength::Max) },
};
#[cfg(feature = "aws-lc-rs")]
static RSA_PSS_SHA512_MAX_SALT: PssMaxSalt = PssMaxSalt {
    id: RSA_PSS_SHA512_MAX_SALT_ID,
    parameters: &const { RSA_PSS_2048_8192_SHA512.with_pss_salt_length(RsaPssSaltLength::Max) },
};

#[cfg(feature = "aws-lc-rs")]
impl SignatureVerificationAlgorithm for PssMaxSalt {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}
