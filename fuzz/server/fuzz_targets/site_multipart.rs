//! Fuzzes [`keyproof_fuzz_server::multipart::multipart`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_server::fuzz_main!(keyproof_fuzz_server::multipart::multipart);
