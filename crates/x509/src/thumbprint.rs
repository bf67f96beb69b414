//! Thumbprints: digests over a certificate's received DER.

use core::fmt;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// SHA-1 over the received DER, as Azure and Windows show it: a label, not a proof.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha1Thumbprint([u8; 20]);

/// SHA-256 over the received DER.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha256Thumbprint([u8; 32]);

macro_rules! thumbprint {
    ($name:ident, $hash:ty, $len:literal) => {
        impl $name {
            /// Digests a certificate's DER.
            #[must_use]
            pub fn of(der: &[u8]) -> Self {
                Self(<$hash>::digest(der).into())
            }

            /// The digest's octets.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(octets: [u8; $len]) -> Self {
                Self(octets)
            }
        }

        impl fmt::Display for $name {
            /// Upper-case hexadecimal without separators.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

thumbprint!(Sha1Thumbprint, Sha1, 20);
thumbprint!(Sha256Thumbprint, Sha256, 32);
