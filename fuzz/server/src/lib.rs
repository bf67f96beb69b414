//! The fuzz targets of keyproof's server. Each is a function that accepts any bytes and panics if a rule is broken.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod backup;
pub mod config;
pub mod dps;
pub mod emnify;
pub mod f5;
pub mod form;
pub mod http;
pub mod jwt;
pub mod multipart;
#[cfg(test)]
mod replay;
pub mod signatures;
mod site;
pub mod stations;
pub mod store;
pub mod taler;

/// A target's name, which its binary and its folders also have, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("config_file", config::file),
    ("dps_body", dps::body),
    ("emnify_activate", emnify::activate),
    ("emnify_authenticate", emnify::authenticate),
    ("f5_activate", stations::activate),
    ("f5_attest", stations::attest),
    ("f5_provision", f5::provision),
    ("http_connection", http::connection),
    ("restore_backup", backup::read),
    ("service_jwks", jwt::jwks),
    ("service_jwt", jwt::jwt),
    ("site_form", form::form),
    ("site_multipart", multipart::multipart),
    ("store_key", store::key),
    ("taler_body", taler::body),
    ("x509_tables", signatures::tables),
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
