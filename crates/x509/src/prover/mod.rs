//! The prover's side: making the verification leaf.
//!
//! A [`VerificationLeaf`] says what to make; a [`Signer`] has the CA's private key. `RingSigner` and `AwsLcRsSigner` (by the features
//! `ring` and `aws-lc-rs`) sign with a `PrivateKey` read from a file; a key in an HSM is another `Signer`.

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod key;
mod leaf;
mod request;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod signer;
pub(crate) mod written;

use alloc::vec::Vec;

use crate::{Error, Scheme};

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
pub use key::PrivateKey;
pub use leaf::VerificationLeaf;
pub use request::CertificationRequest;
#[cfg(feature = "aws-lc-rs")]
pub use signer::AwsLcRsSigner;
#[cfg(feature = "ring")]
pub use signer::RingSigner;

/// Signs with the private key of a CA.
pub trait Signer {
    /// The scheme that it signs with.
    fn scheme(&self) -> Scheme;

    /// Signs a message; an ECDSA signature is the DER of Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
    ///
    /// # Errors
    ///
    /// [`Error::SigningFailed`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}
