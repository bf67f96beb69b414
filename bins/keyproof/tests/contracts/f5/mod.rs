//! F5's TPM contract, as a client sees it over a socket, with the clock controlled by the test and a TPM in software.

mod access;
mod activation;
mod attestation;
mod certificate;
mod deletion;
pub(crate) mod device;
pub(crate) mod dialect;
mod failures;
mod forgetting;
mod kinds;
mod lists;
pub(crate) mod machine;
mod mtls;
mod objects;
mod preauth;
pub(crate) mod provision;
mod renewal;
mod revocation;
#[path = "../site/mod.rs"]
pub(crate) mod site;
mod spent;
mod trust;

use keyproof_store::faults;
