//! Fuzzes [`keyproof_fuzz::x509_path::search`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::x509_path::search);
