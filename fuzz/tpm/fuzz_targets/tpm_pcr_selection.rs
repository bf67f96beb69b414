//! Fuzzes [`keyproof_fuzz_tpm::structure::pcr_selection`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::structure::pcr_selection);
