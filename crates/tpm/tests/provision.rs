//! The tasks of a provisioning CA: the envelope that only one TPM opens, and the checks of a
//! certification request and of public keys.

mod vectors;

use std::convert::Infallible;

use data_encoding::BASE64;
use keyproof_tpm::{
    ActivationKey, AttestationTemplate, AwsLcRs, CertificationRequestError, Credential,
    CredentialError, DeviceInfo, DeviceProperties, EccCurve, HashAlgorithm, Name, ObjectAttributes,
    PublicKey, Structure, TpmError, TpmtPublic, activate, algorithms, check_certification_request,
    seal_certificate,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P521_SHA512, PublicKeyData,
};

use vectors::read;

const CERTIFICATE: &[u8] = b"the bytes of a certificate";

/// Not random, but different at every call.
fn counter() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut next = 0_u8;
    move |bytes| {
        for byte in bytes {
            next = next.wrapping_add(7);
            *byte = next;
        }
        Ok(())
    }
}

/// `random` generates the key, the nonce and the credential's seed. If it fails, nothing is
/// encrypted.
#[test]
fn nothing_is_sealed_without_randomness() {
    for kind in ["rsa2048", "eccp256"] {
        let file = |suffix: &str| read("software", &format!("{kind}.{suffix}"));
        let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")).unwrap();
        let name = Name::parse(&file("name.bin")).unwrap();
        for good in 0..3 {
            let mut draws = 0;
            let sealed = seal_certificate(&ek, &name, CERTIFICATE, &mut |bytes| {
                bytes.fill(7);
                draws += 1;
                if draws > good {
                    Err("exhausted")
                } else {
                    Ok(())
                }
            });
            let refused = sealed.map(|_| ());
            assert_eq!(refused, Err(CredentialError::Random("exhausted")), "{good}");
        }
    }
}

#[test]
fn a_certificate_opens_with_what_the_credential_yields() {
    for kind in ["rsa2048", "eccp256", "eccp384"] {
        let file = |suffix: &str| read("software", &format!("{kind}.{suffix}"));
        let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")).unwrap();
        let name = Name::parse(&file("name.bin")).unwrap();
        let sealed = seal_certificate(&ek, &name, CERTIFICATE, &mut counter()).unwrap();
        assert_eq!(sealed.encrypted_certificate.len(), CERTIFICATE.len() + 16);
        let credential = Credential::parse(&sealed.credential.to_bytes()).unwrap();
        let opened = activate(&AwsLcRs, &ek, &file("ek.pkcs8.der"), &name, &credential).unwrap();
        let key = ActivationKey::from_bytes(&opened).unwrap();
        assert_eq!(key.as_bytes(), sealed.key.as_bytes());
        let opened = key.open(&sealed.nonce, &sealed.encrypted_certificate);
        assert_eq!(opened.as_deref(), Ok(CERTIFICATE));

        let mut changed = sealed.encrypted_certificate.clone();
        changed[0] ^= 1;
        let refused = Err(TpmError::CertificateSealed);
        assert_eq!(key.open(&sealed.nonce, &changed), refused);
        let other = ActivationKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(
            other.open(&sealed.nonce, &sealed.encrypted_certificate),
            refused
        );
        assert!(ActivationKey::from_bytes(&[1; 31]).is_err());
        assert_eq!(format!("{key:?}"), "ActivationKey(..)");
    }
}

/// Computed with `openssl mac -digest SHA256 -macopt hexkey:0101…01 HMAC`.
#[test]
fn the_proof_of_activation_is_of_key_and_name() {
    let name = Name::parse(&[&[0, 0x0b][..], &[2; 32]].concat()).unwrap();
    let other = Name::parse(&[&[0, 0x0b][..], &[3; 32]].concat()).unwrap();
    let key = ActivationKey::from_bytes(&[1; 32]).unwrap();
    let proof = key.proof(&name);
    assert_eq!(hex(&proof), PROOF);
    assert_eq!(key.verify(&name, &proof), Ok(()));
    let refused = Err(TpmError::ActivationProof);
    assert_eq!(key.verify(&other, &proof), refused);
    assert_eq!(key.verify(&name, &proof[..31]), refused);
    assert_eq!(key.verify(&name, b""), refused);
    let another = ActivationKey::from_bytes(&[2; 32]).unwrap();
    assert_eq!(another.verify(&name, &proof), refused);
}

const PROOF: &str = "c6f07db5e95f152283cd5925f530af45e207bbbbc2c7f64b7db7356386f5c343";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_certification_request_names_its_device() {
    let device = DeviceInfo::new(DeviceProperties {
        name: "device-1",
        serial: "SN1",
        vendor: "Maker",
        version: "1",
    })
    .unwrap();
    let check = |subject: &[(DnType, &str)]| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let mut der = params.serialize_request(&key).unwrap().der().to_vec();
        let found = check_certification_request(&der, &device, algorithms::ALL);
        // The signature is verified with the request's own key.
        *der.last_mut().unwrap() ^= 1;
        let changed = check_certification_request(&der, &device, algorithms::ALL);
        assert!(matches!(
            changed,
            Err(CertificationRequestError::Request(_))
        ));
        found
    };
    let serial = || DnType::CustomDnType(vec![2, 5, 4, 5]);
    // The same attribute types as rcgen's own, which it writes at most once each.
    let common_name = || DnType::CustomDnType(vec![2, 5, 4, 3]);
    let organization = || DnType::CustomDnType(vec![2, 5, 4, 10]);
    let refused = |what| Err(CertificationRequestError::Subject { what });
    let no_name = "its subject names neither the device's serial nor its name";
    for (subject, expected) in [
        (vec![(serial(), "SN1")], Ok(())),
        (vec![(DnType::CommonName, "SN1")], Ok(())),
        (vec![(DnType::CommonName, "device-1")], Ok(())),
        (
            vec![(serial(), "SN1"), (DnType::OrganizationName, "Maker")],
            Ok(()),
        ),
        (
            vec![(serial(), "SN2"), (DnType::CommonName, "SN1")],
            refused("its serialNumber is not the device's serial"),
        ),
        (vec![(DnType::CommonName, "SN2")], refused(no_name)),
        (vec![], refused(no_name)),
        // If an attribute occurs twice, both must match the device.
        (
            vec![(DnType::CommonName, "SN1"), (common_name(), "device-1")],
            Ok(()),
        ),
        (
            vec![(DnType::CommonName, "SN1"), (common_name(), "SN2")],
            refused(no_name),
        ),
        (
            vec![(DnType::CommonName, "SN2"), (common_name(), "SN1")],
            refused(no_name),
        ),
        (
            vec![
                (serial(), "SN1"),
                (DnType::OrganizationName, "Maker"),
                (organization(), "Faker"),
            ],
            refused("its organization is not the device's vendor"),
        ),
        (
            vec![(serial(), "SN1"), (DnType::OrganizationName, "Faker")],
            refused("its organization is not the device's vendor"),
        ),
    ] {
        assert_eq!(check(&subject), expected, "{subject:?}");
    }
    let found = check_certification_request(b"\x30\x00", &device, algorithms::ALL);
    assert!(matches!(found, Err(CertificationRequestError::Request(_))));
}

/// Made by `openssl req -new -newkey rsa:1024`, with the name of the device.
const SHORT: &str = "\
    MIIBTTCBtwIBADAOMQwwCgYDVQQDDANTTjEwgZ8wDQYJKoZIhvcNAQEBBQADgY0A\
    MIGJAoGBANx/0Aog78LWuY+scbioxa8wk5wD/a50nvB7Ue47Y5XjHmn4AXxh+jsc\
    klk0gomF4MZa7O9O5RhN6hZ0hLoIOLNRo3Uw5WZoFJbnst0DSpb25L0ATIRtI0wB\
    yfd9g/i3H0keaqL/A/KsljZdhx56HRt2MzKrvu92E/GeIIL6F7k1AgMBAAGgADAN\
    BgkqhkiG9w0BAQsFAAOBgQDOP4J17w8c11CvK20TXHaIO+ffpYcvlGF+EtzQTbZl\
    jJe6mhtHb7+oiPx54IZa3KbU65anOUHUjlmQuLyTlWC9+KmnlPvYd9K5agV4M+T8\
    LxgJXt7ER8jkMskKczhmr1ltZELmgJBECWHetEWGu7hlzYYLmLDgDFIVn//uoZ3h\
    oQ==";

/// Its signature is valid, so it must not be reported as invalid.
#[test]
fn a_certification_request_of_a_short_key_is_refused_for_its_key() {
    let device = DeviceInfo::new(DeviceProperties {
        name: "device-1",
        serial: "SN1",
        vendor: "Maker",
        version: "1",
    })
    .unwrap();
    let short = BASE64.decode(SHORT.as_bytes()).unwrap();
    assert_eq!(
        check_certification_request(&short, &device, algorithms::ALL),
        Err(CertificationRequestError::Key { bits: 1024 })
    );
}

#[test]
fn a_point_off_its_curve_and_an_even_modulus_are_no_keys() {
    for kind in ["rsa2048", "eccp256", "eccp384"] {
        let sound = TpmtPublic::parse_sized(&read(kind, "ak.pub.tpm2b")).unwrap();
        assert!(sound.is_valid());
        assert!(sound.is_same_key(&sound));
        let mut broken = sound.clone();
        let flip = |buffer: &keyproof_tpm::Buffer| {
            let mut bytes = buffer.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            keyproof_tpm::Buffer::new(bytes).unwrap()
        };
        match &mut broken.key {
            PublicKey::Rsa(key) => key.modulus = flip(&key.modulus),
            PublicKey::Ecc(key) => key.y = flip(&key.y),
        }
        assert!(!broken.is_valid());
        assert!(!broken.is_same_key(&sound));
        // The attributes are not part of the key.
        let mut other = sound.clone();
        other.object_attributes = ObjectAttributes::SIGN;
        assert!(other.is_same_key(&sound));
    }
    let p521 = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let template = AttestationTemplate {
        name_alg: HashAlgorithm::Sha512,
        object_attributes: AttestationTemplate::ATTRIBUTES,
        scheme_hash: HashAlgorithm::Sha512,
    };
    let spki = p521.subject_public_key_info();
    let p521 = TpmtPublic::attestation_from_spki(&spki, &template).unwrap();
    assert!(p521.is_valid());
    let mut curve = TpmtPublic::parse_sized(&read("eccp256", "ak.pub.tpm2b")).unwrap();
    if let PublicKey::Ecc(key) = &mut curve.key {
        key.curve = EccCurve::BnP256;
    }
    assert!(!curve.is_valid());
}

#[test]
fn a_template_that_attests_is_restricted_fixed_and_strong() {
    let sound = AttestationTemplate {
        name_alg: HashAlgorithm::Sha256,
        object_attributes: AttestationTemplate::ATTRIBUTES,
        scheme_hash: HashAlgorithm::Sha384,
    };
    assert!(sound.is_attestation_key());
    let with = |object_attributes| AttestationTemplate {
        object_attributes,
        ..sound
    };
    let own = sound.object_attributes;
    let weak = HashAlgorithm::Sha1;
    for template in [
        with(own.without(ObjectAttributes::FIXED_TPM)),
        with(own.without(ObjectAttributes::FIXED_PARENT)),
        with(own.without(ObjectAttributes::SENSITIVE_DATA_ORIGIN)),
        with(own.without(ObjectAttributes::RESTRICTED)),
        with(own.without(ObjectAttributes::SIGN)),
        with(own | ObjectAttributes::DECRYPT),
        AttestationTemplate {
            scheme_hash: weak,
            ..sound
        },
        AttestationTemplate {
            name_alg: weak,
            ..sound
        },
    ] {
        assert!(!template.is_attestation_key(), "{template:?}");
    }
}
