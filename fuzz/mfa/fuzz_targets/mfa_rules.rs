//! Fuzzes [`keyproof_fuzz_mfa::rules::rules`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_mfa::fuzz_main!(keyproof_fuzz_mfa::rules::rules);
