//! The wire contracts, line by line, as their clients see them over a socket, and the HTTP stack below them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(
    clippy::duplicate_mod,
    reason = "each contract has its own words for requests to a site"
)]

mod dps;
mod emnify;
mod f5;
mod journal;
mod late;
mod metrics;
mod panic_log;
mod serving;
mod site;
#[path = "../site_routes/mod.rs"]
mod site_routes;
mod sites;
#[path = "../stack/mod.rs"]
mod stack;
mod taler;
mod tls;
#[cfg(feature = "otlp")]
mod traces;
