//! The fuzz targets of `keyproof-mfa`. Each is a function that accepts any bytes and panics if a rule is broken.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod lifecycle;
#[cfg(test)]
mod replay;
pub mod rules;
pub mod stored;

/// A target's name, which its binary and its folders also have, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("mfa_lifecycle", lifecycle::lifecycle),
    ("mfa_rules", rules::rules),
    ("mfa_stored", stored::stored),
];

/// The whole binary of a fuzz target: libFuzzer's entry point, or an empty `main` outside fuzzing, so that tests build without
/// libFuzzer.
#[macro_export]
macro_rules! fuzz_main {
    ($run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $run(data));

        #[cfg(not(fuzzing))]
        fn main() {}
    };
}
