//! Fuzzes [`keyproof_fuzz::tpm::creation_mutated`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::creation_mutated);
