#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod address;
mod challenge;
mod changes;
mod counters;
mod device;
mod digest;
mod enrolment;
mod error;
mod key;
mod lockout;
mod login;
mod policy;
mod records;
mod recovery;
mod session;
mod sessions;
#[cfg(feature = "serde")]
mod stored;
mod time;
mod totp;
mod user;

pub use address::{AddressId, Addresses, Network};
pub use challenge::{Challenge, ChallengeInvalid};
pub use changes::{Change, Record, RecordKind};
pub use counters::Client;
pub use device::{Device, DeviceId, Devices, Fingerprint, NewDevice, NoDevice, Trusted};
pub use enrolment::{
    ActivateRefusal, Activated, EnrolRefusal, Enrolled, KeyRemoved, NoKey, RecoveryRefusal,
};
pub use error::MfaError;
pub use key::{Generation, KeyKind, KeyRecord, KeyStatus, Proof};
/// The crate that computes the codes. Its `Secret`, `Algorithm` and `Digits` are part of this API,
/// and its `otpauth` URIs enrol phones.
pub use keyproof_otp as otp;
pub use lockout::{Counter, Failure, Locked, Lockout};
pub use login::{Authenticated, Factor, FirstFactor, LoginRefusal, Password, PasswordRefusal};
pub use policy::Policy;
pub use records::{Decision, UserRecords};
pub use recovery::{RecoveryCode, RecoveryCodes};
pub use session::{AuthMethod, FactorKind, FactorNeeded, Session, VerifiedFactor};
pub use sessions::{SessionId, Sessions};
pub use time::UnixMillis;
pub use totp::TotpParameters;
pub use user::{User, UserId};
