//! An attestation verifier. It checks that a quote comes from the TPM of a trusted manufacturer, contains this verifier's
//! nonce, and matches the firmware's event log.
//!
//! `cargo run --example verifier --features aws-lc-rs [-- ARGUMENTS]`, with these arguments:
//!
//! - `verifier challenge DEVICE KEPT` reads a device's public areas and writes the challenge for it: a credential and a
//!   nonce.
//! - `verifier DEVICE KEPT` checks the device's response. Without arguments, it checks the response of a software TPM, with
//!   `tests/vectors/rsa2048` for both folders.
//!
//! `DEVICE` contains the files exchanged with the device; none of them is trusted. `KEPT` is private to the verifier: a
//! device that could write there could choose its own challenge, and respond with an old quote.
//!
//! | file | folder | from |
//! |---|---|---|
//! | `ek.pub.tpm2b`, `ak.pub.tpm2b`, `ek.cert.der` | `DEVICE` | the device: its keys' public areas, and the endorsement certificate |
//! | `cred.blob.tpm2tools.bin`, `quote.nonce.bin` | `DEVICE` | the verifier: the challenge |
//! | `refcred.activated.bin` | `DEVICE` | the device: the secret that `tpm2_activatecredential` returned for the credential |
//! | `quote.tpms_attest.bin`, `quote.tpmt_signature.bin` | `DEVICE` | the device: its quote |
//! | `quote.pcrs.values.bin`, `quote.eventlog.bin` | `DEVICE` | the device: its register values, and the firmware's event log |
//! | `ca.root.der`, `ca.intermediate.der` | `KEPT` | the TPM's manufacturer |
//! | `cred.secret.bin`, `ek.name.bin`, `ak.name.bin`, `quote.nonce.bin` | `KEPT` | the verifier: its challenge, and for which keys |

use std::{
    env, fs,
    io::ErrorKind,
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

/// The registers that must be quoted: those of the firmware and the boot loader, and one for applications.
const SELECTION: &str = "sha256:0,1,2,3,4,5,6,7,16";

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/rsa2048");

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_accepted = match arguments[..] {
        ["challenge", device, kept] => {
            challenge(Path::new(device), Path::new(kept)).map(|()| true)?
        }
        [device, kept] => is_accepted(Path::new(device), Path::new(kept))?,
        [] => is_accepted(Path::new(VECTORS), Path::new(VECTORS))?,
        _ => return Err("verifier challenge DEVICE KEPT, or verifier [DEVICE KEPT]".into()),
    };
    Ok(if is_accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Challenges the device to prove that both keys are in one TPM, and to quote its registers.
fn challenge(device: &Path, kept: &Path) -> Outcome<()> {
    let file = |name: &str| fs::read(device.join(name));
    let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")?)?;
    let ak = TpmtPublic::parse_sized(&file("ak.pub.tpm2b")?)?;
    let names = (Name::of(&ek)?, Name::of(&ak)?);
    let (mut secret, mut nonce) = ([0; 32], [0; 32]);
    fill(&mut secret)?;
    fill(&mut nonce)?;
    let credential = make_credential(&AwsLcRs, &ek, &names.1, &secret, &mut fill)?;
    // Without the secret, every check fails. Remove it first and write it last, so that it is never used with old Names or
    // an old nonce.
    match fs::remove_file(kept.join("cred.secret.bin")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for (folder, name, bytes) in [
        (kept, "ek.name.bin", names.0.as_bytes()),
        (kept, "ak.name.bin", names.1.as_bytes()),
        (kept, "quote.nonce.bin", &nonce),
        (device, "quote.nonce.bin", &nonce),
        (device, "cred.blob.tpm2tools.bin", &credential.to_bytes()),
        (kept, "cred.secret.bin", &secret),
    ] {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Checks the device's response. All four parts are needed. For example, without the credential, anyone could present a
/// genuine certificate with a software key, whose public area can contain anything.
fn is_accepted(device: &Path, kept: &Path) -> Outcome<bool> {
    let file = |name: &str| fs::read(device.join(name));
    let own = |name: &str| fs::read(kept.join(name));
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    // The endorsement key belongs to a TPM of a trusted manufacturer.
    let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")?)?;
    let (root, intermediate) = (own("ca.root.der")?, own("ca.intermediate.der")?);
    let (roots, intermediates): ([&[u8]; 1], [&[u8]; 1]) = ([&root], [&intermediate]);
    let mut policy = EkCertificatePolicy::new(&ek, &roots, now, RING);
    policy.intermediates = &intermediates;
    let endorsement = check_ek_certificate(&file("ek.cert.der")?, &policy);
    println!("The endorsement certificate:\n{endorsement}\n");

    // The attestation key is in that TPM: the credential for these two keys was opened.
    let ak = TpmtPublic::parse_sized(&file("ak.pub.tpm2b")?)?;
    let challenged = (own("ek.name.bin")?, own("ak.name.bin")?);
    let name = Name::of(&ak)?;
    let secret = ActivationKey::from_bytes(&own("cred.secret.bin")?)?;
    // Compares proofs in constant time.
    let is_activated = *Name::of(&ek)?.as_bytes() == *challenged.0
        && *name.as_bytes() == *challenged.1
        && ActivationKey::from_bytes(&file("refcred.activated.bin")?)
            .and_then(|opened| secret.verify(&name, &opened.proof(&name)))
            .is_ok();
    println!("The credential was opened: {is_activated}\n");

    // The quote is fresh, covers these registers, and is signed by that key, which signs only data that its TPM has made.
    let selection: TpmlPcrSelection = SELECTION.parse()?;
    let nonce = own("quote.nonce.bin")?;
    let values = file("quote.pcrs.values.bin")?;
    let mut policy = QuotePolicy::new(&nonce, &selection, RING);
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
    println!("The quote:\n{}\n", quote.report);

    // The log leads to the registers of the accepted quote. The operator must decide which values and events are acceptable.
    let Some(registers) = quote.accepted.and_then(|quote| quote.registers) else {
        return Ok(false);
    };
    let log = file("quote.eventlog.bin")?;
    let replayed = check_event_log(&log, &EventLogPolicy::new(&registers));
    println!("The event log:\n{}", replayed.report);

    Ok(endorsement.accepted() && is_activated && replayed.report.accepted())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The files of a software TPM in `device`, and those of its verifier in `kept`.
    fn genuine() -> TempDir {
        let both = tempfile::tempdir().unwrap();
        let device = both.path().join("device");
        let kept = both.path().join("kept");
        fs::create_dir(&device).unwrap();
        fs::create_dir(&kept).unwrap();
        for entry in fs::read_dir(VECTORS).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), device.join(entry.file_name())).unwrap();
        }
        for name in OWN {
            fs::rename(device.join(name), kept.join(name)).unwrap();
        }
        both
    }

    /// The files that the verifier trusts, none of them in the device's folder.
    const OWN: [&str; 6] = [
        "ca.root.der",
        "ca.intermediate.der",
        "cred.secret.bin",
        "ek.name.bin",
        "ak.name.bin",
        "quote.nonce.bin",
    ];

    /// All files are genuine except one that only the TPM could produce, or that belongs to the challenge.
    #[test]
    fn a_device_that_opened_no_credential_is_refused() {
        let both = genuine();
        let (device, kept) = (&both.path().join("device"), &both.path().join("kept"));
        assert!(is_accepted(device, kept).unwrap());
        for path in [
            device.join("refcred.activated.bin"),
            kept.join("ek.name.bin"),
            kept.join("ak.name.bin"),
            kept.join("quote.nonce.bin"),
        ] {
            let genuine = fs::read(&path).unwrap();
            let mut other = genuine.clone();
            *other.last_mut().unwrap() ^= 1;
            fs::write(&path, other).unwrap();
            assert!(!is_accepted(device, kept).unwrap(), "{}", path.display());
            fs::write(&path, genuine).unwrap();
        }
        challenge(device, kept).unwrap();
        assert!(!is_accepted(device, kept).unwrap());
    }

    /// The device gets a new challenge and opens its credential, but returns an old quote with its nonce.
    #[test]
    fn an_old_quote_with_its_nonce_is_refused() {
        let both = genuine();
        let (device, kept) = (&both.path().join("device"), &both.path().join("kept"));
        let old = fs::read(kept.join("quote.nonce.bin")).unwrap();
        challenge(device, kept).unwrap();
        let secret = kept.join("cred.secret.bin");
        fs::copy(secret, device.join("refcred.activated.bin")).unwrap();
        fs::write(device.join("quote.nonce.bin"), &old).unwrap();
        assert!(!is_accepted(device, kept).unwrap());
        // Only the nonce was wrong.
        fs::write(kept.join("quote.nonce.bin"), &old).unwrap();
        assert!(is_accepted(device, kept).unwrap());
    }

    /// No old secret remains when a challenge is only partially written.
    #[test]
    fn a_challenge_that_breaks_off_leaves_no_secret() {
        let both = genuine();
        let (device, kept) = (&both.path().join("device"), &both.path().join("kept"));
        fs::remove_file(kept.join("ek.name.bin")).unwrap();
        fs::create_dir(kept.join("ek.name.bin")).unwrap();
        challenge(device, kept).unwrap_err();
        assert!(!kept.join("cred.secret.bin").exists());
        fs::remove_dir(kept.join("ek.name.bin")).unwrap();
        challenge(device, kept).unwrap();
        assert!(kept.join("cred.secret.bin").exists());
    }
}
