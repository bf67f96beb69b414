//! Faults: real servers under load are killed, starved and cut off, and a model of what was acknowledged says what must
//! be there afterwards. `KEYPROOF_FAULT_SEED` draws a run's commands and faults again.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code"
)]

mod check;
mod client;
mod clock;
mod disk_full;
mod installation;
mod kill;
mod ledger;
mod load;
mod node;
mod seed;
mod storm;
mod sync;
mod tmpfs;
mod trace;
