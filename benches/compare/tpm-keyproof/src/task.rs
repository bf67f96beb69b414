//! A quote: verifies that a restricted key in a TPM has signed this nonce and these PCR values.

use std::error::Error;

use keyproof_tpm::{
    QuoteEvidence, QuotePolicy, Structure, TpmtPublic, algorithms::RING, check_quote,
};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../../crates/tpm/tests/vectors/rsa2048/",
            $name
        ))
    };
}

pub fn task() -> Result<(), Box<dyn Error>> {
    let ak = TpmtPublic::parse_sized(vector!("ak.pub.tpm2b"))?;
    let evidence = QuoteEvidence {
        attest: vector!("quote.tpms_attest.bin"),
        signature: vector!("quote.tpmt_signature.bin"),
        pcr_values: Some(vector!("quote.pcrs.values.bin")),
    };
    let selection = "sha256:0,1,2,3,4,5,6,7,16".parse()?;
    let mut policy = QuotePolicy::new(vector!("quote.nonce.bin"), &selection, RING);
    let report = check_quote(&ak, &evidence, &policy).report;
    assert!(report.accepted(), "{report}");
    Ok(())
}
