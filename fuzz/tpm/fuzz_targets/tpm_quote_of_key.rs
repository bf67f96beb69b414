//! Fuzzes [`keyproof_fuzz_tpm::attestation::quote_of_key`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::attestation::quote_of_key);
