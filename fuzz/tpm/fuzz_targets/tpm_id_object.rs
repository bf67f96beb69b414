//! Fuzzes [`keyproof_fuzz_tpm::structure::id_object`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::structure::id_object);
