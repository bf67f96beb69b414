//! Fuzzes [`keyproof_fuzz_x509::private_key::private_key`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_x509::fuzz_main!(keyproof_fuzz_x509::private_key::private_key);
