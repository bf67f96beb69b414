//! TPM 2.0 device identity without a TPM.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod algorithm;
mod attest;
mod attributes;
mod creation;
mod credential;
mod device;
mod error;
mod kdf;
mod name;
mod pcr;
mod public;
mod signature;
mod spki;
mod template;
mod wire;

pub use algorithm::{EccCurve, HashAlgorithm};
pub use attest::{AttestType, Attested, TPM_GENERATED, TpmsAttest, TpmsClockInfo, TpmsQuoteInfo};
pub use attributes::ObjectAttributes;
pub use creation::TpmsCreationData;
#[cfg(feature = "aws-lc-rs")]
pub use credential::AwsLcRs;
#[cfg(feature = "activate")]
pub use credential::{ActivationProvider, activate};
pub use credential::{
    Agreement, Credential, CredentialProvider, EncryptedSecret, TpmsIdObject, make_credential,
    protect,
};
pub use device::{DeviceField, DeviceInfo};
pub use error::TpmError;
pub use name::{Hierarchy, Name, QualifiedName};
pub use pcr::{TpmlPcrSelection, TpmsPcrSelection};
pub use public::{
    EccPublic, EccScheme, KdfAlgorithm, KdfScheme, PublicKey, RsaPublic, RsaScheme,
    SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmtPublic,
};
pub use signature::TpmtSignature;
pub use template::{AttestationTemplate, EndorsementTemplate};
pub use wire::{Buffer, Structure};
