#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod amount;
mod base32;
mod code;
mod error;
mod hotp;
mod mac;
#[cfg(feature = "alloc")]
pub mod migration;
pub mod ocra;
#[cfg(feature = "alloc")]
pub mod otpauth;
pub mod pos;
mod secret;
mod totp;

pub use base32::Base32Profile;
pub use code::{Code, Digits};
pub use error::OtpError;
pub use hotp::{Hotp, LookAhead, NextCounter};
pub use mac::Algorithm;
pub use secret::{Secret, Strength};
pub use totp::{Accepted, DEFAULT_PERIOD, Refused, Totp, Window};
