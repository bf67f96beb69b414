//! A software key that signs any input, for valid and forged attestations.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use keyproof_tpm::{
    AttestationTemplate, Attested, Buffer, HashAlgorithm, ObjectAttributes, Structure,
    TpmlPcrSelection, TpmsAttest, TpmsClockInfo, TpmsQuoteInfo, TpmtPublic, TpmtSignature,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};

pub(crate) struct SoftwareKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    pub(crate) public: TpmtPublic,
}

impl SoftwareKey {
    /// Creates a P-256 key whose public area has these attributes.
    pub(crate) fn new(object_attributes: ObjectAttributes) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let mut spki = P256_SPKI_HEAD.to_vec();
        spki.extend_from_slice(pair.public_key().as_ref());
        let template = AttestationTemplate {
            name_alg: HashAlgorithm::Sha256,
            object_attributes,
            scheme_hash: HashAlgorithm::Sha256,
        };
        let public = TpmtPublic::attestation_from_spki(&spki, &template).unwrap();
        Self {
            pair,
            random,
            public,
        }
    }

    /// The two numbers of a signature, padded to the coordinate size.
    pub(crate) fn sign(&self, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let fixed = self.pair.sign(&self.random, message).unwrap();
        let (r, s) = fixed.as_ref().split_at(32);
        (r.to_vec(), s.to_vec())
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        let (r, s) = self.sign(message);
        ecdsa(HashAlgorithm::Sha256, &r, &s)
    }
}

pub(crate) fn ecdsa(hash: HashAlgorithm, r: &[u8], s: &[u8]) -> Vec<u8> {
    let (r, s) = (Buffer::new(r).unwrap(), Buffer::new(s).unwrap());
    TpmtSignature::Ecdsa { hash, r, s }.to_bytes()
}

/// Builds an attestation around a body.
pub(crate) fn attest(nonce: &[u8], attested: Attested) -> TpmsAttest {
    TpmsAttest {
        qualified_signer: Buffer::default(),
        extra_data: Buffer::new(nonce).unwrap(),
        clock_info: TpmsClockInfo {
            clock: 1000,
            reset_count: 7,
            restart_count: 3,
            safe: true,
        },
        firmware_version: 1,
        attested,
    }
}

/// Builds a quote of all-zero registers, in a TPM's form.
#[allow(dead_code, reason = "not every test quotes")]
pub(crate) fn quote(nonce: &[u8], selection: &TpmlPcrSelection) -> TpmsAttest {
    let values = vec![0; selection.values_size()];
    let pcr_digest = HashAlgorithm::Sha256.digest(&[&values]).unwrap();
    attest(
        nonce,
        Attested::Quote(TpmsQuoteInfo {
            pcr_select: selection.clone(),
            pcr_digest: Buffer::new(pcr_digest).unwrap(),
        }),
    )
}

const P256_SPKI_HEAD: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
