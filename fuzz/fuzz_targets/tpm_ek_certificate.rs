//! Fuzzes [`keyproof_fuzz::tpm::ek_certificate`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::ek_certificate);
