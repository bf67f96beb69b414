//! Fuzzes [`keyproof_fuzz::otp::amount`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::otp::amount);
