//! Fuzzes [`keyproof_fuzz::tpm::pcr_selection`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::pcr_selection);
