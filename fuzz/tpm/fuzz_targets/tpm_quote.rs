//! Fuzzes [`keyproof_fuzz_tpm::attestation::quote`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::attestation::quote);
