//! Fuzzes [`keyproof_fuzz_pskc::container::container`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_pskc::fuzz_main!(keyproof_fuzz_pskc::container::container);
