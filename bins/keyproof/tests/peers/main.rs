//! Other programs, unmodified, as clients of the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod azure;
mod browser;
mod emnify;
mod keylime;
mod prometheus;
#[path = "../python/mod.rs"]
mod python;
mod swtpm;
mod systemd;
