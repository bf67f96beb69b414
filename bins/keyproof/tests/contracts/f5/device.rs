//! A device in software: an endorsement key with its manufacturer's certificate, an attestation key, and a key that signs its
//! certification request.

use std::{fs, time::Duration};

use data_encoding::BASE64;
use keyproof_tpm::{
    ActivationKey, AttestationTemplate, AwsLcRs, Buffer, Credential, EccCurve, HashAlgorithm, Name,
    PublicKey, Structure, TpmtPublic, TpmtSignature, activate,
};
use keyproof_x509::{Curve, KeyKind, SubjectPublicKeyInfo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData,
    RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};

use gcm::open;

/// A manufacturer of TPMs.
pub(crate) struct Manufacturer {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) root: String,
}

impl Manufacturer {
    pub(crate) fn new() -> Self {
        Self::constrained(BasicConstraints::Unconstrained)
    }

    /// Returns two with the same name, whose certificates and CRLs contain no key identifiers.
    pub(crate) fn indistinct() -> [Self; 2] {
        [(); 2].map(|()| {
            let Self {
                mut params, key, ..
            } = Self::new();
            params.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20]);
            let root = params.self_signed(&key).unwrap().pem();
            Self { params, key, root }
        })
    }

    /// Returns one whose root allows at most this many CAs below it.
    pub(crate) fn with_path_len(length: u8) -> Self {
        Self::constrained(BasicConstraints::Constrained(length))
    }

    /// Returns an expired certificate of the root.
    pub(crate) fn ended(&self) -> String {
        let mut params = self.params.clone();
        params.not_after = date_time_ymd(2021, 1, 1);
        params.self_signed(&self.key).unwrap().pem()
    }

    fn constrained(constraints: BasicConstraints) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&[(DnType::CommonName, "TPM root")]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2140, 1, 1);
        params.is_ca = IsCa::Ca(constraints);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().pem();
        Self { params, key, root }
    }

    /// Returns a CA below this root. Its certificate is in its own `root`.
    pub(crate) fn below(&self) -> Self {
        self.below_as("TPM intermediate")
    }

    /// The same with this name.
    pub(crate) fn below_as(&self, called: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = self.params.clone();
        params.distinguished_name = name(&[(DnType::CommonName, called)]);
        // The serial number of every endorsement certificate, too.
        params.serial_number = Some(SerialNumber::from(7));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let root = params.signed_by(&key, &issuer).unwrap().pem();
        Self { params, key, root }
    }

    /// Returns a CRL that is valid for a day, in PEM, with the serial number of every endorsement certificate or with none.
    pub(crate) fn revocation_list(&self, at: u64, has_all: bool) -> String {
        self.revocation_list_numbered(at, at, at + 24 * 60 * 60, has_all)
    }

    /// The same with this number and end.
    pub(crate) fn revocation_list_numbered(
        &self,
        number: u64,
        at: u64,
        until: u64,
        has_all: bool,
    ) -> String {
        let (number, time) = (SerialNumber::from(number), (at, until));
        self.sign_revocation_list(None, number, time, has_all)
    }

    /// The same for CAs only, or for other certificates only, which contain its URL.
    pub(crate) fn revocation_list_of(&self, scope: CrlScope, at: u64, has_all: bool) -> String {
        let distribution_point = CrlDistributionPoint {
            uris: vec![LIST_POINT.to_owned()],
        };
        let point = CrlIssuingDistributionPoint {
            distribution_point,
            scope: Some(scope),
        };
        let (number, time) = (SerialNumber::from(at), (at, at + 24 * 60 * 60));
        self.sign_revocation_list(Some(point), number, time, has_all)
    }

    fn sign_revocation_list(
        &self,
        issuing_distribution_point: Option<CrlIssuingDistributionPoint>,
        crl_number: SerialNumber,
        (at, until): (u64, u64),
        has_all: bool,
    ) -> String {
        let time = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: time(at),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: time(at),
            next_update: time(until),
            crl_number,
            issuing_distribution_point,
            revoked_certs: has_all.then_some(revoked).into_iter().collect(),
            key_identifier_method: self.params.key_identifier_method.clone(),
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }

    fn endorse(&self, ek: &Key) -> Vec<u8> {
        self.endorse_as(ek, vec![alt_names()])
    }

    fn endorse_as(&self, ek: &Key, extensions: Vec<CustomExtension>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(7));
        params.not_before = date_time_ymd(2022, 1, 1);
        params.not_after = date_time_ymd(2136, 1, 1);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![match ek.kind() {
            KeyKind::Rsa => KeyUsagePurpose::KeyEncipherment,
            _ => KeyUsagePurpose::KeyAgreement,
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        params.custom_extensions = extensions;
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(ek, &issuer).unwrap().der().to_vec()
    }
}

/// A key of the device, as SubjectPublicKeyInfo.
#[derive(Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Returns an endorsement key in software from the TPM crate's tests, such as `rsa3072`.
    pub(crate) fn of_kind(kind: &str) -> Self {
        let public = TpmtPublic::parse_sized(&software(kind, "ek.pub.tpm2b")).unwrap();
        Self(public.to_spki().unwrap())
    }

    /// Returns another key of the same kind, without a private key.
    pub(crate) fn another_of_kind(kind: &str) -> Self {
        let mut public = TpmtPublic::parse_sized(&software(kind, "ek.pub.tpm2b")).unwrap();
        let algorithm = match &mut public.key {
            PublicKey::Rsa(key) => {
                let mut modulus = key.modulus.to_vec();
                modulus[10] ^= 1;
                key.modulus = Buffer::new(modulus).unwrap();
                return Self(public.to_spki().unwrap());
            }
            PublicKey::Ecc(key) if key.curve == EccCurve::NistP256 => &PKCS_ECDSA_P256_SHA256,
            PublicKey::Ecc(_) => &PKCS_ECDSA_P384_SHA384,
        };
        let pair = KeyPair::generate_for(algorithm).unwrap();
        Self(pair.subject_public_key_info())
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.0
    }

    fn kind(&self) -> KeyKind {
        let spki = SubjectPublicKeyInfo::from_der(&self.0).unwrap();
        spki.kind().unwrap()
    }
}

fn software(kind: &str, file: &str) -> Vec<u8> {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/tpm/tests/vectors/software"
    );
    fs::read(format!("{vectors}/{kind}.{file}")).unwrap()
}

/// For rcgen to write into a certificate.
impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        SubjectPublicKeyInfo::from_der(&self.0).unwrap().key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.kind() {
            KeyKind::Rsa => &PKCS_RSA_SHA256,
            KeyKind::Ec(Curve::P256) => &PKCS_ECDSA_P256_SHA256,
            KeyKind::Ec(Curve::P384) => &PKCS_ECDSA_P384_SHA384,
            other => panic!("{other:?}"),
        }
    }
}

/// A device.
pub(crate) struct Device {
    ek: Key,
    ek_pkcs8: Vec<u8>,
    pub(crate) ek_certificate: Vec<u8>,
    ak: Key,
    /// Empty if only the public key is known.
    ak_pkcs8: Vec<u8>,
    own: KeyPair,
    pub(crate) serial: String,
}

pub(crate) const VENDOR: &str = "ExampleCorp";

/// The URL of a manufacturer's CRL.
const LIST_POINT: &str = "http://tpm.example.com/crl";

impl Clone for Device {
    fn clone(&self) -> Self {
        Self {
            ek: self.ek.clone(),
            ek_pkcs8: self.ek_pkcs8.clone(),
            ek_certificate: self.ek_certificate.clone(),
            ak: self.ak.clone(),
            ak_pkcs8: self.ak_pkcs8.clone(),
            own: KeyPair::try_from(self.own.serialize_der()).unwrap(),
            serial: self.serial.clone(),
        }
    }
}

impl Device {
    /// Creates a device with a new endorsement key on P-256.
    pub(crate) fn new(manufacturer: &Manufacturer, serial: &str) -> Self {
        let ek = KeyPair::generate().unwrap();
        let spki = Key(ek.subject_public_key_info());
        Self::with_ek(manufacturer, serial, spki, ek.serialize_der())
    }

    /// Creates a device with an endorsement key of this kind.
    pub(crate) fn of_kind(manufacturer: &Manufacturer, serial: &str, kind: &str) -> Self {
        let pkcs8 = software(kind, "ek.pkcs8.der");
        Self::with_ek(manufacturer, serial, Key::of_kind(kind), pkcs8)
    }

    fn with_ek(manufacturer: &Manufacturer, serial: &str, ek: Key, ek_pkcs8: Vec<u8>) -> Self {
        let ak = KeyPair::generate().unwrap();
        Self {
            ek_certificate: manufacturer.endorse(&ek),
            ek,
            ek_pkcs8,
            ak: Key(ak.subject_public_key_info()),
            ak_pkcs8: ak.serialize_der(),
            own: KeyPair::generate().unwrap(),
            serial: serial.to_owned(),
        }
    }

    /// Returns the same device with another attestation key.
    pub(crate) fn with_new_ak(self) -> Self {
        let ak = KeyPair::generate().unwrap();
        Self {
            ak: Key(ak.subject_public_key_info()),
            ak_pkcs8: ak.serialize_der(),
            ..self
        }
    }

    /// Returns the same device with this attestation key, which it cannot sign with.
    pub(crate) fn with_ak(self, ak: Key) -> Self {
        let ak_pkcs8 = Vec::new();
        Self {
            ak,
            ak_pkcs8,
            ..self
        }
    }

    /// Returns the same device with a new certificate for its endorsement key.
    pub(crate) fn endorsed_again(self, manufacturer: &Manufacturer) -> Self {
        let ek_certificate = manufacturer.endorse(&self.ek);
        Self {
            ek_certificate,
            ..self
        }
    }

    /// Returns the same device with an endorsement certificate that does not name the TPM.
    pub(crate) fn endorsed_namelessly(self, manufacturer: &Manufacturer) -> Self {
        let ek_certificate = manufacturer.endorse_as(&self.ek, Vec::new());
        Self {
            ek_certificate,
            ..self
        }
    }

    /// Returns the same device with an endorsement certificate that contains the URL of a CRL.
    pub(crate) fn endorsed_with_a_list(self, manufacturer: &Manufacturer) -> Self {
        let point = tlv(0xa0, &tlv(0xa0, &tlv(0x86, LIST_POINT.as_bytes())));
        let points = tlv(0x30, &tlv(0x30, &point));
        let points = CustomExtension::from_oid_content(&[2, 5, 29, 31], points);
        let ek_certificate = manufacturer.endorse_as(&self.ek, vec![alt_names(), points]);
        Self {
            ek_certificate,
            ..self
        }
    }

    /// Returns the same device with another endorsement key of its TPM.
    pub(crate) fn with_another_ek(self, manufacturer: &Manufacturer) -> Self {
        let other = Self::new(manufacturer, &self.serial);
        Self {
            ek: other.ek,
            ek_pkcs8: other.ek_pkcs8,
            ek_certificate: other.ek_certificate,
            ..self
        }
    }

    /// Returns the same device with the endorsement key and certificate of another, which are public.
    pub(crate) fn with_stolen_endorsement(self, victim: &Self) -> Self {
        let (ek, ek_certificate) = (victim.ek.clone(), victim.ek_certificate.clone());
        Self {
            ek,
            ek_certificate,
            ..self
        }
    }

    /// Returns the same device claiming to be another.
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

    /// Returns the body of a valid provision request.
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
            "ek_pub_key": BASE64.encode(&self.ek.0),
            "ak_pub_key": BASE64.encode(&self.ak.0),
            "csr": self.csr(&subject),
        })
    }

    pub(crate) fn ek_public(&self) -> TpmtPublic {
        TpmtPublic::endorsement_from_spki(&self.ek.0).unwrap()
    }

    pub(crate) fn ak_public(&self) -> TpmtPublic {
        let template = AttestationTemplate::below(&self.ek_public()).unwrap();
        self.ak_public_by(&template)
    }

    pub(crate) fn ak_public_by(&self, template: &AttestationTemplate) -> TpmtPublic {
        TpmtPublic::attestation_from_spki(&self.ak.0, template).unwrap()
    }

    /// Returns a TPMT_SIGNATURE by its attestation key.
    pub(crate) fn signs(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.ak_pkcs8, &random).unwrap();
        let signed = pair.sign(&random, message).unwrap();
        let (r, s) = signed.as_ref().split_at(32);
        let signature = TpmtSignature::Ecdsa {
            hash: HashAlgorithm::Sha256,
            r: Buffer::new(r).unwrap(),
            s: Buffer::new(s).unwrap(),
        };
        signature.to_bytes()
    }

    pub(crate) fn ak_spki(&self) -> Vec<u8> {
        self.ak.0.clone()
    }

    /// Opens an answer with the TPM. Returns the certificate, or `None` if the credential is not for this attestation key.
    pub(crate) fn opens(&self, answer: &Value, ak: &TpmtPublic) -> Option<Vec<u8>> {
        let key = self.activates(answer, ak)?;
        let nonce = field(answer, "nonce").try_into().unwrap();
        Some(open(&key, nonce, field(answer, "encrypted_ak_cert")))
    }

    /// Returns the certificate in an answer for its own attestation key.
    pub(crate) fn certificate(&self, answer: &Value) -> Vec<u8> {
        self.opens(answer, &self.ak_public()).unwrap()
    }

    /// Returns the activation request for an answer that its TPM has opened.
    pub(crate) fn activation(&self, answer: &Value) -> Value {
        let ak = self.ak_public();
        let key = ActivationKey::from_bytes(&self.activates(answer, &ak).unwrap()).unwrap();
        let proof = key.proof(&Name::of(&ak).unwrap());
        json!({ "ticket": answer["activation_ticket"], "proof": BASE64.encode(&proof) })
    }

    /// Returns the key in an answer's credential, if it is for this attestation key.
    pub(crate) fn activates(&self, answer: &Value, ak: &TpmtPublic) -> Option<Vec<u8>> {
        let credential = Credential::parse(&field(answer, "credential_bundle")).unwrap();
        let name = Name::of(ak).unwrap();
        let ek = self.ek_public();
        let key = activate(&AwsLcRs, &ek, &self.ek_pkcs8, &name, &credential).ok()?;
        assert_eq!(key.len(), 32);
        Some(key.to_vec())
    }
}

fn field(answer: &Value, name: &str) -> Vec<u8> {
    let text = answer[name].as_str().unwrap();
    BASE64.decode(text.as_bytes()).unwrap()
}

fn name(attributes: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in attributes {
        name.push(kind.clone(), *value);
    }
    name
}

/// Returns a subjectAltName with manufacturer, model and version.
fn alt_names() -> CustomExtension {
    let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], tpm_names());
    names.set_criticality(true);
    names
}

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

/// Encodes DER with a length below 128.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[tag, length], content].concat()
}

mod gcm {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    /// Decrypts AES-256-GCM without associated data; the tag is last.
    pub(super) fn open(key: &[u8], nonce: [u8; 12], mut sealed: Vec<u8>) -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_in_place(nonce, Aad::empty(), &mut sealed)
            .unwrap()
            .to_vec()
    }
}
