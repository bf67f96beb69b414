//! The fuzz targets of `keyproof-pskc`: functions over any bytes, which panic where a rule does not hold.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod container;
#[cfg(test)]
mod replay;

/// The name that a target shares with its binary and its folders, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("pskc_changed", container::changed),
    ("pskc_container", container::container),
];

/// The whole of a fuzz target's binary: libFuzzer's entry point, or outside fuzzing an empty `main`, so that tests build
/// without libFuzzer.
#[macro_export]
macro_rules! fuzz_main {
    ($run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $run(data));

        #[cfg(not(fuzzing))]
        fn main() {}
    };
}
