//! Fuzzes [`keyproof_fuzz::otp::migration`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::otp::migration);
