//! Fuzzes [`keyproof_fuzz_server::signatures::tables`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::signatures::tables);
