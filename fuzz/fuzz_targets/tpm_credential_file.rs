//! Fuzzes [`keyproof_fuzz::tpm::credential_file`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::credential_file);
