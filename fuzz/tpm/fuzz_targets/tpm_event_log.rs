//! Fuzzes [`keyproof_fuzz_tpm::event_log::event_log`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_tpm::fuzz_main!(keyproof_fuzz_tpm::event_log::event_log);
