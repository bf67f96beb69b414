//! The onboarding of a CA with both sides in one program: a service that issues a code and validates the proof, and the CA's
//! owner, who signs it.
//!
//! `cargo run --example onboarding --features prover [CA.pem CA.key]`: without files it creates its own CA.

use std::{
    env, fs,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_x509::{
    CertificateSummary, OwnedCertificate, Policy, ProofFinding, Redemption, Report, Upload,
    Validity, VerificationCode,
    algorithms::RING,
    prover::{PrivateKey, RingSigner, VerificationLeaf},
    ring::rand::{SecureRandom, SystemRandom},
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The state of a CA that the service stores between two requests.
struct Onboarding {
    ca: OwnedCertificate,
    code: Option<VerificationCode>,
}

impl Onboarding {
    /// Handles the first request: an upload in any encoding.
    fn begin(upload: &[u8], now: u64) -> Outcome<Self> {
        let upload = Upload::decode(upload)?;
        let ca = upload.certificate()?;
        println!("uploaded: {}", CertificateSummary::from(&ca).subject);
        let code = VerificationCode::issue(&random()?, &ca, Some(now + 3_600));
        Ok(Self {
            ca: OwnedCertificate::from(ca),
            code: Some(code),
        })
    }

    /// Handles the second request: an accepted proof consumes the code; after a refused one it can be used again.
    fn verify(&mut self, leaf: &[u8], now: u64) -> Outcome<Report<ProofFinding>> {
        let code = self.code.take().ok_or("the code has been used")?;
        let ca = self.ca.certificate();
        Ok(match code.redeem(&ca, leaf, now, &Policy::new(RING)) {
            Redemption::Spent { report } => report,
            Redemption::Kept { report, code } => {
                self.code = Some(code);
                report
            }
        })
    }
}

/// The owner's side: signs a leaf that contains the code with the CA's private key.
fn sign(ca: &[u8], key: &[u8], code: &str, now: u64) -> Outcome<Vec<u8>> {
    let upload = Upload::decode(ca)?;
    let ca = &upload.certificate()?;
    let code = &VerificationCode::parse(code)?;
    let key = PrivateKey::from_pem_or_der(key)?;
    let source = SystemRandom::new();
    let signer = RingSigner::new(&key, ca, &source)?;
    let leaf = VerificationLeaf {
        ca,
        code,
        validity: Validity::between(now - 3_600, now + 86_400),
        serial: random()?,
    };
    Ok(leaf.sign(&signer, RING)?)
}

fn main() -> Outcome<ExitCode> {
    let files: Vec<String> = env::args().skip(1).collect();
    let (ca, key) = match files.as_slice() {
        [] => new_ca()?,
        [ca, key] => (fs::read(ca)?, fs::read(key)?),
        _ => return Err("usage: onboarding [CA.pem CA.key]".into()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    let mut onboarding = Onboarding::begin(&ca, now)?;
    let code = onboarding
        .code
        .as_ref()
        .map_or("", VerificationCode::digits);
    println!("code: {code}\n");
    let leaf = sign(&ca, &key, code, now)?;

    println!("a certificate that does not name the code:");
    println!("{}\n", onboarding.verify(&ca, now)?);
    println!("the proof:");
    let report = onboarding.verify(&leaf, now)?;
    println!("{report}");
    Ok(if report.accepted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn new_ca() -> Outcome<(Vec<u8>, Vec<u8>)> {
    let key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "Example CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let pem = ca.self_signed(&key)?.pem();
    Ok((pem.into_bytes(), key.serialize_pem().into_bytes()))
}

fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the system gives no random bytes")?;
    Ok(bytes)
}
