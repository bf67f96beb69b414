//! Fuzzes [`keyproof_fuzz::pskc::changed`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::pskc::changed);
