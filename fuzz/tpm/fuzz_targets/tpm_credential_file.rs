//! Fuzzes [`keyproof_fuzz_tpm::structure::credential_file`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::structure::credential_file);
