//! Fuzzes [`keyproof_fuzz::service::jwt`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::service::jwt);
