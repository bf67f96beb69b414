//! Fuzzes [`keyproof_fuzz::tpm::attest`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::attest);
