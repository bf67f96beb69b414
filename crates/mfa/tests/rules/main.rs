//! The rules one by one, through the public API.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

mod ada;
mod counters;
mod devices;
mod keys;
mod lockout;
mod login;
mod recovery;
mod sessions;
