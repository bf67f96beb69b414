//! Fuzzes [`keyproof_fuzz_server::stations::attest`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::stations::attest);
