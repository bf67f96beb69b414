//! Fuzzes [`keyproof_fuzz::store::key`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::store::key);
