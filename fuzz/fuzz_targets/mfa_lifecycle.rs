//! Fuzzes [`keyproof_fuzz::mfa::lifecycle`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::mfa::lifecycle);
