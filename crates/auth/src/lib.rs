#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod error;
mod generation;
pub mod operator;
mod password;
mod scopes;
#[cfg(feature = "serde")]
mod stored;
pub mod taler;
mod time;
mod token;

pub use error::{AuthError, NewPasswordError, ValidityError};
pub use generation::{Generation, Validity};
pub use password::{
    Cost, HashingMemory, PasswordHash, PasswordMatch, SALT_BYTES, check_new_password,
};
pub use scopes::Scopes;
pub use time::UnixMillis;
pub use token::{TOKEN_BYTES, Token, TokenDigest};
