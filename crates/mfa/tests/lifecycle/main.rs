//! Random commands with a clock that jumps both ways, racing for one store. In every run, no code
//! is accepted twice, no key becomes active without a code, no locked user gets in, and nothing
//! outlives its key.
//!
//! The expected facts are tracked apart from the records.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

mod commands;
mod facts;
mod world;

use proptest::prelude::*;

use crate::{commands::commands, world::World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold(commands in commands()) {
        let mut world = World::new();
        for command in &commands {
            world.apply(command);
        }
    }
}
