//! The source of every choice of a run: one number, which a failing run prints.

use std::env;

use fastrand::Rng;
use sha2::{Digest, Sha256};

const VARIABLE: &str = "KEYPROOF_FAULT_SEED";

/// The seed of a run's commands and faults. Thread interleaving does not follow from it, so a failure may need several runs to be
/// repeated.
#[derive(Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    /// Returns the seed from the environment, or a new one.
    pub(crate) fn of_this_run() -> Self {
        let seed = match env::var(VARIABLE) {
            Ok(text) => u64::from_str_radix(&text, 16).expect("a number in hexadecimal"),
            Err(_) => fastrand::u64(..),
        };
        eprintln!("{VARIABLE}={seed:016x} draws the same commands and faults again");
        Self(seed)
    }

    /// Returns the choices of one part of the run, independent of the others.
    pub(crate) fn stream(self, part: &str) -> Rng {
        let digest = Sha256::new_with_prefix(self.0.to_be_bytes())
            .chain_update(part)
            .finalize();
        Rng::with_seed(u64::from_be_bytes(*digest.first_chunk().expect("32 bytes")))
    }
}

#[test]
fn a_seed_draws_the_same_again() {
    let draw = |seed, part| Seed(seed).stream(part).u64(..);
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
}
