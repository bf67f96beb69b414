//! Fuzzes [`keyproof_fuzz::x509::prove_mutated`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::x509::prove_mutated);
