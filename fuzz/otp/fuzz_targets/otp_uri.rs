//! Fuzzes [`keyproof_fuzz_otp::uri::uri`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_otp::fuzz_main!(keyproof_fuzz_otp::uri::uri);
