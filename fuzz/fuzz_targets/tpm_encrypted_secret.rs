//! Fuzzes [`keyproof_fuzz::tpm::encrypted_secret`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::encrypted_secret);
