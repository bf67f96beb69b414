//! Tests specific to the PostgreSQL engine: failing servers, breaking connections, and locks of other clients.
//!
//! Without PostgreSQL these tests fail; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a peer that does not answer fails the test"
)]

mod answers;
mod contention;
mod database;
mod estimate;
mod faults;
mod hosts;
mod migrations;
mod names;
mod pooler;
mod proxy;
mod session;
mod standby;
mod tls;
mod workload;
