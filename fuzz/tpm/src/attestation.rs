//! Attestations of a TPM, with changes.

use keyproof_tpm::{
    AttestationEvidence, AttestationPolicy, Attested, Buffer, CertifyPolicy, CreationEvidence,
    CreationPolicy, DevIdKeyPolicy, HashAlgorithm, KeyProfile, NvCertifyCheck, NvCertifyPolicy,
    Outcome, QuoteEvidence, QuotePolicy, Structure, TimePolicy, TpmsAttest, TpmsNvPublic,
    TpmtPublic, TpmtSignature, algorithms, check_certify, check_creation, check_nv_certify,
    check_quote, check_time,
};

use crate::{report::sound as sound_report, structure::comes_back, vectors::vector};

/// Returns `sound` with changed bytes: each four bytes of `data` give the part, the offset and the change.
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

/// Whether the parts are the sound ones, of which the second is a signature. The numbers of an ECDSA signature may have leading
/// zeros, which change neither.
fn unchanged(parts: &[Vec<u8>], sound: &[Vec<u8>]) -> bool {
    let without_zeros = |number: Buffer| {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        number[zeros..].to_vec()
    };
    let numbers = |signature: &[u8]| match TpmtSignature::parse(signature) {
        Ok(TpmtSignature::Ecdsa { hash, r, s }) => Some((hash, without_zeros(r), without_zeros(s))),
        _ => None,
    };
    let [attest, signature, rest @ ..] = parts else {
        return false;
    };
    let same_signature = *signature == sound[1]
        || numbers(signature).is_some_and(|own| Some(own) == numbers(&sound[1]));
    *attest == sound[0] && same_signature && *rest == sound[2..]
}

fn key(sized: &[u8]) -> TpmtPublic {
    TpmtPublic::parse_sized(sized).expect("a public area")
}

fn attestation_policy() -> AttestationPolicy<'static> {
    AttestationPolicy::without_nonce(algorithms::RING)
}

/// A TPM's key certification, with changes to the attestation, the signature and the object. Only the unchanged one is accepted.
pub fn certify(data: &[u8]) {
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
    let policy = CertifyPolicy::new(
        attestation_policy(),
        &object,
        KeyProfile::DevId(DevIdKeyPolicy::default()),
    );
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_certify(&ak, evidence, &policy).report;
    sound_report(&report);
    assert_eq!(report.accepted(), unchanged(&parts, &sound), "{report}");
}

/// A TPM's certified creation, with changes to the attestation, the signature, the creation data and the object. Only the unchanged
/// one is accepted.
pub fn creation(data: &[u8]) {
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
    let policy = CreationPolicy::new(
        attestation_policy(),
        &object,
        KeyProfile::DevId(DevIdKeyPolicy::default()),
    );
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_creation(&ak, &evidence, &policy).report;
    sound_report(&report);
    assert_eq!(report.accepted(), unchanged(&parts, &sound), "{report}");
}

/// A TPM's attested time, with changes to the attestation and the signature. Only the unchanged one is accepted.
pub fn time(data: &[u8]) {
    let sound = [
        vector!("eccp256/gettime.tpms_attest.bin").to_vec(),
        vector!("eccp256/gettime.tpmt_signature.bin").to_vec(),
    ];
    let parts = edited(&sound, data);
    let evidence = AttestationEvidence {
        attest: &parts[0],
        signature: &parts[1],
    };
    let policy = TimePolicy::new(attestation_policy());
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_time(&ak, evidence, &policy).report;
    sound_report(&report);
    assert_eq!(report.accepted(), unchanged(&parts, &sound), "{report}");
}

/// A certified NV index with any body. It is unsigned, so it is never accepted.
pub fn nv_certify(data: &[u8]) {
    let genuine = vector!("eccp256/certify.tpms_attest.bin");
    // The header of an attestation, up to its body, with the type of an NV index or of its digest.
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
    // If a body ends with the index's contents, these may be the contents.
    let contents = data.get(data.len().saturating_sub(8)..).unwrap_or_default();
    let evidence = AttestationEvidence {
        attest: &attest,
        signature: vector!("eccp256/certify.tpmt_signature.bin"),
    };
    let mut policy = NvCertifyPolicy::new(attestation_policy(), &index);
    policy.contents = Some(contents);
    let ak = key(vector!("eccp256/ak.pub.tpm2b"));
    let report = check_nv_certify(&ak, evidence, &policy).report;
    sound_report(&report);
    assert!(!report.accepted());
    if report.outcome(NvCertifyCheck::Contents) == Outcome::Pass {
        match TpmsAttest::parse(&attest).map(|attest| attest.attested) {
            Ok(Attested::Nv(body)) => {
                assert!(body.offset == 0 && *body.nv_contents == *contents);
            }
            Ok(Attested::NvDigest(body)) => {
                let digest = HashAlgorithm::Sha256.digest(&[contents]).expect("SHA-256");
                assert_eq!(*body.nv_digest, *digest);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A TPM's quote, with changes to the attestation, the signature and the values. Only the unchanged one is accepted.
pub fn quote(data: &[u8]) {
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
    let mut policy = QuotePolicy::new(
        vector!("eccp256/quote.nonce.bin"),
        &selection,
        algorithms::RING,
    );
    policy.ek = Some(&ek);
    let report = check_quote(&ak, &evidence, &policy).report;
    sound_report(&report);
    assert_eq!(report.accepted(), unchanged(&parts, &sound), "{report}");
}

/// The parts of a quote by another type of key.
struct Quoted {
    ak: &'static [u8],
    nonce: &'static [u8],
    attest: &'static [u8],
    signature: &'static [u8],
    values: &'static [u8],
}

macro_rules! quoted {
    ($folder:literal) => {
        Quoted {
            ak: vector!($folder, "ak.pub.tpm2b"),
            nonce: vector!($folder, "quote.nonce.bin"),
            attest: vector!($folder, "quote.tpms_attest.bin"),
            signature: vector!($folder, "quote.tpmt_signature.bin"),
            values: vector!($folder, "quote.pcrs.values.bin"),
        }
    };
}

/// A quote by a key on P-384, by an RSASSA key or by an RSAPSS key, as byte 0 selects, with changes to the attestation, the
/// signature, the values and the key. Only the unchanged one is accepted.
pub fn quote_of_key(data: &[u8]) {
    let [which, edits @ ..] = data else {
        return;
    };
    let all = [quoted!("eccp384"), quoted!("rsa2048"), quoted!("rsapss")];
    let quoted = &all[usize::from(*which) % all.len()];
    let sound = [quoted.attest, quoted.signature, quoted.values, quoted.ak].map(<[u8]>::to_vec);
    let parts = edited(&sound, edits);
    let Ok(ak) = TpmtPublic::parse_sized(&parts[3]) else {
        return;
    };
    let evidence = QuoteEvidence {
        attest: &parts[0],
        signature: &parts[1],
        pcr_values: Some(&parts[2]),
    };
    let policy = QuotePolicy::without_selection(quoted.nonce, algorithms::RING);
    let report = check_quote(&ak, &evidence, &policy).report;
    sound_report(&report);
    // A quote does not contain the key's Name, so other attributes of the same key do not change what it signs.
    let is_sound = unchanged(&parts[..3], &sound[..3]) && ak.is_same_key(&key(quoted.ak));
    assert!(!report.accepted() || is_sound, "{report}");
    assert!(report.accepted() || parts != sound, "{report}");
}
