//! Fuzzes [`keyproof_fuzz_server::config::file`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::config::file);
