//! Random commands under a clock that jumps both ways, racing for one store: whatever happens, no
//! code is accepted twice, nothing becomes active without a code, nobody who is locked gets in, and
//! nothing outlives its key.
//!
//! What is checked is kept apart from the records, as the facts that an onlooker knows.

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
