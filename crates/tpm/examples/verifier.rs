//! An attestation verifier: whether a quote comes from a TPM of a known maker, and answers this nonce.
//!
//! `cargo run --example verifier [FOLDER]`: a folder of files named as in `tests/vectors/rsa2048`, which is the default.
//! Whether the attestation key is in the same TPM as the endorsement key is shown by a credential (`make_credential`)
//! before the key's first quote is asked for, and not by this program.

use std::{
    env, fs, io,
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_tpm::{
    EkCertificatePolicy, QuoteEvidence, QuotePolicy, Structure, TpmlPcrSelection, TpmtPublic,
    algorithms::RING, check_ek_certificate, check_quote,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What a verifier asks for: the registers of the firmware and of the boot loader, and one for programs.
const SELECTION: &str = "sha256:0,1,2,3,4,5,6,7,16";

fn main() -> Outcome<ExitCode> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/rsa2048");
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| vectors.to_owned()));
    let file = |name: &str| -> io::Result<Vec<u8>> { fs::read(folder.join(name)) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    // The endorsement key is that of a TPM whose maker is trusted.
    let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")?)?;
    let (root, intermediate) = (file("ca.root.der")?, file("ca.intermediate.der")?);
    let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([&root], [&intermediate]);
    let mut policy = EkCertificatePolicy::new(&roots, now, RING);
    policy.ek = Some(&ek);
    policy.intermediates = &intermediates;
    let endorsement = check_ek_certificate(&file("ek.cert.der")?, &policy);
    println!("The endorsement certificate:\n{endorsement}\n");

    // The quote is fresh, of these registers, and signed by a key that signs nothing but what its TPM has made.
    let ak = TpmtPublic::parse_sized(&file("ak.pub.tpm2b")?)?;
    let selection: TpmlPcrSelection = SELECTION.parse()?;
    let nonce = file("quote.nonce.bin")?;
    let mut policy = QuotePolicy::new(&nonce, RING);
    policy.selection = Some(&selection);
    policy.ek = Some(&ek);
    let quote = check_quote(
        &ak,
        &QuoteEvidence {
            attest: &file("quote.tpms_attest.bin")?,
            signature: &file("quote.tpmt_signature.bin")?,
            pcr_values: Some(&file("quote.pcrs.values.bin")?),
        },
        &policy,
    );
    println!("The quote:\n{quote}");

    Ok(if endorsement.accepted() && quote.accepted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
