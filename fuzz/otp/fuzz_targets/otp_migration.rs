//! Fuzzes [`keyproof_fuzz_otp::migration::migration`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_otp::fuzz_main!(keyproof_fuzz_otp::migration::migration);
