//! Faults: real servers under load are killed, starved of resources and disconnected, and a model of what was acknowledged
//! determines what must exist afterwards. `KEYPROOF_FAULT_SEED` repeats a run's commands and faults.
//!
//! Races between several nodes on one database are tested here too, because they need the same servers and clients.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod activation;
mod check;
mod client;
mod clock;
mod cluster;
mod database;
#[expect(dead_code, reason = "F5's tests use all of it")]
#[path = "../contracts/f5/device.rs"]
mod device;
mod disk_full;
mod failover;
mod inner;
mod installation;
mod kill;
mod ledger;
mod load;
mod node;
mod nodes;
mod proxy;
mod seed;
mod storm;
mod sync;
mod tmpfs;
mod trace;
mod upgrade;
