//! Fuzzes [`keyproof_fuzz_server::f5::provision`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::f5::provision);
