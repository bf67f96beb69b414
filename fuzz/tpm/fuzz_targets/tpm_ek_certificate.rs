//! Fuzzes [`keyproof_fuzz_tpm::ek_certificate::ek_certificate`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::ek_certificate::ek_certificate);
