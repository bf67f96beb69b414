//! The fuzz targets: functions over any bytes, which panic where a rule does not hold.
//!
//! `cargo xtask fuzz` runs each under libFuzzer, by the binary of its name in `fuzz_targets/`;
//! `tests/replay.rs` runs each over its corpus, the folder of its name in `corpus/`.

pub mod emnify;
pub mod f5;
pub mod mfa;
pub mod otp;
pub mod pskc;
pub mod service;
pub mod store;
pub mod tpm;
pub mod x509;
pub mod x509_crl;
pub mod x509_path;

/// A function, and the name that it shares with its binary and its corpus.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Fails by a panic.
    pub run: fn(&[u8]),
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run }
    }
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target::new("emnify_activate", emnify::activate),
    Target::new("emnify_authenticate", emnify::authenticate),
    Target::new("f5_provision", f5::provision),
    Target::new("mfa_lifecycle", mfa::lifecycle),
    Target::new("otp_amount", otp::amount),
    Target::new("otp_base32", otp::base32),
    Target::new("otp_code", otp::code),
    Target::new("otp_migration", otp::migration),
    Target::new("otp_ocra", otp::ocra),
    Target::new("otp_uri", otp::uri),
    Target::new("pskc_changed", pskc::changed),
    Target::new("pskc_container", pskc::container),
    Target::new("service_jwt", service::jwt),
    Target::new("store_key", store::key),
    Target::new("tpm_attest", tpm::attest),
    Target::new("tpm_certify", tpm::certify_mutated),
    Target::new("tpm_creation", tpm::creation_mutated),
    Target::new("tpm_creation_data", tpm::creation_data),
    Target::new("tpm_credential_file", tpm::credential_file),
    Target::new("tpm_ek_certificate", tpm::ek_certificate),
    Target::new("tpm_encrypted_secret", tpm::encrypted_secret),
    Target::new("tpm_event_log", tpm::event_log),
    Target::new("tpm_id_object", tpm::id_object),
    Target::new("tpm_nv_certify", tpm::nv_certify),
    Target::new("tpm_pcr_selection", tpm::pcr_selection),
    Target::new("tpm_public", tpm::public),
    Target::new("tpm_quote", tpm::quote_mutated),
    Target::new("tpm_signature", tpm::signature),
    Target::new("tpm_time", tpm::time_mutated),
    Target::new("x509_certificate", x509::certificate),
    Target::new("x509_crl", x509_crl::crl),
    Target::new("x509_path", x509_path::search),
    Target::new("x509_prove", x509::prove_mutated),
    Target::new("x509_upload", x509::upload),
];

/// The whole of a fuzz target's binary: libFuzzer's entry point, or outside fuzzing an empty
/// `main`, so that the workspace builds without libFuzzer.
#[macro_export]
macro_rules! fuzz_main {
    ($run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $run(data));

        #[cfg(not(fuzzing))]
        fn main() {}
    };
}
