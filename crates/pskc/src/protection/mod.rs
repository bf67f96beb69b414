//! The algorithms that protect values: ciphers, authentication codes, key derivation.

mod cipher;
mod decrypt;
mod derivation;
mod encrypt;
mod mac;

pub use self::{
    cipher::Cipher,
    derivation::{KeyDerivation, Prf},
    mac::MacAlgorithm,
};
