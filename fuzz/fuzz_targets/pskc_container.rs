//! Fuzzes [`keyproof_fuzz::pskc::container`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::pskc::container);
