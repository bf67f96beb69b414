//! The commands as people and scripts use them, each in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod cli;
#[path = "../shared_database/node.rs"]
mod node;
mod store_commands;
mod terminal;
mod trust;
mod years;
