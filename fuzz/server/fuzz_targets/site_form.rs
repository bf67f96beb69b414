//! Fuzzes [`keyproof_fuzz_server::form::form`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::form::form);
