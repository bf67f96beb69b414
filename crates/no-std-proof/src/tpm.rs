//! The calls into `keyproof-tpm`.

use alloc::vec::Vec;
use core::convert::Infallible;

use keyproof_tpm::{
    Agreement, AttestationEvidence, AttestationPolicy, CertifyPolicy, Credential,
    CredentialProvider, DevIdKeyPolicy, DeviceInfo, DeviceProperties, EccCurve,
    EkCertificatePolicy, EventLogPolicy, HashAlgorithm, KeyProfile, Name, ProviderError,
    QuoteEvidence, QuotePolicy, Structure, TpmtPublic, algorithms::RING, check_certify,
    check_ek_certificate, check_event_log, check_quote, make_credential,
};

/// Returns whether a quote and the TPM's endorsement certificate are accepted: structures, names, ring's signatures and the chain.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_tpm_accepts(
    keys: &[[u8; 512]; 2],
    quote: &[[u8; 512]; 2],
    certificates: &[[u8; 2048]; 2],
    nonce: &[u8; 32],
    now: u64,
) -> bool {
    let [ek, ak] = keys;
    let (Ok(ek), Ok(ak)) = (TpmtPublic::parse_any(ek), TpmtPublic::parse_any(ak)) else {
        return false;
    };
    let [attest, signature] = quote;
    let evidence = QuoteEvidence {
        attest,
        signature,
        pcr_values: None,
    };
    let mut policy = QuotePolicy::without_selection(nonce, RING);
    policy.ek = Some(&ek);
    let [stored, root] = certificates;
    let roots: [&[u8]; 1] = [root];
    let manufacturer = EkCertificatePolicy::new(&ek, &roots, now, RING);
    check_quote(&ak, &evidence, &policy).report.accepted()
        && check_ek_certificate(stored, &manufacturer).accepted()
}

/// Returns whether the replay of an event log gives these PCR values, and a certification by the same TPM is accepted.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_tpm_certifies(
    keys: &[[u8; 512]; 2],
    certification: &[[u8; 512]; 2],
    log: &[u8; 4096],
    values: &[u8; 64],
) -> bool {
    let [object, ak] = keys;
    let (Ok(object), Ok(ak)) = (TpmtPublic::parse_any(object), TpmtPublic::parse_any(ak)) else {
        return false;
    };
    let [attest, signature] = certification;
    let policy = CertifyPolicy::new(
        AttestationPolicy::without_nonce(RING),
        &object,
        KeyProfile::DevId(DevIdKeyPolicy::default()),
    );
    let evidence = AttestationEvidence { attest, signature };
    let Ok(selection) = "sha256:0,7".parse() else {
        return false;
    };
    let mut registers = EventLogPolicy::with_unverified_registers(&selection, values);
    registers.require_secure_boot = true;
    check_certify(&ak, evidence, &policy).report.accepted()
        && check_event_log(log, &registers).report.accepted()
}

/// Returns whether a credential can be made: templates, key derivations and credential files. The provider stands for one of an
/// embedder's own.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_tpm_makes_credential(
    spki: &[u8; 294],
    name: &[u8; 34],
    seed: &[u8; 32],
) -> bool {
    let device = DeviceInfo::new(DeviceProperties {
        name: "device",
        serial: "1",
        vendor: "vendor",
        version: "1",
    });
    let (Ok(ek), Ok(name), Ok(_)) = (
        TpmtPublic::endorsement_from_spki(spki),
        Name::parse(name),
        device,
    ) else {
        return false;
    };
    let mut random = |bytes: &mut [u8]| {
        bytes
            .iter_mut()
            .zip(seed)
            .for_each(|(to, from)| *to = *from);
        Ok::<_, Infallible>(())
    };
    make_credential(&Embedders, &ek, &name, seed, &mut random)
        .is_ok_and(|made| Credential::parse(&made.to_bytes()).is_ok())
}

struct Embedders;

impl CredentialProvider for Embedders {
    fn rsa_oaep_encrypt(
        &self,
        _: &[u8],
        _: HashAlgorithm,
        _: &[u8],
        _: &[u8],
    ) -> Result<Vec<u8>, ProviderError> {
        Err(ProviderError)
    }

    fn ecdh(&self, _: EccCurve, _: &[u8], _: &[u8]) -> Result<Agreement, ProviderError> {
        Err(ProviderError)
    }

    fn aes_cfb_encrypt(&self, _: &[u8], _: &mut [u8]) -> Result<(), ProviderError> {
        Err(ProviderError)
    }
}
