//! Fuzzes [`keyproof_fuzz_x509::bundle::bundle`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_x509::fuzz_main!(keyproof_fuzz_x509::bundle::bundle);
