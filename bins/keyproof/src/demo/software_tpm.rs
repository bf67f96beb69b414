//! A software TPM and its manufacturer: the device's and the vendor's side.

use keyproof_tpm::{
    AttestationTemplate, Attested, AwsLcRs, Buffer, Credential, HashAlgorithm, Hierarchy, Name,
    ObjectAttributes, QualifiedName, Structure, TpmError, TpmlPcrSelection, TpmsAttest,
    TpmsClockInfo, TpmsQuoteInfo, TpmtPublic, TpmtSignature, activate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use zeroize::Zeroizing;

use super::StepError;

/// The object identifiers of subjectAltName and of `tcg-kp-EKCertificate`.
const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
const EK_CERTIFICATE_USAGE: [u64; 5] = [2, 23, 133, 8, 1];

/// A device's TPM, with an attestation key below its endorsement key, both on P-256.
pub(super) struct SoftwareTpm {
    ek: KeyPair,
    ak: KeyPair,
    /// The manufacturer's endorsement certificate, in DER.
    pub(super) ek_certificate: Vec<u8>,
    /// The manufacturer's root, in PEM.
    pub(super) manufacturer: String,
}

/// A TPM's quote.
pub(super) struct Quote {
    pub(super) attest: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl SoftwareTpm {
    pub(super) fn manufacture() -> Result<Self, StepError> {
        let root_key = KeyPair::generate()?;
        let mut root = CertificateParams::default();
        root.distinguished_name = named(&[(DnType::CommonName, "Demo TPM root")]);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let manufacturer = root.self_signed(&root_key)?.pem();

        let ek = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(
            EK_CERTIFICATE_USAGE.to_vec(),
        )];
        let mut names = CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, tpm_names());
        names.set_criticality(true);
        params.custom_extensions = vec![names];
        let issuer = Issuer::from_params(&root, &root_key);
        let ek_certificate = params.signed_by(&ek, &issuer)?.der().to_vec();
        Ok(Self {
            ek,
            ak: KeyPair::generate()?,
            ek_certificate,
            manufacturer,
        })
    }

    pub(super) fn ek_spki(&self) -> Vec<u8> {
        self.ek.subject_public_key_info()
    }

    pub(super) fn ak_spki(&self) -> Vec<u8> {
        self.ak.subject_public_key_info()
    }

    pub(super) fn ek_public(&self) -> Result<TpmtPublic, TpmError> {
        TpmtPublic::endorsement_from_spki(&self.ek_spki())
    }

    pub(super) fn ak_public(&self) -> Result<TpmtPublic, TpmError> {
        let template = AttestationTemplate::below(&self.ek_public()?)?;
        TpmtPublic::attestation_from_spki(&self.ak_spki(), &template)
    }

    /// Returns the attestation key without the restriction to sign only TPM structures.
    pub(super) fn unrestricted_public(&self) -> Result<TpmtPublic, TpmError> {
        let template = AttestationTemplate {
            object_attributes: AttestationTemplate::ATTRIBUTES
                .without(ObjectAttributes::RESTRICTED),
            ..AttestationTemplate::below(&self.ek_public()?)?
        };
        TpmtPublic::attestation_from_spki(&self.ak_spki(), &template)
    }

    /// Returns a certification request by another key of the device, in DER.
    pub(super) fn csr(serial: &str, vendor: &str) -> Result<Vec<u8>, StepError> {
        let mut params = CertificateParams::default();
        let subject = [
            (DnType::CommonName, serial),
            (DnType::OrganizationName, vendor),
        ];
        params.distinguished_name = named(&subject);
        let request = params.serialize_request(&KeyPair::generate()?)?;
        Ok(request.der().to_vec())
    }

    /// Does `TPM2_ActivateCredential`.
    pub(super) fn activate(&self, credential: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let credential = Credential::parse(credential)?;
        let name = Name::of(&self.ak_public()?)?;
        let ek = Zeroizing::new(self.ek.serialize_der());
        activate(&AwsLcRs, &self.ek_public()?, &ek, &name, &credential)
    }

    /// Does `TPM2_Quote` for registers with these values.
    pub(super) fn quote(
        &self,
        nonce: &[u8],
        selection: &TpmlPcrSelection,
        values: &[u8],
    ) -> Result<Quote, StepError> {
        let parent = QualifiedName::of_primary(Hierarchy::Endorsement, &self.ek_public()?)?;
        let signer = parent.of_child(&self.ak_public()?)?;
        let attest = TpmsAttest {
            qualified_signer: Buffer::new(signer.as_bytes())?,
            extra_data: Buffer::new(nonce)?,
            clock_info: TpmsClockInfo {
                clock: 1000,
                reset_count: 1,
                restart_count: 0,
                safe: true,
            },
            firmware_version: 1,
            attested: Attested::Quote(TpmsQuoteInfo {
                pcr_select: selection.clone(),
                pcr_digest: Buffer::new(HashAlgorithm::Sha256.digest(&[values])?)?,
            }),
        };
        let attest = attest.to_bytes();
        let signature = self.sign(&attest)?;
        Ok(Quote { attest, signature })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, StepError> {
        let random = SystemRandom::new();
        let pkcs8 = Zeroizing::new(self.ak.serialize_der());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
        let signed = pair.ok().and_then(|pair| pair.sign(&random, message).ok());
        let signed = signed.ok_or(TpmError::Provider)?;
        let (r, s) = signed.as_ref().split_at(signed.as_ref().len() / 2);
        let signature = TpmtSignature::Ecdsa {
            hash: HashAlgorithm::Sha256,
            r: Buffer::new(r)?,
            s: Buffer::new(s)?,
        };
        Ok(signature.to_bytes())
    }
}

fn named(attributes: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in attributes {
        name.push(kind.clone(), *value);
    }
    name
}

/// Encodes a subjectAltName with manufacturer, model and version (TCG EK Credential Profile, 3.2.9).
fn tpm_names() -> Vec<u8> {
    let attributes: Vec<u8> = ["id:49465800", "Demo", "id:0001"]
        .iter()
        .zip(1_u8..)
        .flat_map(|(value, arc)| {
            let kind = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, arc]);
            let value = tlv(0x0c, value.as_bytes());
            tlv(0x31, &tlv(0x30, &[kind, value].concat()))
        })
        .collect();
    tlv(0x30, &tlv(0xa4, &tlv(0x30, &attributes)))
}

/// Encodes DER. The contents must be shorter than 128 bytes.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[tag, length], content].concat()
}
