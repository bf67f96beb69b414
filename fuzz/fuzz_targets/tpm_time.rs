//! Fuzzes [`keyproof_fuzz::tpm::time_mutated`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::time_mutated);
