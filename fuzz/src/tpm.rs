//! The targets of `keyproof-tpm`: each structure, credential files, endorsement certificates, and
//! quotes with changes.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target reports by a panic"
)]

use keyproof_tpm::{
    AttestationKeyPolicy, Credential, EkCertificate, EkCertificatePolicy, EncryptedSecret, Name,
    QuoteEvidence, QuotePolicy, Structure, TpmError, TpmlPcrSelection, TpmsAttest,
    TpmsCreationData, TpmsIdObject, TpmtPublic, TpmtSignature, algorithms, check_ek_certificate,
    check_quote,
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

/// A quote of a TPM in which bytes are changed: each four bytes of `data` say in which part, where
/// and how. Only the unchanged one is accepted.
pub fn quote_mutated(data: &[u8]) {
    let sound = [
        vector!("eccp256/quote.tpms_attest.bin").to_vec(),
        vector!("eccp256/quote.tpmt_signature.bin").to_vec(),
        vector!("eccp256/quote.pcrs.values.bin").to_vec(),
    ];
    let mut parts = sound.clone();
    for edit in data.chunks_exact(4) {
        let part = &mut parts[usize::from(edit[0] & 0x3f) % 3];
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
    let ak = TpmtPublic::parse_sized(vector!("eccp256/ak.pub.tpm2b")).expect("a public area");
    let ek = TpmtPublic::parse_sized(vector!("eccp256/ek.pub.tpm2b")).expect("a public area");
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
