//! The fuzz targets of `keyproof-otp`. Each is a function that accepts any bytes and panics if a rule is broken.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod amount;
pub mod base32;
pub mod code;
pub mod migration;
pub mod ocra;
mod position;
#[cfg(test)]
mod replay;
mod rfc_4226;
pub mod uri;

/// A target's name, which its binary and its folders also have, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("otp_amount", amount::amount),
    ("otp_base32", base32::base32),
    ("otp_code", code::code),
    ("otp_migration", migration::migration),
    ("otp_ocra", ocra::ocra),
    ("otp_uri", uri::uri),
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
