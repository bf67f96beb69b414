//! The targets of `keyproof-tpm`: each structure, credential files, endorsement certificates, event logs,
//! and attestations with changes.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target reports by a panic"
)]

use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, Buffer, CertifyPolicy,
    CreationEvidence, CreationPolicy, Credential, DevIdKeyPolicy, EkCertificate,
    EkCertificatePolicy, EkChain, EncryptedSecret, EventLog, EventLogCheck, EventLogPolicy,
    EventTrust, HashAlgorithm, KeyProfile, Name, NvCertifyPolicy, Outcome, QuoteEvidence,
    QuotePolicy, Structure, TimePolicy, TpmError, TpmlPcrSelection, TpmsAttest, TpmsCreationData,
    TpmsIdObject, TpmsNvPublic, TpmsPcrSelection, TpmtPublic, TpmtSignature, TpmtTkCreation,
    algorithms, check_certify, check_creation, check_ek_certificate, check_event_log,
    check_nv_certify, check_quote, check_time,
};

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../../crates/tpm/tests/vectors/", $file))
    };
}

/// Public areas, and what is derived from them.
pub fn public(data: &[u8]) {
    comes_back::<TpmtPublic>(data);
    let Ok(public) = TpmtPublic::parse_either(data) else {
        return;
    };
    let _ = Name::of(&public);
    let _ = AttestationKeyPolicy::default().check(&public).to_string();
    if let Ok(spki) = public.to_spki()
        && let Ok(ek) = TpmtPublic::endorsement_from_spki(&spki)
    {
        assert_eq!(ek.to_spki().as_ref(), Ok(&spki));
        assert!(keyproof_tpm::EndorsementTemplate::of(&ek).is_ok());
    }
}

/// Attestations.
pub fn attest(data: &[u8]) {
    comes_back::<TpmsAttest>(data);
}

/// Signatures.
pub fn signature(data: &[u8]) {
    comes_back::<TpmtSignature>(data);
}

/// Selections of registers, as bytes and as text.
pub fn pcr_selection(data: &[u8]) {
    comes_back::<TpmlPcrSelection>(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match text.parse::<TpmlPcrSelection>() {
        Ok(selection) => {
            let shown = selection.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&selection));
            assert_eq!(
                TpmlPcrSelection::parse(&selection.to_bytes()),
                Ok(selection)
            );
        }
        Err(error) => points_into(data, &error),
    }
}

/// What `TPM2_MakeCredential` returns first.
pub fn id_object(data: &[u8]) {
    comes_back::<TpmsIdObject>(data);
}

/// What `TPM2_MakeCredential` returns second.
pub fn encrypted_secret(data: &[u8]) {
    comes_back::<EncryptedSecret>(data);
}

/// Creation data.
pub fn creation_data(data: &[u8]) {
    comes_back::<TpmsCreationData>(data);
    comes_back::<TpmtTkCreation>(data);
}

/// Credential files of tpm2-tools.
pub fn credential_file(data: &[u8]) {
    comes_back::<Credential>(data);
}

/// Endorsement certificates, as they lie in NV memory: only those that the CA signed are accepted.
pub fn ek_certificate(data: &[u8]) {
    let genuine = [
        &vector!("eccp256/ek.cert.der")[..],
        vector!("rsa2048/ek.cert.der"),
    ];
    let parsed = EkCertificate::parse(data);
    if let Ok(certificate) = &parsed {
        let _ = certificate.tpm_attributes();
        let _ = certificate.tpm_specification();
    }
    for chain in [EkChain::from_pem(data), EkChain::from_der(data)] {
        match chain {
            Ok(chain) => assert!((1..=8).contains(&chain.certificates().count())),
            Err(error) => points_into(data, &error),
        }
    }
    let policy = EkCertificatePolicy {
        ek: None,
        allowed: &[],
        roots: &[vector!("eccp256/ca.root.der")],
        intermediates: &[vector!("eccp256/ca.intermediate.der")],
        crls: &[],
        now: 1_800_000_000,
        algorithms: algorithms::RING,
    };
    let report = check_ek_certificate(data, &policy);
    let is_genuine = parsed.is_ok_and(|certificate| genuine.contains(&certificate.as_der()));
    assert_eq!(report.accepted(), is_genuine, "{report}");
}

/// `sound` with bytes changed: each four bytes of `data` say in which part, where and how.
fn edited(sound: &[Vec<u8>], data: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = sound.to_vec();
    for edit in data.chunks_exact(4) {
        let count = parts.len();
        let part = &mut parts[usize::from(edit[0] & 0x3f) % count];
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]]));
        match edit[0] >> 6 {
            0 if at < part.len() => {
                part.remove(at);
            }
            1 if at <= part.len() => part.insert(at, edit[3]),
            _ if at < part.len() => part[at] ^= edit[3],
            _ => {}
        }
    }
    parts
}

fn key(sized: &[u8]) -> TpmtPublic {
    TpmtPublic::parse_sized(sized).expect("a public area")
}

fn attestation_policy() -> AttestationPolicy<'static> {
    AttestationPolicy {
        nonce: None,
        qualified_signer: None,
        last_seen: None,
        key_policy: AttestationKeyPolicy::default(),
        algorithms: algorithms::RING,
    }
}

/// A certification of a TPM with changes to attestation, signature and object. Only the unchanged one is
/// accepted.
pub fn certify_mutated(data: &[u8]) {
    let sound = [
        vector!("eccp256/certify.tpms_attest.bin").to_vec(),
        vector!("eccp256/certify.tpmt_signature.bin").to_vec(),
        vector!("eccp256/dev.pub.tpm2b").to_vec(),
    ];
    let parts = edited(&sound, data);
    let Ok(object) = TpmtPublic::parse_sized(&parts[2]) else {
        return;
    };
    let evidence = AttestationEvidence {
        attest: &parts[0],
        signature: &parts[1],
    };
    let policy = CertifyPolicy {
        attestation: attestation_policy(),
        object: &object,
        parent: None,
        profile: KeyProfile::DevId(DevIdKeyPolicy::default()),
    };
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_certify(&ak, evidence, &policy);
    assert_eq!(report.accepted(), parts == sound, "{report}");
}

/// A certified creation of a TPM with changes to attestation, signature, creation data and object. Only the
/// unchanged one is accepted.
pub fn creation_mutated(data: &[u8]) {
    let sound = [
        vector!("eccp256/certifycreation.tpms_attest.bin").to_vec(),
        vector!("eccp256/certifycreation.tpmt_signature.bin").to_vec(),
        vector!("eccp256/dev.creation_data.tpm2b")[2..].to_vec(),
        vector!("eccp256/dev.pub.tpm2b").to_vec(),
    ];
    let parts = edited(&sound, data);
    let Ok(object) = TpmtPublic::parse_sized(&parts[3]) else {
        return;
    };
    let evidence = CreationEvidence {
        attestation: AttestationEvidence {
            attest: &parts[0],
            signature: &parts[1],
        },
        creation_data: &parts[2],
        ticket: None,
    };
    let policy = CreationPolicy {
        attestation: attestation_policy(),
        object: &object,
        profile: KeyProfile::DevId(DevIdKeyPolicy::default()),
        parent: None,
        outside_info: None,
    };
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_creation(&ak, &evidence, &policy);
    assert_eq!(report.accepted(), parts == sound, "{report}");
}

/// An attested time of a TPM with changes to attestation and signature. Only the unchanged one is accepted.
pub fn time_mutated(data: &[u8]) {
    let sound = [
        vector!("eccp256/gettime.tpms_attest.bin").to_vec(),
        vector!("eccp256/gettime.tpmt_signature.bin").to_vec(),
    ];
    let parts = edited(&sound, data);
    let evidence = AttestationEvidence {
        attest: &parts[0],
        signature: &parts[1],
    };
    let policy = TimePolicy {
        attestation: attestation_policy(),
        firmware_version: None,
    };
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_time(&ak, evidence, &policy);
    assert_eq!(report.accepted(), parts == sound, "{report}");
}

/// A certified NV index with any body, which nobody has signed: never accepted.
pub fn nv_certify(data: &[u8]) {
    let genuine = vector!("eccp256/certify.tpms_attest.bin");
    // The frame of an attestation, up to its body, with the type of an NV index or of its digest.
    let name_size = 2 + 34;
    let data_size = 2 + 4;
    let mut attest = genuine[..6 + name_size + data_size + 25].to_vec();
    attest[4..6].copy_from_slice(match data.first() {
        Some(0x1c) => &[0x80, 0x1c],
        _ => &[0x80, 0x14],
    });
    attest.extend(data.iter().skip(1));
    comes_back::<TpmsAttest>(&attest);
    comes_back::<TpmsNvPublic>(data);
    let index = TpmsNvPublic::parse(data).unwrap_or(TpmsNvPublic {
        nv_index: 0x0180_0000,
        name_alg: HashAlgorithm::Sha256,
        attributes: 0x2000_0000,
        auth_policy: Buffer::default(),
        data_size: 8,
    });
    let evidence = AttestationEvidence {
        attest: &attest,
        signature: vector!("eccp256/certify.tpmt_signature.bin"),
    };
    let policy = NvCertifyPolicy {
        attestation: attestation_policy(),
        index: &index,
        contents: Some(data),
        offset: 0,
    };
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    assert!(!check_nv_certify(&ak, evidence, &policy).accepted());
}

/// Event logs: what a log leads to is accepted as that, and nothing else is; what is trusted in it is what
/// was measured.
pub fn event_log(data: &[u8]) {
    let log = match EventLog::parse(data) {
        Ok(log) => log,
        Err(error) => {
            points_into(data, &error);
            let policy = EventLogPolicy::default();
            assert!(!check_event_log(data, &policy).report.accepted());
            return;
        }
    };
    let hash = log.banks().next().unwrap_or(HashAlgorithm::Sha256);
    let Ok(replay) = log.replay(hash, 0) else {
        return;
    };
    let known = (0..32).filter(|index| replay.lacking(*index).is_none());
    let selection: TpmlPcrSelection = TpmsPcrSelection::new(hash, known).into_iter().collect();
    let mut values = Vec::new();
    for index in selection.banks().iter().flat_map(|bank| bank.registers()) {
        values.extend_from_slice(replay.value(index).expect("a register"));
    }
    let check = |values: &[u8]| {
        let policy = EventLogPolicy {
            registers: Some((&selection, values)),
            secure_boot: false,
        };
        let replayed = check_event_log(data, &policy);
        let outcome = replayed.report.outcome(EventLogCheck::Registers);
        (outcome, replayed)
    };
    if values.is_empty() {
        return;
    }
    let (outcome, replayed) = check(&values);
    // The log may say, or PCR 0 begin with, another locality.
    let says_locality = replayed.locality != 0;
    assert!(
        outcome == Outcome::Pass || says_locality,
        "{}",
        replayed.report
    );
    for (event, trust) in log.events.iter().zip(&replayed.trust) {
        if *trust == EventTrust::Data {
            let measured = hash.digest(&[event.data]).expect("a hash");
            assert_eq!(event.digest(hash), Some(&*measured));
        }
    }
    if let Some(last) = values.last_mut() {
        *last ^= 1;
    }
    assert_eq!(check(&values).0, Outcome::Fail);
}

/// A quote of a TPM with changes to attestation, signature and values. Only the unchanged one is accepted.
pub fn quote_mutated(data: &[u8]) {
    let sound = [
        vector!("eccp256/quote.tpms_attest.bin").to_vec(),
        vector!("eccp256/quote.tpmt_signature.bin").to_vec(),
        vector!("eccp256/quote.pcrs.values.bin").to_vec(),
    ];
    let parts = edited(&sound, data);
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let ek = key(vector!("eccp256/ek.pub.tpm2b"));
    let selection = "sha256:0,1,2,3,4,5,6,7,16".parse().expect("a selection");
    let evidence = QuoteEvidence {
        attest: &parts[0],
        signature: &parts[1],
        pcr_values: Some(&parts[2]),
    };
    let policy = QuotePolicy {
        nonce: vector!("eccp256/quote.nonce.bin"),
        selection: Some(&selection),
        ek: Some(&ek),
        last_seen: None,
        key_policy: AttestationKeyPolicy::default(),
        algorithms: algorithms::RING,
    };
    let report = check_quote(&ak, &evidence, &policy);
    assert_eq!(report.accepted(), parts == sound, "{report}");
}

/// Whatever is taken is written back byte for byte, bare or behind its size; an error points into
/// the input.
fn comes_back<S: Structure>(data: &[u8]) {
    match S::parse(data) {
        Ok(structure) => assert_eq!(structure.to_bytes(), data),
        Err(error) => points_into(data, &error),
    }
    match S::parse_sized(data) {
        Ok(structure) => assert_eq!(structure.to_sized_bytes(), data),
        Err(error) => points_into(data, &error),
    }
}

fn points_into(data: &[u8], error: &TpmError) {
    assert!(
        error.position().is_none_or(|at| at <= data.len()),
        "{error:?}"
    );
}
