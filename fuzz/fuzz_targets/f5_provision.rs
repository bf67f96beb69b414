//! Fuzzes [`keyproof_fuzz::f5::provision`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::f5::provision);
