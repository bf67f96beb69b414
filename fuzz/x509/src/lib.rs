//! The fuzz targets of `keyproof-x509`. Each is a function that accepts any bytes and panics if a rule is broken.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod bundle;
pub mod certificate;
pub mod crl;
pub mod leaf;
mod pairs;
pub mod path;
pub mod private_key;
pub mod proof;
pub mod prove;
#[cfg(test)]
mod replay;
mod report;
pub mod request;
pub mod signature;
pub mod text;
pub mod upload;

/// A target's name, which its binary and its folders also have, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("x509_bundle", bundle::bundle),
    ("x509_certificate", certificate::certificate),
    ("x509_crl", crl::crl),
    ("x509_leaf", leaf::leaf),
    ("x509_path", path::path),
    ("x509_private_key", private_key::private_key),
    ("x509_proof", proof::proof),
    ("x509_prove", prove::prove),
    ("x509_request", request::request),
    ("x509_signature", signature::signature),
    ("x509_text", text::text),
    ("x509_upload", upload::upload),
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
