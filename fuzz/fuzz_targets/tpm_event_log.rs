//! Fuzzes [`keyproof_fuzz::tpm::event_log`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::tpm::event_log);
