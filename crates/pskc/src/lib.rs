#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate alloc;

mod container;
mod error;
mod key;
mod open;
mod policy;
mod protection;
mod writer;
mod xml;

pub use container::{Container, DecryptionKey};
pub use error::PskcError;
pub use key::{
    ChallengeFormat, DeviceInfo, Encoding, Key, KeyData, KeyInfo, ResponseFormat, Secret,
};
pub use policy::{KeyUsage, PinPolicy, PinUsage, Policy, UnknownKeyUsage};
pub use protection::{Cipher, KeyDerivation, MacAlgorithm, Prf};
pub use writer::{KeyProtection, WriteError, Writer};
