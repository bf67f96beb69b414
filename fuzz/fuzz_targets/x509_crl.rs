//! Fuzzes [`keyproof_fuzz::x509_crl::crl`].

#![cfg_attr(fuzzing, no_main)]

keyproof_fuzz::fuzz_main!(keyproof_fuzz::x509_crl::crl);
