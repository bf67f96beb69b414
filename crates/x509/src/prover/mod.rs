//! The prover's side: issues verification leaves.
//!
//! A [`VerificationLeaf`] describes the leaf; a [`Signer`] signs it with the CA's private key. `RingSigner` and `AwsLcRsSigner`
//! (features `ring` and `aws-lc-rs`) use a `PrivateKey` from a file. For a key in an HSM, implement `Signer`.

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod key;
mod leaf;
mod request;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod signer;
pub(crate) mod written;

use alloc::vec::Vec;

use crate::{Scheme, X509Error};

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
pub use key::PrivateKey;
pub use leaf::VerificationLeaf;
pub use request::CertificationRequest;
#[cfg(feature = "aws-lc-rs")]
pub use signer::AwsLcRsSigner;
#[cfg(feature = "ring")]
pub use signer::RingSigner;

/// Signs with the private key of a CA.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::prover::{PrivateKey, RingSigner, Signer, VerificationLeaf};
/// use keyproof_x509::ring::rand::SystemRandom;
/// use keyproof_x509::{Certificate, Curve, X509Error, Hash, Scheme, Validity, VerificationCode, algorithms::RING};
///
/// /// A key in an HSM, which a function calls.
/// struct Hsm<F>(F);
///
/// impl<F: Fn(&[u8]) -> Option<Vec<u8>>> Signer for Hsm<F> {
///     fn scheme(&self) -> Scheme {
///         Scheme::Ecdsa(Curve::P256, Hash::Sha256)
///     }
///
///     fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error> {
///         (self.0)(message).ok_or(X509Error::SigningFailed)
///     }
/// }
///
/// let ca = &Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// # let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
/// # let in_software = RingSigner::new(&key, ca, &random)?;
/// # let ask = |message: &[u8]| in_software.sign(message).ok();
/// let code = &VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// let leaf = VerificationLeaf { ca, code, validity: Validity::between(1_800_000_000, 1_800_086_400), serial: [7; 16] };
/// // Each signature is verified at once, so that an HSM with another key is detected here.
/// assert!(leaf.sign(&Hsm(ask), RING).is_ok());
/// let other = |_: &[u8]| Some(b"of another key".to_vec());
/// assert!(matches!(leaf.sign(&Hsm(other), RING), Err(X509Error::SignatureInvalid { .. })));
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
pub trait Signer {
    /// Returns the scheme that it signs with. [`Scheme::RsaPssMaxSalt`] is only verified: nothing is written with it.
    fn scheme(&self) -> Scheme;

    /// Signs a message. An ECDSA signature is the DER of Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
    ///
    /// # Errors
    ///
    /// [`X509Error::SigningFailed`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error>;
}
