//! A device in software: a P-256 endorsement key with its manufacturer's certificate, an attestation key, and a key
//! that signs its request.

use data_encoding::BASE64;
use gcm::open;
use keyproof_tpm::{
    AttestationTemplate, AwsLcRs, Credential, Name, Structure, TpmtPublic, activate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
    date_time_ymd,
};
use serde_json::{Value, json};

/// A manufacturer of TPMs.
pub(crate) struct Manufacturer {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) root: String,
}

impl Manufacturer {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&[(DnType::CommonName, "TPM root")]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap().pem();
        Self { params, key, root }
    }

    fn endorse(&self, ek: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(7));
        params.not_before = date_time_ymd(2022, 1, 1);
        params.not_after = date_time_ymd(2036, 1, 1);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], tpm_names());
        names.set_criticality(true);
        params.custom_extensions = vec![names];
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(ek, &issuer).unwrap().der().to_vec()
    }
}

pub(crate) struct Device {
    ek: KeyPair,
    pub(crate) ek_certificate: Vec<u8>,
    ak: KeyPair,
    own: KeyPair,
    pub(crate) serial: String,
}

pub(crate) const VENDOR: &str = "ExampleCorp";

impl Device {
    pub(crate) fn new(manufacturer: &Manufacturer, serial: &str) -> Self {
        let ek = KeyPair::generate().unwrap();
        Self {
            ek_certificate: manufacturer.endorse(&ek),
            ek,
            ak: KeyPair::generate().unwrap(),
            own: KeyPair::generate().unwrap(),
            serial: serial.to_owned(),
        }
    }

    /// The same with another attestation key.
    pub(crate) fn with_new_ak(self) -> Self {
        let ak = KeyPair::generate().unwrap();
        Self { ak, ..self }
    }

    /// The same that says to be another.
    pub(crate) fn with_serial(self, serial: &str) -> Self {
        let serial = serial.to_owned();
        Self { serial, ..self }
    }

    pub(crate) fn info(&self) -> Value {
        json!({ "name": "device-0001", "serial": self.serial, "vendor": VENDOR, "version": "1" })
    }

    pub(crate) fn csr(&self, subject: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(subject);
        BASE64.encode(params.serialize_request(&self.own).unwrap().der())
    }

    /// The body of a provision request in order.
    pub(crate) fn request(&self, api_key: &str) -> Value {
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        let subject = [
            (serial, &*self.serial),
            (DnType::CommonName, "anything"),
            (DnType::OrganizationName, VENDOR),
        ];
        json!({
            "api_key": api_key,
            "device": self.info(),
            "ek_cert": BASE64.encode(&self.ek_certificate),
            "ek_pub_key": BASE64.encode(&self.ek.subject_public_key_info()),
            "ak_pub_key": BASE64.encode(&self.ak.subject_public_key_info()),
            "csr": self.csr(&subject),
        })
    }

    pub(crate) fn ek_public(&self) -> TpmtPublic {
        TpmtPublic::endorsement_from_spki(&self.ek.subject_public_key_info()).unwrap()
    }

    pub(crate) fn ak_public(&self) -> TpmtPublic {
        let template = AttestationTemplate::below(&self.ek_public()).unwrap();
        self.ak_public_by(&template)
    }

    pub(crate) fn ak_public_by(&self, template: &AttestationTemplate) -> TpmtPublic {
        TpmtPublic::attestation_from_spki(&self.ak.subject_public_key_info(), template).unwrap()
    }

    pub(crate) fn ak_spki(&self) -> Vec<u8> {
        self.ak.subject_public_key_info()
    }

    /// What its TPM finds in an answer: the certificate; `None` if it cannot open it for an attestation key like this.
    pub(crate) fn opens(&self, answer: &Value, ak: &TpmtPublic) -> Option<Vec<u8>> {
        let field = |name: &str| {
            BASE64
                .decode(answer[name].as_str().unwrap().as_bytes())
                .unwrap()
        };
        let credential = Credential::parse(&field("credential_bundle")).unwrap();
        let name = Name::of(ak).unwrap();
        let pkcs8 = self.ek.serialize_der();
        let key = activate(&AwsLcRs, &self.ek_public(), &pkcs8, &name, &credential).ok()?;
        assert_eq!(key.len(), 32);
        let nonce = field("nonce").try_into().unwrap();
        Some(open(&key, nonce, field("encrypted_ak_cert")))
    }
}

fn name(attributes: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in attributes {
        name.push(kind.clone(), *value);
    }
    name
}

/// A subjectAltName of manufacturer, model and version.
fn tpm_names() -> Vec<u8> {
    let attributes: Vec<u8> = ["id:49465800", "SLB9670", "id:0755"]
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

/// DER with a length below 128.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[tag, length], content].concat()
}

mod gcm {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    /// AES-256-GCM without associated data, the tag last.
    pub(super) fn open(key: &[u8], nonce: [u8; 12], mut sealed: Vec<u8>) -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_in_place(nonce, Aad::empty(), &mut sealed)
            .unwrap()
            .to_vec()
    }
}
