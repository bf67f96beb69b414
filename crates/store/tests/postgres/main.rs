//! What only the engine for many nodes has: a server that can go away, connections that break, other people's locks.
//!
//! A missing PostgreSQL fails these tests; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a peer that cannot be asked fails the test"
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
