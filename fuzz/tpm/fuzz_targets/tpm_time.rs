//! Fuzzes [`keyproof_fuzz_tpm::attestation::time`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::attestation::time);
