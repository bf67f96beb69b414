//! The algorithms that protect values: ciphers, authentication codes, key derivation.

mod cipher;
mod decrypt;
mod derivation;
mod encrypt;
mod mac;

pub use self::cipher::Cipher;
pub use self::derivation::{KeyDerivation, Prf};
pub use self::mac::MacAlgorithm;
