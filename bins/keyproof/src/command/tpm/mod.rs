//! `keyproof tpm`: checks what TPMs write and sign, offline; provisions and attests devices; and manages the TPM
//! manufacturers' CAs and the stations' client certificates in the store.

mod attestations;
mod client_certificate;
mod event_log;
mod files;
mod show;
mod station;
mod trust;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use keyproof_service::{Clock, SystemClock};
use keyproof_store::{Entropy, SystemEntropy};
use keyproof_tpm::{
    ActivationKey, AttestationFinding, AttestationReason, AttestationReport, Attested, AwsLcRs,
    EkCertificate, EkCertificatePolicy, Name, QuoteCheck, QuoteEvidence, QuotePolicy, Structure,
    TpmError, TpmlPcrSelection, TpmsAttest, algorithms, check_ek_certificate, check_quote,
    make_credential,
};
use keyproof_x509::crl::Crl;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Failure, Outcome,
    files::{pem, read, write},
    flags::{NOT_HEX, UNIX, number},
    output, report,
};
use files::{certificate, pcr_file, public, revocation_lists, trusted, wrong};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check that a TPM certifies an object that it has loaded
    CheckCertify(attestations::CertifyArguments),
    /// Check that a TPM certifies how it created an object
    CheckCreation(attestations::CreationArguments),
    /// Check an endorsement certificate
    CheckEk(CheckEkArguments),
    /// Check that a TPM certifies the contents of one of its NV indices
    CheckNv(attestations::NvArguments),
    /// Check a quote
    CheckQuote(CheckQuoteArguments),
    /// Check a TPM's clock, counters and firmware, from its attestation
    CheckTime(attestations::TimeArguments),
    /// Renew the client certificates of stations in the store
    #[command(subcommand)]
    ClientCertificate(client_certificate::Command),
    /// Make a credential for one key that only one TPM can open
    MakeCredential(MakeCredentialArguments),
    /// Decrypt the certificate in a provision response, with the key that the TPM took from the credential
    OpenProvision(OpenProvisionArguments),
    /// Replay an event log, and compare it with registers
    ReplayLog(event_log::Arguments),
    /// Show the contents of a TPM's file: a public area, attestation, signature, credential or EK certificate
    Show(ShowArguments),
    /// Provision a device and have it attest, on a machine with a TPM and tpm2-tools
    #[command(subcommand)]
    Station(station::Command),
    /// Manage the TPM manufacturers' CAs in the store
    #[command(subcommand)]
    Trust(trust::Command),
}

const QUOTE_EXAMPLE: &str = "\
Example: keyproof tpm check-quote --ak ak.pub --attest attest.bin --signature signature.bin \\
    --nonce NONCE --pcrs pcrs.bin --selection sha256:0,1,7
The files are those of
  tpm2_quote -c ak.ctx -l sha256:0,1,7 -q NONCE -m attest.bin -s signature.bin -o pcrs.bin";

#[derive(Args, Debug)]
#[command(after_help = QUOTE_EXAMPLE)]
pub(super) struct CheckQuoteArguments {
    #[command(flatten)]
    signed: attestations::Signed,
    /// The nonce that was sent with the request for the quote
    #[arg(long, value_name = "HEX")]
    nonce: Hex,
    /// The registers' values, concatenated in selection order, or as tpm2_quote writes them by default
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// The requested registers, such as sha256:0,1,2
    #[arg(long)]
    selection: Option<TpmlPcrSelection>,
    /// The endorsement key that is the attestation key's parent
    #[arg(long, value_name = "PUB")]
    ek: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct CheckEkArguments {
    /// The certificate, in DER or PEM or as in a TPM's NV memory
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The endorsement key's TPM2B_PUBLIC or TPMT_PUBLIC
    #[arg(long = "pub", value_name = "PUB")]
    public: Option<PathBuf>,
    /// The manufacturers' roots; an intermediate CA is a root, too, unless its issuer is also in the file
    #[arg(long, value_name = "PEM")]
    roots: PathBuf,
    /// Intermediate certificates
    #[arg(long, value_name = "PEM")]
    intermediates: Option<PathBuf>,
    /// Certificate revocation lists (CRLs) of the issuers, in PEM or one in DER
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// The time, in seconds since 1970; now if absent
    #[arg(long, value_name = "UNIX", value_parser = number::<u64>(UNIX, 0, None))]
    at: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct MakeCredentialArguments {
    /// The endorsement key's TPM2B_PUBLIC or TPMT_PUBLIC
    #[arg(long, value_name = "PUB")]
    ek: PathBuf,
    /// The Name of the key that the credential is for
    #[arg(long, value_name = "HEX")]
    name: Hex,
    /// The secret, unencoded
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// The credential file to write, for tpm2_activatecredential
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct OpenProvisionArguments {
    /// The 32 bytes that the TPM took from the response's credential
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The provision response
    #[arg(value_name = "RESPONSE.json")]
    response: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ShowArguments {
    /// The file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Bytes in hexadecimal, in either case, with or without `0x`, which firmware versions are shown with.
#[derive(Clone, Debug)]
struct Hex(Vec<u8>);

impl std::str::FromStr for Hex {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
        bytes.map(Self).map_err(|_| NOT_HEX)
    }
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::CheckCertify(arguments) => attestations::certify(&arguments),
        Command::CheckCreation(arguments) => attestations::creation(&arguments),
        Command::CheckEk(arguments) => check_ek(&arguments),
        Command::CheckNv(arguments) => attestations::nv(&arguments),
        Command::CheckQuote(arguments) => quote(&arguments),
        Command::CheckTime(arguments) => attestations::time(&arguments),
        Command::ClientCertificate(command) => client_certificate::run(command),
        Command::MakeCredential(arguments) => credential(&arguments),
        Command::OpenProvision(arguments) => open_provision(&arguments),
        Command::ReplayLog(arguments) => event_log::run(&arguments),
        Command::Show(arguments) => show::run(&arguments.file, arguments.json),
        Command::Station(command) => station::run(command),
        Command::Trust(command) => trust::run(command),
    }
}

fn quote(arguments: &CheckQuoteArguments) -> Outcome {
    let (ak, attest, signature) = arguments.signed.read()?;
    let ek = arguments.ek.as_deref().map(public).transpose()?;
    let pcrs = arguments.pcrs.as_deref().map(pcr_file).transpose()?;
    let evidence = QuoteEvidence {
        attest: &attest,
        signature: &signature,
        pcr_values: pcrs.as_ref().map(|pcrs| &*pcrs.values),
    };
    let mut policy = QuotePolicy::without_selection(&arguments.nonce.0, algorithms::ALL);
    policy.selection = arguments.selection.as_ref();
    policy.ek = ek.as_ref();
    let mut report = check_quote(&ak, &evidence, &policy).report;
    if let Some(named) = pcrs.as_ref().and_then(|pcrs| pcrs.selection.as_ref()) {
        check_named(&mut report, &attest, named);
    }
    let name = Name::of(&ak).map(|name| name.to_string()).ok();
    report::finish(&report, arguments.json, &json!({ "ak_name": name }))
}

/// Checks that the file of values names the quoted registers. The names in the file are not signed.
fn check_named(
    report: &mut AttestationReport<QuoteCheck>,
    attest: &[u8],
    named: &TpmlPcrSelection,
) {
    let Ok(Attested::Quote(quote)) = TpmsAttest::parse(attest).map(|attest| attest.attested) else {
        return;
    };
    if !named.selects_same(&quote.pcr_select) {
        report.add(AttestationFinding {
            check: QuoteCheck::PcrSelection,
            reason: AttestationReason::ValuesSelectionMismatch {
                named: named.clone(),
                quoted: quote.pcr_select,
            },
        });
    }
}

fn check_ek(arguments: &CheckEkArguments) -> Outcome {
    let stored = read(&arguments.cert)?;
    let certificate = certificate(&stored).map_err(|problem| wrong(&arguments.cert, &problem))?;
    let ek = arguments.public.as_deref().map(public).transpose()?;
    let roots = trusted(&arguments.roots)?;
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let intermediates = match &arguments.intermediates {
        Some(path) => trusted(path)?,
        None => Vec::new(),
    };
    let intermediates: Vec<&[u8]> = intermediates.iter().map(Vec::as_slice).collect();
    let lists = match &arguments.crl {
        Some(path) => revocation_lists(path)?,
        None => Vec::new(),
    };
    let crls = lists.iter().map(|der| Crl::from_der(der));
    let crls = crls.collect::<Result<Vec<_>, _>>()?;
    let now = arguments.at.unwrap_or_else(|| SystemClock.now().as_secs());
    let mut policy = EkCertificatePolicy::without_key(&roots, now, algorithms::ALL);
    policy.ek = ek.as_ref();
    policy.intermediates = &intermediates;
    policy.crls = &crls;
    let report = check_ek_certificate(&certificate, &policy);
    let parsed = EkCertificate::parse(&certificate);
    let tpm = parsed.and_then(|certificate| certificate.tpm_attributes());
    report::finish(&report, arguments.json, &json!({ "tpm": tpm.ok() }))
}

fn credential(arguments: &MakeCredentialArguments) -> Outcome {
    let ek = public(&arguments.ek)?;
    let name = Name::parse(&arguments.name.0)
        .map_err(|error| Failure::Refused(format!("--name: {error}")))?;
    let secret = Zeroizing::new(read(&arguments.secret_file)?);
    let entropy = SystemEntropy::new();
    let mut random = |bytes: &mut [u8]| {
        entropy.fill(bytes);
        Ok::<_, Infallible>(())
    };
    let credential = make_credential(&AwsLcRs, &ek, &name, &secret, &mut random);
    let credential = credential.map_err(TpmError::from)?;
    let bytes = credential.to_bytes();
    let inputs: [&Path; 2] = [&arguments.ek, &arguments.secret_file];
    write(&arguments.out, &bytes, &inputs)?;
    if arguments.json {
        let credential = BASE64.encode(&bytes);
        let out = arguments.out.display().to_string();
        output::print_json(&json!({ "credential": credential, "out": out }))?;
    }
    Ok(())
}

/// The part of a provision response that contains the certificate.
#[derive(Deserialize)]
struct SealedAnswer {
    /// In Base64.
    encrypted_ak_cert: String,
    /// In Base64.
    nonce: String,
    /// In PEM.
    #[serde(default)]
    ak_cert_chain: String,
}

impl SealedAnswer {
    /// Decrypts the certificate, in DER.
    fn open(&self, key: &ActivationKey) -> Result<Vec<u8>, Failure> {
        let refused = |what: &str| Failure::Refused(what.to_owned());
        let decode = |text: &str| BASE64.decode(text.as_bytes());
        let sealed = decode(&self.encrypted_ak_cert)
            .map_err(|_| refused("encrypted_ak_cert is not Base64"))?;
        let nonce: [u8; 12] = decode(&self.nonce)
            .ok()
            .and_then(|nonce| nonce.try_into().ok())
            .ok_or_else(|| refused("nonce is not 12 bytes in Base64"))?;
        Ok(key.open(&nonce, &sealed)?)
    }
}

fn open_provision(arguments: &OpenProvisionArguments) -> Outcome {
    let key = Zeroizing::new(read(&arguments.key)?);
    let answer: SealedAnswer =
        serde_json::from_slice(&read(&arguments.response)?).map_err(|error| {
            let problem = format!("not a provision response: {error}");
            wrong(&arguments.response, &problem)
        })?;
    let key = ActivationKey::from_bytes(&key)
        .map_err(|_| wrong(&arguments.key, &"a key has 32 bytes"))?;
    let opened = answer.open(&key);
    let pem = pem(&opened.map_err(|failure| failure.about(&arguments.response))?)?;
    let document = json!({ "certificate": pem, "chain": answer.ak_cert_chain });
    output::print_either(arguments.json, &document, pem.trim_end())
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
