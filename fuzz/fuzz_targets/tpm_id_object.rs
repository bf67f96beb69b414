//! Fuzzes [`keyproof_fuzz::tpm::id_object`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::id_object);
