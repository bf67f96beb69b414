//! Fuzzes [`keyproof_fuzz_tpm::device::template`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::device::template);
