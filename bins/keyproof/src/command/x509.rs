//! `keyproof x509`: verification codes and proofs of possession, offline.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use keyproof_service::{Clock, SystemClock};
use keyproof_store::{Entropy, SystemEntropy};
use keyproof_x509::{
    Certificate, CertificateSummary, Outcome as Verdict, Policy, ProofCheck, Strictness, Upload,
    Validity, VerificationCode, X509Error, algorithms, prove,
    prover::{AwsLcRsSigner, PrivateKey, VerificationLeaf},
};
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::{
    Failure, Outcome,
    files::{pem, read, write},
    flags::{UNIX, number},
    output, report,
};
use crate::server_certificate::{ENCRYPTED_KEY, is_encrypted};

/// How long leaves from this command are valid, in seconds: long enough to upload one.
const LEAF_LIFETIME: u64 = 24 * 60 * 60;
/// How far they are backdated, in seconds, for a verifier whose clock is behind.
const LEAF_BACKDATING: u64 = 60 * 60;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check whether a leaf proves possession of a CA's private key
    Check(CheckArguments),
    /// Generate a verification code
    Code(CodeArguments),
    /// Create the leaf that proves possession of a CA's private key
    Prove(ProveArguments),
    /// Show the contents of a certificate
    Show(ShowArguments),
}

const CHECK_EXAMPLE: &str = "\
Example: keyproof x509 check --ca ca.pem --leaf leaf.pem --code CODE";

const PROVE_EXAMPLE: &str = "\
Example: keyproof x509 prove --ca ca.pem --ca-key ca.key --code CODE --out leaf.pem";

#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLE)]
pub(super) struct CheckArguments {
    /// The CA's certificate, in any upload encoding
    #[arg(long, value_name = "CERT")]
    ca: PathBuf,
    /// The leaf, in any upload encoding
    #[arg(long, value_name = "CERT")]
    leaf: PathBuf,
    /// The code that the leaf must name
    #[arg(long)]
    code: String,
    /// The time, in seconds since 1970; now if absent
    #[arg(long, value_name = "UNIX", value_parser = number::<u64>(UNIX, 0, None))]
    at: Option<u64>,
    /// How strict the check is: as the real service (default), or as RFC 5280 (strict)
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct CodeArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = PROVE_EXAMPLE)]
pub(super) struct ProveArguments {
    /// The CA's certificate, in any upload encoding
    #[arg(long, value_name = "CERT")]
    ca: PathBuf,
    /// The CA's private key: PKCS#8, PKCS#1 or SEC 1, in PEM or DER
    #[arg(long, value_name = "KEY")]
    ca_key: PathBuf,
    /// The verification code
    #[arg(long)]
    code: String,
    /// The file for the leaf; standard output if absent
    #[arg(long, value_name = "F")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ShowArguments {
    /// The certificate, in any upload encoding
    certificate: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PolicyName {
    #[default]
    Default,
    Strict,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Check(arguments) => check(&arguments),
        Command::Code(arguments) => code(&arguments),
        Command::Prove(arguments) => make_leaf(&arguments),
        Command::Show(arguments) => show(&arguments),
    }
}

fn check(arguments: &CheckArguments) -> Outcome {
    let (ca, leaf) = (read(&arguments.ca)?, read(&arguments.leaf)?);
    let ca = decode(&arguments.ca, &ca)?;
    let ca = parse(&arguments.ca, &ca)?;
    let upload = Upload::decode(&leaf);
    if let Err(error @ X509Error::PrivateKeyInUpload { .. }) = &upload {
        return Err(undecoded(&arguments.leaf, error));
    }
    let code = VerificationCode::parse(&arguments.code)?;
    // Without the binding, it would always warn here.
    let code = code.bound_to(ca.sha256_thumbprint(), None);
    let mut policy = Policy::new(algorithms::ALL);
    policy.strictness = match arguments.policy {
        PolicyName::Default => Strictness::Lenient,
        PolicyName::Strict => Strictness::Strict,
    };
    let mut report = match arguments.at {
        Some(at) => prove(&ca, &leaf, &code, at, &policy).at_requested_time(),
        None => prove(&ca, &leaf, &code, SystemClock.now().as_secs(), &policy),
    };
    report.not_requested(
        ProofCheck::Code,
        "only the server knows for which certificate the code was issued, and until when",
    );
    let mut facts = Map::new();
    facts.insert("ca".to_owned(), json!(CertificateSummary::from(&ca)));
    if let Ok(Ok(leaf)) = upload.as_ref().map(Upload::certificate) {
        facts.insert("leaf".to_owned(), json!(CertificateSummary::from(&leaf)));
    }
    report::finish(&report, arguments.json, &facts.into())
}

fn code(arguments: &CodeArguments) -> Outcome {
    let code = VerificationCode::from_random(&draw());
    let code = code.digits();
    output::print_either(arguments.json, &json!({ "code": code }), code)
}

fn make_leaf(arguments: &ProveArguments) -> Outcome {
    let ca = read(&arguments.ca)?;
    let ca = decode(&arguments.ca, &ca)?;
    let ca = parse(&arguments.ca, &ca)?;
    let key = Zeroizing::new(read(&arguments.ca_key)?);
    let key = PrivateKey::from_pem_or_der(&key).map_err(|error| {
        let refused = if is_encrypted(&key) {
            Failure::refused(ENCRYPTED_KEY)
        } else {
            Failure::refused(error)
        };
        refused.about(&arguments.ca_key)
    })?;
    let code = VerificationCode::parse(&arguments.code)?;
    let now = SystemClock.now().as_secs();
    let leaf = VerificationLeaf {
        ca: &ca,
        code: &code,
        validity: Validity::between(
            now.saturating_sub(LEAF_BACKDATING),
            now.saturating_add(LEAF_LIFETIME),
        ),
        serial: draw(),
    };
    let signer = AwsLcRsSigner::new(&key, &ca)
        .map_err(|error| Failure::from(error).about(&arguments.ca_key))?;
    let leaf = leaf.sign(&signer, algorithms::ALL)?;
    warn_of_verdict(&ca, &leaf, code, now);
    let leaf = pem(&leaf)?;
    let inputs: [&Path; 2] = [&arguments.ca, &arguments.ca_key];
    match (&arguments.out, arguments.json) {
        (Some(path), false) => write(path, leaf.as_bytes(), &inputs)?,
        (Some(path), true) => {
            write(path, leaf.as_bytes(), &inputs)?;
            output::print_json(&json!({ "leaf": leaf, "out": path.display().to_string() }))?;
        }
        (None, true) => output::print_json(&json!({ "leaf": leaf }))?,
        (None, false) => output::print(leaf.trim_end())?,
    }
    Ok(())
}

/// Warns of what a verifier of the leaf will refuse or warn of, such as a CA that is not one.
fn warn_of_verdict(ca: &Certificate<'_>, leaf: &[u8], code: VerificationCode, now: u64) {
    let code = code.bound_to(ca.sha256_thumbprint(), None);
    let report = prove(ca, leaf, &code, now, &Policy::new(algorithms::ALL));
    for row in report.rows() {
        if matches!(row.outcome, Verdict::Fail | Verdict::Warn) {
            output::warn(&output::printable(&format!("{}: {}", row.name, row.detail)));
        }
    }
}

fn show(arguments: &ShowArguments) -> Outcome {
    let bytes = read(&arguments.certificate)?;
    let upload = decode(&arguments.certificate, &bytes)?;
    let certificate = parse(&arguments.certificate, &upload)?;
    let mut facts =
        serde_json::to_value(CertificateSummary::from(&certificate)).map_err(Failure::refused)?;
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("encoding".to_owned(), json!(upload.encoding().to_string()));
        let further = upload.further_certificates();
        facts.insert("further_certificates".to_owned(), json!(further));
    }
    if arguments.json {
        return output::print_json(&facts);
    }
    for (name, value) in facts.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => output::printable(text),
            other => output::printable(&other.to_string()),
        };
        output::print(&format!("{:<20}  {value}", name.replace('_', " ")))?;
    }
    Ok(())
}

fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<Upload<'a>, Failure> {
    Upload::decode(bytes).map_err(|error| undecoded(path, &error))
}

fn parse<'a>(path: &Path, upload: &'a Upload<'_>) -> Result<Certificate<'a>, Failure> {
    let parsed = upload.certificate();
    parsed.map_err(|error| Failure::from(error).about(path))
}

/// Returns why a file is not a certificate. Nothing is uploaded here, so a private key in it is not disclosed.
fn undecoded(path: &Path, error: &X509Error) -> Failure {
    let refused = match error {
        X509Error::PrivateKeyInUpload { kind } => Failure::Refused(format!(
            "it contains a private key ({kind}): name a file with only the certificate"
        )),
        other => Failure::refused(other),
    };
    refused.about(path)
}

fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy::new().fill(&mut bytes);
    bytes
}
