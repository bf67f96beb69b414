//! An attestation verifier: whether a quote comes from a TPM of a known maker, answers this nonce, and is what the
//! firmware's log says.
//!
//! - `verifier challenge FOLDER` takes a device's public areas in, and writes what the device is to answer: a credential and
//!   a nonce. What the verifier keeps of that is written beside them, and no device must be able to change it.
//! - `verifier [FOLDER]` judges the answers. By default it judges those that a software TPM gave, in `tests/vectors/rsa2048`.
//!
//! | file | from |
//! |---|---|
//! | `ek.pub.tpm2b`, `ak.pub.tpm2b`, `ek.cert.der` | the device: its keys' public areas, and the endorsement certificate |
//! | `ca.root.der`, `ca.intermediate.der` | the TPM's maker |
//! | `cred.blob.tpm2tools.bin`, `quote.nonce.bin` | the verifier: for the device |
//! | `cred.secret.bin`, `ek.name.bin`, `ak.name.bin` | the verifier: what it keeps |
//! | `refcred.activated.bin` | the device: what `tpm2_activatecredential` took from the credential |
//! | `quote.*`, `quote.eventlog.bin` | the device: its quote, its registers, and the firmware's log |

use std::{
    env, fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand::fill;
use keyproof_tpm::{
    ActivationKey, AwsLcRs, EkCertificatePolicy, EventLogPolicy, Name, QuoteEvidence, QuotePolicy,
    Structure, TpmlPcrSelection, TpmtPublic, algorithms::RING, check_ek_certificate,
    check_event_log, check_quote, make_credential,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What a verifier asks for: the registers of the firmware and of the boot loader, and one for programs.
const SELECTION: &str = "sha256:0,1,2,3,4,5,6,7,16";

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/rsa2048");

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_accepted = match arguments[..] {
        ["challenge", folder] => challenge(Path::new(folder)).map(|()| true)?,
        [folder] => is_accepted(Path::new(folder))?,
        [] => is_accepted(Path::new(VECTORS))?,
        _ => return Err("verifier challenge FOLDER, or verifier [FOLDER]".into()),
    };
    Ok(if is_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks the device to show that both keys are in one TPM, and how its registers are now.
fn challenge(folder: &Path) -> Outcome<()> {
    let file = |name: &str| fs::read(folder.join(name));
    let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")?)?;
    let ak = TpmtPublic::parse_sized(&file("ak.pub.tpm2b")?)?;
    let names = (Name::of(&ek)?, Name::of(&ak)?);
    let (mut secret, mut nonce) = ([0; 32], [0; 32]);
    fill(&mut secret)?;
    fill(&mut nonce)?;
    let credential = make_credential(&AwsLcRs, &ek, &names.1, &secret, &mut fill)?;
    for (name, bytes) in [
        ("cred.blob.tpm2tools.bin", &credential.to_bytes()[..]),
        ("cred.secret.bin", &secret),
        ("ek.name.bin", names.0.as_bytes()),
        ("ak.name.bin", names.1.as_bytes()),
        ("quote.nonce.bin", &nonce),
    ] {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Judges what the device has answered. Each of the four is needed: without the credential, anybody's genuine certificate stands
/// beside a key in software, whose public area says what he likes.
fn is_accepted(folder: &Path) -> Outcome<bool> {
    let file = |name: &str| fs::read(folder.join(name));
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    // The endorsement key is that of a TPM whose maker is trusted.
    let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")?)?;
    let (root, intermediate) = (file("ca.root.der")?, file("ca.intermediate.der")?);
    let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([&root], [&intermediate]);
    let mut policy = EkCertificatePolicy::new(&ek, &roots, now, RING);
    policy.intermediates = &intermediates;
    let endorsement = check_ek_certificate(&file("ek.cert.der")?, &policy);
    println!("The endorsement certificate:\n{endorsement}\n");

    // The attestation key is in that TPM: its credential, which was made for these two keys, was opened.
    let ak = TpmtPublic::parse_sized(&file("ak.pub.tpm2b")?)?;
    let challenged = (file("ek.name.bin")?, file("ak.name.bin")?);
    let name = Name::of(&ak)?;
    let kept = ActivationKey::from_bytes(&file("cred.secret.bin")?)?;
    // Compared by proofs, in constant time.
    let is_activated = *Name::of(&ek)?.as_bytes() == *challenged.0
        && *name.as_bytes() == *challenged.1
        && ActivationKey::from_bytes(&file("refcred.activated.bin")?)
            .and_then(|opened| kept.verify(&name, &opened.proof(&name)?))
            .is_ok();
    println!("The credential was opened: {is_activated}\n");

    // The quote is fresh, of these registers, and signed by that key, which signs nothing but what its TPM has made.
    let selection: TpmlPcrSelection = SELECTION.parse()?;
    let nonce = file("quote.nonce.bin")?;
    let values = file("quote.pcrs.values.bin")?;
    let mut policy = QuotePolicy::new(&nonce, RING);
    policy.selection = Some(&selection);
    policy.ek = Some(&ek);
    let quote = check_quote(
        &ak,
        &QuoteEvidence {
            attest: &file("quote.tpms_attest.bin")?,
            signature: &file("quote.tpmt_signature.bin")?,
            pcr_values: Some(&values),
        },
        &policy,
    );
    println!("The quote:\n{quote}\n");

    // The log leads to the quoted registers. Which values or events are good is for whoever runs the devices to say.
    let log = file("quote.eventlog.bin")?;
    let replayed = check_event_log(&log, &EventLogPolicy::new(&selection, &values));
    println!("The event log:\n{}", replayed.report);

    Ok(endorsement.accepted() && is_activated && quote.accepted() && replayed.report.accepted())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything about it is genuine, but for what only its TPM could know, or what it was asked.
    #[test]
    fn a_device_that_opened_no_credential_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(VECTORS).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        assert!(is_accepted(folder.path()).unwrap());
        for name in ["refcred.activated.bin", "ek.name.bin", "ak.name.bin"] {
            let path = folder.path().join(name);
            let genuine = fs::read(&path).unwrap();
            let mut other = genuine.clone();
            *other.last_mut().unwrap() ^= 1;
            fs::write(&path, other).unwrap();
            assert!(!is_accepted(folder.path()).unwrap(), "{name}");
            fs::write(&path, genuine).unwrap();
        }
        challenge(folder.path()).unwrap();
        assert!(!is_accepted(folder.path()).unwrap());
    }
}
