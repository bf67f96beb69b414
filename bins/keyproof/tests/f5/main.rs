//! F5's TPM contract, as a client sees it over a socket, with the clock in the test's hand and a TPM in software.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod access;
mod certificate;
mod device;
mod dialect;
mod failures;
mod faults;
mod kinds;
mod objects;
mod preauth;
mod provision;
#[path = "../site/mod.rs"]
mod site;
