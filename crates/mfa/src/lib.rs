#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod challenge;
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
#[cfg(feature = "serde")]
mod stored;
mod time;
mod totp;
mod user;

pub use challenge::{Challenge, ChallengeOver};
pub use device::{Device, DeviceId, Devices, Fingerprint, NewDevice, NoDevice, Trusted};
pub use enrolment::{
    ActivateRefusal, Activated, EnrolRefusal, Enrolled, KeyRemoved, NoKey, RecoveryRefusal,
};
pub use error::MfaError;
pub use key::{Generation, KeyKind, KeyRecord, KeyStatus, Proof};
/// The crate that computes the codes: its `Secret`, `Algorithm` and `Digits` are in this API.
pub use keyproof_otp as otp;
pub use lockout::{Counter, Failure, Locked, Lockout};
pub use login::{Authenticated, Factor, FirstFactor, LoginRefusal, Password, PasswordRefusal};
pub use policy::Policy;
pub use records::{Decision, UserRecords};
pub use recovery::{RecoveryCode, RecoveryCodes};
pub use session::{FactorNeeded, Shown, ShownFactor, Standing};
pub use time::UnixMillis;
pub use totp::TotpParameters;
pub use user::{User, UserId};
