//! Validates client certificates of a service's own CA: one is accepted, then revoked by a CRL and rejected.
//!
//! `cargo run --example clients --features prover`: it creates the CA, the client and the CRL itself.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use keyproof_x509::{
    Certificate, Serial, Upload,
    algorithms::RING,
    crl::{Crl, CrlReason, RevocationList, Revoked},
    path::{CertificatePool, PathOptions, PathReport, Purpose, TrustAnchors, find},
    pem_bundle::{self, PemBlock, PemKind},
    prover::{PrivateKey, RingSigner},
    ring::rand::SystemRandom,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Validates a client's certificate against `trusted`, a PEM file of CAs and their CRLs in any order.
fn judge(client: &Certificate<'_>, trusted: &[u8], now: u64) -> Outcome<PathReport> {
    let blocks = pem_bundle::certificates_and_crls(trusted)?;
    let of = |kind| move |block: &&PemBlock| block.kind == kind;
    let certificates = blocks.iter().filter(of(PemKind::Certificate));
    let anchors: TrustAnchors<'_> = certificates.map(|block| block.der.as_slice()).collect();
    let lists = blocks.iter().filter(of(PemKind::Crl));
    let lists: Vec<_> = lists
        .map(|block| Crl::from_der(&block.der))
        .collect::<Result<_, _>>()?;
    let mut options = PathOptions::new(RING, now);
    options.purpose = Some(Purpose::CLIENT_AUTH);
    options.crls = &lists;
    Ok(find(
        client,
        &CertificatePool::default(),
        &anchors,
        &options,
    ))
}

fn main() -> Outcome<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (ca, ca_key, client) = new_ca_and_client()?;
    let client = Certificate::from_der(&client)?;
    // The service's clients by issuer and serial number. A serial number is unique only within one CA.
    let mut clients: HashMap<(String, Serial<'_>), &str> = HashMap::new();
    let of_printer = (client.issuer().to_string(), client.serial());
    clients.insert(of_printer, "the office printer");

    let before = judge(&client, ca.as_bytes(), now)?;
    println!("before:\n{before}\n");

    let upload = Upload::decode(ca.as_bytes())?;
    let issuer = upload.certificate()?;
    let random = SystemRandom::new();
    let key = PrivateKey::from_pem_or_der(ca_key.as_bytes())?;
    let taken_back = [Revoked {
        serial: client.serial(),
        since: now,
        reason: Some(CrlReason::KeyCompromise),
    }];
    let list = RevocationList {
        ca: &issuer,
        number: 1,
        this_update: now,
        next_update: now + 86_400,
        revoked: &taken_back,
    };
    let list = list.sign(&RingSigner::new(&key, &issuer, &random)?, RING)?;
    let parsed = Crl::from_der(&list)?;
    for revoked in parsed.revocations() {
        let of_client = (parsed.issuer().to_string(), revoked.serial);
        let name = clients.get(&of_client).copied();
        println!("taken back: {}\n", name.unwrap_or("an unknown client"));
    }

    let trusted = ca + &PemKind::Crl.to_pem(&list)?;
    let after = judge(&client, trusted.as_bytes(), now)?;
    println!("after:\n{after}");
    if !before.accepted() || after.accepted() {
        return Err("the list is not what decided".into());
    }
    Ok(())
}

/// Creates a CA and returns its certificate and key as PEM, and a client certificate that it issued.
fn new_ca_and_client() -> Outcome<(String, String, Vec<u8>)> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "Example Client CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let pem = ca.self_signed(&ca_key)?.pem();
    let mut client = rcgen::CertificateParams::default();
    client
        .distinguished_name
        .push(rcgen::DnType::CommonName, "printer");
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    client.serial_number = Some(rcgen::SerialNumber::from(vec![1, 2, 3]));
    let key = rcgen::KeyPair::generate()?;
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let client = client.signed_by(&key, &issuer)?.der().to_vec();
    Ok((pem, ca_key.serialize_pem(), client))
}
