//! Fuzzes [`keyproof_fuzz_pskc::container::changed`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_pskc::fuzz_main!(keyproof_fuzz_pskc::container::changed);
