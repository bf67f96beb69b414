//! The fuzz targets of `keyproof-tpm`. Each is a function that accepts any bytes and panics if a rule is broken.
//!
//! `fuzz_targets/` runs each under libFuzzer; `replay.rs` runs each over its folders in `corpus/` and `regressions/`.

pub mod attestation;
pub mod device;
pub mod ek_certificate;
pub mod event_log;
pub mod policy;
#[cfg(test)]
mod replay;
mod report;
pub mod structure;
mod vectors;

/// A target's name, which its binary and its folders also have, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("tpm_attest", structure::attest),
    ("tpm_certify", attestation::certify),
    ("tpm_creation", attestation::creation),
    ("tpm_creation_data", structure::creation_data),
    ("tpm_credential_file", structure::credential_file),
    ("tpm_device", device::device),
    ("tpm_ek_certificate", ek_certificate::ek_certificate),
    ("tpm_encrypted_secret", structure::encrypted_secret),
    ("tpm_event_log", event_log::event_log),
    ("tpm_id_object", structure::id_object),
    ("tpm_nv_certify", attestation::nv_certify),
    ("tpm_pcr_selection", structure::pcr_selection),
    ("tpm_policy", policy::policy),
    ("tpm_public", structure::public),
    ("tpm_quote", attestation::quote),
    ("tpm_quote_of_key", attestation::quote_of_key),
    ("tpm_signature", structure::signature),
    ("tpm_template", device::template),
    ("tpm_time", attestation::time),
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
