//! Fuzzes [`keyproof_fuzz_otp::amount::amount`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_otp::fuzz_main!(keyproof_fuzz_otp::amount::amount);
