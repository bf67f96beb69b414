//! Fuzzes [`keyproof_fuzz_x509::proof::proof`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_x509::fuzz_main!(keyproof_fuzz_x509::proof::proof);
