//! Fuzzes [`keyproof_fuzz::emnify::activate`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::emnify::activate);
