//! The fuzz targets: functions over any bytes, which panic where a rule does not hold.
//!
//! `cargo xtask fuzz` runs each under libFuzzer, by the binary of its name in `fuzz_targets/`;
//! `tests/replay.rs` runs each over its corpus, the folder of its name in `corpus/`.

pub mod mfa;
pub mod otp;
pub mod store;
pub mod tpm;
pub mod x509;

/// A function, and the name that it shares with its binary and its corpus.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Fails by a panic.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "amount",
        run: otp::amount,
    },
    Target {
        name: "base32",
        run: otp::base32,
    },
    Target {
        name: "code",
        run: otp::code,
    },
    Target {
        name: "mfa_lifecycle",
        run: mfa::lifecycle,
    },
    Target {
        name: "otpauth",
        run: otp::otpauth,
    },
    Target {
        name: "store_key",
        run: store::key,
    },
    Target {
        name: "tpm_attest",
        run: tpm::attest,
    },
    Target {
        name: "tpm_creation_data",
        run: tpm::creation_data,
    },
    Target {
        name: "tpm_credential_file",
        run: tpm::credential_file,
    },
    Target {
        name: "tpm_ek_certificate",
        run: tpm::ek_certificate,
    },
    Target {
        name: "tpm_encrypted_secret",
        run: tpm::encrypted_secret,
    },
    Target {
        name: "tpm_id_object",
        run: tpm::id_object,
    },
    Target {
        name: "tpm_pcr_selection",
        run: tpm::pcr_selection,
    },
    Target {
        name: "tpm_public",
        run: tpm::public,
    },
    Target {
        name: "tpm_quote",
        run: tpm::quote_mutated,
    },
    Target {
        name: "tpm_signature",
        run: tpm::signature,
    },
    Target {
        name: "x509_certificate",
        run: x509::certificate,
    },
    Target {
        name: "x509_prove",
        run: x509::prove_mutated,
    },
    Target {
        name: "x509_upload",
        run: x509::upload,
    },
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
