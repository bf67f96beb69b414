//! Fuzzes [`keyproof_fuzz_x509::text::text`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz_x509::fuzz_main!(keyproof_fuzz_x509::text::text);
