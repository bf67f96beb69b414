//! Fuzzes [`keyproof_fuzz::tpm::nv_certify`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::nv_certify);
