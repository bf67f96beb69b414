//! Fuzzes [`keyproof_fuzz_otp::base32::base32`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_otp::fuzz_main!(keyproof_fuzz_otp::base32::base32);
